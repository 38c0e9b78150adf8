"""An AR(1) signal with linear cost of trading (de Lataillade, Deremble, Potters & Bouchaud, 2012)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.theory.switching import Switching, switching
from qframe_rl.types import Float

LIMIT = 6.0
"""Half-width of the grid, standard deviations of the signal."""


class Flip(NamedTuple):
    """Optimal policy for an AR(1) signal with linear cost: hold ±1, flip when the signal passes the threshold."""

    threshold: float
    """Flip from -1 to +1 above it and back below its negative, in standard deviations of the signal; infinite where
    no signal within `LIMIT` is worth a flip."""
    growth: float
    """Average reward per bar, in units of the expected return at a signal of one."""


def ar1_flip(phi: float, cost: float, step: float = 0.01) -> Flip:
    """Solve the AR(1) signal with linear cost by relative value iteration on a grid.

    The reward is ``x f - cost |dx|`` with position x in {-1, 0, 1} and ``f' = phi f + e``, sd(f) = 1. No flat zone is
    optimal: the position is always ±1, and by symmetry one value function h(f) of being long is enough:
    ``h(f) + g = max(f + E h(f'), -f - 2 cost + E h(-f'))``.

    Parameters
    ----------
    phi
        Autocorrelation of the signal, in [0, 1).
    cost
        Cost of one unit of turnover, in units of the expected return at a signal of one.
    step
        Grid step, standard deviations.

    Returns
    -------
    Flip
        Within about ``step`` / 4 of the exact threshold and ``step``² of the exact growth.
    """
    f, move = chain(phi, step)
    h = np.zeros_like(f)
    while True:
        ahead = move @ h
        hold, flip = f + ahead, -f - 2.0 * cost + ahead[::-1]
        new = np.maximum(hold, flip)
        change = new - h
        h = new - new[len(f) // 2]
        if np.ptp(change) < 1e-9:
            break
    gain = hold - flip
    at = int(np.argmax(gain > 0.0))
    if at == 0:
        return Flip(math.inf, float(change.mean()))
    root = f[at] - step * gain[at] / (gain[at] - gain[at - 1])
    return Flip(-float(root), float(change.mean()))


def ar1_switching(phi: float, cost: float, step: float = 0.02) -> tuple[Float, Switching]:
    """Solve the same with all three positions, so that the first trade from flat is known too.

    From flat it is best to wait while the signal is weak: the side is not known yet, and a flip costs twice.

    Parameters
    ----------
    phi, cost, step
        As in `ar1_flip`.

    Returns
    -------
    tuple[Float, Switching]
        (N,) the signals of the grid and what to hold at each.
    """
    f, move = chain(phi, step)
    return f, switching(f, move, cost)


def chain(phi: float, step: float) -> tuple[Float, Float]:
    """(N,) grid of the signal and (N, N) its transition probabilities."""
    f = np.arange(-LIMIT, LIMIT + step / 2, step)
    spread = math.sqrt(1.0 - phi * phi)
    move: Float = np.exp(-0.5 * ((f[None, :] - phi * f[:, None]) / spread) ** 2)
    move /= move.sum(axis=1, keepdims=True)
    return f, move


def small_cost_threshold(phi: float, cost: float) -> float:
    """Threshold of the continuous-time limit for small costs, ``(3/2 c b²)^(1/3)`` with b the sd of an innovation.

    A signal that is seen once a bar is flipped earlier, by about 0.5826 b (the mean overshoot of a random walk;
    Broadie, Glasserman & Kou, 1997).

    Parameters
    ----------
    phi
        Autocorrelation of the signal, near one.
    cost
        As in `ar1_flip`.
    """
    b = math.sqrt(1.0 - phi * phi)
    return float((1.5 * cost * b * b) ** (1.0 / 3.0))
