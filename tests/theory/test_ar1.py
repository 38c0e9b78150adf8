"""The AR(1) signal with linear cost, see docs/solvable.md."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.theory.ar1 import ar1_flip, ar1_switching, small_cost_threshold


@pytest.mark.parametrize(
    ("cost", "growth", "threshold"),
    [(0.5, 0.70223, 0.2925), (1.0, 0.64020, 0.4425), (2.0, 0.54699, 0.6375), (4.0, 0.41363, 0.9075)],
)
def test_the_table_of_the_ar1_signal(cost: float, growth: float, threshold: float) -> None:
    flip = ar1_flip(0.9, cost, step=0.0075)
    assert flip.growth == pytest.approx(growth, abs=2e-5)
    assert threshold - 0.0075 <= flip.threshold <= threshold  # theirs is the first grid point beyond it


@pytest.mark.parametrize("cost", [0.5, 2.0])
def test_three_positions_are_worth_no_more_than_two(cost: float) -> None:
    signal, policy = ar1_switching(0.9, cost)
    flip = ar1_flip(0.9, cost)
    assert policy.growth == pytest.approx(flip.growth, abs=2e-5)
    for held, side in ((0, 2), (2, 0)):  # from short to long and back; nobody who holds goes flat
        assert set(policy.best[held]) == {held, side}
    turns = signal[policy.best[0] == 2].min()
    assert flip.threshold <= turns <= flip.threshold + 0.02


def test_small_costs_follow_the_continuous_law_less_the_overshoot_of_discrete_sampling() -> None:
    assert small_cost_threshold(0.99, 1.0) == pytest.approx(0.3102, abs=5e-5)
    shift = 0.5826 * np.sqrt(1.0 - 0.99**2)
    assert shift == pytest.approx(0.0822, abs=5e-5)
    exact = ar1_flip(0.99, 1.0, step=0.0125).threshold
    assert 0.2375 - 0.0125 <= exact <= 0.2375  # theirs is the first grid point beyond it
    assert exact == pytest.approx(0.3102 - shift, abs=0.005)


def test_no_other_threshold_does_better_in_simulation() -> None:
    rng = np.random.default_rng(0)
    phi, cost, n = 0.95, 1.0, 400_000
    f = np.empty(n)
    f[0] = 0.0
    for t, e in enumerate(rng.standard_normal(n - 1) * np.sqrt(1 - phi * phi), 1):
        f[t] = phi * f[t - 1] + e

    def earned(threshold: float) -> float:
        side, total = 1.0, 0.0
        for x in f:
            if side * x < -threshold:
                side = -side
                total -= 2.0 * cost
            total += side * x
        return total / n

    flip = ar1_flip(phi, cost)
    best = earned(flip.threshold)
    assert best == pytest.approx(flip.growth, abs=0.01)
    for other in (0.0, 0.5 * flip.threshold, 1.6 * flip.threshold):
        assert earned(other) < best


def test_the_default_market_is_what_its_documentation_says() -> None:
    history = synthetic("ar1", 60_000, seed=4)
    signal = history.values[:, 0, 5]
    returns = np.diff(np.log(history.values[:, 0, 3]))
    assert signal.std() == pytest.approx(1.0, abs=0.05)
    assert np.corrcoef(signal[:-1], signal[1:])[0, 1] == pytest.approx(0.95, abs=0.005)
    slope = (returns * signal[:-1]).mean() / (signal[:-1] ** 2).mean()
    assert slope == pytest.approx(10e-4, rel=0.02)
    assert (returns - slope * signal[:-1]).std() == pytest.approx(20e-4, rel=0.02)
    assert history.theory == {"phi": 0.95, "edge": 10e-4}


def test_a_flip_that_no_signal_pays_for_is_never_made() -> None:
    """Flips are dearer and rarer the more they cost, and beyond the grid there is none."""
    thresholds = [ar1_flip(0.9, cost, step=0.05).threshold for cost in (20.0, 40.0, 60.0, 1000.0)]
    assert thresholds == sorted(thresholds)
    assert thresholds[1] < 6.0
    assert thresholds[2:] == [np.inf, np.inf]
