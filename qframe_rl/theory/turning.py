"""A signal whose sign turns: the drift is ``s f``, f as in `qframe_rl.theory.ar1`, with a hidden regime s = ±1.

A return is ``s f + sigma z``; s goes from 1 to -1 with probability ``turn`` and back with ``back``. Holding x for a
step pays ``x s f - cost |dx|``. Told s, the pair (s, f) is a chain. Hidden, the belief ``b = P(s = 1 | all seen)``
takes its place (Hamilton, 1989): the odds of b are multiplied by ``exp(2 f r / sigma²)`` when r is seen after f.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.theory.ar1 import chain
from qframe_rl.theory.switching import POSITIONS, Switching, switching
from qframe_rl.types import Float, Int

_NODES = 15
"""Of the quadrature over a return."""
_ENOUGH = 1e-7
"""Error of the average reward at which iteration ends."""


class Turning(NamedTuple):
    """Parameters."""

    phi: float
    """Autocorrelation of the signal, whose standard deviation is 1."""
    cost: float
    """Of one unit of turnover, in expected returns at a signal of one."""
    noise: float
    """sigma."""
    turn: float
    """Probability of going from s = 1 to -1 in a step."""
    back: float
    """Probability of going from -1 to 1."""

    @property
    def usual(self) -> float:
        """Long-run share of s = 1."""
        return self.back / (self.turn + self.back)


class Told(NamedTuple):
    """Optimal policy where s is seen."""

    growth: float
    """Average reward a step."""
    signal: Float
    """(N,) grid of f."""
    best: Int
    """(3, 2, N) index of what to hold, by what is held, s = -1 or 1, and f."""
    policy: Switching
    """The same over the 2 N states, those of s = -1 first."""
    move: Float
    """(2 N, 2 N) their transitions."""


class Believing(NamedTuple):
    """Optimal policy where s is hidden, on a grid."""

    growth: float
    """Average reward a step."""
    signal: Float
    """(N,) grid of f."""
    belief: Float
    """(M,) grid of b."""
    best: Int
    """(3, M, N) index of what to hold, by what is held, belief and signal."""


def told(p: Turning, step: float = 0.04) -> Told:
    """Solve it where s is seen, on a grid of f with this step."""
    signal, move = chain(p.phi, step)
    regimes = np.array([[1.0 - p.back, p.back], [p.turn, 1.0 - p.turn]])
    both = np.kron(regimes, move)
    policy = switching(np.concatenate([-signal, signal]), both, p.cost, tolerance=1e-8)
    return Told(policy.growth, signal, policy.best.reshape(3, 2, -1), policy, both)


def next_belief(belief: Float, signal: Float, returns: Float, p: Turning) -> Float:
    """Belief for the next step.

    Parameters
    ----------
    belief, signal, returns
        b and f of a step, and the return that was seen in it; any shapes that broadcast.
    p
        Parameters.

    Returns
    -------
    Float
        Of the shape that they broadcast to.
    """
    with np.errstate(over="ignore"):
        against = (1.0 - belief) / belief * np.exp(-2.0 * signal * returns / p.noise**2)
    after = 1.0 / (1.0 + against)
    return np.asarray(after * (1.0 - p.turn) + (1.0 - after) * p.back)


@cache
def hidden(p: Turning, step: float = 0.2, cells: int = 48) -> Believing:
    """Solve it where s is hidden, by relative value iteration over belief and signal.

    Values are interpolated by cubics between beliefs. Linear ones would make a random step of the slow drift of the
    belief, worth 0.5 % with 64 cells.

    Parameters
    ----------
    p
        Parameters.
    step
        Of the grid of f.
    cells
        Of the grid of b, which is even in its log odds.
    """
    model = _Model(p, step, cells)
    seen = told(p, step)
    h = _start(seen, p.cost, model)
    while True:
        new, best = model.improved(h)
        change = new - h
        h = new - new[1, 0, 0]
        if np.ptp(change) < _ENOUGH:
            break
    return Believing(float(0.5 * (change.max() + change.min())), model.signal, model.belief, best)


def _start(seen: Told, cost: float, model: _Model) -> Float:
    """(3, M, N) values to begin with: those of one who will be told s, which differ little from step to step."""
    n = len(seen.signal)
    h = np.zeros((3, 2 * n))
    drift = np.concatenate([-seen.signal, seen.signal])
    fee = cost * np.abs(POSITIONS[:, None] - POSITIONS)[:, :, None]
    for _ in range(400):
        h = ((POSITIONS[:, None] * drift + h @ seen.move.T)[None] - fee).max(axis=1)
        h -= h[1, n // 2]
    down, up = h[:, None, :n], h[:, None, n:]
    return np.asarray(down + model.belief[None, :, None] * (up - down))


def expected_total(p: Turning, found: Believing, n_steps: int) -> float:
    """Expected sum of rewards over the first steps, from flat, the usual belief and the usual signal.

    Parameters
    ----------
    p, found
        Parameters and the policy.
    n_steps
        Steps that are counted.
    """
    model = _Model(p, float(found.signal[1] - found.signal[0]), len(found.belief) - 1)
    total = np.zeros((3, len(found.belief), len(found.signal)))
    for _ in range(n_steps):
        total = model.followed(total, found.best)
    start = np.exp(-0.5 * found.signal**2)
    at_signal = total[1] @ (start / start.sum())
    return float(np.interp(p.usual, found.belief, at_signal))


def logit(b: Any) -> Any:
    """Log odds of a probability."""
    return np.log(b) - np.log1p(-b)


def _cubic(x: Float) -> tuple[Float, Float, Float, Float]:
    """Lagrange weights of the points 0, 1, 2 and 3 for a value at x."""
    a, b, c = x - 1.0, x - 2.0, x - 3.0
    return -a * b * c / 6.0, x * b * c / 2.0, -x * a * c / 2.0, x * a * b / 6.0


class _Model:
    """The chain over belief and signal.

    Parameters
    ----------
    p, step, cells
        As in `hidden`.
    """

    def __init__(self, p: Turning, step: float, cells: int):
        self.signal, self.onward = chain(p.phi, step)
        self.odds = np.linspace(logit(p.back), logit(1.0 - p.turn), cells + 1)
        self.belief = 1.0 / (1.0 + np.exp(-self.odds))
        self.learn = self._learning(p)
        self.pays = POSITIONS[:, None, None] * self.signal * (2.0 * self.belief - 1.0)[:, None]
        self.fee = p.cost * np.abs(POSITIONS[:, None] - POSITIONS)[:, :, None, None]

    def _learning(self, p: Turning) -> Float:
        """(N, M, M) probabilities of the next belief, by signal and belief."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        weights = weights / math.sqrt(2.0 * math.pi)
        n, m = len(self.signal), len(self.belief)
        out = np.zeros((n, m, m))
        rows = np.broadcast_to(np.arange(n)[:, None], (n, m)), np.broadcast_to(np.arange(m), (n, m))
        width = self.odds[1] - self.odds[0]
        for sign, chance in ((1.0, self.belief), (-1.0, 1.0 - self.belief)):
            for z, weight in zip(nodes, weights, strict=True):
                returns = sign * self.signal[:, None] + p.noise * z
                place = (logit(next_belief(self.belief, self.signal[:, None], returns, p)) - self.odds[0]) / width
                first = np.clip(place.astype(np.int64) - 1, 0, m - 4)
                for k, part in enumerate(_cubic(place - first)):
                    np.add.at(out, (*rows, first + k), weight * chance * part)
        return out

    def _ahead(self, h: Float) -> Float:
        """(3, M, N) expectation of values a step on."""
        later = h @ self.onward.T
        return np.asarray(np.matmul(self.learn, later.transpose(2, 1, 0)).transpose(2, 1, 0))

    def improved(self, h: Float) -> tuple[Float, Int]:
        """Values of the best positions, and the positions."""
        worth = (self.pays + self._ahead(h))[None] - self.fee
        best = worth.argmax(axis=1)
        return np.take_along_axis(worth, best[:, None], axis=1)[:, 0], best.astype(np.int64)

    def followed(self, h: Float, best: Int) -> Float:
        """Values of given positions."""
        worth = (self.pays + self._ahead(h))[None] - self.fee
        return np.asarray(np.take_along_axis(worth, best[:, None], axis=1)[:, 0])
