"""Intervals of performance figures by the stationary bootstrap of returns per bar.

Blocks of geometric length, starting anywhere and wrapping round the end, keep the dependence between neighbouring bars
(Politis and Romano, The stationary bootstrap, 1994). Their expected length comes from the data by the rule of Politis
and White (2004), as corrected by Patton, Politis and White (2009), and is never below the cube root of the record.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.evaluate.metrics import ROUNDING, compound, drawdown, sharpe
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Float, Int

LEVEL = 0.9
"""Default share of resamples inside an interval: with 5 % on each side, its lower end is a one-sided 95 % bound."""
RESAMPLES = 1000
"""Default number of resamples: the ends of a 90 % interval then vary by about 4 % of its width from seed to seed."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_SHARPE, _GROWTH, _DRAWDOWN = range(3)
_NOTHING = 1e-300


class Interval(NamedTuple):
    """A figure and where it lies."""

    estimate: float
    """The figure of the record itself."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    level: float
    """Share of the resamples between the ends."""


class Bootstrap(NamedTuple):
    """Intervals of one record's figures, all from the same resamples."""

    sharpe: Interval
    """Annual Sharpe ratio."""
    annual_return: Interval
    """Compound return per year."""
    growth: Interval
    """Log growth per year."""
    max_drawdown: Interval
    """Deepest fall below the highest equity so far; zero or negative."""
    block: float
    """Expected length of a block, bars."""
    n_resamples: int
    """Number of resamples."""


def block_length(rate: Float) -> float:
    """Choose the expected block length: the longer of the Politis-White rule and the cube root of the record.

    The rule sees the autocorrelation of returns alone. Clustered volatility leaves none there, and blocks that grow at
    the rule's own rate, ``n ** (1/3)``, keep it all the same; they cost nothing where returns are independent.

    Parameters
    ----------
    rate
        (n,) returns per bar.

    Returns
    -------
    float
        Bars, at least 1.
    """
    return max(1.0, math.pow(len(rate), 1.0 / 3.0), politis_white(rate))


def politis_white(rate: Float) -> float:
    """Block length of the stationary bootstrap that is best for the mean (Politis and White 2004, section 3).

    Parameters
    ----------
    rate
        (n,) returns per bar.

    Returns
    -------
    float
        Bars, from 1 to min(3 sqrt(n), n / 3): ``(G^2 n / g^2)^(1/3)`` with ``G`` the sum of ``|k| R(k)`` and ``g`` the
        sum of ``R(k)`` over a flat-top lag window that ends at twice the last lag whose autocorrelation is above
        ``2 sqrt(log10(n) / n)``, where as many as ``max(5, sqrt(log10 n))`` lags after it are not. 1 where returns do
        not vary.
    """
    n = len(rate)
    excess = rate - rate.mean() if n else rate
    if n < 9 or np.sqrt(np.mean(excess**2)) <= ROUNDING:
        return 1.0
    quiet = max(5, math.ceil(math.sqrt(math.log10(n))))
    covariance = autocovariance(excess, min(math.ceil(math.sqrt(n)) + quiet, n - 1))
    reach = min(2 * max(_last_lag(covariance / covariance[0], n, quiet), 1), len(covariance) - 1)
    lag = np.arange(1, reach + 1)
    weight = np.minimum(1.0, 2.0 * (1.0 - lag / reach)) * covariance[1 : reach + 1]
    slope, density = 2.0 * float(np.sum(lag * weight)), float(covariance[0] + 2.0 * np.sum(weight))
    most = math.ceil(min(3.0 * math.sqrt(n), n / 3.0))
    if density == 0.0:
        return float(most)
    return float(min(max(((slope / density) ** 2 * n) ** (1.0 / 3.0), 1.0), most))


def bootstrap(
    rate: Float,
    per_year: float,
    *,
    cash: Float | None = None,
    level: float = LEVEL,
    n_resamples: int = RESAMPLES,
    block: float | None = None,
    seed: int = 0,
) -> Bootstrap:
    """Percentile intervals of Sharpe ratio, compound return and maximum drawdown.

    The spread of Sharpe ratio and growth about the estimate is widened by the factor that resampling about the sample's
    own mean leaves out, ``sqrt(n / (n - W))`` with W the sum of the bootstrap's weights, about twice the block less 1.
    Measured on 500 to 2,000 simulated returns, the 95 % interval of the Sharpe ratio holds the truth in 93.5 to 94.6 %
    of 2,000 cases where the autocorrelation is 0 or 0.2, and in 92 to 93 % where it is 0.5.

    Parameters
    ----------
    rate
        (n,) simple returns per bar, net of costs.
    per_year
        Bars in a year.
    cash
        (n,) what idle cash earned in each bar; the figures are then those of the excess over it: of differences in
        returns, and of equity counted in units of money left in cash.
    level
        Share of the resamples inside each interval, in (0, 1).
    n_resamples
        Number of resamples.
    block
        Expected block length, bars; None = `block_length`.
    seed
        Root of the resampling; the same seed gives the same bits.

    Returns
    -------
    Bootstrap
        All finite. Where returns do not vary, or there are fewer than two, both ends are the estimate.

    Raises
    ------
    ValueError
        If ``level``, ``n_resamples`` or ``block`` is out of range.
    """
    if not 0.0 < level < 1.0 or n_resamples < 1 or (block is not None and block < 1.0):
        raise ValueError("level must lie in (0, 1), n_resamples and block must be at least 1")
    above = rate if cash is None else rate - cash
    length = block_length(above) if block is None else block
    drawn = resample(rate, length, n_resamples, seed, cash)
    years, wider = len(rate) / per_year, widening(len(rate), length)
    logs = log_returns(rate, cash)
    ratio, growth = sharpe(above, per_year), logs.sum()
    drawn[:, _SHARPE] = ratio + (drawn[:, _SHARPE] * math.sqrt(per_year) - ratio) * wider
    grown = growth + (drawn[:, _GROWTH] - growth) * wider
    equity = np.concatenate([[1.0], np.cumprod(np.maximum(1.0 + rate, 0.0))])
    if cash is not None:
        equity[1:] /= np.cumprod(1.0 + cash)
    return Bootstrap(
        _interval(ratio, drawn[:, _SHARPE], level),
        _interval(float(compound(growth, years)), compound(grown, years), level),
        _interval(float(growth) / max(years, _NOTHING), grown / max(years, _NOTHING), level),
        _interval(float(drawdown(equity).min()), drawn[:, _DRAWDOWN], level),
        length,
        n_resamples,
    )


def sharpe_interval(rate: Float, per_year: float, *, level: float = LEVEL, seed: int = 0) -> Interval:
    """Percentile interval of the annual Sharpe ratio, by `bootstrap` with its defaults.

    Parameters
    ----------
    rate
        (n,) returns per bar.
    per_year
        Bars in a year.
    level, seed
        As in `bootstrap`.
    """
    return bootstrap(rate, per_year, level=level, seed=seed).sharpe


def resample(rate: Float, block: float, n_resamples: int, seed: int, cash: Float | None = None) -> Float:
    """Figures of stationary-bootstrap resamples.

    Parameters
    ----------
    rate
        (n,) simple returns per bar; one of -1 or less ends the account.
    block
        Expected block length, bars, at least 1.
    n_resamples
        Number R of resamples.
    seed
        Root of the resampling; resample r is the same whatever R is.
    cash
        As in `bootstrap`.

    Returns
    -------
    Float
        (R, 3) Sharpe ratio per bar, log growth of equity, maximum drawdown (zero or negative).
    """
    out = np.zeros((n_resamples, 3))
    if len(rate) == 0:
        return out
    above = rate if cash is None else rate - cash
    mean = float(above.mean())
    key = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    _resample_rows(np.ascontiguousarray(above - mean), log_returns(rate, cash), mean, float(block), key, ROUNDING, out)
    return out


def blocks(n_bars: int, size: int, block: float, seed: int, path: int) -> Int:
    """Rows of one stationary-bootstrap resample: blocks of geometric length that start anywhere and wrap round the end.

    Parameters
    ----------
    n_bars
        Bars to draw from.
    size
        Rows to draw.
    block
        Expected block length, bars, at least 1.
    seed
        Root of the resampling.
    path
        Which resample; it is the same whatever others are drawn.

    Returns
    -------
    Int
        (size,) rows in [0, n_bars).
    """
    key = np.random.SeedSequence([seed, path]).generate_state(1, np.uint64)[0]
    out = np.empty(size, dtype=np.int64)
    _block_rows(n_bars, float(block), key, out)
    return out


def log_returns(rate: Float, cash: Float | None = None) -> Float:
    """Log growth of each bar above that of cash; a loss of everything is finite, and leaves nothing within rounding."""
    logs: Float = np.log(np.maximum(1.0 + rate, _NOTHING))
    return logs if cash is None else logs - np.log1p(cash)


def widening(n_bars: int, block: float) -> float:
    """Factor that mends the spread of resampled means.

    Autocovariances about the sample's own mean are short of the true ones by the variance of that mean. The stationary
    bootstrap adds them up with weights of sum W, and so draws means whose variance is short by the share W / n; for
    blocks of one bar this is the familiar n / (n - 1).
    """
    if n_bars < 2:
        return 1.0
    lag, stay = np.arange(n_bars), 1.0 - 1.0 / block
    weight = (1.0 - lag / n_bars) * stay**lag + lag / n_bars * stay ** (n_bars - lag)
    return 1.0 / math.sqrt(1.0 - float(weight.sum()) / n_bars)


def _interval(estimate: float, drawn: Float, level: float) -> Interval:
    low, high = np.quantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(estimate, float(low), float(high), level)


def autocovariance(excess: Float, n_lags: int) -> Float:
    """(n_lags + 1,) autocovariances of (n,) numbers of mean zero, each a sum over n.

    By Fourier transform: its bits, unlike those of a dot product, do not depend on the number of processors.
    """
    n = len(excess)
    padded = 1 << (n + n_lags).bit_length()
    power = np.abs(np.fft.rfft(excess, padded)) ** 2
    covariance: Float = np.fft.irfft(power, padded)[: n_lags + 1] / n
    return covariance


def _last_lag(correlation: Float, n: int, quiet: int) -> int:
    """Last lag whose autocorrelation matters: none of the ``quiet`` lags after it stands out."""
    loud = np.abs(correlation[1:]) > 2.0 * math.sqrt(math.log10(n) / n)
    for lag in range(len(loud) - quiet + 1):
        if not loud[lag : lag + quiet].any():
            return lag
    return int(np.flatnonzero(loud)[-1]) + 1 if loud.any() else 0


@compiled
def _resample_rows(
    excess: Float, logs: Float, mean: float, block: float, key: np.uint64, rounding: float, out: Float
) -> None:
    """Fill ``out`` (R, 3) from ``excess`` (n,), the returns less their ``mean``, and ``logs`` (n,), their log growths.

    Random numbers are a hash of a counter (splitmix64): nothing is stored, and each resample has its own stretch.
    """
    n = len(excess)
    decay = math.log1p(-1.0 / block)
    for r in range(len(out)):
        counter = np.uint64(r) << np.uint64(32)
        total, squares, level, peak, fall, done = 0.0, 0.0, 0.0, 0.0, 0.0, 0
        while done < n:
            at = min(int(_uniform(key, counter) * n), n - 1)
            left = 1.0 + math.floor(math.log(_uniform(key, counter + np.uint64(1))) / decay)
            counter += np.uint64(2)
            size = n - done if left > n - done else int(left)
            done += size
            for _ in range(size):
                x = excess[at]
                total += x
                squares += x * x
                level += logs[at]
                peak = max(peak, level)
                fall = max(fall, peak - level)
                at += 1
                if at == n:
                    at = 0
        variance = (squares - total * total / n) / (n - 1) if n > 1 else 0.0
        # What is left of the squares after all but their rounding cancelled is no variance.
        deviation = math.sqrt(variance) if variance > 1e-10 * squares / n else 0.0
        out[r, _SHARPE] = (mean + total / n) / deviation if deviation > rounding else 0.0
        out[r, _GROWTH] = level
        out[r, _DRAWDOWN] = math.expm1(-fall) if fall > 0.0 else 0.0


@compiled
def _block_rows(n: int, block: float, key: np.uint64, out: Int) -> None:
    decay = math.log1p(-1.0 / block)
    counter = np.uint64(0)
    done = 0
    while done < len(out):
        at = min(int(_uniform(key, counter) * n), n - 1)
        left = 1.0 + math.floor(math.log(_uniform(key, counter + np.uint64(1))) / decay)
        counter += np.uint64(2)
        stop = len(out) if left > len(out) - done else done + int(left)
        for k in range(done, stop):
            out[k] = at
            at = at + 1 if at + 1 < n else 0
        done = stop


@inlined
def _uniform(key: np.uint64, counter: np.uint64) -> float:
    """Random number strictly between 0 and 1: the splitmix64 sequence of ``key`` at ``counter``."""
    x = key + (counter + np.uint64(1)) * _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    x = x ^ (x >> np.uint64(31))
    return (float(x >> np.uint64(12)) + 0.5) * 2.220446049250313e-16
