"""Choosing what to deploy, on validation bars alone: by what is surely there, not by what was luckiest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from qframe_rl.evaluate.inference.bootstrap import Interval, block_length, resample, widening
from qframe_rl.evaluate.inference.seeds import iqm
from qframe_rl.evaluate.metrics import bars_per_year, returns, sharpe
from qframe_rl.evaluate.table import Row, leaderboard
from qframe_rl.types import Float, Record

_SHARPE = 0
NEVER_CHOSEN = ("optimal", "random")
"""Run for comparison only: one knows the market's constants, the other knows nothing."""


class Choice(NamedTuple):
    """What to deploy, and why."""

    agent: str
    run: int
    """Which of its trainings."""
    reason: str


def validation_rows(records: Mapping[str, Sequence[Record]], level: float, n_resamples: int, seed: int) -> list[Row]:
    """One row per agent over all its trainings: interquartile means, and a Sharpe interval over bars and trainings.

    Parameters
    ----------
    records
        For each agent, the record of each of its trainings over the same bars.
    level, n_resamples, seed
        Of the interval.
    """
    optimal = {"optimal": records["optimal"][0]} if "optimal" in records else {}
    rows = []
    for name, runs in records.items():
        each = [
            next(r for r in leaderboard(optimal | {name: record}, "validation", seed=seed) if r["agent"] == name)
            for record in runs
        ]
        row = each[0].copy()
        for key in ("final_equity", "max_drawdown", "turnover", "costs"):
            row[key] = _middle([one[key] for one in each])
        shares = [one["share_of_optimal"] for one in each]
        known = [share for share in shares if share is not None]
        row["share_of_optimal"] = _middle(known) if len(known) == len(shares) else None
        interval = sharpe_over_runs(runs, level, n_resamples, seed)
        row["sharpe"], row["sharpe_low"], row["sharpe_high"] = interval.estimate, interval.low, interval.high
        rows.append(row)
    return sorted(rows, key=lambda row: (-row["sharpe_low"], row["agent"]))


def sharpe_over_runs(runs: Sequence[Record], level: float, n_resamples: int, seed: int) -> Interval:
    """Interval of the interquartile mean of annual Sharpe ratios: bars and trainings are both resampled.

    The bars are resampled in blocks, alike for all trainings; the trainings with replacement (Agarwal et al., 2021).
    """
    per_year = bars_per_year(runs[0].bar_ns)
    rates = [returns(run.account.equity) for run in runs]
    block = max(block_length(rate) for rate in rates)
    drawn = np.stack([_resampled(rate, block, per_year, n_resamples, seed) for rate in rates], axis=1)
    rng = np.random.default_rng(seed)
    picked = rng.integers(0, len(runs), drawn.shape)
    scores = np.take_along_axis(drawn, picked, axis=1)[:, :, None]
    low, high = np.quantile(iqm(scores), [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    estimate = _middle([sharpe(rate, per_year) for rate in rates])
    return Interval(estimate, float(low), float(high), level)


def _resampled(rate: Float, block: float, per_year: float, n_resamples: int, seed: int) -> Float:
    """(R,) annual Sharpe ratios of one training's resampled bars."""
    centre = sharpe(rate, per_year)
    drawn = resample(rate, block, n_resamples, seed)[:, _SHARPE] * math.sqrt(per_year)
    return centre + (drawn - centre) * widening(len(rate), block)


def choose(rows: Sequence[Row], records: Mapping[str, Sequence[Record]]) -> Choice:
    """Take the agent with the highest lower end of its Sharpe interval, and its best training.

    Flat has Sharpe 0 for certain, so what may well lose money is not chosen: then flat is.
    """
    candidates = [row for row in rows if row["agent"] not in NEVER_CHOSEN]
    best = max(candidates, key=lambda row: (row["sharpe_low"], row["agent"] == "flat"))
    name = best["agent"]
    scores = [sharpe(returns(run.account.equity), bars_per_year(run.bar_ns)) for run in records[name]]
    if name == "flat":
        reason = "no other agent's Sharpe interval on the validation bars lies above 0, so holding cash is the choice"
    else:
        reason = (
            f"its Sharpe interval on the validation bars, {best['sharpe_low']:.2f} to {best['sharpe_high']:.2f}, "
            "has the highest lower end"
        )
    return Choice(name, int(np.argmax(scores)), reason)


def _middle(values: Sequence[float]) -> float:
    return float(iqm(np.array(values, dtype=np.float64)[:, None]))
