"""Steps 3 to 5: what an order comes to, and what is too small."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tests.oracle.grids import MISS, ZERO, counted, down, steps, up
from tests.oracle.work import Work

ENOUGH = 1 - Decimal("1e-12")
"""The share of the minimum notional that is enough."""


@dataclass(frozen=True)
class Plan:
    """An order that has a size and a price."""

    i: int
    side: int
    """+1 = purchase, -1 = sale."""
    size: Decimal
    """The size of rule 3."""
    closing: Decimal
    """The part of it that reduces a position."""
    base: Decimal
    """What taking starts from, or the limit."""
    takes: bool
    """Whether it takes and pays the taker fee; else it is filled at its limit."""
    at_open: bool
    """Whether it is an order at the open; else it rests."""
    before: Decimal = ZERO
    """What other orders of the instrument took on its side before it."""
    asked: Decimal | None = None
    """The quantity asked for, where an instrument has several orders."""

    @property
    def opening(self) -> Decimal:
        return self.size - self.closing

    @property
    def limit(self) -> bool:
        """Whether it is a limit that rests."""
        return not self.takes


def planned(w: Work, i: int) -> Plan | None:
    """Steps 3 and 4: the order of instrument ``i``, if it comes to something."""
    order, candle = w.orders[i], w.candles[i]
    if order.quantity == 0:
        return None
    if not candle.trades or not candle.volume:
        return w.note("no volume" if candle.trades else "no trade")
    if order.limit is not None and order.stop is not None:
        return w.note("limit and stop")
    side = 1 if order.quantity > 0 else -1
    size = size_of(w, i, side)
    if size == 0:
        return w.note("size rounds to nothing")
    if order.limit is not None:
        return limit_order(w, i, side, size)
    if order.stop is not None:
        return stop_order(w, i, side, size)
    w.note("market order")
    return made(w, i, side, size, candle.open, True, True)


def made(w: Work, i: int, side: int, size: Decimal, base: Decimal | None, takes: bool, at_open: bool) -> Plan:
    """A plan, with the part of its size that reduces the position."""
    assert base is not None
    return Plan(i, side, size, min(size, reducible(w, i, side)), base, takes, at_open)


def reducible(w: Work, i: int, side: int) -> Decimal:
    """How much of the position an order on ``side`` can reduce."""
    return max(ZERO, -side * w.state.position[i])


def size_of(w: Work, i: int, side: int) -> Decimal:
    """3. The quantity asked for, capped, and in whole lots."""
    listing, volume, asked = w.book.listings[i], w.candles[i].volume, abs(w.orders[i].quantity)
    assert volume is not None
    held = reducible(w, i, side)
    size = min(asked, w.book.volume_share * volume)
    if size < asked:
        w.note("capped by volume")
    if side < 0 and not may_be_short(w, i) and size > held:
        w.note("capped by holding")
        size = held
    if listing.lot:
        return down(size, listing.lot)
    if held and size != held and abs(size - held) <= MISS * held:
        w.note("closes what it nearly closes")
    return held if held and abs(size - held) <= MISS * held else size


def may_be_short(w: Work, i: int) -> bool:
    """Whether a sale may exceed what is held: of a contract, in an account that may be short."""
    return w.book.short and w.book.contract(i)


def price(w: Work, plan: Plan, size: Decimal) -> Decimal:
    """4. What a fill of ``size`` is priced at."""
    return plan.base * (1 + plan.side * cost(w, plan.i, size, plan.before)) if plan.takes else plan.base


def cost(w: Work, i: int, size: Decimal, before: Decimal = ZERO) -> Decimal:
    """4. What taking ``size`` costs, as a fraction of the price it starts from."""
    return w.book.half_spread + slip(w, i, size, before)


def slip(w: Work, i: int, size: Decimal, before: Decimal = ZERO) -> Decimal:
    """4. The part of it that is impact; 27. where ``before`` was taken on its side already."""
    volume = w.candles[i].volume
    assert volume
    if size == 0 or before == 0:
        return w.book.impact * (size / volume).sqrt()
    whole = before + size
    mean = (whole + (whole * before).sqrt() + before) / (whole.sqrt() + before.sqrt())
    return w.book.impact * mean / volume.sqrt()


def fee_rate(w: Work, plan: Plan) -> Decimal:
    """4. Orders at the open and stops pay the taker fee, limits that rest the maker fee."""
    listing = w.book.listings[plan.i]
    return listing.taker_fee if plan.takes else listing.maker_fee


def stop_order(w: Work, i: int, side: int, size: Decimal) -> Plan | None:
    """4. A stop: at the open if that is at or past it, else from the stop if the bar reaches it."""
    candle, tick, stop = w.candles[i], w.book.listings[i].tick, w.orders[i].stop
    assert stop is not None and candle.open and candle.high and candle.low
    stop = up(stop, tick) if side > 0 else down(stop, tick)
    at = counted(stop, tick) * side
    if counted(candle.open, tick) * side >= at:
        w.note("stop at the open")
        return made(w, i, side, size, candle.open, True, True)
    extreme = counted(candle.high if side > 0 else candle.low, tick) * side
    if extreme < at:
        return w.note("stop not reached")
    w.note("stop just reached" if extreme == at else "stop reached")
    return made(w, i, side, size, stop, True, False)


def limit_order(w: Work, i: int, side: int, size: Decimal) -> Plan | None:
    """4. A limit: at the open if a market order would pay no more than it, else it rests."""
    candle, tick, limit = w.candles[i], w.book.listings[i].tick, w.orders[i].limit
    assert limit is not None and candle.open and candle.high and candle.low
    limit = down(limit, tick) if side > 0 else up(limit, tick)
    market = made(w, i, side, size, candle.open, True, True)
    if not better(w, i, limit, price(w, market, size), side):
        w.note("limit takes")
        return market
    extreme = counted(candle.low if side > 0 else candle.high, tick) * side
    if extreme >= counted(limit, tick) * side:
        return w.note("limit touched" if extreme == counted(limit, tick) * side else "limit not reached")
    w.note("limit traded through")
    return made(w, i, side, size, limit, False, False)


def better(w: Work, i: int, limit: Decimal, taking: Decimal, side: int) -> bool:
    """Whether a limit is better than what taking would pay: in ticks where there are any."""
    tick = w.book.listings[i].tick
    if tick:
        if steps(limit, tick) == steps(taking, tick) and w.book.half_spread:
            w.note("limit just at what taking pays")
        return steps(limit, tick) * side < steps(taking, tick) * side
    if taking == w.candles[i].open:
        return limit * side < taking * side
    return w.below(limit * side, taking * side, taking, "limit at what taking pays")


def surviving(w: Work, plan: Plan, size: Decimal) -> Decimal:
    """5. What fills of ``size``: all, on a perpetual the closing part alone, or nothing."""
    if size and not small(w, plan, size) and not cheap(w, plan, size):
        return size
    listing = w.book.listings[plan.i]
    closing = min(size, plan.closing)
    if closing and listing.perpetual and not small(w, plan, closing):
        return closing
    return ZERO


def small(w: Work, plan: Plan, size: Decimal) -> bool:
    """5. Whether a fill is below the minimum amount: in lots where there are any."""
    listing = w.book.listings[plan.i]
    if listing.lot:
        if size == listing.min_amount:
            w.note("just the minimum amount")
        return steps(size, listing.lot) < steps(listing.min_amount, listing.lot)
    asked = abs(w.orders[plan.i].quantity) if plan.asked is None else plan.asked
    given = w.state.position[plan.i] == w.held[plan.i] and size == reducible(w, plan.i, plan.side)
    if given or size == asked:
        return size < listing.min_amount
    return w.below(size, listing.min_amount, size, "minimum amount") if listing.min_amount else False


def cheap(w: Work, plan: Plan, size: Decimal) -> bool:
    """5. Whether a fill is worth less than the minimum notional at its price, by more than 1e-12 of it."""
    floor = w.book.listings[plan.i].min_notional
    return w.below(size * price(w, plan, size), floor * ENOUGH, floor, "minimum notional") if floor else False
