"""Selling a block of shares by a deadline.

Source: Almgren & Chriss, Optimal execution of portfolio transactions, Journal of Risk 3 (2000), sections 2 and 3:
linear temporary and permanent impact, minimise E[cost] + aversion x Var[cost].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.types import Float

_STEEP = 300.0
"""Urgency times the time to the deadline from which on a hyperbolic sine is half an exponential, and soon too large."""


class ExecutionParams(NamedTuple):
    """The constants of the problem; the defaults are those of the paper (section 4)."""

    shares: float = 1e6
    """Shares to sell."""
    days: float = 5.0
    """Time to the deadline."""
    n_steps: int = 5
    """Trades, equally spaced."""
    volatility: float = 0.95
    """Standard deviation of the price, currency per share and square root of a day."""
    temporary: float = 2.5e-6
    """eta: temporary impact, currency per share for each share a day."""
    permanent: float = 2.5e-7
    """gamma: permanent impact, currency per share for each share sold."""
    half_spread: float = 0.0625
    """epsilon: fixed cost of selling, currency per share."""
    aversion: float = 1e-6
    """lambda: weight of the variance of the cost, per unit of currency."""

    @property
    def tau(self) -> float:
        """Days between two trades."""
        return self.days / self.n_steps

    @property
    def eta(self) -> float:
        """Temporary impact less what the permanent one gives back within a step (the paper's eta with a tilde)."""
        return self.temporary - 0.5 * self.permanent * self.tau


class Cost(NamedTuple):
    """What a schedule costs, quote currency."""

    expected: float
    variance: float
    objective: float
    """Expected cost plus aversion times variance."""
    core: float
    """The part of the objective that a schedule can change: without ``gamma X²/2 + epsilon X``."""


def urgency(terms: ExecutionParams) -> float:
    """Kappa, a day: 2 (cosh(kappa tau) - 1) = aversion volatility² tau² / eta (equation 18)."""
    t = terms
    return math.acosh(1.0 + t.aversion * t.volatility**2 * t.tau**2 / (2.0 * t.eta)) / t.tau


def schedule(terms: ExecutionParams) -> Float:
    """(n_steps + 1,) shares held at the beginning and after each trade of the optimal schedule (equation 19)."""
    kappa = urgency(terms)
    left = terms.days - terms.tau * np.arange(terms.n_steps + 1)
    if kappa * terms.days < 1e-9:
        return np.asarray(terms.shares * left / terms.days)
    if kappa * terms.days > _STEEP:
        return np.asarray(terms.shares * np.exp(kappa * (left - terms.days)) * -np.expm1(-2.0 * kappa * left))
    return np.asarray(terms.shares * np.sinh(kappa * left) / math.sinh(kappa * terms.days))


def linear(terms: ExecutionParams) -> Float:
    """(n_steps + 1,) shares held when the same number is sold in every step."""
    return np.linspace(terms.shares, 0.0, terms.n_steps + 1)


def cost(terms: ExecutionParams, held: Float) -> Cost:
    """Evaluate a schedule (equations 8 and 9).

    Parameters
    ----------
    terms
        The problem.
    held
        (n_steps + 1,) shares held at the beginning and after each trade.
    """
    t = terms
    sold = held[:-1] - held[1:]
    sunk = 0.5 * t.permanent * t.shares**2 + t.half_spread * t.shares
    expected = sunk + t.eta / t.tau * float((sold**2).sum())
    variance = t.volatility**2 * t.tau * float((held[1:] ** 2).sum())
    objective = expected + t.aversion * variance
    return Cost(expected, variance, objective, objective - sunk)
