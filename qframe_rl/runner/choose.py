"""Choosing what to deploy, on validation bars alone: by what is surely there, not by what was luckiest.

Flat and buying and holding are always among the candidates. The test is that of `qframe_rl.evaluate.promotion`: a
probabilistic Sharpe ratio (form `FORM`) against a benchmark that grows with the number of trials ever run on the data
set, the deflated Sharpe ratio; growth that is surely there; and more money at the end than cash would have given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.config import UserError, nearest
from qframe_rl.evaluate.inference.bootstrap import Interval, block_length, log_returns, resample, widening
from qframe_rl.evaluate.inference.prediction import pooled
from qframe_rl.evaluate.inference.seeds import iqm
from qframe_rl.evaluate.inference.sharpe import Moments, moments, probabilistic_sharpe, sharpe_score
from qframe_rl.evaluate.metrics import bars_per_year, cash_of, excess, metrics, returns, sharpe
from qframe_rl.evaluate.promotion import PROMOTED, Standing
from qframe_rl.evaluate.table import FORM, ScoreRow, leaderboard, next_window
from qframe_rl.evaluate.trials import Luck
from qframe_rl.types import Float, Record

_SHARPE, _GROWTH = range(2)
NEVER_CHOSEN = ("optimal", "random")
"""Run for comparison only: one knows the market's constants, the other knows nothing."""
NO_CANDIDATES = (*NEVER_CHOSEN, "flat")
"""Not ranked, and no trials: flat is what is left where none of the others passes."""

TIE = 0.1
"""Standard errors within which two agents count as equally good; then the one that trades less is taken."""
BEST = "best"
"""Promote whichever agent ranks first."""


class Choice(NamedTuple):
    """What to deploy, and why."""

    agent: str
    run: int
    """Which of its trainings."""
    reason: str
    promoted: bool = True
    """Whether it passed the test; flat, which is deployed where none does, needs none."""
    forced: bool = False
    """Whether it is deployed although it failed."""
    psr: float = 0.5
    """Probability that its true Sharpe ratio on the validation bars, in excess of cash, is above flat's."""
    dsr: float = 0.5
    """Probability that it is above flat's and above what luck gives the best of all trials."""
    luck: Luck = Luck()
    """What was taken off for luck."""

    def describe(self) -> dict[str, object]:
        """Plain data for a checkpoint."""
        return {
            "agent": self.agent, "promoted": self.promoted, "forced": self.forced, "psr": self.psr, "dsr": self.dsr,
            "form": FORM, "threshold": PROMOTED, "trials": self.luck.trials, "effective_trials": self.luck.effective,
            "trainings": self.luck.trainings, "spread": self.luck.spread, "reason": self.reason,
        }  # fmt: skip


def validation_rows(
    records: Mapping[str, Sequence[Record]],
    level: float,
    n_resamples: int,
    seed: int,
    luck: Luck | None = None,
    windows: int = 1,
) -> list[ScoreRow]:
    """One row per agent over all its trainings: interquartile means, and a Sharpe interval over bars and trainings.

    Parameters
    ----------
    records
        For each agent, the record of each of its trainings over the same bars.
    level, n_resamples, seed
        Of the interval.
    luck
        What all trials on the data set say about luck.
    windows
        Windows of equal length that the records are made of.
    """
    luck = luck or Luck()
    drawn: dict[str, Any] = {"n_resamples": n_resamples, "seed": seed}
    optimal = {"optimal": records["optimal"][0]} if "optimal" in records else {}
    rows = []
    for name, runs in records.items():
        each = [
            next(r for r in leaderboard(optimal | {name: record}, "validation", **drawn) if r["agent"] == name)
            for record in runs
        ]
        row = each[0].copy()
        for key in (
            "initial_equity",
            "final_equity",
            "cash_equity",
            "max_drawdown",
            "turnover",
            "exposure",
            "costs",
            "filled",
        ):
            row[key] = _middle([one[key] for one in each])
        row["trades"] = round(_middle([one["trades"] for one in each]))
        of = typical(runs)
        row["psr"] = probabilistic_sharpe(of, 0.0, FORM)
        row["dsr"] = probabilistic_sharpe(of, luck.benchmark(of.n_bars), FORM)
        row["trials"], row["effective_trials"] = luck.trials, luck.effective
        shares = [one["share_of_optimal"] for one in each]
        known = [share for share in shares if share is not None]
        row["share_of_optimal"] = _middle(known) if len(known) == len(shares) else None
        row["excess_sharpe"] = _middle([one["excess_sharpe"] for one in each])
        interval, growth = over_runs(runs, level, n_resamples, seed)
        row["sharpe"], row["sharpe_low"], row["sharpe_high"] = interval.estimate, interval.low, interval.high
        ahead = pooled([next_window(run, windows) for run in runs]).interval(bars_per_year(runs[0]), level)
        row["next_low"], row["next_high"] = ahead.low, ahead.high
        row["growth"], row["growth_low"] = growth.estimate, growth.low
        rows.append(row)
    return sorted(rows, key=lambda row: (-row["dsr"], -row["excess_sharpe"], row["agent"]))


def over_runs(runs: Sequence[Record], level: float, n_resamples: int, seed: int) -> tuple[Interval, Interval]:
    """Intervals of the interquartile means of Sharpe ratios and of log growth in excess of cash, both annual.

    Bars and trainings are both resampled: the bars in blocks, alike for all trainings; the trainings with replacement
    (Agarwal et al., 2021).

    Parameters
    ----------
    runs
        Records of the trainings of one agent, on the same bars.
    level
        Of the intervals.
    n_resamples, seed
        Of the bootstrap.

    Returns
    -------
    tuple
        Of the annual Sharpe ratio, and of the annual log growth.
    """
    frequency = bars_per_year(runs[0])
    rates = [returns(run.account.equity) for run in runs]
    cash = [cash_of(run) for run in runs]
    block = max(block_length(excess(run)) for run in runs)
    drawn = [resample(rate, block, n_resamples, seed) for rate in rates]
    above = [
        one if c is None else resample(rate, block, n_resamples, seed, c)
        for one, rate, c in zip(drawn, rates, cash, strict=True)
    ]
    picked = np.random.default_rng(seed).integers(0, len(runs), (n_resamples, len(runs)))

    def interval(columns: Sequence[Float], centres: Sequence[float]) -> Interval:
        wider = [widening(len(rate), block) for rate in rates]
        spread = [c + (column - c) * w for column, c, w in zip(columns, centres, wider, strict=True)]
        scores = np.take_along_axis(np.stack(spread, axis=1), picked, axis=1)[:, :, None]
        low, high = np.quantile(iqm(scores), [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
        return Interval(_middle(centres), float(low), float(high), level)

    ratios = interval(
        [one[:, _SHARPE] * math.sqrt(frequency) for one in drawn], [sharpe(rate, frequency) for rate in rates]
    )
    years = [run.years for run in runs]
    growth = interval(
        [one[:, _GROWTH] / n for one, n in zip(above, years, strict=True)],
        [float(log_returns(rate, c).sum()) / n for rate, c, n in zip(rates, cash, years, strict=True)],
    )
    return ratios, growth


def choose(
    rows: Sequence[ScoreRow],
    records: Mapping[str, Sequence[Record]],
    luck: Luck | None = None,
    promote: str | None = None,
) -> Choice:
    """Rank by excess Sharpe ratio less what luck gives, in standard errors; deploy the first that is surely good.

    The rank is that of the DSR. Agents within `TIE` standard errors of the first are tied, and of these the one with
    the fewest fills is taken. One that fails the test of `qframe_rl.evaluate.promotion` is passed over; where all do,
    flat is deployed.

    Parameters
    ----------
    rows
        `validation_rows`; `flat` and `buy_and_hold` are among them.
    records
        The records that they were made of.
    luck
        As they were made with.
    promote
        Deploy this agent, or `BEST` for the first in rank, whatever its DSR.

    Raises
    ------
    UserError
        If the agent to promote did not run, or knows the market's constants.
    """
    luck = luck or Luck()
    ranked = ranking(rows, records, luck)
    if promote is not None:
        return _forced(promote, ranked, rows, records, luck)
    if not ranked:
        return Choice("flat", 0, "no other agent ran", luck=luck)
    better: list[tuple[str, str]] = []
    for row in ranked:
        name, why = row["agent"], failures(row, records[row["agent"]])
        if not why:
            over = "".join(f"; {other} ranks higher, but {reason}" for other, reason in better)
            first = "the best" if not better else "the first that passes"
            reason = f"it has {_odds(row)} on the validation bars, {first} of all candidates{over}"
            return Choice(name, _best_run(records[name]), reason, True, False, row["psr"], row["dsr"], luck)
        better.append((name, "; ".join(why)))
    name, reason = better[0]
    return Choice("flat", 0, f"of the best other agent, {name}: {reason}; so holding cash is the choice", luck=luck)


def failures(row: ScoreRow, runs: Sequence[Record]) -> tuple[str, ...]:
    """Why an agent is not promoted: as `Standing.failures` of its row, and of the training that would be deployed."""
    found = Standing.of(row).failures()
    own = runs[_best_run(runs)]
    ends = Standing.of({**row, **_ends(own)})
    return found if ends.rich or len(runs) == 1 else (*found, f"of the training that would be deployed: {ends.ended()}")


def _ends(run: Record) -> Any:
    figures = metrics(run)
    return {name: getattr(figures, name) for name in ("initial_equity", "final_equity", "cash_equity")}


def ranking(rows: Sequence[ScoreRow], records: Mapping[str, Sequence[Record]], luck: Luck) -> list[ScoreRow]:
    """Candidates other than flat, best first.

    Parameters
    ----------
    rows, records, luck
        As in `choose`.
    """
    rest = [(row, _score(row, records[row["agent"]], luck)) for row in rows if row["agent"] not in NO_CANDIDATES]
    ranked = []
    while rest:
        top = max(score for _, score in rest)
        tied = [(row, score) for row, score in rest if score >= top - TIE]
        row = min(tied, key=lambda pair: (pair[0]["trades"], -pair[1], pair[0]["agent"]))
        rest.remove(row)
        ranked.append(row[0])
    return ranked


def _forced(
    promote: str,
    ranked: Sequence[ScoreRow],
    rows: Sequence[ScoreRow],
    records: Mapping[str, Sequence[Record]],
    luck: Luck,
) -> Choice:
    if promote == BEST:
        row = ranked[0] if ranked else next(row for row in rows if row["agent"] == "flat")
    else:
        found = [row for row in rows if row["agent"] == promote]
        if not found or promote == "optimal":
            known = sorted(row["agent"] for row in rows if row["agent"] != "optimal")
            raise UserError(f"--promote-anyway {promote}: it is not among the agents that ran{nearest(promote, known)}")
        row = found[0]
    name = row["agent"]
    why = () if name == "flat" else failures(row, records[name])
    passed = not why
    reason = f"it was asked for; it has {_odds(row)} on the validation bars{''.join(f'; {one}' for one in why)}"
    return Choice(name, _best_run(records[name]), reason, passed, not passed, row["psr"], row["dsr"], luck)


def _odds(row: ScoreRow) -> str:
    before = f"PSR {row['psr']:.3f} before {row['trials']} trials are counted"
    return f"DSR {row['dsr']:.3f} ({before}; more than {PROMOTED} is asked for)"


def _best_run(runs: Sequence[Record]) -> int:
    return int(np.argmax([sharpe(excess(run), bars_per_year(run)) for run in runs]))


def _score(row: ScoreRow, runs: Sequence[Record], luck: Luck) -> float:
    of = typical(runs)
    return sharpe_score(of, luck.benchmark(of.n_bars), FORM)


def typical(runs: Sequence[Record]) -> Moments:
    """Interquartile means of the moments of several trainings' excess returns over the same bars."""
    each = [moments(excess(run)) for run in runs]
    return Moments(*(_middle([getattr(of, name) for of in each]) for name in Moments._fields))


def _middle(values: Sequence[float]) -> float:
    return float(iqm(np.array(values, dtype=np.float64)[:, None]))
