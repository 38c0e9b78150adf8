"""What each fault is on the wire: what a bare, genuine CCXT client makes of it, and what was done behind it.

These hold the exchange to the measured behaviour of the venue's real client; they are no advice. How the house's own
client stands the same faults is in ``test_matrix.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import ccxt
import pytest

from qframe_rl.rehearsal import Fault, Rehearsal
from qframe_rl.rehearsal.faults import AFTER, BEFORE
from tests.rehearsal.conftest import COIN, HOUR, PERP, pro_client, run, sync_client

POST = "usdm.order.post"


def sent(ex: Rehearsal) -> int:
    """Orders that the exchange has."""
    return len(ex.truth()["accounts"][ex.config.api_key]["orders"]["usdm"])


REFUSED: dict[str, type[Exception]] = {
    "429": ccxt.DDoSProtection,
    "418": ccxt.DDoSProtection,
    "403": ccxt.ExchangeNotAvailable,
    "404": ccxt.ExchangeNotAvailable,
    "408": ccxt.RequestTimeout,
    "451": ccxt.ExchangeNotAvailable,
    "500": ccxt.ExchangeNotAvailable,
    "502": ccxt.ExchangeNotAvailable,
    "503": ccxt.ExchangeNotAvailable,
    "504": ccxt.RequestTimeout,
    "520": ccxt.ExchangeNotAvailable,
    "unknown-before": ccxt.OperationFailed,
    "drop": ccxt.NetworkError,
    "black-hole": ccxt.RequestTimeout,
}


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_nothing_was_done(ex: Rehearsal, kind: str) -> None:
    client = sync_client(ex, timeout=300)
    ex.inject(Fault(kind=kind, at=POST, seconds=7))
    with pytest.raises(REFUSED[kind]):
        client.create_order(PERP, "market", "buy", 1.0)
    assert sent(ex) == 0
    if kind in ("418", "429"):
        assert client.last_response_headers["Retry-After"] == "7"
    client.create_order(PERP, "market", "buy", 1.0)
    assert sent(ex) == 1
    client.session.close()


UNTOLD: dict[str, type[Exception]] = {
    "drop-after": ccxt.NetworkError,
    "black-hole-after": ccxt.RequestTimeout,
    "unknown-after": ccxt.OperationFailed,
    "timeout-after": ccxt.RequestTimeout,
    "cut": ccxt.BaseError,
}


@pytest.mark.parametrize("kind", sorted(UNTOLD))
def test_it_was_done_and_not_told(ex: Rehearsal, kind: str) -> None:
    client = sync_client(ex, timeout=300)
    ex.inject(Fault(kind=kind, at=POST))
    with pytest.raises(UNTOLD[kind]):
        client.create_order(PERP, "market", "buy", 1.0)
    assert sent(ex) == 1
    assert client.fetch_positions([PERP])[0]["contracts"] == 1.0
    client.session.close()


@pytest.mark.parametrize("kind", ["empty", "malformed", "html", "null"])
def test_a_meaningless_200_is_taken_for_an_answer(ex: Rehearsal, kind: str) -> None:
    client = sync_client(ex)
    client.create_order(PERP, "market", "buy", 1.0)
    ex.inject(Fault(kind=kind, at=POST), Fault(kind=kind, at="usdm.balance"), Fault(kind=kind, at="usdm.account"))
    try:
        assert client.create_order(PERP, "market", "buy", 1.0)["id"] is None
    except (ccxt.BaseError, TypeError, AttributeError):
        assert kind == "null"
    assert sent(ex) == 2
    client.session.close()


def test_an_asynchronous_client_takes_a_status_that_it_does_not_know_for_an_answer(ex: Rehearsal) -> None:
    async def main() -> None:
        async with pro_client(ex) as client:
            await client.create_order(PERP, "market", "buy", 1.0)
            ex.inject(Fault(kind="529", at="usdm.positionRisk"))
            assert await client.fetch_positions([PERP]) == []
            assert len(await client.fetch_positions([PERP])) == 1

    run(main)


@pytest.mark.parametrize("kind", ["slow", "late"])
def test_it_is_done_although_nobody_waited(ex: Rehearsal, kind: str) -> None:
    client = sync_client(ex, timeout=200)
    ex.inject(Fault(kind=kind, at=POST, seconds=0.4))
    with pytest.raises(ccxt.RequestTimeout):
        client.create_order(PERP, "market", "buy", 1.0)
    assert sent(ex) == (1 if kind == "slow" else 0)
    while sent(ex) == 0:
        pass
    client.session.close()


def test_a_late_request_is_refused_once_its_window_is_over(ex: Rehearsal) -> None:
    ex.run("1x")
    client = sync_client(ex)
    ex.inject(Fault(kind="late", at=POST, seconds=0.5))
    with pytest.raises(ccxt.InvalidNonce):
        client.create_order(PERP, "market", "buy", 1.0, None, {"recvWindow": 200})
    assert sent(ex) == 0
    client.session.close()


def test_every_kind_of_request_fault_is_named_in_these_tests() -> None:
    tried = {*REFUSED, *UNTOLD, "empty", "malformed", "html", "null", "529", "slow", "late"}
    assert tried | {"list", "object"} == {*BEFORE, *AFTER}


def test_an_asynchronous_get_is_repeated_in_silence_and_a_post_is_not(ex: Rehearsal) -> None:
    async def main() -> None:
        async with pro_client(ex) as client:
            ex.inject(Fault(kind="drop", at="usdm.time"), Fault(kind="drop-after", at=POST))
            assert await client.fetch_time() == ex.now_ms
            with pytest.raises(ccxt.ExchangeNotAvailable):
                await client.create_order(PERP, "market", "buy", 1.0)
            assert sent(ex) == 1

    run(main)
    assert ex.hits()["drop", "usdm.time"] == 1


def test_too_much_weight_is_refused_and_then_banned(rehearsals: Any) -> None:
    from qframe_rl.rehearsal import RehearsalConfig
    from tests.rehearsal.conftest import markets

    ex = rehearsals(markets(), RehearsalConfig(weight_limit=30))
    client = ex.point(ccxt.binanceusdm())
    client.enableRateLimit = False
    codes = []
    for _ in range(65):
        try:
            client.fapiPublicGetPing()
            codes.append(200)
        except ccxt.DDoSProtection as error:
            codes.append(418 if "418" in str(error) else 429)
    assert codes == [200] * 30 + [429] * 30 + [418] * 5
    client.session.close()


class TestMarketsAndAccounts:
    def test_partial_fills(self, ex: Rehearsal, usdm: Any) -> None:
        ex.call(lambda control: control.ration(PERP, 0.4))
        last = usdm.fetch_ticker(PERP)["last"]
        price = float(usdm.price_to_precision(PERP, last * 1.01))
        order = usdm.create_order(PERP, "limit", "buy", 1.0, price)
        assert (order["status"], order["filled"], order["remaining"]) == ("open", 0.4, 0.6)
        cancelled = usdm.cancel_order(order["id"], PERP)
        assert (cancelled["status"], cancelled["filled"]) == ("canceled", 0.4)
        assert usdm.fetch_positions([PERP])[0]["contracts"] == 0.4

    def test_a_halted_market_takes_no_orders(self, ex: Rehearsal, usdm: Any) -> None:
        ex.call(lambda control: control.halt(PERP))
        with pytest.raises(ccxt.BaseError, match="Invalid symbol status"):
            usdm.create_order(PERP, "market", "buy", 1.0)
        ex.call(lambda control: control.halt(PERP, False))
        assert usdm.create_order(PERP, "market", "buy", 1.0)["status"] == "closed"

    def test_a_delisted_market_settles_everything(self, ex: Rehearsal, usdm: Any) -> None:
        usdm.create_order(PERP, "market", "buy", 1.0)
        order = usdm.create_order(PERP, "limit", "buy", 1.0, 50.0)
        ex.call(lambda control: control.delist(PERP))
        assert usdm.fetch_positions([PERP]) == []
        assert usdm.fetch_order(order["id"], PERP)["status"] == "expired"
        assert not usdm.load_markets(reload=True)[PERP]["active"]
        with pytest.raises(ccxt.BaseError):
            usdm.create_order(PERP, "market", "buy", 1.0)

    def test_maintenance_refuses_everything_and_ends(self, ex: Rehearsal, usdm: Any) -> None:
        ex.call(lambda control: control.maintain(True))
        with pytest.raises(ccxt.ExchangeNotAvailable):
            usdm.fetch_time()
        ex.call(lambda control: control.maintain(False))
        assert usdm.fetch_time() == ex.now_ms

    def test_a_revoked_key(self, ex: Rehearsal, usdm: Any, spot: Any) -> None:
        spot.fetch_balance()
        ex.call(lambda control: control.revoke(ex.config.api_key))
        with pytest.raises(ccxt.AuthenticationError):
            usdm.fetch_balance()
        with pytest.raises((ccxt.AuthenticationError, ccxt.DDoSProtection)):
            spot.fetch_balance()

    def test_a_position_without_margin_is_liquidated(self, ex: Rehearsal, usdm: Any) -> None:
        usdm.set_leverage(100, PERP)
        usdm.create_order(PERP, "market", "buy", 5_000.0)
        ex.call(lambda control: control.deposit(ex.config.api_key, "USDT", -5_000.0))
        for _ in range(200):
            ex.advance(HOUR)
            if usdm.fetch_positions([PERP]) == []:
                break
        assert usdm.fetch_positions([PERP]) == []
        assert [line["what"] for line in ex.log()][-1] == "LIQUIDATION"
        assert usdm.fetch_balance()["USDT"]["total"] >= 0.0


async def told(watch: Callable[[], Awaitable[Any]], seconds: float = 1.0) -> Any:
    """What a watcher returns or raises; ``"silence"`` if it hangs."""
    try:
        return await asyncio.wait_for(watch(), seconds)
    except TimeoutError:
        return "silence"
    except ccxt.BaseError as error:
        return error


class TestStreams:
    """Each test watches candles of the perpetual, breaks the stream, and looks at what the watcher says next."""

    def broken(self, ex: Rehearsal, kind: str, steps: int = 3, **options: Any) -> tuple[Any, Any]:
        """What the next call says after the fault, and the one after it."""

        async def main() -> tuple[Any, Any]:
            async with pro_client(ex, **options) as client:

                async def candle() -> Any:
                    return await client.watch_ohlcv(PERP, "1h")

                async def next_told(seconds: float) -> Any:
                    waiting = asyncio.ensure_future(told(candle, seconds))
                    for _ in range(steps):
                        await asyncio.sleep(0.05)
                        await ex.step(HOUR // 60)
                    return await waiting

                assert (await next_told(3.0))[-1][0] > 0
                ex.inject(Fault(kind=kind, at="usdm.kline", seconds=0.3))
                return await next_told(1.2), await next_told(0.6)

        result: tuple[Any, Any] = run(main)
        assert ex.hits()[kind, "usdm.kline"] == 1
        return result

    @pytest.mark.parametrize("kind", ["close", "reset"])
    def test_an_ended_connection_is_said_at_once_and_made_anew(self, ex: Rehearsal, kind: str) -> None:
        first, second = self.broken(ex, kind)
        assert isinstance(first, ccxt.NetworkError)
        assert isinstance(second, list)

    def test_silence_is_never_noticed(self, ex: Rehearsal) -> None:
        assert self.broken(ex, "silent", streaming={"keepAlive": 200}) == ("silence", "silence")

    def test_a_black_hole_is_noticed_after_three_keep_alives(self, ex: Rehearsal) -> None:
        first, _ = self.broken(ex, "stalled", streaming={"keepAlive": 300})
        assert isinstance(first, ccxt.RequestTimeout)

    @pytest.mark.parametrize("kind", ["truncated", "nulls"])
    def test_one_bad_frame_stops_the_client_for_good(self, ex: Rehearsal, kind: str) -> None:
        assert self.broken(ex, kind) == ("silence", "silence")

    @pytest.mark.parametrize("kind", ["text", "unknown-event", "lost", "twice", "delayed"])
    def test_what_a_client_shrugs_off(self, ex: Rehearsal, kind: str) -> None:
        first, second = self.broken(ex, kind)
        assert isinstance(first, list)
        assert isinstance(second, list)

    def test_an_error_frame_is_raised(self, ex: Rehearsal) -> None:
        first, _ = self.broken(ex, "error-frame")
        assert isinstance(first, ccxt.ExchangeError)

    def test_a_refused_dial_is_said_and_tried_again(self, ex: Rehearsal) -> None:
        async def main() -> None:
            async with pro_client(ex) as client:
                # aiohttp tries a cut dial once more by itself if it went over a connection that was open already.
                ex.inject(Fault(kind="refuse", at="usdm.dial.*", times=2), Fault(kind="503-dial", at="usdm.dial.*"))
                for _ in range(2):
                    with pytest.raises(ccxt.NetworkError):
                        await client.watch_ohlcv(PERP, "1h")
                waiting = asyncio.ensure_future(client.watch_ohlcv(PERP, "1h"))
                while not waiting.done():
                    await asyncio.sleep(0.1)
                    await ex.step(HOUR // 60)

        run(main)

    @pytest.mark.parametrize(("name", "symbol"), [("binanceusdm", PERP), ("binance", COIN)])
    def test_a_gap_in_the_book_is_noticed_and_mended(self, ex: Rehearsal, name: str, symbol: str) -> None:
        async def main() -> None:
            async with pro_client(ex, name) as client:

                async def moved() -> Any:
                    waiting = asyncio.ensure_future(told(lambda: client.watch_order_book(symbol), 3.0))
                    while not waiting.done():
                        await asyncio.sleep(0.05)
                        await ex.step(HOUR // 60)
                    return waiting.result()

                for _ in range(4):
                    assert (await moved())["nonce"] is not None
                ex.inject(Fault(kind="lost", at="*.depth"))
                says = [await moved() for _ in range(6)]
                assert any(isinstance(one, ccxt.ChecksumError) for one in says)
                book = await moved()
                while isinstance(book, Exception):
                    book = await moved()
                asks = await client.fetch_order_book(symbol)
                assert book["asks"][0] == asks["asks"][0]

        run(main)

    def test_fills_told_twice_and_late(self, ex: Rehearsal) -> None:
        async def main() -> None:
            async with pro_client(ex) as client:
                seen: list[Any] = []

                async def listen() -> None:
                    while True:
                        seen.extend(await client.watch_my_trades(PERP))

                listener = asyncio.ensure_future(listen())
                await asyncio.sleep(0.3)
                ex.inject(Fault(kind="twice", at="usdm.user", times=None))
                await client.create_order(PERP, "market", "buy", 1.0)
                await asyncio.sleep(0.2)
                assert len(seen) >= 2 and len({trade["id"] for trade in seen}) == 1
                ex.calm()
                ex.inject(Fault(kind="lost", at="usdm.user", times=None))
                await client.create_order(PERP, "market", "buy", 1.0)
                await asyncio.sleep(0.2)
                assert len({trade["id"] for trade in seen}) == 1
                assert len(await client.fetch_my_trades(PERP)) == 2
                listener.cancel()

        run(main)
