"""Order books at the moment of a decision: from the stream, or over REST where it is silent."""

from __future__ import annotations

import time
from collections.abc import Sequence

from qframe_rl.config import Unavailable, UserError
from qframe_rl.feeds.ccxt import CcxtFeed
from qframe_rl.venues.book import Book


class LiveQuotes:
    """Books of a live feed's markets.

    Parameters
    ----------
    feed
        Its streams and its exchanges are asked.
    depth
        Levels of each side.
    latency_s
        Time that passes before the books are looked at, as an order's way to the exchange would take, seconds.
    """

    def __init__(self, feed: CcxtFeed, depth: int, latency_s: float = 0.0):
        self._feed, self._depth, self._latency_s = feed, depth, latency_s

    def books(self, symbols: Sequence[str]) -> list[Book | None]:
        """The books now; None where neither way gives one."""
        if self._latency_s > 0.0:
            time.sleep(self._latency_s)
        return [self._book(symbol) for symbol in symbols]

    def _book(self, symbol: str) -> Book | None:
        streams = self._feed.streams
        quote = streams.quote(symbol) if streams is not None else None
        if quote is not None:
            return Book(quote.time, quote.bids, quote.asks)
        try:
            return Book(*self._feed.book(symbol, self._depth))
        except (Unavailable, UserError):
            # An order without a book is not filled, which the journal shows; a session does not end over it.
            return None
