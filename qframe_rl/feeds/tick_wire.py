"""Depth and trades of one market as they come over ccxt.pro, each message with its ids and the moment it arrived.

ccxt.pro keeps a book of its own and hides what made it. Where an exchange tells changes with update ids (``raw_depth``
of `qframe_rl.exchanges`: Binance), its messages are taken as they come in, before CCXT reads them, and the whole book
is asked for over REST. Elsewhere the books that CCXT keeps, so many levels of each side, are compared with each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, FiniteFloat

from qframe_rl.config import UserError
from qframe_rl.exchanges import amount_unit, conventions, depth_of
from qframe_rl.feeds.answer import awaited, shaped
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.rows import MS, BookAnswer
from qframe_rl.feeds.stream import closed, sides

WHOLE, LIMITED = 1000, 50
"""Levels a side of a book: asked for over REST where changes are told; streamed where they are not."""
NOT_TOLD = -1
"""Stands for an id or a stamp that the exchange does not tell."""
Levels = list[tuple[float, float]]
"""Prices and quantities in base units."""


class BookPicture(NamedTuple):
    """A whole book."""

    local_ns: int
    last: int
    """Id of the last update in it."""
    bids: Levels
    asks: Levels


class DepthMessage(NamedTuple):
    """Levels that changed, each with what stands there now."""

    local_ns: int
    """When it arrived, by the recorder's clock."""
    event_ms: int
    transact_ms: int
    """-1 = not told."""
    first: int
    final: int
    """Ids of the updates in it."""
    previous: int
    """Last id of the message before; -1 where ``first`` follows it instead."""
    bids: Levels
    asks: Levels

    @property
    def exchange_ns(self) -> int:
        """When it happened, by the exchange's clock."""
        return (self.transact_ms if self.transact_ms >= 0 else self.event_ms) * MS


class TradeMessage(NamedTuple):
    """A trade."""

    local_ns: int
    event_ms: int
    trade_ms: int
    trade_id: int
    price: float
    quantity: float
    buyer_is_maker: bool
    exec_type: str
    """What kind of print it is, where the exchange says so."""

    @property
    def exchange_ns(self) -> int:
        """When it happened, by the exchange's clock."""
        return self.trade_ms * MS


TickMessage = BookPicture | DepthMessage | TradeMessage


class PrintAnswer(BaseModel):
    """What is read of a trade, in CCXT's words."""

    model_config = ConfigDict(frozen=True)

    id: str | None
    timestamp: int
    side: str
    price: FiniteFloat
    amount: FiniteFloat


def is_raw(listing: Listing) -> bool:
    """Whether a market's changes are told with update ids."""
    return conventions(listing.client).raw_depth


class Finished(Exception):
    """All that was heard has come."""


class TickConnection:
    """One subscription to depth and trades of a market.

    Parameters
    ----------
    client
        Of ccxt.pro, with its markets, for this market alone; it is closed with the connection.
    listing
        The market.
    clock
        The recorder's, ns UTC.
    """

    def __init__(self, client: Any, listing: Listing, clock: Callable[[], int]):
        self._client, self._listing, self._wall = client, listing, clock
        self._told_ns, self._closed, self._has_trades = 0, False, False
        self._market = client.markets[listing.symbol]
        self._unit = amount_unit(client.id, self._market)
        self._queue: asyncio.Queue[TickMessage | BaseException] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ccxt_reads = client.handle_message

    def start(self) -> None:
        """Subscribe."""
        client, symbol = self._client, self._listing.symbol
        if is_raw(self._listing):
            client.handle_message = self._hear
            client.fetch_order_book_snapshot = self._subscribed
            self._do(self._broken(client.watch_trades, symbol))
        else:
            self._do(self._pictures())
            self._do(self._trades())

    async def next(self) -> TickMessage:
        """What came next; what ended the subscription is raised, `Finished` once it was told to."""
        told = await self._queue.get()
        if isinstance(told, BaseException):
            raise told
        return told

    def ask(self) -> None:
        """Ask for the whole book; it comes between the other messages."""
        self._do(self._picture())

    def finish(self) -> None:
        """Hear no more; what was heard still comes, and then `Finished`."""
        self._closed = True
        self._queue.put_nowait(Finished())

    async def close(self) -> None:
        """Disconnect."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await closed(self._client.close())

    def _clock(self) -> int:
        """The recorder's clock; of two messages of one nanosecond the second is a nanosecond later."""
        at = self._wall()
        self._told_ns = at + (at == self._told_ns)
        return self._told_ns

    def _do(self, work: Awaitable[None]) -> None:
        async def done() -> None:
            try:
                await work
            except Exception as error:
                self._queue.put_nowait(error)

        task = asyncio.create_task(done())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _broken(self, watch: Callable[..., Awaitable[Any]], *given: Any) -> None:
        """Wait until CCXT says that a stream broke: what it tells never reaches CCXT's own books."""
        import ccxt

        await awaited(watch, *given)
        raise ccxt.BadResponse("a stream that CCXT took for something else")

    async def _subscribed(self, *_: Any) -> None:
        """What CCXT calls once the changes of a book are subscribed to."""
        self.ask()

    async def _picture(self) -> None:
        told = shaped(_NumberedBook, await awaited(self._client.fetch_order_book, self._listing.symbol, WHOLE))
        bids, asks = (self._levels(side) for side in (told.bids, told.asks))
        self._queue.put_nowait(BookPicture(self._clock(), told.nonce, bids, asks))

    def _hear(self, socket: Any, message: Any) -> None:
        """Take depth and trades as they come; CCXT reads the rest."""
        told = message.get("data", message) if isinstance(message, Mapping) else {}
        kind = told.get("e") if isinstance(told, Mapping) else None
        read = _READ.get(str(kind))
        if read is None:
            self._ccxt_reads(socket, message)
            if not self._has_trades and "result" in told:
                # No trade of a run may be missing: depth begins once trades are confirmed.
                self._has_trades = True
                self._do(self._broken(self._client.watch_order_book, self._listing.symbol, WHOLE))
            return
        if self._closed:
            return
        at = self._clock()
        import ccxt

        try:
            self._queue.put_nowait(read(told, at, self._unit))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            self._queue.put_nowait(ccxt.BadResponse(f"a {kind} of another form ({type(error).__name__}: {error})"))

    async def _pictures(self) -> None:
        """Books as CCXT keeps them, and how each differs from what was told before."""
        import ccxt

        name = self._client.id
        asked = depth_of(name, LIMITED) if conventions(name).book_depths else None
        windows, number = (BookWindow(descending=True), BookWindow(descending=False)), 0
        while True:
            told = shaped(BookAnswer, await awaited(self._client.watch_order_book, self._listing.symbol, asked))
            at = self._clock()
            if told.timestamp is None:
                raise UserError(f"{name} states no times of its books, and ticks need them; take another.")
            both = [self._levels(side.tolist()) for side in sides(told, LIMITED)]
            if not all(both):
                raise ccxt.BadResponse("an order book with an empty side")
            bids, asks = (window.changes(side) for window, side in zip(windows, both, strict=True))
            if number == 0:
                self._queue.put_nowait(BookPicture(at, 0, bids, asks))
            else:
                self._queue.put_nowait(DepthMessage(at, told.timestamp, NOT_TOLD, number, number, NOT_TOLD, bids, asks))
            number += 1

    async def _trades(self) -> None:
        while True:
            told = shaped(list[PrintAnswer], await awaited(self._client.watch_trades, self._listing.symbol))
            at = self._clock()
            for one in told:
                if one.id is None:
                    raise UserError(f"{self._client.id} states no ids of its trades, and ticks need them.")
                what = (one.price, one.amount * self._unit, one.side == "sell", "")
                self._queue.put_nowait(TradeMessage(at, one.timestamp, one.timestamp, number_of(one.id), *what))

    def _levels(self, side: Any) -> Levels:
        return [(float(price), float(amount) * self._unit) for price, amount in side]


class _NumberedBook(BookAnswer):
    """A whole book with the id of its last update."""

    nonce: int


class BookWindow:
    """One side of a book of which only the best levels are told.

    A level that leaves the window keeps what was last told: what stands there is unknown, not nothing.

    Parameters
    ----------
    descending
        Whether the best price is the highest.
    """

    def __init__(self, *, descending: bool):
        self._sign = -1.0 if descending else 1.0
        self._told: dict[float, float] = {}

    def changes(self, side: Levels) -> Levels:
        """Levels that differ from what was told of them.

        Parameters
        ----------
        side
            The levels that are told, best first; at least one.
        """
        now, worst = dict(side), self._sign * side[-1][0]
        gone = [price for price in self._told if self._sign * price <= worst and price not in now]
        changed = [(price, quantity) for price, quantity in side if self._told.get(price) != quantity]
        for price in gone:
            del self._told[price]
        self._told |= now
        return [(price, 0.0) for price in gone] + changed


def number_of(text: str) -> int:
    """Number of a trade; of an id that is none, its digest."""
    if text.isdecimal() and len(text) <= 18:
        return int(text)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1


def _depth(told: Mapping[str, Any], at: int, unit: float) -> DepthMessage:
    both = ([(float(price), float(amount) * unit) for price, amount in told[side]] for side in "ba")
    stamps = (int(told["E"]), int(told.get("T", NOT_TOLD)))
    return DepthMessage(at, *stamps, int(told["U"]), int(told["u"]), int(told.get("pu", NOT_TOLD)), *both)


def _trade(told: Mapping[str, Any], at: int, unit: float) -> TradeMessage:
    number = told["t"] if told["e"] == "trade" else told["a"]
    return TradeMessage(
        at, int(told["E"]), int(told["T"]), int(number), float(told["p"]), float(told["q"]) * unit, bool(told["m"]),
        str(told.get("X", "")),
    )  # fmt: skip


_READ: dict[str, Callable[[Mapping[str, Any], int, float], TickMessage]] = {
    "depthUpdate": _depth, "trade": _trade, "aggTrade": _trade,
}  # fmt: skip
