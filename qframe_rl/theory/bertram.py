"""When to enter and leave a mean-reverting spread.

Source: Bertram, Analytic solutions for optimal statistical arbitrage trading, Physica A 389 (2010). The log spread is
an Ornstein-Uhlenbeck process ``dx = -reversion x dt + volatility dW``. A cycle buys at a, sells at m > a and waits
until x is back at a; it earns ``m - a - cost``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from qframe_rl.jit import compiled
from qframe_rl.theory.search import maximum
from qframe_rl.types import Float


class BertramParams(NamedTuple):
    """The constants of the problem; the defaults are those of the paper (section 5)."""

    reversion: float = 180.9670
    """alpha: pull towards zero, a year."""
    volatility: float = 0.1538
    """eta: a square root of a year."""
    cost: float = 0.001
    """c: log cost of a cycle."""

    @property
    def deviation(self) -> float:
        """Stationary standard deviation of the log spread."""
        return self.volatility / math.sqrt(2.0 * self.reversion)


class Thresholds(NamedTuple):
    """Where to enter and leave, and what it brings."""

    enter: float
    leave: float
    cycle: float
    """Expected length of a cycle, years."""
    variance: float
    """Variance of the length of a cycle, years²."""
    growth: float
    """Expected log return a year."""
    sharpe: float
    """Growth beyond what is free of risk, over the standard deviation of a year's growth."""


def expected_cycle(spread: BertramParams, enter: float, leave: float) -> float:
    """Expected length of a cycle in years (equation 10).

    Parameters
    ----------
    spread
        The process.
    enter, leave
        Log spread at which a cycle buys and sells, enter below leave.
    """
    scale = math.sqrt(spread.reversion) / spread.volatility
    return math.pi / spread.reversion * (_erfi(leave * scale) - _erfi(enter * scale))


def variance_cycle(spread: BertramParams, enter: float, leave: float) -> float:
    """Variance of the length of a cycle, years² (equation 11).

    Parameters
    ----------
    spread, enter, leave
        As in `expected_cycle`.
    """
    scale = math.sqrt(2.0 * spread.reversion) / spread.volatility
    first = _squares(leave * scale) - _squares(enter * scale)
    second = _digammas(leave * scale) - _digammas(enter * scale)
    return (first - second) / spread.reversion**2


def thresholds(spread: BertramParams, enter: float, leave: float, risk_free: float = 0.0) -> Thresholds:
    """Evaluate a pair of thresholds (equations 2 and 3: a renewal process of cycles).

    Parameters
    ----------
    spread
        The process.
    enter, leave
        Log spread at which a cycle buys and sells.
    risk_free
        Log return that a cycle's money would have earned without risk; the Sharpe ratio counts what is beyond it.
    """
    earned, mean = leave - enter - spread.cost, expected_cycle(spread, enter, leave)
    variance = variance_cycle(spread, enter, leave)
    risk = abs(earned) * math.sqrt(variance / mean**3)
    return Thresholds(enter, leave, mean, variance, earned / mean, (earned - risk_free) / mean / risk)


def best_return(spread: BertramParams) -> Thresholds:
    """Thresholds with the largest expected return; they lie symmetrically around zero."""
    return _best(spread, 0.0, lambda t: t.growth)


def best_sharpe(spread: BertramParams, risk_free: float = 0.0) -> Thresholds:
    """Thresholds with the largest Sharpe ratio over a risk-free log return per cycle."""
    return _best(spread, risk_free, lambda t: t.sharpe)


def _best(spread: BertramParams, risk_free: float, score: Callable[[Thresholds], float]) -> Thresholds:
    at = maximum(
        lambda m: score(thresholds(spread, -m, m, risk_free)), 0.5 * spread.cost * (1 + 1e-9), 4.0 * spread.deviation
    )
    return thresholds(spread, -at, at, risk_free)


def _erfi(x: float) -> float:
    """Imaginary error function, by its power series."""
    term, total, k = x, x, 0
    while abs(term) > 1e-17 * abs(total):
        k += 1
        term *= x * x / k
        total += term / (2 * k + 1)
    return 2.0 / math.sqrt(math.pi) * total


def _squares(z: float) -> float:
    """Bertram's w1: the difference of two squared sums over Gamma(k / 2) (sqrt(2) z)^k / k!."""
    plus = minus = 0.0
    for k, term in enumerate(_terms(z), 1):
        plus += term
        minus += term if k % 2 == 0 else -term
    return 0.25 * (plus**2 - minus**2)


def _digammas(z: float) -> float:
    """Bertram's w2: odd terms of the same sum, weighted by digamma((2 k - 1) / 2) - digamma(1)."""
    total, weight = 0.0, -2.0 * math.log(2.0)
    for k, term in enumerate(_terms(z), 1):
        if k % 2 == 1:
            total += term * weight
            weight += 2.0 / k
    return total


def _terms(z: float) -> list[float]:
    """Gamma(k / 2) (sqrt(2) z)^k / k! for k = 1, 2, ... until they vanish."""
    x, k, largest = math.sqrt(2.0) * z, 1, 0.0
    terms: list[float] = []
    while k < 3 or max(abs(t) for t in terms[-2:]) > 1e-17 * largest:
        terms.append(math.copysign(1.0, x) ** k * math.exp(math.lgamma(k / 2) - math.lgamma(k + 1)) * abs(x) ** k)
        largest = max(largest, abs(terms[-1]))
        k += 1
    return terms


def simulate(
    spread: BertramParams, enter: float, leave: float, n_cycles: int, seed: int = 0, steps_per_year: float = 2e5
) -> Float:
    """(n_cycles,) simulated lengths of cycles, years.

    A step is an exact draw of the process; a path may cross a threshold and come back within a step unseen, which the
    probability of a Brownian bridge makes good.

    Parameters
    ----------
    spread
        The process.
    enter, leave
        Thresholds, enter below leave.
    n_cycles
        Cycles to simulate.
    seed
        Root of the randomness.
    steps_per_year
        Fineness of the path.
    """
    lengths = np.zeros(n_cycles)
    dt = 1.0 / steps_per_year
    keep = math.exp(-spread.reversion * dt)
    shock = spread.volatility * math.sqrt((1.0 - keep * keep) / (2.0 * spread.reversion))
    rng = np.random.default_rng(seed)
    state = np.array([enter, leave, 0.0, 0.0])  # x, the threshold that is waited for, time, cycles done
    while state[3] < n_cycles:
        _cycles(state, rng.standard_normal(1 << 16), rng.random(1 << 16), keep, shock, dt, enter, leave, lengths)
    return lengths


@compiled
def _cycles(
    state: Float,
    normal: Float,
    uniform: Float,
    keep: float,
    shock: float,
    dt: float,
    enter: float,
    leave: float,
    lengths: Float,
) -> None:
    """Go on with the path for as many steps as there are random numbers."""
    x, goal, time, done = state[0], state[1], state[2], int(state[3])
    for z, u in zip(normal, uniform):  # noqa: B905 (Numba knows no strict)
        new = keep * x + shock * z
        time += dt
        side = 1.0 if goal == leave else -1.0
        before, after = side * (goal - x), side * (goal - new)
        if after <= 0.0 or u < math.exp(-2.0 * before * after / (shock * shock)):
            if goal == enter:
                if done < len(lengths):
                    lengths[done] = time
                done += 1
                time = 0.0
                goal = leave
            else:
                goal = enter
            new = enter if side < 0.0 else leave
        x = new
    state[0], state[1], state[2], state[3] = x, goal, time, done
