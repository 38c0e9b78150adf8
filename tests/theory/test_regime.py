"""Regimes, seen and hidden, see docs/solvable.md and E5."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.theory.regime import hidden, next_belief, observed


def test_following_an_observed_regime() -> None:
    policy = observed(0.95, 1.0, 2.0)
    assert policy.growth == pytest.approx(0.8, abs=1e-9)
    assert (policy.best == [0, 2]).all()


def test_a_cost_above_half_the_expected_gain_of_a_regime_is_never_paid() -> None:
    policy = observed(0.95, 1.0, 12.0)
    assert policy.growth == pytest.approx(0.0, abs=1e-9)
    assert (policy.best == [[0, 0], [1, 1], [2, 2]]).all()
    assert observed(0.95, 1.0, 9.9).growth == pytest.approx(1.0 - 2 * 9.9 * 0.05, abs=1e-9)


def test_the_hidden_regime() -> None:
    solved = hidden(0.95, 0.5, 1.0, 0.5)
    # The card prints .229511, which a coarser quadrature gives; two discretisations of ours agree on .229491.
    assert solved.growth == pytest.approx(0.229511, abs=3e-5)
    assert solved.growth == pytest.approx(0.229491, abs=2e-6)
    assert solved.threshold == pytest.approx(0.6985, abs=0.001)
    assert hidden(0.95, 0.5, 1.0, 0.5, 1600).growth == pytest.approx(solved.growth, abs=1e-6)


def test_the_filter_is_bayes_rule() -> None:
    rng = np.random.default_rng(1)
    state = np.where(rng.random() < 0.5, 1.0, -1.0)
    belief, hits, n = 0.5, np.zeros((10, 2)), 200_000
    for _ in range(n):
        cell = min(int(belief * 10), 9)
        hits[cell] += (state > 0, 1)
        belief = float(next_belief(np.array(belief), np.array(0.5 * state + rng.standard_normal()), 0.95, 0.5, 1.0))
        state = state if rng.random() < 0.95 else -state
    seen = hits[:, 1] > 1000
    share = hits[seen, 0] / hits[seen, 1]
    assert share == pytest.approx((np.arange(10)[seen] + 0.5) / 10, abs=0.035)


@pytest.mark.parametrize("drift", [40.0, 1e6])
def test_a_regime_that_is_plain_to_see_is_known(drift: float) -> None:
    """Odds beyond the largest number were no number."""
    known = next_belief(np.array([0.5, 0.95]), np.array([drift, -drift]), 0.95, drift, 1.0)
    assert known == pytest.approx([0.95, 0.05])


def test_simulated_growth_of_the_threshold_rule() -> None:

    n, steps = 4000, 500
    solved = hidden(0.95, 0.5, 1.0, 0.5)

    def earned(threshold: float) -> float:
        chance = np.random.default_rng(3)
        state = np.where(chance.random(n) < 0.5, 1.0, -1.0)
        belief, held, total = np.full(n, 0.5), np.zeros(n), 0.0
        for _ in range(steps):
            new = np.where(belief > threshold, 1.0, np.where(belief < 1.0 - threshold, -1.0, held))
            total += float((new * 0.5 * (2.0 * belief - 1.0) - 0.5 * np.abs(new - held)).mean())
            held = new
            belief = next_belief(belief, 0.5 * state + chance.standard_normal(n), 0.95, 0.5, 1.0)
            state = np.where(chance.random(n) < 0.95, state, -state)
        return total / steps

    best = earned(solved.threshold)
    assert best == pytest.approx(solved.growth, abs=0.004)
    for other in (0.55, 0.85):
        assert earned(other) < best


def test_what_no_belief_pays_for_is_never_done() -> None:
    assert hidden(0.95, 0.5, 1.0, 100.0, n_cells=100).threshold == 1.0
