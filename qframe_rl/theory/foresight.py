"""The best that hindsight could have done: a bound for every strategy, and a teacher for imitation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.jit import compiled
from qframe_rl.types import Float, Int


class Path(NamedTuple):
    """The best sequence of choices."""

    choice: Int
    """(T,) index of the best choice at each step."""
    value: float
    """What it earns in all, net of switching."""


def best_path(gains: Float, switch: Float, start: int) -> Path:
    """Choose one of K things at each of T steps, knowing all gains beforehand.

    Maximises ``sum_t gains[t, k_t] - switch[k_(t-1), k_t]`` by dynamic programming in O(T K²) (Viterbi, IEEE
    Transactions on Information Theory 13, 1967). Among equally good choices the one with the smallest index is taken.

    Parameters
    ----------
    gains
        (T, K) what each choice earns in each step.
    switch
        (K, K) cost of going from one choice to another.
    start
        Choice before the first step.

    Raises
    ------
    ValueError
        If shapes do not fit, ``start`` is none of the choices, or a number is not finite.
    """
    n_steps, n = np.shape(gains)
    if np.shape(switch) != (n, n) or not 0 <= start < n:
        raise ValueError(f"gains {np.shape(gains)}, switch {np.shape(switch)} and start {start} do not fit together")
    if not (np.isfinite(gains).all() and np.isfinite(switch).all()):
        raise ValueError("gains and switch must be finite")
    came = np.zeros((n_steps, n), dtype=np.int64)
    score, work = np.full(n, -np.inf), np.zeros(n)
    score[start] = 0.0
    choice = np.zeros(n_steps, dtype=np.int64)
    _viterbi(np.asarray(gains, dtype=np.float64), np.asarray(switch, dtype=np.float64), came, score, work, choice)
    return Path(choice, float(score.max()) if n_steps else 0.0)


def hindsight(returns: Float, positions: Float, cost: float, start: float = 0.0) -> tuple[Float, float]:
    """Positions that earn most from known returns at a linear cost of trading.

    Parameters
    ----------
    returns
        (T,) return of the step that follows each decision, on one unit held.
    positions
        (K,) positions to choose from.
    cost
        Cost of one unit of turnover, in units of the returns.
    start
        Position before the first decision, one of ``positions``.

    Returns
    -------
    tuple[Float, float]
        (T,) positions to hold and the sum of ``x r - cost |dx|``.

    Raises
    ------
    ValueError
        If ``start`` is not among the positions.
    """
    found = np.flatnonzero(positions == start)
    if len(found) == 0:
        raise ValueError(f"start {start} is not among the positions {positions}")
    switch = cost * np.abs(positions[:, None] - positions)
    path = best_path(returns[:, None] * positions, switch, int(found[0]))
    return positions[path.choice], path.value


def flat_to_flat(flow: Float, flat: int) -> Path:
    """Positions that bring in most money from flat at the first row to flat at the last, when all prices are known.

    No policy can earn more, whatever it sees: `best_path` with prices that differ from row to row and by direction, and
    with trades that cannot be had.

    Parameters
    ----------
    flow
        (T, K, K) money that going from position i to j at row t brings in, negative where it is paid; -inf where it
        cannot be had. What a position is worth between rows is in the money that leaving it brings.
    flat
        The position before the first row and after the last.

    Returns
    -------
    Path
        The position after each row, the last being flat, and the money. Of equal ones the smallest index is taken.

    Raises
    ------
    ValueError
        If shapes do not fit, a number is NaN, or flat cannot be reached at the end.
    """
    n_steps, n, _ = np.shape(flow)
    if np.shape(flow) != (n_steps, n, n) or not 0 <= flat < n:
        raise ValueError(f"flow {np.shape(flow)} and flat {flat} do not fit together")
    if np.isnan(flow).any():
        raise ValueError("flow must not be NaN")
    came = np.zeros((n_steps, n), dtype=np.int64)
    score, work = np.full(n, -np.inf), np.zeros(n)
    score[flat] = 0.0
    choice = np.zeros(n_steps, dtype=np.int64)
    _account(np.asarray(flow, dtype=np.float64), came, score, work, choice, flat)
    if np.isneginf(score[flat]):
        raise ValueError("flat cannot be reached at the last row")
    return Path(choice, float(score[flat]))


def proportional(prices: Float, positions: Float, fee: float) -> Float:
    """(T, K, K) money that going from one position to another brings in at a fee on what is traded.

    Parameters
    ----------
    prices
        (T,) at which any amount trades.
    positions
        (K,) signed units.
    fee
        Fraction of what is traded.
    """
    change = positions - positions[:, None]
    return np.asarray(-prices[:, None, None] * (change + fee * np.abs(change)))


@compiled
def _account(flow: Float, came: Int, score: Float, work: Float, choice: Int, flat: int) -> None:
    n_steps, n = flow.shape[0], flow.shape[1]
    for t in range(n_steps):
        for k in range(n):
            best = 0
            for j in range(1, n):
                if score[j] + flow[t, j, k] > score[best] + flow[t, best, k]:
                    best = j
            came[t, k] = best
            work[k] = score[best] + flow[t, best, k]
        for k in range(n):
            score[k] = work[k]
    at = flat
    for t in range(n_steps - 1, -1, -1):
        choice[t] = at
        at = came[t, at]


@compiled
def _viterbi(gains: Float, switch: Float, came: Int, score: Float, work: Float, choice: Int) -> None:
    n_steps, n = gains.shape
    for t in range(n_steps):
        for k in range(n):
            best = 0
            for j in range(1, n):
                if score[j] - switch[j, k] > score[best] - switch[best, k]:
                    best = j
            came[t, k] = best
            work[k] = score[best] - switch[best, k] + gains[t, k]
        for k in range(n):
            score[k] = work[k]
    at = 0
    for k in range(1, n):
        if score[k] > score[at]:
            at = k
    for t in range(n_steps - 1, -1, -1):
        choice[t] = at
        at = came[t, at]
