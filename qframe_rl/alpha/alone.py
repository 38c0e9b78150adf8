"""Scores of formulas where too few instruments are there to be ranked: of each by itself, through time."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.alpha.score import COVERED, AlphaScore, newey_west
from qframe_rl.types import Bool, Float


class CourseScore(NamedTuple):
    """A formula's score through time, and what it is made of."""

    score: AlphaScore
    """Means over the instruments."""
    series: Float
    """(N,) products of z-scored ranks and z-scored labels, mean over the instruments; their mean is the IC."""
    stand: Float
    """(N, A) z-scored ranks; NaN where there is no value."""


class Courses:
    """What followed each date, of each instrument, ready to be compared with formulas.

    Parameters
    ----------
    label
        (N, A) from `qframe_rl.alpha.score.labels`, of the dates alone; NaN where an instrument has none.
    n_ahead
        Bars of the label.
    """

    def __init__(self, label: Float, n_ahead: int):
        self.there, self.n_ahead, self.label = ~np.isnan(label), n_ahead, label
        self.ranks = z_ranks(label, self.there)
        self.of: list[int] = np.flatnonzero(self.there.any(axis=0)).tolist()

    def score(self, values: Float) -> CourseScore:
        """Score a formula by its (N, A) values on the dates.

        It is valid where each instrument has a value on 95 % of its dates, and not always the same one; how many of the
        values are distinct is not counted.
        """
        stand = z_ranks(values, self.there)
        says = ~np.isnan(stand)
        coverage = says.sum(axis=0)[self.of] / self.there.sum(axis=0)[self.of]
        varies = np.array([bool(np.nanmax(np.abs(stand[:, a]), initial=0.0) > 0.0) for a in self.of])
        least = float(coverage.min())
        said = "" if least >= COVERED else f"it has a value on {least:.0%} of the dates, fewer than {COVERED:.0%}"
        said = said or ("" if varies.all() else "it has the same value on every date")
        facts = (len(values), float(coverage.mean()), float(varies.mean()), 1.0)
        if said:
            return CourseScore(AlphaScore(0.0, 0.0, 0.0, 0.0, *facts, said), np.zeros(len(values)), stand)
        series = _products(stand, self.label, says)
        spread = float(series.std(ddof=1))
        icir = float(series.mean()) / spread if spread > 0.0 else 0.0
        rank_ic = float(_products(stand, self.ranks, says).mean())
        figures = (float(series.mean()), rank_ic, icir, newey_west(series, self.n_ahead))
        return CourseScore(AlphaScore(*figures, *facts, ""), series, stand)


def z_ranks(values: Float, there: Bool) -> Float:
    """Z-scored ranks through time, of each instrument.

    Parameters
    ----------
    values
        (N, A).
    there
        (N, A) cells that count.

    Returns
    -------
    Float
        (N, A); NaN where there is no value, 0 where all are the same.
    """
    from scipy.stats import rankdata

    out = np.full(values.shape, np.nan)
    for a in range(values.shape[1]):
        seen = there[:, a] & np.isfinite(values[:, a])
        if seen.any():
            ranks = rankdata(values[seen, a])
            spread = float(ranks.std())
            out[seen, a] = (ranks - ranks.mean()) / spread if spread > 0.0 else 0.0
    return out


def _products(stand: Float, other: Float, says: Bool) -> Float:
    """(N,) mean over instruments of z-scores times z-scores, each over the dates that have both; 0 without any."""
    total, n = np.zeros(len(stand)), np.zeros(len(stand))
    for a in np.flatnonzero(says.any(axis=0)):
        both = says[:, a]
        x, y = stand[both, a] - stand[both, a].mean(), other[both, a] - other[both, a].mean()
        size = math.sqrt(float(np.mean(x * x) * np.mean(y * y)))
        total[both] += x * y / size if size > 0.0 else 0.0
        n[both] += 1.0
    return np.asarray(total / np.maximum(n, 1.0))


def likeness(one: Float, other: Float) -> float:
    """Mean over instruments of the correlation of (N, A) ranks through time, over the dates that have both."""
    both = ~np.isnan(one) & ~np.isnan(other)
    return float(np.mean([_correlation(one[b, a], other[b, a]) for a, b in enumerate(both.T) if b.any()] or [0.0]))


def _correlation(one: Float, other: Float) -> float:
    x, y = one - one.mean(), other - other.mean()
    size = math.sqrt(float(np.mean(x * x) * np.mean(y * y)))
    return float(np.mean(x * y)) / size if size > 0.0 else 0.0
