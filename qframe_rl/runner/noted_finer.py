"""Walking a batch bar by bar on bars that consist of finer ones."""

from __future__ import annotations

import numpy as np

from qframe_rl.kernel.columns import EQUITY, N_FILLS, RUINED
from qframe_rl.kernel.finer_rows import finer_room
from qframe_rl.kernel.lanes import scratch
from qframe_rl.kernel.rules import Rules
from qframe_rl.risk.columns import Watch
from qframe_rl.risk.finer import guarded_finer
from qframe_rl.runner.noted import note_rows
from qframe_rl.types import Finer, Float, Int


def walk_finer(
    targets: Float, length: Int, band: float, account: Float, holding: Float, bars: Float, time: Int, row: Int,
    rules: Rules, watch: Watch, equity: Float, sums: Float, rows: Float, ends: Int, finer: Finer,
) -> None:  # fmt: skip
    """Do what `qframe_rl.runner.noted.walk_guarded` does, on bars that consist of finer ones.

    Parameters
    ----------
    targets, length, band, account, holding, bars, time, row, watch, equity, sums, rows, ends
        As there.
    rules, finer
        As in `qframe_rl.kernel.finer_rows.settle_finer`.
    """
    b, a = holding.shape[:2]
    room, work, offset = finer_room(b, a, rules.n_columns, finer=True), scratch(a), np.empty((0, a))
    fills = np.zeros((b, a, N_FILLS))
    for t in range(targets.shape[1]):
        active = (t < length) & (account[:, RUINED] == 0.0)
        ends += active
        guarded_finer(
            np.ascontiguousarray(targets[:, t]), offset, band, account, holding, bars, time, row, active, rules, watch,
            fills, work, finer, room,
        )  # fmt: skip
        equity[:, t + 1] = account[:, EQUITY]
        note_rows(account, holding, watch.asked, fills, bars, row, active, sums, rows, t + 1)
