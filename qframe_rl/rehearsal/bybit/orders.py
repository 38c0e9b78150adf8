"""Orders and fills."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from qframe_rl.rehearsal import amend as changes
from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.book import BUY, SELL
from qframe_rl.rehearsal.bybit import refusals
from qframe_rl.rehearsal.bybit.market import listing
from qframe_rl.rehearsal.bybit.rows import fill_row, funding_row, kind, order_row
from qframe_rl.rehearsal.decimals import ZERO, on_grid
from qframe_rl.rehearsal.market import SPOT, USDM
from qframe_rl.rehearsal.order import EXPIRED, Order
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.wire.call import Call, Json
from qframe_rl.rehearsal.wire.filters import BAND, MAX_QUANTITY

T = TypeVar("T")
_SIDES = {"Buy": BUY, "Sell": SELL}
_MAX_OPEN = 500
_RECENT = 500
_WEEK_MS = 7 * 86_400_000
_TIFS = ("GTC", "IOC", "FOK", "PostOnly")


def _made(call: Call, place: Place) -> Order:
    """The order that a request states, before it is accepted."""
    side, sort = call.text("side"), call.text("orderType")
    if side not in _SIDES or sort not in ("Market", "Limit"):
        raise refusals.params("side or orderType invalid")
    if call.text("positionIdx", "0") != "0":
        raise errors.Refused(10001, "position idx not match position mode")
    for name in ("takeProfit", "stopLoss"):
        if call.number(name, ZERO):
            raise refusals.params(f"{name} is not played by the rehearsal exchange")
    market = sort == "Market"
    tif = "IOC" if market else call.text("timeInForce", "GTC")
    if tif not in _TIFS:
        raise refusals.params("timeInForce invalid")
    by_quote = place.market.wire == SPOT and market and _in_quote(call, side)
    quantity = call.number("qty")
    order = Order(
        account=call.user,
        market=place.market,
        side=_SIDES[side],
        type=sort.upper(),
        quantity=ZERO if by_quote else quantity,
        limit=None if market else call.number("price"),
        tif="GTC" if tif == "PostOnly" or market else tif,
        client_id=_fresh_id(call, place),
        quote_quantity=quantity if by_quote else ZERO,
        post_only=tif == "PostOnly",
        reduce_only=place.market.wire == USDM and call.flag("reduceOnly"),
        original_type="",
    )
    if call.params.get("triggerPrice") and call.number("triggerPrice"):
        _trigger(call, place, order)
    return order


def _in_quote(call: Call, side: str) -> bool:
    """Whether the quantity of a market order is money."""
    return call.text("marketUnit", "quoteCoin" if side == "Buy" else "baseCoin") == "quoteCoin"


def _trigger(call: Call, place: Place, order: Order) -> None:
    """Let an order wait for a price."""
    price, last = call.number("triggerPrice"), place.engine.price
    order.stop = order.stop_price = price
    order.by_mark = call.text("triggerBy", "LastPrice") == "MarkPrice"
    if place.market.wire == SPOT:
        order.original_type = call.text("orderFilter", "StopOrder")
        order.rises = price >= last
        return
    direction = call.whole("triggerDirection", 0)
    if direction not in (1, 2):
        raise refusals.params("triggerDirection invalid")
    order.rises = direction == 1
    if place.engine.triggered(order):
        way, code, sign = ("Rising", 110092, "<=") if order.rises else ("Falling", 110093, ">=")
        raise errors.Refused(code, f"expect {way}, but trigger_price[{price:f}] {sign} current[{last:f}]")


def _fresh_id(call: Call, place: Place) -> str:
    """A link id that no order of the account ever had; none is none."""
    name = call.params.get("orderLinkId", "")
    if len(name) > 36:
        raise refusals.params("orderLinkId is longer than 36")
    if name and call.user.by_client(place.market.wire, place.market.id, name) is not None:
        raise refusals.duplicate(place.market.wire)
    return name


def _check(place: Place, order: Order) -> None:
    """Hold an order against its market's rules."""
    market, spot = place.market, place.market.wire == SPOT
    for price in (order.limit, order.stop):
        if price is None:
            continue
        if price <= 0 or not on_grid(price, market.tick):
            text = "Order price has too many decimals."
            raise errors.Refused(170134, text) if spot else refusals.params("price invalid")
        if not place.engine.price / BAND <= price <= place.engine.price * BAND:
            code = 170132 if spot else 110003
            raise errors.Refused(code, "Order price is out of permissible range.")
    size = order.quantity
    if not order.quote_quantity:
        if size < market.lot:
            raise (
                errors.Refused(170136, "Order quantity lower than the minimum.")
                if spot
                else refusals.params("The number of contracts exceeds minimum limit allowed")
            )
        if not on_grid(size, market.lot):
            text = "Order quantity has too many decimals."
            raise errors.Refused(170137, text) if spot else refusals.params("Qty invalid")
        if size > MAX_QUANTITY:
            raise refusals.params("The number of contracts exceeds maximum limit allowed: too large")
    price = order.limit or order.stop or place.engine.price
    if not order.reduce_only and (order.quote_quantity or price * size) < market.min_notional:
        if spot:
            raise errors.Refused(170140, "Order value exceeded lower limit.")
        raise errors.Refused(110094, f"Order does not meet minimum order value {market.min_notional:f}{market.quote}")


def create(call: Call) -> Json:
    """Place an order. What must not take or cannot fill at once is accepted and ends, as the venue does it."""
    place = call.place()
    order = _made(call, place)
    _check(place, order)
    if sum(1 for _ in call.user.open_orders(call.wire, place.market.id)) >= _MAX_OPEN:
        code = 170210 if call.wire == SPOT else 110020
        raise errors.Refused(code, "Not allowed to have more than 500 active orders")
    engine = place.engine
    if engine.row < 0 or engine.halted:
        raise refusals.CLOSED_SPOT if call.wire == SPOT else errors.closed(USDM)
    reason = "" if order.stop is not None else _hopeless(place, order)
    if reason:
        order.reason = reason
        engine.accept(order)
        engine.close(order, EXPIRED)
    elif order.stop is None:
        engine.place(order)
    elif call.wire == SPOT:
        engine.place_stop(order)
    else:
        # What waits for its trigger is margined when it is met.
        engine.accept(order)
        engine.wait(order, lambda: engine.fire(order))
    call.world.touched(place)
    return _named(order)


def _hopeless(place: Place, order: Order) -> str:
    """Why an order would end at once; empty if it would not."""
    if not order.post_only and order.tif != "FOK":
        return ""
    taking = place.engine.matches(order)
    if order.post_only:
        return "EC_PostOnlyWillTakeLiquidity" if place.engine.takes(order, taking) else ""
    enough = sum((offer.quantity for offer in taking), ZERO) >= order.quantity
    return "" if enough else "EC_NoImmediateQtyToFill"


def _named(order: Order) -> Json:
    return {"orderId": str(order.id), "orderLinkId": order.client_id}


def _found(call: Call) -> Order:
    """The order that ``orderId`` or ``orderLinkId`` names, of any status."""
    if call.params.get("orderId"):
        number = call.text("orderId")
        order = call.user.orders[call.wire].get(int(number)) if number.isdecimal() else None
    elif call.params.get("orderLinkId"):
        order = call.user.by_client(call.wire, call.place().market.id, call.text("orderLinkId"))
    else:
        raise refusals.params("orderId or orderLinkId is needed")
    if order is None or (call.params.get("symbol") and order.market.id != call.text("symbol")):
        raise refusals.not_found(call.wire)
    return order


def amend(call: Call) -> Json:
    """Give an order that waits another price, quantity or trigger."""
    place, order = call.place(), _found(call)
    if not order.is_open:
        raise refusals.not_found(call.wire)
    price = call.number("price", order.limit or ZERO)
    quantity, trigger = call.number("qty", order.quantity), call.number("triggerPrice", order.stop_price)
    if (price, quantity, trigger) == (order.limit or ZERO, order.quantity, order.stop_price):
        raise errors.Refused(10001, "The order remains unchanged as the parameters entered match the existing ones.")
    limit, stop = (None if order.limit is None else price), (None if order.stop is None else trigger)
    _check(place, replace(order, limit=limit, quantity=quantity, stop=stop))
    if order.stop is not None:
        changes.restate(place.engine, order, price, quantity, trigger)
    elif order.limit is not None:
        changes.modify(place.engine, order, price, quantity)
    call.world.touched(place)
    return _named(order)


def _take_back(call: Call, order: Order) -> Json:
    place = call.world.place(call.wire, order.market.id)
    place.engine.cancel(order)
    call.world.touched(place)
    return _named(order)


def cancel(call: Call) -> Json:
    """Cancel an order."""
    call.place()
    order = _found(call)
    if not order.is_open or not _filtered(call, order):
        raise refusals.not_found(call.wire)
    return _take_back(call, order)


def _filtered(call: Call, order: Order) -> bool:
    """Whether an order is of the sort that ``orderFilter`` names."""
    wanted = call.text("orderFilter", "")
    if not wanted:
        return True
    sort = kind(order)
    return not sort if wanted == "Order" else bool(sort) if call.wire == USDM else sort == wanted


def _scope(call: Call) -> Callable[[Order], bool]:
    """Which markets a request is about."""
    if call.params.get("symbol"):
        name = call.place().market.id
        return lambda order: order.market.id == name
    if call.params.get("settleCoin"):
        coin = call.text("settleCoin")
        return lambda order: order.market.quote == coin
    if call.params.get("baseCoin"):
        base = call.text("baseCoin")
        return lambda order: order.market.base == base
    if call.wire == USDM:
        raise refusals.params("Missing some parameters that must be filled in, symbol or settleCoin or baseCoin")
    return lambda order: True


def cancel_all(call: Call) -> Json:
    """Cancel everything; of coins only what is not conditional, unless that is asked for."""
    if call.wire == SPOT and not call.params.get("orderFilter"):
        call = call.with_params({"orderFilter": "Order"})
    within = _scope(call)
    found = [o for o in call.user.open_orders(call.wire) if within(o) and _filtered(call, o)]
    return {"list": [_take_back(call, order) for order in found if order.is_open], "success": "1"}


def realtime(call: Call) -> Json:
    """Orders that are open; one that is named, or ``openOnly=1``, also of the last that are done."""
    within = _scope(call) if not call.params.get("orderId") else lambda order: True
    every = list(call.user.orders[call.wire].values())
    found: Iterable[Order]
    if call.params.get("orderId") or call.params.get("orderLinkId"):
        found = [o for o in every[-_RECENT:] if _is(call, o)] or [o for o in every if o.is_open and _is(call, o)]
    elif call.text("openOnly", "0") == "0":
        found = [o for o in every if o.is_open]
    else:
        found = [o for o in every[-_RECENT:] if not o.is_open]
    rows = [order_row(o) for o in reversed(list(found)) if within(o) and _filtered(call, o)]
    return _page(call, rows, 20, 50)


def _is(call: Call, order: Order) -> bool:
    number, name = call.text("orderId", ""), call.text("orderLinkId", "")
    return (not number or str(order.id) == number) and (not name or order.client_id == name)


def history(call: Call) -> Json:
    """Orders that are done, the latest first, seven days at a time."""
    within = _scope(call) if call.params.get("symbol") else lambda order: True
    since, until = _week(call)
    wanted = call.text("orderStatus", "")
    rows = [
        row
        for order in reversed(call.user.orders[call.wire].values())
        if not order.is_open and since <= order.created <= until and within(order)
        if _filtered(call, order) and _is(call, order)
        for row in [order_row(order)]
        if not wanted or row["orderStatus"] == wanted
    ]
    return _page(call, rows, 20, 50)


def _week(call: Call) -> tuple[int, int]:
    """Begin and end of what is asked for: seven days at most, the last ones where neither is stated."""
    if call.params.get("startTime"):
        since = call.whole("startTime")
        until = call.whole("endTime", since + _WEEK_MS)
    else:
        until = call.whole("endTime", call.now)
        since = until - _WEEK_MS
    if until - since > _WEEK_MS:
        raise refusals.params("the time range between startTime and endTime must be no more than 7 days")
    return since, until


def _page(call: Call, rows: list[Json], usual: int, most: int) -> Json:
    """A page of rows; the cursor says where the next one begins."""
    cursor, limit = call.whole("cursor", 0), call.limit(usual, most)
    further = str(cursor + limit) if cursor + limit < len(rows) else ""
    return listing(call, rows[cursor : cursor + limit], further)


def executions(call: Call) -> Json:
    """Fills and settlements of funding, the latest first, seven days at a time."""
    since, until = _week(call)
    wanted, name = call.text("execType", ""), call.text("symbol", "")
    number, link = call.text("orderId", ""), call.text("orderLinkId", "")
    told = [
        (trade.time, fill_row(trade))
        for trade in call.user.trades[call.wire]
        if (not number or str(trade.order.id) == number) and (not link or trade.order.client_id == link)
    ]
    if call.wire == USDM and not number and not link:
        told += [(line.time, funding_row(line)) for line in call.user.margin.incomes if line.kind == "FUNDING_FEE"]
    rows = [
        row
        for time, row in sorted(told, key=lambda one: (one[0], one[1]["seq"]), reverse=True)
        if since <= time <= until and (not wanted or row["execType"] == wanted) and (not name or row["symbol"] == name)
    ]
    return _page(call, rows, 50, 100)


def _batch(call: Call, act: Callable[[Call], Json]) -> tuple[Json, Json]:
    """Do something with each of several orders; what came of each is told beside."""
    results, notes = [], []
    for part in call.objects("request")[:20]:
        one = call.with_params({key: _plain(value) for key, value in part.items()})
        try:
            results.append({"category": call.text("category"), "symbol": one.text("symbol"), **act(one)})
            notes.append({"code": 0, "msg": "OK"})
        except errors.Refused as refusal:
            code, text = refusals.told(refusal, call.wire)
            empty = {"orderId": "", "orderLinkId": one.text("orderLinkId", ""), "createAt": ""}
            results.append({"category": call.text("category"), "symbol": one.text("symbol"), **empty})
            notes.append({"code": code, "msg": text})
    return {"list": results}, {"list": notes}


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def create_batch(call: Call) -> tuple[Json, Json]:
    """Place several orders."""
    return _batch(call, create)


def amend_batch(call: Call) -> tuple[Json, Json]:
    """Change several orders."""
    return _batch(call, amend)


def cancel_batch(call: Call) -> tuple[Json, Json]:
    """Cancel several orders."""
    return _batch(call, cancel)


def disconnected(call: Call) -> Json:
    """Set the seconds after which a lost private websocket cancels everything."""
    window = call.whole("timeWindow")
    if not 3 <= window <= 300:
        raise refusals.params("timeWindow must be 3 to 300 seconds")
    call.user.cancels_after_s = window
    return {}
