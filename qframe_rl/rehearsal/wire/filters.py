"""What an order must keep to: steps of price and quantity, the smallest value, a band around the price."""

from __future__ import annotations

from decimal import Decimal

from qframe_rl.rehearsal.decimals import on_grid
from qframe_rl.rehearsal.errors import Refused, rejected
from qframe_rl.rehearsal.market import SPOT, USDM, ListedMarket
from qframe_rl.rehearsal.order import Order
from qframe_rl.rehearsal.place import Place

MAX_QUANTITY = Decimal("9000000000")
BAND = Decimal(5)
"""A limit price lies between a fifth of the market's and five times it."""
MAX_OPEN = 200
"""Open orders of an account in one market."""
MAX_WAITING = {SPOT: 5, USDM: 10}
"""Those among them that wait for a trigger price, on each wire."""


def check(place: Place, order: Order) -> None:
    """Hold an order against its market's filters.

    Raises
    ------
    Refused
        With the code and the text of the wire it came by.
    """
    spot = place.market.wire == SPOT
    for price in (order.limit, order.stop):
        if price is not None:
            _price(place, price, spot)
    if order.quote_quantity == 0 and not order.close_position:
        _quantity(place.market, order.quantity, spot)
    _value(place, order, spot)
    if sum(o.id != order.id for o in order.account.open_orders(place.market.wire, place.market.id)) >= MAX_OPEN:
        raise rejected("Filter failure: MAX_NUM_ORDERS") if spot else Refused(-2025, "Reach max open order limit.")
    waiting = sum(1 for other, _ in place.engine.waiting if other.account is order.account)
    if order.stop is not None and waiting >= MAX_WAITING[place.market.wire]:
        raise _filtered(spot, "MAX_NUM_ALGO_ORDERS", -4045, "Reach max stop order limit.")


def _price(place: Place, price: Decimal, spot: bool) -> None:
    if price <= 0 or not on_grid(price, place.market.tick):
        raise _filtered(spot, "PRICE_FILTER", -4014, "Price not increased by tick size.")
    at = place.engine.price
    if not at / BAND <= price <= at * BAND:
        text = "The counterparty's best price does not meet the PERCENT_PRICE filter limit."
        raise _filtered(spot, "PERCENT_PRICE_BY_SIDE", -4131, text)


def _quantity(market: ListedMarket, quantity: Decimal, spot: bool) -> None:
    if quantity <= 0:
        raise Refused(-1013, "Invalid quantity.") if spot else Refused(-4003, "Quantity less than or equal to zero.")
    if not on_grid(quantity, market.lot):
        raise _filtered(spot, "LOT_SIZE", -1111, "Precision is over the maximum defined for this asset.")
    if quantity > MAX_QUANTITY:
        raise _filtered(spot, "LOT_SIZE", -4005, "Quantity greater than max quantity.")


def _value(place: Place, order: Order, spot: bool) -> None:
    least = place.market.min_notional
    if order.reduce_only or order.close_position:
        return
    price = order.limit or order.stop or place.engine.price
    if (order.quote_quantity or price * order.quantity) < least:
        text = f"Order's notional must be no smaller than {least:f} (unless you choose reduce only)."
        raise _filtered(spot, "NOTIONAL", -4164, text)


def _filtered(spot: bool, name: str, code: int, text: str) -> Refused:
    """Refusal by a filter: spot names it, futures have a code for each."""
    return Refused(-1013, f"Filter failure: {name}") if spot else Refused(code, text)


def filters(market: ListedMarket) -> list[dict[str, object]]:
    """The filters as ``exchangeInfo`` states them."""
    tick, lot, least = (f"{x.normalize():f}" for x in (market.tick, market.lot, market.min_notional))
    price: dict[str, object] = {
        "filterType": "PRICE_FILTER",
        "minPrice": tick,
        "maxPrice": "1000000000",
        "tickSize": tick,
    }
    size: dict[str, object] = {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": f"{MAX_QUANTITY:f}", "stepSize": lot}
    if market.wire != SPOT:
        return [
            price,
            size,
            size | {"filterType": "MARKET_LOT_SIZE"},
            {"filterType": "MAX_NUM_ORDERS", "limit": MAX_OPEN},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": MAX_WAITING[USDM]},
            {"filterType": "MIN_NOTIONAL", "notional": least},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": f"{BAND:f}",
                "multiplierDown": "0.2",
                "multiplierDecimal": "4",
            },
        ]
    band = {f"{side}Multiplier{way}": str(by) for side in ("bid", "ask") for way, by in (("Up", BAND), ("Down", "0.2"))}
    return [
        price,
        size,
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": "0.00000000",
            "maxQty": f"{MAX_QUANTITY:f}",
            "stepSize": "0.00000000",
        },
        {"filterType": "PERCENT_PRICE_BY_SIDE", **band, "avgPriceMins": 5},
        {
            "filterType": "NOTIONAL",
            "minNotional": least,
            "applyMinToMarket": True,
            "maxNotional": "9000000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": MAX_OPEN},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": MAX_WAITING[SPOT]},
    ]
