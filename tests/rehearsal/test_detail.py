"""Finer bars of coming bars: what a session asks an exchange for is what a backtest loads, and so are its fills."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import Memoryless, View
from qframe_rl.config import Ref
from qframe_rl.feeds.ccxt import CcxtFeed
from qframe_rl.feeds.exchange import Stopped
from qframe_rl.feeds.finer import with_finer
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.market import Market, MarketConfig, market, whole
from qframe_rl.interface import protect, rebalance
from qframe_rl.journal.store import read
from qframe_rl.listeners import Journal
from qframe_rl.live.paper import SessionResult, paper, replay
from qframe_rl.live.recorded import Live
from qframe_rl.live.spec import SessionSpec
from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, listed, serve
from qframe_rl.session import Session, run
from qframe_rl.types import HOUR, MINUTE, History, Orders, Segment
from qframe_rl.venues.simulated import SimulatedVenue
from tests.feeds.test_finer import summed
from tests.rehearsal.test_parity import MS, LockStep

WINDOW, BARS, STEP = 6, 40, 15 * MINUTE


class Trails(Memoryless):
    """Buys whenever it is flat, with a stop that trails and a target, both near."""

    window = WINDOW

    def decide(self, view: View) -> Orders:
        target = np.where(view.account.position == 0.0, 0.9, np.nan)
        return protect(view, rebalance(view, target), take=0.01, trail=0.008)


class Stoppable(LockStep):
    """As the real clock, it waits no longer once its feed is stopped."""

    feed: CcxtFeed

    def wait(self, seconds: float) -> None:
        if self.feed.stopped.is_set():
            raise Stopped
        super().wait(seconds)


class Until:
    """Ends a feed after so many bars."""

    def __init__(self, feed: Live, n: int):
        self.feed, self.left = feed, n

    def started(self, view: View) -> None:
        """Nothing."""

    def settled(self, view: View, orders: Orders) -> None:
        self.left -= 1
        if self.left == 0:
            self.feed.stopped.set()

    def ended(self, view: View) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def parts() -> History:
    return synthetic("gbm", n_bars=4 * (BARS + 60), seed=2, bar_ns=STEP)


def traded(hours: History, detail: str | None = "15m") -> Market:
    config = MarketConfig(features=("log_return:1",), actions=Ref(name="simplex"), detail=detail)
    return market("test", config, hours.instruments, (), HOUR).fit([(hours, whole(hours))])


def lived(ex: Rehearsal, hours: History, folder: Path, n: int) -> tuple[SessionResult, SessionSpec]:
    clock = Stoppable(ex)
    feed = clock.feed = CcxtFeed("binance", hours.symbols, "1h", WINDOW, url=ex.url, detail="15m", clock=clock)
    source: dict[str, Any] = {"feed": "ccxt", "detail": "15m"}
    terms = SessionSpec("trails", "0" * 16, source, hours.instruments, (), HOUR, WINDOW)
    return paper(
        traded(hours), Trails(), feed, terms, folder, listeners=[Until(feed, n)], durable=False, snapshot_bars=7
    ), terms


@pytest.mark.usefixtures("unthrottled")
def test_sessions_on_coming_bars_fill_as_backtests_do(tmp_path: Path, parts: History) -> None:
    start = int(parts.time[0] - STEP + 20 * HOUR + 10 * MINUTE) // MS
    hours = with_finer(summed(parts, 4), parts)
    with serve(listed(parts), RehearsalConfig(), start_ms=start) as ex:
        instruments = CcxtFeed("binance", hours.symbols, "1h", WINDOW, url=ex.url).instruments
        hours = replace(hours, instruments=instruments)
        lived(ex, hours, tmp_path, BARS // 2)
        result, terms = lived(ex, hours, tmp_path, BARS)  # it counts those on record too
    assert replay(traded(hours), Trails(), terms, tmp_path / "journal.db").digest == result.digest

    first = int(np.searchsorted(hours.time, start * MS, side="right"))
    digests = {}
    for detail in ("15m", None):
        one, journal = traded(hours, detail), Journal(instruments, HOUR)
        feed = HistoryFeed(hours, Segment(first, first + BARS), WINDOW)
        run(Session(feed, SimulatedVenue(one.rules, one.cash), WINDOW, journal), Trails())
        record = journal.record()
        digests[detail] = record.digest
        assert record.slots is not None and (record.slots.fills[:, :, 0] != 0.0).sum() > 10
    assert result.digest == digests["15m"] != digests[None]


@pytest.mark.usefixtures("unthrottled")
def test_bars_whose_candles_do_not_add_up_are_taken_as_a_whole_and_told(parts: History) -> None:
    start, told = int(parts.time[0] - STEP + 20 * HOUR + 10 * MINUTE) // MS, list[str]()
    with serve(listed(parts), RehearsalConfig(), start_ms=start) as ex:
        feed = CcxtFeed(
            "binance", parts.symbols, "1h", WINDOW, url=ex.url, detail="15m", clock=LockStep(ex), note=told.append
        )
        asked = feed._lines[0].exchange.candles
        held_back = int(parts.time[0] - STEP + 22 * HOUR)

        def lacking(listing: Any, timeframe: str, since: int, *given: Any, **more: Any) -> Any:
            got = asked(listing, timeframe, since, *given, **more)
            keep = (got.time < held_back) | (got.time >= held_back + 2 * STEP) | (timeframe != "15m")
            return got._replace(time=got.time[keep], values=got.values[keep])

        feed._lines[0].exchange.candles = lacking  # type: ignore[method-assign]
        bars = []
        for bar in feed:
            bars.append(bar)
            if len(bars) == WINDOW + 5:
                break
        feed.stopped.set()
    seen = [bar.finer is not None and len(bar.finer) for bar in bars]
    assert seen[:WINDOW] == [False] * WINDOW
    whole_ones = [bar for bar in bars if bar.time == held_back + HOUR]
    assert len(whole_ones) == 1 and whole_ones[0].finer is not None and np.isnan(whole_ones[0].finer[1:]).all()
    assert [text for text in told if "looked at as a whole" in text] and seen.count(4) == 4


@pytest.mark.usefixtures("unthrottled")
def test_a_journal_has_what_bars_consist_of(tmp_path: Path, parts: History) -> None:
    start = int(parts.time[0] - STEP + 20 * HOUR + 10 * MINUTE) // MS
    hours = with_finer(summed(parts, 4), parts)
    with serve(listed(parts), RehearsalConfig(), start_ms=start) as ex:
        lived(ex, hours, tmp_path, 3)
    bars = [event for event in read(tmp_path / "journal.db") if event.kind == "bar"]
    assert ['"finer"' in event.payload for event in bars] == [False] * WINDOW + [True] * 3
