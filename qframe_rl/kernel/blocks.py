"""Between the arrays of a batch and the lanes of a block: what stands in rows of accounts is laid out in columns.

Lanes beyond the last account of a block hold nothing and order nothing, at prices of 1: all loops run over all lanes,
and what they compute there must be a number.
"""

from __future__ import annotations

import numpy as np

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel import lanes
from qframe_rl.kernel.columns import (
    CANCELLED,
    CASH_RATE,
    DUE,
    FEE,
    FORCED,
    FORCED_PRICE,
    FUNDING,
    INSIDE,
    LIMIT,
    MARK,
    POSITION,
    PRICE,
    PUSHED,
    QUANTITY,
    SPREAD,
    STANDING,
    STOP,
)
from qframe_rl.kernel.lanes import ACCOUNT, INSTRUMENT, LANES
from qframe_rl.kernel.rules import HALF_SPREAD, IMPACT
from qframe_rl.types import CLOSE, HIGH, LOW, OPEN, VOLUME, Bool, Float, Int


@inlined
def take_holding(a: int, first: int, count: int, v: Float, holding: Float) -> None:
    """Lay the positions in one instrument out in lanes."""
    for k in range(count):
        v[lanes.HELD + k] = holding[first + k, a, POSITION]
        v[lanes.MARK + k] = holding[first + k, a, MARK]
    for k in range(count, LANES):
        v[lanes.HELD + k] = 0.0
        v[lanes.MARK + k] = 1.0


@inlined
def take_orders(a: int, first: int, count: int, v: Float, orders: Float) -> bool:
    """Lay the orders for one instrument out in lanes; say whether any has a limit or a stop."""
    limited = False
    for k in range(count):
        limit, stop = orders[first + k, a, LIMIT], orders[first + k, a, STOP]
        v[lanes.ASKED + k], v[lanes.LIMIT + k], v[lanes.STOP + k] = orders[first + k, a, QUANTITY], limit, stop
        limited = limited or limit == limit or stop == stop
    for k in range(count, LANES):
        v[lanes.ASKED + k] = 0.0
    return limited


@inlined
def take_targets(a: int, first: int, count: int, v: Float, target: Float, bars: Float, row: Int) -> bool:
    """Lay the targets for one instrument and the closes that they were decided at out in lanes.

    Say whether it stood for any of them otherwise than ever: outside the universe, or in its last bar.
    """
    odd = 0.0
    for k in range(count):
        t = np.uintp(row[first + k])
        v[lanes.SIZE + k] = target[first + k, a]
        v[lanes.BASE + k] = bars[t, a, CLOSE]
        odd += abs(bars[t, a, STANDING])
    for k in range(count, LANES):
        v[lanes.BASE + k] = np.nan
    return odd != 0.0


# Rare, and so a call of its own.
@compiled
def confine(a: int, first: int, count: int, v: Float, bars: Float, row: Int) -> None:
    """Leave no more than the closing part of what is ordered of an instrument that is outside the universe."""
    for k in range(count):
        if bars[np.uintp(row[first + k]), a, STANDING] < INSIDE:
            closing = lanes.closing_of(v[lanes.ASKED + k], v[lanes.HELD + k])
            v[lanes.ASKED + k] = closing if closing != 0.0 else 0.0


@inlined
def take_bars(a: int, first: int, count: int, v: Float, bars: Float, row: Int, ahead: int) -> tuple[bool, bool]:
    """Lay the bars ``ahead`` of the accounts' rows out; say whether one is the instrument's last, and if cash earns."""
    last = earning = 0.0
    for k in range(count):
        t = np.uintp(min(row[first + k] + ahead, len(bars) - 1))
        v[lanes.OPEN + k] = bars[t, a, OPEN]
        v[lanes.HIGH + k] = bars[t, a, HIGH]
        v[lanes.LOW + k] = bars[t, a, LOW]
        v[lanes.CLOSE + k] = bars[t, a, CLOSE]
        v[lanes.VOLUME + k] = bars[t, a, VOLUME]
        v[lanes.DUE + k] = bars[t, a, DUE]
        v[lanes.FINAL + k] = bars[t, a, STANDING]
        v[lanes.EARNS + k] = bars[t, a, CASH_RATE]
        # Not zero in last bars alone, inside or outside the universe.
        last += v[lanes.FINAL + k] * (v[lanes.FINAL + k] + 1.0)
        earning += abs(v[lanes.EARNS + k])
    for k in range(count, LANES):
        v[lanes.OPEN + k] = v[lanes.HIGH + k] = v[lanes.LOW + k] = v[lanes.CLOSE + k] = v[lanes.VOLUME + k] = 1.0
        v[lanes.DUE + k] = v[lanes.EARNS + k] = 0.0
    return last != 0.0, earning != 0.0


@inlined
def limit(a: int, first: int, count: int, v: Float, offset: Float) -> None:
    """Write the limit prices of a block's orders, NaN where an order is to be a market order."""
    for k in range(count):
        side = 1.0 if v[lanes.ASKED + k] > 0.0 else -1.0
        limit = v[lanes.MARK + k] * (1.0 - side * offset[first + k, a])
        v[lanes.LIMIT + k] = limit if v[lanes.ASKED + k] != 0.0 else np.nan
        v[lanes.STOP + k] = np.nan


@inlined
def report(n: int, first: int, count: int, w: Float, active: Bool, table: Float, fills: Float) -> None:
    """Write what became of a block's orders."""
    for k in range(count):
        b = first + k
        if active[b]:
            for a in range(n):
                v = w[ACCOUNT + a * INSTRUMENT + k :]
                asked, filled, base = v[lanes.ASKED], v[lanes.FILLED], v[lanes.BASE]
                taken = filled != 0.0 and base > 0.0
                spread = abs(filled) * base * table[a, HALF_SPREAD] if taken else 0.0
                pushed = taken and table[a, IMPACT] > 0.0
                fills[b, a, QUANTITY] = filled
                fills[b, a, PRICE] = v[lanes.AT] if filled != 0.0 else 0.0
                fills[b, a, FEE] = v[lanes.FEE]
                fills[b, a, SPREAD] = spread
                fills[b, a, PUSHED] = filled * (v[lanes.AT] - base) - spread if pushed else 0.0
                fills[b, a, FUNDING] = v[lanes.PAID]
                fills[b, a, CANCELLED] = asked - filled if asked == asked else 0.0
                fills[b, a, FORCED] = v[lanes.FORCED]
                fills[b, a, FORCED_PRICE] = v[lanes.FORCED_AT]
