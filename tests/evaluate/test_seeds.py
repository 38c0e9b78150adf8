"""Statistics over seeds: the vectors of the card, and coverage."""

import numpy as np
import pytest

from qframe_rl.evaluate.inference.seeds import (
    improvement,
    iqm,
    mean,
    optimality_gap,
    profile,
    seeds_interval,
    task_median,
)

SCORES = np.array([[0.5, 1, 0.2], [0.7, 0.9, 0.1], [0.6, 1.1, 0.4], [0.4, 0.8, 0.3], [0.55, 1.2, 0.25]])


def test_vectors() -> None:
    assert iqm(SCORES) == pytest.approx(0.5722222, abs=5e-8)
    assert mean(SCORES) == pytest.approx(0.6)
    assert task_median(SCORES) == pytest.approx(0.55)
    assert optimality_gap(SCORES) == pytest.approx(0.42)
    assert improvement(SCORES, SCORES - 0.1) == pytest.approx(0.7266667, abs=5e-8)


def test_interval_vector() -> None:
    interval = seeds_interval(SCORES)
    assert interval.estimate == pytest.approx(0.5722222, abs=5e-8)
    assert (interval.low, interval.high) == pytest.approx((0.517, 0.633), abs=0.012)
    assert interval.level == 0.95
    assert seeds_interval(SCORES, seed=1) == seeds_interval(SCORES, seed=1)


def test_iqm_is_the_trimmed_mean() -> None:
    stats = pytest.importorskip("scipy.stats")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=(int(rng.integers(1, 9)), int(rng.integers(1, 6))))
        assert iqm(scores) == pytest.approx(stats.trim_mean(scores.ravel(), 0.25), abs=1e-12)


def test_statistics_work_on_stacks() -> None:
    stack = np.stack([SCORES, SCORES + 1.0])
    for statistic in (iqm, mean, task_median, optimality_gap):
        alone = [float(statistic(SCORES)), float(statistic(SCORES + 1.0))]
        assert statistic(stack) == pytest.approx(alone)


def test_improvement_is_symmetric() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (6, 3)).astype(float), rng.integers(0, 4, (5, 3)).astype(float)
    assert improvement(a, b) + improvement(b, a) == pytest.approx(1.0)
    assert improvement(a, a) == 0.5


def test_profile_falls_from_one_to_zero() -> None:
    shares = profile(SCORES, np.array([0.0, 0.5, 2.0]))
    assert shares == pytest.approx([1.0, 8 / 15, 0.0])


def test_runs_are_resampled_within_their_task() -> None:
    """Tasks of one value each: nothing can vary, however far apart the tasks are."""
    scores = np.tile([0.0, 1.0, 10.0], (6, 1))
    assert seeds_interval(scores, mean)[:3] == pytest.approx((11 / 3, 11 / 3, 11 / 3))


def test_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for seed in range(300):
        interval = seeds_interval(rng.normal(0.5, 0.2, (10, 4)), mean, n_resamples=500, seed=seed)
        inside += interval.low <= 0.5 <= interval.high
    assert 0.88 <= inside / 300 <= 0.98


@pytest.mark.parametrize("scores", [np.zeros(3), np.zeros((0, 3)), np.array([[np.nan]])])
def test_what_is_no_table_of_scores_is_refused(scores: np.ndarray) -> None:
    with pytest.raises(ValueError, match="runs, tasks"):
        seeds_interval(scores)
