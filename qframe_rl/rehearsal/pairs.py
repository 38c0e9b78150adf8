"""Two orders of which one cancels the other: a limit above the price and a stop below it, or the other way round.

The wallet keeps back once for both of them, for the dearer one: they can never both fill. The first that fills a part,
or whose trigger is met, goes on alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.order import EXPIRED, OcoPair, Order

if TYPE_CHECKING:
    from qframe_rl.rehearsal.matching import MatchingEngine


def place(engine: MatchingEngine, pair: OcoPair) -> None:
    """Accept both orders.

    Raises
    ------
    Refused
        If the market is closed, one of them would trade at once, or the wallet does not carry the dearer one.
    """
    wire = engine.market.wire
    if engine.row < 0 or engine.halted:
        raise errors.closed(wire)
    for order in pair.orders:
        if order.stop is not None and engine.triggered(order):
            raise errors.would_trigger(wire)
        if order.stop is None and engine.takes(order, engine.matches(order)):
            raise errors.would_take(wire)
    account = pair.orders[0].account
    dearer = max(pair.orders, key=account.spot.need)
    account.spot.admit(dearer, [])
    account.pairs[pair.id] = pair
    for order in pair.orders:
        order.pair = pair
        engine.accept(order)
        if order.stop is None:
            engine.rest(order)
        else:
            engine.wait(order, lambda order=order: engine.fire(order))  # type: ignore[misc]
    engine.register.tell("PAIR", account, engine.market, pair=pair)


def goes_on(engine: MatchingEngine, order: Order) -> bool:
    """Whether an order that begins to fill may; the other one of its pair goes."""
    pair = order.pair
    if pair is None or pair.begun is order:
        return True
    pair.begun = order
    engine.close(_other(order, pair), EXPIRED)
    if order.held:
        return True
    try:
        order.account.spot.admit(order, [])
    except errors.Refused:
        # Money was taken out of the account by hand.
        engine.close(order, EXPIRED)
        return False
    return True


def ended(engine: MatchingEngine, order: Order) -> None:
    """An order of a pair is done; one that never filled takes the other along."""
    pair = order.pair
    if pair is None:
        return
    if pair.begun is None:
        pair.begun = order
        engine.close(_other(order, pair), order.status)
    elif not pair.is_open:
        pair.updated = engine.register.now
        engine.register.tell("PAIR", order.account, engine.market, pair=pair)


def _other(order: Order, pair: OcoPair) -> Order:
    first, second = pair.orders
    return second if order is first else first
