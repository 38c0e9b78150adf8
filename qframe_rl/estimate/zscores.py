"""Z-scores and volatility regimes of a price, many rows side by side.

Each row's sum is added in the order in which it would be alone, so the bits are the same for one row and for a history.
"""

from __future__ import annotations

import math

from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Float

TOGETHER = 256
"""Rows that are measured side by side: their sums stay in the first cache."""


@compiled
def measure_scores(close: Float, n: int, sums: Float, out: Float) -> None:
    """Write (rows,) z-scores of closes among the last ``n``, the first row being that of close n - 1.

    NaN scores, from bars that are missing, compare as neither.

    Parameters
    ----------
    close
        (rows + n - 1,) closes; NaN = missing.
    n
        Bars that each score looks back over, its own among them.
    sums
        (5, `TOGETHER`) scratch.
    out
        (rows,) written: distance from the mean in standard deviations (of the population, at least 1e-12).
    """
    for begin in range(0, len(out), TOGETHER):
        count = min(TOGETHER, len(out) - begin)
        x, z, mean = close[begin : begin + count + n - 1], out[begin : begin + count], sums[4]
        _add(x, n, count, sums)
        for k in range(count):
            mean[k] = sums[0, k] / n
        _add_squares(x, n, mean, count, sums)
        for k in range(count):
            spread = math.sqrt(sums[0, k] / n)
            z[k] = (x[n - 1 + k] - mean[k]) / (1e-12 if spread <= 1e-12 else spread)


@compiled
def measure_regime(
    close: Float, regime_bars: int, n: int, quiet: float, wild: float, work: Float, sums: Float, scale: Float,
    volatility: Float,
) -> None:  # fmt: skip
    """Write (rows,) volatilities over ``n`` bars, and multipliers from where each stands among ``regime_bars``.

    Parameters
    ----------
    close
        (rows + regime_bars - 1 + n,) closes above zero; NaN = missing.
    regime_bars
        Volatilities among which one is placed, itself included.
    n
        Moves that one volatility is measured on.
    quiet, wild
        Multipliers while it is below the lower, above the upper quartile of them; in between it is 1.
    work
        (3, len(close)) scratch.
    sums
        (5, `TOGETHER`) scratch.
    scale, volatility
        (rows,) written: multipliers, and standard deviations of a bar's log return.
    """
    logs, moves, trailing = work[0], work[1], work[2, : len(close) - n]
    for t in range(len(close)):
        logs[t] = math.log(close[t])
        moves[t] = logs[t] - logs[max(t - 1, 0)]
    for begin in range(0, len(trailing), TOGETHER):
        count = min(TOGETHER, len(trailing) - begin)
        out, drift, log = trailing[begin : begin + count], sums[4], logs[begin : begin + count + n]
        for k in range(count):
            drift[k] = (log[k + n] - log[k]) / n
        _add_squares(moves[begin + 1 : begin + count + n], n, drift, count, sums)
        for k in range(count):
            out[k] = math.sqrt(sums[0, k] / n)
    for begin in range(0, len(scale), TOGETHER):
        count = min(TOGETHER, len(scale) - begin)
        x = trailing[begin : begin + count + regime_bars - 1]
        _place(x, regime_bars, count, sums)
        for k in range(count):
            volatility[begin + k] = x[regime_bars - 1 + k]
            scale[begin + k] = _multiplier(sums[0, k], sums[1, k], sums[2, k], regime_bars, quiet, wild)


@inlined
def _place(x: Float, n: int, count: int, counts: Float) -> None:
    """Count how many of ``n`` numbers from each on are below the last of them, not above it, and above it."""
    below, within, above, last = counts[0], counts[1], counts[2], x[n - 1 :]
    for k in range(count):
        below[k] = within[k] = above[k] = 0.0
    for j in range(n):
        y = x[j:]
        for k in range(count):
            below[k] += 1.0 if y[k] < last[k] else 0.0
            within[k] += 1.0 if y[k] <= last[k] else 0.0
            above[k] += 1.0 if y[k] > last[k] else 0.0


@inlined
def _multiplier(below: float, within: float, above: float, n: int, quiet: float, wild: float) -> float:
    """Multiplier while the last of n volatilities is below their lower or above their upper quartile.

    The last one is among them, so how many lie below it, and how many not above, say on which side of an interpolated
    quartile it is; nothing need be sorted.
    """
    if within + above < n:
        return 1.0
    low, high = 0.25 * (n - 1), 0.75 * (n - 1)
    if within <= (int(low) + 1 if low > int(low) else int(low)):
        return quiet
    return wild if below > int(high) else 1.0


@inlined
def _add(x: Float, n: int, count: int, sums: Float) -> None:
    """Write the sum of ``n`` numbers from each on to ``sums[0]``, added in four strands as `_add_squares` does."""
    one, two, three, four = sums[0], sums[1], sums[2], sums[3]
    for k in range(count):
        one[k] = two[k] = three[k] = four[k] = 0.0
    whole = n // 4 * 4
    for j in range(0, whole, 4):
        y = x[j:]
        for k in range(count):
            one[k] += y[k]
            two[k] += y[k + 1]
            three[k] += y[k + 2]
            four[k] += y[k + 3]
    for j in range(whole, n):
        y = x[j:]
        for k in range(count):
            one[k] += y[k]
    for k in range(count):
        one[k] = (one[k] + two[k]) + (three[k] + four[k])


@inlined
def _add_squares(x: Float, n: int, mean: Float, count: int, sums: Float) -> None:
    """Write the sum of squared distances of ``n`` numbers from each on from ``mean`` to ``sums[0]``."""
    one, two, three, four = sums[0], sums[1], sums[2], sums[3]
    for k in range(count):
        one[k] = two[k] = three[k] = four[k] = 0.0
    whole = n // 4 * 4
    for j in range(0, whole, 4):
        y = x[j:]
        for k in range(count):
            one[k] += (y[k] - mean[k]) ** 2
            two[k] += (y[k + 1] - mean[k]) ** 2
            three[k] += (y[k + 2] - mean[k]) ** 2
            four[k] += (y[k + 3] - mean[k]) ** 2
    for j in range(whole, n):
        y = x[j:]
        for k in range(count):
            one[k] += (y[k] - mean[k]) ** 2
    for k in range(count):
        one[k] = (one[k] + two[k]) + (three[k] + four[k])
