"""Accounts whose targets are known ahead, walked along their bars: backtests of many settings in one call.

Between two bars in which an account orders or is forced to trade, nothing happens to it but funding and new marks.
Those bars are passed by an inner loop over time, with the arithmetic that the stages of `qframe_rl.kernel.lanes` do for
them; whatever is more than that stops it, and the bar is settled by `advance_rows`, a block of accounts at a time, each
at its own bar. So the bits are those of a session.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.jit import apart, inlined
from qframe_rl.kernel.columns import (
    CASH,
    CASH_RATE,
    COSTS,
    DUE,
    EQUITY,
    FEE,
    FORCED,
    FORCED_PRICE,
    FUNDING,
    LAST,
    LAST_OUTSIDE,
    MARK,
    N_ACCOUNT,
    N_FILLS,
    NOTIONAL,
    POSITION,
    PRICE,
    PUSHED,
    QUANTITY,
    RUINED,
    SPREAD,
    STANDING,
    TRADES,
)
from qframe_rl.kernel.fee_tiers import live_through
from qframe_rl.kernel.lanes import LANES
from qframe_rl.kernel.room import unlocked
from qframe_rl.kernel.rows import advance_rows
from qframe_rl.kernel.rules import DAY_BARS, LOCKED, MAINTENANCE, OWNED
from qframe_rl.types import CLOSE, HIGH, LOW, Bool, Float, Int


class Seats(NamedTuple):
    """The accounts that are under way: as many as the kernel settles at once."""

    who: Int
    """(LANES,) which of the B accounts has the seat; -1 = none."""
    at: Int
    """(LANES,) its next decision."""
    run: Int
    """(LANES,) the run of targets that its next decision lies in, or the one before."""
    row: Int
    account: Float
    holding: Float
    target: Float
    active: Bool
    fills: Float
    """As in `qframe_rl.kernel.rows.advance_rows`."""


def seats(n_instruments: int, n_columns: int = N_ACCOUNT) -> Seats:
    """Empty seats for accounts of A instruments."""
    return Seats(
        np.full(LANES, -1), np.zeros(LANES, dtype=np.int64), np.zeros(LANES, dtype=np.int64),
        np.zeros(LANES, dtype=np.int64), np.zeros((LANES, n_columns)), np.zeros((LANES, n_instruments, 2)),
        np.zeros((LANES, n_instruments)), np.zeros(LANES, dtype=np.bool_), np.zeros((LANES, n_instruments, N_FILLS)),
    )  # fmt: skip


@apart
def walk_rows(
    begins: Int,
    starts: Int,
    values: Float,
    length: Int,
    band: float,
    account: Float,
    holding: Float,
    bars: Float,
    marks: Float,
    earning: bool,
    row: Int,
    table: Float,
    leverage: float,
    shorting: bool,
    equity: Float,
    sums: Float,
    seats: Seats,
    offset: Float | None,
    work: Float,
) -> None:
    """Walk B accounts to the end of their targets or to their ruin.

    Up to LANES of them are under way; whoever has arrived leaves his seat to the next.

    Parameters
    ----------
    begins
        (B + 1,): the targets of account b are runs ``begins[b]`` to ``begins[b + 1]``, exclusive, of the next two.
    starts, values
        (S,) decision that each run begins with, counted from 0 for each account, and (S, A) target exposures in it.
        NaN = leave as it is.
    length
        (B,) number of decisions of each account.
    band, account, holding, bars, row, table, leverage, shorting
        As in `qframe_rl.kernel.rows.advance_rows`.
    marks
        (T,) last close known at each row where owned coins of one kind are all that can be held, without funding and
        without a last bar; else empty. Then nothing but the mark can move an account that does not trade.
    earning
        Whether idle cash earns anything in any bar.
    equity
        (B, N + 1) overwritten from column 1 on: equity after each bar. After ruin it stays what it was. Or (B, 0): then
        it is not kept.
    sums
        (B, N_SUMS) added to: costs (fees, spread, impact, funding) and notional traded, in quote currency, and fills.
    offset
        (0, A) where fees have tiers, else None: all orders are market orders.
    seats, work
        Scratch: `seats`, `lanes.scratch`.
    """
    # Owned coins are no collateral, and what they were sold for may be on its way: the loops over time know neither,
    # so that with them every bar is settled.
    s, spot, owned = seats, not shorting and leverage == 1.0, False
    for a in range(len(table)):
        owned = owned or table[a, OWNED] != 0.0
    taken = min(len(s.who), len(account))
    for k in range(taken):
        _sit(k, k, s, begins, account, holding, row)
    coming, busy = taken, True
    while busy:
        busy = False
        for k in range(taken):
            s.active[k] = False
            while s.who[k] >= 0 and not s.active[k]:
                b = s.who[k]
                if s.account[k, RUINED] == 0.0:
                    _pass(k, s, begins[b + 1], starts, values, length[b], bars, marks, earning, table, spot, owned,
                          equity[b], sums[b])  # fmt: skip
                    s.active[k] = s.at[k] < length[b]
                if not s.active[k]:
                    _leave(k, s, length[b], account, holding, row, equity[b])
                    if coming < len(account):
                        _sit(k, coming, s, begins, account, holding, row)
                        coming += 1
            busy = busy or s.active[k]
        if busy:
            _order(taken, s, values)
            advance_rows(
                s.target[:taken], offset, band, s.account[:taken], s.holding[:taken], bars, s.row[:taken],
                s.active[:taken], table, leverage, shorting, bool(1), s.fills[:taken], work,
            )  # fmt: skip
            _note(taken, s, equity, sums)


@inlined
def _order(taken: int, s: Seats, values: Float) -> None:
    """Write what the accounts that stopped ask for."""
    for k in range(taken):
        if s.active[k]:
            for a in range(values.shape[1]):
                s.target[k, a] = values[s.run[k], a]


@inlined
def _note(taken: int, s: Seats, equity: Float, sums: Float) -> None:
    """Note what the bar that was settled did to them."""
    for k in range(taken):
        if s.active[k]:
            s.at[k] += 1
            if equity.shape[1] > 0:
                equity[s.who[k], s.at[k]] = s.account[k, EQUITY]
            count(s.fills[k], sums[s.who[k]])


@inlined
def _sit(k: int, b: int, s: Seats, begins: Int, account: Float, holding: Float, row: Int) -> None:
    """Give seat ``k`` to account ``b``."""
    s.who[k], s.at[k], s.run[k], s.row[k] = b, 0, begins[b], row[b]
    for j in range(account.shape[1]):
        s.account[k, j] = account[b, j]
    for a in range(holding.shape[1]):
        s.holding[k, a, POSITION], s.holding[k, a, MARK] = holding[b, a, POSITION], holding[b, a, MARK]


@inlined
def _leave(k: int, s: Seats, length: int, account: Float, holding: Float, row: Int, path: Float) -> None:
    """Write back the account in seat ``k``, which is at its end."""
    b = s.who[k]
    row[b] = s.row[k]
    for j in range(account.shape[1]):
        account[b, j] = s.account[k, j]
    for a in range(holding.shape[1]):
        holding[b, a, POSITION], holding[b, a, MARK] = s.holding[k, a, POSITION], s.holding[k, a, MARK]
    if len(path) > 0:
        for i in range(s.at[k], length):
            path[i + 1] = account[b, EQUITY]
    s.who[k] = -1


@inlined
def _pass(
    k: int, s: Seats, last: int, starts: Int, values: Float, length: int, bars: Float, marks: Float, earning: bool,
    table: Float, spot: bool, owned: bool, path: Float, sums: Float,
) -> None:  # fmt: skip
    """Take the account in seat ``k`` to the next bar in which it orders or may be forced to trade, or to its end."""
    account, holding = s.account[k], s.holding[k]
    at, run, quiet = s.at[k], s.run[k], True
    while quiet and at < length:
        stop = starts[run + 1] if run + 1 < last else length
        if at == stop:
            run += 1
        elif owned or not _holds(values[run], holding):
            quiet = False
        elif len(marks) > 0:
            _pass_marks(account, holding, marks, s.row[k] + at - s.at[k], at, stop, path)
            at = stop
        else:
            t = s.row[k] + at - s.at[k]
            upto = _pass_bars(account, holding, bars, t, at, stop, earning, table, spot, path, sums)
            quiet, at = upto == stop, upto
    if table[0, DAY_BARS] > 0.0:
        live_through(account, at - s.at[k], table)
    s.row[k] += at - s.at[k]
    s.at[k], s.run[k] = at, run


@inlined
def _pass_marks(account: Float, holding: Float, marks: Float, t: int, at: int, stop: int, path: Float) -> None:
    """Pass decisions ``at`` to ``stop``, the first made at row ``t``, where nothing but the mark can change."""
    held, cash, n = holding[0, POSITION], account[CASH], np.uintp(stop - at)
    if len(path) > 0:
        part, known = path[at + 1 : stop + 1], marks[t + 1 : t + 1 + stop - at]
        for i in range(n):
            part[i] = cash + held * known[i] if held != 0.0 else cash
    holding[0, MARK] = marks[t + stop - at]
    account[EQUITY] = cash + held * holding[0, MARK] if held != 0.0 else cash


@inlined
def _pass_bars(
    account: Float, holding: Float, bars: Float, t: int, at: int, stop: int, earning: bool, table: Float, spot: bool,
    path: Float, sums: Float,
) -> int:  # fmt: skip
    """Pass decisions from ``at`` on, the first made at row ``t``; return the first that has to be settled, or ``stop``.

    What is asked for in them leaves the account as it is.
    """
    held = False
    for a in range(len(holding)):
        held = held or holding[a, POSITION] != 0.0
    if held:
        while at < stop and is_quiet(account, holding, bars[t + 1], table, spot):
            at, t = at + 1, t + 1
            account[EQUITY] = _live_through(account, holding, bars[t], table, spot, sums)
            if len(path) > 0:
                path[at] = account[EQUITY]
        return at
    for i in range(at, stop if earning or len(path) > 0 else at):
        if earning:
            account[CASH] += max(account[CASH], 0.0) * bars[t + 1 + i - at, 0, CASH_RATE]
            account[EQUITY] = account[CASH]
        if len(path) > 0:
            path[i + 1] = account[EQUITY]
    for a in range(len(holding)):
        for u in range(t + stop - at, t, -1):
            if bars[u, a, CLOSE] == bars[u, a, CLOSE]:
                holding[a, MARK] = bars[u, a, CLOSE]
                break
    return stop


@inlined
def _holds(target: Float, holding: Float) -> bool:
    """Whether nothing is asked for: no target, or none where nothing is held."""
    idle = True
    for a in range(len(holding)):
        idle = idle & ((target[a] != target[a]) | ((target[a] == 0.0) & (holding[a, POSITION] == 0.0)))
    return idle


@inlined
def is_quiet(account: Float, holding: Float, bar: Float, table: Float, spot: bool) -> bool:
    """Whether a bar is nobody's last, and leaves the account enough margin at its worst prices."""
    quiet = True
    cash, worst, margin, least = account[CASH], 0.0, 0.0, 0.0
    for a in range(len(holding)):
        held = holding[a, POSITION]
        cash -= held * bar[a, DUE]
        quiet = quiet & (bar[a, STANDING] != LAST) & (bar[a, STANDING] != LAST_OUTSIDE)
        low = bar[a, LOW] if held > 0.0 else bar[a, HIGH]
        at = low if low == low else holding[a, MARK]
        close = bar[a, CLOSE] if bar[a, CLOSE] == bar[a, CLOSE] else holding[a, MARK]
        worst += held * at if held != 0.0 else 0.0
        margin += abs(held) * at * table[a, MAINTENANCE] if held != 0.0 else 0.0
        least += held * close if held != 0.0 else 0.0
    cash += interest_of(cash, holding, bar, table, spot)
    return bool(quiet & (spot | (cash + worst >= margin)) & (cash + least > 0.0))


@inlined
def interest_of(cash: float, holding: Float, bar: Float, table: Float, spot: bool) -> float:
    """What idle cash earns in a bar, of which funding was paid; see `qframe_rl.kernel.room.earn`."""
    rate, idle = bar[0, CASH_RATE], cash
    if rate == 0.0:
        return 0.0
    for a in range(len(holding)):
        held = holding[a, POSITION]
        if not spot and held != 0.0:
            idle += unlocked(held, holding[a, MARK], table[a, LOCKED])
    return float(max(idle, 0.0) * rate)


@inlined
def _live_through(account: Float, holding: Float, bar: Float, table: Float, spot: bool, sums: Float) -> float:
    """Pay funding and interest and take the new marks; return the equity, its parts added in the kernel's order."""
    for a in range(len(holding)):
        paid = holding[a, POSITION] * bar[a, DUE]
        account[CASH] -= paid
        sums[COSTS] += paid
    account[CASH] += interest_of(account[CASH], holding, bar, table, spot)
    for a in range(len(holding)):
        holding[a, MARK] = bar[a, CLOSE] if bar[a, CLOSE] == bar[a, CLOSE] else holding[a, MARK]
    worth = float(account[CASH])
    for a in range(len(holding)):
        worth += holding[a, POSITION] * holding[a, MARK] if holding[a, POSITION] != 0.0 else 0.0
    return worth


@inlined
def count(fills: Float, sums: Float) -> None:
    """Add what a bar cost, traded and filled to ``sums`` (N_SUMS,); ``fills`` (A, N_FILLS) is as it was reported."""
    for a in range(len(fills)):
        f = fills[a]
        sums[COSTS] += f[FEE] + f[SPREAD] + f[PUSHED] + f[FUNDING]
        sums[NOTIONAL] += abs(f[QUANTITY]) * f[PRICE] + abs(f[FORCED]) * f[FORCED_PRICE]
        sums[TRADES] += 1.0 if f[QUANTITY] != 0.0 else 0.0
