"""Walking a batch bar by bar, where every bar counts: for journals, and for accounts that are held to limits."""

from __future__ import annotations

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.columns import (
    ABSORBED,
    CASH,
    CASH_RATE,
    EARNED,
    EQUITY,
    FILLS,
    MARK,
    MARKS,
    N_FILLS,
    N_HEAD,
    N_ORDER,
    ORDERS,
    POSITION,
    POSITIONS,
    ROW_ABSORBED,
    ROW_CASH,
    ROW_CASH_RATE,
    ROW_INTEREST,
    RUINED,
)
from qframe_rl.kernel.rows import advance_rows, target_rows
from qframe_rl.kernel.walk import count
from qframe_rl.risk.columns import Watch
from qframe_rl.risk.rows import guarded_rows
from qframe_rl.types import Bool, Float, Int


@compiled
def walk_noted(
    targets: Float, band: float, account: Float, holding: Float, bars: Float, row: Int, length: Int, table: Float,
    leverage: float, shorting: bool, fills: Float, orders: Float, work: Float, offset: Float, active: Bool, ends: Int,
    rows: Float,
) -> None:  # fmt: skip
    """Move all accounts along their bars, bar by bar, and note each.

    Parameters
    ----------
    targets
        (N, B, A) target exposures; NaN = leave as it is.
    band, account, holding, bars, row, table, leverage, shorting, work
        As in `qframe_rl.kernel.rows.advance_rows`.
    length
        (B,) decisions of each account.
    fills, orders
        (B, A, N_FILLS) and (B, A, N_ORDER), scratch.
    offset
        (0, A): all orders are market orders.
    active
        (B,) scratch.
    ends
        (B,) added to: how many bars each account lived through, at most to its ruin.
    rows
        (N + 1, B, ...) written from row 1 on: rows of a record, see `qframe_rl.kernel.columns`.
    """
    for t in range(len(targets)):
        for b in range(len(row)):
            active[b] = t < length[b] and account[b, RUINED] == 0.0
            ends[b] += 1 if active[b] else 0
        target_rows(targets[t], offset, band, account, holding, bars, row, orders, work)
        advance_rows(
            targets[t], offset, band, account, holding, bars, row, active, table, leverage, shorting, True, fills, work
        )
        for b in range(len(row)):
            if active[b]:
                _note(account[b], holding[b], orders[b], fills[b], bars[row[b], 0, CASH_RATE], rows[t + 1, b])


@compiled
def walk_guarded(
    targets: Float, length: Int, band: float, account: Float, holding: Float, bars: Float, time: Int, row: Int,
    table: Float, leverage: float, shorting: bool, watch: Watch, equity: Float, sums: Float, rows: Float, ends: Int,
    active: Bool, target: Float, offset: Float, fills: Float, work: Float,
) -> None:  # fmt: skip
    """Do what `qframe_rl.kernel.walk.walk_rows` and `walk_noted` do, bar by bar, with accounts held to limits.

    Parameters
    ----------
    targets
        (B, N, A) target exposures; NaN = leave as it is.
    length, band, account, holding, bars, row, table, leverage, shorting, work
        As in `walk_noted`.
    time
        (T,) closes of the bars, ns UTC.
    watch
        Limits and what they remember, see `qframe_rl.risk.columns.Watch`; ``asked`` has what was sent.
    equity
        (B, N + 1) written from column 1 on.
    sums
        (B, N_SUMS) added to, as in `qframe_rl.kernel.walk.walk_rows`.
    rows
        As in `walk_noted`, or empty: then they are not written.
    ends
        As in `walk_noted`.
    active, target, offset, fills
        (B,), (B, A), (0, A) and (B, A, N_FILLS), scratch.
    """
    for t in range(targets.shape[1]):
        for b in range(len(row)):
            active[b] = t < length[b] and account[b, RUINED] == 0.0
            ends[b] += 1 if active[b] else 0
            for a in range(target.shape[1]):
                target[b, a] = targets[b, t, a]
        guarded_rows(
            target, offset, band, account, holding, bars, time, row, active, table, leverage, shorting, watch, fills,
            work,
        )  # fmt: skip
        for b in range(len(row)):
            equity[b, t + 1] = account[b, EQUITY]
            if active[b]:
                count(fills[b], sums[b])
                if len(rows) > 0:
                    rate = bars[row[b], 0, CASH_RATE]
                    _note(account[b], holding[b], watch.asked[b], fills[b], rate, rows[t + 1, b])


@inlined
def _note(account: Float, holding: Float, orders: Float, fills: Float, cash_rate: float, out: Float) -> None:
    """Write one row of a journal."""
    n = len(holding)
    out[ROW_CASH], out[ROW_ABSORBED] = account[CASH], account[ABSORBED]
    out[len(out) + ROW_INTEREST], out[len(out) + ROW_CASH_RATE] = account[EARNED], cash_rate
    for a in range(n):
        panel = out[N_HEAD + a :]
        panel[POSITIONS * n], panel[MARKS * n] = holding[a, POSITION], holding[a, MARK]
        for k in range(N_ORDER):
            panel[(ORDERS + k) * n] = orders[a, k]
        for k in range(N_FILLS):
            panel[(FILLS + k) * n] = fills[a, k]
