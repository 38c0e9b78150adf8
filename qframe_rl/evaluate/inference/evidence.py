"""The compiled arithmetic of `sequential` and `paired`: sums over blocks of bars, and what they show.

Arrays have the sessions, or pairs of them, B, as their last axis. Blocks have 1, 2, 4 and so on bars: level k those of
2^k.
"""

from __future__ import annotations

import math

from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Bool, Float

LEVELS = 26
"""Lengths of blocks: powers of two up to 2^25 bars."""
BLOCKS = 32
"""Blocks of a length from which on their variance counts."""
_FAR = -30.0
"""Where the normal distribution is so small that its logarithm is taken from its expansion."""


@compiled
def add_bar(n: int, rate: Float, total: Float, half: Float, whole: Float, square: Float) -> None:
    """Add the returns of a bar.

    Parameters
    ----------
    n
        Bars, this one included.
    rate
        (B,) returns.
    total
        (2, B) sums of returns and of their squares.
    half
        (`LEVELS`, 2, B) the same over the first halves of blocks whose second is under way.
    whole
        (`LEVELS`, 2, B) over all whole blocks.
    square
        (`LEVELS`, 3, B) sums over whole blocks of products of their sums: 11, 12, 22.
    """
    for b in range(len(rate)):
        one, two = rate[b], rate[b] * rate[b]
        total[0, b] += one
        total[1, b] += two
        for level in range(LEVELS):
            whole[level, 0, b] += one
            whole[level, 1, b] += two
            square[level, 0, b] += one * one
            square[level, 1, b] += one * two
            square[level, 2, b] += two * two
            if (n >> level) & 1:
                half[level, 0, b], half[level, 1, b] = one, two
                break
            one += half[level, 0, b]
            two += half[level, 1, b]


@compiled
def judge(
    n: int, total: Float, whole: Float, square: Float, centre: float, lost: float, spread: float, ratio: Float,
    evidence: Float, early: Float, known: Bool,
) -> None:  # fmt: skip
    """Judge what was earned so far.

    Parameters
    ----------
    n, total, whole, square
        As in `add_bar`.
    centre, lost, spread
        Of the forecast, per bar.
    ratio
        (B,) becomes mean over deviation; 0 where nothing varied.
    evidence
        (B,) becomes the logarithm of how much likelier this is under lower ratios than under the forecast.
    early
        (B,) becomes what that would be had ``lost`` been earned.
    known
        (B,) becomes whether anything varied.
    """
    for b in range(total.shape[1]):
        mean = total[0, b] / n
        squared = max(total[1, b] / n - mean * mean, 0.0) * n / (n - 1)
        known[b] = squared > 1e-12 * mean * mean and squared > 0.0
        ratio[b] = evidence[b] = early[b] = 0.0
        if not known[b]:
            continue
        ratio[b] = mean / math.sqrt(squared)
        variance = _long_run(n, b, ratio[b], mean, math.sqrt(squared), whole, square)
        known[b] = variance > 0.0
        if known[b]:
            evidence[b] = _against(ratio[b], variance, n, centre, centre - lost, spread)
            early[b] = _against(lost, variance, n, centre, centre - lost, spread)


@compiled
def compare(
    n: int, total: Float, whole: Float, square: Float, width: float, mean: Float, error: Float, ahead: Float,
    behind: Float,
) -> None:  # fmt: skip
    """Judge by how much one of a pair earned more than the other so far.

    Parameters
    ----------
    n, total, whole, square
        As in `add_bar`, of what one earned more than the other.
    width
        Standard deviation of the weights given to gaps, in deviations of a bar.
    mean
        (B,) becomes the mean of a bar.
    error
        (B,) becomes the deviation of that mean times the root of the bars; 0 where nothing varied.
    ahead, behind
        (B,) become the logarithms of how much likelier this is with a gap above 0, or below, than without one.
    """
    for b in range(total.shape[1]):
        mean[b] = total[0, b] / n
        variance = _long_run(n, b, 0.0, mean[b], 1.0, whole, square)
        error[b] = ahead[b] = behind[b] = 0.0
        if variance > 0.0:
            error[b] = math.sqrt(variance)
            ahead[b] = told(mean[b] / error[b], n, width)
            behind[b] = told(-mean[b] / error[b], n, width)


@compiled
def told(ratio: float, n: int, width: float) -> float:
    """Logarithm of how much likelier a mean is with a gap above 0 than without.

    Parameters
    ----------
    ratio
        The mean, in deviations of a bar.
    n
        Bars.
    width
        As in `compare`: gaps are weighed by half a normal distribution.
    """
    return _against(-ratio, 1.0, n, 0.0, width, 0.0)


@inlined
def _long_run(n: int, b: int, ratio: float, mean: float, deviation: float, whole: Float, square: Float) -> float:
    """Variance of the ratio times the bars: the largest over the lengths of blocks.

    Longer blocks have less bias from autocorrelation; what is left of it in the longest is about as much as between it
    and the one before, and is added (lugsail: Vats & Flegal, Lugsail lag windows for estimating time-average covariance
    matrices, Biometrika 109, 2022).
    """
    # The influence function of the ratio, as a sum of returns and of their squares.
    one, two = (1.0 + ratio * mean / deviation) / deviation, -0.5 * ratio / (deviation * deviation)
    largest = before = 0.0
    for level in range(LEVELS):
        m = n >> level
        if m < BLOCKS:
            break
        first, second = whole[level, 0, b], whole[level, 1, b]
        now = one * one * (square[level, 0, b] - first * first / m)
        now += 2.0 * one * two * (square[level, 1, b] - first * second / m)
        now += two * two * (square[level, 2, b] - second * second / m)
        now /= (m - 1.0) * float(1 << level)
        largest = max(largest, now, 2.0 * now - before if level else 0.0)
        before = now
    return largest


@inlined
def _against(ratio: float, variance: float, n: int, centre: float, width: float, spread: float) -> float:
    """Logarithm of the likelihood of a ratio, mixed over those below the centre, over that under the forecast."""
    off = (ratio - centre) * n
    wide, narrow = variance + n * width * width, variance + n * spread * spread
    low = 0.5 * math.log(variance / wide) + off * off * width * width / (2.0 * variance * wide)
    same = 0.5 * math.log(variance / narrow) + off * off * spread * spread / (2.0 * variance * narrow)
    return low + _log_half(-off * width / math.sqrt(variance * wide)) - same


@inlined
def _log_half(z: float) -> float:
    """Logarithm of twice the standard normal distribution function."""
    if z > _FAR:
        return math.log(math.erfc(-z / math.sqrt(2.0)))
    w = 1.0 / (z * z)
    return -0.5 * z * z - math.log(-z) - 0.5 * math.log(math.pi / 2.0) + math.log(1.0 - w + 3.0 * w * w)
