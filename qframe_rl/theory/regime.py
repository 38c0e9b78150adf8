"""A drift that switches between up and down: seen, or to be inferred from returns.

State s = ±1 stays with probability p; a return is ``m s + sigma z``. Held for a step, one unit earns the return; a unit
of turnover costs c. Where the state is hidden, the belief b = P(s = 1 | returns so far) is the state (Wonham, 1965; in
discrete time Hamilton, Econometrica 57, 1989): the odds of b are multiplied by exp(2 m r / sigma²) when the return r is
seen, and b becomes p b + (1 - p)(1 - b) with the step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.theory.switching import Switching, switching
from qframe_rl.types import Float

SUREST = 500.0
"""Logarithm of odds beyond which nothing is surer: larger ones would overflow."""


class Filtered(NamedTuple):
    """Optimal policy of the hidden regime, on a grid of beliefs."""

    growth: float
    """Average reward a step."""
    threshold: float
    """Belief above which a short position is turned long; below one minus it, a long one is turned short. 1 where none
    is."""
    belief: Float
    """(N,) grid."""
    policy: Switching
    """What to hold at each."""
    move: Float
    """(N, N) probabilities of going from one to another in a step."""


def observed(stay: float, drift: float, cost: float) -> Switching:
    """Solve the observed regime; states are s = -1 and s = 1.

    Parameters
    ----------
    stay
        Probability p that the state stays.
    drift
        Expected return m in the up state.
    cost
        Cost c of one unit of turnover.

    Returns
    -------
    Switching
        Following the state is worth ``m - 2 c (1 - p)`` a step where that is positive; otherwise nothing is traded.
    """
    return switching(drift * np.array([-1.0, 1.0]), np.array([[stay, 1.0 - stay], [1.0 - stay, stay]]), cost)


def next_belief(belief: Float, returns: Float, stay: float, drift: float, noise: float) -> Float:
    """Belief for the next step after a return was seen.

    Parameters
    ----------
    belief, returns
        Any shapes that broadcast.
    stay, drift, noise
        p, m and sigma.

    Returns
    -------
    Float
        Probability of the up state in the next step, of the shape that the two broadcast to.
    """
    odds = np.exp(np.clip(np.log(belief) - np.log1p(-belief) + 2.0 * drift * returns / noise**2, -SUREST, SUREST))
    posterior = odds / (1.0 + odds)
    return np.asarray(stay * posterior + (1.0 - stay) * (1.0 - posterior))


def hidden(stay: float, drift: float, noise: float, cost: float, n_cells: int = 800) -> Filtered:
    """Solve the hidden regime on a grid of beliefs, with exact probabilities of moving from cell to cell.

    Parameters
    ----------
    stay, drift, noise, cost
        p in (0.5, 1), m, sigma and c.
    n_cells
        Cells of the grid; the error falls with their square.
    """
    edges = np.linspace(1.0 - stay, stay, n_cells + 1)
    belief = 0.5 * (edges[1:] + edges[:-1])
    posterior = (edges[1:-1] - (1.0 - stay)) / (2.0 * stay - 1.0)
    logit = np.log(belief) - np.log1p(-belief)
    # The return that leads from a belief exactly to the edge of a cell.
    r = (np.log(posterior) - np.log1p(-posterior) - logit[:, None]) * noise**2 / (2.0 * drift)
    up, down = _mass((r - drift) / noise), _mass((r + drift) / noise)
    move = belief[:, None] * up + (1.0 - belief)[:, None] * down
    policy = switching(drift * (2.0 * belief - 1.0), move, cost)
    turned = policy.best[0] == 2
    threshold = edges[int(np.argmax(turned))] if turned.any() else 1.0
    return Filtered(policy.growth, float(threshold), belief, policy, move)


def _mass(z: Float) -> Float:
    """(N, M + 1) normal probabilities of the intervals between (N, M) increasing edges."""
    erf: Float = np.asarray(np.frompyfunc(math.erf, 1, 1)(z / math.sqrt(2.0)), dtype=np.float64)
    below = 0.5 * (1.0 + erf)
    ends = np.ones((len(z), 1))
    return np.diff(np.concatenate([0.0 * ends, below, ends], axis=1), axis=1)
