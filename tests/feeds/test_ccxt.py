"""A genuine CCXT client against a local server: what it refuses, what it waits for, and the live feed."""

import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from qframe_rl.config import Unavailable, UserError
from qframe_rl.feeds.ccxt import CcxtFeed
from qframe_rl.feeds.client import client
from qframe_rl.feeds.download import download
from qframe_rl.feeds.exchange import MarketDataClient, symbols
from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.store import load_store
from qframe_rl.types import HOUR, MINUTE, SECOND, Bar, parse_time
from tests.loopback import Loopback, candle, loopback, rate

START = parse_time("2024-01-01")
START_MS = START // 10**6
BTC, ETH = listing("binance", "BTC/USDT"), listing("binance", "ETH/USDT")


class FakeClock:
    """Time that passes only when somebody waits."""

    def __init__(self, now: int):
        self.time = now

    def now(self) -> int:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += max(0, round(seconds * SECOND))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START + 100 * HOUR + 10 * MINUTE)


@pytest.fixture
def server(clock: FakeClock) -> Iterator[Loopback]:
    with loopback(START_MS, lambda: clock.time // 10**6) as state:
        yield state


@pytest.fixture
def exchange(server: Loopback) -> MarketDataClient:
    return MarketDataClient("binance", url=server.url, pause_s=0.01)


def page(exchange: MarketDataClient, since: int = START) -> np.ndarray:
    got = exchange.candles(BTC, "1h", since, HOUR, limit=20)
    return np.column_stack([got.time // 10**6, got.values])


def expected(n: int, interval: str = "1h", step_ms: int = 3_600_000) -> np.ndarray:
    return np.array([candle("BTCUSDT", interval, START_MS + step_ms * k) for k in range(n)])


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown exchange 'binanec'; did you mean 'binance'"):
        client("binanec")
    with pytest.raises(UserError, match="works for binance, binanceusdm, bybit"):
        client("kraken", url="http://127.0.0.1:1")
    with pytest.raises(UserError, match="does not begin with http"):
        client("binance", url="127.0.0.1:1")
    with pytest.raises(UserError, match="kraken has no test environment"):
        client("kraken", sandbox=True)


@pytest.mark.parametrize("name", ["binance", "binance_um", "binanceusdm"])
def test_every_address_is_replaced(name: str) -> None:
    made = client(name, url="http://127.0.0.1:1/")
    sockets = made.urls["api"].pop("ws")
    assert all(url.startswith("http://127.0.0.1:1/") for url in made.urls["api"].values())
    assert all(url.startswith("ws://127.0.0.1:1/") for url in sockets.values())
    assert made.id == ("binance" if name == "binance" else "binanceusdm")


def test_sandboxes_are_other_hosts() -> None:
    assert "demo" in client("binance", sandbox=True).urls["api"]["public"]
    assert "demo" in client("binance_um", sandbox=True).urls["api"]["fapiPublic"]
    assert "testnet" in str(client("bybit", sandbox=True).urls["api"])


def test_candles_and_rules_as_the_server_has_them(exchange: MarketDataClient) -> None:
    np.testing.assert_array_equal(page(exchange), expected(20))
    rules = exchange.instrument(BTC)
    assert (rules.lot, rules.tick, rules.min_notional, rules.taker_fee) == (0.001, 0.1, 5.0, 0.001)
    assert rules.min_amount == 0.001
    with pytest.raises(UserError, match="no spot symbol 'BTC/USDX'; did you mean 'BTC/USDT'"):
        exchange.check(listing("binance", "BTC/USDX"), "1h")
    with pytest.raises(UserError, match="no timeframe '7h'"):
        exchange.check(BTC, "7h")


def test_symbols_are_listed(server: Loopback) -> None:
    assert symbols("binance", server.url) == ["BTC/USDT", "ETH/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT"]
    assert symbols("binance_um", server.url) == ["BTC/USDT:USDT", "ETH/USDT:USDT"]


@pytest.mark.parametrize(
    "fault",
    ["429", "418", "500", "502", "503", "529", "drop", "cut", "empty", "broken", "html", "nulls", "short",
     "crossed", "twice"],
)  # fmt: skip
def test_a_fault_is_waited_out_and_never_believed(server: Loopback, fault: str) -> None:
    notes: list[str] = []
    exchange = MarketDataClient("binance", url=server.url, pause_s=0.01, note=notes.append)
    server.faults = {0: fault, 1: fault}
    np.testing.assert_array_equal(page(exchange), expected(20))
    assert server.data_requests == 3 and len(notes) == 2 and "http" not in notes[0]


def test_an_outage_of_days_is_waited_out(exchange: MarketDataClient, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(exchange, "wait", waits.append)
    exchange._wait_after(OSError("away"), 5_000)
    assert waits == [60.0]


@pytest.mark.parametrize("fault", ["403", "451"])
def test_a_block_is_not_taken_for_an_outage(server: Loopback, exchange: MarketDataClient, fault: str) -> None:
    server.faults = dict.fromkeys(range(3), fault)
    with pytest.raises(UserError, match=f"binance refuses the request: .*{fault}"):
        page(exchange)
    assert server.data_requests == 3


@pytest.mark.parametrize("fault", ["403", "451"])
def test_a_firewalls_mistake_is_outlived(server: Loopback, exchange: MarketDataClient, fault: str) -> None:
    server.faults = {0: fault, 1: fault}
    np.testing.assert_array_equal(page(exchange), expected(20))


@pytest.mark.parametrize("kind", [KeyError, TypeError, AttributeError])
def test_a_mistake_of_ours_is_not_taken_for_an_answer_and_asked_for_again(
    server: Loopback, exchange: MarketDataClient, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def wrong(*given: object) -> None:
        raise kind("ours")

    monkeypatch.setattr("qframe_rl.feeds.exchange.base_volume", wrong)
    before = server.data_requests
    with pytest.raises(kind, match="ours"):
        page(exchange)
    assert server.data_requests == before + 1


def test_an_empty_page_is_believed_the_third_time(server: Loopback, exchange: MarketDataClient) -> None:
    server.faults = {0: "nothing", 1: "nothing"}
    assert len(page(exchange)) == 20


def test_a_page_has_nothing_from_before_what_was_asked_for(exchange: MarketDataClient) -> None:
    assert page(exchange, START + 1)[0, 0] == START_MS + 3_600_000


@pytest.mark.parametrize("answer", [None, [], {}, {"bids": [], "asks": None}, {"bids": [[1.0, None]], "asks": []}])
def test_a_book_of_another_form_is_none(
    exchange: MarketDataClient, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr(exchange.client, "fetch_order_book", lambda *given: answer)
    with pytest.raises(Unavailable, match="gives no order book of BTC/USDT: BadResponse"):
        exchange.book(BTC, 5)


def test_a_mistake_of_ours_in_a_book_surfaces(exchange: MarketDataClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange.client, "fetch_order_book", lambda *given: {"bids": [[1.0, 1.0]], "asks": []})
    monkeypatch.setattr("qframe_rl.feeds.rows.levels", lambda *given: {}["ours"])
    with pytest.raises(KeyError, match="ours"):
        exchange.book(BTC, 5)


def test_patience_ends(server: Loopback) -> None:
    exchange = MarketDataClient("binance", url=server.url, pause_s=0.001, tries=3)
    server.faults = dict.fromkeys(range(10), "502")
    with pytest.raises(Unavailable, match="binance failed 3 times"):
        page(exchange)
    assert server.data_requests == 3


def test_retry_after_is_honoured(server: Loopback, exchange: MarketDataClient) -> None:
    server.faults, server.retry_after = {0: "429"}, "1"
    started = time.monotonic()
    page(exchange)
    assert 1.0 <= time.monotonic() - started < 3.0
    server.faults, server.retry_after = {2: "418"}, "86400"
    with pytest.raises(Unavailable, match="wants no request for 1440 minutes"):
        page(exchange)


def test_the_clock_is_the_exchanges(server: Loopback, exchange: MarketDataClient, clock: FakeClock) -> None:
    assert 0 <= exchange.now() - clock.time < SECOND


def test_who_asks_for_ever_outlasts_a_ban(server: Loopback, exchange: MarketDataClient) -> None:
    exchange.tries = None
    server.faults = {0: "403", 1: "429", 2: "451"}
    np.testing.assert_array_equal(page(exchange), expected(20))


def values(bars: list[Bar]) -> np.ndarray:
    return np.stack([bar.values for bar in bars])


def feed(server: Loopback, clock: FakeClock, *names: str, timeframe: str = "1h", window: int = 10) -> CcxtFeed:
    return unhurried(CcxtFeed("binance", names, timeframe, window, url=server.url, clock=clock))


def unhurried(live: CcxtFeed) -> CcxtFeed:
    """Time is not real here, so neither is the exchange's rate limit."""
    for line in live._lines:
        line.exchange.client.enableRateLimit = False
    return live


def test_warm_up_then_each_bar_once_and_never_an_open_one(server: Loopback, clock: FakeClock) -> None:
    live = feed(server, clock, "BTC/USDT")
    got = []
    for bar in islice(live, 25):
        assert bar.time <= clock.time
        got.append(bar)
    times = np.array([bar.time for bar in got])
    assert (times == START + HOUR * np.arange(91, 116)).all()
    np.testing.assert_array_equal(values(got)[:, 0], expected(115)[90:, 1:])
    assert clock.time - times[-1] < 10 * SECOND
    assert live.columns == () and live.source.environment == "unknown" and not got[-1].final.any()


def test_a_late_listing_is_waited_for(server: Loopback, clock: FakeClock) -> None:
    server.hidden = lambda symbol, open_ms, now_ms: now_ms < open_ms + 3_600_000 + 20_000
    got = list(islice(feed(server, clock, "BTC/USDT"), 14))
    assert (np.diff([bar.time for bar in got]) == HOUR).all()
    np.testing.assert_array_equal(values(got)[:, 0], expected(104)[90:, 1:])


def test_a_candle_that_one_instrument_lacks_is_nan_there(server: Loopback, clock: FakeClock) -> None:
    server.missing = {("ETHUSDT", START_MS + 3_600_000 * 102)}
    got = list(islice(feed(server, clock, "BTC/USDT", "ETH/USDT"), 14))
    assert (np.diff([bar.time for bar in got]) == HOUR).all()
    absent = np.isnan(values(got)).any(axis=2)
    assert absent[12].tolist() == [False, True] and absent.sum() == 1


def test_a_bar_that_nobody_has_is_left_out(server: Loopback, clock: FakeClock) -> None:
    server.missing = {(name, START_MS + 3_600_000 * k) for name in ("BTCUSDT", "ETHUSDT") for k in (95, 101, 102, 103)}
    names = ("BTC/USDT", "ETH/USDT")
    live = CcxtFeed("binance", names, "1h", 10, url=server.url, clock=clock, risk_free="0.0876")
    got = list(islice(unhurried(live), 14))
    hours = (np.array([bar.time for bar in got]) - START) // HOUR - 1
    assert hours.tolist() == [89, 90, 91, 92, 93, 94, 96, 97, 98, 99, 100, 104, 105, 106]
    assert not np.isnan(values(got)).any()
    # Cash earns in the time of a bar that is left out too, as it does in a history.
    assert [bar.cash_rate for bar in got[1:]] == pytest.approx(1e-5 * np.diff(hours), rel=1e-12)


ODD = {
    "a null": ["1", "2", "1", "1", None],
    "a close above its high": ["10.0", "10.0", "9.0", "10.01", "1"],
    "text": ["1", "2", "1", "n/a", "1"],
    "not a number": ["1", "2", "1", "NaN", "1"],
    "a negative volume": ["1", "2", "1", "1", "-1"],
    "no price": ["0", "0", "0", "0", "0"],
}


@pytest.mark.parametrize("row", ODD.values(), ids=list(ODD))
def test_an_odd_candle_is_missing_for_its_instrument_and_said_once(
    server: Loopback, clock: FakeClock, row: list[str | None]
) -> None:
    notes: list[str] = []
    server.spoiled = {("ETHUSDT", START_MS + 3_600_000 * k): row for k in (95, 102)}
    names = ("BTC/USDT", "ETH/USDT")
    live = unhurried(CcxtFeed("binance", names, "1h", 10, url=server.url, clock=clock, note=notes.append))
    for line in live._lines:
        line.exchange._pause_s = 0.001
    got = list(islice(live, 14))
    assert (np.diff([bar.time for bar in got]) == HOUR).all()
    absent = np.isnan(values(got)).any(axis=2)
    assert np.argwhere(absent).tolist() == [[5, 1], [12, 1]]
    said = [note for note in notes if "left out" in note]
    assert len(said) == 2 and "binance: ETH/USDT 1h, the row of 2024-01-05 06:00:00 with" in said[1]


def test_a_candle_is_not_taken_while_late_trades_may_still_change_it(server: Loopback, clock: FakeClock) -> None:
    """As long as no later one is listed, it is final three seconds after its close."""
    live = feed(server, clock, "BTC/USDT")
    bars = iter(live)
    for _ in range(10):
        next(bars)
    close, key = START + 101 * HOUR, ("BTCUSDT", START_MS + 3_600_000 * 100)
    server.hidden = lambda symbol, open_ms, now_ms: open_ms > key[1] and now_ms < close // 10**6 + 10_000
    server.spoiled = {key: ["1", "2", "1", "1", "1"]}
    wait = clock.wait

    def waited(seconds: float) -> None:
        wait(seconds)
        if clock.time >= close + 2 * SECOND:
            server.spoiled.clear()

    clock.wait = waited  # type: ignore[method-assign]
    np.testing.assert_array_equal(next(bars).values[0], expected(101)[100, 1:])
    assert close + 3 * SECOND <= clock.time < close + 5 * SECOND


def test_an_odd_candle_that_is_mended_in_time_is_taken(server: Loopback, clock: FakeClock) -> None:
    live = feed(server, clock, "BTC/USDT", "ETH/USDT")
    for line in live._lines:
        line.exchange._pause_s = 0.001
    bars = iter(live)
    for _ in range(10):
        next(bars)
    key, mended = ("ETHUSDT", START_MS + 3_600_000 * 100), START + 101 * HOUR + 40 * SECOND
    server.spoiled = {key: ODD["a null"]}
    wait = clock.wait

    def waited(seconds: float) -> None:
        wait(seconds)
        if clock.time > mended:
            server.spoiled.clear()

    clock.wait = waited  # type: ignore[method-assign]
    bar = next(bars)
    assert bar.time == START + 101 * HOUR and not np.isnan(bar.values).any()
    assert mended < clock.time < mended + 10 * SECOND


def test_an_odd_funding_rate_is_left_out(server: Loopback, clock: FakeClock) -> None:
    server.spoiled_rates = {START_MS + 3_600_000 * 104: None}
    notes: list[str] = []
    live = unhurried(CcxtFeed("binance", ("ETH/USDT:USDT",), "1h", 10, url=server.url, clock=clock, note=notes.append))
    live._lines[0].exchange._pause_s = 0.001
    got = list(islice(live, 24))
    assert (np.diff([bar.time for bar in got]) == HOUR).all()
    paid = {int((bar.time - START) // HOUR): float(bar.funding[0]) for bar in got if bar.funding[0] != 0.0}
    assert sorted(paid) == [97, 113] and sum("left out" in note for note in notes) == 1


def test_a_sleeper_catches_up_without_a_gap(server: Loopback, clock: FakeClock) -> None:
    bars = iter(feed(server, clock, "BTC/USDT"))
    got = [next(bars) for _ in range(11)]
    clock.time += 5 * HOUR + 20 * MINUTE
    server.faults = {server.data_requests: "drop"}
    got += [next(bars) for _ in range(8)]
    assert (np.diff([bar.time for bar in got]) == HOUR).all()
    np.testing.assert_array_equal(values(got)[:, 0], expected(109)[90:, 1:])


@pytest.mark.parametrize("late_s", [0, 4000])
def test_the_live_feed_gives_what_the_store_gives(
    server: Loopback, clock: FakeClock, tmp_path: Path, late_s: int
) -> None:
    """Candles, funding and columns of a session, downloaded afterwards, are the same bits."""
    (tmp_path / "mood.csv").write_text("timestamp,mood\n2024-01-05T06:00,3\n")
    server.funding_late_ms = late_s * 1000
    names = ("BTC/USDT", "ETH/USDT:USDT")
    mood = ("mood=mood.csv:mood:0s",)
    live = CcxtFeed("binance", names, "1h", 10, url=server.url, clock=clock, columns=mood, root=tmp_path, patience_s=5)
    got = list(islice(unhurried(live), 40))
    clock.time += MINUTE
    server.funding_late_ms = 0
    download("binance", names, "1h", START, root=tmp_path, url=server.url)
    history = load_store(tmp_path, "binance", names, "1h")
    rows = np.searchsorted(history.time, [bar.time for bar in got])
    np.testing.assert_array_equal(values(got)[:, :, :5], history.values[rows][:, :, :5])
    assert live.columns == ("funding_rate", "mood") and live.instruments == history.instruments
    funding = np.stack([bar.funding for bar in got])
    assert funding[:, 1].sum() == pytest.approx(history.funding[rows][:, 1].sum(), rel=1e-12)
    stamp = START_MS + 104 * 3_600_000
    mark = candle("ETHUSDT", "1h", stamp)[1]
    assert rate(stamp) * mark in funding[:, 1]
    if late_s == 0:
        np.testing.assert_array_equal(funding, history.funding[rows])
        np.testing.assert_array_equal(values(got)[:, :, 5], history.values[rows][:, :, 5])
    np.testing.assert_array_equal(values(got)[:, 0, 6], [np.nan] * 11 + [3.0] * 29)


def test_too_few_bars_to_begin(server: Loopback, clock: FakeClock) -> None:
    with pytest.raises(UserError, match="gave 100 closed bars; 200 are needed"):
        next(iter(feed(server, clock, "BTC/USDT", window=200)))


def test_seconds_by_the_wall_clock_until_it_is_stopped() -> None:
    with loopback(0) as server:
        live = CcxtFeed("binance", ("BTC/USDT",), "1s", 5, url=server.url)
        got = []
        for bar in live:
            assert bar.time <= time.time_ns()
            got.append(bar)
            if len(got) == 8:
                threading.Timer(0.2, live.stopped.set).start()
        assert 8 <= len(got) <= 9
        assert (np.diff([bar.time for bar in got]) == SECOND).all()
        for bar in got:
            assert bar.values[0].tolist() == candle("BTCUSDT", "1s", bar.time // 10**6 - 1000)[1:]
