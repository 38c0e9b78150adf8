"""What a handful of seeds says about a learner.

Source: Agarwal, Schwarzer, Castro, Courville and Bellemare, Deep reinforcement learning at the edge of the statistical
precipice (2021). Scores are (R, M): R runs (seeds) on each of M tasks (folds, markets); higher is better.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qframe_rl.evaluate.inference.bootstrap import Interval
from qframe_rl.types import Float

Statistic = Callable[[Float], Float]
"""Reduces the last two axes (R, M) of scores to one number."""

_CHUNK = 4_000_000


def mean(scores: Float) -> Float:
    """Mean over runs and tasks of (..., R, M) scores."""
    return np.asarray(scores.mean(axis=(-2, -1)))


def iqm(scores: Float) -> Float:
    """Interquartile mean of (..., R, M) scores: runs of all tasks pooled, a quarter cut off at either end."""
    pooled = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = pooled.shape[-1] // 4
    return np.asarray(pooled[..., cut : pooled.shape[-1] - cut].mean(axis=-1))


def task_median(scores: Float) -> Float:
    """Median over tasks of the mean over runs of (..., R, M) scores."""
    return np.asarray(np.median(scores.mean(axis=-2), axis=-1))


def optimality_gap(scores: Float, target: float = 1.0) -> Float:
    """Mean amount by which (..., R, M) scores fall short of ``target``; what is above it does not make up for it."""
    return np.asarray(np.maximum(target - scores, 0.0).mean(axis=(-2, -1)))


def profile(scores: Float, thresholds: Float) -> Float:
    """(K,) share of all (R, M) scores above each of (K,) thresholds: the performance profile."""
    return np.asarray((scores[..., None] > thresholds).mean(axis=(0, 1)))


def improvement(scores: Float, others: Float) -> float:
    """Probability that a run of one learner beats a run of another.

    Parameters
    ----------
    scores, others
        (R, M) and (R', M) scores on the same tasks.

    Returns
    -------
    float
        Mean over tasks of the share of the R x R' pairs that the first wins, ties counting half (Mann-Whitney).
    """
    pair = scores[:, None, :] - others[None, :, :]
    return float(np.mean((pair > 0.0) + 0.5 * (pair == 0.0)))


def seeds_interval(
    scores: Float, statistic: Statistic = iqm, *, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile interval of a statistic by the stratified bootstrap: runs are resampled within each task.

    Parameters
    ----------
    scores
        (R, M) scores.
    statistic
        `iqm`, `mean`, `task_median`, `optimality_gap` or another of that form.
    level
        Share of the resamples inside the interval, in (0, 1); 95 % is the paper's.
    n_resamples
        Number of resamples.
    seed
        Root of the resampling.

    Raises
    ------
    ValueError
        If there is no score, or one that is not finite.
    """
    if scores.ndim != 2 or scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"scores must be (runs, tasks) finite numbers, got shape {scores.shape}")
    rng = np.random.default_rng(seed)
    runs, tasks = scores.shape
    step = max(1, _CHUNK // scores.size)
    drawn = [
        statistic(scores[rng.integers(0, runs, (min(step, n_resamples - done), runs, tasks)), np.arange(tasks)])
        for done in range(0, n_resamples, step)
    ]
    low, high = np.quantile(np.concatenate(drawn), [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(float(statistic(scores)), float(low), float(high), level)
