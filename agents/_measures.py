"""What the adaptive rules measure: z-scores, volatilities, variance ratios, and how calm the market is.

Each number is a function of its own window of bars alone, computed in one order. So a row of a whole history and the
last row of a live window are the same bits.
"""

from __future__ import annotations

import math

import numpy as np

from qframe_rl.features import frozen
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Float, Int

_NOTHING = 1e-20
"""A variance of log returns below this is the rounding of a price that did not move."""


def z_scores(close: Float, first: int, windows: tuple[int, ...]) -> Float:
    """Distances of closes from their means, in standard deviations (population) of the same bars.

    Parameters
    ----------
    close
        (T, A).
    first
        Row to begin with.
    windows
        W lengths in bars.

    Returns
    -------
    Float
        (T - first, A, W); NaN where a bar is missing.
    """
    out = np.empty((len(close) - first, close.shape[1], len(windows)))
    prices = frozen(close.T)
    for a, row in enumerate(prices):
        _z_scores(row, first, frozen(np.array(windows, dtype=np.int64)), out[:, a])
    return out


def volatilities(close: Float, first: int, span: int, cut: int) -> Float:
    """Roots of exponential means of squared log returns, each cut at ``cut`` returns.

    Parameters
    ----------
    close
        (T, A).
    first
        Row to begin with, at least ``cut``.
    span
        Of the exponential mean, bars.
    cut
        Returns that each is computed from.

    Returns
    -------
    Float
        (T - first, A) per bar; NaN where a bar is missing.
    """
    weight = (1.0 - 2.0 / (span + 1.0)) ** np.arange(cut - 1, -1, -1)
    out = np.empty((len(close) - first, close.shape[1]))
    prices, work = frozen(close.T), np.empty(len(close))
    for a, row in enumerate(prices):
        _volatilities(row, first, frozen(weight / weight.sum()), work, out[:, a])
    return out


def variance_ratios(close: Float, horizon: int, bars: int) -> Float:
    """Variance ratios of Lo & MacKinlay (1988, equations 12-13): below 1 returns revert, above 1 they go on.

    Parameters
    ----------
    close
        (W, A).
    horizon
        Bars of the longer return.
    bars
        Returns that each ratio is measured from.

    Returns
    -------
    Float
        (W - bars, A); NaN where a bar is missing, 1 where nothing moved.
    """
    out = np.empty((len(close) - bars, close.shape[1]))
    prices, work = frozen(close.T), np.empty((3, len(close)))
    for a, row in enumerate(prices):
        _variance_ratios(row, horizon, bars, work, out[:, a])
    return out


def ranks(values: Float, memory: int) -> Float:
    """(T - memory + 1, A) share of the last ``memory`` of (T, A) values that are not above the last one."""
    out = np.empty((len(values) - memory + 1, values.shape[1]))
    for a, row in enumerate(frozen(values.T)):
        _ranks(row, memory, out[:, a])
    return out


def logs(values: Float) -> Float:
    """Natural logarithms of (T, A) values; NumPy's own may differ in the last bit with an array's layout."""
    out = np.empty(values.shape)
    _logs(frozen(values), out)
    return out


def log_returns(close: Float) -> Float:
    """(T - 1, A) log returns of (T, A) closes."""
    found = logs(close)
    return found[1:] - found[:-1]


@compiled
def _logs(values: Float, out: Float) -> None:
    for t in range(values.shape[0]):
        for a in range(values.shape[1]):
            out[t, a] = math.log(values[t, a])


@compiled
def _z_scores(close: Float, first: int, windows: Int, out: Float) -> None:
    for t in range(first, len(close)):
        for w in range(len(windows)):
            recent = close[t - windows[w] + 1 : t + 1]
            mean = _sum(recent) / windows[w]
            spread = math.sqrt(_squares(recent, mean) / windows[w])
            out[t - first, w] = (close[t] - mean) / (1e-12 if spread <= 1e-12 else spread)


@compiled
def _volatilities(close: Float, first: int, weight: Float, work: Float, out: Float) -> None:
    n = len(weight)
    work[0] = math.nan
    for t in range(1, len(close)):
        move = math.log(close[t]) - math.log(close[t - 1])
        work[t] = move * move
    for t in range(first, len(close)):
        out[t - first] = math.sqrt(_product(work[t - n + 1 : t + 1], weight))


@compiled
def _variance_ratios(close: Float, horizon: int, bars: int, work: Float, out: Float) -> None:
    logs, single, long = work[0], work[1], work[2]
    for t in range(len(close)):
        logs[t] = math.log(close[t])
        single[t] = logs[t] - logs[max(t - 1, 0)]
        long[t] = logs[t] - logs[max(t - horizon, 0)]
    free = horizon * (bars - horizon + 1) * (1.0 - horizon / bars)
    for t in range(bars, len(close)):
        mean = (logs[t] - logs[t - bars]) / bars
        variance = _squares(single[t - bars + 1 : t + 1], mean) / (bars - 1)
        longer = _squares(long[t - bars + horizon : t + 1], horizon * mean) / free
        out[t - bars] = 1.0 if variance <= _NOTHING else longer / variance


@compiled
def _ranks(values: Float, memory: int, out: Float) -> None:
    for t in range(memory - 1, len(values)):
        within = known = 0
        for k in range(t - memory + 1, t + 1):
            within += values[k] <= values[t]
            known += values[k] == values[k]
        out[t - memory + 1] = within / max(known, 1)


@inlined
def _sum(x: Float) -> float:
    """Sum, in four strands: one alone would wait for each addition."""
    one = two = three = four = 0.0
    whole = len(x) // 4 * 4
    for k in range(0, whole, 4):
        one += x[k]
        two += x[k + 1]
        three += x[k + 2]
        four += x[k + 3]
    for k in range(whole, len(x)):
        one += x[k]
    return (one + two) + (three + four)


@inlined
def _squares(x: Float, mean: float) -> float:
    """Sum of squared distances from ``mean``, in four strands."""
    one = two = three = four = 0.0
    whole = len(x) // 4 * 4
    for k in range(0, whole, 4):
        one += (x[k] - mean) ** 2
        two += (x[k + 1] - mean) ** 2
        three += (x[k + 2] - mean) ** 2
        four += (x[k + 3] - mean) ** 2
    for k in range(whole, len(x)):
        one += (x[k] - mean) ** 2
    return (one + two) + (three + four)


@inlined
def _product(x: Float, y: Float) -> float:
    """Sum of products, in four strands."""
    one = two = three = four = 0.0
    whole = len(x) // 4 * 4
    for k in range(0, whole, 4):
        one += x[k] * y[k]
        two += x[k + 1] * y[k + 1]
        three += x[k + 2] * y[k + 2]
        four += x[k + 3] * y[k + 3]
    for k in range(whole, len(x)):
        one += x[k] * y[k]
    return (one + two) + (three + four)
