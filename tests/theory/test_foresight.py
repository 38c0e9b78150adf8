"""The oracle that knows the future: against enumeration, and against what it must never fall below."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.theory.foresight import best_path, hindsight

SIDES = np.array([-1.0, 0.0, 1.0])


def enumerated(gains: np.ndarray, switch: np.ndarray, start: int) -> float:
    best = -np.inf
    for path in itertools.product(range(gains.shape[1]), repeat=len(gains)):
        total, at = 0.0, start
        for t, k in enumerate(path):
            total += gains[t, k] - switch[at, k]
            at = k
        best = max(best, total)
    return best


@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 3))
def test_it_equals_the_best_of_all_paths(seed: int, n_steps: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    gains, switch = rng.normal(size=(n_steps, n)), rng.random((n, n)) - 0.2
    start = int(rng.integers(n))
    path = best_path(gains, switch, start)
    assert path.value == pytest.approx(enumerated(gains, switch, start), abs=1e-12)
    before = np.concatenate([[start], path.choice[:-1]])
    earned = gains[np.arange(n_steps), path.choice] - switch[before, path.choice]
    assert path.value == pytest.approx(earned.sum(), abs=1e-12)


def test_without_cost_it_takes_every_move_and_with_a_great_one_it_never_trades() -> None:
    returns = np.random.default_rng(0).normal(size=1000)
    positions, value = hindsight(returns, SIDES, 0.0)
    assert np.array_equal(positions, np.sign(returns))
    assert value == pytest.approx(np.abs(returns).sum())
    positions, value = hindsight(returns, SIDES, 1e6)
    assert (positions == 0.0).all()
    assert value == 0.0


def test_it_trades_two_sides_only_where_a_swing_pays_for_itself() -> None:
    returns = np.array([1.0, -0.5, 1.0, -3.0, 0.5, -3.0])
    positions, value = hindsight(returns, np.array([-1.0, 1.0]), 1.0, start=1.0)
    assert positions.tolist() == [1.0, 1.0, 1.0, -1.0, -1.0, -1.0]
    assert value == pytest.approx(1.5 + 5.5 - 2.0)


def test_the_value_falls_with_cost_and_is_never_below_any_rule() -> None:
    rng = np.random.default_rng(4)
    returns = rng.normal(size=500)
    values = [hindsight(returns, SIDES, cost)[1] for cost in (0.0, 0.1, 0.5, 1.0, 3.0)]
    assert all(a > b for a, b in itertools.pairwise(values))
    rule = rng.choice(SIDES, 500)
    turnover = np.abs(np.diff(rule, prepend=0.0)).sum()
    assert (rule * returns).sum() - 0.5 * turnover < values[2]


def test_a_long_history_is_quick() -> None:
    returns = np.random.default_rng(1).normal(size=1_000_000)
    positions, value = hindsight(returns, SIDES, 1.0)
    assert len(positions) == 1_000_000
    assert value > 0.0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        best_path(np.zeros((3, 2)), np.zeros((3, 3)), 0)
    with pytest.raises(ValueError, match="do not fit"):
        best_path(np.zeros((3, 2)), np.zeros((2, 2)), 2)
    with pytest.raises(ValueError, match="finite"):
        best_path(np.array([[np.nan, 0.0]]), np.zeros((2, 2)), 0)
    with pytest.raises(ValueError, match=r"start 0\.5"):
        hindsight(np.zeros(3), SIDES, 1.0, start=0.5)
    assert hindsight(np.zeros(0), SIDES, 1.0)[1] == 0.0
