"""Orders that are changed or come in pairs, and the rest of what genuine clients ask Binance for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import ccxt
import pytest

from qframe_rl.rehearsal import Rehearsal
from qframe_rl.rehearsal.wire import filters
from tests.rehearsal.conftest import COIN, HOUR, PERP, markets, pro_client, run

FIRST = markets()[0].first_ms


def coins(spot: Any, amount: float = 2.0) -> float:
    """Buy some; return the price."""
    spot.create_order(COIN, "market", "buy", amount + 1.0)
    return float(spot.fetch_ticker(COIN)["last"])


def pair(spot: Any, side: str, above: dict[str, Any], below: dict[str, Any], **more: Any) -> Any:
    legs = {f"above{k}": v for k, v in above.items()} | {f"below{k}": v for k, v in below.items()}
    return spot.privatePostOrderListOco({"symbol": "GBMUSDT", "side": side, "quantity": "1", **legs, **more})


def amended(spot: Any, order: str, quantity: str, **more: Any) -> Any:
    asked = {"symbol": "GBMUSDT", "orderId": order, "newQty": quantity, **more}
    return spot.request("order/amend/keepPriority", ["private"], "PUT", asked)


def at(spot: Any, price: float) -> str:
    return str(spot.price_to_precision(COIN, price))


def status(spot: Any) -> list[str]:
    return [order["info"]["status"] for order in spot.fetch_orders(COIN) if str(order["info"]["orderListId"]) != "-1"]


class TestPairs:
    def test_both_rest_and_coins_are_kept_back_once(self, ex: Rehearsal, spot: Any) -> None:
        last = coins(spot)
        made = pair(
            spot, "SELL", {"Type": "LIMIT_MAKER", "Price": at(spot, last * 1.3)},
            {"Type": "STOP_LOSS", "StopPrice": at(spot, last * 0.7)}, listClientOrderId="both",
        )  # fmt: skip
        assert (made["listStatusType"], made["contingencyType"]) == ("EXEC_STARTED", "OCO")
        assert [row["status"] for row in made["orderReports"]] == ["NEW", "NEW"]
        assert spot.fetch_balance()["GBM"]["used"] == 1.0
        assert spot.privateGetOpenOrderList()[0]["listClientOrderId"] == "both"
        assert len(spot.fetch_open_orders(COIN)) == 2
        # Taking back one of them takes back both.
        spot.cancel_order(made["orders"][0]["orderId"], COIN)
        assert spot.fetch_balance()["GBM"]["used"] == 0.0
        assert status(spot) == ["CANCELED", "CANCELED"]
        assert spot.privateGetOrderList({"origClientOrderId": "both"})["listOrderStatus"] == "ALL_DONE"

    @pytest.mark.parametrize(("high", "low", "filled"), [(1.0005, 0.5, 0), (1.9, 0.9995, 1)])
    def test_the_one_that_fills_takes_the_other_back(
        self, ex: Rehearsal, spot: Any, high: float, low: float, filled: int
    ) -> None:
        last = coins(spot)
        pair(
            spot, "SELL", {"Type": "LIMIT_MAKER", "Price": at(spot, last * high)},
            {"Type": "STOP_LOSS_LIMIT", "StopPrice": at(spot, last * low), "Price": at(spot, last * 0.4),
             "TimeInForce": "GTC"},
        )  # fmt: skip
        ex.advance(48 * HOUR)
        got = status(spot)
        assert (got[filled], got[1 - filled]) == ("FILLED", "EXPIRED")
        assert spot.fetch_balance()["GBM"] == {"free": 1.997, "used": 0.0, "total": 1.997}

    def test_a_purchase_keeps_back_for_the_dearer_one(self, ex: Rehearsal, spot: Any) -> None:
        last = float(spot.fetch_ticker(COIN)["last"])
        spot.privatePostOrderOco({
            "symbol": "GBMUSDT", "side": "BUY", "quantity": "1", "price": at(spot, last * 0.5),
            "stopPrice": at(spot, last * 1.2), "stopLimitPrice": at(spot, last * 1.25), "stopLimitTimeInForce": "GTC",
        })  # fmt: skip
        assert spot.fetch_balance()["USDT"]["used"] == pytest.approx(float(at(spot, last * 1.25)))

    def test_prices_on_the_wrong_sides_are_refused(self, ex: Rehearsal, spot: Any) -> None:
        last = coins(spot)
        before = ex.truth()["accounts"]
        with pytest.raises(ccxt.ExchangeError, match="relationship of the prices"):
            pair(
                spot, "SELL", {"Type": "LIMIT_MAKER", "Price": at(spot, last * 0.9)},
                {"Type": "STOP_LOSS", "StopPrice": at(spot, last * 0.7)},
            )  # fmt: skip
        assert ex.truth()["accounts"] == before


class TestChanges:
    def test_a_smaller_order_keeps_its_place_and_its_id(self, ex: Rehearsal, spot: Any) -> None:
        order = spot.create_order(COIN, "limit", "buy", 2.0, 50.0, {"clientOrderId": "first"})
        said = amended(spot, order["id"], "1.5", newClientOrderId="second")
        assert (said["amendedOrder"]["qty"], said["amendedOrder"]["clientOrderId"]) == ("1.50000000", "second")
        found = spot.fetch_order(order["id"], COIN)
        assert (found["amount"], found["clientOrderId"]) == (1.5, "second")
        assert spot.fetch_balance()["USDT"]["used"] == 75.0
        (change,) = spot.request("order/amendments", ["private"], "GET", {"symbol": "GBMUSDT", "orderId": order["id"]})
        assert (change["origQty"], change["newQty"]) == ("2.00000000", "1.50000000")
        with pytest.raises(ccxt.ExchangeError, match="2038"):
            amended(spot, order["id"], "1.6")

    def test_one_spot_order_in_place_of_another(self, ex: Rehearsal, spot: Any) -> None:
        order = spot.create_order(COIN, "limit", "buy", 1.0, 50.0)
        other = spot.edit_order(order["id"], COIN, "limit", "buy", 2.0, 51.0)
        assert [(o["id"], o["price"]) for o in spot.fetch_open_orders(COIN)] == [(other["id"], 51.0)]
        assert other["id"] != order["id"]

    @pytest.mark.parametrize(("mode", "code", "n"), [("STOP_ON_FAILURE", "-2022", 0), ("ALLOW_FAILURE", "-2021", 1)])
    def test_what_cannot_be_cancelled_is_said(self, ex: Rehearsal, spot: Any, mode: str, code: str, n: int) -> None:
        with pytest.raises(ccxt.ExchangeError) as refused:
            spot.privatePostOrderCancelReplace({
                "symbol": "GBMUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1",
                "price": "50", "cancelReplaceMode": mode, "cancelOrderId": "1",
            })  # fmt: skip
        said = json.loads(str(refused.value)[str(refused.value).index("{") :])
        assert str(said["code"]) == code
        assert said["data"]["cancelResponse"]["code"] == -2011
        assert len(spot.fetch_open_orders(COIN)) == n

    def test_a_futures_order_goes_on_at_another_price(self, ex: Rehearsal, usdm: Any) -> None:
        last = float(usdm.fetch_ticker(PERP)["last"])
        order = usdm.create_order(PERP, "limit", "buy", 1.0, float(usdm.price_to_precision(PERP, last * 0.8)))
        changed = usdm.edit_order(order["id"], PERP, "limit", "buy", 2.0, 80.0)
        assert (changed["id"], changed["price"], changed["amount"]) == (order["id"], 80.0, 2.0)
        (change,) = usdm.fapiPrivateGetOrderAmendment({"symbol": "SYN0USDT", "orderId": order["id"]})
        assert change["amendment"]["origQty"]["after"] == "2.000000"
        with pytest.raises(ccxt.ExchangeError, match="5027"):
            usdm.edit_order(order["id"], PERP, "limit", "buy", 2.0, 80.0)
        with pytest.raises(ccxt.InsufficientFunds):
            usdm.edit_order(order["id"], PERP, "limit", "buy", 90_000.0, 80.0)
        assert usdm.fetch_order(order["id"], PERP)["amount"] == 2.0
        crossing = float(usdm.price_to_precision(PERP, last * 1.05))
        assert usdm.edit_order(order["id"], PERP, "limit", "buy", 2.0, crossing)["status"] == "closed"
        assert usdm.fetch_positions([PERP])[0]["contracts"] == 2.0

    def test_an_order_that_is_changed_is_not_one_more(
        self, ex: Rehearsal, usdm: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:  # fmt: skip
        monkeypatch.setattr(filters, "MAX_OPEN", 2)
        first, _ = (usdm.create_order(PERP, "limit", "buy", 1.0, price) for price in (80.0, 81.0))
        assert usdm.edit_order(first["id"], PERP, "limit", "buy", 1.0, 79.0)["price"] == 79.0
        with pytest.raises(ccxt.ExchangeError, match="2025"):
            usdm.create_order(PERP, "limit", "buy", 1.0, 82.0)

    def test_several_futures_orders_are_taken_back_at_once(self, ex: Rehearsal, usdm: Any) -> None:
        ids = [usdm.create_order(PERP, "limit", "buy", 1.0, price)["id"] for price in (80.0, 81.0, 82.0)]
        assert [o["status"] for o in usdm.cancel_orders(ids[:2], PERP)] == ["canceled", "canceled"]
        assert [o["id"] for o in usdm.fetch_open_orders(PERP)] == ids[2:]


class TestMarketData:
    def test_a_window_counts_its_own_trades(self, ex: Rehearsal, spot: Any) -> None:
        ex.advance(HOUR // 2)
        rows = spot.fetch_ohlcv(COIN, "1m", limit=1000)
        for window, n in (("15m", 15), ("1h", 60), ("4h", 240)):
            got = spot.publicGetTicker({"symbol": "GBMUSDT", "windowSize": window})
            told = [row for row in rows if row[0] >= int(got["openTime"])]
            assert float(got["highPrice"]) == max(row[2] for row in told)
            assert float(got["volume"]) == pytest.approx(sum(row[5] for row in told))
            assert len(told) in (n, n + 1)
        mini = spot.publicGetTicker({"symbols": '["GBMUSDT"]', "type": "MINI"})[0]
        assert "priceChange" not in mini and float(mini["lastPrice"]) == spot.fetch_ticker(COIN)["last"]
        for wrong in ("90m", "8d", "0m", "1w"):
            with pytest.raises(ccxt.BadRequest):
                spot.publicGetTicker({"symbol": "GBMUSDT", "windowSize": wrong})

    def test_a_trading_day_begins_at_midnight(self, ex: Rehearsal, spot: Any) -> None:
        for zone, hours in (("0", 0), ("-3", -3), ("5:30", 5.5)):
            got = spot.publicGetTickerTradingDay({"symbol": "GBMUSDT", "timeZone": zone})
            assert (int(got["openTime"]) + hours * HOUR) % (24 * HOUR) == 0
            assert int(got["openTime"]) <= ex.now_ms <= int(got["closeTime"])

    @pytest.mark.parametrize("name", ["spot", "usdm"])
    def test_old_trades_and_orders_that_were_counted(
        self, ex: Rehearsal, name: str, request: pytest.FixtureRequest
    ) -> None:
        client, symbol = request.getfixturevalue(name), "GBMUSDT" if name == "spot" else "SYN0USDT"
        prefix = "public" if name == "spot" else "fapiPublic"
        got = getattr(client, f"{prefix}GetHistoricalTrades")({"symbol": symbol, "fromId": 11, "limit": 3})
        assert [int(row["id"]) for row in got] == [11, 12, 13]
        client.create_order(COIN if name == "spot" else PERP, "limit", "buy", 1.0, 50.0 if name == "spot" else 80.0)
        path = "privateGetRateLimitOrder" if name == "spot" else "fapiPrivateGetRateLimitOrder"
        assert [int(row["count"]) for row in getattr(client, path)()] == [1, 1]

    def test_more_candles_and_statistics_of_futures(self, ex: Rehearsal, usdm: Any) -> None:
        premium = usdm.fetch_premium_index_ohlcv(PERP, "1h", limit=5)
        ticker = usdm.fapiPublicGetPremiumIndex({"symbol": "SYN0USDT"})
        last = usdm.fetch_ticker(PERP)["last"]
        assert premium[-1][4] == pytest.approx(last / float(ticker["markPrice"]) - 1.0, abs=1e-7)
        assert len(usdm.fetch_index_ohlcv(PERP, "1h", limit=5)) == 5
        asked = {"pair": "SYN0USDT", "contractType": "PERPETUAL", "interval": "1h", "limit": 3}
        plain = usdm.fapiPublicGetKlines({"symbol": "SYN0USDT", "interval": "1h", "limit": 3})
        assert usdm.fapiPublicGetContinuousKlines(asked) == plain
        with pytest.raises(ccxt.ExchangeError):
            usdm.fapiPublicGetContinuousKlines({**asked, "contractType": "NEXT_QUARTER"})
        ratios = usdm.fetch_long_short_ratio_history(PERP, "1h", limit=4)
        assert [r["timestamp"] for r in ratios] == [row[0] for row in usdm.fetch_ohlcv(PERP, "1h", limit=4)]
        assert all(0.3 < r["longShortRatio"] < 3.0 for r in ratios)
        assert usdm.fapiDataGetTakerlongshortRatio({"symbol": "SYN0USDT", "period": "1h"})[-1]["buySellRatio"]

    def test_a_listing_of_named_coins(self, ex: Rehearsal, spot: Any) -> None:
        assert len(spot.publicGetExchangeInfo({"symbols": '["GBMUSDT"]'})["symbols"]) == 1
        assert spot.market(COIN)["info"]["ocoAllowed"] is True


async def heard(url: str, n: int, ex: Rehearsal, by_ms: int = HOUR // 4) -> list[Any]:
    """So many messages of a socket while time passes."""
    got: list[Any] = []
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        while len(got) < n:
            await ex.step(by_ms)
            try:
                while len(got) < n:
                    got.append(await socket.receive_json(timeout=0.1))
            except TimeoutError:
                pass
    return got


class TestStreams:
    @pytest.mark.parametrize(
        ("path", "event", "symbol"),
        [
            ("/ws/!miniTicker@arr", "24hrMiniTicker", "GBMUSDT"),
            ("/ws/!ticker@arr", "24hrTicker", "GBMUSDT"),
            ("/market/ws/!miniTicker@arr", "24hrMiniTicker", "SYN0USDT"),
            ("/market/ws/!markPrice@arr", "markPriceUpdate", "SYN0USDT"),
            ("/market/ws/!markPrice@arr@1s", "markPriceUpdate", "SYN0USDT"),
        ],
    )
    def test_all_markets_at_once(self, ex: Rehearsal, path: str, event: str, symbol: str) -> None:
        url = ex.url.replace("http", "ws")
        rows = run(lambda: heard(url + path, 2, ex))
        assert [(row[0]["e"], row[0]["s"]) for row in rows] == [(event, symbol)] * 2
        stream = path.rpartition("/")[2]
        (one,) = run(lambda: heard(f"{url}{path.removesuffix(f'/ws/{stream}')}/stream?streams={stream}", 1, ex))
        wrapped = one if isinstance(one, dict) else {"stream": stream, "data": one}
        assert wrapped["data"][0]["s"] == symbol

    def test_best_prices_of_all_markets_come_one_by_one(self, ex: Rehearsal) -> None:
        url = ex.url.replace("http", "ws")
        (one,) = run(lambda: heard(f"{url}/stream?streams=!bookTicker", 1, ex))
        assert one["stream"] == "!bookTicker" and float(one["data"]["b"]) < float(one["data"]["a"])

    def test_continuous_candles(self, ex: Rehearsal) -> None:
        url = ex.url.replace("http", "ws")
        told = run(lambda: heard(f"{url}/market/ws/syn0usdt_perpetual@continuousKline_1h", 5, ex))
        assert {(row["e"], row["ps"], row["ct"]) for row in told} == {("continuous_kline", "SYN0USDT", "PERPETUAL")}
        assert told[-1]["k"]["i"] == "1h"

    def test_ccxt_watches_all_markets(self, ex: Rehearsal) -> None:
        async def main() -> None:
            async with pro_client(ex) as client:

                async def move() -> None:
                    for _ in range(8):
                        await asyncio.sleep(0.05)
                        await ex.step(HOUR // 4)

                got = await asyncio.gather(
                    asyncio.wait_for(client.watch_tickers(), 10.0),
                    asyncio.wait_for(client.watch_mark_prices(), 10.0),
                    move(),
                )
            assert got[0][PERP]["last"] > 0.0
            assert got[1][PERP]["markPrice"] > 0.0

        run(main)

    def test_a_spot_account_is_listened_to_by_its_key(self, ex: Rehearsal, spot: Any) -> None:
        key = spot.publicPostUserDataStream()["listenKey"]
        spot.publicPutUserDataStream({"listenKey": key})
        url = ex.url.replace("http", "ws")

        async def main() -> list[Any]:
            async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws") as socket:
                # Official clients subscribe the key like any other stream.
                await socket.send_json({"method": "SUBSCRIBE", "params": [key], "id": 1})
                assert (await socket.receive_json(timeout=5.0))["result"] is None
                await asyncio.to_thread(
                    pair, spot, "BUY", {"Type": "STOP_LOSS", "StopPrice": "190"},
                    {"Type": "LIMIT_MAKER", "Price": "50"},
                )  # fmt: skip
                return [await socket.receive_json(timeout=5.0) for _ in range(5)]

        told = run(main)
        assert [event["e"] for event in told] == [
            "executionReport", "outboundAccountPosition", "executionReport", "outboundAccountPosition", "listStatus",
        ]  # fmt: skip
        assert (told[-1]["l"], told[-1]["L"], len(told[-1]["O"])) == ("EXEC_STARTED", "EXECUTING", 2)
        spot.publicDeleteUserDataStream({"listenKey": key})
        with pytest.raises(ccxt.ExchangeError, match="1125"):
            spot.publicPutUserDataStream({"listenKey": key})
