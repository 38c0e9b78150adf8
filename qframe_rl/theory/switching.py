"""Holding -1, 0 or 1 of something whose drift follows a Markov chain, at a cost of trading: solved exactly.

An AR(1) signal, an observed regime and the belief in a hidden one are such chains. The average reward g and the
relative value h solve ``h(n, i) + g = max_j [ x_j drift_n - cost |x_j - x_i| + sum_m P(n, m) h(m, j) ]`` (Puterman,
Markov Decision Processes, 1994, section 8.4).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.types import Float, Int

POSITIONS: Float = np.array([-1.0, 0.0, 1.0])


class Switching(NamedTuple):
    """Optimal policy over N states of the chain."""

    growth: float
    """Average reward a step, in units of the drift."""
    best: Int
    """(3, N) index into `POSITIONS` to hold, by the position that is held (-1, 0, 1) and the state."""


def switching(drift: Float, move: Float, cost: float, *, tolerance: float = 1e-10) -> Switching:
    """Solve the chain by relative value iteration.

    Parameters
    ----------
    drift
        (N,) expected reward of holding 1 for a step, by state.
    move
        (N, N) transition probabilities; rows sum to one.
    cost
        Cost of one unit of turnover, in units of the drift.
    tolerance
        Largest error of the average reward.

    Returns
    -------
    Switching
        The average reward and the best position for each state.
    """
    fee = cost * np.abs(POSITIONS[:, None] - POSITIONS)[:, :, None]
    h = np.zeros((3, len(drift)))
    onward = np.ascontiguousarray(move.T)
    while True:
        held = POSITIONS[:, None] * drift + h @ onward
        new = (held[None] - fee).max(axis=1)
        change = new - h
        h = new - new[1, len(drift) // 2]
        if np.ptp(change) < tolerance:
            break
    best = (held[None] - fee).argmax(axis=1).astype(np.int64)
    return Switching(float(0.5 * (change.max() + change.min())), best)


def expected_total(policy: Switching, drift: Float, move: Float, cost: float, start: Float, n_steps: int) -> float:
    """Expected sum of rewards of a policy over its first steps, from holding nothing.

    Parameters
    ----------
    policy
        What to hold.
    drift, move, cost
        As in `switching`.
    start
        (N,) probabilities of the states in the first step.
    n_steps
        Steps that are counted.
    """
    states = np.arange(len(drift))
    mass = np.zeros((3, len(drift)))
    mass[1] = start
    total = 0.0
    for _ in range(n_steps):
        after = np.zeros_like(mass)
        for held, x in enumerate(POSITIONS):
            chosen = policy.best[held]
            total += float(mass[held] @ (POSITIONS[chosen] * drift - cost * np.abs(POSITIONS[chosen] - x)))
            after[chosen, states] += mass[held]
        mass = after @ move
    return total
