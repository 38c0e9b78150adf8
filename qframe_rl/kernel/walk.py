"""Accounts whose targets are known ahead, walked along their bars: backtests of many settings in one call.

Between two bars in which an account orders or is forced to trade, nothing happens to it but funding and new marks.
Those bars are passed by an inner loop over time, with the arithmetic that the stages of `qframe_rl.kernel.lanes` do for
them; whatever is more than that stops it, and the bar is settled by `advance_rows`, a block of accounts at a time, each
at its own bar. So the bits are those of a session.
"""

from __future__ import annotations

import numpy as np

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.columns import CASH, DUE, EQUITY, FINAL, MARK, POSITION, RUINED
from qframe_rl.kernel.lanes import LANES
from qframe_rl.kernel.rows import advance_rows
from qframe_rl.kernel.rules import MAINTENANCE, OWNED
from qframe_rl.types import CLOSE, HIGH, LOW, Bool, Float, Int


@compiled
def walk_rows(
    targets: Float,
    length: Int,
    band: float,
    account: Float,
    holding: Float,
    bars: Float,
    marks: Float,
    row: Int,
    table: Float,
    leverage: float,
    shorting: bool,
    equity: Float,
    sums: Float,
    done: Int,
    active: Bool,
    target: Float,
    offset: Float,
    fills: Float,
    work: Float,
) -> None:
    """Walk B accounts to the end of their targets or to their ruin.

    Parameters
    ----------
    targets
        (B, N, A) target exposures; those of account b count up to ``length[b]``. NaN = leave as it is.
    length
        (B,) number of decisions of each account.
    band, account, holding, bars, row, table, leverage, shorting
        As in `qframe_rl.kernel.rows.advance_rows`.
    marks
        (T,) last close known at each row where owned coins of one kind are all that can be held, without funding and
        without a last bar; else empty. Then nothing but the mark can move an account that does not trade.
    equity
        (B, N + 1) overwritten from column 1 on: equity after each bar. After ruin it stays what it was.
    sums
        (B, 3) added to: costs (fees, spread, impact, funding) and notional traded, in quote currency, and fills.
    done, active, target, offset, fills, work
        Scratch: (B,) zeros, (B,), (B, A), (0, A), (B, A, 9), `lanes.scratch`.
    """
    spot = not shorting and leverage == 1.0
    owned = False
    for a in range(len(table)):
        owned = owned or table[a, OWNED] != 0.0
    for first in range(0, len(account), LANES):
        last = min(first + LANES, len(account))
        busy = True
        while busy:
            busy = False
            for b in range(first, last):
                active[b] = False
                if account[b, RUINED] == 0.0 and done[b] < length[b]:
                    if len(marks) > 0:
                        _pass_marks(targets[b], length[b], account[b], holding[b], marks, row, b, equity[b], done)
                    elif not owned:
                        _pass(targets[b], length[b], account[b], holding[b], bars, row, b, table, spot,
                              equity[b], sums[b], done)  # fmt: skip
                    active[b] = done[b] < length[b]
                    if active[b]:
                        busy = True
                        for a in range(len(table)):
                            target[b, a] = targets[b, done[b], a]
            if busy:
                advance_rows(
                    target[first:last], offset, band, account[first:last], holding[first:last], bars, row[first:last],
                    active[first:last], table, leverage, shorting, True, fills[first:last], work,
                )  # fmt: skip
                for b in range(first, last):
                    if active[b]:
                        done[b] += 1
                        equity[b, done[b]] = account[b, EQUITY]
                        count(fills[b], sums[b])
        for b in range(first, last):
            for k in range(done[b], length[b]):
                equity[b, k + 1] = account[b, EQUITY]


@inlined
def _pass_marks(
    targets: Float, length: int, account: Float, holding: Float, marks: Float, row: Int, b: int, equity: Float,
    done: Int,
) -> None:  # fmt: skip
    """Take one account past the bars in which it does not order and nothing but the mark can change."""
    k, held, cash = done[b], holding[0, POSITION], account[CASH]
    if held == 0.0:
        while k < length and ((targets[k, 0] != targets[k, 0]) | (targets[k, 0] == 0.0)):
            k += 1
    else:
        while k < length and targets[k, 0] != targets[k, 0]:
            k += 1
    n = np.uintp(k - done[b])
    if n > 0:
        path, known = equity[done[b] + 1 : k + 1], marks[row[b] + 1 : row[b] + 1 + k - done[b]]
        if held == 0.0:
            for i in range(n):
                path[i] = cash
        else:
            for i in range(n):
                path[i] = cash + held * known[i]
        account[EQUITY] = equity[k]
        row[b] += k - done[b]
        holding[0, MARK] = marks[row[b]]
        done[b] = k


@inlined
def _pass(
    targets: Float, length: int, account: Float, holding: Float, bars: Float, row: Int, b: int, table: Float,
    spot: bool, equity: Float, sums: Float, done: Int,
) -> None:  # fmt: skip
    """Take one account past the bars in which it neither orders nor is forced to trade."""
    held = False
    for a in range(len(holding)):
        held = held or holding[a, POSITION] != 0.0
    k, t = done[b], row[b]
    start = k
    if held:
        while k < length and _holds(targets[k], holding) and _quiet(account, holding, bars[t + 1], table, spot):
            k, t = k + 1, t + 1
            equity[k] = _live_through(account, holding, bars[t], sums)
        account[EQUITY] = equity[k] if k > start else account[EQUITY]
    else:
        worth = account[EQUITY]
        while k < length and _holds(targets[k], holding):
            k += 1
            equity[k] = worth
        t += k - start
        for a in range(len(holding)):
            for u in range(t, t - (k - start), -1):
                if bars[u, a, CLOSE] == bars[u, a, CLOSE]:
                    holding[a, MARK] = bars[u, a, CLOSE]
                    break
    done[b], row[b] = k, t


@inlined
def _holds(target: Float, holding: Float) -> bool:
    """Whether nothing is asked for: no target, or none where nothing is held."""
    idle = True
    for a in range(len(holding)):
        idle = idle & ((target[a] != target[a]) | ((target[a] == 0.0) & (holding[a, POSITION] == 0.0)))
    return idle


@inlined
def _quiet(account: Float, holding: Float, bar: Float, table: Float, spot: bool) -> bool:
    """Whether a bar is nobody's last, and leaves the account enough margin at its worst prices."""
    quiet = True
    cash, worst, margin, least = account[CASH], 0.0, 0.0, 0.0
    for a in range(len(holding)):
        held = holding[a, POSITION]
        cash -= held * bar[a, DUE]
        quiet = quiet & (bar[a, FINAL] == 0.0)
        low = bar[a, LOW] if held > 0.0 else bar[a, HIGH]
        at = low if low == low else holding[a, MARK]
        close = bar[a, CLOSE] if bar[a, CLOSE] == bar[a, CLOSE] else holding[a, MARK]
        worst += held * at if held != 0.0 else 0.0
        margin += abs(held) * at * table[a, MAINTENANCE] if held != 0.0 else 0.0
        least += held * close if held != 0.0 else 0.0
    return bool(quiet & (spot | (cash + worst >= margin)) & (cash + least > 0.0))


@inlined
def _live_through(account: Float, holding: Float, bar: Float, sums: Float) -> float:
    """Pay funding and take the new marks; return the equity, its parts added in the order of the kernel."""
    for a in range(len(holding)):
        paid = holding[a, POSITION] * bar[a, DUE]
        account[CASH] -= paid
        sums[0] += paid
        holding[a, MARK] = bar[a, CLOSE] if bar[a, CLOSE] == bar[a, CLOSE] else holding[a, MARK]
    worth = float(account[CASH])
    for a in range(len(holding)):
        worth += holding[a, POSITION] * holding[a, MARK] if holding[a, POSITION] != 0.0 else 0.0
    return worth


@inlined
def count(fills: Float, sums: Float) -> None:
    """Add what a bar cost, traded and filled to ``sums`` (3,); ``fills`` (A, 9) as in `qframe_rl.types.Fills`."""
    for a in range(len(fills)):
        f = fills[a]
        sums[0] += f[2] + f[3] + f[4] + f[5]
        sums[1] += abs(f[0]) * f[1] + abs(f[7]) * f[8]
        sums[2] += 1.0 if f[0] != 0.0 else 0.0
