"""A live feed: closed candles of one exchange, polled over REST through CCXT."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.config import Unavailable, UserError
from qframe_rl.feeds.cash import with_cash
from qframe_rl.feeds.clock import Clock, LiveClock
from qframe_rl.feeds.download import bar_pages, rate_pages
from qframe_rl.feeds.exchange import MarketDataClient, Note, Stopped
from qframe_rl.feeds.listed import ListedNow
from qframe_rl.feeds.listing import listings
from qframe_rl.feeds.live_columns import LiveColumns
from qframe_rl.feeds.live_finer import LiveFiner
from qframe_rl.feeds.live_line import LiveLine
from qframe_rl.feeds.live_members import LiveMembers
from qframe_rl.feeds.panel import FUNDING_RATE, Leg, panel, settled
from qframe_rl.feeds.parquet import Series
from qframe_rl.feeds.rows import MS
from qframe_rl.feeds.stated import StatedRules
from qframe_rl.feeds.stream import Streams
from qframe_rl.feeds.universe import check_candidates
from qframe_rl.feeds.universe_rule import universe_rule
from qframe_rl.members import MEMBER
from qframe_rl.types import CLOSE, DAY, HOUR, SECOND, Bar, Float, Instrument, Int, Source, timeframe_ns

# A closed candle changes for a moment, while late trades are counted in; it is final once the next one is listed, or
# after this time.
_GRACE_S = 3.0
_POLL_S = 1.0
_PATIENCE_S = 60.0
_LEAST_POLLS = 3
_STALE_S = 30.0
_LEAST_STALE_S = 0.5
_MARK_TIMEFRAME = "1h"


class CcxtFeed:
    """Closed bars of one exchange: those of the warm-up at once, then each as soon as it is closed and final.

    Parameters
    ----------
    exchange, symbols, timeframe
        As in `store.load_store`; spot and perpetuals may be mixed.
    window
        Bars of the warm-up.
    url, sandbox
        As in `client.client`.
    universe
        Rule of who may be bought; None = all of the symbols. With one, a symbol may be one that the exchange does not
        list yet, or no more: it has no bars then. What it lists is asked for before each bar, once an hour at most.
    detail
        Timeframe of the finer candles that bars come with, those of the warm-up excepted; None = none.
    columns, risk_free, root
        Exogenous columns as in `live_columns.LiveColumns` and what idle cash earns as in `cash.with_cash`; their files
        are read again for every bar.
    patience_s
        How long a bar that should be there is asked for, seconds. A bar that the exchange then still does not have, or
        that cannot be true, is NaN for that instrument, and left out if no instrument traded.
    clock
        Time and waiting; the exchange's own clock by default.
    speed
        How many times faster than ours the exchange's clock runs: 1 but for a rehearsal.
    depth
        Levels of the order books that websockets follow, 0 for none; None = no websockets, REST alone.
    note
        Told in one line of every failure and wait.

    Raises
    ------
    UserError
        For an unknown exchange, symbol or timeframe.
    Unavailable
        If the exchange cannot be reached at the start. Later failures are waited out, however long they last.
    """

    def __init__(
        self,
        exchange: str,
        symbols: Sequence[str],
        timeframe: str,
        window: int,
        *,
        url: str | None = None,
        sandbox: bool = False,
        universe: str | None = None,
        detail: str | None = None,
        columns: Sequence[str] = (),
        risk_free: str = "0",
        root: Path = Path(),
        patience_s: float = _PATIENCE_S,
        clock: Clock | None = None,
        speed: float = 1.0,
        depth: int | None = None,
        note: Note | None = None,
    ):
        self.bar_ns = timeframe_ns(timeframe)
        self.window = window
        self.stopped = threading.Event()
        markets = listings(exchange, symbols)
        exchanges = {
            kind: MarketDataClient(exchange, kind, url, sandbox, stopped=self.stopped, note=note)
            for kind in dict.fromkeys(market.kind for market in markets)
        }
        self._listed = ListedNow(exchanges, markets, timeframe, sparse=universe is not None, note=note)
        self._lines = [LiveLine(exchanges[m.kind], m, self._listed.instrument(m)) for m in markets]
        first = self._lines[0].exchange
        self.source = Source(first.name, first.environment, url or first.name)
        self.instruments = tuple(line.instrument for line in self._lines)
        self._stated = StatedRules(exchange, markets, self.instruments, url, sandbox, note)
        self._perpetuals = [line for line in self._lines if line.perpetual]
        self._beside = LiveColumns(columns, root, note or (lambda text: None))
        self.columns = ((FUNDING_RATE,) if self._perpetuals else ()) + self._beside.names
        self._members = None if universe is None else LiveMembers(universe_rule(universe), columns, root)
        if self._members is not None:
            self.columns += (MEMBER,)
            check_candidates(self._members.rule, self.instruments, self.columns, self.bar_ns)
        self._risk_free, self._root, self._timeframe = risk_free, root, timeframe
        # A request takes as long as it does, however fast the exchange's clock runs.
        self._patience_s = patience_s * speed
        self.streams: Streams | None = None
        if depth is not None:
            stale_s = max(_LEAST_STALE_S, min(_STALE_S, self.bar_ns / SECOND / 2.0) / speed)
            self.streams = Streams(
                exchange, [line.listing for line in self._there()], timeframe,
                url=url, sandbox=sandbox, depth=depth, stale_s=stale_s, note=note,
            )  # fmt: skip
        self._speed = speed
        self._clock: Clock = clock or LiveClock(first, speed, self._wake(), lambda: self.idle())
        self._inside = None if detail is None else LiveFiner(detail, self.bar_ns, self._clock, note)
        self._closed = self._delivered = 0
        self._resumed = False
        self.idle: Callable[[], None] = lambda: None
        """Called twice a second while the feed waits for its next bar."""
        self.hear: Callable[[], None] = lambda: None
        """Called several times a second while it waits for an answer."""

    def _wake(self) -> threading.Event | None:
        return self.streams.wake if self.streams is not None else None

    def resume(self, time: int, memory: Mapping[str, Any]) -> None:
        """Begin with the bar after the one that closed at ``time``, when `moment` had said ``memory``.

        Bars that closed in between come at once.
        """
        self._closed, self._delivered, self._resumed = time, time, True
        for line, (paid, last) in zip(self._lines, memory["lines"], strict=True):
            line.paid, line.last = paid, np.nan if last is None else last
            line.told = [line.paid, line.last]

    def moment(self, bar: Bar) -> dict[str, Any]:
        """How late a bar came and how far the clocks are apart, ns, and what `resume` wants to know."""
        for a, line in enumerate(self._lines):
            stamps = settled(line.rates)
            paid = int(stamps[stamps < bar.time].max(initial=int(line.told[0])))
            close = bar.values[a, CLOSE]
            line.told = [paid, line.told[1] if np.isnan(close) else float(close)]
        now = self._clock.now()
        lines = [[paid, None if np.isnan(last) else last] for paid, last in (line.told for line in self._lines)]
        return {"late_ns": max(0, now - bar.time), "skew_ns": self.skew_ns(), "memory": {"lines": lines}}

    def unlisted(self) -> tuple[str, ...]:
        """Symbols of candidates that the exchange does not list now."""
        there = self._there()
        return tuple(line.listing.symbol for line in self._lines if line not in there)

    def rules(self) -> tuple[Instrument, ...]:
        """What the exchange states of the instruments: read at the start, and again every day in the background."""
        return self._stated.now()

    def now(self) -> int:
        """Time by the exchange's clock, ns UTC."""
        return self._clock.now()

    def book(self, symbol: str, depth: int) -> tuple[int, Float, Float]:
        """Order book over REST: time (ns UTC, 0 if unknown), and (N, 2) bids and asks, best first.

        Raises
        ------
        Unavailable
            If the exchange does not give one.
        """
        (line,) = (x for x in self._lines if x.listing.symbol == symbol)
        if line.listing not in self._listed.there:
            raise Unavailable(f"{self.source.exchange} does not list {symbol} now, and so has no order book of it.")
        return line.exchange.book(line.listing, depth)

    def skew_ns(self) -> int:
        """Local clock minus the exchange's; 0 where the exchange's runs faster."""
        if self._speed != 1.0:
            return 0
        return time.time_ns() - self._lines[0].exchange.now()

    def __iter__(self) -> Iterator[Bar]:
        if self.streams is not None:
            self.streams.start()
        for line in self._lines:
            line.exchange.hear = lambda: self.hear()
        try:
            yield from self._missed() if self._resumed else self._warm_up()
            for line in self._lines:
                line.exchange.tries = None
            while True:
                yield from self._next()
        except Stopped:
            return
        finally:
            if self.streams is not None:
                self.streams.stop()

    def _warm_up(self) -> Iterator[Bar]:
        """Yield the last `window` closed bars."""
        span = (self.window + 2) * self.bar_ns
        for _ in range(3):
            for line in self._there():
                line.seen = self._candles(line, self._clock.now() - span)
            opens = self._opens()
            if len(opens) >= self.window:
                break
            span *= 4
        else:
            raise UserError(f"{self.source.exchange} gave {len(opens)} closed bars; {self.window} are needed to begin.")
        first, last = int(opens[-self.window]), int(opens[-1])
        self._look_back(first)
        for line in self._lines:
            line.seen = line.seen.between(first, last + 1)
        for line in self._there(self._perpetuals):
            line.paid = first - 1
            for page in rate_pages(partial(line.exchange.rates, line.listing), first - 2 * DAY, self._clock.now()):
                self._take_rates(line, page)
        yield from self._deliver(last + self.bar_ns)

    def _missed(self) -> Iterator[Bar]:
        """Yield the bars that closed while nobody looked, but for the very last, which may not be complete."""
        since, self._closed = self._closed, 0
        until = self._clock.now() - self.bar_ns - min(int(self._patience_s * SECOND), self.bar_ns // 2)
        self._look_back(since)
        for line in self._there(self._perpetuals):
            line.rates = Series.empty(1)
            for page in rate_pages(partial(line.exchange.rates, line.listing), since - 3 * DAY, self._clock.now()):
                self._take_rates(line, page)
        for line in self._there():
            line.seen = self._candles(line, since).between(since, max(since, until))
        opens = self._opens()
        self._closed = since
        if len(opens):
            yield from self._deliver(int(opens[-1]) + self.bar_ns)

    def _there(self, lines: Sequence[LiveLine] | None = None, *, last: bool = False) -> list[LiveLine]:
        """Those of some lines, or of all, that the exchange lists; with those whose last candle is due, if ``last``."""
        listed = self._listed.there | self._listed.left if last else self._listed.there
        return [line for line in (self._lines if lines is None else lines) if line.listing in listed]

    def _look_back(self, until: int) -> None:
        """Hand the universe what it is chosen from: the bars before the one that opens at ``until``."""
        if self._members is None:
            return
        self._listed.look(self._clock.now())
        since, closed, self._closed = until - self._members.rule.lookback_ns(self.bar_ns), self._closed, 0
        there = self._there()
        past = [self._candles(x, since).between(since, until) if x in there else Series.empty(5) for x in self._lines]
        self._closed = closed
        legs = [Leg(x.instrument, s, x.rates if x.perpetual else None) for x, s in zip(self._lines, past, strict=True)]
        self._members.begin(panel(legs, self.bar_ns, self.source))

    def _next(self) -> Iterator[Bar]:
        """Wait for the bar after the last one, and yield it; nothing if no instrument traded in it."""
        opened, close = self._closed, self._closed + self.bar_ns
        self._await(close)
        if self._listed.look(self._clock.now()):
            self._stated.learn(tuple(self._listed.instrument(line.listing) for line in self._lines))
        begun, polls = self._clock.now(), 1
        # After an outage the deadline has passed already: what is lacking is asked for a few times all the same.
        while not self._complete(opened, close) and (
            polls < _LEAST_POLLS or self._clock.now() < self._deadline(opened, close, begun)
        ):
            polls += 1
            self._clock.wait(min(_POLL_S, self.bar_ns / SECOND / 10))
        for line in self._perpetuals:
            due = line.due
            line.waived = due if due < close else line.waived
        opens = self._opens()
        if opened not in opens:
            # The next bar is the first one in which anything traded, or the one that closes next.
            self._closed = int(opens[0]) if len(opens) else close
            return
        for line in self._lines:
            line.seen = line.seen.between(opened, close)
        yield from self._deliver(close)

    def _await(self, moment: int) -> None:
        """Wait for a moment of the exchange's clock, ns UTC."""
        while True:
            if self.streams is not None:
                self.streams.check()
            left = (moment - self._clock.now()) / SECOND
            if left <= 0.0:
                return
            self._clock.wait(left)

    def _complete(self, opened: int, close: int) -> bool:
        """Ask for everything once; return whether the bar that opened at ``opened`` is all there."""
        for line in self._there(last=True):
            line.seen = self._candles(line, opened)
        for line in self._there(self._perpetuals):
            since = int(line.rates.time[-1]) + MS if len(line.rates.time) else close - 2 * DAY
            self._take_rates(line, line.exchange.rates(line.listing, since))
        return all(opened in line.seen.time for line in self._there(last=True)) and not self._rate_lacks(close)

    def _rate_lacks(self, close: int) -> bool:
        """Whether a settlement that should fall into the bar, or its mark price, is not published yet."""
        return any(
            line.waived < line.due < close
            or (line.exchange.client.has.get("fetchMarkOHLCV") and bool((self._unmarked(line) < close).any()))
            for line in self._there(self._perpetuals)
        )

    def _deadline(self, opened: int, close: int, begun: int) -> int:
        """Until when to ask for what is lacking: briefly where the exchange has gone on to later bars without it."""
        once_more = begun + int(2 * _POLL_S * SECOND)
        gone_on = all(line.ahead or opened in line.seen.time for line in self._there(last=True))
        patience = min(int(self._patience_s * SECOND), self.bar_ns // 2)
        return once_more if gone_on and not self._rate_lacks(close) else max(once_more, close + patience)

    def _deliver(self, close: int) -> Iterator[Bar]:
        """Yield the bars that were seen, and remember what was charged."""
        history = panel([line.leg for line in self._lines], self.bar_ns, self.source)
        history = self._beside.joined(history, strict=not self._closed and not self._resumed)
        if self._members is not None:
            history = self._members.joined(history)
        history = with_cash(history, self._risk_free, self._root, self._delivered or None)
        # An instrument that lacks a bar now may trade in the next one: whether it ended is not known.
        history = replace(history, final=np.zeros_like(history.final))
        for line in self._lines:
            if len(line.seen.time):
                line.last = float(line.seen.values[-1, CLOSE])
        for line in self._perpetuals:
            stamps = settled(line.rates)
            line.paid = max(int(stamps[stamps < close].max(initial=0)), line.paid)
        if self._inside is not None and (self._closed or self._resumed):
            history = self._inside.joined(history, self._lines, self._there(last=True))
        self._closed = self._delivered = close
        for row in range(len(history)):
            if self.stopped.is_set():
                return
            yield history.bar(row)

    def _candles(self, line: LiveLine, since: int) -> Series:
        """Candles from ``since`` on that are closed and final; whether there are later ones is noted in the line."""
        now = self._clock.now()
        exchange = line.exchange

        def page(start: int) -> Series:
            return exchange.candles(line.listing, self._timeframe, start, self.bar_ns, now=now)

        pages = [page(since)] if since == self._closed else [*bar_pages(page, since, now, self.bar_ns, _unknown)]
        got = Series.joined([Series.empty(5), *pages])
        line.ahead = bool((got.time > since).any()) and not np.isnan(got.values[got.time == since]).any()
        close = got.time + self.bar_ns
        followed = np.append(np.ones(max(0, len(close) - 1), dtype=np.bool_), False)[: len(close)]
        final = (close <= now) & (followed | (close + int(_GRACE_S * SECOND) <= now))
        return Series(got.time[final], got.values[final]).whole()

    def _take_rates(self, line: LiveLine, new: Series) -> None:
        """Add new settlements, and the mark prices of those that will be charged."""
        line.rates = Series.joined([line.rates, new.whole()])
        charged = self._unmarked(line)
        if len(charged) and line.exchange.client.has.get("fetchMarkOHLCV"):
            start, stop = int(charged[0]) // HOUR * HOUR, int(charged[-1]) + 1

            def page(at: int) -> Series:
                return line.exchange.candles(line.listing, _MARK_TIMEFRAME, at, HOUR, mark=True, now=self._clock.now())

            line.marks = Series.joined([line.marks, *bar_pages(page, start, stop, HOUR, _unknown)]).whole()

    def _unmarked(self, line: LiveLine) -> Int:
        """Settlements that are still to be charged and of which no mark price is known yet."""
        stamps = settled(line.rates)
        stamps = stamps[stamps > line.paid]
        candle = np.searchsorted(line.marks.time, stamps, side="right") - 1
        if not len(line.marks.time):
            return stamps
        return stamps[(candle < 0) | (stamps - line.marks.time[candle] >= HOUR)]

    def _opens(self) -> Int:
        """Opens of all candles that were seen, each once."""
        return np.unique(np.concatenate([line.seen.time for line in self._lines]))


def _unknown() -> None:
    """Where a market began is not asked: a live feed starts long after."""
