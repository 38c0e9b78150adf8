"""How far luck alone reaches among all trials on a market: what the best of them is not credited with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from qframe_rl.evaluate.inference.sharpe import deflated_benchmark, effective_trials
from qframe_rl.evaluate.trial import Trial
from qframe_rl.types import Float

PRIOR = 10
"""Trials of pure luck, with a Sharpe ratio of variance 1 / bars, that the measured spread is mixed with: a handful of
trials says little about how far luck reaches."""
FARTHEST = 3.0
"""A Sharpe ratio of more standard errors than this counts as that many: it is skill or a fault, and the luck of the
others does not grow with it."""


class Luck(NamedTuple):
    """How far luck alone is expected to reach on a data set, given all that was tried."""

    trials: int = 1
    """Number of configurations ever scored."""
    trainings: int = 1
    """Number of rows: a configuration has one in each fold."""
    effective: float | None = None
    """How many independent trials they are worth, by the participation ratio of their correlations; None where a
    trial's returns were not kept."""
    spread: float = 1.0
    """Variance of the trials' Sharpe ratios in units of 1 / bars: 1 = as pure luck scatters them."""

    def benchmark(self, n_bars: float) -> float:
        """Sharpe ratio per bar that the best of all trials is expected to show over ``n_bars`` by luck alone."""
        return deflated_benchmark(max(1, self.trials), self.spread / max(n_bars, 1.0))

    @classmethod
    def carried(cls, promotion: Mapping[str, Any]) -> Self:
        """What a checkpoint or a run has kept of the luck that was reckoned with when it was chosen."""
        trials = int(promotion.get("trials", 1))
        effective, spread = promotion.get("effective_trials"), float(promotion.get("spread", 1.0))
        return cls(trials, int(promotion.get("trainings", trials)), effective, spread)


def larger(*found: Luck) -> Luck:
    """The one that counts most trials, with the widest spread of all; of equal ones the first."""
    most = max(found, key=lambda one: one.trials)
    return most._replace(spread=max(one.spread for one in found))


def luck(rows: Sequence[Trial]) -> Luck:
    """Count trials and measure how far luck reaches among them.

    Repetitions of the same configuration and code on the same bars count once; where the code is not known, it is taken
    for one that is. Each Sharpe ratio is taken times the root of its
    bars, which has variance 1 where there is no skill, so that trials of different lengths can be compared. The spread
    is the mean square of the ratios above zero, none of them taken for more than `FARTHEST`, mixed with `PRIOR` trials
    of pure luck. Ratios below zero are left out: they tell what trading costs, not how far luck reaches upwards, and
    one strategy that ruins itself would otherwise make every other look lucky.

    Returns
    -------
    Luck
        As before any trial where there is none.
    """
    codes = {(row.fingerprint, row.config): row.code for row in reversed(rows) if row.code}
    keys = [(row.fingerprint, row.config, row.code or codes.get((row.fingerprint, row.config), "")) for row in rows]
    once = {(*key, row.fold): row for key, row in zip(reversed(keys), reversed(rows), strict=True)}
    if not once:
        return Luck()
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for (*key, _), row in sorted(once.items()):
        groups.setdefault((key[0], key[1], key[2]), []).append(row)
    scores = np.array([_score(folds) for folds in groups.values()])
    above = np.minimum(scores[scores > 0.0], FARTHEST)
    spread = float((PRIOR + np.sum(above**2)) / (PRIOR + len(above)))
    return Luck(len(groups), len(once), _effective(list(groups.values())), spread)


def _score(folds: Sequence[Trial]) -> float:
    """Sharpe ratio of a configuration over all its folds, times the root of their bars."""
    bars = np.array([row.bars for row in folds], dtype=np.float64)
    mean = np.array([row.mean for row in folds])
    square = np.array([row.deviation**2 + row.mean**2 for row in folds])
    total = bars.sum()
    if total == 0.0:
        return 0.0
    average = float(bars @ mean / total)
    variance = float(bars @ square / total) - average**2
    return average / math.sqrt(variance) * math.sqrt(total) if variance > 1e-28 else 0.0


def _effective(groups: Sequence[Sequence[Trial]]) -> float | None:
    """Sum of the effective numbers of trials that were scored on the same bars."""
    same: dict[tuple[object, ...], list[Float]] = {}
    for folds in groups:
        series = [np.frombuffer(row.series, dtype=np.float32).astype(np.float64) for row in folds]
        if not all(len(part) for part in series):
            return None
        spans = tuple(
            (row.fingerprint, row.since, row.until, len(part)) for row, part in zip(folds, series, strict=True)
        )
        same.setdefault(spans, []).append(np.concatenate(series))
    return float(sum(effective_trials(np.stack(columns, axis=1)) for columns in same.values()))
