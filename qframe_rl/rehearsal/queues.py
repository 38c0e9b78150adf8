"""Orders that rest on one side of a market, in queues of the compiled core (`qframe_rl.book.core`).

A side is cut into bands of prices, each a book of the core that grows with its orders: an order may rest at any price,
however far the market is. The two sides are books apart, because orders that may not fill all at once, or not at all
while trading is halted, rest through the other side. An order's id in the core is its turn, and of one price the lower
turn is older. The synthetic book is an owner like another, `OUTSIDE`, laid before everybody else of its prices.
Of a resting order of more than 2^48 lots so many are met by one incoming order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from qframe_rl.book.core import best, levels, match, message, resting
from qframe_rl.book.state import (
    BUY,
    CANCEL,
    FILLED,
    IOC,
    LIMIT,
    MAKER,
    MARKET,
    MOST_ORDER_LOTS,
    RESIZE,
    SELL,
    Books,
    empty_books,
)
from qframe_rl.types import Int

OUTSIDE, NOBODY = 0, 2**31 - 1
"""Owners: the synthetic book, and who only asks. Accounts are numbered between them."""
_PRICES, _PLACES = 1024, 64
_EMPTY = empty_books(1, _PRICES, _PLACES)
Row = tuple[int, int, int, int, int, int]


class QueuedOrder(NamedTuple):
    """An order as a queue knows it."""

    turn: int
    tick: int
    lots: int
    owner: int


class OrderMet(NamedTuple):
    """A resting order that an incoming one meets."""

    turn: int
    lots: int
    """Lots that trade; below zero where it is the owner's own, which expires."""


class OrderQueues:
    """One side of a market.

    Parameters
    ----------
    side
        `qframe_rl.book.state.BUY` for bids, ``SELL`` for asks.
    """

    def __init__(self, side: int):
        self.side = side
        self._bands: dict[int, Books] = {}
        # Machine code is there before the first order comes.
        match(_copied(_EMPTY), message(CANCEL, side, 0, 0, 0, 0))

    def enter(self, order: QueuedOrder) -> None:
        """Let an order rest, before those of its price whose turn is later."""
        band = order.tick // _PRICES
        books = _roomy(self._bands.get(band) or _copied(_EMPTY), 1)
        _told(books, self._entering(books, order))
        self._bands[band] = books

    def leave(self, tick: int, turn: int) -> None:
        """Take an order out."""
        band = tick // _PRICES
        books = self._bands[band]
        _told(books, [(CANCEL, 0, 0, 0, 0, turn)])
        if books.n_free[0] == books.n_places:
            del self._bands[band]

    def lessen(self, tick: int, turn: int, lots: int) -> None:
        """Leave so many lots of an order, which keeps its place."""
        _told(self._bands[tick // _PRICES], [(RESIZE, 0, 0, min(lots, MOST_ORDER_LOTS), 0, turn)])

    def best(self) -> int | None:
        """Tick of the best price; None where nothing rests."""
        if not self._bands:
            return None
        return best(self._bands[max(self._bands) if self.side == BUY else min(self._bands)])[self.side]

    def __iter__(self) -> Iterator[int]:
        """Turns of all orders, the best price first and there the oldest."""
        for band in self._sorted(self._bands):
            yield from resting(self._bands[band]).order_id.tolist()

    def at(self, tick: int) -> list[int]:
        """Turns of the orders at a price, the oldest first."""
        books = self._bands.get(tick // _PRICES)
        return [] if books is None else [int(books.order_id[0, place]) for place in _queue(books, tick)]

    def depth(self) -> list[tuple[int, int]]:
        """Ticks and lots of all prices, the best first."""
        found: list[tuple[int, int]] = []
        for band in self._sorted(self._bands):
            found += map(tuple, levels(self._bands[band])[self.side].tolist())
        return found

    def met(self, bound: int | None, lots: int, owner: int, outside: Sequence[tuple[int, int]]) -> list[OrderMet]:
        """What an incoming order of the other side would meet; nothing is changed.

        Parameters
        ----------
        bound
            Tick of the worst price that it accepts; None = any.
        lots
            What it wants.
        owner
            Whose it is.
        outside
            Ticks and lots of the synthetic book: the turn of each is its number here.

        Returns
        -------
        list[OrderMet]
            In the order of price and time.
        """
        laid: dict[int, list[QueuedOrder]] = {}
        for turn, (tick, size) in enumerate(outside):
            laid.setdefault(tick // _PRICES, []).append(QueuedOrder(turn, tick, size, OUTSIDE))
        found: list[OrderMet] = []
        for band in self._sorted(laid.keys() | self._bands.keys()):
            if lots <= 0 or (bound is not None and self._beyond(band, bound)):
                break
            book = _copied(self._bands.get(band, _EMPTY))
            outer = laid.get(band, ())
            book = _roomy(book, len(outer))
            rows = [row for order in outer for row in self._entering(book, order)]
            kind, tick = (MARKET, 0) if bound is None else (IOC, bound)
            while True:
                part = min(lots, MOST_ORDER_LOTS)
                rows.append((kind, SELL if self.side == BUY else BUY, tick, part, owner, 0))
                fills = _told(book, rows)
                found += map(OrderMet._make, fills[:, (MAKER, FILLED)].tolist())
                taken = int(np.maximum(fills[:, FILLED], 0).sum())
                lots, rows = lots - taken, []
                if taken < part or lots == 0:
                    break
        return found

    def _sorted(self, bands: Iterable[int]) -> list[int]:
        return sorted(bands, reverse=self.side == BUY)

    def _beyond(self, band: int, bound: int) -> bool:
        return (band + 1) * _PRICES <= bound if self.side == BUY else band * _PRICES > bound

    def _entering(self, books: Books, order: QueuedOrder) -> list[Row]:
        """Messages that put an order before those of its price whose turn is later."""
        places = [place for place in _queue(books, order.tick) if books.order_id[0, place] > order.turn]
        later = [
            QueuedOrder(int(books.order_id[0, n]), order.tick, int(books.lots[0, n]), int(books.owner[0, n]))
            for n in places
        ]
        gone: list[Row] = [(CANCEL, 0, 0, 0, 0, one.turn) for one in later]
        queue = [order._replace(lots=min(order.lots, MOST_ORDER_LOTS)), *later]
        return gone + [(LIMIT, self.side, one.tick, one.lots, one.owner, one.turn) for one in queue]


def _copied(books: Books) -> Books:
    return Books._make(field.copy() for field in books)


def _queue(books: Books, tick: int) -> list[int]:
    """Places of the orders at a price, the oldest first."""
    p = tick - int(books.base[0])
    place = int(books.head[0, p]) if 0 <= p < books.n_prices else -1
    found = []
    while place >= 0:
        found.append(place)
        place = int(books.after[0, place])
    return found


def _roomy(books: Books, n: int) -> Books:
    """A book with places for so many orders more: itself, or one with twice the places or more."""
    if books.n_free[0] >= n:
        return books
    rests = resting(books)
    larger = empty_books(1, _PRICES, max(2 * books.n_places, books.n_places + n))
    rows = np.stack([np.full_like(rests.tick, LIMIT), rests.side, rests.tick, rests.lots, rests.owner, rests.order_id])
    _told(larger, rows.T)
    return larger


def _told(books: Books, rows: Sequence[Row] | Int) -> Int:
    """Let a book take messages, each of which it must accept; return the fills."""
    outcome = match(books, np.asarray(rows, np.int64))
    if outcome.status.any():
        raise RuntimeError(f"a queue refused {rows[int(np.argmax(outcome.status))]}")
    return outcome.fills
