"""Thresholds of a mean-reverting spread, see docs/solvable.md."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.theory.bertram import BertramParams, best_return, best_sharpe, simulate, thresholds, variance_cycle
from qframe_rl.theory.ladder import ladder_income, ladder_trips


def test_the_printed_figures() -> None:
    best = best_return(BertramParams())
    assert best.enter == -best.leave == pytest.approx(-0.0047152, abs=5e-8)
    assert best.cycle == pytest.approx(0.0171224, abs=5e-8)
    assert best.growth == pytest.approx(0.4923583, abs=5e-8)
    # The reference cuts its series off: .00015438 and 3.86293. The moments below, from the equation, side with ours.
    assert best.variance == pytest.approx(0.00015438, rel=3e-4)
    assert best_sharpe(BertramParams(), 0.01).sharpe == pytest.approx(3.86293, rel=3e-4)


def test_the_variance_solves_the_equation_of_first_passage_moments() -> None:
    """``eta² u_n''/2 - alpha x u_n' = -n u_(n-1)`` with u_n = 0 at the goal, integrated numerically from far below."""
    spread, goal = BertramParams(), 0.0047152
    x = np.linspace(-12.0 * spread.deviation, goal, 200_001)
    weight = np.exp(-spread.reversion * x**2 / spread.volatility**2)

    def integral(y: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], np.cumsum(0.5 * (y[1:] + y[:-1])) * (x[1] - x[0])])

    def moment(before: np.ndarray, n: int) -> np.ndarray:
        u = integral(-2.0 / spread.volatility**2 / weight * integral(weight * n * before))
        return u - u[-1]

    one = moment(np.ones_like(x), 1)
    two = moment(one, 2)
    mean, square = np.interp(-goal, x, one), np.interp(-goal, x, two)
    found = thresholds(spread, -goal, goal)
    assert found.cycle == pytest.approx(2.0 * mean, rel=1e-6)
    assert variance_cycle(spread, -goal, goal) == pytest.approx(2.0 * (square - mean**2), rel=1e-6)


def test_no_other_thresholds_earn_more() -> None:
    spread = BertramParams()
    best = best_return(spread)
    for enter, leave in ((-0.005, 0.005), (-0.0044, 0.0044), (-0.0047, 0.005), (-0.005, 0.0047)):
        assert thresholds(spread, enter, leave).growth < best.growth


@pytest.mark.long
def test_simulated_cycles() -> None:
    best = best_return(BertramParams())
    lengths = simulate(BertramParams(), best.enter, best.leave, 20_000, seed=1)
    error = lengths.std() / np.sqrt(len(lengths))
    assert lengths.mean() == pytest.approx(best.cycle, abs=2 * error)
    assert lengths.var() == pytest.approx(best.variance, rel=0.06)
    assert (best.leave - best.enter - 0.001) / lengths.mean() == pytest.approx(best.growth, rel=0.015)


def test_a_ladder_of_one_step_is_a_cycle() -> None:
    spread = BertramParams()
    best = best_return(spread)
    levels = np.array([best.enter, best.leave])
    assert ladder_trips(spread, levels)[0] == pytest.approx(1.0 / best.cycle)
    income = ladder_income(spread, 100.0 * np.exp(levels), 100.0, 3.0, 1e-4)
    low, high = 100.0 * np.exp(levels)
    assert income == pytest.approx(3.0 * (high - low - 1e-4 * (high + low)) / best.cycle)
    halves = ladder_trips(spread, np.array([best.enter, 0.0, best.leave]))
    assert halves == pytest.approx(2.0 / best.cycle), "half the way there and back takes half of the time"
