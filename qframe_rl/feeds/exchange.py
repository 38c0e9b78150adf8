"""One exchange over REST through CCXT: patient, rate-limited, and believing nothing that it has not checked."""

from __future__ import annotations

import difflib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np

from qframe_rl.config import Unavailable, UserError, nearest, whole_number
from qframe_rl.exchanges import amount_unit, base_volume, volume_unit
from qframe_rl.feeds import rows
from qframe_rl.feeds.answer import answer, shaped, unclear
from qframe_rl.feeds.client import Kind, client, step
from qframe_rl.feeds.listing import Listing, base_exchange
from qframe_rl.feeds.parquet import Series
from qframe_rl.feeds.presets import preset
from qframe_rl.feeds.rows import MS, UNPLACED, Page
from qframe_rl.feeds.store import Environment
from qframe_rl.feeds.task import LOOK_S, Reckoned, answered
from qframe_rl.types import CLOSE, HIGH, LOW, VOLUME, Float, Instrument, iso

T = TypeVar("T")
Note = Callable[[str], None]
MARKS, RATES = "mark prices", "funding"
_MAX_WAIT_S = 60.0
_BANNED_TRIES = 3
# How often an answer with a row that cannot be true is asked for again.
_DOUBTS = 2
_MAX_RETRY_AFTER_S = 900.0


class Stopped(Exception):
    """A wait was ended because the user wants to stop."""


class MarketDataClient:
    """Market data of one exchange, with retries.

    Parameters
    ----------
    exchange, kind, url, sandbox
        As in `client.client`.
    tries
        Attempts at a request before giving up; None = for ever.
    pause_s
        First wait after a failure, seconds; it doubles with each further one, up to a minute.
    stopped
        Ends every wait.
    note
        Told in one line of every wait.

    Raises
    ------
    UserError
        As in `client.client`.
    Unavailable
        If the exchange's markets or clock cannot be read.
    """

    def __init__(
        self,
        exchange: str,
        kind: Kind = "spot",
        url: str | None = None,
        sandbox: bool = False,
        tries: int | None = 8,
        pause_s: float = 1.0,
        stopped: threading.Event | None = None,
        note: Note | None = None,
    ):
        self.client = client(exchange, kind, url, sandbox)
        self.kind = kind
        self.name = base_exchange(exchange)[0]
        self.environment: Environment = "testnet" if sandbox else "unknown" if url else "production"
        self.tries = tries
        self.stopped = stopped or threading.Event()
        self._pause_s = pause_s
        self.note: Note = note or (lambda text: None)
        self.hear: Callable[[], None] | None = None
        """Called several times a second while an answer, or the next attempt, is waited for; None = nobody listens."""
        self.odd: dict[tuple[str, str], dict[int, str]] = {}
        """What was wrong with rows that were left out, by their times (ns UTC), for each symbol and what was asked of
        it: a timeframe, `MARKS` or `RATES`."""
        self._clock = Reckoned(self.measured, self.glanced, 600.0)
        self.retry(self._load_markets)

    def _load_markets(self) -> None:
        if not answer(partial(self.client.load_markets, reload=True)):
            raise _bad("no markets")

    def reload(self) -> None:
        """Ask anew which markets there are; raises as `retry`."""
        self.retry(self._load_markets)

    def retry(self, request: Callable[[], T]) -> T:
        """Answer of ``request``, asked again while it fails for a reason that may pass.

        Raises
        ------
        UserError
            If the exchange refuses the request itself: no such symbol, a blocked country, a wrong parameter.
        Unavailable
            If it failed `tries` times.
        Stopped
            If `stopped` was set while waiting.
        """
        failures = 0
        while True:
            try:
                return request() if self.hear is None else answered(request, self._hear)
            except unclear() as error:
                failures += 1
                if self._is_refusal(error, failures):
                    raise UserError(f"{self.name} refuses the request: {_short(error)}.") from None
                if failures == self.tries:
                    raise Unavailable(f"{self.name} failed {failures} times, last with {_short(error)}.") from error
                self._wait_after(error, failures)

    def _is_refusal(self, error: Exception, failures: int) -> bool:
        """Whether asking again is in vain; who asks for ever waits for the end of a ban as well.

        A firewall may say no once by mistake: a blocked country says it again.
        """
        import ccxt

        if isinstance(error, ccxt.PermissionDenied) and (self.tries is None or failures < _BANNED_TRIES):
            return False
        kinds = (ccxt.AuthenticationError, ccxt.BadRequest, ccxt.NotSupported, ccxt.ArgumentsRequired)
        return isinstance(error, kinds)

    def wait(self, seconds: float) -> None:
        """Wait, or raise `Stopped` as soon as the user wants to stop."""
        end = time.monotonic() + seconds
        while True:
            left = max(0.0, end - time.monotonic())
            if self.stopped.wait(left if self.hear is None else min(left, LOOK_S)):
                raise Stopped
            if self.hear is not None:
                self.hear()
            if time.monotonic() >= end:
                return

    def _hear(self) -> None:
        if self.stopped.is_set():
            raise Stopped
        if self.hear is not None:
            self.hear()

    def now(self) -> int:
        """Time by the exchange's clock, ns UTC; by the local one if it has none to ask."""
        return self._clock.now()

    def measured(self) -> tuple[int, int]:
        """Monotonic and exchange time of one instant, asked for until there is an answer."""
        return self.retry(self._measure)

    def glanced(self) -> tuple[int, int] | None:
        """The same, asked for once; None if there is no answer."""
        try:
            return self._measure()
        except unclear() as error:
            self.note(f"{self.name}: its clock was not told, {_short(error)}")
            return None

    def _measure(self) -> tuple[int, int]:
        if not self.client.has.get("fetchTime"):
            return time.monotonic_ns(), time.time_ns()
        stated = answer(self.client.fetch_time)
        if not isinstance(stated, int) or stated <= 0:
            raise _bad("no time")
        # Paired with the moment of arrival, the clock lags by the way back and never runs ahead: an open candle must
        # not look closed.
        return time.monotonic_ns(), stated * MS

    def _wait_after(self, error: Exception, failures: int) -> None:
        import ccxt

        seconds = min(_MAX_WAIT_S, self._pause_s * 2.0 ** min(failures - 1, 60))
        if isinstance(error, ccxt.DDoSProtection | ccxt.RateLimitExceeded):
            stated = whole_number(str((self.client.last_response_headers or {}).get("Retry-After", "")))
            seconds = max(seconds, float(stated or 0))
            if seconds > _MAX_RETRY_AFTER_S and self.tries is not None:
                raise Unavailable(f"{self.name} wants no request for {seconds / 60:.0f} minutes; come back then.")
        self.note(f"{self.name}: {_short(error)}; next attempt in {seconds:.0f} s")
        self.wait(seconds)

    def check(self, listing: Listing, timeframe: str) -> None:
        """Refuse what the exchange does not have.

        Raises
        ------
        UserError
            For an unknown symbol, with the nearest one, an unknown timeframe, or volumes of an unknown unit.
        """
        self.check_symbol(listing)
        if timeframe not in self.client.timeframes:
            raise UserError(f"{self.name} has no timeframe {timeframe!r}{nearest(timeframe, self.client.timeframes)}")
        volume_unit(self.client.id, self.client.markets[listing.symbol])

    def check_symbol(self, listing: Listing) -> None:
        """Refuse a symbol that the exchange does not have, with the nearest one."""
        if listing.symbol not in self.client.markets:
            known = self.symbols()
            close = difflib.get_close_matches(listing.symbol, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "; --list symbols prints those that it has."
            raise UserError(f"{self.name} has no {listing.kind} symbol {listing.symbol!r}{hint}")

    def symbols(self) -> list[str]:
        """Symbols of `kind` that can be downloaded."""
        wanted = "spot" if self.kind == "spot" else "swap"
        markets = self.client.markets.values()
        return sorted(m["symbol"] for m in markets if m.get(wanted) and (wanted == "spot" or m.get("linear")))

    def instrument(self, listing: Listing) -> Instrument:
        """Rules of a market as the exchange states them; what it does not state of fees and margins is a preset."""
        market = self.client.markets[listing.symbol]
        precision, cost = market["precision"], market["limits"].get("cost") or {}
        usual, unit = preset(listing), amount_unit(self.client.id, market)
        return Instrument(
            symbol=listing.symbol,
            kind=listing.kind,
            lot=step(self.client, precision.get("amount")) * unit,
            tick=step(self.client, precision.get("price")),
            min_amount=float((market["limits"].get("amount") or {}).get("min") or 0.0) * unit,
            min_notional=float(cost.get("min") or 0.0),
            maker_fee=float(usual.maker_fee if market.get("maker") is None else market["maker"]),
            taker_fee=float(usual.taker_fee if market.get("taker") is None else market["taker"]),
            maintenance=usual.maintenance,
        )

    def page_size(self, mark: bool = False) -> int | None:
        """Candles, or mark-price candles, that one request may ask for; None where CCXT does not say."""
        features = self.client.features or {}
        part = features.get("spot") if self.kind == "spot" else (features.get("swap") or {}).get("linear")
        limits = (part or {}).get("fetchOHLCV") or {}
        limit = limits.get("mark" if mark else "limit") or limits.get("limit")
        return int(limit) if limit else None

    def candles(
        self,
        listing: Listing,
        timeframe: str,
        since: int,
        step_ns: int,
        mark: bool = False,
        limit: int | None = None,
        now: int | None = None,
    ) -> Series:
        """One page of candles at and after ``since``, the open one among them.

        Parameters
        ----------
        listing
            The market.
        timeframe
            Length of a candle as the exchange spells it.
        since
            Open of the first, ns UTC.
        step_ns
            Length of a candle, ns.
        mark
            Of the mark price, with a volume of 0.
        limit
            Most candles; None = as many as a page has.
        now
            Time, ns UTC; None = by the exchange's clock. Nothing is said of candles that are open then.

        Returns
        -------
        Series
            (N, 5) open, high, low, close, volume in base units at each open, ns UTC. Where the exchange counts money,
            it is divided by the middle of high, low and close. A row that cannot be true is NaN: see `odd`.
        """
        fetch = self.client.fetch_mark_ohlcv if mark else self.client.fetch_ohlcv
        size = limit or self.page_size(mark)

        def request() -> Page:
            said = answer(fetch, listing.symbol, timeframe, since // MS, size)
            page = rows.candles(shaped(list[list[Any]], said), step_ns, mark)
            return page if mark else self._in_base_units(listing, page)

        def closed(open_ns: int) -> bool:
            return open_ns + step_ns <= (self.now() if now is None else now)

        return _from(self._believed((listing.symbol, MARKS if mark else timeframe), request, closed), since)

    def _in_base_units(self, listing: Listing, page: Page) -> Page:
        values, market = page.values.copy(), self.client.markets[listing.symbol]
        price = values[:, [HIGH, LOW, CLOSE]].mean(axis=1)
        values[:, VOLUME] = base_volume(self.client.id, market, values[:, VOLUME], price)
        return page._replace(values=values)

    def _believed(self, what: tuple[str, str], request: Callable[[], Page], told: Callable[[int], bool]) -> Series:
        """Answer of ``request``; rows that cannot be true are NaN, once they have come three times.

        They are noted once, where their time is one that is ``told``.
        """
        page = self._insisted(request)
        for failures in range(1, _DOUBTS + 1):
            found = self._unheard(what, page, told)
            if not found:
                break
            self._wait_after(_bad(_stated(*next(iter(found.items())))), failures)
            page = self._insisted(request)
        for at, why in self._unheard(what, page, told).items():
            self.odd.setdefault(what, {})[at] = why
            self.note(f"{self.name}: {' '.join(what)}, {_stated(at, why)}; left out unless the exchange mends it")
        return Series(page.time, page.values)

    def _unheard(self, what: tuple[str, str], page: Page, told: Callable[[int], bool]) -> dict[int, str]:
        """Odd rows that nobody has been told of."""
        known = self.odd.get(what, {})
        return {at: why for at, why in page.odd.items() if at not in known and told(at)}

    def _insisted(self, request: Callable[[], Page]) -> Page:
        """Answer of ``request``; an empty one is believed the third time, for it may be a failure in disguise."""
        for _ in range(2):
            page = self.retry(request)
            if len(page.time):
                return page
        return self.retry(request)

    def book(self, listing: Listing, depth: int) -> tuple[int, Float, Float]:
        """Order book: time (ns UTC, 0 if unknown), and (N, 2) price and base units of bids and asks, best first.

        It is asked for once: a book that comes late is of no use.

        Raises
        ------
        Unavailable
            If the exchange does not give one.
        """
        try:
            told = shaped(rows.BookAnswer, answer(self.client.fetch_order_book, listing.symbol, depth))
        except unclear() as error:
            raise Unavailable(f"{self.name} gives no order book of {listing.symbol}: {_short(error)}.") from None
        bids, asks = (np.unique(rows.levels(side, depth), axis=0) for side in (told.bids, told.asks))
        unit = amount_unit(self.client.id, self.client.markets[listing.symbol])
        bids[:, rows.AMOUNT] *= unit
        asks[:, rows.AMOUNT] *= unit
        return (told.timestamp or 0) * MS, bids[::-1], asks

    def rates(self, listing: Listing, since: int) -> Series:
        """One page of funding settlements at and after ``since``: (N, 1) rates at their times, ns UTC; NaN if odd."""

        def request() -> Page:
            said = answer(self.client.fetch_funding_rate_history, listing.symbol, since // MS, None)
            return rows.rates(shaped(list[dict[str, Any]], said))

        return _from(self._believed((listing.symbol, RATES), request, lambda at: True), since)


def symbols(exchange: str, url: str | None = None, sandbox: bool = False) -> list[str]:
    """Symbols of an exchange that can be downloaded: its spot markets, then its linear perpetuals.

    Parameters
    ----------
    exchange, url, sandbox
        As in `client.client`; with ``_um`` only the perpetuals.
    """
    name, perpetuals = base_exchange(exchange)
    kinds: tuple[Kind, ...] = ("perpetual",) if perpetuals else ("spot", "perpetual")
    return [symbol for kind in kinds for symbol in MarketDataClient(name, kind, url, sandbox).symbols()]


def _from(page: Series, since: int) -> Series:
    start = int(np.searchsorted(page.time, since))
    return Series(page.time[start:], page.values[start:])


def _stated(at: int, why: str) -> str:
    """Say in words what is wrong with a row."""
    return f"a row with {why}" if at == UNPLACED else f"the row of {iso(at)} with {why}"


def _bad(what: str) -> Exception:
    import ccxt

    error: Exception = ccxt.BadResponse(f"an answer with {what}")
    return error


def _short(error: Exception) -> str:
    """Say what went wrong, without the address that CCXT puts in."""
    words = str(error).split()
    text = " ".join(word for word in words[1:] if word != "GET" and "://" not in word)[:160].rstrip(".")
    if not text and error.__cause__ is not None:
        text = type(error.__cause__).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
