"""What rests in a bar, and liquidations in it, resolved on the finer bars that it consists of.

It is step 8 and 9 of `docs/decisions/0002-market-rules.md` over and over, for one lane of `qframe_rl.kernel.lanes`, by
the functions that settle a bar as a whole, and only where `near_inside` or a shortage of margin asks for it. The rules
are those of `docs/decisions/0032-finer-bars-where-an-order-is-near.md`.
"""

from __future__ import annotations

import numpy as np

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel import lanes
from qframe_rl.kernel.columns import AFTER, LIMIT, PART, QUANTITY, STOP, TRAIL
from qframe_rl.kernel.finer_reach import leave, leave_several, reached, reached_together, safe, surround
from qframe_rl.kernel.grid import down, passes, reaches, up
from qframe_rl.kernel.lanes import ACCOUNT, INSTRUMENT
from qframe_rl.kernel.resting import liquidated
from qframe_rl.kernel.rules import MAINTENANCE, MAKER, OWNED, TICK_SCALE, TICK_STEP
from qframe_rl.kernel.slots import AT, AWAITS, BASE, GONE, KEPT, MET, N_MET, NOTHING, PHASE, RATE, near
from qframe_rl.kernel.slots_resting import rest
from qframe_rl.types import CLOSE, HIGH, LOW, OPEN, Finer, Float


@inlined
def near_inside(orders: Float, j: int, high: float, low: float, near: bool) -> bool:
    """Whether an order may be met in a bar after its open: its level, or the best it may trail to, is in the bar.

    An order of which this is not true is met by no finer bar, whatever way prices took.

    Parameters
    ----------
    orders
        (8, K) orders of an instrument, of which ``j`` is looked at.
    high, low
        Of the bar; NaN where the instrument did not trade.
    near
        What `qframe_rl.kernel.slots.near` says.
    """
    q, limit, stop, trail = orders[QUANTITY, j], orders[LIMIT, j], orders[STOP, j], orders[TRAIL, j]
    best = high * (1.0 - trail) if q < 0.0 else low * (1.0 + trail)
    # NaN compares as no: a bar without trades is reached by none, nor is anything by what does not trail.
    trails = low <= best * 1.000001 if q < 0.0 else high >= best * 0.999999
    live = (q != 0.0) & (orders[AFTER, j] <= 0.0)
    return bool((near & ((limit == limit) | (stop == stop)) & (high == high)) | (live & trails))


@inlined
def several(finer: Finer, t: int) -> bool:
    """Whether there is more to see of bar ``t`` than itself."""
    return bool(len(finer.start) > 0 and finer.start[t + 1] - finer.start[t] > 1)


@inlined
def short_at_worst(n: int, w: Float, k: int, table: Float) -> bool:
    """Whether lane ``k`` is worth less than its margin at the worst prices of what it holds; see `forced.endanger`."""
    worth, margin = 0.0, 0.0
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        held = v[lanes.HELD + k]
        if held != 0.0 and table[a, OWNED] == 0.0:
            worst = v[lanes.LOW + k] if held > 0.0 else v[lanes.HIGH + k]
            worst = worst if worst == worst else v[lanes.MARK + k]
            worth += held * worst
            margin += abs(held) * worst * table[a, MAINTENANCE]
    return bool(w[lanes.CASH + k] - w[lanes.MOVING + k] + worth < margin)


# Rare, and so a call of its own.
@compiled
def look_ahead(
    n: int, w: Float, k: int, t: int, f: int, bars: Float, table: Float, spot: bool, orders: Float, plan: Float,
    own: Float, parts: Float, finer: Finer,
) -> int:  # fmt: skip
    """Find the first finer bar from ``f`` on that lane ``k`` has to be taken through, or one that is soon before it.

    Parameters
    ----------
    n, w, k, t, bars, table, spot, orders, plan, own, parts, finer
        As in `go_through`.

    Returns
    -------
    int
        Its place; the end of the bar where there is none, and -1 where nothing can be said ahead.
    """
    if not spot and not safe(n, w, k, bars[t], table):
        return -1
    alive = False
    for a in range(n):
        moves = surround(w[ACCOUNT + a * INSTRUMENT :], k, orders[a], plan[a], own[a], parts[a])
        alive = alive or moves
    end = finer.start[t + 1]
    return reached_together(n, f, end, finer, own) if alive else end


@compiled
def go_through(
    n: int, w: Float, k: int, t: int, ahead: int, bars: Float, table: Float, leverage: float, spot: bool,
    shorting: bool, orders: Float, plan: Float, own: Float, fills: Float, parts: Float, finer: Finer,
) -> None:  # fmt: skip
    """Take lane ``k`` through the finer bars of bar ``t``, after the open, to its end or to its liquidation.

    Volumes, and what was taken of them, stay those of the whole bar; an order fills once in it. Finer bars in which
    nothing can happen are left out.

    Parameters
    ----------
    n, w, k, table, leverage, spot, shorting, orders, plan, own, fills, parts
        As in `qframe_rl.kernel.slots_resting.rest`; ``AWAITS`` of the plan says which orders rest.
    t, bars
        The bar, of (T, A, 8).
    ahead
        What `look_ahead` said of its first finer bar.
    finer
        The finer bars.
    """
    f, end = finer.start[t], finer.start[t + 1]
    while f < end and w[lanes.RUINED + k] == 0.0:
        if ahead >= 0:
            to = reached(n, ahead, end, finer, own)
            for a in range(n if to > f else 0):
                leave_several(w[ACCOUNT + a * INSTRUMENT :], k, a, f, to, finer.bars, orders[a], own[a])
            f = to
        if f < end:
            _take(n, w, k, f, table, leverage, spot, shorting, orders, plan, own, fills, parts, finer.bars)
            f += 1
        if f < end:
            ahead = look_ahead(n, w, k, t, f, bars, table, spot, orders, plan, own, parts, finer)
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        v[lanes.OPEN + k], v[lanes.HIGH + k] = bars[t, a, OPEN], bars[t, a, HIGH]
        v[lanes.LOW + k], v[lanes.CLOSE + k] = bars[t, a, LOW], bars[t, a, CLOSE]
    # What was tested bar by bar is not tested again on the whole.
    w[lanes.MARGIN + k] = -np.inf


@inlined
def _take(
    n: int, w: Float, k: int, f: int, table: Float, leverage: float, spot: bool, shorting: bool, orders: Float,
    plan: Float, own: Float, fills: Float, parts: Float, inside: Float,
) -> None:  # fmt: skip
    """Take lane ``k`` through one finer bar."""
    met = 0.0
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        _enter(v, k, inside[f, a])
        met += _meets(v, k, orders[a], plan[a], own[a], table[a], parts[a])
    if met > 0.0:
        rest(n, w, k, table, leverage, spot, shorting, orders, plan, own, fills, parts)
    if not spot and w[lanes.RUINED + k] == 0.0 and short_at_worst(n, w, k, table):
        liquidated(n, w, k, table)
    if w[lanes.RUINED + k] == 0.0:
        for a in range(n):
            leave(w[ACCOUNT + a * INSTRUMENT :], k, orders[a])


@inlined
def _enter(v: Float, k: int, bar: Float) -> None:
    """Put an instrument's finer bar in the place of its bar."""
    v[lanes.OPEN + k], v[lanes.HIGH + k] = bar[OPEN], bar[HIGH]
    v[lanes.LOW + k], v[lanes.CLOSE + k] = bar[LOW], bar[CLOSE]
    v[lanes.WORTH + k] = bar[OPEN] if bar[OPEN] == bar[OPEN] else v[lanes.MARK + k]


@inlined
def _meets(v: Float, k: int, orders: Float, plan: Float, own: Float, rule: Float, parts: Float) -> float:
    """Write which of an instrument's orders a finer bar meets; return how many."""
    own[KEPT], own[N_MET] = v[lanes.HELD + k], 0.0
    high, low = v[lanes.HIGH + k], v[lanes.LOW + k]
    for j in range(orders.shape[1]):
        plan[PHASE, j] = plan[PHASE, j] if plan[PHASE, j] == GONE else NOTHING
        if plan[AWAITS, j] != 0.0 and parts[PART, j] == 0.0 and high == high and near(orders, j, high, low):
            _condition(v, k, j, orders, plan, rule)
            own[N_MET] += 1.0 if plan[PHASE, j] == MET else 0.0
    return float(own[N_MET])


@inlined
def _condition(v: Float, k: int, j: int, orders: Float, plan: Float, rule: Float) -> None:
    """Write whether a finer bar meets an order, and its terms: it rested before, so a limit fills at its own price."""
    stop, limit, side = orders[STOP, j], orders[LIMIT, j], 1.0 if orders[QUANTITY, j] > 0.0 else -1.0
    step, scale = rule[TICK_STEP], rule[TICK_SCALE]
    if stop == stop:
        if step > 0.0:
            stop = up(stop, step, scale) if side > 0.0 else down(stop, step, scale)
        passed = reaches(v[lanes.OPEN + k], stop, side, step, scale)
        met = passed or reaches(v[lanes.HIGH + k] if side > 0.0 else v[lanes.LOW + k], stop, side, step, scale)
        plan[BASE, j], plan[RATE, j] = v[lanes.OPEN + k] if passed else stop, v[lanes.RATE + k]
    else:
        if step > 0.0:
            limit = down(limit, step, scale) if side > 0.0 else up(limit, step, scale)
        met = passes(v[lanes.LOW + k] if side > 0.0 else v[lanes.HIGH + k], limit, -side, step, scale)
        plan[BASE, j], plan[RATE, j], plan[AT, j] = 0.0, rule[MAKER], limit
    plan[PHASE, j] = MET if met else NOTHING
