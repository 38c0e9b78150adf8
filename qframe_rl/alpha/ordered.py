"""Rolling operators that look at a whole window: median, rank of the newest, mean distance from the mean.

The median is found by counts: each row of a window keeps how many of the others stand before it; a row that enters or
leaves changes each count by at most one. Counts are whole numbers, so where they began changes no bit.
"""

from __future__ import annotations

import math

from qframe_rl.jit import compiled
from qframe_rl.types import Float


@compiled
def median(x: Float, w: int, scratch: Float, out: Float) -> None:
    """Write the median of windows of ``w`` rows; the middle two of an even number are averaged.

    Parameters
    ----------
    x
        (T, A).
    w
        Rows of a window.
    scratch
        (at least w + 1, A) memory to work in: a count for each row of the window, then how many are missing.
    out
        (T, A) written; NaN where one is missing.
    """
    n, low, high = x.shape[1], float((w - 1) // 2), float(w // 2)
    share = 1.0 if w % 2 else 0.5
    missing = scratch[w]
    for a in range(n):
        missing[a] = 0.0
    for t in range(len(x)):
        begin, slot = max(0, t - w + 1), scratch[t % w]
        if t >= w:
            _leave(x, t - w, w, scratch, missing)
        for a in range(n):
            slot[a] = 0.0
            missing[a] += 0.0 if x[t, a] == x[t, a] else 1.0
        for k in range(begin, t):
            _enter(x[k], x[t], scratch[k % w], slot)
        for a in range(n):
            out[t, a] = 0.0
        for k in range(begin, t + 1):
            _pick(x[k], scratch[k % w], low, high, out[t])
        for a in range(n):
            value = out[t, a] * share
            whole = t >= w - 1 and missing[a] == 0.0 and value - value == 0.0
            out[t, a] = value if whole else math.nan


@compiled
def _leave(x: Float, gone: int, w: int, counts: Float, missing: Float) -> None:
    """Take the row ``gone`` out of the counts of the rows after it."""
    for a in range(x.shape[1]):
        missing[a] -= 0.0 if x[gone, a] == x[gone, a] else 1.0
    for k in range(gone + 1, gone + w):
        count = counts[k % w]
        for a in range(x.shape[1]):
            count[a] -= 0.0 if x[gone, a] > x[k, a] else 1.0


@compiled
def _enter(old: Float, new: Float, count: Float, own: Float) -> None:
    """Count a new row and an older one against each other; of two that are equal the older stands before."""
    for a in range(len(old)):
        after = 1.0 if old[a] > new[a] else 0.0
        count[a] += after
        own[a] += 1.0 - after


@compiled
def _pick(x: Float, count: Float, low: float, high: float, out: Float) -> None:
    """Add what stands in the middle."""
    for a in range(len(x)):
        out[a] += x[a] if count[a] == low or count[a] == high else 0.0


@compiled
def rank_of_newest(x: Float, w: int, out: Float) -> None:
    """Write the rank of the newest among ``w`` rows: (smaller + half of the equal, itself included) / w.

    Parameters
    ----------
    x
        (T, A).
    w
        Rows of a window.
    out
        (T, A) written; NaN where one is missing.
    """
    for t in range(len(x)):
        for a in range(x.shape[1]):
            out[t, a] = 0.5 if t >= w - 1 and x[t, a] == x[t, a] else math.nan
        for k in range(max(0, t - w + 1), t):
            _compare(x[k], x[t], out[t])
        for a in range(x.shape[1]):
            out[t, a] /= w


@compiled
def _compare(old: Float, new: Float, out: Float) -> None:
    for a in range(len(old)):
        beaten = 1.0 if old[a] < new[a] else 0.0
        beaten = 0.5 if old[a] == new[a] else beaten
        out[a] += beaten if old[a] == old[a] else math.nan


@compiled
def mean_distance(x: Float, w: int, scratch: Float, out: Float) -> None:
    """Write the mean distance from the mean of ``w`` rows.

    Parameters
    ----------
    x
        (T, A).
    w
        Rows of a window.
    scratch
        (1, A) memory to work in.
    out
        (T, A): holds the means of the windows, and is written over.
    """
    total = scratch[0]
    for t in range(w - 1, len(x)):
        for a in range(x.shape[1]):
            total[a] = 0.0
        for k in range(t - w + 1, t + 1):
            _add_distance(x[k], out[t], total)
        for a in range(x.shape[1]):
            mean = total[a] / w
            out[t, a] = mean if mean - mean == 0.0 else math.nan


@compiled
def _add_distance(x: Float, mean: Float, total: Float) -> None:
    for a in range(len(x)):
        total[a] += abs(x[a] - mean[a])
