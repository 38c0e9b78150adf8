"""What rests in a bar, and liquidations in it, on the finer bars it consists of: decision 32, in plain decimals.

The oracle looks at all finer bars of all bars; the kernel looks where something is near. Both must agree.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from tests.oracle.bar import liquidate, mark
from tests.oracle.grids import counted, down, up
from tests.oracle.orders import reducible
from tests.oracle.records import Candle
from tests.oracle.slot_way import fill_resting
from tests.oracle.standing import Bench, Going, Standing
from tests.oracle.work import Work

FAR_UP, FAR_DOWN = Decimal("1e30"), Decimal("1e-30")
Candles = tuple[Candle, ...]


def widened(candles: Candles) -> Candles:
    """Bars that reach every price: all that is not at the open rests in them."""
    return tuple(replace(c, high=FAR_UP, low=FAR_DOWN) if c.trades else c for c in candles)


def go_inside(b: Bench, awaiting: list[Going], finer: tuple[Candles, ...]) -> None:
    """Finer bar by finer bar: what it meets, who it liquidates, how stops follow, what marks are."""
    w, whole = b.w, b.w.candles
    for inside in finer:
        w.candles = tuple(within(c, f) for c, f in zip(whole, inside, strict=True))
        b.held_on = [abs(p) for p in w.state.position]
        fill_resting(b, [met for plan in awaiting if waits(b, plan) and (met := met_by(b, plan))])
        liquidate(w)
        if w.terminated:
            w.note("liquidated inside")
            break
        follow(b)
        mark(w)
    w.candles = whole


def waits(b: Bench, plan: Going) -> bool:
    """Whether an order is there, and has not filled in the bar."""
    return bool(b.slots[plan.i][plan.j].quantity) and not b.parts[plan.i][plan.j].quantity


def within(whole: Candle, part: Candle) -> Candle:
    """A finer bar with the volume of the whole one."""
    return replace(whole, open=part.open, high=part.high, low=part.low, close=part.close)


def met_by(b: Bench, plan: Going) -> Going | None:
    """The order as the finer bar meets it: a stop that its open has passed takes from the open."""
    w, i, side, slot = b.w, plan.i, plan.side, b.slots[plan.i][plan.j]
    candle, tick = w.candles[i], w.book.listings[i].tick
    if not candle.trades:
        return None
    assert candle.open and candle.high and candle.low
    if slot.stop is None:
        assert slot.limit is not None
        limit = down(slot.limit, tick) if side > 0 else up(slot.limit, tick)
        extreme = candle.low if side > 0 else candle.high
        met = counted(extreme, tick) * side < counted(limit, tick) * side
        return replace(plan, base=limit, takes=False, at_open=False) if met else None
    stop = up(slot.stop, tick) if side > 0 else down(slot.stop, tick)
    extreme = candle.high if side > 0 else candle.low
    if counted(candle.open, tick) * side >= counted(stop, tick) * side:
        w.note("a gap inside")
        return replace(plan, base=candle.open, takes=True, at_open=False)
    met = counted(extreme, tick) * side >= counted(stop, tick) * side
    return replace(plan, base=stop, takes=True, at_open=False) if met else None


def follow(b: Bench) -> None:
    """Stops follow the finer bar's best price, never back."""
    for i, row in enumerate(b.slots):
        for j, slot in enumerate(row):
            if slot.quantity and (not slot.reduce_only or reducible(b.w, i, slot.side)):
                row[j] = moved(b.w, b.w.candles[i], slot)


def moved(w: Work, candle: Candle, slot: Standing) -> Standing:
    """One order after a finer bar."""
    if slot.trail is None or slot.stop is None or not candle.trades:
        return slot
    assert candle.high and candle.low
    best = candle.high * (1 - slot.trail) if slot.side < 0 else candle.low * (1 + slot.trail)
    nearer = best > slot.stop if slot.side < 0 else best < slot.stop
    if nearer:
        w.note("followed inside")
    return replace(slot, stop=best) if nearer else slot
