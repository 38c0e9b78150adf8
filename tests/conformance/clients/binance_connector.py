"""binance-connector: coins."""

import json
import queue

from binance.spot import Spot
from binance.websocket.spot.websocket_stream import SpotWebsocketStreamClient
from told import KEY, SECRET, SOCKETS, SPOT, URL, tried

c = Spot(api_key=KEY, api_secret=SECRET, base_url=URL)
tried("markets", lambda: c.exchange_info()["symbols"])
tried("candles", lambda: c.klines(SPOT, "1h", limit=10) and c.ui_klines(SPOT, "1h") and c.rolling_window_ticker(SPOT))
tried("book", lambda: c.depth(SPOT)["bids"] and c.trading_day_ticker(symbol=SPOT) and c.historical_trades(SPOT))
spot = {"symbol": SPOT, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": 1, "price": 50}
mine = tried("place", lambda: c.new_order(**spot)) or {"orderId": 0}
tried("query", lambda: c.get_order(SPOT, orderId=mine["orderId"])["status"] == "NEW" and c.get_order_rate_limit())


def cancel():
    other = c.cancel_and_replace(**spot, cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=mine["orderId"])
    return c.cancel_order(SPOT, orderId=other["newOrderResponse"]["orderId"])["status"] == "CANCELED"


tried("cancel", cancel)
tried("balances", lambda: c.account()["balances"])


def heard(subscribe, wanted, act=lambda: None):
    got = queue.Queue()
    socket = SpotWebsocketStreamClient(stream_url=SOCKETS, on_message=lambda _, text: got.put(json.loads(text)))
    try:
        subscribe(socket)
        act()
        while True:
            message = got.get(timeout=15.0)
            message = message[0] if isinstance(message, list) else message
            if message.get("e") == wanted:
                return message
    finally:
        socket.stop()


tried(
    "streams",
    lambda: heard(lambda s: s.trade(symbol=SPOT), "trade") and heard(lambda s: s.mini_ticker(), "24hrMiniTicker"),
)
key = c.new_listen_key()["listenKey"]
market = {"symbol": SPOT, "side": "BUY", "type": "MARKET", "quantity": 1}
tried("user stream", lambda: heard(lambda s: s.user_data(key), "executionReport", lambda: c.new_order(**market)))
