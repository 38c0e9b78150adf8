"""New orders as both wires state them, and how one is found again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.book import BUY, SELL
from qframe_rl.rehearsal.order import Order, Trade
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.wire.call import Call, Json

T = TypeVar("T")
TIFS = ("GTC", "IOC", "FOK", "GTX", "GTD")


def side_of(call: Call) -> str:
    """``BUY`` or ``SELL``."""
    side = call.text("side")
    if side not in (BUY, SELL):
        raise errors.Refused(-1117, "Invalid side.")
    return side


def tif_of(call: Call, needed: bool) -> str:
    """Time in force; required for limit orders."""
    tif = call.text("timeInForce", None if needed else "GTC")
    if tif not in TIFS:
        raise errors.Refused(-1115, "Invalid timeInForce.")
    return tif


def fresh_id(call: Call, place: Place) -> str:
    """A client order id that no open order of the account has."""
    name = call.client_id()
    before = call.user.by_client(call.wire, place.market.id, name)
    if before is not None and before.is_open:
        raise errors.duplicate(call.wire)
    return name


def found(call: Call, place: Place, missing: errors.Refused) -> Order:
    """The order that ``orderId`` or ``origClientOrderId`` names.

    Raises
    ------
    Refused
        ``missing`` if there is none.
    """
    order: Order | None = None
    if call.params.get("orderId"):
        order = call.user.orders[call.wire].get(call.whole("orderId"))
    elif call.params.get("origClientOrderId"):
        order = call.user.by_client(call.wire, place.market.id, call.text("origClientOrderId"))
    else:
        raise errors.Refused(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
    if order is None or order.market is not place.market:
        raise missing
    return order


def history(call: Call, place: Place) -> list[Order]:
    """All orders of a market that a request asks for, the oldest first."""
    orders = [o for o in call.user.orders[call.wire].values() if o.market is place.market]
    if call.params.get("orderId"):
        orders = [o for o in orders if o.id >= call.whole("orderId")]
    orders = _within(call, orders, lambda o: o.created)
    limit = call.limit(500, 1000)
    return orders[:limit] if "orderId" in call.params or "startTime" in call.params else orders[-limit:]


def fills(call: Call, market_id: str | None) -> list[Trade]:
    """Fills that a request asks for, the oldest first."""
    trades = [t for t in call.user.trades[call.wire] if market_id is None or t.order.market.id == market_id]
    if call.params.get("orderId"):
        trades = [t for t in trades if t.order.id == call.whole("orderId")]
    limit = call.limit(500, 1000)
    if call.params.get("fromId"):
        return [t for t in trades if t.id >= call.whole("fromId")][:limit]
    trades = _within(call, trades, lambda t: t.time)
    return trades[:limit] if "startTime" in call.params else trades[-limit:]


RATES = {"spot": (("SECOND", 10, 100), ("DAY", 1, 200_000)), "usdm": (("SECOND", 10, 300), ("MINUTE", 1, 1200))}
"""Orders that an account may place in some time: as they are stated; nobody is refused for placing more."""
_LENGTHS = {"SECOND": 1_000, "MINUTE": 60_000, "DAY": 86_400_000}


def rates(wire: str) -> list[dict[str, Json]]:
    """Limits of orders as both wires state them."""
    return [
        {"rateLimitType": "ORDERS", "interval": unit, "intervalNum": n, "limit": most} for unit, n, most in RATES[wire]
    ]


def counts(call: Call) -> Json:
    """Orders that an account placed in each of those times."""
    times = [order.created for order in call.user.orders[call.wire].values()]
    return [
        row | {"count": sum(t > call.now - row["intervalNum"] * _LENGTHS[row["interval"]] for t in times)}
        for row in rates(call.wire)
    ]


def _within(call: Call, rows: list[T], time_of: Callable[[T], int]) -> list[T]:
    """Rows between ``startTime`` and ``endTime``, both included."""
    since, until = call.whole("startTime", 0), call.whole("endTime", 2**62)
    return [row for row in rows if since <= time_of(row) <= until]
