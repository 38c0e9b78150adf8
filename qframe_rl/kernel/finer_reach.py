"""Which finer bars of a bar can do anything to an account: those between are left out, and change no bit.

A finer bar does nothing that reaches none of the levels of what awaits it, nor the best that a stop follows to on the
way, where the account has its margin at the worst prices of the whole bar. Levels are asked for once for all orders,
and extremes of finer bars for several of them at a time.
"""

from __future__ import annotations

import numpy as np

from qframe_rl.jit import inlined
from qframe_rl.kernel import lanes
from qframe_rl.kernel.columns import AFTER, LIMIT, PART, QUANTITY, STOP, TRAIL
from qframe_rl.kernel.lanes import ACCOUNT, INSTRUMENT
from qframe_rl.kernel.prefetch import fetch_ahead
from qframe_rl.kernel.rules import MAINTENANCE, OWNED
from qframe_rl.kernel.slots import AWAITS, N_OWN, follow, reduces
from qframe_rl.types import CLOSE, HIGH, LOW, Finer, Float

# Of an instrument, after its own numbers: the levels that a low and a high reach first; by what the best price is
# multiplied for those that follow it; the best prices so far, and with those of the finer bars that are looked at.
BELOW, ABOVE, FALL, RISE, TOP, BOTTOM, NEXT_TOP, NEXT_BOTTOM = range(N_OWN, N_OWN + 8)
N_OWN_INSIDE = N_OWN + 8
TOGETHER = 4
"""Finer bars that are asked for at a time."""


def extremes_of(bars: Float) -> Float:
    """`qframe_rl.types.Finer.extremes` of (F, A, 4) finer bars."""
    several = bars[: len(bars) // TOGETHER * TOGETHER].reshape(-1, TOGETHER, *bars.shape[1:])
    high, low = several[..., HIGH], several[..., LOW]
    ends = (np.where(np.isnan(high), -np.inf, high).max(axis=1), np.where(np.isnan(low), np.inf, low).min(axis=1))
    return np.ascontiguousarray(np.stack(ends, axis=-1))


@inlined
def expect(finer: Finer, t: int) -> None:
    """Have the extremes of what bar ``t`` consists of come from memory; nothing else waits for them meanwhile."""
    if len(finer.extremes) > 0:
        step = max(4 // finer.extremes.shape[1], 1)
        for i in range(finer.start[t] // TOGETHER, finer.start[t + 1] // TOGETHER, step):
            fetch_ahead(finer.extremes, i)


@inlined
def safe(n: int, w: Float, k: int, bar: Float, table: Float) -> bool:
    """Whether lane ``k`` surely has its margin in every finer bar of a bar, as long as nothing fills.

    Parameters
    ----------
    n, w, k, table
        As in `qframe_rl.kernel.slots_resting.rest`.
    bar
        (A, 8) the whole bar.
    """
    left = w[lanes.CASH + k] - w[lanes.MOVING + k]
    size, whole = abs(left), True
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        held, mark, rate = v[lanes.HELD + k], v[lanes.MARK + k], table[a, MAINTENANCE]
        if held != 0.0 and table[a, OWNED] == 0.0:
            far = bar[a, LOW] if held > 0.0 else bar[a, HIGH]
            # Where it does not trade in a finer bar, it stands at its mark, which may be one of before the bar.
            worse = mark < far if held > 0.0 else mark > far
            worst = mark if worse or far != far else far
            left += held * worst - abs(held) * worst * rate
            size += abs(held) * worst
            whole = whole and rate < 1.0
    # Sums of other roundings than those of the test itself: what they may differ by is no margin.
    return bool(whole and left > 1e-9 * size)


@inlined
def surround(v: Float, k: int, orders: Float, plan: Float, own: Float, parts: Float) -> bool:
    """Write the nearest levels of an instrument's orders on both sides, as `qframe_rl.kernel.slots.near` has them.

    Returns
    -------
    bool
        Whether a finer bar may do anything to its orders.
    """
    own[BELOW], own[ABOVE], own[FALL], own[RISE] = -np.inf, np.inf, 0.0, np.inf
    own[TOP], own[BOTTOM] = -np.inf, np.inf
    alive = free = False
    for j in range(orders.shape[1]):
        free = free or (_awaits(j, orders, plan, parts) and not reduces(orders, j))
    for j in range(orders.shape[1]):
        q, stop, trail = orders[QUANTITY, j], orders[STOP, j], orders[TRAIL, j]
        moves = q != 0.0 and trail == trail and follows(v, k, j, orders)
        # What only reduces does nothing as long as nothing that it could reduce can come.
        acts = _awaits(j, orders, plan, parts) and (free or q * v[lanes.HELD + k] < 0.0)
        alive = alive or moves or acts
        if acts:
            level = stop if stop == stop else orders[LIMIT, j]
            if (q > 0.0) == (stop == stop):
                own[ABOVE] = min(own[ABOVE], level * 0.999999)
            else:
                own[BELOW] = max(own[BELOW], level * 1.000001)
        if acts and moves:
            own[FALL] = max(own[FALL], (1.0 - trail) * 1.000002) if q < 0.0 else own[FALL]
            own[RISE] = min(own[RISE], (1.0 + trail) * 0.999998) if q > 0.0 else own[RISE]
    return alive


@inlined
def _awaits(j: int, orders: Float, plan: Float, parts: Float) -> bool:
    """Whether an order rests and has not filled in the bar."""
    live = (orders[QUANTITY, j] != 0.0) & (orders[AFTER, j] <= 0.0)
    return bool(live & (plan[AWAITS, j] != 0.0) & (parts[PART, j] == 0.0))


@inlined
def follows(v: Float, k: int, j: int, orders: Float) -> bool:
    """Whether a stop that trails follows: one that only reduces needs something to reduce."""
    return bool(not reduces(orders, j) or orders[QUANTITY, j] * v[lanes.HELD + k] < 0.0)


@inlined
def reached(n: int, f: int, end: int, finer: Finer, own: Float) -> int:
    """The first of the finer bars from ``f`` that may reach a level, or ``end``; TOP and BOTTOM are those before it."""
    while f < end:
        f = reached_together(n, f, end, finer, own)
        last = min(f - f % TOGETHER + TOGETHER, end)
        while f < last:
            if not _pass_over(n, f, f + 1, finer, own):
                return f
            f += 1
    return end


@inlined
def reached_together(n: int, f: int, end: int, finer: Finer, own: Float) -> int:
    """The first finer bar from ``f`` of some that may reach a level together, or ``end``; have these come."""
    while f < end:
        last = min(f - f % TOGETHER + TOGETHER, end)
        if not _pass_over(n, f, last, finer, own):
            fetch_ahead(finer.bars, f)
            fetch_ahead(finer.bars, last - 1)
            return f
        f = last
    return end


@inlined
def _pass_over(n: int, f: int, last: int, finer: Finer, own: Float) -> bool:
    """Take the best prices of some finer bars, if none of these reaches a level."""
    hit = False
    for a in range(n):
        top, bottom = _ends(f, last, a, finer)
        most, least = max(own[a, TOP], top), min(own[a, BOTTOM], bottom)
        own[a, NEXT_TOP], own[a, NEXT_BOTTOM] = most, least
        # A stop follows after a finer bar: in one by itself it stands where those before have taken it.
        one = last - f == 1
        most, least = own[a, TOP] if one else most, own[a, BOTTOM] if one else least
        hit |= (bottom <= own[a, BELOW]) | (bottom <= most * own[a, FALL])
        hit |= (top >= own[a, ABOVE]) | (top >= least * own[a, RISE])
    if not hit:
        for a in range(n):
            own[a, TOP], own[a, BOTTOM] = own[a, NEXT_TOP], own[a, NEXT_BOTTOM]
    return not hit


@inlined
def _ends(f: int, last: int, a: int, finer: Finer) -> tuple[float, float]:
    """Highest high and lowest low of finer bars ``f`` to ``last``, exclusive; infinite where none traded."""
    if last - f == TOGETHER and len(finer.extremes) > 0:
        return finer.extremes[f // TOGETHER, a, 0], finer.extremes[f // TOGETHER, a, 1]
    top, bottom = -np.inf, np.inf
    for i in range(f, last):
        high, low = finer.bars[i, a, HIGH], finer.bars[i, a, LOW]
        top = high if high > top else top
        bottom = low if low < bottom else bottom
    return top, bottom


@inlined
def leave(v: Float, k: int, orders: Float) -> None:
    """Let stops follow the finer bars that lie behind, and mark at their close."""
    for j in range(orders.shape[1]):
        if orders[TRAIL, j] == orders[TRAIL, j] and follows(v, k, j, orders):
            follow(v, k, j, orders)
    v[lanes.MARK + k] = v[lanes.CLOSE + k] if v[lanes.CLOSE + k] == v[lanes.CLOSE + k] else v[lanes.MARK + k]


@inlined
def leave_several(v: Float, k: int, a: int, f: int, end: int, bars: Float, orders: Float, own: Float) -> None:
    """Leave finer bars ``f`` to ``end``, exclusive, that reach no level: what they do to stops comes to one step."""
    traded = own[TOP] >= own[BOTTOM]
    v[lanes.HIGH + k], v[lanes.LOW + k] = own[TOP] if traded else np.nan, own[BOTTOM] if traded else np.nan
    while end > f + 1 and bars[end - 1, a, CLOSE] != bars[end - 1, a, CLOSE]:
        end -= 1
    v[lanes.CLOSE + k] = bars[end - 1, a, CLOSE]
    leave(v, k, orders)
