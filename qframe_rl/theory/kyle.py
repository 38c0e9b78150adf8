"""One who knows the value, noise traders, and a maker who prices their sum (Kyle, 1985).

Source: Kyle, Continuous auctions and insider trading, Econometrica 53 (1985), theorems 1 and 2. The value is
``N(p0, prior)``; in each of n rounds the insider sends x, noise traders send ``N(0, noise / n)``, and the maker, who
sees the sum y alone, sets the price to what the value then is expected to be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.types import Float


class KyleEquilibrium(NamedTuple):
    """The linear equilibrium, round by round."""

    beta: Float
    """(n,) what the insider sends for each unit between value and last price."""
    impact: Float
    """(n,) lambda: by how much a unit of flow moves the price."""
    variance: Float
    """(n,) of the value, given all flow up to the round's."""
    profit: float
    """Of the insider, expected, of all rounds; noise traders lose as much."""


def kyle(rounds: int = 1, prior: float = 1.0, noise: float = 1.0) -> KyleEquilibrium:
    """Solve it.

    Parameters
    ----------
    rounds
        n.
    prior
        Variance of the value.
    noise
        Variance of what noise traders send in all rounds together.

    Returns
    -------
    KyleEquilibrium
        Of a single round beta ``sqrt(noise / prior)``, lambda half of its inverse, profit half of ``sqrt(noise x
        prior)``, and half of the variance is left.

    Raises
    ------
    UserError
        For fewer rounds than one, or a variance that is not above 0.
    """
    if rounds < 1 or not (prior > 0.0 and noise > 0.0):
        raise UserError(f"{rounds} rounds, prior {prior}, noise {noise}: at least 1, and above 0.")
    # Backwards from a last variance of 1; all is homogeneous in the value's scale, which is set right in the end.
    each, left = noise / rounds, 1.0
    beta, impact, variance = np.empty(rounds), np.empty(rounds), np.empty(rounds)
    curve, constant = 0.0, 0.0
    for k in reversed(range(rounds)):
        price = _impact(curve, left, each)
        beta[k] = (1.0 - 2.0 * curve * price) / (2.0 * price * (1.0 - curve * price))
        impact[k], variance[k] = price, left
        constant += curve * price * price * each
        curve = 1.0 / (4.0 * price * (1.0 - curve * price))
        left /= 1.0 - beta[k] * price
    scale = math.sqrt(prior / left)
    profit = scale * (curve * left + constant)
    return KyleEquilibrium(beta / scale, impact * scale, variance * scale * scale, profit)


def _impact(curve: float, variance: float, noise: float) -> float:
    """Root in (0, 1 / 2 curve) of ``2 l² (1 - curve l) noise = (1 - 2 curve l) variance``, by bisection."""
    low, high = 0.0, math.sqrt(variance / (2.0 * noise)) if curve == 0.0 else 0.5 / curve
    if curve == 0.0:
        return high
    for _ in range(200):
        mid = 0.5 * (low + high)
        if 2.0 * mid * mid * (1.0 - curve * mid) * noise < (1.0 - 2.0 * curve * mid) * variance:
            low = mid
        else:
            high = mid
    return 0.5 * (low + high)


Rule = Callable[[Float], Float]
"""(n,) values to (n,) orders of the insider, or (n,) flows to (n,) prices of the maker."""
_NODES, _SPAN, _GRID = 96, 6.0, 601


class KyleFigures(NamedTuple):
    """What rules of both come to in a single round, and what each could still gain."""

    beta: float
    """Regression of orders on values."""
    impact: float
    """Regression of prices on flows."""
    profit: float
    """Of the insider, expected."""
    variance: float
    """Expected square of what the price errs by."""
    insider_gain: float
    """By which the best order for each value beats the rule, against this maker, expected."""
    maker_gain: float
    """By which the expected value given the flow errs less than the rule, against this insider: expected squares."""


def kyle_figures(orders: Rule, prices: Rule, prior: float = 1.0, noise: float = 1.0) -> KyleFigures:
    """Judge any rules by quadrature: expectations over value and noise, and best answers, without simulation.

    Parameters
    ----------
    orders, prices
        Of the insider and the maker; each is called with few large arrays.
    prior, noise
        Variances, as of `kyle`.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(_NODES)
    weight = weight / weight.sum()
    value, shock = math.sqrt(prior) * z, math.sqrt(noise) * z
    sent = orders(value)
    flow, both = sent[:, None] + shock, weight[:, None] * weight
    price = prices(flow.ravel()).reshape(flow.shape)
    gap = value[:, None] - price
    profit, error = float((both * gap * sent[:, None]).sum()), float((both * gap * gap).sum())
    beta = float((weight * sent * value).sum()) / prior
    mean = float((both * flow).sum())
    spread = float((both * (flow - mean) ** 2).sum())
    impact = float((both * (flow - mean) * price).sum()) / spread
    # The insider's best answer: every order of a grid, at the price that is expected after it.
    tried = math.sqrt(noise) * np.linspace(-_SPAN, _SPAN, _GRID)
    after = prices((tried[:, None] + shock).ravel()).reshape(_GRID, _NODES) @ weight
    best = (tried[:, None] * (value - after[:, None])).max(axis=0)
    # The maker's: the value expected given each flow. Its squares are summed over the same nodes.
    fine = math.sqrt(prior) * np.linspace(-_SPAN, _SPAN, _GRID)
    likely = np.exp(-0.5 * fine * fine / prior)
    told = orders(fine)
    close = likely * np.exp(-0.5 * (flow.ravel()[:, None] - told) ** 2 / noise)
    expected = ((close @ fine) / close.sum(axis=1)).reshape(flow.shape)
    least = float((both * (value[:, None] - expected) ** 2).sum())
    return KyleFigures(beta, impact, profit, error, float(weight @ best) - profit, error - least)
