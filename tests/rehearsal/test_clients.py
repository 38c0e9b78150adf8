"""Genuine, unmodified CCXT clients against every endpoint: what they read is what is so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import ccxt
import pytest

from qframe_rl.rehearsal import Rehearsal, RehearsalConfig
from tests.rehearsal.conftest import COIN, HOUR, PERP, markets, pro_client, run, sync_client

FIRST = markets()[0].first_ms


def bars(index: int, first: int, n: int) -> list[list[float]]:
    market = markets()[index]
    rows = zip(market.opens[first : first + n].tolist(), market.values[first : first + n].tolist(), strict=True)
    return [[time, *row] for time, row in rows]


class TestMarketData:
    @pytest.mark.parametrize(("name", "index", "symbol"), [("binanceusdm", 0, PERP), ("binance", 1, COIN)])
    def test_candles_are_the_recorded_bars_to_the_bit(self, ex: Rehearsal, name: str, index: int, symbol: str) -> None:
        client = sync_client(ex, name)
        got = client.fetch_ohlcv(symbol, "1h", since=FIRST, limit=100)
        assert got == bars(index, 0, 100)
        client.session.close()

    def test_the_last_candle_is_open_and_grows(self, ex: Rehearsal, usdm: Any) -> None:
        begun = usdm.fetch_ohlcv(PERP, "1h", limit=1)[0]
        ex.advance(HOUR // 2)
        grown = usdm.fetch_ohlcv(PERP, "1h", limit=1)[0]
        ex.advance(HOUR // 2)
        done = usdm.fetch_ohlcv(PERP, "1h", limit=2)[0]
        assert begun[0] == grown[0] == done[0] == FIRST + 100 * HOUR
        assert begun[5] < grown[5] < done[5]
        assert done == bars(0, 100, 1)[0]

    def test_coarse_and_fine_candles_tell_the_same_market(self, ex: Rehearsal, usdm: Any) -> None:
        coarse = usdm.fetch_ohlcv(PERP, "4h", since=FIRST, limit=1)[0]
        hours = bars(0, 0, 4)
        assert coarse[1:5] == [hours[0][1], max(h[2] for h in hours), min(h[3] for h in hours), hours[3][4]]
        assert coarse[5] == pytest.approx(sum(h[5] for h in hours))
        fine = usdm.fetch_ohlcv(PERP, "5m", since=FIRST, limit=12)
        assert [fine[0][1], fine[-1][4]] == [hours[0][1], hours[0][4]]
        assert max(f[2] for f in fine) == hours[0][2]
        assert min(f[3] for f in fine) == hours[0][3]
        assert sum(f[5] for f in fine) == pytest.approx(hours[0][5])

    @pytest.mark.parametrize(("name", "symbol"), [("binanceusdm", PERP), ("binance", COIN)])
    def test_everything_public(self, ex: Rehearsal, name: str, symbol: str) -> None:
        client = sync_client(ex, name)
        assert client.fetch_time() == ex.now_ms
        ticker, book = client.fetch_ticker(symbol), client.fetch_order_book(symbol, 10)
        assert book["bids"][0][0] < ticker["last"] < book["asks"][0][0]
        assert len(book["bids"]) == len(book["asks"]) == 10
        best = client.fetch_bids_asks([symbol])[symbol]
        assert [best["bid"], best["ask"]] == [book["bids"][0][0], book["asks"][0][0]]
        trades = client.fetch_trades(symbol, limit=5)
        assert trades[-1]["price"] == ticker["last"]
        assert client.fetch_tickers([symbol])[symbol]["quoteVolume"] > 0.0
        market = client.market(symbol)
        assert market["active"] and market["precision"]["price"] > 0
        client.session.close()

    def test_funding_and_mark_prices(self, ex: Rehearsal, usdm: Any) -> None:
        rate = usdm.fetch_funding_rate(PERP)
        assert rate["markPrice"] > 0.0 and rate["fundingTimestamp"] > ex.now_ms
        history = usdm.fetch_funding_rate_history(PERP, since=FIRST, limit=20)
        assert len(history) == 13
        assert history[-1]["timestamp"] == FIRST + 96 * HOUR
        assert len(usdm.fetch_mark_ohlcv(PERP, "1h", limit=3)) == 3
        assert usdm.fetch_funding_intervals()[PERP]["interval"] == "8h"


class TestOrders:
    @pytest.mark.parametrize(("name", "symbol"), [("binanceusdm", PERP), ("binance", COIN)])
    def test_life_of_a_limit_order(self, ex: Rehearsal, name: str, symbol: str) -> None:
        client = sync_client(ex, name)
        price = float(client.price_to_precision(symbol, client.fetch_ticker(symbol)["last"] * 0.9))
        order = client.create_order(symbol, "limit", "buy", 1.0, price, {"clientOrderId": "mine-1"})
        assert (order["status"], order["filled"], order["clientOrderId"]) == ("open", 0.0, "mine-1")
        assert [o["id"] for o in client.fetch_open_orders(symbol)] == [order["id"]]
        assert client.fetch_balance()["USDT"]["used"] > 0.0
        by_name = client.fetch_order(None, symbol, {"origClientOrderId": "mine-1"})
        assert by_name["id"] == order["id"] and by_name["price"] == price
        assert client.cancel_order(order["id"], symbol)["status"] == "canceled"
        assert client.fetch_open_orders(symbol) == []
        assert client.fetch_balance()["USDT"]["free"] == 10_000.0
        assert client.fetch_orders(symbol)[-1]["status"] == "canceled"
        with pytest.raises(ccxt.OrderNotFound):
            client.cancel_order(order["id"], symbol)
        client.session.close()

    def test_a_position_is_opened_paid_for_and_closed(self, ex: Rehearsal, usdm: Any) -> None:
        order = usdm.create_order(PERP, "market", "buy", 2.0)
        (fill,) = usdm.fetch_my_trades(PERP)
        assert (order["status"], order["filled"]) == ("closed", 2.0)
        assert fill["fee"]["cost"] == pytest.approx(fill["cost"] * 5e-4)
        ex.advance(24 * HOUR)
        (position,) = usdm.fetch_positions([PERP])
        assert (position["side"], position["contracts"]) == ("long", 2.0)
        assert position["unrealizedPnl"] == pytest.approx(2.0 * (position["markPrice"] - order["average"]))
        paid = usdm.fetch_funding_history(PERP)
        assert len(paid) == 3
        usdm.create_order(PERP, "market", "sell", 2.0, None, {"reduceOnly": True})
        assert usdm.fetch_positions([PERP]) == []
        trades = usdm.fetch_my_trades(PERP)
        money = sum(t["cost"] * (1 if t["side"] == "sell" else -1) - t["fee"]["cost"] for t in trades)
        total = usdm.fetch_balance()["USDT"]["total"]
        assert total == pytest.approx(10_000.0 + money + sum(p["amount"] for p in paid), abs=1e-6)

    def test_spot_coins_change_hands(self, ex: Rehearsal, spot: Any) -> None:
        bought = spot.create_order(COIN, "market", "buy", 2.0)
        assert bought["fee"] == {"cost": 0.002, "currency": "GBM"}
        balance = spot.fetch_balance()
        assert balance["GBM"]["total"] == 1.998
        assert balance["USDT"]["total"] == pytest.approx(10_000.0 - bought["cost"])
        spot.create_market_buy_order_with_cost(COIN, 100.0)
        assert 98.0 < 10_000.0 - bought["cost"] - spot.fetch_balance()["USDT"]["total"] <= 100.0
        assert len(spot.fetch_my_trades(COIN)) == 2

    def test_a_resting_order_fills_when_the_market_trades_through_it(self, ex: Rehearsal, usdm: Any) -> None:
        low = min(row[3] for row in bars(0, 101, 30))
        price = float(usdm.price_to_precision(PERP, low * 1.001))
        order = usdm.create_order(PERP, "limit", "buy", 1.0, price)
        ex.advance(31 * HOUR)
        filled = usdm.fetch_order(order["id"], PERP)
        assert (filled["status"], filled["average"]) == ("closed", price)
        assert usdm.fetch_my_trades(PERP)[0]["takerOrMaker"] == "maker"

    def test_a_stop_waits_and_fires(self, ex: Rehearsal, usdm: Any) -> None:
        usdm.create_order(PERP, "market", "buy", 1.0)
        low = min(row[3] for row in bars(0, 101, 40))
        trigger = float(usdm.price_to_precision(PERP, low * 1.002))
        usdm.create_order(PERP, "market", "sell", 1.0, None, {"stopLossPrice": trigger, "reduceOnly": True})
        assert len(usdm.fetch_open_orders(PERP, params={"trigger": True})) == 1
        ex.advance(41 * HOUR)
        assert usdm.fetch_positions([PERP]) == []
        assert usdm.fetch_open_orders(PERP, params={"trigger": True}) == []

    def test_leverage_and_the_dead_mans_switch(self, ex: Rehearsal, usdm: Any) -> None:
        assert usdm.set_leverage(5, PERP)["leverage"] == 5
        usdm.create_order(PERP, "limit", "buy", 1.0, 50.0)
        usdm.fapiPrivatePostCountdownCancelAll({"symbol": "SYN0USDT", "countdownTime": 1000})
        assert len(usdm.fetch_open_orders(PERP)) == 1
        ex.advance(1001)
        assert usdm.fetch_open_orders(PERP) == []


class TestTheRest:
    def test_everything_about_a_futures_account(self, ex: Rehearsal, usdm: Any) -> None:
        usdm.create_order(PERP, "market", "buy", 1.0)
        assert usdm.fetch_positions([PERP], {"useV2": True})[0]["leverage"] == 20.0
        assert usdm.fetch_positions([PERP], {"method": "account"})[0]["contracts"] == 1.0
        total = usdm.fetch_balance()["USDT"]["total"]
        assert usdm.fetch_balance({"useV2": True})["USDT"]["total"] == total
        assert usdm.fapiPrivateV3GetBalance()[0]["asset"] == "USDT"
        assert usdm.fetch_leverages([PERP])[PERP]["longLeverage"] == 20
        assert usdm.fetch_leverage_tiers([PERP])[PERP][0]["maxLeverage"] == 125
        assert usdm.fetch_trading_fee(PERP)["taker"] == 5e-4
        assert usdm.fetch_position_mode(PERP)["hedged"] is False
        assert [row["type"] for row in usdm.fetch_ledger("USDT")] == ["commission"]
        assert usdm.fetch_open_interest(PERP)["openInterestAmount"] == 1.0
        with pytest.raises(ccxt.MarginModeAlreadySet):
            usdm.set_margin_mode("cross", PERP)
        with pytest.raises(ccxt.ExchangeError):
            usdm.set_position_mode(True, PERP)

    def test_several_futures_orders(self, ex: Rehearsal, usdm: Any) -> None:
        wanted = [{"symbol": PERP, "type": "limit", "side": "buy", "amount": 1.0, "price": 50.0 + k} for k in range(3)]
        wanted.append({"symbol": PERP, "type": "limit", "side": "buy", "amount": 1e5, "price": 60.0})
        made = usdm.create_orders(wanted)
        assert sorted(order["status"] for order in made) == ["open", "open", "open", "rejected"]
        resting = usdm.fetch_open_orders(PERP)
        assert [order["price"] for order in resting] == [50.0, 51.0, 52.0]
        assert usdm.fetch_open_order(resting[0]["id"], PERP)["price"] == 50.0
        usdm.cancel_all_orders(PERP)
        assert usdm.fetch_open_orders(PERP) == []

    def test_conditional_orders_are_found_and_taken_back(self, ex: Rehearsal, usdm: Any) -> None:
        first, second = (
            usdm.create_order(PERP, "limit", "buy", 1.0, 140.0, {"triggerPrice": price}) for price in (130.0, 131.0)
        )
        trigger = {"trigger": True}
        assert usdm.fetch_order(first["id"], PERP, trigger)["triggerPrice"] == 130.0
        usdm.cancel_order(first["id"], PERP, trigger)
        assert [o["id"] for o in usdm.fetch_open_orders(PERP, params=trigger)] == [second["id"]]
        usdm.cancel_all_orders(PERP, trigger)
        assert usdm.fetch_open_orders(PERP, params=trigger) == []
        with pytest.raises(ccxt.ExchangeError):
            usdm.create_order(PERP, "market", "buy", 1.0, None, {"triggerPrice": 80.0, "stopLossPrice": None})

    def test_a_spot_stop_holds_its_coins_and_sells_them(self, ex: Rehearsal, spot: Any) -> None:
        spot.create_order(COIN, "market", "buy", 2.0)
        stop = float(spot.price_to_precision(COIN, spot.fetch_ticker(COIN)["last"] * 0.998))
        order = spot.create_order(COIN, "market", "sell", 1.0, None, {"stopLossPrice": stop})
        assert spot.fetch_balance()["GBM"]["used"] == 1.0
        ex.advance(61 * HOUR)
        assert spot.fetch_order(order["id"], COIN)["status"] == "closed"
        assert spot.fetch_balance()["GBM"] == {"free": 0.998, "used": 0.0, "total": 0.998}

    def test_everything_else_on_spot(self, ex: Rehearsal, spot: Any) -> None:
        assert spot.fetch_trading_fees()[COIN]["taker"] == 1e-3
        assert spot.fetch_trading_fee(COIN)["maker"] == 1e-3
        assert spot.fetch_status()["status"] == "ok"
        assert spot.fetch_last_prices([COIN])[COIN]["price"] == spot.fetch_ticker(COIN)["last"]
        assert len(spot.fetch_trades(COIN, params={"fetchTradesMethod": "publicGetAggTrades"}, limit=7)) == 7
        spot.create_order(COIN, "limit", "buy", 1.0, 50.0, {"test": True})
        assert spot.fetch_orders(COIN) == []
        for price in (50.0, 51.0):
            spot.create_order(COIN, "limit", "buy", 1.0, price)
        assert len(spot.cancel_all_orders(COIN)) == 2
        assert spot.fetch_balance()["USDT"]["used"] == 0.0


class TestRefusals:
    def test_futures(self, ex: Rehearsal, usdm: Any) -> None:
        last = usdm.fetch_ticker(PERP)["last"]
        far = float(usdm.price_to_precision(PERP, last * 0.9))
        through = float(usdm.price_to_precision(PERP, last * 1.1))
        with pytest.raises(ccxt.InsufficientFunds):
            usdm.create_order(PERP, "market", "buy", 100_000.0)
        with pytest.raises(ccxt.InvalidOrder, match="ReduceOnly"):
            usdm.create_order(PERP, "market", "buy", 1.0, None, {"reduceOnly": True})
        with pytest.raises(ccxt.OrderNotFillable):
            usdm.create_order(PERP, "limit", "buy", 1.0, through, {"postOnly": True})
        usdm.create_order(PERP, "limit", "buy", 1.0, far, {"clientOrderId": "twice"})
        with pytest.raises(ccxt.InvalidOrder, match="duplicated"):
            usdm.create_order(PERP, "limit", "buy", 1.0, far, {"clientOrderId": "twice"})
        with pytest.raises(ccxt.OrderNotFound):
            usdm.fetch_order("1", PERP)

    def test_spot(self, ex: Rehearsal, spot: Any) -> None:
        last = spot.fetch_ticker(COIN)["last"]
        with pytest.raises(ccxt.InsufficientFunds):
            spot.create_order(COIN, "market", "buy", 1_000.0)
        with pytest.raises((ccxt.BadRequest, ccxt.InvalidOrder), match="NOTIONAL"):
            spot.create_order(COIN, "limit", "buy", 0.01, round(last * 0.9, 2))
        with pytest.raises(ccxt.OrderImmediatelyFillable):
            spot.create_order(COIN, "limit", "buy", 1.0, round(last * 1.1, 2), {"postOnly": True})

    def test_a_client_order_id_is_free_again_once_its_order_is_done(self, ex: Rehearsal, usdm: Any) -> None:
        first = usdm.create_order(PERP, "market", "buy", 1.0, None, {"clientOrderId": "again"})
        second = usdm.create_order(PERP, "market", "buy", 1.0, None, {"clientOrderId": "again"})
        assert first["id"] != second["id"]

    def test_keys_signatures_and_clocks(self, ex: Rehearsal, usdm: Any) -> None:
        usdm.secret = "another"
        with pytest.raises(ccxt.AuthenticationError):
            usdm.fetch_balance()
        usdm.secret, usdm.apiKey = ex.config.secret, "nobody"
        with pytest.raises(ccxt.AuthenticationError):
            usdm.fetch_balance()
        usdm.apiKey = ex.config.api_key
        for skew in (15_000, -3_000):
            ex.call(lambda control, ms=skew: control.skew(ms))
            with pytest.raises(ccxt.InvalidNonce):
                usdm.fetch_balance({"recvWindow": 5000})
            usdm.load_time_difference()
            assert usdm.fetch_balance({"recvWindow": 5000})["USDT"]["total"] == 10_000.0


async def collect(**watched: Awaitable[Any]) -> dict[str, Any]:
    """What each watcher returns; one that hangs fails the test."""
    got = await asyncio.gather(*(asyncio.wait_for(w, 10.0) for w in watched.values()))
    return dict(zip(watched, got, strict=True))


async def watch_all(client: Any, ex: Rehearsal, symbol: str, futures: bool) -> dict[str, Any]:
    async def move() -> None:
        for _ in range(8):
            await asyncio.sleep(0.05)
            await ex.step(HOUR // 4)
        await client.create_order(symbol, "market", "buy", 1.0)

    more = {"positions": client.watch_positions([symbol]), "mark": client.watch_mark_price(symbol)} if futures else {}
    return await collect(
        candles=client.watch_ohlcv(symbol, "1h"),
        book=client.watch_order_book(symbol),
        trades=client.watch_trades(symbol),
        ticker=client.watch_ticker(symbol),
        best=client.watch_bids_asks([symbol]),
        orders=client.watch_orders(symbol),
        balance=client.watch_balance(),
        fills=client.watch_my_trades(symbol),
        move=move(),
        **more,
    )


class TestStreams:
    @pytest.mark.parametrize(("name", "symbol"), [("binanceusdm", PERP), ("binance", COIN)])
    def test_everything_watched_by_address(self, ex: Rehearsal, name: str, symbol: str) -> None:
        async def main() -> None:
            async with pro_client(ex, name) as client:
                got = await watch_all(client, ex, symbol, futures=name == "binanceusdm")
            assert got["candles"][-1][5] > 0.0
            assert got["book"]["bids"][0][0] < got["book"]["asks"][0][0]
            assert min(got["ticker"]["last"], got["trades"][-1]["price"], got["best"][symbol]["bid"]) > 0.0
            assert got["fills"][0]["amount"] == 1.0
            assert got["balance"]["USDT"]["total"] is not None

        run(main)

    def test_everything_watched_by_the_real_names(self, rehearsals: Any) -> None:
        ex = rehearsals(markets(), tls=True, start_ms=FIRST + 100 * HOUR)

        async def main() -> None:
            import ccxt.pro

            keys = {"apiKey": ex.config.api_key, "secret": ex.config.secret}
            async with ex.session() as session:
                made = {**keys, "session": session, "options": {"fetchMarkets": {"types": ["linear"]}}}
                client = ccxt.pro.binanceusdm(made)
                await client.load_markets()
                await client.load_time_difference()
                got = await watch_all(client, ex, PERP, futures=True)
                assert got["fills"][0]["amount"] == 1.0
                with pytest.raises(ccxt.InsufficientFunds):
                    await client.create_order(PERP, "market", "buy", 100_000.0)
                client.urls["api"]["fapiPublic"] = "https://api.kraken.com/fapi/v1"
                with pytest.raises(ccxt.ExchangeNotAvailable):
                    await client.fetch_time()
                await client.close()

        run(main)

    def test_closed_candles_of_the_stream_are_the_recorded_bars(self, rehearsals: Any) -> None:
        ex = rehearsals(markets(), RehearsalConfig(prints=4), start_ms=FIRST + 100 * HOUR)
        seen: dict[int, list[float]] = {}

        async def main() -> None:
            async with pro_client(ex) as client:

                async def listen() -> None:
                    while len(seen) < 22:
                        for row in await client.watch_ohlcv(PERP, "1h"):
                            seen[row[0]] = row

                listener = asyncio.ensure_future(listen())
                while not listener.done():
                    await ex.step(HOUR // 2)
                    await asyncio.sleep(0.01)

        run(main)
        closed = sorted(seen)[1:-1]
        assert [seen[t] for t in closed] == [row for row in bars(0, 101, 60) if row[0] in closed]

    def test_orders_over_the_websocket_api(self, ex: Rehearsal) -> None:
        async def main() -> None:
            async with pro_client(ex, "binance") as client:
                order = await client.create_order_ws(COIN, "limit", "buy", 1.0, 80.0)
                assert order["status"] == "open"
                assert (await client.fetch_order_ws(order["id"], COIN))["status"] == "open"
                assert (await client.cancel_order_ws(order["id"], COIN))["status"] == "canceled"
                with pytest.raises(ccxt.InsufficientFunds):
                    await client.create_order_ws(COIN, "market", "buy", 1_000.0)

        run(main)
