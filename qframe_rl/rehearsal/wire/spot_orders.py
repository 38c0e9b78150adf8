"""Signed endpoints of the spot wire: orders, fills, balances."""

from __future__ import annotations

from decimal import Decimal

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.book import BUY
from qframe_rl.rehearsal.decimals import ZERO, exact, text
from qframe_rl.rehearsal.market import SPOT
from qframe_rl.rehearsal.order import Order, Trade
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.wire import intake
from qframe_rl.rehearsal.wire.call import KEY, SIGNED, Call, Json, Route
from qframe_rl.rehearsal.wire.filters import check

_API = "/api/v3"
_STOPS = ("STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_LIMITS = ("LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT")


def list_id(order: Order) -> int:
    """Id of the pair that an order is one of; -1 for none."""
    return -1 if order.pair is None else order.pair.id


def made(call: Call, place: Place) -> Order:
    """The order that a request states, before it is accepted."""
    kind, side = call.text("type"), intake.side_of(call)
    if kind not in (*_STOPS, *_LIMITS, "MARKET"):
        raise errors.Refused(-1116, "Invalid orderType.")
    limited = kind in _LIMITS
    tif = intake.tif_of(call, limited and kind != "LIMIT_MAKER") if limited else "GTC"
    by_quote = kind == "MARKET" and bool(call.params.get("quoteOrderQty"))
    order = Order(
        account=call.user,
        market=place.market,
        side=side,
        type=kind,
        quantity=ZERO if by_quote else call.number("quantity"),
        limit=call.number("price") if limited else None,
        tif=tif,
        client_id=intake.fresh_id(call, place),
        quote_quantity=call.number("quoteOrderQty") if by_quote else ZERO,
        post_only=kind == "LIMIT_MAKER",
        original_type=kind,
    )
    if kind in _STOPS:
        order.stop = order.stop_price = call.number("stopPrice")
        order.rises = (side == BUY) == kind.startswith("STOP_LOSS")
    return order


def place_one(call: Call) -> Json:
    """Place the order that a request states."""
    place = call.place()
    order = made(call, place)
    check(place, order)
    if order.stop is None:
        place.engine.place(order)
    else:
        place.engine.place_stop(order)
    call.world.touched(place)
    usual = "FULL" if order.type in ("MARKET", "LIMIT") else "ACK"
    return answer(order, call.text("newOrderRespType", usual))


def _test(call: Call) -> Json:
    place = call.place()
    check(place, made(call, place))
    return {}


def answer(order: Order, detail: str) -> Json:
    """What the answer to a new order says of it."""
    row = {
        "symbol": order.market.id,
        "orderId": order.id,
        "orderListId": list_id(order),
        "clientOrderId": order.client_id,
        "transactTime": order.updated,
    }
    if detail == "ACK":
        return row
    row |= _figures(order) | {"workingTime": order.created}
    if detail == "FULL":
        row["fills"] = [
            {
                "price": text(t.price),
                "qty": text(t.quantity),
                "commission": text(t.fee),
                "commissionAsset": t.fee_asset,
                "tradeId": t.id,
            }
            for t in order.trades
        ]
    return row | {"selfTradePreventionMode": "EXPIRE_MAKER"}


def _figures(order: Order) -> dict[str, Json]:
    row: dict[str, Json] = {
        "price": text(order.limit or ZERO),
        "origQty": text(order.quantity),
        "executedQty": text(order.filled),
        "origQuoteOrderQty": text(order.quote_quantity),
        "cummulativeQuoteQty": text(order.paid),
        "status": order.status,
        "timeInForce": order.tif,
        "type": order.type,
        "side": order.side,
    }
    return row | {"stopPrice": text(order.stop_price)} if order.stop_price else row


def order_row(order: Order) -> Json:
    """One order as queries show it."""
    head = {
        "symbol": order.market.id,
        "orderId": order.id,
        "orderListId": list_id(order),
        "clientOrderId": order.client_id,
    }
    return {
        **head,
        **_figures(order),
        "stopPrice": text(order.stop_price),
        "icebergQty": text(ZERO),
        "time": order.created,
        "updateTime": order.updated,
        "isWorking": order.stop is None,
        "workingTime": order.created if order.stop is None else -1,
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }


def _query(call: Call) -> Json:
    return order_row(intake.found(call, call.place(), errors.no_order()))


def cancelled(call: Call, place: Place, order: Order) -> Json:
    """Cancel an order; what the answer says of it."""
    place.engine.cancel(order)
    call.world.touched(place)
    row = {
        "symbol": order.market.id,
        "origClientOrderId": order.client_id,
        "orderId": order.id,
        "orderListId": list_id(order),
        "clientOrderId": call.client_id("newClientOrderId"),
        "transactTime": order.updated,
    }
    return row | _figures(order) | {"selfTradePreventionMode": "EXPIRE_MAKER"}


def _cancel(call: Call) -> Json:
    place = call.place()
    return cancelled(call, place, intake.found(call, place, errors.unknown_order()))


def _cancel_all(call: Call) -> Json:
    place = call.place()
    orders = list(call.user.open_orders(SPOT, place.market.id))
    if not orders:
        raise errors.unknown_order()
    return [cancelled(call, place, order) for order in orders if order.is_open]


def _open(call: Call) -> Json:
    name = call.place().market.id if call.params.get("symbol") else None
    return [order_row(order) for order in call.user.open_orders(SPOT, name)]


def _all(call: Call) -> Json:
    return [order_row(order) for order in intake.history(call, call.place())]


def _fills(call: Call) -> Json:
    return [_fill(trade) for trade in intake.fills(call, call.place().market.id)]


def _fill(trade: Trade) -> Json:
    return {
        "symbol": trade.order.market.id,
        "id": trade.id,
        "orderId": trade.order.id,
        "orderListId": list_id(trade.order),
        "price": text(trade.price),
        "qty": text(trade.quantity),
        "quoteQty": text(trade.quote),
        "commission": text(trade.fee),
        "commissionAsset": trade.fee_asset,
        "time": trade.time,
        "isBuyer": trade.order.buys,
        "isMaker": trade.maker,
        "isBestMatch": True,
    }


def _account(call: Call) -> Json:
    wallet = call.user.spot
    names = {name for place in call.world.all(SPOT) for name in (place.market.base, place.market.quote)}
    maker, taker = _rates(call)
    rows = [
        {"asset": name, "free": text(wallet.free[name]), "locked": text(wallet.locked[name])}
        for name in sorted(names | set(wallet.free))
    ]
    if call.flag("omitZeroBalances"):
        rows = [row for row in rows if Decimal(row["free"]) or Decimal(row["locked"])]
    return {
        "makerCommission": int(maker * 10000),
        "takerCommission": int(taker * 10000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {"maker": text(maker), "taker": text(taker), "buyer": text(ZERO), "seller": text(ZERO)},
        "canTrade": True,
        "canWithdraw": True,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": call.now,
        "accountType": "SPOT",
        "balances": rows,
        "permissions": ["SPOT"],
        "uid": 354937868,
    }


def _rates(call: Call) -> tuple[Decimal, Decimal]:
    place = next(iter(call.world.all(SPOT)), None)
    return (ZERO, ZERO) if place is None else (place.market.maker, place.market.taker)


def _fees(call: Call) -> Json:
    listed = [call.place()] if call.params.get("symbol") else call.world.all(SPOT)
    return [
        {"symbol": p.market.id, "makerCommission": f"{p.market.maker:f}", "takerCommission": f"{p.market.taker:f}"}
        for p in listed
    ]


def _commission(call: Call) -> Json:
    market, none = call.place().market, text(ZERO)
    rates = {"maker": text(market.maker), "taker": text(market.taker), "buyer": none, "seller": none}
    nothing = dict.fromkeys(rates, none)
    return {
        "symbol": market.id,
        "standardCommission": rates,
        "specialCommission": nothing,
        "taxCommission": nothing,
        "discount": {
            "enabledForAccount": False,
            "enabledForSymbol": False,
            "discountAsset": "BNB",
            "discount": text(exact(0.75)),
        },
    }


def _listen(call: Call) -> Json:
    return {"listenKey": call.world.listen_key(call.user)}


def _keep(call: Call) -> Json:
    if call.text("listenKey") not in call.world.listen_keys:
        raise errors.Refused(-1125, "This listenKey does not exist.")
    return {}


def _unlisten(call: Call) -> Json:
    _keep(call)
    call.world.forget_listen_key(call.user)
    return {}


ROUTES: dict[tuple[str, str], Route] = {
    ("POST", f"{_API}/order"): Route("spot.order.post", place_one, SIGNED),
    ("POST", f"{_API}/order/test"): Route("spot.order.test", _test, SIGNED),
    ("GET", f"{_API}/order"): Route("spot.order.get", _query, SIGNED, weight=4),
    ("DELETE", f"{_API}/order"): Route("spot.order.delete", _cancel, SIGNED),
    ("GET", f"{_API}/openOrders"): Route("spot.openOrders.get", _open, SIGNED, weight=6),
    ("DELETE", f"{_API}/openOrders"): Route("spot.openOrders.delete", _cancel_all, SIGNED),
    ("GET", f"{_API}/allOrders"): Route("spot.allOrders", _all, SIGNED, weight=20),
    ("GET", f"{_API}/myTrades"): Route("spot.myTrades", _fills, SIGNED, weight=20),
    ("GET", f"{_API}/account"): Route("spot.account", _account, SIGNED, weight=20),
    ("GET", f"{_API}/account/commission"): Route("spot.commission", _commission, SIGNED, weight=20),
    ("GET", f"{_API}/rateLimit/order"): Route("spot.rateLimit", intake.counts, SIGNED, weight=40),
    ("POST", f"{_API}/userDataStream"): Route("spot.listenKey.post", _listen, KEY),
    ("PUT", f"{_API}/userDataStream"): Route("spot.listenKey.put", _keep, KEY),
    ("DELETE", f"{_API}/userDataStream"): Route("spot.listenKey.delete", _unlisten, KEY),
    ("GET", "/sapi/v1/asset/tradeFee"): Route("spot.tradeFee", _fees, SIGNED),
}
