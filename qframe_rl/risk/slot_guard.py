"""Accounts with several orders per instrument, looked at after a bar: `qframe_rl.risk.rows.watch_rows` over slots."""

from __future__ import annotations

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.columns import (
    EQUITY,
    FEE,
    FORCED,
    FORCED_PRICE,
    MARK,
    PART,
    PART_FEE,
    PART_PRICE,
    POSITION,
)
from qframe_rl.kernel.slots import reduces
from qframe_rl.risk.columns import Watch
from qframe_rl.risk.guard import HELD, PROTECTS, GuardState
from qframe_rl.risk.protections import entered, live, look_out, weigh
from qframe_rl.risk.rows import look, trip
from qframe_rl.types import Bool, Float, Int


@compiled
def watch_slots(
    asked: Float,
    filled: Float,
    met: Float,
    parts: Float,
    fills: Float,
    account: Float,
    holding: Float,
    time: Int,
    row: Int,
    active: Bool,
    watch: Watch,
) -> None:
    """Look at active accounts after the bar that closed at ``time[row[b]]``; ``watch.trips`` is why a state changed.

    Parameters
    ----------
    asked, filled
        What `qframe_rl.risk.slots.market_rows` wrote.
    met, parts
        (B, A, 8, K) and (B, A, 3, K): orders as they met the bar, and what became of each.
    fills
        (B, A, 9) the same per instrument, and what was forced.
    account, holding, time, row, active, watch
        As in `qframe_rl.risk.rows.watch_rows`.
    """
    for b in range(len(asked)):
        if active[b]:
            equity, now = account[b, EQUITY], time[row[b]]
            look(asked[b], filled[b], equity, now, watch.state[b])
            if watch.guard.rules[PROTECTS] != 0.0:
                live(now, watch.guard, b)
                for a in range(holding.shape[1]):
                    closed, lost, profit = _booked(
                        met[b, a], parts[b, a], fills[b, a], holding[b, a], watch.sizes[a], watch.guard, b, a
                    )
                    weigh(closed, lost, profit, equity, watch.guard, b, a)
                look_out(equity, holding[b], watch.guard, b)
            watch.trips[b] = trip(equity, holding[b], watch.terms, watch.sizes, watch.state[b])


@inlined
def _booked(
    met: Float, parts: Float, fills: Float, holding: Float, sizes: Float, guard: GuardState, b: int, a: int
) -> tuple[int, int, float]:  # fmt: skip
    """Enter what filled, as if free orders had come before those that only reduce, and both before what was forced."""
    closed, lost, profit, fee, mark = 0, 0, 0.0, fills[FEE], holding[MARK]
    for exits in range(2):
        for j in range(parts.shape[1]):
            if parts[PART, j] != 0.0 and reduces(met, j) == (exits == 1):
                more, worse, gain = entered(
                    parts[PART, j], parts[PART_PRICE, j], parts[PART_FEE, j], mark, sizes, guard, b, a
                )
                closed, lost, profit, fee = closed | more, lost | worse, profit + gain, fee - parts[PART_FEE, j]
    if fills[FORCED] != 0.0:
        more, worse, gain = entered(fills[FORCED], fills[FORCED_PRICE], fee, mark, sizes, guard, b, a)
        closed, lost, profit = closed | more, lost | worse, profit + gain
    guard.held[b, a, HELD] = holding[POSITION] if guard.held[b, a, HELD] != 0.0 else 0.0
    return closed, lost, profit
