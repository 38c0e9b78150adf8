"""A tiny exchange behind the part of CCXT's interface that real orders use: one contract, whose market orders fill."""

from __future__ import annotations

from typing import Any

import ccxt

SYMBOL = "A/USDT:USDT"


class Fake:
    """Each method fails with the errors in ``fails[NAME]``, once each; ``answer`` is that of an order that arrived."""

    id = "binanceusdm"

    def __init__(self, size: float = 1.0) -> None:
        self.size, self.options, self.has = size, dict[str, Any](), dict[str, bool]()
        self.fails: dict[str, list[Exception]] = {}
        self.calls: list[tuple[str, Any]] = []
        self.orders: dict[str, dict[str, Any]] = {}
        self.trades: list[dict[str, Any]] = []
        self.markets: dict[str, Any] = {SYMBOL: {}, "BNB/USDT:USDT": {}}
        self.contracts: float | list[float] = 0.0

    def _called(self, name: str, given: Any = None) -> None:
        self.calls.append((name, given))
        if self.fails.get(name):
            raise self.fails[name].pop(0)

    def market(self, symbol: str) -> dict[str, Any]:
        return {"id": "AUSDT", "symbol": symbol, "contract": True, "contractSize": self.size, "linear": True}

    def create_order(self, symbol: str, kind: str, side: str, amount: float, price: Any, params: Any) -> Any:
        self._called("create_order", {"amount": amount, "price": price, **params})
        number, apart = str(len(self.orders) + 1), "stopPrice" in params
        order = {"id": number, "clientOrderId": params["clientOrderId"], "side": side, "amount": amount, "info": {}}
        self.orders[number] = order | {"apart": apart, "status": "closed" if kind == "market" and not apart else "open"}
        self._called("answer")
        return order

    def _listed(self, name: str, params: Any) -> list[dict[str, Any]]:
        self._called(name, params)
        return [o for o in self.orders.values() if o["apart"] == bool(params.get("trigger"))]

    def fetch_order(self, number: str | None, symbol: str, params: Any) -> Any:
        for order in self._listed("fetch_order", params):
            if number == order["id"] or params.get("clientOrderId") == order["clientOrderId"]:
                return order
        raise ccxt.OrderNotFound("no such order")

    def fetch_orders(self, symbol: str, since: Any, limit: int, params: Any) -> Any:
        return self._listed("fetch_orders", params)

    def fetch_open_orders(self, symbol: str, since: Any, limit: Any, params: Any) -> Any:
        return [o for o in self._listed("fetch_open_orders", params) if o["status"] == "open"]

    def cancel_order(self, number: str, symbol: str, params: Any) -> None:
        self._called("cancel_order", number)
        self.orders[number]["status"] = "canceled"

    def fetch_my_trades(self, symbol: str, since: int, limit: int, params: Any) -> Any:
        self._called("fetch_my_trades", since)
        return self.trades

    def fetch_ticker(self, symbol: str) -> Any:
        self._called("fetch_ticker", symbol)
        return {"symbol": symbol, "last": 600.0}

    def fetch_balance(self) -> Any:
        self._called("fetch_balance")
        return {"USDT": {"total": 1000.0}}

    def fetch_positions(self, symbols: Any) -> Any:
        self._called("fetch_positions")
        held = self.contracts.pop(0) if isinstance(self.contracts, list) else self.contracts
        one = {"symbol": SYMBOL, "contracts": abs(held), "contractSize": self.size, "entryPrice": 10.0}
        return [one | {"side": "long" if held > 0.0 else "short"}] if held else []

    def load_time_difference(self) -> None:
        self._called("load_time_difference")
