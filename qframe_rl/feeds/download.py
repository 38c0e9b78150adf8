"""From an exchange into the store: candles, funding rates and mark prices, page by page.

A page is asked for by hand, from the last bar that is there: CCXT's own pagination starts at another bar than the one
asked for, and takes one empty answer for the end. What came is saved every few seconds, so the same command resumes
after an interruption. Bars that the exchange does not have stay missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from qframe_rl.feeds import parquet, store
from qframe_rl.feeds.exchange import MARKS, MarketDataClient
from qframe_rl.feeds.exchange import RATES as FUNDING
from qframe_rl.feeds.listing import Listing, listings
from qframe_rl.feeds.parquet import PRICES, RATES, Series
from qframe_rl.types import DAY, SECOND, timeframe_ns

_SAVE_EVERY_S = 5.0
# Exchanges revise a candle for a moment after its close, when late trades are counted in.
_SETTLING = 2 * SECOND
_MARK_TIMEFRAME = "1h"
# How far to step over an empty page: a page holds at least as many candles on every exchange.
_STRIDE = 100
_RATE_STRIDE = 30 * DAY


class Progress(NamedTuple):
    """How far a download is."""

    symbol: str
    what: str
    """``candles``, ``funding`` or ``mark prices``."""
    done: float
    """Share of the time span that has been asked for."""
    rows: int
    """Rows that came in this run."""
    note: str = ""
    """Why it waits, if it does."""


class Saved(NamedTuple):
    """One file of the store after a download."""

    path: Path
    rows: int
    added: int | None
    """Rows that came in this run; None where nobody counted."""
    first: int | None
    """First timestamp, ns UTC; None in an empty series."""
    last: int | None
    gaps: tuple[tuple[int, int], ...]
    """First missing open (ns UTC) and number of missing bars of every gap; none for funding."""
    odd: tuple[tuple[int, str], ...] = ()
    """Time (ns UTC; 0 if unknown) and fault of every row of this run that could not be true: it is left out."""
    short: tuple[tuple[int, int], ...] = ()
    """Where this run asked for rows from one time on and the exchange gave them from a later one: the two times. Where
    it gave none at all, the second is the end of what was asked for."""


Report = Callable[[Progress], None]
Page = Callable[[int], Series]
Pages = Callable[[int, int], Iterator[Series]]


def download(
    exchange: str,
    symbols: Sequence[str],
    timeframe: str,
    since: int,
    until: int | None = None,
    *,
    root: Path,
    url: str | None = None,
    sandbox: bool = False,
    report: Report | None = None,
    pause_s: float = 1.0,
) -> tuple[Saved, ...]:
    """Fetch what the store does not have yet.

    Parameters
    ----------
    exchange, symbols
        As in `store.load_store`; perpetuals bring their funding rates and hourly mark prices along.
    timeframe
        Length of a bar.
    since, until
        Bars that open at or after ``since`` and close at or before ``until``, ns UTC; None = the last closed one. What
        lies between them and the bars that are stored is fetched as well: a file is one span.
    root
        Folder of the store; made where there is none.
    url, sandbox
        As in `client.client`.
    report
        Told of every page and every wait.
    pause_s
        First wait after a failed request, seconds.

    Returns
    -------
    tuple of Saved
        One for each file, in the order in which they were written.

    Raises
    ------
    UserError
        For anything unknown: exchange, symbol, timeframe; for a folder that holds data of another environment.
    Unavailable
        If the exchange fails for longer than patience lasts. What came before is stored.
    """
    markets = listings(exchange, symbols)
    timeframe_ns(timeframe)
    tell = report or (lambda progress: None)
    lines: dict[str, MarketDataClient] = {}
    for market in markets:
        if market.kind not in lines:
            start = Progress(market.symbol, "candles", 0.0, 0)
            note = partial(_tell_note, tell, start)
            lines[market.kind] = MarketDataClient(exchange, market.kind, url, sandbox, pause_s=pause_s, note=note)
        lines[market.kind].check(market, timeframe)
    for kind, line in lines.items():
        chosen = [market for market in markets if market.kind == kind]
        rules = [line.instrument(market) for market in chosen]
        store.store_instruments(root, chosen[0].folder, rules, line.environment)
    return tuple(
        saved
        for market in markets
        for saved in _Job(lines[market.kind], market, timeframe, since, until, root, tell).run()
    )


def _tell_note(tell: Report, at: Progress, text: str) -> None:
    tell(at._replace(note=text))


def inventory(root: Path, exchange: str, symbols: Sequence[str], timeframe: str) -> tuple[Saved, ...]:
    """Files that the store has of these symbols; parameters as in `download`.

    Parameters
    ----------
    root, exchange, symbols, timeframe
        As in `download`.

    Returns
    -------
    tuple of Saved
        One for each file that is there; ``added`` is None, as nothing was asked of the exchange.
    """
    found = []
    for market in listings(exchange, symbols):
        length = timeframe_ns(timeframe)
        candidates: list[tuple[Path, tuple[str, ...], int]] = []
        candidates.append((store.bars_path(root, market, timeframe), PRICES, length))
        if market.kind == "perpetual":
            candidates.append((store.rates_path(root, market), RATES, 0))
            candidates.append((store.marks_path(root, market, _MARK_TIMEFRAME), PRICES, timeframe_ns(_MARK_TIMEFRAME)))
        found += [
            _saved(path, parquet.read(path, names), None, step) for path, names, step in candidates if path.exists()
        ]
    return tuple(found)


def bar_pages(page: Page, since: int, until: int, step_ns: int, listed: Callable[[], int | None]) -> Iterator[Series]:
    """Candles page by page, in order, each once.

    An empty page, or one with a hole, is asked for a second time before it is believed.

    Parameters
    ----------
    page
        Candles at and after a time, ns UTC: the first ones there are, or those of a page's length from it.
    since, until
        Opens in [since, until), ns UTC.
    step_ns
        Length of a candle.
    listed
        Called if nothing is there at ``since``: an open at or before the first candle, or None to go on page by page.
    """
    cursor, found, probed = since, False, False
    while cursor < until:
        got = page(cursor)
        beyond = len(got.time) > 0 and got.time[0] >= until
        got = got.between(cursor, until)
        if not beyond and _holed(got, cursor if found else None, step_ns):
            got = Series.joined([got, page(cursor).between(cursor, until)])
        if beyond:
            return
        if len(got.time) == 0:
            start = None if found or probed else listed()
            probed = True
            cursor = max(cursor + _STRIDE * step_ns, since if start is None else start)
            continue
        found = True
        yield got
        cursor = int(got.time[-1]) + step_ns


def rate_pages(page: Page, since: int, until: int) -> Iterator[Series]:
    """Funding settlements in [since, until), page by page, in order, each once.

    Parameters
    ----------
    page
        Asks for the settlements from a time on, ns UTC. An empty answer is asked for once more, and then a month is
        skipped.
    since, until
        ns UTC.

    Yields
    ------
    Series
        In ascending time, none of them before ``since`` or at ``until`` and later.
    """
    cursor = since
    while cursor < until:
        got = page(cursor)
        if len(got.time) == 0:
            got = page(cursor)
        if len(got.time) == 0:
            cursor += _RATE_STRIDE
            continue
        if got.time[0] >= until:
            return
        yield got.between(cursor, until)
        cursor = int(got.time[-1]) + 1_000_000


def _holed(got: Series, start: int | None, step_ns: int) -> bool:
    """Whether a page is empty or lacks a candle between ``start`` (None = its first one) and its last."""
    if len(got.time) == 0:
        return True
    first = int(got.time[0]) if start is None else start
    return (int(got.time[-1]) - first) // step_ns + 1 > len(got.time)


class _Job:
    """The files of one symbol."""

    def __init__(
        self,
        line: MarketDataClient,
        market: Listing,
        timeframe: str,
        since: int,
        until: int | None,
        root: Path,
        tell: Report,
    ):
        self.line, self.market, self.timeframe, self.root, self.tell = line, market, timeframe, root, tell
        self.since = since
        closed = line.now() - _SETTLING
        self.until = closed if until is None else min(until, closed)
        self._at = Progress(market.symbol, "candles", 0.0, 0)
        self._given: list[tuple[int, int]] = []
        line.note = lambda text: _tell_note(tell, self._at, text)

    def run(self) -> Iterator[Saved]:
        bars = self._candles(store.bars_path(self.root, self.market, self.timeframe), self.timeframe, mark=False)
        yield bars
        if self.market.kind == "spot" or bars.first is None:
            return
        # The settlement before the first bar is what that bar's column shows.
        self.since = max(self.since, bars.first) - DAY
        yield self._rates()
        if self.line.client.has.get("fetchMarkOHLCV"):
            yield self._candles(store.marks_path(self.root, self.market, _MARK_TIMEFRAME), _MARK_TIMEFRAME, mark=True)

    def _candles(self, path: Path, timeframe: str, mark: bool) -> Saved:
        step = timeframe_ns(timeframe)

        def pages(since: int, until: int) -> Iterator[Series]:
            def page(start: int) -> Series:
                return self.line.candles(self.market, timeframe, start, step, mark)

            return bar_pages(page, since, until, step, lambda: self._listed(since, until, step, mark))

        added = self._fill(path, PRICES, MARKS if mark else "candles", pages, step, self.until - step + 1)
        return self._told(_saved(path, _read(path, PRICES), added, step), MARKS if mark else timeframe, step)

    def _rates(self) -> Saved:
        def pages(since: int, until: int) -> Iterator[Series]:
            return rate_pages(lambda start: self.line.rates(self.market, start), since, until)

        path = store.rates_path(self.root, self.market)
        added = self._fill(path, RATES, FUNDING, pages, 1_000_000, self.until)
        return self._told(_saved(path, _read(path, RATES), added, 0), FUNDING, DAY)

    def _told(self, saved: Saved, what: str, usual_ns: int) -> Saved:
        """With what the exchange could not give; a first row is late that comes ``usual_ns`` after it was asked for."""
        odd = self.line.odd.get((self.market.symbol, what), {})
        short = tuple((asked, given) for asked, given in self._given if given >= asked + usual_ns)
        return saved._replace(odd=tuple(sorted(odd.items())), short=short)

    def _listed(self, since: int, until: int, step: int, mark: bool) -> int | None:
        """Day of the first candle, for exchanges that answer an early ``since`` with nothing."""
        if step >= DAY or "1d" not in self.line.client.timeframes:
            return None

        def page(start: int) -> Series:
            return self.line.candles(self.market, "1d", start, DAY, mark)

        # The first candle lies inside a day that opened before it, perhaps before `since`.
        days = bar_pages(page, since // DAY * DAY, until, DAY, lambda: None)
        return next((int(day.time[0]) for day in days), until)

    def _fill(self, path: Path, names: tuple[str, ...], what: str, pages: Pages, step: int, until: int) -> int:
        """Add what a file lacks before its first row and after its last; return the number of rows."""
        before, self._given = _read(path, names), []
        if len(before.time) == 0:
            return self._pull(path, names, what, pages(self.since, until), self.since, until)
        added, first = 0, int(before.time[0])
        if self.since < first:
            added = self._fill_head(path, names, what, pages, step, first)
        start = int(before.time[-1]) + step
        return added + self._pull(path, names, what, pages(start, until), start, until, added)

    def _fill_head(self, path: Path, names: tuple[str, ...], what: str, pages: Pages, step: int, first: int) -> int:
        """Add what is missing before a file's first row.

        It grows in a file of its own until it meets that row, so that no file has a hole that the exchange has not.
        """
        heads = {
            int(file.name.split("-")[-1].removesuffix(".head")): file
            for file in path.parent.glob(f".{path.stem}-*.head")
        }
        begun = max((since for since in heads if since <= self.since), default=self.since)
        head = path.with_name(f".{path.stem}-{begun}.head")
        part = _read(head, names)
        start = int(part.time[-1]) + step if len(part.time) else begun
        added = self._pull(head, names, what, pages(start, first), start, first)
        parquet.merge(path, names, _read(head, names))
        for file in {head, *heads.values()}:
            file.unlink(missing_ok=True)
        return added

    def _pull(
        self,
        path: Path,
        names: tuple[str, ...],
        what: str,
        pages: Iterator[Series],
        since: int,
        until: int,
        before: int = 0,
    ) -> int:
        """Save pages as they come, at the latest when something goes wrong; return the number of rows.

        ``before`` rows of the same file came earlier in this run.
        """
        held: list[Series] = []
        rows, save_at, first = 0, time.monotonic() + _SAVE_EVERY_S, until
        self._at = Progress(self.market.symbol, what, 0.0, before)
        self.tell(self._at)
        try:
            for page in pages:
                first = min(first, int(page.time[0]))
                held.append(page.whole())
                rows += len(held[-1].time)
                share = (int(page.time[-1]) - since) / max(1, until - since)
                self._at = Progress(self.market.symbol, what, min(1.0, share), before + rows)
                self.tell(self._at)
                begun = time.monotonic()
                if begun > save_at:
                    parquet.merge(path, names, Series.joined(held))
                    held = []
                    # A long file takes long to rewrite: no more than a tenth of the time goes into that.
                    save_at = time.monotonic() + max(_SAVE_EVERY_S, 9.0 * (time.monotonic() - begun))
        finally:
            if held:
                parquet.merge(path, names, Series.joined(held))
        if since < until:
            self._given.append((since, first))
        self.tell(Progress(self.market.symbol, what, 1.0, before + rows))
        return rows


def _read(path: Path, names: tuple[str, ...]) -> Series:
    return parquet.read(path, names) if path.exists() else Series.empty(len(names))


def _saved(path: Path, series: Series, added: int | None, step: int) -> Saved:
    first, last = (int(series.time[0]), int(series.time[-1])) if len(series.time) else (None, None)
    gaps = tuple(store.holes(series.time, step)) if step else ()
    return Saved(path, len(series.time), added, first, last, gaps)
