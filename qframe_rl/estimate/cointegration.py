"""Which pairs of prices belong together, and how fast their spread returns: Engle-Granger and Ornstein-Uhlenbeck."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.types import Bool, Float

# MacKinnon, Approximate asymptotic distribution functions for unit-root and cointegration tests, J. Bus. Econ. Stat. 12
# (1994), table 3 and 4 for two variables and a constant: polynomials in the statistic on either side of `_SPLIT`.
_SMALL, _LARGE = (2.9200, 1.5012, 0.039796), (2.1945, 0.64695, -0.29198, -0.042377)
_SPLIT, _LEAST, _MOST = -2.62, -18.86, 0.92


class Fit(NamedTuple):
    """One regression of a log price on another, and what its residual does."""

    ratio: float
    """Units of the other log price that hedge one of this."""
    level: float
    """Mean of the spread: log price - ratio x other log price."""
    p_value: float
    """Of the Engle-Granger test: how likely a spread that looks so stationary is if the two are not cointegrated."""
    reversion: float
    """kappa per bar: the spread's expected distance from its level falls as exp(-kappa t); 0 if it does not."""
    volatility: float
    """Of the spread's shocks, per square root of a bar, in continuous time."""


def engle_granger(price: Float, other: Float, lags: int = 1) -> Fit:
    """Regress, and test the residual for a unit root (Engle & Granger, 1987).

    Parameters
    ----------
    price, other
        (T,) log prices without NaN.
    lags
        Lagged differences in the test regression.
    """
    mean, base = price.mean(), other.mean()
    square = float(((other - base) ** 2).mean())
    if square < 1e-20:
        return Fit(0.0, float(mean), 1.0, 0.0, 0.0)  # what never moves hedges nothing
    ratio = float(((price - mean) * (other - base)).mean()) / square
    residual = price - mean - ratio * (other - base)
    reversion, volatility = ornstein_uhlenbeck(residual)
    return Fit(ratio, float(mean - ratio * base), p_value(dickey_fuller(residual, lags)), reversion, volatility)


def dickey_fuller(x: Float, lags: int) -> float:
    """t-statistic of the level in a regression of changes on it and on ``lags`` earlier changes, without a constant."""
    change = np.diff(x)
    columns = [x[lags:-1]] + [change[lags - k : len(change) - k] for k in range(1, lags + 1)]
    design, goal = np.stack(columns, axis=1), change[lags:]
    inverse = np.linalg.pinv(design.T @ design)
    slope = inverse @ (design.T @ goal)
    rest = goal - design @ slope
    variance = float(rest @ rest) / (len(goal) - design.shape[1])
    return float(slope[0] / math.sqrt(max(variance * inverse[0, 0], 1e-300)))


def p_value(statistic: float) -> float:
    """Of the Engle-Granger statistic of two variables with a constant (MacKinnon, 1994)."""
    if statistic <= _LEAST:
        return 0.0
    if statistic >= _MOST:
        return 1.0
    powers = _SMALL if statistic <= _SPLIT else _LARGE
    z = sum(c * statistic**k for k, c in enumerate(powers))
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def ornstein_uhlenbeck(x: Float) -> tuple[float, float]:
    """Reversion and volatility per bar of a centred process, from its exact autoregression; zeros if it has none."""
    before, after = x[:-1], x[1:]
    square = float(before @ before)
    keep = float(before @ after) / square if square > 0.0 else 1.0
    if not 0.0 < keep < 1.0:
        return 0.0, 0.0
    kappa = -math.log(keep)
    shock = float(((after - keep * before) ** 2).mean())
    return kappa, math.sqrt(shock * 2.0 * kappa / (1.0 - keep * keep))


def discoveries(p_values: Float, rate: float) -> Bool:
    """Which to reject so that at most ``rate`` of those are false on average (Benjamini & Hochberg, 1995)."""
    n = len(p_values)
    order = np.argsort(p_values, kind="stable")
    passed = np.flatnonzero(p_values[order] <= rate * np.arange(1, n + 1) / n)
    found = np.zeros(n, dtype=np.bool_)
    if passed.size:
        found[order[: passed[-1] + 1]] = True
    return found
