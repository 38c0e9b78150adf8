"""The memory of order books: arrays that compiled loops work on, nothing of it allocated while they do.

A book is a window of P prices. Each price has a queue of orders, linked both ways through a pool of M places, and its
number of lots; 64 prices share a word of occupancy, so that the next best price is found without a walk. A table finds
an order's place by its id.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qframe_rl.config import UserError
from qframe_rl.types import Int

BUY, SELL = 0, 1
KIND, SIDE, TICK, LOTS, OWNER, ID = range(6)
"""Columns of a message."""
N_MESSAGE = 6
LIMIT, POST_ONLY, IOC, FOK, MARKET, CANCEL, RESIZE = range(7)
"""Kinds of messages.

``LIMIT`` takes what it can and rests; ``POST_ONLY`` rests or is refused; ``IOC`` takes what it can, ``FOK`` all or
nothing; ``MARKET`` takes at any price; ``CANCEL`` takes the order of that id out; ``RESIZE`` gives it so many lots in
all that are still to fill: fewer keep its place in the queue, more go to its end.
"""
ACCEPTED, OUTSIDE, FULL, WOULD_TAKE, WOULD_NOT_FILL, UNKNOWN, DOUBLE, ILL = range(8)
"""Outcomes of messages.

``OUTSIDE``: what would rest lies outside the window, and no shift of it holds all that rests. ``FULL``: no place is
free in the pool. Of both, what was taken before stands. ``UNKNOWN``: no order of that id rests. ``DOUBLE``: one does
already. ``ILL``: a number that no message can have.
"""
N_OUTCOMES = 8
ROW, MAKER, MAKER_OWNER, TAKER, TAKER_OWNER, TAKER_SIDE, AT, FILLED = range(8)
"""Columns of a fill: the message's row, the resting order's id and owner, those of the order that came and its side,
the price in ticks, lots. Lots below zero are those of a resting order that expired instead of trading with its own
owner."""
N_FILL = 8
MOST_LOTS = 2**40
"""Of an event."""
MOST_ORDER_LOTS = 2**48
"""Of an order: those of a full pool at one price are still a number of 64 bits."""
MOST_TICKS = 2**40
MOST_PLACES = 2**15 - 1
_WORD = 64

_TYPES = (
    np.int64, np.int32, np.uint64, np.int16, np.int16, np.int64, np.int16, np.int16, np.int8, np.int32, np.int64,
    np.int64, np.int64, np.int16, np.int64, np.int16, np.int64,
)  # fmt: skip


class Books(NamedTuple):
    """B books of P prices and M places each."""

    base: Int
    """(B,) tick of the window's lowest price."""
    best: NDArray[np.int32]
    """(B, 2) window's price of the best bid and ask; -1 and P where there is none."""
    words: NDArray[np.uint64]
    """(B, 2, P / 64) a bit for each price at which an order of the side rests."""
    head: NDArray[np.int16]
    """(B, P) place of the oldest order at a price; -1 = none."""
    tail: NDArray[np.int16]
    """(B, P) place of the youngest."""
    depth: Int
    """(B, P) lots at a price."""
    after: NDArray[np.int16]
    """(B, M) place of the next younger order at the same price."""
    before: NDArray[np.int16]
    """(B, M) place of the next older one."""
    side: NDArray[np.int8]
    """(B, M) `BUY` or `SELL`."""
    owner: NDArray[np.int32]
    """(B, M) who placed an order."""
    tick: Int
    """(B, M) its price."""
    lots: Int
    """(B, M) what is left of it."""
    order_id: Int
    """(B, M) its id."""
    free: NDArray[np.int16]
    """(B, M) places that are free, the next one last."""
    n_free: Int
    """(B,) how many."""
    table: NDArray[np.int16]
    """(B, H) places by a hash of their order's id; -1 = none."""
    counts: Int
    """(B, 8) messages by their outcome."""

    @property
    def n_books(self) -> int:
        """B."""
        return len(self.base)

    @property
    def n_prices(self) -> int:
        """P."""
        return int(self.head.shape[1])

    @property
    def n_places(self) -> int:
        """M."""
        return int(self.free.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of one book."""
        return sum(field.nbytes for field in self) // self.n_books


def empty_books(n_books: int, n_prices: int = 512, n_places: int = 256) -> Books:
    """Books without an order.

    Parameters
    ----------
    n_books
        B.
    n_prices
        P, prices of a book's window: a multiple of 64.
    n_places
        M, orders that rest in one at a time, at most 32,767.

    Raises
    ------
    UserError
        If a number is none of these.
    """
    if n_books < 1 or n_prices < _WORD or n_prices % _WORD or n_prices > 2**30:
        raise UserError(f"{n_books} books of {n_prices} prices: at least one, and prices are a multiple of {_WORD}.")
    if not 1 <= n_places <= MOST_PLACES:
        raise UserError(f"{n_places} places of orders: 1 to {MOST_PLACES}.")
    by_price, by_place = (n_books, n_prices), (n_books, n_places)
    best = np.empty((n_books, 2), np.int32)
    best[:, BUY], best[:, SELL] = -1, n_prices
    return Books(
        np.zeros(n_books, np.int64), best, np.zeros((n_books, 2, n_prices // _WORD), np.uint64),
        np.full(by_price, -1, np.int16), np.full(by_price, -1, np.int16), np.zeros(by_price, np.int64),
        np.full(by_place, -1, np.int16), np.full(by_place, -1, np.int16), np.zeros(by_place, np.int8),
        np.zeros(by_place, np.int32), np.zeros(by_place, np.int64), np.zeros(by_place, np.int64),
        np.zeros(by_place, np.int64), np.tile(np.arange(n_places, dtype=np.int16)[::-1], (n_books, 1)).copy(),
        np.full(n_books, n_places, np.int64), np.full((n_books, _n_table(n_places)), -1, np.int16),
        np.zeros((n_books, N_OUTCOMES), np.int64),
    )  # fmt: skip


def _n_table(n_places: int) -> int:
    """H: the power of two from which on the table is at most half full."""
    return 1 << (2 * n_places - 1).bit_length()


def check_books(books: Books) -> None:
    """Refuse books whose arrays are not of one another, before compiled loops go through them.

    Raises
    ------
    UserError
        Naming the first such array.
    """
    n, n_prices, n_places = len(books.base), books.head.shape[-1], books.free.shape[-1]
    by_price, by_place = (n, n_prices), (n, n_places)
    shapes = [
        (n,), (n, 2), (n, 2, n_prices // _WORD), *[by_price] * 3, *[by_place] * 8, (n,), (n, _n_table(n_places)),
        (n, N_OUTCOMES),
    ]  # fmt: skip
    for name, shape, kind in zip(Books._fields, shapes, _TYPES, strict=True):
        field = getattr(books, name)
        if field.shape != shape or field.dtype != kind or not field.flags.c_contiguous:
            raise UserError(f"books: {name} is {field.dtype} {field.shape}, not {np.dtype(kind)} {shape} in a row.")
