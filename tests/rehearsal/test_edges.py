"""Requests that cannot be read are refused in words, and before the first trade nothing is told of later ones."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import aiohttp
import ccxt
import pytest

from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, listed, serve
from qframe_rl.rehearsal.clock import VirtualClock
from qframe_rl.rehearsal.wire import quotes
from qframe_rl.rehearsal.wire.streams import Hub
from qframe_rl.rehearsal.world import World
from tests.rehearsal.conftest import HOUR, PERP, markets, run

SIGNED = {"apiKey": "rehearsal", "secret": "rehearsal-secret"}


def asked(ex: Rehearsal, method: str, path: str, body: str = "", **params: Any) -> tuple[int, Any]:
    """Status and answer of a request that is signed as Binance wants it."""
    query = urlencode(params | {"timestamp": ex.now_ms})
    sign = hmac.new(SIGNED["secret"].encode(), query.encode(), "sha256").hexdigest()
    url = f"{ex.url}{path}" if path.startswith("/rehearsal/") else f"{ex.url}{path}?{query}&signature={sign}"
    request = Request(url, body.encode() or None, {"X-MBX-APIKEY": SIGNED["apiKey"]}, method=method)
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("POST", "/fapi/v1/batchOrders", {"batchOrders": "5"}),
        ("POST", "/fapi/v1/batchOrders", {"batchOrders": "[1]"}),
        ("POST", "/fapi/v1/batchOrders", {"batchOrders": "{"}),
        ("DELETE", "/fapi/v1/batchOrders", {"symbol": "SYN0USDT", "orderIdList": "5"}),
        ("GET", "/api/v3/ticker/24hr", {"symbols": "5"}),
    ],
)
def test_a_list_that_is_none_is_refused(ex: Rehearsal, method: str, path: str, params: dict[str, str]) -> None:
    status, told = asked(ex, method, path, **params)
    assert (status, told["code"]) == (400, -1102)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/rehearsal/advance", "[1]"),
        ("POST", "/rehearsal/advance", "{"),
        ("GET", "/rehearsal/log?since=x", ""),
    ],
)
def test_the_control_says_what_it_cannot_read(ex: Rehearsal, method: str, path: str, body: str) -> None:
    status, told = asked(ex, method, path, body)
    assert (status, list(told)) == (400, ["error"])


async def answered(url: str, request: Any) -> Any:
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_json(request)
        return await socket.receive_json(timeout=5.0)


def test_websockets_say_what_they_cannot_read(ex: Rehearsal) -> None:
    url = ex.url.replace("http", "ws")
    told = run(lambda: answered(f"{url}/ws-api/v3", {"id": 1, "method": "order.place", "params": [1]}))
    assert (told["status"], told["error"]["code"]) == (400, -1102)
    with serve(markets(), RehearsalConfig(protocol="bybit"), start_ms=markets()[0].first_ms + HOUR) as by:
        url = by.url.replace("http", "ws")
        for args in (5, {"a": 1}, [7]):
            told = run(lambda args=args: answered(f"{url}/v5/trade", {"op": "order.create", "args": args}))
            assert told["retCode"] == 10003
            told = run(lambda args=args: answered(f"{url}/v5/trade", {"op": "auth", "args": args}))
            assert told["retMsg"] == "API key is invalid."
        assert run(lambda: answered(f"{url}/v5/trade", {"op": [], "args": 5}))["success"] is False


def test_before_the_first_trade_the_days_figures_are_of_none() -> None:
    history = synthetic("regimes", n_bars=50)
    values = history.values.copy()
    values[:3, :, :4], values[:3, :, 4] = 100.0, 0.0
    still = listed(replace(history, values=values))
    world = World(still, RehearsalConfig(), VirtualClock(still[0].first_ms, still[0].last_ms, 0.0))
    place = world.place("usdm", still[0].id)
    day = quotes.day(place, world.now)
    assert (day.open, day.high, day.low, day.close) == (100.0, 100.0, 100.0, 100.0)
    assert (day.volume, day.quote, day.trades, day.first_id) == (0.0, 0.0, 0, -1)
    row = Hub(world)._told_one(place, "miniTicker")
    assert (float(row["c"]), float(row["v"])) == (100.0, 0.0)


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"price": "0"}, "price invalid"), ({"qty": "0"}, "minimum limit"), ({"price": "1000000"}, "permissible range")],
)
def test_what_could_not_be_placed_is_not_made_of_an_order(changed: dict[str, str], says: str) -> None:
    with serve(markets(), RehearsalConfig(protocol="bybit"), start_ms=markets()[0].first_ms + 100 * HOUR) as by:
        client = by.point(ccxt.bybit({"timeout": 2000, "options": {"defaultType": "swap"}}))
        client.load_markets()
        client.load_time_difference()
        price = float(client.price_to_precision(PERP, client.fetch_ticker(PERP)["last"] * 0.9))
        order = client.create_order(PERP, "limit", "buy", 1.0, price)
        with pytest.raises(ccxt.BaseError, match=says):
            client.privatePostV5OrderAmend(
                {"category": "linear", "symbol": "SYN0USDT", "orderId": order["id"], **changed}
            )
        (still,) = client.fetch_open_orders(PERP)
        assert (still["amount"], still["price"]) == (1.0, price)
        client.session.close()
