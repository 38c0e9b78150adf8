"""Websockets of an exchange through ccxt.pro, in a thread: order books, and a wake-up whenever a candle closed.

A candle of a stream is a hint, not a bar: a frame may be lost, cut or sent twice, and CCXT does not say which update
was the last. The bar itself is asked for over REST, see `qframe_rl.feeds.ccxt`. Each stream has a connection of its own
and a supervisor: silence beyond the stale limit, whatever its cause, drops that connection alone and subscribes again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from qframe_rl.exchanges import amount_unit, depth_of
from qframe_rl.feeds.answer import awaited, shaped, unclear
from qframe_rl.feeds.client import Kind, pro
from qframe_rl.feeds.exchange import Note
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.rows import MS, PRICE, BookAnswer, levels
from qframe_rl.feeds.task import PendingRequest
from qframe_rl.types import Float

_CLOSE_S = 1.0
_LOAD_S = 30.0
_FIRST_S = 5.0
_LONGEST_PAUSE_S = 30.0


class Quote(NamedTuple):
    """An order book as it was last told."""

    time: int
    """By the exchange's clock, ns UTC; 0 where it states none."""
    arrived: float
    """Monotonic clock, seconds."""
    bids: Float
    """(N, 2) price and base units, best first."""
    asks: Float
    """(N, 2) price and base units, best first."""


class Streams:
    """Candles and order books of some markets of one exchange.

    Parameters
    ----------
    exchange, url, sandbox
        As in `client.client`.
    markets
        What to follow.
    timeframe
        Of the candles.
    depth
        Levels of each side of a book; 0 = no books.
    stale_s
        Longest silence of a stream, seconds. Its first update, for which it connects and asks for a book's picture, may
        take five seconds.
    note
        Told in one line of every reconnection.
    """

    def __init__(
        self,
        exchange: str,
        markets: Sequence[Listing],
        timeframe: str,
        *,
        url: str | None = None,
        sandbox: bool = False,
        depth: int = 0,
        stale_s: float = 30.0,
        note: Note | None = None,
    ):
        self.wake = threading.Event()
        """Set whenever a new candle opened: the one before it is closed."""
        self.n_restarts = 0
        """How often a stream was silent for too long or broke."""
        self.stale_s = stale_s
        self._client: Callable[[Kind], Any] = lambda kind: pro(exchange, kind, url, sandbox)
        self._markets, self._timeframe, self._depth = tuple(markets), timeframe, depth
        self._note: Note = note or (lambda text: None)
        self._known: dict[Kind, Any] = {}
        self._asking: dict[Kind, asyncio.Lock] = {market.kind: asyncio.Lock() for market in self._markets}
        self._opened: dict[str, int] = {}
        self._quotes: dict[str, Quote] = {}
        self._stopped = threading.Event()
        self._task: PendingRequest[None] | None = None

    def start(self) -> None:
        """Connect."""
        self._task = PendingRequest(lambda: asyncio.run(self._main()))

    def stop(self) -> None:
        """Disconnect."""
        self._stopped.set()
        if self._task is not None:
            self._task.wait(5.0 + _CLOSE_S)

    def check(self) -> None:
        """Raise what ended the streams, if anything did: a mistake of ours, which no new subscription mends."""
        if self._task is not None and self._task.done:
            self._task.result()

    def quote(self, symbol: str) -> Quote | None:
        """Last order book of a symbol; None if there is none, or if it is older than the stale limit."""
        found = self._quotes.get(symbol)
        return found if found is not None and time.monotonic() - found.arrived <= self.stale_s else None

    async def _main(self) -> None:
        wanted = [("candles", self._candles), *([("book", self._book)] if self._depth else [])]
        clients, tasks = [], []
        for market in self._markets:
            for what, once in wanted:
                clients.append(self._client(market.kind))
                tasks.append(self._follow(clients[-1], market, what, once))
        running = [asyncio.create_task(task) for task in tasks]
        mistakes: list[BaseException] = []
        while not self._stopped.is_set() and not mistakes:
            await asyncio.sleep(0.05)
            mistakes = [error for task in running if task.done() and (error := task.exception())]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.gather(*(closed(client.close()) for client in clients))
        if mistakes:
            self.wake.set()
            raise mistakes[0]

    async def _ready(self, client: Any, kind: Kind) -> None:
        """Let a client know the markets: of each kind they are asked for once."""
        async with self._asking[kind]:
            if self._known.get(kind) is None:
                self._known[kind] = await awaited(client.load_markets)
            elif not client.markets:
                client.set_markets(self._known[kind])

    async def _follow(
        self, client: Any, market: Listing, what: str, once: Callable[[Any, str], Awaitable[None]]
    ) -> None:
        """Take one update after the other, for ever."""
        import ccxt

        failures, symbol = 0, market.symbol
        longest = max(self.stale_s, _FIRST_S)
        while True:
            try:
                await asyncio.wait_for(self._ready(client, market.kind), self.stale_s + _LOAD_S)
                await asyncio.wait_for(once(client, symbol), longest)
                failures, longest = 0, self.stale_s
                continue
            except ccxt.NotSupported:
                self._note(f"{symbol}: CCXT has no stream of its {what}; it is asked for instead")
                return
            except TimeoutError:
                why = f"nothing for {longest:.3g} s"
                await _drop(client)
            except unclear() as error:
                why = f"{type(error).__name__}: {str(error)[:80]}"
                if not isinstance(error, ccxt.NetworkError):
                    await _drop(client)
            longest = max(self.stale_s, _FIRST_S)
            failures += 1
            self.n_restarts += 1
            self._note(f"stream of {symbol} {what}: {why}; subscribing again")
            await asyncio.sleep(min(_LONGEST_PAUSE_S, 0.05 * 2.0 ** min(failures - 1, 10), self.stale_s))

    async def _candles(self, client: Any, symbol: str) -> None:
        rows = shaped(list[list[float | None]], await awaited(client.watch_ohlcv, symbol, self._timeframe))
        opened = max((int(row[0]) for row in rows if row and row[0]), default=0)
        if opened > self._opened.get(symbol, 0):
            self._opened[symbol] = opened
            self.wake.set()

    async def _book(self, client: Any, symbol: str) -> None:
        told = await awaited(client.watch_order_book, symbol, depth_of(client.id, self._depth))
        unit = amount_unit(client.id, client.markets[symbol])
        try:
            book = shaped(BookAnswer, told)
            bids, asks = (side * (1.0, unit) for side in sides(book, self._depth))
        except unclear():
            # A change was missed, nobody knows when: what was told before is as doubtful as this.
            self._quotes.pop(symbol, None)
            raise
        self._quotes[symbol] = Quote((book.timestamp or 0) * MS, time.monotonic(), bids, asks)


def sides(told: BookAnswer, depth: int) -> tuple[Float, Float]:
    """(N, 2) price and amount of bids and asks, best first, no more than ``depth`` levels of each.

    Raises
    ------
    ccxt.BadResponse
        If a number is not above zero, or the best bid not below the best ask: CCXT takes an update whose levels are
        null for an empty one and goes on, and what should have gone stays in its book.
    """
    import ccxt

    bids, asks = (levels(side, depth) for side in (told.bids, told.asks))
    if not ((bids > 0.0).all() and (asks > 0.0).all()):
        raise ccxt.BadResponse("an order book with a number that is not above zero")
    if len(bids) and len(asks) and bids[0, PRICE] >= asks[0, PRICE]:
        raise ccxt.BadResponse(f"an order book with its bid at {bids[0, 0]:.10g} and its ask at {asks[0, 0]:.10g}")
    return bids, asks


async def _drop(client: Any) -> None:
    """End all connections of a client; whoever waits on them is told, and finds a new one."""
    import ccxt

    for url in list(client.clients):
        socket = client.clients.pop(url)
        socket.reject(ccxt.NetworkError("dropped by its supervisor"))
        await closed(socket.close())


async def closed(closing: Awaitable[Any]) -> None:
    """Wait for an end, but not for a peer that does not answer."""
    import ccxt

    try:
        await asyncio.wait_for(closing, _CLOSE_S)
    except (TimeoutError, ccxt.BaseError, OSError):
        return
