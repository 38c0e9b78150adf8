"""Markets that an exchange is about to end, as its market data say through CCXT."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from qframe_rl.feeds.client import client
from qframe_rl.feeds.listing import Listing, listing
from qframe_rl.listeners import Soft
from qframe_rl.types import DAY, SECOND

NOW = 0
"""The end of a market that is not traded any more, or that ends at a time that is not stated."""
# What exchanges tell of perpetuals under these names, as CCXT's classes quote their answers: binance deliveryDate,
# bybit deliveryTime, okx expTime, bitget and bingx offTime, kucoin expireDate, htx delivery_time; gate a flag.
_TIMES = ("deliveryDate", "deliveryTime", "delivery_time", "expTime", "offTime", "expireDate")
_FLAG = "in_delisting"
_SECONDS_UNTIL = 100_000_000_000
_EVERY_S = DAY / SECOND
_AGAIN_S = 3600.0


def end_of(market: Mapping[str, Any]) -> int | None:
    """When a market ends, ns UTC, by what CCXT tells of it; `NOW`, or None where nothing says that it does."""
    info = market.get("info")
    info = info if isinstance(info, Mapping) else {}
    if market.get("active") is False or info.get(_FLAG) is True:
        return NOW
    stated = [market.get("expiry"), *(info.get(name) for name in _TIMES)]
    times = [int(text) for text in map(str, stated) if text.isascii() and text.isdigit() and int(text) > 0]
    if not times:
        return None
    first = min(times)
    return first * SECOND if first < _SECONDS_UNTIL else first * SECOND // 1000


class Delistings:
    """Looks once a day when the markets of a session end, in a thread and with clients of its own.

    Parameters
    ----------
    exchange, symbols
        As in `qframe_rl.feeds.ccxt.CcxtFeed`.
    url, sandbox
        As in `qframe_rl.feeds.client.client`.
    soft
        Says that the exchange cannot be asked.
    """

    def __init__(self, exchange: str, symbols: Iterable[str], url: str | None, sandbox: bool, soft: Soft):
        self.ends: Mapping[str, int] = {}
        """When each market ends of which it is known, ns UTC or `NOW`; replaced as a whole."""
        self._listings = [listing(exchange, symbol) for symbol in symbols]
        self._made: Callable[[Listing], Any] = lambda one: client(exchange, one.kind, url, sandbox)
        self._soft = soft
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="delistings", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a request under way is not waited for."""
        self._stopped.set()

    def look(self) -> Mapping[str, int]:
        """Ask the exchange now; return, and keep, the ends that it tells."""
        clients = {one.kind: self._made(one) for one in self._listings}
        for each in clients.values():
            each.load_markets()
        found = {
            one.symbol: end_of(clients[one.kind].markets.get(one.symbol, {"active": False})) for one in self._listings
        }
        self.ends = {symbol: at for symbol, at in found.items() if at is not None}
        return self.ends

    def _work(self) -> None:
        while True:
            known = self._soft.run("the look for delistings", self.look)
            if self._stopped.wait(_AGAIN_S if known is None else _EVERY_S):
                return
