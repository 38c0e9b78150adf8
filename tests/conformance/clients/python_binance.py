"""python-binance: coins and contracts."""

import asyncio

from binance import AsyncClient, BinanceSocketManager, Client
from told import KEY, LINEAR, SECRET, SOCKETS, SPOT, URL, awaited, tried


def point(kind):
    """Addresses of a class, before anything is made of it."""
    kind.API_URL, kind.FUTURES_URL, kind.FUTURES_DATA_URL = f"{URL}/api", f"{URL}/fapi", f"{URL}/futures/data"
    kind.WS_API_URL, kind.WS_FUTURES_URL = f"{SOCKETS}/ws-api/v3", f"{SOCKETS}/ws-fapi/v1"


point(Client)
point(AsyncClient)
c = Client(KEY, SECRET, ping=False)
tried("markets", lambda: c.get_exchange_info()["symbols"] and c.futures_exchange_info()["symbols"])
tried("candles", lambda: c.get_klines(symbol=SPOT, interval="1h") and c.futures_klines(symbol=LINEAR, interval="1h"))
tried("book", lambda: c.get_order_book(symbol=SPOT)["bids"] and c.futures_order_book(symbol=LINEAR)["bids"])
spot = {"symbol": SPOT, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "50"}
mine = tried(
    "place", lambda: (c.create_order(**spot), c.futures_create_order(**{**spot, "symbol": LINEAR, "price": "80"}))
)
ids = [one["orderId"] for one in mine or ()]
tried(
    "query",
    lambda: (
        c.get_order(symbol=SPOT, orderId=ids[0])["status"] == "NEW"
        and c.futures_get_order(symbol=LINEAR, orderId=ids[1])["status"] == "NEW"
        and len(c.get_open_orders()) == len(c.futures_get_open_orders()) == 1
    ),
)
tried(
    "cancel",
    lambda: (
        c.cancel_order(symbol=SPOT, orderId=ids[0])["status"]
        == c.futures_cancel_order(symbol=LINEAR, orderId=ids[1])["status"]
        == "CANCELED"
    ),
)
tried("balances", lambda: c.get_account()["balances"] and c.futures_account_balance())
c.futures_create_order(symbol=LINEAR, side="BUY", type="MARKET", quantity="1")
tried("positions", lambda: float(c.futures_position_information(symbol=LINEAR)[0]["positionAmt"]) == 1.0)


async def streams():
    client = await AsyncClient.create(KEY, SECRET)
    manager = BinanceSocketManager(client)
    manager.STREAM_URL, manager.FSTREAM_URL = f"{SOCKETS}/", f"{SOCKETS}/"

    async def first(socket):
        async with socket as stream:
            return await stream.recv()

    async def both():
        return (await first(manager.trade_socket(SPOT)))["e"] and await first(
            manager.futures_multiplex_socket([f"{LINEAR.lower()}@aggTrade"])
        )

    await awaited("streams", both())

    async def user():
        async with manager.user_socket() as stream:
            await asyncio.sleep(1.0)
            await client.create_order(symbol=SPOT, side="BUY", type="MARKET", quantity="1")
            while True:
                event = await stream.recv()
                if event and event.get("e") == "executionReport":
                    return event

    await awaited("user stream", user())
    await client.close_connection()


asyncio.run(streams())
