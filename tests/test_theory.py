"""Exact solutions against published and independently computed figures."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.theory import ar1_flip


@pytest.mark.parametrize(
    ("cost", "growth", "threshold"),
    [(0.5, 0.70223, 0.2925), (1.0, 0.64020, 0.4425), (2.0, 0.54699, 0.6375), (4.0, 0.41363, 0.9075)],
)
def test_the_table_of_the_ar1_signal(cost: float, growth: float, threshold: float) -> None:
    flip = ar1_flip(0.9, cost, step=0.0075)
    assert flip.growth == pytest.approx(growth, abs=2e-5)
    assert threshold - 0.0075 <= flip.threshold <= threshold  # theirs is the first grid point beyond it


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
