"""Exact optima of markets that have one: what agents are checked against."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.types import Float


class Flip(NamedTuple):
    """Optimal policy for an AR(1) signal with linear cost: hold ±1, flip when the signal passes the threshold."""

    threshold: float
    """Flip from -1 to +1 above it and back below its negative, in standard deviations of the signal."""
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
    f = np.arange(-6.0, 6.0 + step / 2, step)
    spread = math.sqrt(1.0 - phi * phi)
    move: Float = np.exp(-0.5 * ((f[None, :] - phi * f[:, None]) / spread) ** 2)
    move /= move.sum(axis=1, keepdims=True)
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
    root = f[at] - step * gain[at] / (gain[at] - gain[at - 1])
    return Flip(-float(root), float(change.mean()))
