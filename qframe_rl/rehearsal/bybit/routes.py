"""Everything that can be asked over REST."""

from __future__ import annotations

from qframe_rl.rehearsal.bybit import account, market, orders
from qframe_rl.rehearsal.wire.call import SIGNED, Route

_V5 = "/v5"
# A name with {} is of the category that the request states: spot or linear.
ROUTES: dict[tuple[str, str], Route] = {
    ("GET", f"{_V5}/market/time"): Route("time", market.clock),
    ("GET", f"{_V5}/market/instruments-info"): Route("{}.instruments", market.instruments),
    ("GET", f"{_V5}/market/kline"): Route("{}.klines", market.klines),
    ("GET", f"{_V5}/market/mark-price-kline"): Route("{}.markPriceKlines", market.mark_klines),
    ("GET", f"{_V5}/market/index-price-kline"): Route("{}.indexPriceKlines", market.mark_klines),
    ("GET", f"{_V5}/market/orderbook"): Route("{}.depth", market.book),
    ("GET", f"{_V5}/market/tickers"): Route("{}.ticker", market.tickers),
    ("GET", f"{_V5}/market/funding/history"): Route("{}.fundingRate", market.rates),
    ("GET", f"{_V5}/market/recent-trade"): Route("{}.trades", market.trades),
    ("GET", f"{_V5}/market/open-interest"): Route("{}.openInterest", market.open_interest),
    ("GET", f"{_V5}/market/risk-limit"): Route("{}.riskLimit", market.risk_limits),
    ("POST", f"{_V5}/order/create"): Route("{}.order.post", orders.create, SIGNED),
    ("POST", f"{_V5}/order/create-batch"): Route("{}.orders.post", orders.create_batch, SIGNED),
    ("POST", f"{_V5}/order/amend"): Route("{}.order.put", orders.amend, SIGNED),
    ("POST", f"{_V5}/order/amend-batch"): Route("{}.orders.put", orders.amend_batch, SIGNED),
    ("POST", f"{_V5}/order/cancel"): Route("{}.order.delete", orders.cancel, SIGNED),
    ("POST", f"{_V5}/order/cancel-batch"): Route("{}.orders.delete", orders.cancel_batch, SIGNED),
    ("POST", f"{_V5}/order/cancel-all"): Route("{}.openOrders.delete", orders.cancel_all, SIGNED),
    ("POST", f"{_V5}/order/disconnected-cancel-all"): Route("disconnected", orders.disconnected, SIGNED),
    ("GET", f"{_V5}/order/realtime"): Route("{}.order.get", orders.realtime, SIGNED),
    ("GET", f"{_V5}/order/history"): Route("{}.allOrders", orders.history, SIGNED),
    ("GET", f"{_V5}/execution/list"): Route("{}.myTrades", orders.executions, SIGNED),
    ("GET", f"{_V5}/position/list"): Route("{}.positions", account.positions, SIGNED),
    ("POST", f"{_V5}/position/set-leverage"): Route("{}.leverage", account.set_leverage, SIGNED),
    ("POST", f"{_V5}/position/switch-mode"): Route("{}.positionMode", account.switch_mode, SIGNED),
    ("POST", f"{_V5}/position/switch-isolated"): Route("{}.marginMode", account.switch_isolated, SIGNED),
    ("GET", f"{_V5}/account/wallet-balance"): Route("balance", account.balances, SIGNED),
    ("GET", f"{_V5}/account/info"): Route("account", account.info, SIGNED),
    ("GET", f"{_V5}/account/fee-rate"): Route("{}.commission", account.fees, SIGNED),
    ("GET", f"{_V5}/user/query-api"): Route("key", account.key, SIGNED),
    ("GET", f"{_V5}/asset/coin/query-info"): Route("coins", account.coins, SIGNED),
}
NOT_LISTED = ("inverse", "option")
"""Categories of which this exchange has nothing."""
