"""Almgren & Chriss, see docs/solvable.md; schedules of the paper's section 4."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qframe_rl.theory.execution import ExecutionParams, cost, linear, schedule, urgency


def test_the_printed_figures() -> None:
    terms = ExecutionParams()
    assert urgency(terms) == pytest.approx(0.607076, abs=5e-7)
    assert 1.0 / urgency(terms) == pytest.approx(1.647, abs=5e-4)
    held = schedule(terms)
    assert held == pytest.approx([1e6, 541955.6, 289854.2, 147897.5, 62141.8, 0.0], abs=0.05)
    best = cost(terms, held)
    assert best.expected == pytest.approx(911_226.99, abs=5e-3)
    assert best.variance == pytest.approx(3.6412857e11, abs=5e3)
    assert best.objective == pytest.approx(1_275_355.56, abs=5e-3)
    assert best.core == pytest.approx(1_087_855.56, abs=5e-3)
    assert best.objective - best.core == pytest.approx(187_500.0, abs=1e-9)
    assert cost(terms, linear(terms)).core == pytest.approx(1_558_000.0, abs=0.5)


@pytest.mark.parametrize(
    ("aversion", "kappa", "objective"), [(2e-6, 0.846297, 1_544_577.74), (1e-7, 0.194629, 762_529.32)]
)
def test_other_aversions(aversion: float, kappa: float, objective: float) -> None:
    terms = ExecutionParams(aversion=aversion)
    assert urgency(terms) == pytest.approx(kappa, abs=5e-7)
    assert cost(terms, schedule(terms)).objective == pytest.approx(objective, abs=5e-3)


def test_no_other_schedule_is_cheaper() -> None:
    terms = ExecutionParams(n_steps=8)
    held = schedule(terms)
    best = cost(terms, held).objective
    rng = np.random.default_rng(0)
    for _ in range(200):
        other = held.copy()
        other[1:-1] += rng.normal(0.0, 3e4, 7)
        assert cost(terms, other).objective > best


def test_without_aversion_the_schedule_is_linear() -> None:
    terms = ExecutionParams(aversion=0.0)
    assert schedule(terms) == pytest.approx(linear(terms))
    near = ExecutionParams(aversion=1e-14)
    assert schedule(near) == pytest.approx(linear(near), rel=1e-4, abs=1e-6)
    assert math.isclose(cost(terms, linear(terms)).variance, 0.95**2 * 1e12 * (0.64 + 0.36 + 0.16 + 0.04))
