"""An account: one API key, a spot wallet, a futures wallet, and all orders ever sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qframe_rl.rehearsal.decimals import short
from qframe_rl.rehearsal.margin import MarginWallet
from qframe_rl.rehearsal.market import SPOT
from qframe_rl.rehearsal.order import Algo, OcoPair, Order, Trade
from qframe_rl.rehearsal.spot import SpotWallet


class ExchangeAccount:
    """Everything that belongs to one API key.

    Parameters
    ----------
    key, secret
        Its credentials.
    spot, margin
        Its wallets.
    """

    def __init__(self, key: str, secret: str, spot: SpotWallet, margin: MarginWallet):
        self.key, self.secret = key, secret
        self.spot, self.margin = spot, margin
        self.revoked = False
        self.cancels_after_s: int | None = None
        """Wall seconds after which a lost private websocket cancels every order, where the protocol has that."""
        self.orders: dict[str, dict[int, Order]] = {"spot": {}, "usdm": {}}
        self.trades: dict[str, list[Trade]] = {"spot": [], "usdm": []}
        self.algos: dict[int, Algo] = {}
        self.pairs: dict[int, OcoPair] = {}
        self._open: dict[str, dict[int, Order]] = {"spot": {}, "usdm": {}}
        self._by_client: dict[tuple[str, str, str], Order] = {}

    def wallet(self, wire: str) -> SpotWallet | MarginWallet:
        """Wallet that pays on a wire."""
        return self.spot if wire == SPOT else self.margin

    def add(self, order: Order) -> None:
        """Take in an order that was accepted."""
        wire = order.market.wire
        self.orders[wire][order.id] = order
        self._open[wire][order.id] = order
        self._by_client[wire, order.market.id, order.client_id] = order

    def rename(self, order: Order, client_id: str) -> None:
        """Let an order go on under another client order id; it is still found by the old one."""
        order.client_id = client_id
        self._by_client[order.market.wire, order.market.id, client_id] = order

    def settle(self, order: Order) -> None:
        """Forget that an order was open."""
        self._open[order.market.wire].pop(order.id, None)

    def open_orders(self, wire: str, market_id: str | None = None) -> Iterator[Order]:
        """Open orders, the oldest first."""
        return (o for o in list(self._open[wire].values()) if market_id is None or o.market.id == market_id)

    def by_client(self, wire: str, market_id: str, client_id: str) -> Order | None:
        """The latest order with a client order id."""
        return self._by_client.get((wire, market_id, client_id))

    def truth(self) -> dict[str, Any]:
        """All that is so, as plain data."""
        return {
            "spot": {
                "free": {k: short(v) for k, v in sorted(self.spot.free.items())},
                "locked": {k: short(v) for k, v in sorted(self.spot.locked.items())},
            },
            "usdm": {
                "wallet": {k: short(v) for k, v in sorted(self.margin.wallet.items())},
                "positions": {k: short(p.amount) for k, p in sorted(self.margin.positions.items()) if p.amount},
                "entry": {k: short(p.cost) for k, p in sorted(self.margin.positions.items()) if p.amount},
                "funding": short(self.margin.funding_paid),
            },
            "orders": {wire: [_order(o) for o in orders.values()] for wire, orders in self.orders.items()},
            "algos": [_algo(a) for a in self.algos.values()],
            "trades": {wire: [_trade(t) for t in trades] for wire, trades in self.trades.items()},
        }


def _order(order: Order) -> dict[str, Any]:
    return {
        "id": order.id,
        "client": order.client_id,
        "symbol": order.market.id,
        "side": order.side,
        "type": order.type,
        "status": order.status,
        "quantity": short(order.quantity),
        "filled": short(order.filled),
        "paid": short(order.paid),
        "created": order.created,
    }


def _algo(algo: Algo) -> dict[str, Any]:
    told = {"id": algo.id, "client": algo.client_id, "symbol": algo.order.market.id, "status": algo.status}
    return told | {"type": algo.order.original_type, "placed": None if algo.placed is None else algo.placed.id}


def _trade(trade: Trade) -> dict[str, Any]:
    return {
        "id": trade.id,
        "order": trade.order.id,
        "symbol": trade.order.market.id,
        "side": trade.order.side,
        "time": trade.time,
        "price": short(trade.price),
        "quantity": short(trade.quantity),
        "fee": short(trade.fee),
        "fee_asset": trade.fee_asset,
        "maker": trade.maker,
    }
