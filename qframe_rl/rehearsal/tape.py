"""What a market does by itself, in the order of time: bars close, funding is settled, trades are printed."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from qframe_rl.rehearsal.market import ListedMarket
from qframe_rl.rehearsal.path import Print, prints
from qframe_rl.types import SECOND

MS = 1_000_000
# What happens at one instant, in this order: the old bar closes, funding is paid, the new bar opens; what was recorded.
CLOSE, FUNDING, PRINT, MESSAGE = range(4)


class MarketEvent(NamedTuple):
    """Something that a market does."""

    time: int
    """ms UTC."""
    kind: int
    row: int
    """Bar, or settlement; of a recorded message its first row."""
    n: int
    """Number of the trade in its bar; of a recorded message the row after its last one."""


class MarketTape:
    """One market's events and prints.

    Parameters
    ----------
    market
        The market.
    n_prints
        Trades that tell one bar.
    """

    def __init__(self, market: ListedMarket, n_prints: int):
        self.market, self.n_prints = market, n_prints
        self.prints = lru_cache(maxsize=4)(self._prints)
        # Exchanges stamp settlements some ms late; they belong to the whole second.
        seconds = SECOND // MS
        self._due = (market.stamps + seconds // 2) // seconds * seconds

    def _prints(self, row: int) -> tuple[Print, ...]:
        return prints(self.market, row, self.n_prints)

    def count(self, first: int, stop: int) -> int:
        """Trades of some bars."""
        return (stop - first) * self.n_prints

    def first_id(self, row: int) -> int:
        """Number of a bar's first trade."""
        return row * self.n_prints + 1

    def row_of(self, number: int) -> int:
        """Bar of a trade by its number; the first bar for numbers before its trades."""
        return max(0, (number - 1) // self.n_prints)

    def events(self, after_ms: int) -> Iterator[MarketEvent]:
        """Everything that happens after a moment."""
        return heapq.merge(self._bars(after_ms), self._settlements(after_ms))

    def last(self, now_ms: int) -> tuple[int, int]:
        """Bar and number of the last trade at or before a moment; (-1, -1) before the first."""
        row = int(np.searchsorted(self.market.opens, now_ms, side="right")) - 1
        while row >= 0:
            told = self.prints(row)
            n = sum(p.time <= now_ms for p in told)
            if n:
                return row, n - 1
            row -= 1
        return -1, -1

    def _bars(self, after_ms: int) -> Iterator[MarketEvent]:
        opens, bar_ms = self.market.opens, self.market.bar_ms
        for row in range(max(0, int(np.searchsorted(opens, after_ms - bar_ms))), len(opens)):
            for n, one in enumerate(self.prints(row)):
                if one.time > after_ms:
                    yield MarketEvent(one.time, PRINT, row, n)
            close = int(opens[row]) + bar_ms
            if close > after_ms:
                yield MarketEvent(close, CLOSE, row, 0)

    def _settlements(self, after_ms: int) -> Iterator[MarketEvent]:
        for row in range(int(np.searchsorted(self._due, after_ms, side="right")), len(self._due)):
            yield MarketEvent(int(self._due[row]), FUNDING, row, 0)
