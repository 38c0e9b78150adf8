"""Order lists of the spot wire: two orders of which one cancels the other (OCO)."""

from __future__ import annotations

from collections.abc import Mapping

from qframe_rl.rehearsal import errors, pairs
from qframe_rl.rehearsal.market import SPOT
from qframe_rl.rehearsal.order import OcoPair, Order
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.wire import intake
from qframe_rl.rehearsal.wire.call import SIGNED, Call, Json, Route
from qframe_rl.rehearsal.wire.filters import check
from qframe_rl.rehearsal.wire.spot_orders import answer, cancelled, made

_API = "/api/v3"
_STOPS = ("STOP_LOSS", "STOP_LOSS_LIMIT")
_TAKES = ("LIMIT_MAKER", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_FIELDS = {
    "type": "Type",
    "price": "Price",
    "stopPrice": "StopPrice",
    "timeInForce": "TimeInForce",
    "newClientOrderId": "ClientOrderId",
}


def _place(call: Call) -> Json:
    """Place a pair as ``above`` and ``below`` state it."""
    legs = []
    for part in ("above", "below"):
        fields = {name: call.params.get(part + suffix, "") for name, suffix in _FIELDS.items()}
        legs.append(fields)
    side = intake.side_of(call)
    stop, take = (1, 0) if side == "SELL" else (0, 1)
    for leg, kinds in ((legs[stop], _STOPS), (legs[take], _TAKES)):
        if leg["type"] not in kinds:
            raise errors.Refused(-1116, "Invalid orderType.")
    return _placed(call, legs)


def _place_old(call: Call) -> Json:
    """Place a pair as it was stated before lists had an above and a below: a limit, and a stop."""
    limited = bool(call.params.get("stopLimitPrice"))
    take = {"type": "LIMIT_MAKER", "price": call.text("price")}
    take |= {"newClientOrderId": call.params.get("limitClientOrderId", "")}
    stop = {"type": "STOP_LOSS_LIMIT" if limited else "STOP_LOSS", "stopPrice": call.text("stopPrice")}
    stop |= {"newClientOrderId": call.params.get("stopClientOrderId", "")}
    if limited:
        tif = call.params.get("stopLimitTimeInForce", "")
        stop |= {"price": call.text("stopLimitPrice"), "timeInForce": tif}
    return _placed(call, [take, stop] if intake.side_of(call) == "SELL" else [stop, take])


def _placed(call: Call, legs: list[dict[str, str]]) -> Json:
    place, number = call.place(), call.world.register.order_number()
    orders = [_leg(call, place, leg) for leg in legs]
    levels = [order.stop if order.stop is not None else order.limit for order in orders]
    if not (levels[0] or 0) > place.engine.price > (levels[1] or 0):
        raise errors.rejected("The relationship of the prices for the orders is not correct.")
    name = call.client_id("listClientOrderId")
    if any(pair.client_id == name and pair.is_open for pair in call.user.pairs.values()):
        raise errors.duplicate(SPOT)
    pair = OcoPair((orders[0], orders[1]), number, name, call.now)
    pairs.place(place.engine, pair)
    call.world.touched(place)
    detail = call.text("newOrderRespType", "RESULT")
    return _row(pair) | {"orderReports": [answer(order, detail) for order in orders]}


def _leg(call: Call, place: Place, leg: Mapping[str, str]) -> Order:
    order = made(call.with_params(leg), place)
    check(place, order)
    return order


def _row(pair: OcoPair) -> dict[str, Json]:
    kind, status = ("EXEC_STARTED", "EXECUTING") if pair.is_open else ("ALL_DONE", "ALL_DONE")
    market = pair.orders[0].market.id
    return {
        "orderListId": pair.id,
        "contingencyType": "OCO",
        "listStatusType": kind,
        "listOrderStatus": status,
        "listClientOrderId": pair.client_id,
        "transactionTime": pair.updated or pair.created,
        "symbol": market,
        "orders": [{"symbol": market, "orderId": o.id, "clientOrderId": o.client_id} for o in pair.orders],
    }


def _found(call: Call) -> OcoPair:
    number = call.params.get("orderListId")
    name = call.params.get("listClientOrderId") or call.params.get("origClientOrderId")
    if not number and not name:
        raise errors.malformed("orderListId")
    for pair in reversed(call.user.pairs.values()):
        if pair.id == call.whole("orderListId", 0) or pair.client_id == name:
            return pair
    raise errors.Refused(-2018, "Order list does not exist.")


def _query(call: Call) -> Json:
    return _row(_found(call))


def _cancel(call: Call) -> Json:
    place, pair = call.place(), _found(call)
    resting = [order for order in pair.orders if order.is_open]
    if not resting:
        raise errors.unknown_order()
    cancelled(call, place, resting[0])
    return _row(pair) | {"orderReports": [answer(order, "RESULT") for order in pair.orders]}


def _open(call: Call) -> Json:
    return [_row(pair) for pair in call.user.pairs.values() if pair.is_open]


def _all(call: Call) -> Json:
    since, until = call.whole("startTime", 0), call.whole("endTime", 2**62)
    first = call.whole("fromId", 0)
    found = [p for p in call.user.pairs.values() if since <= p.created <= until and p.id >= first]
    limit = call.limit(500, 1000)
    return [_row(pair) for pair in (found[:limit] if first or since else found[-limit:])]


ROUTES: dict[tuple[str, str], Route] = {
    ("POST", f"{_API}/orderList/oco"): Route("spot.orderList.post", _place, SIGNED),
    ("POST", f"{_API}/order/oco"): Route("spot.orderList.post", _place_old, SIGNED),
    ("GET", f"{_API}/orderList"): Route("spot.orderList.get", _query, SIGNED, weight=4),
    ("DELETE", f"{_API}/orderList"): Route("spot.orderList.delete", _cancel, SIGNED),
    ("GET", f"{_API}/openOrderList"): Route("spot.openOrderList", _open, SIGNED, weight=6),
    ("GET", f"{_API}/allOrderList"): Route("spot.allOrderList", _all, SIGNED, weight=20),
}
