"""The supervisor of the websockets: whatever happens to a stream, it is there again within the stale limit."""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import Iterator
from itertools import islice
from typing import Any

import ccxt
import pytest

from qframe_rl.feeds import stream
from qframe_rl.feeds.ccxt import CcxtFeed
from qframe_rl.feeds.listing import listings
from qframe_rl.feeds.rows import BookAnswer
from qframe_rl.feeds.stream import Streams, sides
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.rehearsal import Fault, Rehearsal, RehearsalConfig, listed, serve
from qframe_rl.rehearsal.market import ListedMarket

STALE_S = 1.0
SYMBOL = "SYN0/USDT:USDT"
HOUR_MS = 3_600_000


def markets() -> tuple[ListedMarket, ...]:
    return listed(synthetic("regimes", n_bars=4000))


@pytest.fixture(scope="module")
def exchange() -> Iterator[Rehearsal]:
    start = markets()[0].first_ms + 10 * HOUR_MS
    with serve(markets(), RehearsalConfig(prints=20), speed="7200x", start_ms=start) as running:
        yield running


@pytest.fixture
def streams(exchange: Rehearsal) -> Iterator[Streams]:
    made = Streams("binance", listings("binance", [SYMBOL]), "1h", url=exchange.url, depth=5, stale_s=STALE_S)
    made.start()
    assert made.wake.wait(60.0)
    until(lambda: made.quote(SYMBOL) is not None, 60.0)
    yield made
    made.stop()
    exchange.calm()


def until(done: object, seconds: float) -> float:
    begun = time.monotonic()
    while not done():  # type: ignore[operator]
        assert time.monotonic() - begun < seconds
        time.sleep(0.01)
    return time.monotonic() - begun


def test_books_are_fresh_and_in_order(streams: Streams) -> None:
    quote = streams.quote(SYMBOL)
    assert quote is not None
    assert len(quote.bids) == len(quote.asks) == 5
    assert (quote.bids[:-1, 0] > quote.bids[1:, 0]).all()
    assert (quote.asks[:-1, 0] < quote.asks[1:, 0]).all()
    assert quote.bids[0, 0] < quote.asks[0, 0]
    assert streams.n_restarts == 0


@pytest.mark.parametrize("kind", ["close", "reset", "silent", "stalled", "truncated", "nulls", "error-frame"])
@pytest.mark.parametrize("at", ["usdm.kline", "usdm.depth"])
def test_a_broken_stream_is_there_again(exchange: Rehearsal, streams: Streams, kind: str, at: str) -> None:
    exchange.inject(Fault(kind=kind, at=at))
    until(lambda: exchange.hits().get((kind, at), 0) > 0, 5.0)
    hit = time.monotonic()
    if at == "usdm.kline":
        streams.wake.clear()
        assert streams.wake.wait(STALE_S + 3.0)
        streams.wake.clear()
        assert streams.wake.wait(STALE_S + 3.0)
    else:
        until(lambda: (quote := streams.quote(SYMBOL)) is not None and quote.arrived > hit + 0.5, STALE_S + 4.0)


@pytest.mark.parametrize(("lost", "other"), [("usdm.kline", "book"), ("usdm.depth", "candles")])
def test_a_silent_stream_leaves_the_others_alone(
    exchange: Rehearsal, streams: Streams, lost: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(streams, "_note", notes.append)
    exchange.inject(Fault(kind="lost", at=lost, times=None))
    until(lambda: len(notes) >= 2, 10.0)
    assert not [note for note in notes if other in note]


@pytest.mark.parametrize("kind", [KeyError, TypeError, ValueError, AttributeError])
def test_a_mistake_of_ours_ends_the_feed_and_is_no_answer(
    exchange: Rehearsal, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def wrong(*given: Any) -> Any:
        raise kind("ours")

    monkeypatch.setattr(stream, "sides", wrong)
    feed = CcxtFeed("binance", [SYMBOL], "1h", 2, url=exchange.url, speed=7200.0, depth=5)
    with pytest.raises(kind, match="ours"):
        list(islice(feed, 1000))


@pytest.mark.parametrize("error", [ConnectionError("closed before send"), KeyError("a parser's"), CancelledError()])
def test_what_comes_out_of_ccxt_is_subscribed_after_again(
    exchange: Rehearsal, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    made = Streams("binance", listings("binance", [SYMBOL]), "1h", url=exchange.url, depth=5, stale_s=STALE_S)
    new = made._client

    def once(kind: Any) -> Any:
        client = new(kind)
        watch = client.watch_order_book

        def broken(*given: Any) -> Any:
            client.watch_order_book = watch
            raise error

        async def watched(*given: Any) -> Any:
            return broken(*given)

        client.watch_order_book = watched
        return client

    monkeypatch.setattr(made, "_client", once)
    made.start()
    until(lambda: made.quote(SYMBOL) is not None, 10.0)
    made.check()
    made.stop()


def book(bids: list[Any], asks: list[Any]) -> BookAnswer:
    return BookAnswer.model_validate({"bids": bids, "asks": asks})


def test_a_book_with_a_price_of_zero_is_refused() -> None:
    with pytest.raises(ccxt.BadResponse, match="not above zero"):
        sides(book([[0.0, 2.0]], []), 5)


def test_no_more_levels_are_taken_than_asked_for() -> None:
    assert sides(book([[2.0, 2.0, 3], [1.0, 1.0, None]], []), 1)[0].tolist() == [[2.0, 2.0]]


def test_a_crossed_book_is_refused() -> None:
    ask = [[93.94, 1.0], [95.0, 1.0]]
    for bid in (93.94, 94.95):
        with pytest.raises(ccxt.BadResponse, match=r"bid at .* ask at 93\.94"):
            sides(book([[bid, 2.0], [93.0, 1.0]], ask), 5)
    bids, asks = sides(book([[93.93, 2.0]], ask), 5)
    assert bids.tolist() == [[93.93, 2.0]]
    assert asks.tolist() == ask


def test_a_first_picture_may_take_longer_than_a_stream_may_be_silent(exchange: Rehearsal) -> None:
    exchange.inject(Fault(kind="slow", at="usdm.depth", seconds=1.5 * STALE_S))
    made = Streams("binance", listings("binance", [SYMBOL]), "1h", url=exchange.url, depth=5, stale_s=STALE_S)
    made.start()
    until(lambda: made.quote(SYMBOL) is not None, 10.0)
    assert exchange.hits()["slow", "usdm.depth"] == 1
    assert made.n_restarts == 0
    made.stop()
