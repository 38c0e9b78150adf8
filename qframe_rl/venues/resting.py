"""Orders that rest on an exchange: where they are listed, conditional ones among them, and how they are called off."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from qframe_rl.exchanges import amount_unit, conventions, paged, stops_apart
from qframe_rl.feeds.answer import answer, shaped
from qframe_rl.venues.answers import ConditionalOrderAnswer, OpenOrderAnswer

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
    """What is left of it; signed, base units."""
    reduce_only: bool
    conditional: bool = False
    """Whether it waits for a price, on whichever list it is."""

    def reduces(self, held: float) -> bool:
        """Whether it can only make a position of ``held`` base units smaller."""
        return self.reduce_only or (self.quantity * held < 0.0 and abs(self.quantity) <= abs(held))


class Ours(NamedTuple):
    """Which orders are ours."""

    numbers: Collection[str]
    """Ids of the exchange."""
    apart: Collection[str]
    """Those of conditional orders that it keeps apart."""
    names: Collection[str]
    """Names of orders of which no id is known yet."""

    def has(self, order: Resting) -> bool:
        """Whether an order is ours."""
        return order.id in (self.apart if order.apart else self.numbers) or order.name in self.names


def place_of(client: Any, symbol: str, stop: bool) -> dict[str, Any]:
    """Parameters with which requests find an order of a market, with a stop price or without.

    Parameters
    ----------
    client
        Of CCXT, with markets.
    symbol
        CCXT's name of the market.
    stop
        Whether the order has a stop price: some exchanges keep those on a list of their own.
    """
    return dict(_APART) if stop and stops_apart(client.id, client.market(symbol)) else {}


def lists(client: Any, symbol: str) -> Iterator[dict[str, Any]]:
    """Parameters of each list on which orders of a market may rest."""
    yield {}
    if stops_apart(client.id, client.market(symbol)):
        yield dict(_APART)


def resting(client: Any, symbol: str) -> list[Resting]:
    """All orders of a market that rest."""
    return [
        _resting(order, symbol, bool(params), amount_unit(client.id, client.market(symbol)))
        for params in lists(client, symbol)
        for order in _open(client, symbol, params)
    ]


def _open(client: Any, symbol: str, params: Mapping[str, Any]) -> list[OpenOrderAnswer]:
    said = answer(client.fetch_open_orders, symbol, None, None, {**params, **paged(client.id)})
    orders: list[OpenOrderAnswer] = shaped(list[OpenOrderAnswer], said)
    return orders


def _resting(order: OpenOrderAnswer, symbol: str, apart: bool, unit: float) -> Resting:
    left = (order.remaining or order.amount or 0.0) * unit
    return Resting(
        order.id, str(order.clientOrderId), symbol, apart, left if order.side == "buy" else -left,
        bool(order.reduceOnly), bool(order.triggerPrice),
    )  # fmt: skip


def call_off(client: Any, order: Resting) -> None:
    """Cancel an order; one that is there no more was filled or cancelled: its trades say which."""
    import ccxt

    coins = not client.market(order.symbol).get("contract")
    named = order.conditional and coins and conventions(client.id).spot_stops_apart
    try:
        answer(client.cancel_order, order.id, order.symbol, dict(_APART) if order.apart or named else {})
    except ccxt.OrderNotFound:
        return


def fired(client: Any, number: str, symbol: str) -> str | None:
    """Id under which a conditional order that was kept apart is on the book or filled.

    Parameters
    ----------
    client
        Of CCXT, with keys and markets.
    number
        Id of the conditional order.
    symbol
        CCXT's name of the market.

    Returns
    -------
    str | None
        Empty if it never will be; None if it still waits.
    """
    order: ConditionalOrderAnswer = shaped(
        ConditionalOrderAnswer, answer(client.fetch_order, number, symbol, dict(_APART))
    )
    actual = (order.info or {}).get("actualOrderId")
    if actual:
        return str(actual)
    return "" if order.status in GONE else None
