"""Optimal quoting where quotes lie on a grid and are renewed at fixed times, as in `book_making` on a planted market.

Market orders come on each side at a rate and reach a distance d from a mid price that does not move with probability
exp(-k d) (Avellaneda & Stoikov, 2008, section 2.5). One unit is quoted a side. At each decision a quote stays where it
is, or is cancelled; where there is none, a new one is placed; so a change of price costs a step without a quote, as it
does where the new one is sent once the cancel is known. What is held at the end of a step costs phi q² dt. Sought is
the most that a step earns in the long run, by relative value iteration (Puterman, Markov Decision Processes, 1994,
section 8.5) over inventory and live quotes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.types import Float, Int

_SWEEPS, _CLOSE = 100_000, 1e-10
_STAY = 0.5
"""Share of staying where it is that is mixed into each step, so that the iteration cannot go round in circles."""


class GridQuotingParams(NamedTuple):
    """The constants of the problem."""

    intensity: float
    """Market orders of one side a second that reach the mid price (A)."""
    decay: float
    """k, per tick."""
    step_s: float
    """Time between decisions, seconds."""
    running: float
    """phi: penalty on the square of the inventory per second, ticks."""
    limit: int
    """Largest inventory, units."""
    distances: tuple[float, ...]
    """That a quote may have from the mid price, ticks."""


class GridQuotes(NamedTuple):
    """The optimum. Quotes are numbered from 1; 0 = none."""

    average: float
    """What a step earns in the long run, ticks."""
    bid: Int
    """(2 limit + 1, n + 1, n + 1) the bid to wish, by inventory, live bid and live ask."""
    ask: Int
    """The ask to wish."""


def grid_quotes(terms: GridQuotingParams) -> GridQuotes:
    """Solve it."""
    t, n = terms, len(terms.distances) + 1
    held = np.arange(-t.limit, t.limit + 1)
    chance = np.zeros(n)
    chance[1:] = -np.expm1(-t.intensity * t.step_s * np.exp(-t.decay * np.array(t.distances)))
    gain = np.array([0.0, *t.distances])
    cost = t.running * t.step_s * held.astype(float) ** 2
    value = np.zeros((len(held), n, n))
    average = 0.0
    for _ in range(_SWEEPS):
        fresh = _swept(value, chance, gain, cost).max(axis=(3, 4))
        change = _STAY * (fresh - value)
        average = 0.5 * float(change.max() + change.min()) / _STAY
        value = value + change
        value -= value[t.limit, 0, 0]
        if float(change.max() - change.min()) < _CLOSE:
            break
    asked = _swept(value, chance, gain, cost)
    best = asked.reshape(*asked.shape[:3], -1).argmax(axis=3)
    return GridQuotes(average, best // n, best % n)


def _swept(value: Float, chance: Float, gain: Float, cost: Float) -> Float:
    """(Q, n, n, n, n) worth of wishing a bid and an ask, by inventory and live quotes."""
    n_held, n = value.shape[0], value.shape[1]
    # What a step with a bid b and an ask a in the book is worth, by inventory; and which quotes live after it.
    worth = np.full((n_held, n, n), -np.inf)
    for b in range(n):
        for a in range(n):
            up, down = chance[b], chance[a]
            total = np.zeros(n_held)
            for bought, p in ((0, 1.0 - up), (1, up)):
                for sold, q in ((0, 1.0 - down), (1, down)):
                    if p * q == 0.0:
                        continue
                    to = np.arange(n_held) + bought - sold
                    inside = (to >= 0) & (to < n_held)
                    at = np.clip(to, 0, n_held - 1)
                    paid = bought * gain[b] + sold * gain[a] - cost[at]
                    after = value[at, 0 if bought else b, 0 if sold else a]
                    total = total + np.where(inside, p * q * (paid + after), 0.0)
            worth[:, b, a] = total
    worth[-1, 1:, :] = -np.inf  # no bid at the limit
    worth[0, :, 1:] = -np.inf
    asked = np.full((n_held, n, n, n, n), -np.inf)
    for live_b in range(n):
        for live_a in range(n):
            for b in range(n):
                for a in range(n):
                    stands_b = b if live_b in (0, b) else 0
                    stands_a = a if live_a in (0, a) else 0
                    asked[:, live_b, live_a, b, a] = worth[:, stands_b, stands_a]
    return asked
