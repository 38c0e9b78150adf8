"""Orders and fills on the futures wire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from qframe_rl.rehearsal import amend, errors
from qframe_rl.rehearsal.decimals import ZERO, short, text
from qframe_rl.rehearsal.market import USDM
from qframe_rl.rehearsal.order import Order, Trade
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.wire import intake
from qframe_rl.rehearsal.wire.call import SIGNED, Call, Json, Route
from qframe_rl.rehearsal.wire.filters import check

_API = "/fapi/v1"
_CONDITIONAL = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
MODE = "EXPIRE_MAKER"
_LISTS = ("orderIdList", "origClientOrderIdList")


def made(call: Call, place: Place) -> Order:
    """The order that a request states, before it is accepted."""
    kind, side = call.text("type"), intake.side_of(call)
    if kind in _CONDITIONAL:
        raise errors.Refused(
            -4120, "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead."
        )
    if kind not in ("LIMIT", "MARKET"):
        raise errors.Refused(-1116, "Invalid orderType.")
    one_way(call)
    tif = intake.tif_of(call, kind == "LIMIT")
    return Order(
        account=call.user,
        market=place.market,
        side=side,
        type=kind,
        quantity=call.number("quantity"),
        limit=call.number("price") if kind == "LIMIT" else None,
        tif="GTC" if tif == "GTD" else tif,
        client_id=intake.fresh_id(call, place),
        post_only=tif == "GTX",
        reduce_only=call.flag("reduceOnly"),
        original_type=kind,
    )


def one_way(call: Call) -> None:
    """Refuse sides of a hedged position; this exchange keeps one-way positions."""
    if call.text("positionSide", "BOTH") != "BOTH":
        raise errors.Refused(-4061, "Order's position side does not match user's setting.")


def _place(call: Call) -> Json:
    place = call.place()
    order = made(call, place)
    check(place, order)
    place.engine.place(order)
    call.world.touched(place)
    if call.text("newOrderRespType", "ACK") == "RESULT":
        return order_row(order, timed=False)
    # An acknowledgement is written before the order is matched.
    return order_row(order, timed=False) | {
        "status": "NEW",
        "executedQty": text(ZERO, place.market.quantity_digits),
        "cumQty": text(ZERO, place.market.quantity_digits),
        "cumQuote": short(ZERO),
        "avgPrice": "0.00",
    }


def _test(call: Call) -> Json:
    place = call.place()
    order = made(call, place)
    check(place, order)
    return order_row(order, timed=False)


def order_row(order: Order, timed: bool = True) -> Json:
    """One order as every endpoint shows it; queries have its ``time`` as well."""
    market = order.market
    price, size = market.price_digits, market.quantity_digits
    row = {
        "orderId": order.id,
        "symbol": market.id,
        "status": order.status,
        "clientOrderId": order.client_id,
        "price": text(order.limit or ZERO, price),
        "avgPrice": f"{order.average:.{max(2, price)}f}",
        "origQty": text(order.quantity, size),
        "executedQty": text(order.filled, size),
        "cumQty": text(order.filled, size),
        "cumQuote": short(order.paid),
        "timeInForce": order.tif,
        "type": order.type,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side,
        "positionSide": "BOTH",
        "stopPrice": text(order.stop_price, price),
        "workingType": "MARK_PRICE" if order.by_mark else "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": order.original_type,
        "priceMatch": "NONE",
        "selfTradePreventionMode": MODE,
        "goodTillDate": 0,
        "updateTime": order.updated,
    }
    if timed:
        row["time"] = order.created
        del row["cumQty"]
    return row


def _query(call: Call) -> Json:
    return order_row(intake.found(call, call.place(), errors.no_order()))


def _query_open(call: Call) -> Json:
    order = intake.found(call, call.place(), errors.no_order())
    if not order.is_open:
        raise errors.no_order()
    return order_row(order)


def _cancel(call: Call) -> Json:
    place = call.place()
    order = intake.found(call, place, errors.unknown_order())
    place.engine.cancel(order)
    call.world.touched(place)
    return order_row(order, timed=False)


def _modify(call: Call) -> Json:
    """Give a resting order another price and quantity."""
    place = call.place()
    order = intake.found(call, place, errors.no_order())
    if not order.is_open or order.limit is None:
        raise errors.no_order()
    if intake.side_of(call) != order.side:
        raise errors.Refused(-1117, "Invalid side.")
    price, quantity = call.number("price"), call.number("quantity")
    if (price, quantity) == (order.limit, order.quantity):
        raise errors.Refused(-5027, "No need to modify the order.")
    check(place, replace(order, limit=price, quantity=quantity))
    amend.modify(place.engine, order, price, quantity)
    call.world.touched(place)
    return order_row(order, timed=False)


def _amendments(call: Call) -> Json:
    order = intake.found(call, call.place(), errors.no_order())
    price, size = order.market.price_digits, order.market.quantity_digits
    return [
        {
            "amendmentId": change.id,
            "symbol": order.market.id,
            "pair": order.market.id,
            "orderId": order.id,
            "clientOrderId": order.client_id,
            "time": change.time,
            "amendment": {
                "price": {"before": text(change.price[0], price), "after": text(change.price[1], price)},
                "origQty": {"before": text(change.quantity[0], size), "after": text(change.quantity[1], size)},
                "count": change.id,
            },
        }
        for change in reversed(order.amendments)
    ][: call.limit(50, 100)]


def _cancel_all(call: Call) -> Json:
    cancel_all(call, call.place())
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def cancel_all(call: Call, place: Place) -> None:
    """Take all orders of an account out of a market."""
    for order in call.user.open_orders(USDM, place.market.id):
        place.engine.cancel(order)
    call.world.touched(place)


def _countdown(call: Call) -> Json:
    """Cancel everything in a market unless the request comes again before its time is over."""
    place, span = call.place(), call.whole("countdownTime")
    key = (call.user.key, place.market.id)
    call.world.deadlines[key] = due = call.now + call.world.wall_ms(span) if span else None

    def strike() -> None:
        if call.world.deadlines.get(key) == due:
            cancel_all(call, place)

    if due is not None:
        call.world.at(due, strike)
    return {"symbol": place.market.id, "countdownTime": str(span)}


def _batch(call: Call, act: Callable[[Call], Json]) -> Json:
    parts = call.objects("batchOrders")[:5]
    return [_one(call, {k: str(v) for k, v in part.items()}, act) for part in parts]


def _batch_cancel(call: Call) -> Json:
    # CCXT spells names in small letters here, which the venue takes as well.
    call = call.with_params({name: call.params.get(name.lower(), call.params.get(name, "")) for name in _LISTS})
    name = next((name for name in _LISTS if call.params.get(name)), _LISTS[0])
    one, ids = name.removesuffix("List"), call.values(name)[:10]
    return [_one(call, {"symbol": call.text("symbol"), one: str(value)}, _cancel) for value in ids]


def _one(call: Call, params: dict[str, str], act: Callable[[Call], Json]) -> Json:
    try:
        return act(Call(call.world, call.wire, params, call.account, call.freshness))
    except errors.Refused as refusal:
        return refusal.body()


def _open(call: Call) -> Json:
    name = call.place().market.id if call.params.get("symbol") else None
    return [order_row(order) for order in call.user.open_orders(USDM, name)]


def _all(call: Call) -> Json:
    return [order_row(order) for order in intake.history(call, call.place())]


def _fills(call: Call) -> Json:
    name = call.place().market.id if call.params.get("symbol") else None
    return [_fill(trade) for trade in intake.fills(call, name)]


def _fill(trade: Trade) -> Json:
    market = trade.order.market
    return {
        "symbol": market.id,
        "id": trade.id,
        "orderId": trade.order.id,
        "side": trade.order.side,
        "price": text(trade.price, market.price_digits),
        "qty": text(trade.quantity, market.quantity_digits),
        "realizedPnl": text(trade.realized),
        "quoteQty": text(trade.quote),
        "commission": text(trade.fee),
        "commissionAsset": trade.fee_asset,
        "time": trade.time,
        "positionSide": "BOTH",
        "buyer": trade.order.buys,
        "maker": trade.maker,
    }


ROUTES: dict[tuple[str, str], Route] = {
    ("POST", f"{_API}/order"): Route("usdm.order.post", _place, SIGNED),
    ("POST", f"{_API}/order/test"): Route("usdm.order.test", _test, SIGNED),
    ("GET", f"{_API}/order"): Route("usdm.order.get", _query, SIGNED),
    ("DELETE", f"{_API}/order"): Route("usdm.order.delete", _cancel, SIGNED),
    ("POST", f"{_API}/batchOrders"): Route(
        "usdm.batchOrders.post", lambda call: _batch(call, _place), SIGNED, weight=5
    ),
    ("PUT", f"{_API}/batchOrders"): Route("usdm.batchOrders.put", lambda call: _batch(call, _modify), SIGNED, weight=5),
    ("DELETE", f"{_API}/batchOrders"): Route("usdm.batchOrders.delete", _batch_cancel, SIGNED),
    ("PUT", f"{_API}/order"): Route("usdm.order.put", _modify, SIGNED),
    ("GET", f"{_API}/orderAmendment"): Route("usdm.orderAmendment", _amendments, SIGNED),
    ("GET", f"{_API}/rateLimit/order"): Route("usdm.rateLimit", intake.counts, SIGNED),
    ("GET", f"{_API}/openOrder"): Route("usdm.openOrder", _query_open, SIGNED),
    ("GET", f"{_API}/openOrders"): Route("usdm.openOrders.get", _open, SIGNED),
    ("DELETE", f"{_API}/allOpenOrders"): Route("usdm.openOrders.delete", _cancel_all, SIGNED),
    ("POST", f"{_API}/countdownCancelAll"): Route("usdm.countdownCancelAll", _countdown, SIGNED, weight=10),
    ("GET", f"{_API}/allOrders"): Route("usdm.allOrders", _all, SIGNED, weight=5),
    ("GET", f"{_API}/userTrades"): Route("usdm.userTrades", _fills, SIGNED, weight=5),
}
