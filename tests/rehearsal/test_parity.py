"""What a client of the exchange sees is what a backtest sees: bars, funding and published rates, to the bit."""

from __future__ import annotations

import os
from itertools import islice

import numpy as np
import pytest

from qframe_rl.feeds.ccxt import CcxtFeed
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import load
from qframe_rl.rehearsal import Rehearsal, RehearsalConfig, serve
from qframe_rl.rehearsal.load import markets_of
from qframe_rl.types import HOUR, MINUTE

MS = 1_000_000
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USDT")


class LockStep:
    """The exchange's clock, which goes on while somebody waits."""

    def __init__(self, ex: Rehearsal):
        self._ex = ex

    def now(self) -> int:
        return self._ex.now_ms * MS

    def wait(self, seconds: float) -> None:
        self._ex.advance(max(0, round(seconds * 1000)))


@pytest.mark.usefixtures("unthrottled")
@pytest.mark.skipif("QFRAME_DATA" not in os.environ, reason="needs QFRAME_DATA")
def test_a_live_feed_of_the_exchange_is_the_stored_market() -> None:
    config = DataConfig(data=os.environ["QFRAME_DATA"], symbols=SYMBOLS, since="2024-03-01", until="2024-03-08T00:00")
    stored = load(config)
    start = int(stored.time[20] + 10 * MINUTE) // MS
    with serve(markets_of(config), RehearsalConfig(prints=4), start_ms=start) as ex:
        feed = CcxtFeed("binance", SYMBOLS, "1h", 8, url=ex.url, clock=LockStep(ex))
        got = list(islice(iter(feed), 60))
        feed.stopped.set()
    first = int(np.searchsorted(stored.time, got[0].time))
    assert [bar.time for bar in got] == stored.time[first : first + 60].tolist()
    assert got[0].time == start * MS // HOUR * HOUR - 7 * HOUR
    for k, bar in enumerate(got):
        assert np.array_equal(bar.values, stored.values[first + k], equal_nan=True), k
        assert np.array_equal(bar.funding, stored.funding[first + k]), k
    assert np.count_nonzero([bar.funding for bar in got]) >= 12
