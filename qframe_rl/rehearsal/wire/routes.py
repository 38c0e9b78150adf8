"""Everything that can be asked, over REST and over the websocket API."""

from __future__ import annotations

from qframe_rl.rehearsal.wire import (
    algos,
    spot_changes,
    spot_market,
    spot_orders,
    spot_pairs,
    usdm_account,
    usdm_market,
    usdm_orders,
)
from qframe_rl.rehearsal.wire.call import Route

ROUTES: dict[tuple[str, str], Route] = {
    **spot_market.ROUTES,
    **spot_orders.ROUTES,
    **spot_changes.ROUTES,
    **spot_pairs.ROUTES,
    **usdm_market.ROUTES,
    **usdm_orders.ROUTES,
    **usdm_account.ROUTES,
    **algos.ROUTES,
}
_SPOT = {
    "ping": "GET ping",
    "time": "GET time",
    "exchangeInfo": "GET exchangeInfo",
    "depth": "GET depth",
    "trades.recent": "GET trades",
    "trades.aggregate": "GET aggTrades",
    "trades.historical": "GET historicalTrades",
    "klines": "GET klines",
    "uiKlines": "GET uiKlines",
    "avgPrice": "GET avgPrice",
    "ticker.24hr": "GET ticker/24hr",
    "ticker.price": "GET ticker/price",
    "ticker.book": "GET ticker/bookTicker",
    "ticker": "GET ticker",
    "ticker.tradingDay": "GET ticker/tradingDay",
    "order.place": "POST order",
    "order.test": "POST order/test",
    "order.cancelReplace": "POST order/cancelReplace",
    "order.amend.keepPriority": "PUT order/amend/keepPriority",
    "order.amendments": "GET order/amendments",
    "orderList.place": "POST order/oco",
    "orderList.place.oco": "POST orderList/oco",
    "orderList.status": "GET orderList",
    "orderList.cancel": "DELETE orderList",
    "openOrderLists.status": "GET openOrderList",
    "allOrderLists": "GET allOrderList",
    "account.rateLimits.orders": "GET rateLimit/order",
    "order.status": "GET order",
    "order.cancel": "DELETE order",
    "openOrders.status": "GET openOrders",
    "openOrders.cancelAll": "DELETE openOrders",
    "allOrders": "GET allOrders",
    "myTrades": "GET myTrades",
    "account.status": "GET account",
    "account.commission": "GET account/commission",
}
_USDM = {
    "depth": "GET v1/depth",
    "ticker.price": "GET v1/ticker/price",
    "ticker.book": "GET v1/ticker/bookTicker",
    "order.place": "POST v1/order",
    "order.status": "GET v1/order",
    "order.modify": "PUT v1/order",
    "order.cancel": "DELETE v1/order",
    "algoOrder.place": "POST v1/algoOrder",
    "algoOrder.cancel": "DELETE v1/algoOrder",
    "account.balance": "GET v2/balance",
    "v2/account.balance": "GET v2/balance",
    "account.status": "GET v2/account",
    "v2/account.status": "GET v3/account",
    "account.position": "GET v2/positionRisk",
    "v2/account.position": "GET v3/positionRisk",
}


def _linked(methods: dict[str, str], prefix: str) -> dict[str, Route]:
    found = {}
    for method, target in methods.items():
        verb, path = target.split(" ")
        found[method] = ROUTES[verb, f"{prefix}/{path}"]
    return found


API: dict[str, dict[str, Route]] = {"spot": _linked(_SPOT, "/api/v3"), "usdm": _linked(_USDM, "/fapi")}
"""Methods of the websocket API by wire."""


def wire_of(path: str) -> str:
    """Wire that a REST path belongs to."""
    return "usdm" if path.startswith(("/fapi/", "/dapi/", "/futures/")) else "spot"
