"""Order books of a decision: taken from the record, or from the world and put on record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from qframe_rl.feeds.task import LOOK_S, PendingRequest
from qframe_rl.journal.codec import Plain, numbers
from qframe_rl.journal.ledger import Ledger
from qframe_rl.venues.book import Book


class BookSource(Protocol):
    """Where order books come from."""

    def books(self, symbols: Sequence[str]) -> Sequence[Book | None]:
        """The books now, None where there is none that is fresh."""


def books_of(
    ledger: Ledger, quotes: BookSource | None, symbols: Sequence[str], rows: Sequence[int], hear: Callable[[], None]
) -> list[Book | None]:
    """Books of some instruments; None where there is none, and for the others.

    Parameters
    ----------
    ledger
        The journal.
    quotes
        Where they come from; None in a replay.
    symbols
        The A instruments.
    rows
        Of which of them books are wanted.
    hear
        Called while they are waited for.
    """
    books: list[Book | None] = [None] * len(symbols)
    task: list[PendingRequest[Sequence[Book | None]]] = []

    def source() -> Plain | None:
        assert quotes is not None
        if not task:
            task.append(PendingRequest(partial(quotes.books, [symbols[a] for a in rows])))
        if not task[0].wait(LOOK_S):
            return None
        found = task[0].result()
        return {
            symbols[a]: {"time": book.time, "bids": numbers(book.bids), "asks": numbers(book.asks)}
            for a, book in zip(rows, found, strict=True)
            if book is not None
        }

    for symbol, plain in ledger.awaited("quotes", source, hear).items():
        sides = (np.array(plain[side], dtype=np.float64).reshape(-1, 2) for side in ("bids", "asks"))
        books[symbols.index(symbol)] = Book(plain["time"], *sides)
    return books
