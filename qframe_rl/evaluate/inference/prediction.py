"""Where the Sharpe ratio of the next window will lie: a forecast, and not the interval of the past's mean.

The interval of the mean says where the true ratio of the bars that were judged lies. What is measured over the next
window lies farther off, for three reasons, whose variances add up: the past's ratio is known with an error; the next
window's has one of its own, the larger the shorter it is; and windows differ in truth, for markets change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qframe_rl.evaluate.inference.bootstrap import LEVEL, Interval, autocovariance, block_length, widening
from qframe_rl.evaluate.metrics import sharpe, volatility
from qframe_rl.types import Float

_REACH = 20
"""Blocks after which the bootstrap's weight of an autocovariance is nothing."""
_MOST = 0.9
"""Largest autocorrelation that is taken out before the rest is measured."""


class Forecast(NamedTuple):
    """A Sharpe ratio that is not known yet; per bar."""

    centre: float
    variance: float
    degrees: float
    """Degrees of freedom of the variance."""

    def interval(self, per_year: float, level: float = LEVEL) -> Interval:
        """Where it lies with probability ``level``, annual."""
        from scipy.special import stdtrit

        times = math.sqrt(per_year)
        reach = float(stdtrit(self.degrees, (1.0 + level) / 2.0)) * math.sqrt(self.variance)
        return Interval(
            self.centre * times, (self.centre - reach) * times, (self.centre + reach) * times, level
        )  # fmt: skip


def forecast(windows: Sequence[Float], n_bars: int) -> Forecast:
    """Forecast the Sharpe ratio of the next window from those so far.

    The variance of a ratio over n bars is ``v / n``, with ``v`` the long-run variance of its influence function
    (`long_run`). The spread between windows is the variance of their ratios, divided by their number and not by one
    less, as far as it exceeds ``v / n``; of one window alone there is none.

    Parameters
    ----------
    windows
        K arrays of returns per bar, in order.
    n_bars
        Length of the next window, bars.

    Returns
    -------
    Forecast
        With variance 0 where returns do not vary.

    Raises
    ------
    ValueError
        If there is no window, or if the next one has no bar.
    """
    if not windows or n_bars < 1:
        raise ValueError("there must be a window, and a bar in the next one")
    rate, k = np.concatenate(windows), len(windows)
    centre = sharpe(rate, 1.0)
    if volatility(rate) == 0.0:
        return Forecast(centre, 0.0, math.inf)
    variance, degrees = long_run(rate)
    ratios = np.array([sharpe(one, 1.0) for one in windows])
    usual = float(np.mean([variance / max(len(one), 1) for one in windows]))
    spread = max(0.0, float(ratios.var()) - usual) if k > 1 else 0.0
    return Forecast(centre, variance / len(rate) + variance / n_bars + spread * (1.0 + 1.0 / k), degrees)


def pooled(forecasts: Sequence[Forecast]) -> Forecast:
    """Forecast of one of several trainings, whichever it is: they differ too."""
    centres = np.array([one.centre for one in forecasts])
    variance = float(np.mean([one.variance for one in forecasts]) + centres.var())
    return Forecast(float(centres.mean()), variance, min(one.degrees for one in forecasts))


def long_run(rate: Float) -> tuple[float, float]:
    """Variance of a Sharpe ratio per bar times the number of bars, and the degrees of freedom of this estimate.

    It is the long-run variance of the influence function ``z - s (z^2 - 1) / 2`` (``z`` the standardised returns, ``s``
    their ratio), by the weights of the stationary bootstrap with the block of `block_length`. Before, the first
    autocorrelation is taken out, and put back after (Andrews and Monahan, 1992): weights alone fall short of it.

    Parameters
    ----------
    rate
        (n,) returns that vary.
    """
    ratio = sharpe(rate, 1.0)
    z = (rate - rate.mean()) / rate.std(ddof=1)
    influence = z - ratio / 2.0 * (z**2 - 1.0)
    influence -= influence.mean()
    if len(rate) < 3:
        return max(float(np.mean(influence**2)), 1.0), 1.0
    power = float(influence @ influence)
    carry = float(np.clip(influence[1:] @ influence[:-1] / power, -_MOST, _MOST)) if power > 0.0 else 0.0
    rest = influence[1:] - carry * influence[:-1]
    rest -= rest.mean()
    n, block = len(rest), block_length(rest)
    stay, lag = 1.0 - 1.0 / block, np.arange(1, min(n - 1, int(_REACH * block)) + 1)
    weight = (1.0 - lag / n) * stay**lag + lag / n * stay ** (n - lag)
    covariance = autocovariance(rest, len(lag))
    total = float(covariance[0] + 2.0 * np.sum(weight * covariance[1:])) * widening(n, block) ** 2
    degrees = max(n * (1.0 - stay**2) / (1.0 + stay**2), 1.0)
    return max(total, 0.0) / (1.0 - carry) ** 2, degrees
