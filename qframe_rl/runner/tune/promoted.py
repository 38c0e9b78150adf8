"""What a search's choices did on the bars that follow, and whether they are deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from qframe_rl import catalog
from qframe_rl.agent import Agent
from qframe_rl.evaluate.luck import Luck
from qframe_rl.evaluate.promotion import PROMOTED, Standing
from qframe_rl.evaluate.splits import Fold
from qframe_rl.evaluate.table import ScoreRow
from qframe_rl.runner.backtest import joined
from qframe_rl.runner.study.walks import journals, lasting
from qframe_rl.runner.study.windows import WindowRunner
from qframe_rl.types import History, Record, Segment

BESIDE = ("buy_and_hold", "flat")
"""Judged beside what was found."""


def promotion_of(row: ScoreRow, luck: Luck, name: str, *, forced: bool) -> dict[str, Any]:
    """Decide on what the windows chose.

    Parameters
    ----------
    row
        Of their test bars, laid end to end.
    luck
        What was taken off for luck.
    name
        What the last window chose.
    forced
        Deploy it even if it fails.

    Returns
    -------
    dict
        As a checkpoint keeps it; ``agent`` is ``flat`` where it fails and is not forced.
    """
    standing = Standing.of(row)
    passed = standing.passed
    deployed = name if passed or forced else "flat"
    odds = f"DSR {row['dsr']:.3f} over all windows (more than {PROMOTED} is asked for)"
    why = "; ".join(standing.failures())
    reason = f"{odds}: what was found is deployed" if passed else f"over all windows {why}"
    if not passed:
        reason += "; it was asked for" if forced else "; so holding cash is the choice"
    return {
        "agent": deployed, "promoted": passed or deployed == "flat", "forced": deployed != "flat" and not passed,
        "psr": row["psr"], "dsr": row["dsr"], "threshold": PROMOTED, "trials": luck.trials,
        "effective_trials": luck.effective, "trainings": luck.trainings, "spread": luck.spread, "reason": reason,
    }  # fmt: skip


def records_of_tests(
    runner: WindowRunner, folds: Sequence[Fold], agents: Mapping[str, Sequence[Agent]]
) -> dict[str, Record]:
    """Records over the test bars of all windows, laid end to end.

    Parameters
    ----------
    runner
        Where windows are run.
    folds
        The windows.
    agents
        By the name of each record, who traded each window; `BESIDE` are added.
    """
    every = dict(agents)
    for name in BESIDE:
        every[name] = [runner.make(name, catalog.load("agents", name).Config())] * len(folds)
    records = {}
    for what, each in every.items():
        title = f"record of {what}"
        runner.screen.begin(title)
        jobs: list[tuple[Agent, History, Segment]] = [
            (agent, runner.history, fold.test[0]) for agent, fold in zip(each, folds, strict=True)
        ]
        found = journals(runner.market, jobs, runner.window, partial(runner.screen.advance, title))
        records[what] = joined([lasting(one, *job[1:]) for one, job in zip(found, jobs, strict=True)])
        runner.screen.end(title, f"{len(records[what]) - 1} bars")
    return records
