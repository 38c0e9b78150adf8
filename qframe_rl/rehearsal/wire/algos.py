"""Conditional orders of the futures wire: they wait beside the book until their trigger price is met."""

from __future__ import annotations

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.book import BUY
from qframe_rl.rehearsal.decimals import ZERO, text
from qframe_rl.rehearsal.order import CANCELED, FINISHED, NEW, REJECTED, TRIGGERED, Algo, Order
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.wire import intake
from qframe_rl.rehearsal.wire.call import SIGNED, Call, Json, Route
from qframe_rl.rehearsal.wire.filters import check
from qframe_rl.rehearsal.wire.usdm_orders import MODE, one_way
from qframe_rl.rehearsal.world import World

_API = "/fapi/v1"
_KINDS = {"STOP": "LIMIT", "STOP_MARKET": "MARKET", "TAKE_PROFIT": "LIMIT", "TAKE_PROFIT_MARKET": "MARKET"}


def _made(call: Call, place: Place) -> Algo:
    """The conditional order that a request states."""
    kind, side = call.text("type"), intake.side_of(call)
    if call.text("algoType") != "CONDITIONAL" or kind not in _KINDS:
        raise errors.Refused(-1116, "Invalid orderType.")
    one_way(call)
    whole = call.flag("closePosition")
    limited = _KINDS[kind] == "LIMIT"
    stop = call.number("triggerPrice")
    order = Order(
        account=call.user,
        market=place.market,
        side=side,
        type=_KINDS[kind],
        quantity=ZERO if whole else call.number("quantity"),
        limit=call.number("price") if limited else None,
        tif=intake.tif_of(call, False),
        client_id=call.world.register.name(),
        stop=stop,
        stop_price=stop,
        rises=(side == BUY) == kind.startswith("STOP"),
        by_mark=call.text("workingType", "CONTRACT_PRICE") == "MARK_PRICE",
        post_only=call.text("timeInForce", "GTC") == "GTX",
        reduce_only=call.flag("reduceOnly") or whole,
        close_position=whole,
        original_type=kind,
    )
    name = call.client_id("clientAlgoId")
    if any(a.client_id == name and a.status == NEW for a in call.user.algos.values()):
        raise errors.duplicate(call.wire)
    return Algo(order, call.world.register.order_number(), name, call.now, call.now)


def _place(call: Call) -> Json:
    place = call.place()
    algo = _made(call, place)
    check(place, algo.order)
    if place.engine.row < 0 or place.engine.halted:
        raise errors.closed(call.wire)
    if place.engine.triggered(algo.order):
        raise errors.would_trigger(call.wire)
    call.user.algos[algo.id] = algo
    world = call.world
    place.engine.wait(algo.order, lambda: _fire(world, place, algo))
    world.register.tell("ALGO", call.user, place.market, algo=algo)
    world.touched(place)
    return row(algo)


def _fire(world: World, place: Place, algo: Algo) -> None:
    """Place the order of a trigger that was met."""
    order = algo.order
    order.stop = None
    algo.status, algo.updated, algo.triggered = TRIGGERED, world.now, world.now
    world.register.tell("ALGO", order.account, place.market, algo=algo)
    if order.close_position:
        order.quantity = abs(order.account.margin.position(place.market).amount)
    try:
        place.engine.place(order)
    except errors.Refused as refusal:
        algo.status, algo.reason = REJECTED, refusal.message
    else:
        algo.status, algo.placed = FINISHED, order
    world.register.tell("ALGO", order.account, place.market, algo=algo)


def row(algo: Algo) -> Json:
    """One conditional order."""
    order = algo.order
    price, size = order.market.price_digits, order.market.quantity_digits
    done = (
        {}
        if algo.placed is None
        else {"actualOrderId": str(algo.placed.id), "actualPrice": text(algo.placed.average, price)}
    )
    return {
        "algoId": algo.id,
        "clientAlgoId": algo.client_id,
        "algoType": "CONDITIONAL",
        "orderType": order.original_type,
        "symbol": order.market.id,
        "side": order.side,
        "positionSide": "BOTH",
        "timeInForce": order.tif,
        "quantity": text(order.quantity, size),
        "algoStatus": algo.status,
        "triggerPrice": text(order.stop_price, price),
        "price": text(order.limit or ZERO, price),
        "icebergQuantity": None,
        "selfTradePreventionMode": MODE,
        "workingType": "MARK_PRICE" if order.by_mark else "CONTRACT_PRICE",
        "priceMatch": "NONE",
        "closePosition": order.close_position,
        "priceProtect": False,
        "reduceOnly": order.reduce_only,
        "createTime": algo.created,
        "updateTime": algo.updated,
        "triggerTime": algo.triggered,
        "goodTillDate": 0,
        **done,
    }


def _found(call: Call) -> Algo:
    algos = call.user.algos
    if call.params.get("algoId"):
        algo = algos.get(call.whole("algoId"))
    else:
        name = call.text("clientAlgoId")
        algo = next((a for a in reversed(algos.values()) if a.client_id == name), None)
    if algo is None:
        raise errors.no_order()
    return algo


def _query(call: Call) -> Json:
    return row(_found(call))


def _named(call: Call) -> list[Algo]:
    name = call.place().market.id if call.params.get("symbol") else None
    return [a for a in call.user.algos.values() if name is None or a.order.market.id == name]


def _open(call: Call) -> Json:
    return [row(algo) for algo in _named(call) if algo.status == NEW]


def _all(call: Call) -> Json:
    return [row(algo) for algo in _named(call)]


def _stop(call: Call, algo: Algo) -> None:
    place = call.world.place(call.wire, algo.order.market.id)
    place.engine.waiting = [(o, fire) for o, fire in place.engine.waiting if o is not algo.order]
    algo.status, algo.updated = CANCELED, call.now
    call.world.register.tell("ALGO", call.user, algo.order.market, algo=algo)


def _cancel(call: Call) -> Json:
    algo = _found(call)
    if algo.status != NEW:
        raise errors.unknown_order()
    _stop(call, algo)
    return {"algoId": algo.id, "clientAlgoId": algo.client_id, "code": "200", "msg": "success"}


def _cancel_all(call: Call) -> Json:
    for algo in _named(call):
        if algo.status == NEW:
            _stop(call, algo)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


ROUTES: dict[tuple[str, str], Route] = {
    ("POST", f"{_API}/algoOrder"): Route("usdm.algoOrder.post", _place, SIGNED),
    ("GET", f"{_API}/algoOrder"): Route("usdm.algoOrder.get", _query, SIGNED),
    ("DELETE", f"{_API}/algoOrder"): Route("usdm.algoOrder.delete", _cancel, SIGNED),
    ("GET", f"{_API}/openAlgoOrders"): Route("usdm.openAlgoOrders", _open, SIGNED),
    ("GET", f"{_API}/allAlgoOrders"): Route("usdm.allAlgoOrders", _all, SIGNED),
    ("DELETE", f"{_API}/algoOpenOrders"): Route("usdm.algoOpenOrders", _cancel_all, SIGNED),
}
