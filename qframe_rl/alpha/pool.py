"""Pools of formulas: how alike they are, how they are weighed together, and which may come in.

The weights of a pool are those of least squares on standardised signals with a ridge, w = (M + lambda I)^-1 g, from the
mean correlations M among its formulas and their ICs g; the IC of the ensemble is w'g / sqrt(w'Mw).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from qframe_rl.alpha.operators import LEAST_MEMBERS
from qframe_rl.jit import compiled
from qframe_rl.types import Float

Weighing = Literal["ridge", "nonnegative", "l1"]
RIDGE, MOST_ALIKE = 0.2, 0.7
"""Ridge of the weights, and the largest size of a correlation at which a formula still comes in."""


def mutual(one: Float, other: Float) -> float:
    """Mean over rows of the correlation of two formulas among the instruments.

    Parameters
    ----------
    one, other
        (T, A) from `qframe_rl.alpha.score.standing`.

    Returns
    -------
    float
        Rows in which one is flat, or fewer than `qframe_rl.alpha.operators.LEAST_MEMBERS` have both, count as 0; rows
        in which nobody has both do not count, such as those before a lookback.
    """
    return float(_mutual(one, other))


@compiled
def _mutual(one: Float, other: Float) -> float:
    total, rows = 0.0, 0
    for t in range(len(one)):
        n, x, y = 0, 0.0, 0.0
        for a in range(one.shape[1]):
            both = one[t, a] == one[t, a] and other[t, a] == other[t, a]
            n += both
            x += one[t, a] if both else 0.0
            y += other[t, a] if both else 0.0
        rows += n > 0
        if n >= LEAST_MEMBERS:
            x, y = x / n, y / n
            xx, yy, xy = 0.0, 0.0, 0.0
            for a in range(one.shape[1]):
                both = one[t, a] == one[t, a] and other[t, a] == other[t, a]
                u, v = (one[t, a] - x if both else 0.0), (other[t, a] - y if both else 0.0)
                xx, yy, xy = xx + u * u, yy + v * v, xy + u * v
            total += xy / (math.sqrt(xx) * math.sqrt(yy)) if xx > 1e-12 and yy > 1e-12 else 0.0
    return total / rows if rows > 0 else 0.0


def correlations(stands: Sequence[Float]) -> Float:
    """Mean correlations of formulas, (K, K), by `mutual`; 1 on the diagonal."""
    found = np.eye(len(stands))
    for i, one in enumerate(stands):
        for j in range(i):
            found[i, j] = found[j, i] = mutual(one, stands[j])
    return found


def weights(alike: Float, ics: Float, ridge: float = RIDGE, weighing: Weighing = "ridge") -> Float:
    """Weights of a pool's formulas.

    Parameters
    ----------
    alike
        (K, K) from `correlations`.
    ics
        (K,) mean ICs.
    ridge
        What is added to the diagonal; for ``l1`` also the price of a weight's size, times the largest IC.
    weighing
        ``ridge``; ``nonnegative``, the same under w >= 0; ``l1``, with the sum of sizes as the penalty.

    Returns
    -------
    Float
        (K,).

    Raises
    ------
    ValueError
        For a ridge below 0.
    """
    if ridge < 0.0:
        raise ValueError(f"a ridge is at least 0, not {ridge}")
    if weighing == "ridge":
        return np.asarray(np.linalg.solve(alike + ridge * np.eye(len(ics)), ics))
    price = ridge * float(np.abs(ics).max(initial=0.0)) if weighing == "l1" else 0.0
    matrix = alike if weighing == "l1" else alike + ridge * np.eye(len(ics))
    return _descended(matrix, ics, price, nonnegative=weighing == "nonnegative")


def _descended(matrix: Float, ics: Float, price: float, *, nonnegative: bool) -> Float:
    """Minimum of w'Mw / 2 - w'g + price * sum of sizes, coordinate by coordinate."""
    found = np.zeros(len(ics))
    for _ in range(10_000):
        before = found.copy()
        for k in range(len(ics)):
            rest = float(ics[k] - matrix[k] @ found + matrix[k, k] * found[k])
            size = max(0.0, (rest if nonnegative else abs(rest)) - price)
            found[k] = math.copysign(size, rest) / float(matrix[k, k]) if size else 0.0
        if np.abs(found - before).max() <= 1e-15:
            break
    return found


def ensemble_ic(alike: Float, ics: Float, weight: Float) -> float:
    """IC of a weighted pool, w'g / sqrt(w'Mw); 0 where all weights are.

    Parameters
    ----------
    alike
        (K, K) from `correlations`.
    ics
        (K,) mean ICs.
    weight
        (K,) from `weights`.
    """
    size = float(weight @ alike @ weight)
    return float(weight @ ics) / math.sqrt(size) if size > 0.0 else 0.0


def admits(alike: Float, new: int) -> bool:
    """Whether formula ``new`` of (K, K) correlations is unlike enough to all others to come in."""
    others = np.delete(np.abs(alike[new]), new)
    return bool((others <= MOST_ALIKE).all())


def combined(stands: Sequence[Float], weight: Float) -> Float:
    """The pool's signal (T, A): weighted sum of what its formulas say; one that says nothing of a cell adds 0.

    Parameters
    ----------
    stands
        (T, A) each, from `qframe_rl.alpha.score.standing`.
    weight
        (K,).

    Returns
    -------
    Float
        NaN where no formula has a value.
    """
    total, seen = np.zeros(stands[0].shape), np.zeros(stands[0].shape, dtype=np.bool_)
    for one, w in zip(stands, weight, strict=True):
        there = ~np.isnan(one)
        total += np.where(there, w * one, 0.0)
        seen |= there
    return np.where(seen, total, np.nan)
