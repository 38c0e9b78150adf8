"""binance-sdk-derivatives-trading-usds-futures: contracts."""

import asyncio

from binance_common.configuration import ConfigurationRestAPI, ConfigurationWebSocketStreams
from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
    DerivativesTradingUsdsFutures,
)
from told import KEY, LINEAR, SECRET, SOCKETS, URL, awaited, tried

made = DerivativesTradingUsdsFutures(
    config_rest_api=ConfigurationRestAPI(api_key=KEY, api_secret=SECRET, base_path=URL, timeout=5000),
    config_ws_streams=ConfigurationWebSocketStreams(stream_url=SOCKETS),
)
c = made.rest_api
tried("markets", lambda: c.exchange_information().data().symbols)
tried(
    "candles",
    lambda: (
        c.kline_candlestick_data(LINEAR, "1h").data()
        and c.continuous_contract_kline_candlestick_data(LINEAR, "PERPETUAL", "1h").data()
        and c.premium_index_kline_data(LINEAR, "1h").data()
        and c.long_short_ratio(LINEAR, "1h").data()
    ),
)
tried("book", lambda: c.order_book(LINEAR).data().bids and c.old_trades_lookup(LINEAR).data())
order = {"symbol": LINEAR, "side": "BUY", "type": "LIMIT", "time_in_force": "GTC", "quantity": 1.0, "price": 80.0}
mine = tried("place", lambda: c.new_order(**order).data().order_id)
tried("query", lambda: c.query_order(LINEAR, order_id=mine).data().status == "NEW" and c.query_user_rate_limit().data())


def cancel():
    c.modify_order(symbol=LINEAR, side="BUY", quantity=1.0, price=81.0, order_id=mine)
    return c.cancel_order(LINEAR, order_id=mine).data().status == "CANCELED"


tried("cancel", cancel)
tried("balances", lambda: c.futures_account_balance_v3().data())
c.new_order(symbol=LINEAR, side="BUY", type="MARKET", quantity=1.0)
tried("positions", lambda: c.position_information_v3().data()[0].position_amt)


async def main():
    loop = asyncio.get_running_loop()

    async def heard(subscribe, act=lambda: None):
        got = loop.create_future()
        connection = await made.websocket_streams.create_connection()
        handle = await subscribe(connection)
        handle.on("message", lambda data: got.done() or got.set_result(data))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(act)
        try:
            return await got
        finally:
            await connection.close_connection(close_session=True)

    await awaited("streams", heard(lambda s: s.aggregate_trade_streams(symbol=LINEAR.lower())))
    key = c.start_user_data_stream().data().listen_key
    buy = {"symbol": LINEAR, "side": "BUY", "type": "MARKET", "quantity": 1.0}
    await awaited("user stream", heard(lambda s: s.user_data(key), lambda: c.new_order(**buy)))


asyncio.run(main())
