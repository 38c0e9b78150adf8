"""How sure a Sharpe ratio is: probabilistic and deflated Sharpe, and the record lengths that they ask for.

Sharpe ratios are per bar unless said otherwise, and kurtosis is raw (3 for a normal distribution). Sources: Bailey and
López de Prado, The Sharpe ratio efficient frontier (2012) and The deflated Sharpe ratio (2014); Bailey, Borwein, López
de Prado and Zhu, Pseudo-mathematics and financial charlatanism (2014); López de Prado, Lipton and Zoonekynd, How to use
the Sharpe ratio (2025).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

from qframe_rl.evaluate.metrics import ROUNDING, sharpe, skew_and_kurtosis
from qframe_rl.types import Float

Form = Literal["2012", "2025"]
"""``2012``: the error of the Sharpe ratio is taken at its estimate and T - 1 bars count (Bailey and López de Prado);
``2025``: it is taken at the benchmark, as a test of that null, and T bars count (López de Prado et al.)."""

_NORMAL = NormalDist()
_EULER = 0.5772156649015329
_CERTAIN = 1e6


class Moments(NamedTuple):
    """What the distribution of a Sharpe ratio depends on."""

    sharpe: float
    """Mean over standard deviation of returns, per bar."""
    n_bars: float
    """Number T of returns."""
    skew: float = 0.0
    """Third standardised moment of returns."""
    kurtosis: float = 3.0
    """Fourth standardised moment of returns; 3 for a normal distribution."""


def moments(rate: Float) -> Moments:
    """Sharpe ratio per bar, length, skew and kurtosis of (n,) returns."""
    return Moments(sharpe(rate, 1.0), len(rate), *skew_and_kurtosis(rate))


def probabilistic_sharpe(of: Moments, benchmark: float = 0.0, form: Form = "2012") -> float:
    """Probability that the true Sharpe ratio lies above a benchmark (PSR).

    Parameters
    ----------
    of
        Moments of the returns.
    benchmark
        Sharpe ratio to beat, per bar.
    form
        Which published form; a report names it.

    Returns
    -------
    float
        In [0, 1]; 0.5 where the ratio equals the benchmark.

    Raises
    ------
    ValueError
        If no distribution has such moments.
    """
    return _NORMAL.cdf(sharpe_score(of, benchmark, form))


def sharpe_score(of: Moments, benchmark: float = 0.0, form: Form = "2012") -> float:
    """Standard errors by which a Sharpe ratio lies above a benchmark: the normal quantile of the PSR.

    It ranks as the PSR does, and goes on ranking where that is 1 to the last digit.

    Parameters
    ----------
    of, benchmark, form
        As in `probabilistic_sharpe`.

    Returns
    -------
    float
        Finite; 0 where the ratio equals the benchmark.

    Raises
    ------
    ValueError
        If no distribution has such moments.
    """
    at, n = (of.sharpe, of.n_bars - 1) if form == "2012" else (benchmark, of.n_bars)
    excess, spread = of.sharpe - benchmark, _spread(of, at)
    if excess == 0.0:
        return 0.0
    return excess * math.sqrt(max(n, 0.0)) / spread if spread > 0.0 else math.copysign(_CERTAIN, excess)


def lower_sharpe(of: Moments, n_bets: int, confidence: float = 0.95) -> float:
    """Lower confidence bound of a Sharpe ratio that was earned by few bets.

    The standard error is that of the PSR (2012), and no less than that of normal returns: a handful of gains looks
    surer than it is, as its own skew shrinks the error. The quantile is Student's with a degree of freedom for each bet
    but one, so that a ratio of two bets counts for little, and one of hundreds loses 1.645 standard errors. A record
    without any counts as one of two: it shows nothing.

    Parameters
    ----------
    of
        Moments of the returns.
    n_bets
        Positions opened and closed.
    confidence
        Probability with which the true ratio is to lie above the bound, if bets are independent.

    Returns
    -------
    float
        Per bar; finite.

    Raises
    ------
    ValueError
        If no distribution has such moments.
    """
    from scipy.special import stdtrit

    error = max(_spread(of, of.sharpe), 1.0) / math.sqrt(max(of.n_bars - 1, 1))
    return of.sharpe - float(stdtrit(max(n_bets - 1, 1), confidence)) * error


def expected_max(n_trials: float) -> float:
    """Return the expected highest of ``n_trials`` independent standard normal numbers, by extreme-value theory.

    It is 0 for one trial, and never below: between one trial and two the theory, which is of many, falls under it.

    Raises
    ------
    ValueError
        For fewer than one trial.
    """
    if n_trials < 1:
        raise ValueError(f"there must be at least one trial, got {n_trials}")
    if n_trials == 1:
        return 0.0
    inverse = _NORMAL.inv_cdf
    found = (1.0 - _EULER) * inverse(1.0 - 1.0 / n_trials) + _EULER * inverse(1.0 - 1.0 / (n_trials * math.e))
    return max(found, 0.0)


def deflated_benchmark(n_trials: float, variance: float) -> float:
    """Highest Sharpe ratio that luck alone is expected to give.

    Parameters
    ----------
    n_trials
        Number of independent trials: all that were ever run on the data.
    variance
        Variance of the trials' Sharpe ratios, per bar (annual variance over bars in a year).

    Returns
    -------
    float
        Sharpe ratio per bar.
    """
    return math.sqrt(variance) * expected_max(n_trials)


def deflated_sharpe(of: Moments, n_trials: float, variance: float, form: Form = "2012") -> float:
    """Probability that the true Sharpe ratio of the best of many trials is above zero and not luck (DSR).

    Parameters
    ----------
    of
        Moments of the chosen trial's returns.
    n_trials, variance
        As in `deflated_benchmark`.
    form
        As in `probabilistic_sharpe`.
    """
    return probabilistic_sharpe(of, deflated_benchmark(n_trials, variance), form)


def min_track_record(of: Moments, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Bars of record after which the PSR (2012) reaches ``confidence`` (MinTRL).

    Parameters
    ----------
    of
        Moments of the returns.
    benchmark
        Sharpe ratio to beat, per bar.
    confidence
        Probability to be reached, in (0, 1).

    Returns
    -------
    float
        Number of bars; ``of.n_bars`` plays no part. Infinite where the ratio is not above the benchmark.
    """
    if of.sharpe <= benchmark:
        return math.inf
    z = _NORMAL.inv_cdf(confidence) / (of.sharpe - benchmark)
    return 1.0 + (_spread(of, of.sharpe) * z) ** 2


def min_backtest_years(n_trials: float, annual_sharpe: float) -> float:
    """Years below which the best of ``n_trials`` lucky trials is expected to show ``annual_sharpe`` (MinBTL).

    Raises
    ------
    ValueError
        If the Sharpe ratio is not positive.
    """
    if annual_sharpe <= 0.0:
        raise ValueError(f"the Sharpe ratio must be positive, got {annual_sharpe}")
    return (expected_max(n_trials) / annual_sharpe) ** 2


def effective_trials(rates: Float) -> float:
    """Count the independent trials that many correlated ones are worth.

    Parameters
    ----------
    rates
        (T, N) returns of N trials, bar by bar.

    Returns
    -------
    float
        Participation ratio of the eigenvalues of the correlation matrix: (sum)^2 / (sum of squares), from 1 to N.
        Trials that never moved are left out; 1 where none did.
    """
    moving = rates[:, np.std(rates, axis=0) > ROUNDING]
    if moving.shape[1] < 2:
        return 1.0
    correlation = np.corrcoef(moving, rowvar=False)
    # The eigenvalues sum to the trace, and their squares to the squared Frobenius norm: none need be computed.
    return float(np.trace(correlation) ** 2 / np.sum(correlation**2))


def _spread(of: Moments, at: float) -> float:
    """Root of the variance factor of the Sharpe estimator at the true ratio ``at``."""
    factor = 1.0 - of.skew * at + (of.kurtosis - 1.0) / 4.0 * at**2
    if factor < -1e-12:
        raise ValueError(f"no distribution has skew {of.skew} and kurtosis {of.kurtosis}")
    return math.sqrt(max(factor, 0.0))
