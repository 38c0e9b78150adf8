"""Orders that rest on an exchange: where they are listed, conditional ones among them, and how they are called off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from qframe_rl.exchanges import stops_apart

_APART = {"trigger": True}
GONE = ("canceled", "expired", "rejected")
"""States, in CCXT's words, of an order that will never fill."""


class Resting(NamedTuple):
    """One order on one of an exchange's lists."""

    id: str
    name: str
    """The id that whoever sent it gave it."""
    symbol: str
    apart: bool
    """Whether it is on the list of conditional orders, which has ids of its own."""
    quantity: float
    """Signed; in what the exchange counts amounts."""


def place_of(client: Any, symbol: str, stop: bool) -> dict[str, Any]:
    """Parameters with which requests find an order of a market, with a stop price or without."""
    return dict(_APART) if stop and stops_apart(client.id, client.market(symbol)) else {}


def lists(client: Any, symbol: str) -> Iterator[dict[str, Any]]:
    """Parameters of each list on which orders of a market may rest."""
    yield {}
    if stops_apart(client.id, client.market(symbol)):
        yield dict(_APART)


def resting(client: Any, symbol: str) -> list[Resting]:
    """All orders of a market that rest."""
    return [
        _resting(order, symbol, bool(params))
        for params in lists(client, symbol)
        for order in client.fetch_open_orders(symbol, None, None, params)
    ]


def _resting(order: Mapping[str, Any], symbol: str, apart: bool) -> Resting:
    sign = 1.0 if order["side"] == "buy" else -1.0
    left = order.get("remaining") or order.get("amount") or 0.0
    return Resting(str(order["id"]), str(order.get("clientOrderId")), symbol, apart, sign * float(left))


def call_off(client: Any, order: Resting) -> None:
    """Cancel an order; one that is there no more was filled or cancelled: its trades say which."""
    import ccxt

    try:
        client.cancel_order(order.id, order.symbol, dict(_APART) if order.apart else {})
    except ccxt.OrderNotFound:
        return


def fired(client: Any, number: str, symbol: str) -> str | None:
    """Id under which a conditional order that was kept apart is on the book or filled.

    Returns
    -------
    str | None
        Empty if it never will be; None if it still waits.
    """
    order = client.fetch_order(number, symbol, dict(_APART))
    actual = (order.get("info") or {}).get("actualOrderId")
    if actual:
        return str(actual)
    return "" if order["status"] in GONE else None
