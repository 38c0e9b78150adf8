"""Walking a batch bar by bar, where every bar counts: for journals, and for accounts that are held to limits."""

from __future__ import annotations

import math

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.columns import (
    ABSORBED,
    BEFORE,
    CANCELLED,
    CASH,
    CASH_RATE,
    DUE,
    EARNED,
    EQUITY,
    FEE,
    FILLS,
    FUNDING,
    LIMIT,
    MARK,
    MARKS,
    N_FILLS,
    N_HEAD,
    N_ORDER,
    ORDERS,
    POSITION,
    POSITIONS,
    QUANTITY,
    ROW_ABSORBED,
    ROW_CASH,
    ROW_CASH_RATE,
    ROW_INTEREST,
    RUINED,
    STOP,
)
from qframe_rl.kernel.lanes import allowed
from qframe_rl.kernel.rows import advance_rows, settle_rows, target_rows
from qframe_rl.kernel.rules import DAY_BARS, OWNED, TAKER
from qframe_rl.kernel.walk import count, interest_of, is_quiet
from qframe_rl.risk.columns import Watch
from qframe_rl.risk.rows import guarded_rows
from qframe_rl.types import CLOSE, Bool, Float, Int

MET, RUIN, ODD = range(3)
"""What became of orders: they met the bar; they did, and the account is ruined; they did not: one is not finite."""


@compiled
def walk_noted(
    targets: Float, band: float, account: Float, holding: Float, bars: Float, row: Int, length: Int, table: Float,
    leverage: float, shorting: bool, fills: Float, orders: Float, work: Float, offset: Float | None, active: Bool,
    ends: Int, rows: Float,
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
        As in `qframe_rl.kernel.walk.walk_rows`.
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
            targets[t], offset, band, account, holding, bars, row, active, table, leverage, shorting, bool(1), fills,
            work,
        )  # fmt: skip
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


@compiled
def count_rows(fills: Float, active: Bool, sums: Float) -> None:
    """Add what a bar cost, traded and filled to the sums of active accounts.

    Parameters
    ----------
    fills
        (B, A, N_FILLS) as the kernel reported them.
    active
        (B,) whose.
    sums
        (B, N_SUMS) added to, as in `qframe_rl.kernel.walk.walk_rows`.
    """
    for b in range(len(sums)):
        if active[b]:
            count(fills[b], sums[b])


@compiled
def note_rows(
    account: Float, holding: Float, asked: Float, fills: Float, bars: Float, row: Int, active: Bool, sums: Float,
    rows: Float, t: int,
) -> None:  # fmt: skip
    """Do what `walk_guarded` does after a bar: add to the sums of active accounts, and write row ``t`` of journals.

    Parameters
    ----------
    account, holding, asked, fills, bars, row, active, sums, rows, t
        As there; ``rows`` may be empty.
    """
    for b in range(len(row)):
        if active[b]:
            count(fills[b], sums[b])
            if len(rows) > 0:
                _note(account[b], holding[b], asked[b], fills[b], bars[row[b], 0, CASH_RATE], rows[t, b])


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


@compiled
def warm_up(
    n_bars: int, account: Float, holding: Float, pending: Float, bars: Float, row: Int, active: Bool, table: Float,
    leverage: float, shorting: bool, fills: Float, work: Float,
) -> None:  # fmt: skip
    """Let the first bars pass, from row ``row[0]`` on, in which nothing is ordered; ``row`` stays at the last.

    Parameters
    ----------
    n_bars
        How many.
    account, holding, pending, bars, row, active, table, leverage, shorting, fills, work
        As in `qframe_rl.kernel.rows.settle_rows`, for one account.
    """
    for t in range(n_bars):
        row[0] = t
        settle_rows(account, holding, pending, bars, row, active, table, leverage, shorting, fills, work)


@compiled
def meet_bar(
    asked: Float, rows: Float, before: int, account: Float, holding: Float, pending: Float, bars: Float, row: Int,
    active: Bool, table: Float, leverage: float, shorting: bool, fills: Float, work: Float,
) -> int:  # fmt: skip
    """Let one account's orders meet the bar after row ``row[0]``, and note it; return `MET`, `RUIN` or `ODD`.

    Parameters
    ----------
    asked
        (3, A) quantity, limit and stop; of what did not trade in the last bar nothing is ordered.
    rows
        (N + 1, ...) rows of a record, of which that of the bar is written, ``before`` rows ahead of the bar's own.
    before
        See above.
    account, holding, pending, bars, row, active, table, leverage, shorting, fills, work
        As in `warm_up`.
    """
    t, orders = row[0], pending[0]
    for a in range(len(table)):
        if not math.isfinite(asked[QUANTITY, a]):
            return ODD
        traded = bars[t, a, CLOSE] == bars[t, a, CLOSE]
        orders[a, QUANTITY] = asked[QUANTITY, a] if traded else 0.0
        orders[a, LIMIT], orders[a, STOP] = asked[LIMIT, a], asked[STOP, a]
    row[0] = t + 1
    if _idle(account[0], holding[0], orders, bars[t + 1], table, not shorting and leverage == 1.0):
        _pass(account[0], holding[0], orders, bars[t + 1], table, not shorting and leverage == 1.0, fills[0])
    else:
        settle_rows(account, holding, pending, bars, row, active, table, leverage, shorting, fills, work)
    # A record says what was asked for.
    for a in range(len(table)):
        orders[a, QUANTITY] = asked[QUANTITY, a]
    _note(account[0], holding[0], orders, fills[0], bars[t + 1, 0, CASH_RATE], rows[t + 1 - before])
    return RUIN if account[0, RUINED] != 0.0 else MET


@inlined
def _idle(account: Float, holding: Float, orders: Float, bar: Float, table: Float, spot: bool) -> bool:
    """Whether nothing is ordered and nothing forced in a bar, under rules of which none remembers or moves anything."""
    idle = table[0, DAY_BARS] == 0.0
    for a in range(len(table)):
        idle = idle & (orders[a, QUANTITY] == 0.0) & (table[a, OWNED] == 0.0)
    return bool(idle and is_quiet(account, holding, bar, table, spot))


@inlined
def _pass(account: Float, holding: Float, orders: Float, bar: Float, table: Float, spot: bool, fills: Float) -> None:
    """Let such a bar pass, to the bits that `settle_rows` gives, signs of zeros among them."""
    for a in range(len(table)):
        paid = holding[a, POSITION] * bar[a, DUE]
        account[CASH] -= paid
        for k in range(N_FILLS):
            fills[a, k] = 0.0
        # No order counts as one to sell nothing.
        filled = allowed(-0.0, -0.0, 0.0, table[a])
        fills[a, QUANTITY], fills[a, FEE] = filled, 0.0 * table[a, TAKER]
        fills[a, CANCELLED], fills[a, FUNDING] = orders[a, QUANTITY] - filled, paid
    account[BEFORE], account[ABSORBED], account[EARNED] = account[EQUITY], 0.0, 0.0
    if bar[0, CASH_RATE] != 0.0:
        account[EARNED] = interest_of(account[CASH], holding, bar, table, spot)
        account[CASH] += account[EARNED]
    account[EQUITY] = account[CASH]
    for a in range(len(table)):
        holding[a, MARK] = bar[a, CLOSE] if bar[a, CLOSE] == bar[a, CLOSE] else holding[a, MARK]
        account[EQUITY] += holding[a, POSITION] * holding[a, MARK] if holding[a, POSITION] != 0.0 else 0.0
