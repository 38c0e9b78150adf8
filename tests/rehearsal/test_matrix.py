"""The house's own client code against every fault: no wrong price, no doubled order, no endless wait.

Rows of requests: `feeds.exchange.MarketDataClient` asks again until the answer is right, `feeds.client.client` refuses
answers that mean nothing, downloads and the live feed end with the recorded bars to the bit. What CCXT makes of the
same faults without the house's guard is in ``test_faults.py``; so is what ccxt.pro makes of broken streams.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import ccxt
import numpy as np
import pytest

from qframe_rl.config import Unavailable, UserError
from qframe_rl.feeds.ccxt import CcxtFeed
from qframe_rl.feeds.client import client
from qframe_rl.feeds.download import download
from qframe_rl.feeds.exchange import MarketDataClient
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.store import load_store
from qframe_rl.rehearsal import Fault, Rehearsal
from qframe_rl.types import HOUR
from tests.rehearsal.conftest import COIN, PERP, markets

MS = 1_000_000
LISTING = listing("binance", PERP)
FIRST = markets()[0].first_ms * MS
BARS = markets()[0].values
PASSING = (
    "429", "418", "404", "408", "500", "502", "503", "504", "520", "529", "unknown-before", "drop", "late",
    "drop-after", "unknown-after", "timeout-after", "slow", "cut", "empty", "malformed", "html",
)  # fmt: skip
"""Faults after which asking again helps, and which do not last as long as the client's patience."""


@pytest.fixture
def exchange(ex: Rehearsal) -> MarketDataClient:
    made = MarketDataClient("binance", "perpetual", url=ex.url, pause_s=0.01)
    made.client.enableRateLimit = False
    made.client.timeout = 400
    return made


def candles(exchange: MarketDataClient, n: int = 50) -> np.ndarray:
    return exchange.candles(LISTING, "1h", FIRST, HOUR, limit=n).values


class TestReading:
    def test_bars_are_asked_for_until_they_are_right(self, ex: Rehearsal, exchange: MarketDataClient) -> None:
        for kind in (*PASSING, "black-hole", "black-hole-after"):
            ex.inject(Fault(kind=kind, at="usdm.klines", times=2, seconds=0))
            assert np.array_equal(candles(exchange), BARS[:50]), kind
            assert ex.hits()[kind, "usdm.klines"] == (1 if kind in ("late", "slow") else 2)
            ex.calm()

    @pytest.mark.parametrize("kind", ["403", "451"])
    def test_a_ban_is_said_after_three_tries(self, ex: Rehearsal, exchange: MarketDataClient, kind: str) -> None:
        """A firewall's mistake passes; a ban does not, and is not hammered at."""
        ex.inject(Fault(kind=kind, at="usdm.klines", times=None))
        with pytest.raises(UserError, match=f"refuses the request: PermissionDenied: .*{kind}"):
            candles(exchange)
        assert ex.hits()[kind, "usdm.klines"] == 3

    @pytest.mark.parametrize("kind", ["empty", "malformed", "html", "null", "object", "list"])
    def test_a_clock_without_a_time_is_asked_again(self, ex: Rehearsal, exchange: MarketDataClient, kind: str) -> None:
        ex.inject(Fault(kind=kind, at="usdm.time", times=2))
        assert exchange.now() // MS >= ex.now_ms
        assert exchange.now() // MS - ex.now_ms < 5_000

    def test_the_wait_is_the_one_that_was_stated(self, ex: Rehearsal, exchange: MarketDataClient) -> None:
        ex.inject(Fault(kind="429", at="usdm.klines", seconds=1))
        begun = time.monotonic()
        candles(exchange)
        assert 1.0 <= time.monotonic() - begun < 1.5

    def test_an_endless_outage_is_given_up(self, ex: Rehearsal) -> None:
        exchange = MarketDataClient("binance", "perpetual", url=ex.url, tries=3, pause_s=0.01)
        ex.call(lambda control: control.maintain(True))
        with pytest.raises(Unavailable, match="failed 3 times"):
            candles(exchange)

    def test_nobody_there(self) -> None:
        with pytest.raises(Unavailable, match="failed 2 times"):
            MarketDataClient("binance", "perpetual", url="http://127.0.0.1:9", tries=2, pause_s=0.01)

    def test_funding_rates_are_asked_for_until_they_are_right(self, ex: Rehearsal, exchange: MarketDataClient) -> None:
        ex.inject(*(Fault(kind=kind, at="usdm.fundingRate") for kind in ("empty", "cut", "malformed", "503")))
        got = exchange.rates(LISTING, FIRST)
        assert len(got.time) == 13
        assert np.array_equal(got.values[:, 0], markets()[0].rates[:13])


@pytest.mark.usefixtures("unthrottled")
class TestWhatComesOfIt:
    @pytest.mark.parametrize("kinds", [("502", "drop", "cut", "empty", "malformed"), ("null",), ("list",), ("object",)])
    def test_a_download_through_faults_is_the_recorded_market(
        self, ex: Rehearsal, tmp_path: Path, kinds: tuple[str, ...]
    ) -> None:
        ex.advance(to_ms=markets()[0].last_ms - 1)
        names = ("usdm.klines", "usdm.markPriceKlines", "usdm.fundingRate", "usdm.time", "usdm.exchangeInfo")
        ex.inject(*(Fault(kind=kind, at=name) for name in names for kind in kinds))
        download("binance", [PERP], "1h", FIRST, root=tmp_path, url=ex.url, pause_s=0.001)
        got = load_store(tmp_path, "binance", [PERP], "1h")
        assert len(got) == len(BARS) - 1
        assert np.array_equal(got.values[:, 0, :5], BARS[: len(got)])
        assert set(ex.hits()) == {(kind, name) for name in names for kind in kinds}

    def test_a_live_feed_through_faults_gives_the_recorded_bars(
        self, ex: Rehearsal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(MarketDataClient, "wait", lambda self, seconds: None)

        class Clock:
            """The exchange's time, which passes while somebody waits."""

            def now(self) -> int:
                return ex.now_ms * MS

            def wait(self, seconds: float) -> None:
                ex.advance(max(0, round(seconds * 1000)))

        feed = CcxtFeed("binance", [PERP], "1h", 5, url=ex.url, clock=Clock())
        for kind in ("empty", "cut", "502", "null"):
            ex.inject(Fault(kind=kind, at="usdm.klines", skip=3))
        got = list(islice(iter(feed), 15))
        feed.stopped.set()
        first = (got[0].time - HOUR - FIRST) // HOUR
        assert np.array_equal(np.array([bar.values[0, :5] for bar in got]), BARS[first : first + 15])
        assert len(ex.hits()) == 4


@pytest.fixture
def trader(ex: Rehearsal) -> Iterator[Any]:
    """The house's client with keys, one unit long, and one order resting."""
    made = client("binance", "perpetual", url=ex.url)
    made.enableRateLimit, made.timeout = False, 500
    made.load_markets()
    made.load_time_difference()
    made.apiKey, made.secret = ex.config.api_key, ex.config.secret
    made.create_order(PERP, "market", "buy", 1.0)
    made.resting = made.create_order(PERP, "limit", "buy", 1.0, 50.0)["id"]
    yield made
    made.session.close()


CALLS: dict[str, Callable[[Any], Any]] = {
    "fetch_ticker": lambda c: c.fetch_ticker(PERP),
    "fetch_order_book": lambda c: c.fetch_order_book(PERP),
    "fetch_trades": lambda c: c.fetch_trades(PERP),
    "fetch_funding_rate": lambda c: c.fetch_funding_rate(PERP),
    "fetch_balance": lambda c: c.fetch_balance(),
    "fetch_positions": lambda c: c.fetch_positions([PERP]),
    "fetch_order": lambda c: c.fetch_order(c.resting, PERP),
    "fetch_open_orders": lambda c: c.fetch_open_orders(PERP),
    "fetch_orders": lambda c: c.fetch_orders(PERP),
    "fetch_my_trades": lambda c: c.fetch_my_trades(PERP),
    "create_order": lambda c: c.create_order(PERP, "limit", "buy", 1.0, 51.0),
    "cancel_order": lambda c: c.cancel_order(c.resting, PERP),
}


def orders(ex: Rehearsal) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ex.truth()["accounts"][ex.config.api_key]["orders"]["usdm"]
    return found


class TestTrading:
    @pytest.mark.parametrize("call", sorted(CALLS))
    def test_no_meaningless_answer_is_taken_for_one(self, ex: Rehearsal, trader: Any, call: str) -> None:
        trader.load_leverage_brackets()
        for kind in ("empty", "malformed", "html", "529", "cut", "503", "429", "drop-after", "unknown-after"):
            if call == "cancel_order":
                trader.resting = trader.create_order(PERP, "limit", "buy", 1.0, 50.0)["id"]
            ex.inject(Fault(kind=kind))
            with pytest.raises(ccxt.BaseError):
                CALLS[call](trader)
            ex.calm()

    @pytest.mark.parametrize(
        "kind", ["drop", "drop-after", "cut", "empty", "malformed", "unknown-after", "timeout-after"]
    )
    def test_a_lost_answer_never_doubles_an_order(self, ex: Rehearsal, trader: Any, kind: str) -> None:
        before = len(orders(ex))
        ex.inject(Fault(kind=kind, at="usdm.order.post"))
        with pytest.raises(ccxt.BaseError):
            trader.create_order(PERP, "market", "buy", 1.0, None, {"clientOrderId": "mine"})
        assert len(orders(ex)) - before == (kind != "drop")
        # Who looks it up by the name that he gave it learns what became of it.
        if kind == "drop":
            with pytest.raises(ccxt.OrderNotFound):
                trader.fetch_order(None, PERP, {"origClientOrderId": "mine"})
        else:
            assert trader.fetch_order(None, PERP, {"origClientOrderId": "mine"})["status"] == "closed"

    @pytest.mark.parametrize("kind", ["null", "list", "object"])
    def test_hollow_json_gives_no_name_and_no_price(self, ex: Rehearsal, trader: Any, kind: str) -> None:
        """JSON that is valid and says nothing may pass: then every figure that is lacking is None or absent."""

        def asked(call: str, path: str) -> Any:
            ex.inject(Fault(kind=kind, at=path))
            try:
                return CALLS[call](trader)
            except (ccxt.BaseError, AttributeError, TypeError):
                return None

        order, ticker = asked("create_order", "usdm.order.post"), asked("fetch_ticker", "usdm.ticker")
        book = asked("fetch_order_book", "usdm.depth")
        assert order is None or order["id"] is None
        assert ticker is None or ticker["last"] is None
        assert book is None or book["bids"] == book["asks"] == []
        # A list of positions that is empty looks like having none: nobody may believe it at once.
        assert asked("fetch_positions", "usdm.positionRisk") in (None, [])
        assert trader.fetch_positions([PERP])[0]["contracts"] == 1.0

    def test_a_cancel_that_was_sent_twice_says_so(self, ex: Rehearsal, trader: Any) -> None:
        ex.inject(Fault(kind="drop-after", at="usdm.order.delete"))
        try:
            trader.cancel_order(trader.resting, PERP)
        except (ccxt.NetworkError, ccxt.OrderNotFound):
            assert trader.fetch_order(trader.resting, PERP)["status"] == "canceled"
        assert [o["status"] for o in orders(ex)] == ["FILLED", "CANCELED"]

    @pytest.mark.parametrize("skew", [15_000, -3_000])
    def test_a_wrong_clock_sends_nothing(self, ex: Rehearsal, trader: Any, skew: int) -> None:
        before = len(orders(ex))
        ex.call(lambda control: control.skew(skew))
        with pytest.raises(ccxt.InvalidNonce):
            trader.create_order(PERP, "market", "buy", 1.0)
        assert len(orders(ex)) == before
        trader.load_time_difference()
        trader.create_order(PERP, "market", "buy", 1.0)
        assert len(orders(ex)) == before + 1

    def test_refusals_leave_everything_as_it_was(self, ex: Rehearsal, trader: Any) -> None:
        truth = ex.truth()["accounts"]
        refused: list[tuple[str, float, float | None, dict[str, Any]]] = [
            ("market", 1e6, None, {}),
            ("limit", 1.0, 1e9, {}),
            ("limit", 1.0, 200.0, {"postOnly": True}),
            ("market", 1e-9, None, {}),
            ("market", 1.0, None, {"reduceOnly": True}),
        ]
        for kind, size, price, params in refused:
            with pytest.raises(ccxt.ExchangeError):
                trader.create_order(PERP, kind, "buy", size, price, params)
        trader.secret = "another"
        with pytest.raises(ccxt.AuthenticationError):
            trader.create_order(PERP, "market", "buy", 1.0)
        assert ex.truth()["accounts"] == truth

    def test_a_name_is_no_shield_once_its_order_is_done(self, ex: Rehearsal, trader: Any) -> None:
        """The venue takes a used name again: a name protects only while its order is open."""
        before = len(orders(ex))
        for _ in range(2):
            trader.create_order(PERP, "market", "buy", 1.0, None, {"clientOrderId": "again"})
        assert len(orders(ex)) == before + 2

    def test_ccxt_does_not_repeat_orders_by_itself(self, trader: Any) -> None:
        assert not trader.options.get("maxRetriesOnFailure")


def test_spot_is_guarded_as_well(ex: Rehearsal) -> None:
    made = client("binance", url=ex.url)
    made.enableRateLimit = False
    made.load_markets()
    made.load_time_difference()
    made.apiKey, made.secret = ex.config.api_key, ex.config.secret
    made.create_order(COIN, "market", "buy", 1.0)
    for kind in ("empty", "malformed", "html", "529", "cut"):
        for call in (made.fetch_balance, lambda: made.fetch_my_trades(COIN), lambda: made.fetch_open_orders(COIN)):
            ex.inject(Fault(kind=kind))
            with pytest.raises(ccxt.BaseError):
                call()
    made.session.close()
