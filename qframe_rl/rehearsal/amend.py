"""Changing an order that rests: made smaller it keeps its place; at another price or size it goes to the end."""

from __future__ import annotations

from decimal import Decimal

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.book import Level
from qframe_rl.rehearsal.decimals import ZERO
from qframe_rl.rehearsal.matching import MatchingEngine
from qframe_rl.rehearsal.order import CANCELED, Amendment, Order


def lessen(engine: MatchingEngine, order: Order, quantity: Decimal, name: str) -> Amendment:
    """Make a spot order smaller, perhaps under another client order id.

    Parameters
    ----------
    engine
        Of its market.
    order
        Open, with more than ``quantity`` asked for.
    quantity
        The whole quantity from now on, above what is filled.
    name
        Client order id from now on.
    """
    change = _written(engine, order, order.limit or ZERO, quantity, name)
    order.quantity = quantity
    engine.resting.lessened(order)
    order.account.rename(order, name)
    order.account.spot.lessen(order)
    engine.register.tell("AMENDED", order.account, engine.market, order)
    return change


def modify(engine: MatchingEngine, order: Order, price: Decimal, quantity: Decimal) -> None:
    """Give a resting order another price and quantity.

    It ends where the quantity is filled already, or where it must not take and would.

    Raises
    ------
    Refused
        If the market is closed or the wallet does not carry it; the order stays as it was.
    """
    if engine.row < 0 or engine.halted:
        raise errors.closed(engine.market.wire)
    before = order.limit or ZERO, order.quantity
    wallet = order.account.wallet(engine.market.wire)
    if quantity <= order.filled:
        engine.cancel(order)
        return
    engine.resting.withdraw(order)
    wallet.release(order)
    order.limit, order.quantity = price, quantity
    taking = engine.matches(order)
    if order.post_only and engine.takes(order, taking):
        engine.close(order, CANCELED)
        return
    try:
        wallet.admit(order, [Level(offer.price, offer.quantity) for offer in taking])
    except errors.Refused:
        order.limit, order.quantity = before
        wallet.keep(order)
        engine.rest(order)
        raise
    order.limit, order.quantity = before
    _written(engine, order, price, quantity, order.client_id)
    order.limit, order.quantity = price, quantity
    order.turn = engine.register.order_number()
    engine.register.tell("AMENDED", order.account, engine.market, order)
    engine.execute(order, taking)


def restate(engine: MatchingEngine, order: Order, price: Decimal, quantity: Decimal, trigger: Decimal) -> None:
    """Give an order that waits for its trigger another price, quantity and trigger.

    Raises
    ------
    Refused
        If the wallet does not carry it; the order stays as it was.
    """
    before = order.limit, order.quantity, order.stop
    wallet, kept = order.account.wallet(engine.market.wire), order.held
    wallet.release(order)
    order.limit = None if order.limit is None else price
    order.quantity, order.stop = quantity, trigger
    if kept:
        try:
            wallet.admit(order, [])
        except errors.Refused:
            order.limit, order.quantity, order.stop = before
            wallet.keep(order)
            raise
    order.stop_price, order.updated = trigger, engine.register.now
    engine.register.tell("AMENDED", order.account, engine.market, order)


def _written(engine: MatchingEngine, order: Order, price: Decimal, quantity: Decimal, name: str) -> Amendment:
    number = len(order.amendments) + 1
    was = order.limit or ZERO
    change = Amendment(number, engine.register.now, (was, price), (order.quantity, quantity), (order.client_id, name))
    order.amendments.append(change)
    order.updated = engine.register.now
    return change
