"""Genuine, unmodified CCXT clients of Bybit against every endpoint: what they read is what is so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import ccxt
import pytest

from qframe_rl.rehearsal import Fault, Rehearsal, RehearsalConfig, serve
from tests.rehearsal.conftest import COIN, HOUR, PERP, markets, run
from tests.rehearsal.test_clients import FIRST, bars, watch_all

BYBIT = RehearsalConfig(protocol="bybit")
KNOWN = {"acknowledged": True}


@pytest.fixture
def by() -> Iterator[Rehearsal]:
    """Bybit's protocol in lock-step, a hundred hours in."""
    with serve(markets(), BYBIT, start_ms=FIRST + 100 * HOUR) as running:
        yield running


def client(by: Rehearsal, kind: str = "swap", **options: Any) -> Any:
    made = by.point(ccxt.bybit({"timeout": 2000, "options": {"defaultType": kind}, **options}))
    made.enableRateLimit = False
    made.load_markets()
    made.load_time_difference()
    return made


@pytest.fixture
def perp(by: Rehearsal) -> Iterator[Any]:
    made = client(by)
    yield made
    made.session.close()


@pytest.fixture
def spot(by: Rehearsal) -> Iterator[Any]:
    made = client(by, "spot")
    yield made
    made.session.close()


@asynccontextmanager
async def pro(by: Rehearsal, kind: str = "swap") -> AsyncIterator[Any]:
    import ccxt.pro

    made = by.point(ccxt.pro.bybit({"options": {"defaultType": kind}}))
    made.enableRateLimit = False
    try:
        await made.load_markets()
        await made.load_time_difference()
        yield made
    finally:
        await made.close()


class TestMarketData:
    @pytest.mark.parametrize(("index", "symbol"), [(0, PERP), (1, COIN)])
    def test_candles_are_the_recorded_bars_to_the_bit(self, perp: Any, index: int, symbol: str) -> None:
        assert perp.fetch_ohlcv(symbol, "1h", since=FIRST, limit=100) == bars(index, 0, 100)
        assert perp.fetch_ohlcv(symbol, "1h", since=FIRST + 1, limit=2) == bars(index, 1, 2)
        assert [row[0] for row in perp.fetch_ohlcv(symbol, "4h", limit=3)][-1] == FIRST + 100 * HOUR
        until = perp.fetch_ohlcv(symbol, "1h", since=FIRST, limit=5, params={"until": FIRST + 20 * HOUR})
        assert until == [] or until[0][0] >= FIRST

    @pytest.mark.parametrize("symbol", [PERP, COIN])
    def test_everything_public(self, by: Rehearsal, perp: Any, symbol: str) -> None:
        assert perp.fetch_time() == by.now_ms
        ticker, book = perp.fetch_ticker(symbol), perp.fetch_order_book(symbol, 10)
        assert book["bids"][0][0] < ticker["last"] < book["asks"][0][0]
        assert len(book["bids"]) == len(book["asks"]) == 10
        assert [ticker["bid"], ticker["ask"]] == [book["bids"][0][0], book["asks"][0][0]]
        assert perp.fetch_trades(symbol, limit=5)[-1]["price"] == ticker["last"]
        market = perp.market(symbol)
        assert market["active"] and market["precision"]["price"] > 0.0
        assert perp.fetch_tickers([symbol])[symbol]["quoteVolume"] > 0.0

    def test_funding_and_mark_prices(self, by: Rehearsal, perp: Any) -> None:
        rate = perp.fetch_funding_rate(PERP)
        assert rate["markPrice"] > 0.0 and rate["fundingTimestamp"] > by.now_ms
        history = perp.fetch_funding_rate_history(PERP, since=FIRST)
        assert [row["fundingRate"] for row in history] == markets()[0].rates[:13].tolist()
        assert len(perp.fetch_mark_ohlcv(PERP, "1h", limit=3)) == 3
        assert perp.fetch_open_interest(PERP)["openInterestAmount"] == 0.0


class TestOrders:
    @pytest.mark.parametrize(("kind", "symbol"), [("swap", PERP), ("spot", COIN)])
    def test_life_of_a_limit_order(self, by: Rehearsal, kind: str, symbol: str) -> None:
        made = client(by, kind)
        price = float(made.price_to_precision(symbol, made.fetch_ticker(symbol)["last"] * 0.9))
        order = made.create_order(symbol, "limit", "buy", 1.0, price, {"clientOrderId": "mine-1"})
        (opened,) = made.fetch_open_orders(symbol)
        assert (opened["id"], opened["status"], opened["clientOrderId"]) == (order["id"], "open", "mine-1")
        assert made.fetch_balance()["USDT"]["used"] > 0.0
        # CCXT asks for the id "None" where a name is to be looked up, and the list of open orders knows done ones too.
        (by_name,) = made.fetch_open_orders(symbol, None, None, {"orderLinkId": "mine-1"})
        assert (by_name["id"], by_name["price"]) == (order["id"], price)
        lower = float(made.price_to_precision(symbol, price * 0.95))
        made.edit_order(order["id"], symbol, "limit", "buy", 2.0, lower)
        changed = made.fetch_open_order(order["id"], symbol)
        assert (changed["amount"], changed["price"]) == (2.0, lower)
        made.cancel_order(order["id"], symbol)
        assert made.fetch_open_orders(symbol) == []
        assert made.fetch_balance()["USDT"]["free"] == 10_000.0
        assert made.fetch_canceled_orders(symbol)[-1]["status"] == "canceled"
        assert made.fetch_order(order["id"], symbol, KNOWN)["status"] == "canceled"
        with pytest.raises((ccxt.OrderNotFound, ccxt.InvalidOrder)):
            made.cancel_order(order["id"], symbol)
        with pytest.raises(ccxt.InvalidOrder, match="uplicate"):
            made.create_order(symbol, "limit", "buy", 1.0, price, {"clientOrderId": "mine-1"})
        made.session.close()

    def test_a_position_is_opened_paid_for_and_closed(self, by: Rehearsal, perp: Any) -> None:
        order = perp.create_order(PERP, "market", "buy", 2.0)
        done = perp.fetch_closed_order(order["id"], PERP)
        (fill,) = perp.fetch_my_trades(PERP)
        assert (done["status"], done["filled"]) == ("closed", 2.0)
        assert fill["fee"]["cost"] == pytest.approx(fill["cost"] * 5e-4)
        by.advance(24 * HOUR)
        (position,) = perp.fetch_positions([PERP])
        assert (position["side"], position["contracts"]) == ("long", 2.0)
        assert position["entryPrice"] == pytest.approx(done["average"])
        paid = perp.fetch_funding_history(PERP)
        assert len(paid) == 3
        perp.create_order(PERP, "market", "sell", 2.0, None, {"reduceOnly": True})
        assert perp.fetch_positions(None, {"settleCoin": "USDT"}) == []
        trades = perp.fetch_my_trades(PERP)
        money = sum(t["cost"] * (1 if t["side"] == "sell" else -1) - t["fee"]["cost"] for t in trades)
        # Bybit tells what funding cost, and not what it brought.
        spent = sum(p["amount"] for p in paid)
        assert perp.fetch_balance()["USDT"]["total"] == pytest.approx(10_000.0 + money - spent, abs=1e-6)

    def test_spot_coins_change_hands(self, by: Rehearsal, spot: Any) -> None:
        bought = spot.create_order(COIN, "market", "buy", 2.0)
        (fill,) = spot.fetch_my_trades(COIN)
        assert fill["fee"] == {"cost": 0.002, "currency": "GBM", "rate": 0.001}
        balance = spot.fetch_balance()
        assert balance["GBM"]["total"] == 1.998
        assert balance["USDT"]["total"] == pytest.approx(10_000.0 - fill["cost"])
        spot.create_market_buy_order_with_cost(COIN, 100.0)
        assert 98.0 < 10_000.0 - fill["cost"] - spot.fetch_balance()["USDT"]["total"] <= 100.0
        assert spot.fetch_closed_order(bought["id"], COIN)["status"] == "closed"

    def test_one_wallet_carries_both(self, by: Rehearsal, perp: Any, spot: Any) -> None:
        """What contracts need is not spent on coins, and what coins took carries no contracts."""
        last = float(perp.fetch_ticker(PERP)["last"])
        perp.set_leverage(1, PERP)
        perp.create_order(PERP, "market", "buy", float(perp.amount_to_precision(PERP, 6_000.0 / last)))
        with pytest.raises(ccxt.InsufficientFunds):
            spot.create_market_buy_order_with_cost(COIN, 5_000.0)
        spot.create_market_buy_order_with_cost(COIN, 3_000.0)
        with pytest.raises(ccxt.InsufficientFunds):
            perp.create_order(PERP, "market", "buy", float(perp.amount_to_precision(PERP, 2_000.0 / last)))
        balance = perp.fetch_balance()["info"]["result"]["list"][0]
        assert float(balance["totalAvailableBalance"]) < 1_100.0

    @pytest.mark.parametrize(("kind", "symbol"), [("swap", PERP), ("spot", COIN)])
    def test_conditional_orders_are_listed_with_the_others_and_fire_under_their_id(
        self, by: Rehearsal, kind: str, symbol: str
    ) -> None:
        made = client(by, kind)
        made.create_order(symbol, "market", "buy", 2.0)
        index = 0 if kind == "swap" else 1
        trigger = float(made.price_to_precision(symbol, min(row[3] for row in bars(index, 101, 40)) * 1.002))
        stop = made.create_order(symbol, "market", "sell", 1.0, None, {"stopLossPrice": trigger})
        other = made.create_order(symbol, "limit", "buy", 1.0, float(made.price_to_precision(symbol, trigger * 0.5)))
        assert {o["id"] for o in made.fetch_open_orders(symbol)} == {stop["id"], other["id"]}
        assert made.fetch_order(stop["id"], symbol, KNOWN)["info"]["orderStatus"] == "Untriggered"
        by.advance(41 * HOUR)
        assert made.fetch_order(stop["id"], symbol, KNOWN)["status"] == "closed"
        made.session.close()

    def test_everything_is_cancelled_at_once(self, by: Rehearsal, perp: Any) -> None:
        last = float(perp.fetch_ticker(PERP)["last"])
        for price in (0.8, 0.81):
            perp.create_order(PERP, "limit", "buy", 1.0, float(perp.price_to_precision(PERP, last * price)))
        perp.create_order(PERP, "market", "buy", 1.0, None, {"triggerPrice": last * 1.2, "triggerDirection": "above"})
        assert len(perp.cancel_all_orders(PERP)) == 3
        assert perp.fetch_open_orders(PERP) == []

    def test_what_cannot_be_is_accepted_and_ends(self, by: Rehearsal, perp: Any) -> None:
        through = float(perp.price_to_precision(PERP, perp.fetch_ticker(PERP)["last"] * 1.1))
        order = perp.create_order(PERP, "limit", "buy", 1.0, through, {"postOnly": True})
        done = perp.fetch_order(order["id"], PERP, KNOWN)
        assert (done["status"], done["filled"]) == ("canceled", 0.0)
        assert done["info"]["rejectReason"] == "EC_PostOnlyWillTakeLiquidity"

    def test_refusals(self, by: Rehearsal, perp: Any, spot: Any) -> None:
        before = by.truth()["accounts"]
        with pytest.raises(ccxt.InsufficientFunds):
            perp.create_order(PERP, "market", "buy", 100_000.0)
        with pytest.raises(ccxt.InsufficientFunds):
            spot.create_order(COIN, "market", "buy", 1_000.0)
        with pytest.raises(ccxt.InvalidOrder, match="reduce-only"):
            perp.create_order(PERP, "market", "buy", 1.0, None, {"reduceOnly": True})
        with pytest.raises(ccxt.InvalidOrder, match="lower limit"):
            spot.create_order(COIN, "limit", "buy", 0.01, 80.0)
        with pytest.raises(ccxt.InvalidOrder, match="permissible"):
            perp.create_order(PERP, "limit", "buy", 1.0, 1.0)
        with pytest.raises(ccxt.OrderNotFound):
            perp.fetch_order("1", PERP, KNOWN)
        with pytest.raises(ccxt.BadRequest):
            perp.publicGetV5MarketKline({"category": "linear", "symbol": "NONE", "interval": "60"})
        assert by.truth()["accounts"] == before
        by.call(lambda control: control.halt(PERP))
        with pytest.raises(ccxt.ExchangeError, match="not live"):
            perp.create_order(PERP, "market", "buy", 1.0)

    def test_keys_signatures_and_clocks(self, by: Rehearsal, perp: Any) -> None:
        perp.secret = "another"
        with pytest.raises(ccxt.AuthenticationError):
            perp.fetch_balance()
        perp.secret, perp.apiKey = by.config.secret, "nobody"
        with pytest.raises(ccxt.AuthenticationError):
            perp.fetch_balance()
        perp.apiKey = by.config.api_key
        for skew in (15_000, -3_000):
            by.call(lambda control, ms=skew: control.skew(ms))
            with pytest.raises(ccxt.InvalidNonce):
                perp.fetch_balance()
            perp.load_time_difference()
            assert perp.fetch_balance()["USDT"]["total"] == 10_000.0

    def test_the_account_around_it(self, by: Rehearsal, perp: Any) -> None:
        perp.create_order(PERP, "market", "buy", 1.0)
        assert perp.set_leverage(5, PERP)["retCode"] in (0, "0")
        assert perp.fetch_leverage(PERP)["longLeverage"] == 5.0
        assert perp.fetch_trading_fee(PERP)["taker"] == 5e-4
        assert perp.fetch_market_leverage_tiers(PERP)[0]["maxLeverage"] == 125.0
        with pytest.raises(ccxt.NoChange):
            perp.set_position_mode(False, PERP)
        with pytest.raises(ccxt.BadRequest):
            perp.cancel_all_orders_after(7_200_000)

    def test_several_orders_at_once(self, by: Rehearsal, perp: Any) -> None:
        wanted = [{"symbol": PERP, "type": "limit", "side": "buy", "amount": 1.0, "price": 80.0 + k} for k in range(3)]
        wanted.append({"symbol": PERP, "type": "limit", "side": "buy", "amount": 1e5, "price": 80.0})
        made = perp.create_orders(wanted)
        assert [order["status"] for order in made] == [None, None, None, "rejected"]
        assert len(perp.cancel_orders([order["id"] for order in made[:2]], PERP)) == 2
        assert [o["price"] for o in perp.fetch_open_orders(PERP)] == [82.0]

    def test_demo_trading_says_what_it_has_not(self, rehearsals: Any) -> None:
        by = rehearsals(markets(), BYBIT, tls=True, start_ms=FIRST + 100 * HOUR)

        async def main() -> None:
            import ccxt.pro

            keys = {"apiKey": by.config.api_key, "secret": by.config.secret}
            async with by.session() as session:
                made = ccxt.pro.bybit({**keys, "session": session, "options": {"defaultType": "swap"}})
                made.enable_demo_trading(True)
                await made.load_markets()
                await made.load_time_difference()
                await made.create_order(PERP, "market", "buy", 1.0)
                assert (await made.fetch_positions([PERP]))[0]["contracts"] == 1.0
                with pytest.raises(ccxt.ExchangeError, match="Demo trading"):
                    await made.privateGetV5UserQueryApi()
                await made.close()

        run(main)


class TestStreams:
    @pytest.mark.parametrize(("kind", "symbol"), [("swap", PERP), ("spot", COIN)])
    def test_everything_watched_by_address(self, by: Rehearsal, kind: str, symbol: str) -> None:
        async def main() -> None:
            async with pro(by, kind) as made:
                got = await watch_all(made, by, symbol, futures=False)
                assert got["candles"][-1][5] > 0.0
                assert got["book"]["bids"][0][0] < got["book"]["asks"][0][0]
                assert min(got["ticker"]["last"], got["trades"][-1]["price"], got["best"][symbol]["bid"]) > 0.0
                assert got["fills"][0]["amount"] == 1.0
                assert got["balance"]["USDT"]["total"] is not None
                assert got["orders"][-1]["status"] in ("open", "closed")

        run(main)

    def test_a_book_followed_by_changes_is_the_exchanges(self, by: Rehearsal) -> None:
        async def main() -> None:
            async with pro(by) as made:
                await asyncio.gather(made.watch_order_book(PERP), by.step(1))
                for _ in range(20):
                    await asyncio.gather(made.watch_order_book(PERP), by.step(HOUR // 20))
                await asyncio.sleep(0.1)
                told = made.orderbooks[PERP]
                sides = by.call(lambda control: control.exchange.world.place("usdm", "SYN0USDT").sides())
                for side, name in zip(sides, ("bids", "asks"), strict=True):
                    assert [row[:2] for row in told[name]] == [[float(p), float(q)] for p, q in side]

        run(main)

    def test_closed_candles_are_the_recorded_bars(self, rehearsals: Any) -> None:
        by = rehearsals(markets(), RehearsalConfig(prints=4, protocol="bybit"), start_ms=FIRST + 100 * HOUR)
        seen: dict[int, list[float]] = {}

        async def main() -> None:
            async with pro(by) as made:

                async def listen() -> None:
                    while len(seen) < 22:
                        for row in await made.watch_ohlcv(PERP, "1h"):
                            seen[row[0]] = row

                listener = asyncio.ensure_future(listen())
                while not listener.done():
                    await by.step(HOUR // 2)
                    await asyncio.sleep(0.01)

        run(main)
        closed = sorted(seen)[1:-1]
        assert [seen[t] for t in closed] == [row for row in bars(0, 101, 60) if row[0] in closed]

    def test_positions_are_told(self, by: Rehearsal) -> None:
        async def main() -> None:
            async with pro(by) as made:
                made.options["watchPositions"]["awaitPositionsSnapshot"] = False

                async def move() -> None:
                    await asyncio.sleep(0.3)
                    await made.create_order(PERP, "market", "sell", 1.0)

                got, _ = await asyncio.wait_for(asyncio.gather(made.watch_positions([PERP]), move()), 10.0)
                assert (got[-1]["side"], got[-1]["contracts"]) == ("short", 1.0)

        run(main)

    def test_orders_over_the_websocket(self, by: Rehearsal) -> None:
        async def main() -> None:
            async with pro(by) as made:
                order = await made.create_order_ws(PERP, "limit", "buy", 1.0, 80.0)
                assert (await made.fetch_open_orders(PERP))[0]["id"] == order["id"]
                await made.cancel_order_ws(order["id"], PERP)
                assert await made.fetch_open_orders(PERP) == []
                with pytest.raises(ccxt.InsufficientFunds):
                    await made.create_order_ws(PERP, "market", "buy", 100_000.0)

        run(main)

    def test_a_lost_private_socket_takes_its_orders_along(self, by: Rehearsal) -> None:
        async def main() -> None:
            async with pro(by) as made:
                await made.cancel_all_orders_after(10_000)
                await made.create_order(PERP, "limit", "buy", 1.0, 80.0)
                listening = asyncio.ensure_future(made.watch_orders(PERP))
                await asyncio.sleep(0.5)
                await by.step(30_000)
                assert len(await made.fetch_open_orders(PERP)) == 1
                listening.cancel()
                for socket in list(made.clients.values()):
                    await socket.close()
                await asyncio.sleep(0.3)
                await by.step(30_000)
                assert await made.fetch_open_orders(PERP) == []

        run(main)

    def test_what_is_not_understood_is_said(self, by: Rehearsal) -> None:
        async def main() -> None:
            url = by.url.replace("http", "ws")
            async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/v5/public/linear") as socket:
                for text, says in (
                    ('{"op": "subscribe", "args": ["kline.7.SYN0USDT"]}', "handler not found"),
                    ('{"op": "subscribe", "args": ["kline.60.NONE"]}', "handler not found"),
                    ('{"op": "dance"}', "invalid op"),
                    ("{", "invalid json"),
                    ('{"op": "ping", "req_id": "7"}', "pong"),
                ):
                    await socket.send_str(text)
                    assert says in (await socket.receive_json(timeout=5.0))["ret_msg"]
            async with session_of(f"{url}/v5/private") as socket:
                await socket.send_str('{"op": "subscribe", "args": ["order"]}')
                assert (await socket.receive_json(timeout=5.0))["success"] is False

        run(main)


@asynccontextmanager
async def session_of(url: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        yield socket


class TestFaults:
    @pytest.mark.parametrize(
        ("kind", "error"),
        [
            ("429", ccxt.RateLimitExceeded), ("418", ccxt.BaseError), ("408", ccxt.BaseError),
            ("unknown-after", ccxt.BaseError), ("drop-after", ccxt.NetworkError), ("cut", ccxt.BaseError),
            ("502", ccxt.NetworkError),
        ],
    )  # fmt: skip
    def test_requests(self, by: Rehearsal, perp: Any, kind: str, error: type[Exception]) -> None:
        perp.fetch_balance()
        by.inject(Fault(kind=kind, at="linear.order.post"))
        with pytest.raises(error):
            perp.create_order(PERP, "market", "buy", 1.0, None, {"clientOrderId": "lost"})
        done = kind in ("unknown-after", "drop-after", "cut")
        assert by.hits() == {(kind, "linear.order.post"): 1}
        assert len(by.truth()["accounts"]["rehearsal"]["orders"]["usdm"]) == done

    @pytest.mark.parametrize(
        ("kind", "error"), [("reset", ccxt.NetworkError), ("error-frame", ccxt.ExchangeError), ("twice", None)]
    )
    def test_streams(self, by: Rehearsal, kind: str, error: type[Exception] | None) -> None:
        async def main() -> None:
            async with pro(by) as made:

                async def next_trades() -> Any:
                    # What is still on its way from before must not be taken for news.
                    await asyncio.sleep(0.2)
                    waiting = asyncio.ensure_future(made.watch_trades(PERP))
                    while not waiting.done():
                        await asyncio.sleep(0.05)
                        await by.step(HOUR // 60)
                    return waiting.result()

                assert (await next_trades())[-1]["price"] > 0.0
                by.inject(Fault(kind=kind, at="linear.trade"))
                if error is None:
                    assert await next_trades()
                else:
                    with pytest.raises(error):
                        await next_trades()
                assert by.hits() == {(kind, "linear.trade"): 1}
                assert await next_trades()

        run(main)
