"""How much of one's wealth to bet.

Sources: Kelly, A new interpretation of information rate, Bell System Technical Journal 35 (1956); Merton, Lifetime
portfolio selection under uncertainty, Review of Economics and Statistics 51 (1969).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.theory.search import root
from qframe_rl.types import Float

NODES = 64
"""Points of the Gauss-Hermite quadrature over a normal variable."""


class Bet(NamedTuple):
    """The best fraction and what it brings."""

    fraction: float
    """Share of wealth to bet or invest."""
    growth: float
    """Expected growth of log wealth, or its certainty equivalent, per bet or per year."""


def coin(p: float, odds: float = 1.0) -> Bet:
    """A bet that pays ``odds`` for one with probability p and loses the stake otherwise.

    Parameters
    ----------
    p
        Probability of winning, in (0, 1).
    odds
        Gain per unit of stake.

    Returns
    -------
    Bet
        ``f = p - (1 - p) / odds``, or 0 where that is negative; growth per bet.
    """
    f = max(0.0, p - (1.0 - p) / odds)
    return Bet(f, coin_growth(f, p, odds))


def coin_growth(fraction: float, p: float, odds: float = 1.0) -> float:
    """Expected log growth per bet of a fraction below one.

    Parameters
    ----------
    fraction
        Share of wealth that is staked, below 1.
    p, odds
        As in `coin`.
    """
    return p * math.log1p(fraction * odds) + (1.0 - p) * math.log1p(-fraction)


def gbm_returns(mu: float, sigma: float, steps_per_year: float, n_nodes: int = NODES) -> tuple[Float, Float]:
    """Returns of one step of geometric Brownian motion with their probabilities.

    Parameters
    ----------
    mu, sigma
        Drift and volatility a year: the expected price grows with exp(mu t).
    steps_per_year
        365 for daily steps of a market that never closes.
    n_nodes
        Points of the quadrature.

    Returns
    -------
    tuple[Float, Float]
        (n_nodes,) simple returns and (n_nodes,) probabilities.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(n_nodes)
    dt = 1.0 / steps_per_year
    return np.expm1((mu - 0.5 * sigma**2) * dt + sigma * math.sqrt(dt) * z), weight / weight.sum()


def gbm(mu: float, sigma: float, steps_per_year: float, aversion: float = 1.0) -> Bet:
    """The best constant fraction when wealth is put back to it once a step; the year's growth in certainty equivalents.

    Parameters
    ----------
    mu, sigma, steps_per_year
        As in `gbm_returns`.
    aversion
        Relative risk aversion, above zero; 1 = log utility (Kelly).

    Raises
    ------
    ValueError
        If the best fraction is so large that a return of the quadrature would ruin it, or none of them is a loss, or
        none a gain.
    """
    r, weight = gbm_returns(mu, sigma, steps_per_year)
    if not r.min() < 0.0 < r.max():
        raise ValueError("no return of a step is a loss, or none is a gain")
    low, high = -0.99 / float(r.max()), -0.99 / float(r.min())
    fraction = root(lambda f: float((weight * r * (1.0 + f * r) ** -aversion).sum()), low, high)
    return Bet(fraction, steps_per_year * step_growth(fraction, r, weight, aversion))


def step_growth(fraction: float, returns: Float, weight: Float, aversion: float = 1.0) -> float:
    """Certainty-equivalent log growth of one step: what a sure growth would have to be for the same utility.

    Parameters
    ----------
    fraction
        Share of wealth invested.
    returns, weight
        As from `gbm_returns`.
    aversion
        Relative risk aversion.
    """
    grown = 1.0 + fraction * returns
    if aversion == 1.0:
        return float((weight * np.log(grown)).sum())
    power = 1.0 - aversion
    return math.log(float((weight * grown**power).sum())) / power


def merton(mu: float, sigma: float, aversion: float = 1.0) -> Bet:
    """Continuous-time optimum: fraction mu / (aversion sigma²), growth mu² / (2 aversion sigma²) a year.

    Parameters
    ----------
    mu, sigma
        Drift and volatility a year; cash earns nothing.
    aversion
        Relative risk aversion; 1 = log utility.
    """
    fraction = mu / (aversion * sigma**2)
    return Bet(fraction, 0.5 * mu * fraction)


def merton_band(fraction: float, aversion: float, cost: float) -> float:
    """Half-width of the no-trade band around Merton's fraction to first order in a proportional cost.

    Source: Janeček & Shreve, Asymptotic analysis for optimal investment and consumption with transaction costs,
    Finance and Stochastics 8 (2004): ``(3 / (2 aversion) f² (1 - f)² cost)^(1/3)``.

    Parameters
    ----------
    fraction
        Merton's fraction.
    aversion
        Relative risk aversion.
    cost
        Cost of trading, share of what is traded.
    """
    return float((1.5 / aversion * fraction**2 * (1.0 - fraction) ** 2 * cost) ** (1.0 / 3.0))


def leverage_growth(mu: float, sigma: float, leverage: float, cost: float = 0.0, steps_per_year: float = 1.0) -> float:
    """Expected growth of log wealth a year at a constant leverage: ``l mu - l² sigma² / 2`` less what keeping it costs.

    After a return r the exposure is l (1 + r) / (1 + l r), so that to first order ``l (l - 1) r`` is traded at each
    step; the mean of |r| is ``sigma sqrt(2 / (pi n))`` with n steps a year. Nothing is paid at 0 and 1.

    Parameters
    ----------
    mu, sigma
        Drift and volatility a year; cash earns nothing.
    leverage
        Exposure, multiple of wealth.
    cost
        Cost of trading, share of what is traded.
    steps_per_year
        Of bringing it back.
    """
    traded = abs(leverage * (leverage - 1.0)) * sigma * math.sqrt(2.0 * steps_per_year / math.pi)
    return leverage * mu - 0.5 * (leverage * sigma) ** 2 - cost * traded
