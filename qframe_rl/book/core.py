"""Messages into books, many at a time: the one place where orders and messages become fills."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qframe_rl.book.matching import apply
from qframe_rl.book.state import BUY, ID, LOTS, N_FILL, N_MESSAGE, OWNER, SELL, TICK, Books, check_books
from qframe_rl.config import UserError
from qframe_rl.jit import apart
from qframe_rl.types import Int

_FEWEST = 1024
"""Fills that are asked for at a time."""


class MatchOutcomes(NamedTuple):
    """What became of N messages."""

    status: NDArray[np.int8]
    """(N,) `qframe_rl.book.state.ACCEPTED` and others."""
    left: Int
    """(N,) lots that rest after the message; of what does not rest, those that were not filled."""
    fills: Int
    """(F, 8) fills in their order, columns as in `qframe_rl.book.state`."""


class RestingOrders(NamedTuple):
    """N orders that rest in a book, the best price first and there the oldest."""

    side: Int
    tick: Int
    lots: Int
    owner: Int
    order_id: Int


def match(books: Books, messages: Int, starts: Int | None = None) -> MatchOutcomes:
    """Let books take messages, each its own in their order.

    Parameters
    ----------
    books
        B books; they are changed.
    messages
        (N, 6) kind, side, tick, lots, owner, id.
    starts
        (B + 1,) rows at which each book's messages begin, the last one their end; None = all are the first book's.

    Returns
    -------
    MatchOutcomes
        Of each message, and all fills; their row is that of ``messages``.

    Raises
    ------
    UserError
        If a shape or type is another one, or ``starts`` does not rise from 0 to N.
    """
    check_books(books)
    if messages.dtype != np.int64 or messages.ndim != 2 or messages.shape[1] != N_MESSAGE:
        raise UserError(f"messages are int64 of shape (N, {N_MESSAGE}), not {messages.dtype} of {messages.shape}.")
    rows = _starts(books, len(messages), starts)
    messages = np.ascontiguousarray(messages)
    status, left = np.zeros(len(messages), np.int8), np.zeros(len(messages), np.int64)
    room = max(_FEWEST, 2 * len(messages)) + books.n_places
    fills, parts, cursor = np.empty((room, N_FILL), np.int64), [], np.array([0, rows[0]])
    while cursor[0] < books.n_books:
        n = run(books, messages, rows, cursor, status, left, fills)
        parts.append(fills[:n].copy())
    return MatchOutcomes(status, left, parts[0] if len(parts) == 1 else np.concatenate(parts))


def _starts(books: Books, n: int, starts: Int | None) -> Int:
    if starts is None:
        return np.concatenate([np.zeros(1, np.int64), np.full(books.n_books, n, np.int64)])
    rows = np.ascontiguousarray(starts)
    if rows.dtype != np.int64 or rows.shape != (books.n_books + 1,):
        raise UserError(f"starts are int64 of shape ({books.n_books + 1},), not {rows.dtype} of {rows.shape}.")
    if rows[0] != 0 or rows[-1] != n or bool(np.any(np.diff(rows) < 0)):
        raise UserError(f"starts rise from 0 to the number of messages, {n}.")
    return rows


@apart
def run(
    books: Books, messages: Int, starts: Int, cursor: Int, status: NDArray[np.int8], left: Int, fills: Int
) -> int:  # fmt: skip
    """Go on with messages until all are taken, or fills may not hold those of the next.

    Parameters
    ----------
    books
        B books.
    messages
        (N, 6).
    starts
        (B + 1,).
    cursor
        (2,) book and row to go on at; moved on.
    status, left
        (N,) written.
    fills
        (F, 8) written; F larger than M.

    Returns
    -------
    int
        Fills.
    """
    n, n_places, room = 0, books.free.shape[1], fills.shape[0]
    while cursor[0] < books.base.shape[0]:
        book, end = int(cursor[0]), starts[cursor[0] + 1]
        row = int(cursor[1])
        while row < end:
            if n + n_places - books.n_free[book] > room:
                cursor[1] = row
                return n
            outcome, lots, n = apply(books, book, row, messages[row], fills, n)
            status[row] = outcome
            left[row] = lots
            row += 1
        cursor[0] += 1
        cursor[1] = row
    return n


def best(books: Books, book: int = 0) -> tuple[int | None, int | None]:
    """Ticks of the best bid and ask of a book; None where there is none."""
    base, (bid, ask) = int(books.base[book]), books.best[book]
    return (None if bid < 0 else base + int(bid)), (None if ask == books.n_prices else base + int(ask))


def levels(books: Books, book: int = 0) -> tuple[Int, Int]:
    """Bids and asks of a book, the best first: (N, 2) ticks and lots of each."""
    base = books.base[book]
    found = []
    for side in (BUY, SELL):
        bits = np.unpackbits(books.words[book, side].view(np.uint8), bitorder="little")
        at = np.flatnonzero(bits)
        at = at[::-1] if side == BUY else at
        found.append(np.stack([base + at, books.depth[book, at]], axis=1))
    return found[0], found[1]


def resting(books: Books, book: int = 0) -> RestingOrders:
    """All orders that rest in a book."""
    found: list[tuple[int, int]] = []
    for side, (ticks, _) in zip((BUY, SELL), map(np.transpose, levels(books, book)), strict=True):
        for p in ticks - books.base[book]:
            place = int(books.head[book, p])
            while place >= 0:
                found.append((side, place))
                place = int(books.after[book, place])
    sides, places = np.array(found, np.int64).reshape(-1, 2).T
    of = (books.tick, books.lots, books.owner, books.order_id)
    return RestingOrders(sides, *(field[book, places].astype(np.int64) for field in of))


def message(kind: int, side: int, tick: int, lots: int, owner: int, order_id: int) -> Int:
    """(1, 6) one message."""
    made = np.empty((1, N_MESSAGE), np.int64)
    made[0, :2] = kind, side
    made[0, TICK], made[0, LOTS], made[0, OWNER], made[0, ID] = tick, lots, owner, order_id
    return made
