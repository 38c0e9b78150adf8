"""One account in one bar: the numbered steps of docs/decisions/0002-market-rules.md, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal, localcontext

from tests.oracle.grids import ZERO
from tests.oracle.orders import Plan, fee_rate, planned, price, slip, small, surviving
from tests.oracle.records import Candle, Order, Outcome, Rulebook, State
from tests.oracle.work import EDGE, ROUNDING, Work

DIGITS = Context(prec=40)
SAFE = 1 - Decimal("1e-12")
"""Where opening parts do not fit, room is taken for this much of itself."""


def settle(
    book: Rulebook,
    state: State,
    orders: tuple[Order, ...],
    candles: tuple[Candle, ...],
    cash_rate: Decimal = ZERO,
    flips: frozenset[int] = frozenset(),
) -> Outcome:
    """The account after the bar, and what happened; ``state`` is left as it was."""
    with localcontext(DIGITS):
        w = Work(book, state.copy(), candles, orders, cash_rate, flips)
        let_arrive(w)
        pay_funding(w)
        count_interest(w)
        plans = [plan for i in range(len(orders)) if (plan := planned(w, i))]
        fill_at_open(w, [plan for plan in plans if plan.at_open])
        credit_interest(w)
        fill_resting(w, [plan for plan in plans if not plan.at_open])
        liquidate(w)
        mark(w)
        close_last(w)
        end(w)
        for fill, order in zip(w.fills, orders, strict=True):
            fill.cancelled = order.quantity - fill.quantity
    return Outcome(w.state, w.fills, w.interest, w.absorbed, w.terminated, tuple(w.edges), w.notes)


def let_arrive(w: Work) -> None:
    """At the start of each bar one bar of the wait has passed; with none left the money has arrived."""
    state = w.state
    if not state.on_way:
        return
    state.wait -= 1
    if state.wait <= 0:
        w.note("money arrived")
        state.on_way, state.wait = ZERO, 0


def pay_funding(w: Work) -> None:
    """1. Cash falls by position x funding due, for each instrument."""
    for i, candle in enumerate(w.candles):
        w.fills[i].funding = w.state.position[i] * candle.due
        w.state.cash -= w.fills[i].funding
        if w.fills[i].funding:
            w.note("funding paid" if w.fills[i].funding > 0 else "funding received")


def count_interest(w: Work) -> None:
    """2. Interest on idle cash, before any order of the bar."""
    idle, state = w.money(), w.state
    for i in w.contracts:
        idle += state.value(i)
        if not w.book.margin_earns:
            idle -= abs(state.value(i)) / w.book.leverage
    w.interest = max(ZERO, idle) * w.cash_rate
    if w.cash_rate:
        w.note("nothing is idle" if idle <= 0 else "interest earned" if w.interest > 0 else "interest paid")


def fill_at_open(w: Work, plans: list[Plan]) -> None:
    """6. Orders at the open fill first."""
    room, terms = room_at_open(w, plans)
    for plan, size in zip(plans, fitted(w, plans, room, terms, "at the open"), strict=True):
        if size:
            fill(w, plan, size)


def room_at_open(w: Work, plans: list[Plan]) -> tuple[Decimal, Decimal]:
    """6. Room for the opening parts of orders at the open, and the size of the largest terms that it is made of."""
    sure = [surely_closed(w, plan) for plan in plans]
    if w.book.spot:
        brought = sum((s * price(w, p, p.size) * (1 - fee_rate(w, p)) for p, s in zip(plans, sure, strict=True)), ZERO)
        return w.state.cash + brought, abs(w.state.cash) + brought
    position = list(w.state.position)
    for plan, closed in zip(plans, sure, strict=True):
        position[plan.i] += plan.side * closed
    return room_on_margin(w, plans, position)


def surely_closed(w: Work, plan: Plan) -> Decimal:
    """6. The closing part that is sure to fill by rule 5 at the size of rule 3."""
    return min(plan.closing, surviving(w, plan, plan.size))


def room_on_margin(
    w: Work, plans: list[Plan], position: Sequence[Decimal], interest: Decimal = ZERO
) -> tuple[Decimal, Decimal]:
    """6. and 8. L times equity less gross: closings cost equity, ``position`` is what counts as gross."""
    values = [w.state.position[i] * w.worth(i) for i in w.contracts]
    costs = sum((lost_by_closing(w, plan) for plan in plans if w.book.contract(plan.i)), ZERO)
    equity = w.money() - w.sold - interest + sum(values, ZERO) - costs
    gross = sum((abs(position[i]) * w.worth(i) for i in w.contracts), ZERO)
    terms = abs(w.state.cash) + w.state.on_way + w.sold + sum(map(abs, values), ZERO) + costs
    return w.book.leverage * equity - gross, w.book.leverage * terms + gross


def lost_by_closing(w: Work, plan: Plan) -> Decimal:
    """6. A closing part's fee, and what its price is worse than worth by, at the size of rule 3."""
    paid = price(w, plan, plan.size)
    return plan.closing * (paid * fee_rate(w, plan) + worse(plan.side, paid, w.worth(plan.i)))


def worse(side: int, paid: Decimal, worth: Decimal) -> Decimal:
    """By how much a price is worse than worth: above it for purchases, below it for sales."""
    return max(ZERO, side * (paid - worth))


def need_of(w: Work, plan: Plan) -> Decimal:
    """6. What the opening part of an order needs, at the price of the size of rule 3."""
    paid, worth, leverage = price(w, plan, plan.size), w.worth(plan.i), w.book.leverage
    fee = plan.opening * paid * fee_rate(w, plan)
    if w.book.spot:
        return plan.opening * paid + fee
    if not w.book.contract(plan.i):
        return leverage * (plan.opening * paid + fee)
    lost = worse(plan.side, paid, worth)
    basis = worth if lost else max(paid, worth)
    return plan.opening * basis + leverage * (fee + plan.opening * lost)


def fitted(w: Work, plans: list[Plan], room: Decimal, terms: Decimal, when: str) -> list[Decimal]:
    """6. and 5. The sizes that fill: opening parts scaled to the room, then without what is too small."""
    sizes = given_room(w, plans, room, terms, when)
    return [kept(w, plan, size) for plan, size in zip(plans, sizes, strict=True)]


def given_room(w: Work, plans: list[Plan], room: Decimal, terms: Decimal, when: str) -> list[Decimal]:
    """6. The sizes with opening parts scaled to the room."""
    needs = [need_of(w, plan) for plan in plans]
    need = sum(needs, ZERO)
    if need > 0 and w.below(room, need, terms + need, "room"):
        share = max(ZERO, room * SAFE) / need
        w.note(f"scaled {when}" if share else f"no room {when}")
        noise = ROUNDING * (terms + need) / need
        return [scaled(w, plan, share, noise) for plan in plans]
    return [plan.size for plan in plans]


def scaled(w: Work, plan: Plan, share: Decimal, noise: Decimal) -> Decimal:
    """6. Closing parts always fit; the opening part is scaled and rounded down to whole lots."""
    opening = plan.opening * share
    if not opening:
        return plan.closing
    return plan.closing + w.down(opening, w.book.listings[plan.i].lot, plan.opening * noise, "lots of a scaled order")


def kept(w: Work, plan: Plan, size: Decimal) -> Decimal:
    """5. What fills of ``size``, with a word on why not all."""
    left = surviving(w, plan, size)
    if not size:
        w.note("scaled to nothing")
    elif left < size:
        why = "below the minimum amount" if small(w, plan, size) else "below the minimum notional"
        w.note("closing part alone" if left else why)
    elif left == plan.closing and left * price(w, plan, left) < w.book.listings[plan.i].min_notional:
        w.note("exempt close")
    return left


def fill(w: Work, plan: Plan, size: Decimal) -> None:
    """A fill: money and coins change hands."""
    paid = price(w, plan, size)
    record, fee = w.fills[plan.i], size * paid * fee_rate(w, plan)
    record.quantity, record.price = plan.side * size, paid
    record.fee += fee
    if plan.takes:
        record.spread = size * plan.base * w.book.half_spread
        record.impact = size * plan.base * slip(w, plan.i, size, plan.before)
    before = w.state.position[plan.i]
    w.move(plan.i, plan.side * size, paid, fee)
    if plan.side < 0 and w.book.listings[plan.i].owned and not w.book.spot:
        w.send(size * paid - fee)
    note_fill(w, plan, size, before)


def note_fill(w: Work, plan: Plan, size: Decimal, before: Decimal) -> None:
    """Say what kind of fill it was."""
    after = w.state.position[plan.i]
    where = "at the open" if plan.at_open else "of a limit" if plan.limit else "of a stop"
    w.note(f"fill {where}")
    if before * after < 0:
        w.note(f"crosses zero {where}")
    if w.book.listings[plan.i].owned and not w.book.spot:
        w.note(f"owned coin {'bought' if plan.side > 0 else 'sold'} {where}")
    if plan.closing and 0 < abs(after) < w.book.listings[plan.i].lot:
        w.note("dust stays")


def fill_resting(w: Work, plans: list[Plan]) -> None:
    """8. Orders that rest and are met in the bar come after, and pay for nothing in it; no more does the interest."""
    room = w.state.cash - w.interest, abs(w.state.cash)
    room, terms = room if w.book.spot else room_on_margin(w, plans, w.state.position, w.interest)
    sizes = zip(plans, fitted(w, plans, room, terms, "in the bar"), strict=True)
    met = [(plan, size) for plan, size in sizes if size]
    if w.book.spot:
        for plan, size in met:
            fill(w, plan, size)
    elif met:
        walk(w, met)


def walk(w: Work, met: list[tuple[Plan, Decimal]]) -> None:
    """8. In a margin account resting orders are met in the order that is worst for it."""
    way = {i: worst_way(w, i, met) for i in w.contracts}
    waiting = [(plan, size) for plan, size in met if gains(w, plan)]
    for s, plan, size in in_order(w, [(share(w, p, way), p, size) for p, size in met if not gains(w, p)]):
        w.failed = w.failed or fails(w, moment(way, s))
        if w.failed:
            w.note("stop cancelled by liquidation" if plan.closing else "opening cancelled by liquidation")
            continue
        w.note("met on the way" if s else "met at once")
        fill(w, plan, size)
        w.failed = fails(w, moment(way, s))
    w.failed = w.failed or fails(w, moment(way, Decimal(1)))
    if w.failed:
        w.notes["gain cancelled by liquidation"] += len(waiting)
        return w.note("liquidated on the way")
    for plan, size in waiting:
        w.note("gain after the way")
        fill(w, plan, size)
    return None


def worst_way(w: Work, i: int, met: list[tuple[Plan, Decimal]]) -> tuple[Decimal, Decimal]:
    """8. A contract moves from its worth to the worst price of what is held, or else of what is to be traded."""
    side = w.state.position[i] or sum((plan.side for plan, _ in met if plan.i == i), ZERO)
    return w.worth(i), w.worst(i, side) if side else w.worth(i)


def moment(way: dict[int, tuple[Decimal, Decimal]], s: Decimal) -> dict[int, Decimal]:
    """8. All contracts have covered the same share of their way at the same time."""
    return {i: start + s * (end - start) for i, (start, end) in way.items()}


def gains(w: Work, plan: Plan) -> bool:
    """8. Gains wait: limits with a closing part, and sales of owned coins."""
    return (plan.limit and plan.closing > 0) or (not w.book.contract(plan.i) and plan.side < 0)


def share(w: Work, plan: Plan, way: dict[int, tuple[Decimal, Decimal]]) -> Decimal:
    """8. The share of the way at which an order's price lies; 0 on the other side, and for owned coins."""
    if not w.book.contract(plan.i):
        return ZERO
    start, end = way[plan.i]
    return min(Decimal(1), max(ZERO, (plan.base - start) / (end - start))) if start != end else ZERO


def in_order(w: Work, moves: list[tuple[Decimal, Plan, Decimal]]) -> list[tuple[Decimal, Plan, Decimal]]:
    """8. By share, and those of the same share in the order of the instruments."""
    moves = sorted(moves, key=lambda move: (move[0], move[1].i))
    for k in range(len(moves) - 1):
        s, t = moves[k][0], moves[k + 1][0]
        if s < 1 and t > 0 and t - s <= EDGE and not w.edge(True, "the same share"):
            moves[k], moves[k + 1] = moves[k + 1], moves[k]
    return moves


def fails(w: Work, prices: dict[int, Decimal]) -> bool:
    """9. Whether money and contracts at these prices are below the maintenance margin."""
    position, listings = w.state.position, w.book.listings
    values = {i: position[i] * at for i, at in prices.items()}
    worth = w.money() + sum(values.values(), ZERO)
    margin = sum((abs(value) * listings[i].maintenance for i, value in values.items()), ZERO)
    terms = w.size + abs(w.state.cash) + sum(map(abs, values.values()), ZERO)
    return w.below(worth, margin, terms, "liquidation")


def credit_interest(w: Work) -> None:
    """7. Interest is credited."""
    w.state.cash += w.interest


def liquidate(w: Work) -> None:
    """9. In margin accounts, at the worst prices of what is held then."""
    if w.book.spot:
        return
    prices = {i: w.worst(i, w.state.position[i]) for i in w.contracts}
    if not w.failed and fails(w, prices):
        w.note("liquidated after the way")
        w.failed = True
    if not w.failed:
        return
    w.note("liquidated")
    w.terminated = True
    for i, at in prices.items():
        force(w, i, at, w.book.liquidation_fee)
    absorb_debts(w)


def force(w: Work, i: int, at: Decimal, rate: Decimal) -> None:
    """The venue closes a position by itself."""
    held, record = w.state.position[i], w.fills[i]
    if held == 0:
        return
    fee = abs(held) * at * rate
    record.forced, record.forced_price = -held, at
    record.fee += fee
    w.move(i, -held, at, fee)


def mark(w: Work) -> None:
    """10. At the close, where there is one."""
    w.state.mark = [c.close if c.close is not None else m for c, m in zip(w.candles, w.state.mark, strict=True)]


def close_last(w: Work) -> None:
    """11. What is held of an instrument in its last bar is closed at its mark, with the taker fee."""
    for i, candle in enumerate(w.candles):
        if candle.last and w.state.position[i]:
            w.note("last bar of a contract" if w.book.contract(i) else "last bar of a coin")
            force(w, i, w.state.mark[i] or ZERO, w.book.listings[i].taker_fee)
    if not w.failed and w.below(w.state.equity, ZERO, w.size + w.state.size, "worth less than nothing"):
        w.note("worth less than nothing")
        w.terminated = True
        for i in w.contracts:
            force(w, i, w.state.mark[i] or ZERO, ZERO)
        absorb_debts(w)


def absorb_debts(w: Work) -> None:
    """12. What steps 9 or 11 leave below the money on its way is the venue's loss."""
    if w.money() < 0:
        w.note("loss absorbed")
        w.absorbed = -w.money()
        w.state.cash = w.state.on_way


def end(w: Work) -> None:
    """12. An account whose equity is not above zero is terminated."""
    if not w.terminated and not w.below(ZERO, w.state.equity, w.size, "equity above nothing"):
        w.note("nothing left")
        w.terminated = True
