"""The house's streams against everything that a websocket can do: no silent stall, no book that is not the market's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from qframe_rl.feeds.listing import listing
from qframe_rl.feeds.stream import Quote, Streams
from qframe_rl.rehearsal import Fault, Rehearsal
from qframe_rl.rehearsal.faults import STREAMS
from tests.rehearsal.conftest import COIN, HOUR, PERP

STALE_S = 0.6
PATIENCE_S = STALE_S + 2.0
"""The stale limit, and time to connect, subscribe and fetch a snapshot on a busy machine."""


class Followed:
    """Streams of one market while its exchange's time goes on."""

    def __init__(self, ex: Rehearsal, streams: Streams, symbol: str):
        self._ex, self.streams, self._symbol = ex, streams, symbol

    def quote(self) -> Quote | None:
        return self.streams.quote(self._symbol)

    def until(self, happened: Callable[[], Any], seconds: float = PATIENCE_S, by_ms: int = HOUR // 4) -> None:
        """Let time pass until something happened."""
        begun = time.monotonic()
        while not happened():
            assert time.monotonic() - begun < seconds, "a silent stall"
            self._ex.advance(by_ms)
            time.sleep(0.03)

    def news(self) -> None:
        """A candle opened and the book moved, both after this moment."""
        self.streams.wake.clear()
        now = time.monotonic()
        self.until(self.streams.wake.is_set)
        self.until(lambda: (quote := self.quote()) is not None and quote.arrived > now)

    def right(self) -> None:
        """The book that is told becomes the exchange's own; steps are short, for of a burst CCXT tells the first."""
        self.until(self._told_right, by_ms=HOUR // 120)

    def _told_right(self) -> bool:
        wire = "usdm" if ":" in self._symbol else "spot"
        name = self._symbol.split(":")[0].replace("/", "")
        sides = self._ex.call(lambda control: control.exchange.world.place(wire, name).sides())
        quote = self.quote()
        if quote is None:
            return False
        told, true = (quote.bids, quote.asks), (sides.bids, sides.asks)
        return all(
            np.array_equal(t[:5], [[float(x) for x in level] for level in s[:5]])
            for t, s in zip(told, true, strict=True)
        )


@contextmanager
def followed(ex: Rehearsal, symbol: str) -> Iterator[Followed]:
    streams = Streams("binance", [listing("binance", symbol)], "1h", url=ex.url, depth=5, stale_s=STALE_S)
    streams.start()
    try:
        made = Followed(ex, streams, symbol)
        made.until(lambda: made.streams.wake.is_set() and made.quote() is not None, 10.0)
        yield made
    finally:
        streams.stop()


@pytest.mark.parametrize("stream", ["kline", "depth"])
def test_no_fault_of_a_stream_stalls_it(ex: Rehearsal, stream: str) -> None:
    with followed(ex, PERP) as market:
        for kind in STREAMS:
            ex.inject(Fault(kind=kind, at=f"usdm.{stream}", seconds=0.2))
            market.until(lambda kind=kind: (kind, f"usdm.{stream}") in ex.hits())
            market.news()
            market.right()
        assert market.streams.n_restarts >= 6


@pytest.mark.long
def test_a_book_that_missed_its_changes_is_not_told(ex: Rehearsal) -> None:
    with followed(ex, PERP) as market:
        for _ in range(4):
            ex.inject(Fault(kind="nulls", at="usdm.depth"))
            market.news()
            market.news()
            quote = market.quote()
            assert quote is None or quote.bids[0, 0] < quote.asks[0, 0]
            market.right()


def test_a_spot_book_with_a_hole_is_made_anew(ex: Rehearsal) -> None:
    with followed(ex, COIN) as market:
        for _ in range(3):
            ex.inject(Fault(kind="lost", at="spot.depth", times=2))
            market.news()
            market.right()


def test_dials_that_fail_are_tried_again(ex: Rehearsal) -> None:
    with followed(ex, PERP) as market:
        ex.inject(Fault(kind="refuse", at="usdm.dial.*", times=3), Fault(kind="503-dial", at="usdm.dial.*", times=2))
        ex.inject(Fault(kind="reset", at="usdm.*", times=2))
        market.until(lambda: sum(ex.hits().values()) >= 5, 10.0)
        market.news()
        market.right()


def test_a_maintenance_ends(ex: Rehearsal) -> None:
    with followed(ex, PERP) as market:
        ex.call(lambda control: control.maintain(True))
        market.until(lambda: market.quote() is None)
        ex.call(lambda control: control.maintain(False))
        market.news()
        market.right()
