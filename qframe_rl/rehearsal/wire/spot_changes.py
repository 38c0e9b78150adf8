"""Orders of the spot wire that are changed: one in place of another, and one made smaller."""

from __future__ import annotations

from qframe_rl.rehearsal import amend, errors
from qframe_rl.rehearsal.decimals import on_grid, text
from qframe_rl.rehearsal.order import Amendment, Order
from qframe_rl.rehearsal.wire import intake
from qframe_rl.rehearsal.wire.call import SIGNED, Call, Json, Route
from qframe_rl.rehearsal.wire.filters import check
from qframe_rl.rehearsal.wire.spot_orders import cancelled, made, order_row, place_one

_API = "/api/v3"
_MODES = ("STOP_ON_FAILURE", "ALLOW_FAILURE")


def _replace(call: Call) -> Json:
    """Cancel one order and place another; what came of each is said whatever happens."""
    place, mode = call.place(), call.text("cancelReplaceMode")
    if mode not in _MODES:
        raise errors.illegal("cancelReplaceMode", "|".join(_MODES))
    # A request that cannot be read does nothing at all.
    check(place, made(call.with_params({"newClientOrderId": ""}), place))
    names = {
        "orderId": call.params.get("cancelOrderId", ""),
        "origClientOrderId": call.params.get("cancelOrigClientOrderId", ""),
        "newClientOrderId": call.params.get("cancelNewClientOrderId", ""),
    }
    taken = call.with_params(names)
    said: dict[str, Json] = {"cancelResult": "SUCCESS", "newOrderResult": "NOT_ATTEMPTED", "newOrderResponse": None}
    try:
        order = intake.found(taken, place, errors.unknown_order())
        _restricted(call, order)
        said["cancelResponse"] = cancelled(taken, place, order)
    except errors.Refused as refusal:
        said |= {"cancelResult": "FAILURE", "cancelResponse": refusal.body()}
    if said["cancelResult"] == "SUCCESS" or mode == "ALLOW_FAILURE":
        try:
            said |= {"newOrderResponse": place_one(call), "newOrderResult": "SUCCESS"}
        except errors.Refused as refusal:
            said |= {"newOrderResult": "FAILURE", "newOrderResponse": refusal.body()}
    results = said["cancelResult"], said["newOrderResult"]
    if results == ("SUCCESS", "SUCCESS"):
        return said
    if "SUCCESS" in results:
        raise errors.Refused(-2021, "Order cancel-replace partially failed.", 409, said)
    raise errors.Refused(-2022, "Order cancel-replace failed.", 400, said)


def _restricted(call: Call, order: Order) -> None:
    only = call.text("cancelRestrictions", "")
    if only and order.status != only.removeprefix("ONLY_"):
        raise errors.Refused(-2011, "Order was not canceled due to cancel restrictions.")


def _amend(call: Call) -> Json:
    """Make an order smaller; it keeps its place among those of its price."""
    place, quantity = call.place(), call.number("newQty")
    order = intake.found(call, place, errors.no_order())
    if not order.is_open or order.pair is not None or order.limit is None:
        raise errors.Refused(-2038, "The requested order amendment is not allowed for this order.")
    if not on_grid(quantity, place.market.lot):
        raise errors.Refused(-1013, "Filter failure: LOT_SIZE")
    if not order.filled < quantity < order.quantity:
        raise errors.Refused(-2038, "The requested action would not decrease the order's quantity above its fills.")
    name = intake.fresh_id(call, place) if call.params.get("newClientOrderId") else call.world.register.name()
    change = amend.lessen(place.engine, order, quantity, name)
    call.world.touched(place)
    kept = ("symbol", "orderId", "orderListId", "price", "status", "timeInForce", "type", "side", "workingTime")
    row = {key: value for key, value in order_row(order).items() if key in (*kept, "selfTradePreventionMode")}
    row |= {"origClientOrderId": change.names[0], "clientOrderId": name, "qty": text(order.quantity)}
    row |= {"executedQty": text(order.filled), "preventedQty": "0.00000000", "quoteOrderQty": "0.00000000"}
    row |= {"cumulativeQuoteQty": text(order.paid)}
    return {"transactTime": change.time, "executionId": change.id, "amendedOrder": row}


def _amendments(call: Call) -> Json:
    order = intake.found(call, call.place(), errors.no_order())
    since, limit = call.whole("fromExecutionId", 0), call.limit(500, 1000)
    return [_amendment(order, change) for change in order.amendments if change.id >= since][:limit]


def _amendment(order: Order, change: Amendment) -> Json:
    return {
        "symbol": order.market.id,
        "orderId": order.id,
        "executionId": change.id,
        "origClientOrderId": change.names[0],
        "newClientOrderId": change.names[1],
        "origQty": text(change.quantity[0]),
        "newQty": text(change.quantity[1]),
        "time": change.time,
    }


ROUTES: dict[tuple[str, str], Route] = {
    ("POST", f"{_API}/order/cancelReplace"): Route("spot.order.cancelReplace", _replace, SIGNED),
    ("PUT", f"{_API}/order/amend/keepPriority"): Route("spot.order.amend", _amend, SIGNED, weight=4),
    ("GET", f"{_API}/order/amendments"): Route("spot.order.amendments", _amendments, SIGNED, weight=4),
}
