"""Accounts that are held to limits, on bars that consist of finer ones."""

from __future__ import annotations

from qframe_rl.kernel.finer_rows import FinerRoom, settle_finer
from qframe_rl.kernel.rows import target_rows
from qframe_rl.kernel.rules import Rules
from qframe_rl.risk.columns import Watch
from qframe_rl.risk.rows import judge_rows, pend_rows, watch_rows
from qframe_rl.types import Bool, Finer, Float, Int


def guarded_finer(
    target: Float,
    offset: Float,
    band: float,
    account: Float,
    holding: Float,
    bars: Float,
    time: Int,
    row: Int,
    active: Bool,
    rules: Rules,
    watch: Watch,
    fills: Float,
    work: Float,
    finer: Finer,
    room: FinerRoom,
) -> None:
    """Do what `qframe_rl.risk.rows.guarded_rows` does, with finer bars.

    Parameters
    ----------
    target, offset, band, account, holding, bars, time, row, active, watch, fills, work
        As there.
    rules, finer, room
        As in `qframe_rl.kernel.finer_rows.settle_finer`.
    """
    target_rows(target, offset, band, account, holding, bars, row, watch.asked, work)
    judge_rows(watch.asked, account, holding, time, row, active, watch)
    pend_rows(bars, row, watch)
    settle_finer(account, holding, watch.pending, bars, watch.ahead, active, rules, fills, work, finer, room)
    row[active] += 1
    watch_rows(watch.orders, fills, account, holding, time, row, active, watch)
