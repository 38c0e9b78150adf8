"""binance-sdk-spot: coins."""

import asyncio

from binance_common.configuration import (
    ConfigurationRestAPI,
    ConfigurationWebSocketAPI,
    ConfigurationWebSocketStreams,
)
from binance_sdk_spot.spot import Spot
from told import KEY, SECRET, SOCKETS, SPOT, URL, awaited, tried

made = Spot(
    config_rest_api=ConfigurationRestAPI(api_key=KEY, api_secret=SECRET, base_path=URL, timeout=5000),
    config_ws_api=ConfigurationWebSocketAPI(api_key=KEY, api_secret=SECRET, stream_url=f"{SOCKETS}/ws-api/v3"),
    config_ws_streams=ConfigurationWebSocketStreams(stream_url=SOCKETS),
)
c = made.rest_api
tried("markets", lambda: c.exchange_info(symbol=SPOT).data().symbols)
tried("candles", lambda: c.klines(SPOT, "1h").data() and c.ticker(symbol=SPOT, window_size="1h").data())
tried("book", lambda: c.depth(SPOT).data().bids and c.historical_trades(SPOT).data())
order = {"symbol": SPOT, "side": "BUY", "type": "LIMIT", "time_in_force": "GTC", "quantity": 1.0, "price": 50.0}
mine = tried("place", lambda: c.new_order(**order).data().order_id)
tried("query", lambda: c.get_order(SPOT, order_id=mine).data().status == "NEW" and c.rate_limit_order().data())


def cancel():
    c.order_amend_keep_priority(SPOT, new_qty=0.5, order_id=mine)
    return c.delete_order(SPOT, order_id=mine).data().status == "CANCELED"


tried("cancel", cancel)
tried("balances", lambda: c.get_account().data().balances)


async def main():
    loop = asyncio.get_running_loop()

    async def stream():
        got = loop.create_future()
        connection = await made.websocket_streams.create_connection()
        handle = await connection.trade(symbol=SPOT.lower())
        handle.on("message", lambda data: got.done() or got.set_result(data))
        try:
            return await got
        finally:
            await connection.close_connection(close_session=True)

    await awaited("streams", stream())

    async def user():
        got = loop.create_future()
        connection = await made.websocket_api.create_connection()
        said = await connection.user_data_stream_subscribe_signature()
        said.stream.on("message", lambda data: got.done() or got.set_result(data))
        await connection.order_place(symbol=SPOT, side="BUY", type="MARKET", quantity=1.0)
        try:
            return await got
        finally:
            await connection.close_connection(close_session=True)

    await awaited("user stream", user())


asyncio.run(main())
