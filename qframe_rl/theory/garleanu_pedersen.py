"""Trading on a decaying signal against quadratic costs.

Source: Gârleanu & Pedersen, Dynamic trading with predictable returns and transaction costs, Journal of Finance 68
(2013), propositions 1 and 2, for one asset and one signal. The investor maximises

    E sum_t d^t [ d (x_t b f_t - g s x_t² / 2) - k s (x_t - x_(t-1))² / 2 ],   d = 1 - rho,

with position x, signal ``f' = (1 - phi) f + e``, variance s of the asset, risk aversion g and cost k.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class GarleanuPedersenParams(NamedTuple):
    """The constants of the problem; the defaults are those of the tests."""

    variance: float = 1.0
    """Variance of the asset's price change a step."""
    slope: float = 1.0
    """Expected price change at a signal of one."""
    decay: float = 0.1
    """phi: share of the signal that is gone after a step, in (0, 1]."""
    deviation: float = 0.25
    """Stationary standard deviation of the signal."""
    aversion: float = 1.0
    """Risk aversion, per unit of money."""
    cost: float = 5.0
    """Cost of trading, in units of the variance."""
    rho: float = 0.01
    """Discount rate a step, in (0, 1)."""

    @property
    def discount(self) -> float:
        """What a unit of the next step is worth now."""
        return 1.0 - self.rho

    @property
    def shock(self) -> float:
        """Variance of an innovation of the signal."""
        return self.deviation**2 * (1.0 - (1.0 - self.decay) ** 2)


class Rule(NamedTuple):
    """A linear policy: hold ``keep x + lean f`` after holding x at signal f."""

    keep: float
    lean: float


class Solution(NamedTuple):
    """The optimum: trade a share ``rate`` of the way to ``aim f``; V(x, f) = -xx x²/2 + xf x f + ff f²/2 + rest."""

    rate: float
    """Share of the distance to the aim that is traded in a step."""
    aim: float
    """Position aimed at, per unit of the signal."""
    xx: float
    xf: float
    ff: float
    rest: float

    @property
    def rule(self) -> Rule:
        """The same as a linear policy."""
        return Rule(1.0 - self.rate, self.rate * self.aim)

    def value(self, position: float, signal_variance: float) -> float:
        """E V(x, f) for a signal of mean zero."""
        return -0.5 * self.xx * position**2 + 0.5 * self.ff * signal_variance + self.rest


def solve(terms: GarleanuPedersenParams) -> Solution:
    """Evaluate the closed form (propositions 1 and 2)."""
    t, d = terms, terms.discount
    k = t.cost * t.variance
    inner = t.aversion * d + t.cost * t.rho
    a = (math.sqrt(inner**2 + 4.0 * t.aversion * t.cost * d**2) - inner) / (2.0 * d)
    aim = t.slope / (t.aversion * t.variance) / (1.0 + t.decay * a / t.aversion)
    xx = a * t.variance
    xf = aim * xx
    force = d * (t.slope + (1.0 - t.decay) * xf)
    ff = force**2 / (d * t.aversion * t.variance + k + d * xx) / (1.0 - d * (1.0 - t.decay) ** 2)
    return Solution(a / t.cost, aim, xx, xf, ff, 0.5 * d * ff * t.shock / t.rho)


def riccati(terms: GarleanuPedersenParams, tolerance: float = 1e-14) -> Solution:
    """Iterate the Bellman equation's coefficients to their fixed point: an independent way to `solve`."""
    t, d, keep = terms, terms.discount, 1.0 - terms.decay
    k = t.cost * t.variance
    xx = xf = ff = rest = 0.0
    while True:
        curve = d * (t.aversion * t.variance + xx) + k
        force = d * (t.slope + keep * xf)
        new = (k - k * k / curve, k * force / curve, force**2 / curve + d * ff * keep**2, d * (ff * t.shock / 2 + rest))
        change = max(abs(a - b) for a, b in zip(new, (xx, xf, ff, rest), strict=True))
        xx, xf, ff, rest = new
        if change < tolerance:
            return Solution(1.0 - k / curve, force / (curve - k), xx, xf, ff, rest)


def worth(terms: GarleanuPedersenParams, rule: Rule, n_steps: int | None = None) -> float:
    """Expected discounted reward of a linear policy from a flat start and a stationary signal.

    The second moments of position and signal follow a linear recursion, so nothing is simulated.

    Parameters
    ----------
    terms
        The problem.
    rule
        The policy.
    n_steps
        Rewards to count; None = all (until the discount has made them vanish).
    """
    t, d, keep = terms, terms.discount, 1.0 - terms.decay
    limit = math.ceil(math.log(1e-17) / math.log(d)) if n_steps is None else n_steps
    held, both, seen = 0.0, 0.0, t.deviation**2
    total, weight = 0.0, 1.0
    for _ in range(limit):
        reward, held, both = _moved(t, rule, held, both, seen)
        total += weight * reward
        weight *= d
        both *= keep
    return total


def steady(terms: GarleanuPedersenParams, rule: Rule) -> float:
    """Average reward a step of a linear policy, long after the start."""
    held, both, seen = 0.0, 0.0, terms.deviation**2
    reward = math.inf
    while True:
        new, held, both = _moved(terms, rule, held, both, seen)
        both *= 1.0 - terms.decay
        if abs(new - reward) < 1e-16:
            return new
        reward = new


def _moved(t: GarleanuPedersenParams, rule: Rule, held: float, both: float, seen: float) -> tuple[float, float, float]:
    """Expected reward of a step, then E x² and E x f after it, from E x², E x f and E f² before it."""
    after = rule.keep**2 * held + 2.0 * rule.keep * rule.lean * both + rule.lean**2 * seen
    cross = rule.keep * both + rule.lean * seen
    with_old = rule.keep * held + rule.lean * both
    gain = t.slope * cross - 0.5 * t.aversion * t.variance * after
    paid = 0.5 * t.cost * t.variance * (after - 2.0 * with_old + held)
    return t.discount * gain - paid, after, cross


def markowitz(terms: GarleanuPedersenParams) -> Rule:
    """Hold what is best without costs."""
    return Rule(0.0, terms.slope / (terms.aversion * terms.variance))


def myopic(terms: GarleanuPedersenParams) -> Rule:
    """Weigh the cost of a trade against its reward in the next step alone."""
    k, d = terms.cost * terms.variance, terms.discount
    whole = k + d * terms.aversion * terms.variance
    return Rule(k / whole, d * terms.slope / whole)
