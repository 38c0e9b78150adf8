"""Operators across instruments, and the universe that they range over."""

from __future__ import annotations

import math

import numpy as np

from qframe_rl.alpha.operators import CROSS_ROWS, LEAST_MEMBERS
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import CLOSE, VOLUME, Bool, Float, Int

TRADED, MEDIAN_ROWS = 60, 30
"""Rows that a member has traded in, and those over which its turnover is measured."""
ALIKE = 1e-12
"""A deviation of at most this times the size of the mean counts as none."""


def universe(bars: Float, n_largest: int = 0) -> Bool:
    """Which instruments count at each row.

    An instrument belongs to a row that it trades in, if it traded in 60 of the last 90 rows and is among the largest by
    its median close times volume of the last 30 (those it traded in). Nothing later enters, and nothing earlier than
    90 rows, so that a live window sees the same universe; the first 89 rows have none.

    Parameters
    ----------
    bars
        (T, A, C) channels.
    n_largest
        How many of the largest; 0 takes all.

    Returns
    -------
    Bool
        (T, A).
    """
    shape = bars.shape[:2]
    members = np.zeros(shape, dtype=np.bool_)
    if n_largest <= 0 or n_largest >= shape[1]:
        n_largest = shape[1]
    _universe(bars, n_largest, np.empty((3, max(MEDIAN_ROWS, shape[1]))), members)
    return members


@compiled
def _universe(bars: Float, n_largest: int, scratch: Float, out: Bool) -> None:
    n = bars.shape[1]
    size, traded, window = scratch[0], scratch[1], scratch[2]
    for a in range(n):
        traded[a] = 0.0
    for t in range(len(bars)):
        for a in range(n):
            traded[a] += 1.0 if bars[t, a, CLOSE] == bars[t, a, CLOSE] else 0.0
            if t >= CROSS_ROWS:
                gone = bars[t - CROSS_ROWS, a, CLOSE]
                traded[a] -= 1.0 if gone == gone else 0.0
            there = bars[t, a, CLOSE] == bars[t, a, CLOSE] and traded[a] >= TRADED and t >= CROSS_ROWS - 1
            size[a] = -1.0
            if there and n_largest < n:
                size[a] = _median_turnover(bars, t, a, window)
            out[t, a] = there
        for a in range(n):
            if out[t, a] and n_largest < n:
                larger = 0
                for b in range(n):
                    larger += size[b] > size[a] or (size[b] == size[a] and b < a)
                out[t, a] = larger < n_largest


def leaders(bars: Float, members: Bool) -> Int:
    """Which instrument leads the market at each row: the member of the largest turnover, as `universe` measures it.

    Parameters
    ----------
    bars
        (T, A, C) channels.
    members
        (T, A) the universe.

    Returns
    -------
    Int
        (T,) its number; -1 where the row has no member whose turnover is known.
    """
    found = np.empty(len(bars), dtype=np.int64)
    _leaders(bars, members, np.empty(MEDIAN_ROWS), found)
    return found


@compiled
def _leaders(bars: Float, members: Bool, window: Float, out: Int) -> None:
    for t in range(len(bars)):
        out[t], most = -1, 0.0
        for a in range(bars.shape[1]):
            if members[t, a]:
                size = _median_turnover(bars, t, a, window)
                if size > most:
                    out[t], most = a, size


@compiled
def led(x: Float, leader: Int, out: Float) -> None:
    """Write for every instrument what the leader of the row has.

    Parameters
    ----------
    x
        (T, A).
    leader
        (T,) from `leaders`.
    out
        (T, A) written; NaN where nobody leads, or the leader has no value.
    """
    for t in range(len(x)):
        value = x[t, leader[t]] if leader[t] >= 0 else math.nan
        for a in range(x.shape[1]):
            out[t, a] = value


@inlined
def _median_turnover(bars: Float, t: int, a: int, window: Float) -> float:
    n = 0
    for k in range(max(0, t - MEDIAN_ROWS + 1), t + 1):
        value = bars[k, a, CLOSE] * bars[k, a, VOLUME]
        if value == value:
            i = n
            while i > 0 and window[i - 1] > value:
                window[i] = window[i - 1]
                i -= 1
            window[i] = value
            n += 1
    return 0.0 if n == 0 else 0.5 * (window[(n - 1) // 2] + window[n // 2])


@compiled
def rank(x: Float, members: Bool, scratch: Float, out: Float) -> None:
    """Write ranks among the members of each row: (smaller + half of the equal, itself included) / n.

    Parameters
    ----------
    x
        (T, A).
    members
        (T, A) the universe.
    scratch
        (1, A) memory to work in.
    out
        (T, A) written; NaN outside the universe, where ``x`` is missing, and in rows of fewer than
        `qframe_rl.alpha.operators.LEAST_MEMBERS`.
    """
    for t in range(len(x)):
        n = _taken(x[t], members[t], scratch[0])
        if n < LEAST_MEMBERS:
            for a in range(x.shape[1]):
                out[t, a] = math.nan
        else:
            mid_ranks(scratch[0], out[t])
            for a in range(x.shape[1]):
                out[t, a] /= n


@compiled
def mid_ranks(x: Float, out: Float) -> None:
    """Write smaller + half of the equal, itself included, for each of (A,); NaN stays and does not count."""
    for a in range(len(x)):
        out[a] = x[a] - x[a]  # 0, or NaN
    for b in range(len(x)):
        v = x[b]
        for a in range(len(x)):
            out[a] += (0.5 if v < x[a] else 0.0) + (0.5 if v <= x[a] else 0.0)


@compiled
def zscore(x: Float, members: Bool, scratch: Float, out: Float) -> None:
    """Write distances from the mean of each row's members, in their deviations (of the population).

    Parameters
    ----------
    x, members, scratch, out
        As `rank` has them; NaN also in rows whose members are all alike.
    """
    for t in range(len(x)):
        v = scratch[0]
        n = _taken(x[t], members[t], v)
        total, squares = 0.0, 0.0
        for a in range(len(v)):
            total += v[a] if v[a] == v[a] else 0.0
        mean = total / n
        for a in range(len(v)):
            squares += (v[a] - mean) * (v[a] - mean) if v[a] == v[a] else 0.0
        spread = math.sqrt(squares / n)
        whole = n >= LEAST_MEMBERS and spread > ALIKE * abs(mean)
        for a in range(len(v)):
            z = (v[a] - mean) / spread
            out[t, a] = z if whole and z - z == 0.0 else math.nan


@inlined
def _taken(x: Float, members: Bool, out: Float) -> int:
    """Copy a row with NaN for what does not count; give how many do."""
    n = 0
    for a in range(len(x)):
        out[a] = x[a] if members[a] else math.nan
        n += out[a] == out[a]
    return n
