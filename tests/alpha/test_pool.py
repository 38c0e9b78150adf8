"""Pools of formulas: weights against what is known of them, and who may come in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from qframe_rl.alpha.pool import admits, combined, correlations, ensemble_ic, mutual, weights
from qframe_rl.alpha.score import coefficients, standing
from qframe_rl.types import Float

ALIKE, ICS = np.array([[1.0, 0.3], [0.3, 1.0]]), np.array([0.05, 0.04])


@pytest.mark.parametrize(
    ("ridge", "found", "ic"),
    [(0.0, (0.041758, 0.027473), 0.0564519), (0.2, (0.0355556, 0.0244444), 0.0564453)],
)
def test_golden_weights(ridge: float, found: tuple[float, float], ic: float) -> None:
    weight = weights(ALIKE, ICS, ridge)
    assert weight == pytest.approx(found, abs=5e-7)
    assert ensemble_ic(ALIKE, ICS, weight) == pytest.approx(ic, abs=5e-8)


def drawn(k: int, seed: int = 0) -> tuple[Float, Float]:
    rng = np.random.default_rng(seed)
    loads = rng.standard_normal((k, 2 * k))
    cov = loads @ loads.T
    return cov / np.sqrt(np.outer(np.diag(cov), np.diag(cov))), 0.05 * rng.standard_normal(k)


def test_nonnegative_weights_are_those_of_scipy() -> None:
    alike, ics = drawn(6)
    matrix = alike + 0.2 * np.eye(6)
    root = np.linalg.cholesky(matrix)
    expected, _ = nnls(root.T, np.linalg.solve(root, ics))
    found = weights(alike, ics, weighing="nonnegative")
    assert found == pytest.approx(expected, abs=1e-10)
    assert (found == 0.0).any() and (found > 0.0).any()


def test_l1_weights_are_optimal_and_few() -> None:
    """At the optimum the gradient is the price where a weight is not zero, and at most that where it is."""
    alike, ics = drawn(8, 3)
    found = weights(alike, ics, 0.4, "l1")
    price = 0.4 * np.abs(ics).max()
    slope = ics - alike @ found
    held = found != 0.0
    assert 0 < held.sum() < 8
    assert slope[held] == pytest.approx(price * np.sign(found[held]), abs=1e-10)
    assert (np.abs(slope[~held]) <= price + 1e-12).all()
    assert weights(alike, ics, 0.0, "l1") == pytest.approx(np.linalg.solve(alike, ics), abs=1e-8)


def test_correlations_are_means_of_those_of_rows() -> None:
    rng, members = np.random.default_rng(1), np.ones((40, 12), dtype=np.bool_)
    x, y = rng.standard_normal((2, 40, 12))
    y += 0.7 * x
    x[rng.random(x.shape) < 0.1] = np.nan
    y[5], x[7] = 3.0, np.nan
    one, other = standing(x, members), standing(y, members)
    rows = []
    for a, b in zip(one, other, strict=True):
        both = ~np.isnan(a) & ~np.isnan(b)
        flat = both.sum() < 8 or a[both].std() == 0 or b[both].std() == 0
        rows.append(0.0 if flat else np.corrcoef(a[both], b[both])[0, 1])
    assert rows[5] == rows[7] == 0.0
    assert mutual(one, other) == pytest.approx(np.sum(rows) / 39, rel=1e-12)
    alike = correlations([one, other, -one])
    assert np.array_equal(alike, alike.T) and (np.diag(alike) == 1.0).all()
    assert alike[0, 2] < -0.9
    assert not admits(alike, 2), "an opposite is as good as a copy"
    assert admits(np.array([[1.0, 0.7], [0.7, 1.0]]), 1) and not admits(np.array([[1.0, -0.71], [-0.71, 1.0]]), 1)


def test_the_ensemble_has_the_ic_that_its_weights_promise() -> None:
    """Independent formulas that each tell a little: together they tell about the root of the sum of squares."""
    rng, shape = np.random.default_rng(2), (400, 30)
    members = np.ones(shape, dtype=np.bool_)
    x, y = rng.standard_normal((2, *shape))
    label = 0.01 * (0.2 * x + 0.15 * y + rng.standard_normal(shape))
    stands = [standing(v, members) for v in (x, y)]
    ics = np.array([coefficients(v, members, label)[:, 0].mean() for v in (x, y)])
    alike = correlations(stands)
    weight = weights(alike, ics)
    together = coefficients(combined(stands, weight), members, label)[:, 0].mean()
    assert together == pytest.approx(ensemble_ic(alike, ics, weight), abs=0.01)
    assert together > max(ics) + 0.02
    stands[0][3, 4] = np.nan
    assert np.isfinite(combined(stands, weight)).all(), "one that says nothing of a cell adds nothing"
    assert ensemble_ic(alike, ics, np.zeros(2)) == 0.0
    with pytest.raises(ValueError, match="at least 0"):
        weights(alike, ics, -0.1)
