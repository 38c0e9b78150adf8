"""Several orders of an instrument: docs/decisions/0027-several-orders-rest-in-slots.md, in plain decimals."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext

from tests.oracle.bar import (
    DIGITS,
    close_last,
    count_interest,
    credit_interest,
    end,
    given_room,
    kept,
    let_arrive,
    liquidate,
    mark,
    pay_funding,
    room_on_margin,
)
from tests.oracle.grids import ZERO, counted, down, up
from tests.oracle.inside import Candles, go_inside, widened
from tests.oracle.orders import better, fee_rate, may_be_short, price, reducible, surviving
from tests.oracle.records import Candle, Order, Outcome, Rulebook, State
from tests.oracle.slot_way import (
    fill_resting,
)
from tests.oracle.standing import (
    Bench,
    Going,
    Part,
    Slots,
    Standing,
    rounded,
    siblings,
    trade,
)
from tests.oracle.work import Work


def settle_slots(
    book: Rulebook,
    state: State,
    slots: Slots,
    candles: tuple[Candle, ...],
    cash_rate: Decimal = ZERO,
    flips: frozenset[int] = frozenset(),
    finer: tuple[Candles, ...] = (),
) -> tuple[Outcome, list[list[Part]], Slots]:
    """The account after the bar, what became of each order, and what stands then; the inputs are left as they were."""
    with localcontext(DIGITS):
        w = Work(book, state.copy(), candles, (Order(),) * len(candles), cash_rate, flips)
        b = Bench(w, [list(row) for row in slots], [[Part() for _ in row] for row in slots])
        let_arrive(w)
        pay_funding(w)
        count_interest(w)
        w.candles = widened(candles) if finer else candles
        open_plans, resting = planned(b)
        w.candles = candles
        fill_open(b, open_plans)
        credit_interest(w)
        if finer:
            go_inside(b, resting, finer)
        else:
            b.held_on = [abs(p) for p in w.state.position]
            fill_resting(b, resting)
            liquidate(w)
        mark(w)
        close_last(w)
        end(w)
        pass_bar(b, trailed=bool(finer))
        report(b, slots)
    outcome = Outcome(w.state, w.fills, w.interest, w.absorbed, w.terminated, tuple(w.edges), w.notes)
    return outcome, b.parts, b.slots


def planned(b: Bench) -> tuple[list[Going], list[Going]]:
    """Size and price at the open: which orders go there, and which rest and are met."""
    opens: list[Going] = []
    rests: list[Going] = []
    for i, candle in enumerate(b.w.candles):
        b.left.append(b.w.book.volume_share * candle.volume if candle.trades and candle.volume else ZERO)
        closable = abs(b.w.state.position[i])
        for j, slot in enumerate(b.slots[i]):
            if slot.quantity == 0 or slot.after > 0 or not candle.trades or not candle.volume:
                continue
            if slot.limit is not None and slot.stop is not None:
                continue
            size, closing = open_size(b, i, slot, closable)
            plan = classified(b, i, j, slot, size, closing)
            if plan is None:
                continue
            if not plan.at_open:
                rests.append(plan)
            elif size and not any(p.i == i and siblings(b, i, p.j, j) for p in opens):
                opens.append(plan)
                b.left[i] -= size
                b.take(i, slot.side, size)
                closable -= closing
    return opens, rests


def open_size(b: Bench, i: int, slot: Standing, closable: Decimal) -> tuple[Decimal, Decimal]:
    """Size at the open, and its closing part."""
    opposite = closable if reducible(b.w, i, slot.side) else ZERO
    bound = slot.reduce_only or (slot.side < 0 and not may_be_short(b.w, i))
    size = rounded(b.w, i, min(abs(slot.quantity), b.left[i]), opposite, bound)
    return size, min(size, opposite)


def classified(b: Bench, i: int, j: int, slot: Standing, size: Decimal, closing: Decimal) -> Going | None:
    """At the open, resting and met, or nothing."""
    candle, tick, side = b.w.candles[i], b.w.book.listings[i].tick, slot.side
    assert candle.open and candle.high and candle.low
    going = Going(
        i, side, size, closing, candle.open, True, True, b.before(i, side), abs(slot.quantity), j, slot.reduce_only
    )
    if slot.stop is not None:
        stop = up(slot.stop, tick) if side > 0 else down(slot.stop, tick)
        if counted(candle.open, tick) * side >= counted(stop, tick) * side:
            waits = slot.reduce_only and size == 0
            return replace(going, base=stop, at_open=False) if waits else going
        extreme = candle.high if side > 0 else candle.low
        met = counted(extreme, tick) * side >= counted(stop, tick) * side
        return replace(going, base=stop, at_open=False) if met else None
    if slot.limit is None:
        return going
    limit = down(slot.limit, tick) if side > 0 else up(slot.limit, tick)
    rests = better(b.w, i, limit, price(b.w, going, size), side)
    if not rests and slot.post_only:
        b.gone.add((i, j))
        b.w.note("post-only cancelled")
        return None
    if not rests and not (slot.reduce_only and size == 0):
        return going
    extreme = counted(candle.low if side > 0 else candle.high, tick) * side
    met = extreme < counted(limit, tick) * side
    return replace(going, base=limit, takes=False, at_open=False) if met else None


def fill_open(b: Bench, plans: list[Going]) -> None:
    """5. and 6.: the room is shared in one, and prices are those of the sizes that fill."""
    room, terms = open_room(b, plans)
    sizes = given_room(b.w, list(plans), room, terms, "at the open")
    b.taken.clear()
    for plan, size in zip(plans, sizes, strict=True):
        now = replace(plan, before=b.before(plan.i, plan.side))
        trade(b, now, kept(b.w, now, size))


def open_room(b: Bench, plans: list[Going]) -> tuple[Decimal, Decimal]:
    """6. Room, with the closing parts of all orders."""
    w = b.w
    sure = [min(plan.closing, surviving(w, plan, plan.size)) for plan in plans]
    if w.book.spot:
        brought = sum((s * price(w, p, p.size) * (1 - fee_rate(w, p)) for p, s in zip(plans, sure, strict=True)), ZERO)
        return w.state.cash + brought, abs(w.state.cash) + brought
    position = list(w.state.position)
    for plan, closed in zip(plans, sure, strict=True):
        position[plan.i] += plan.side * closed
    return room_on_margin(w, list(plans), position)


def pass_bar(b: Bench, *, trailed: bool) -> None:
    """After the bar: count, move stops that have not moved inside it, cancel."""
    w = b.w
    for i, row in enumerate(b.slots):
        over = w.terminated or w.candles[i].last
        aged = [Standing() if over or (i, j) in b.gone else older(w, i, slot, trailed) for j, slot in enumerate(row)]
        free = {slot.side for slot in aged if slot.quantity and not slot.reduce_only}
        b.slots[i] = [
            Standing()
            if slot.reduce_only and slot.quantity and not reducible(w, i, slot.side) and -slot.side not in free
            else slot
            for slot in aged
        ]


def older(w: Work, i: int, slot: Standing, trailed: bool) -> Standing:
    """An order one bar later; no order where it is over."""
    if slot.quantity == 0:
        return Standing()
    counts = not slot.reduce_only or reducible(w, i, slot.side) > 0
    waits = slot.after > 0
    slot = replace(slot, after=slot.after - counts) if waits else replace(slot, good=slot.good - 1)
    if slot.good <= 0:
        return Standing()
    return followed(w, i, slot) if counts and not trailed else slot


def followed(w: Work, i: int, slot: Standing) -> Standing:
    """A stop follows the bar's best price, never back."""
    candle = w.candles[i]
    if slot.trail is None or slot.stop is None or not candle.trades:
        return slot
    assert candle.high and candle.low
    if slot.side < 0:
        return replace(slot, stop=max(slot.stop, candle.high * (1 - slot.trail)))
    return replace(slot, stop=min(slot.stop, candle.low * (1 + slot.trail)))


def report(b: Bench, asked: Slots) -> None:
    """Sums per instrument."""
    for i, record in enumerate(b.w.fills):
        traded = sum((abs(part.quantity) for part in b.parts[i]), ZERO)
        paid = sum((abs(part.quantity) * part.price for part in b.parts[i]), ZERO)
        record.price = paid / traded if traded else ZERO
        whole = sum((slot.quantity for slot in asked[i]), ZERO)
        record.cancelled = whole - record.quantity - sum((slot.quantity for slot in b.slots[i]), ZERO)
