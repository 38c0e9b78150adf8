"""Choosing what to deploy in an order book, on validation ticks alone: by what is surely there, and not by luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qframe_rl.evaluate.promotion import PROMOTED
from qframe_rl.evaluate.quoting import QuotingRecord, QuotingRow, failing, gains, surely_above
from qframe_rl.evaluate.table import FORM
from qframe_rl.evaluate.trials import CodeIdentity, Luck, Trial, trial_of
from qframe_rl.feeds.tick_load import TickHistory
from qframe_rl.runner.books.yardsticks import FLAT
from qframe_rl.runner.experiment import Experiment
from qframe_rl.runner.identity import Code
from qframe_rl.types import iso

Trained = tuple[str, int]
"""An agent's name, and the number of its training."""
Scored = dict[Trained, list[QuotingRecord]]


def quoting_trial(
    records: Sequence[QuotingRecord], idle: Sequence[QuotingRecord], history: TickHistory, *, kind: str, run: str,
    agent: str, params: object, config: object, seed: int, fold: int, code: Code | None,
) -> Trial:  # fmt: skip
    """Row of the ledger of trials for one scoring on ticks.

    Parameters
    ----------
    records, idle
        Of the agent, and of doing nothing, over the same stretches or blocks.
    history
        All ticks.
    kind, run, agent, params, config, seed, fold
        As in `qframe_rl.evaluate.trials.trial`.
    code
        Of the strategy; None = a yardstick's.
    """
    span = iso(int(records[0].at[0])), iso(int(records[-1].at[-1]))
    return trial_of(
        gains(records, idle), span, history, kind=kind, run=run, agent=agent, params=params, config=config, seed=seed,
        fold=fold, code=CodeIdentity("", {}) if code is None else code.coded,
    )  # fmt: skip


def choose_quoter(
    rows: Mapping[Trained, QuotingRow], found: Scored, asked: Experiment
) -> tuple[Trained, str, bool]:  # fmt: skip
    """The best that surely does better than doing nothing, at both ends of the queue band, and is told from luck.

    Parameters
    ----------
    rows, found
        Of the validation ticks; doing nothing is among them.
    asked
        Level of the intervals, and what is to be deployed whatever they say.

    Returns
    -------
    tuple
        Which one, why, and whether it is deployed although it failed.
    """
    own, why = (asked.level, asked.resamples, asked.seed), {}
    ranked = sorted((key for key in rows if key[0] != FLAT), key=lambda key: rows[key]["score"], reverse=True)
    for key in ranked:
        row = rows[key]
        why[key] = "; ".join(failing(row, rows[FLAT, 0], sure=surely_above(found[key], found[FLAT, 0], *own)))
        if not why[key]:
            good = f"at {own[0]:.0%} surely better than doing nothing, at both ends of the queue band"
            return key, f"{good}, and not by luck: DSR {row['dsr']:.3f} after {row['trials']} trials", False
    if asked.promote_anyway is not None:
        first = next(key for key in ranked if asked.promote_anyway in ("best", key[0]))
        return first, f"it was asked for, although {why[first]}", True
    return (FLAT, 0), f"of the best other agent, {ranked[0][0]}: {why[ranked[0]]}", False


def promotion_of(row: QuotingRow, luck: Luck, reason: str, *, forced: bool) -> dict[str, object]:
    """What a checkpoint keeps of how it was chosen.

    Parameters
    ----------
    row
        Its row on validation ticks.
    luck
        What all trials on the ticks say about it.
    reason, forced
        From `choose_quoter`.
    """
    return {
        "promoted": row["agent"] != FLAT, "forced": forced, "reason": reason, "psr": row["psr"], "dsr": row["dsr"],
        "form": FORM, "threshold": PROMOTED, "trials": luck.trials, "effective_trials": luck.effective,
        "trainings": luck.trainings, "spread": luck.spread,
    }  # fmt: skip
