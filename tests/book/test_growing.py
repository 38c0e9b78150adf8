"""A tape that grows is the finished one, wherever it was cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from qframe_rl.book import accounts as a
from qframe_rl.book.events import DEPTH, TRADE, Events
from qframe_rl.book.features import BookWatch, book_features
from qframe_rl.book.growing import GrowingTape, settled
from qframe_rl.book.known import forget, heard, learn, nothing_known
from qframe_rl.book.moments import Latency, every, moments, seen
from qframe_rl.book.tape import Tape, in_order, laid
from qframe_rl.book.walk import advance
from qframe_rl.book.wish import pursue
from qframe_rl.feeds.synthetic_ticks import synthetic_ticks
from qframe_rl.types import Int
from tests.book.tapes import MS, bare

HOLD, SHIFT = 20 * MS, 3 * MS
FEATURES = ("spread", "imbalance:2", "ofi:50ms", "flow:100ms", "volatility:200ms")
INDEXES = (a.LEVEL, a.CURSOR)
"""Columns of a quote that say where on a table it is, and nothing of what it lives through."""


def arriving(seed: int, n: int = 1500) -> Events:
    """Made-up rows of two connections: trades travel apart, and now and then for longer than the hold-back.

    From the twelfth on they do not tell the ends of levels that the other side passed.
    """
    rng = np.random.default_rng(seed)
    events = synthetic_ticks(seed, n, jumps=0.05).events
    events = bare(events) if seed >= 12 else events
    pause = np.cumsum(rng.random(events.message.max() + 1) < 0.005)[events.message] * 60 * MS
    events = events._replace(exchange_ns=events.exchange_ns + pause)
    traded = events.kind == TRADE
    delay = np.where(traded, rng.exponential(4 * MS, len(traded)), 2 * MS).astype(np.int64)
    slow = rng.random(events.message.max() + 1)[events.message] < 0.01
    local = events.exchange_ns + delay + np.where(slow & traded, 40 * MS, 0) - SHIFT
    for mask in (traded, ~traded):
        local[mask] = np.maximum.accumulate(local[mask])
    events = events._replace(local_ns=local)
    return events.where(np.lexsort((events.message, events.local_ns)))


def finished(events: Events) -> Tape:
    """The tape of all rows."""
    return laid(in_order(settled(events, SHIFT, HOLD)))[0]


class Wished(NamedTuple):
    """Offsets from the best prices and lots, moment by moment."""

    quotes: Int
    takes: Int

    @classmethod
    def drawn(cls, seed: int, n: int) -> Wished:
        """Any: near and far, none, and what takes."""
        rng = np.random.default_rng(seed)
        away = rng.choice([-1, 0, 0, 1, 2, 5, 40], (n, 2))
        lots = rng.choice([0, 3, 10, 40], (n, 2))
        keep = rng.random(n) < 0.6
        for k in range(1, n):
            if keep[k]:
                away[k], lots[k] = away[k - 1], lots[k - 1]
        takes = np.stack([rng.integers(0, 2, n), rng.choice([0, 0, 0, 0, 5, 60], n), np.full(n, 3)], axis=1)
        return cls(np.stack([away, lots], axis=2), takes)

    def at(self, k: int, best: Int) -> tuple[Int, Int]:
        """In ticks."""
        tick = np.array([best[0, 0] - self.quotes[k, 0, 0], best[1, 0] + self.quotes[k, 1, 0]])
        quotes = np.stack([tick, self.quotes[k, :, 1]], axis=1)
        side = self.takes[k, 0]
        bound = best[1, 0] + 3 if side == 0 else best[0, 0] - 3
        return quotes, np.array([side, self.takes[k, 1], bound])


class Account:
    """One account, decision by decision, and all that became of it."""

    def __init__(self, wished: Wished, latency: Latency):
        self.walk, self.known = a.new_walk(1, 100_000), nothing_known(1)
        self._wished, self._latency = wished, latency
        self._answer, self.k = 0, 0
        self.said: list[tuple[bytes, ...]] = []

    def live(self, tape: Tape, rows: Int, at: Int, best: Int, features: np.ndarray) -> None:
        """Decide at moments."""
        entry, answer = self._latency.at(tape, at)
        for j, now in enumerate(at.tolist()):
            if self.k == 0:
                a.begin(tape, self.walk, 0, now)
                forget(self.known, 0, 0)
            else:
                advance(tape, self.walk, 0, now, self._answer, 1.0)
            learn(tape, rows, self.walk, self.known, 0, now, best[j], 1.0)
            quotes = np.delete(self.walk.quotes, INDEXES, axis=2)
            found = (self.walk.account, quotes, self.walk.queue, self.known.told, self.known.queue, features[j])
            self.said.append((*(np.ascontiguousarray(field).tobytes() for field in found), str(self.filled())))
            pursue(self.walk, 0, *self._wished.at(self.k, best[j]), now, int(entry[j]))
            self._answer = int(answer[j])
            self.k += 1

    def filled(self) -> list[list[int]]:
        """Own fills so far."""
        return self.walk.fills[: self.walk.n_fills[0]].tolist()


def watch() -> BookWatch:
    return BookWatch(book_features(FEATURES))


def whole(events: Events, wished: Wished, latency: Latency, often: str) -> Account:
    """What an account lives through on the finished tape."""
    tape = finished(events)
    at = moments(tape, every(often), 0, 2**62)
    book = seen(tape, at)
    features, best = watch().sampled(tape, at)
    assert np.array_equal(best[book.whole], book.best[book.whole])
    account = Account(wished, latency)
    account.live(tape, heard(tape), at[book.whole], best[book.whole], features[book.whole])
    return account


def in_parts(
    events: Events, wished: Wished, latency: Latency, often: str, cuts: list[int], window: int
) -> tuple[Account, int]:
    """The same on a tape that grows part by part; and how many rows it kept at most."""
    growing, account, looks, clock = GrowingTape(SHIFT, HOLD, window), Account(wished, latency), watch(), every(often)
    last, most = -(2**62), 0
    for start, stop in zip([0, *cuts], [*cuts, len(events.tick)], strict=True):
        growing.add(events.where(slice(start, stop)))
        until = growing.complete_ns if stop < len(events.tick) else 2**62
        growing.grow(until, account.walk, account.known)
        tape = growing.tape
        if tape is None:
            continue
        most = max(most, len(tape.tick))
        first = -(-max(growing.first_ns, last + 1) // clock.ns)
        at = np.arange(first, min(until, growing.last_ns) // clock.ns + 1) * clock.ns
        if not len(at):
            continue
        last = int(at[-1])
        features, best = looks.sampled(tape, at)
        sees = seen(tape, at)
        account.live(tape, growing.heard, at[sees.whole], best[sees.whole], features[sees.whole])
    return account, most


LATENCIES = (Latency(MS // 4, MS // 4), Latency(5 * MS, 30 * MS), Latency(MS, MS, feed_share=1.0))


@pytest.mark.parametrize("seed", range(14))
def test_accounts_live_on_a_growing_tape_as_on_the_finished_one(seed: int) -> None:
    """Cut anywhere, kept as short as can be: state, knowledge, features and fills at each decision, to the bit."""
    events, rng = arriving(seed), np.random.default_rng(seed)
    latency, often = LATENCIES[seed % 3], ("10ms", "3ms")[seed % 2]
    wished = Wished.drawn(seed, 4000)
    expected = whole(events, wished, latency, often)
    cuts = np.unique(rng.integers(1, len(events.tick), rng.choice([5, 60, 400]))).tolist()
    if seed % 3 == 2:  # in the midst of silence, in which the last row says how late rows are
        cuts = (np.flatnonzero(np.diff(events.local_ns) > 50 * MS) + 2).tolist()
    found, most = in_parts(events, wished, latency, often, cuts, window=100)
    assert found.k == expected.k > 200
    for k, (one, other) in enumerate(zip(found.said, expected.said, strict=True)):
        assert one == other, f"decision {k}"
    assert len(expected.filled()) > 20
    assert most < len(events.tick) / 2 or len(cuts) < 10


def test_what_comes_later_than_the_hold_back_happens_so_long_before_it_comes() -> None:
    rows = [(0, 0), (10, 12), (11, 50), (30, 31), (49, 52)]
    exchange, local = (np.array(column, np.int64) * MS for column in zip(*rows, strict=True))
    n = np.zeros(len(rows), np.int64)
    events = Events(exchange, local, n.astype(np.int8) + 1, n.astype(np.int8), n, n, np.arange(len(rows)))
    came = settled(events, 2 * MS, 20 * MS)
    assert (came.local_ns // MS).tolist() == [2, 14, 52, 52, 54]
    assert (came.exchange_ns // MS).tolist() == [0, 10, 32, 32, 49]
    assert (settled(events, -9 * MS, 20 * MS).local_ns >= settled(events, -9 * MS, 20 * MS).exchange_ns).all()


REAL = [("BTC/USDT:USDT", 1), ("BTC/USDT:USDT", 5), ("ETH/USDT:USDT", 0), ("BTC/USDT", 0)]


@pytest.mark.skipif("QFRAME_DATA" not in os.environ, reason="QFRAME_DATA names no market data")
@pytest.mark.parametrize(("symbol", "number"), REAL)
def test_on_recorded_books_too(symbol: str, number: int) -> None:
    from qframe_rl.feeds.listing import Listing
    from qframe_rl.feeds.ticks import tick_runs

    run = tick_runs(Path(os.environ["QFRAME_DATA"]), Listing("binance", symbol))[number]
    events = run.events.where(slice(0, 60_000))
    events = events._replace(local_ns=events.local_ns + run.clock_shift_ns - SHIFT)
    wished, latency = Wished.drawn(7, 5000), Latency(5 * MS, 5 * MS)
    expected = whole(events, wished, latency, "100ms")
    cuts = np.unique(np.random.default_rng(number).integers(1, len(events.tick), 60)).tolist()
    found, most = in_parts(events, wished, latency, "100ms", cuts, window=3000)
    assert found.said == expected.said
    assert len(expected.filled()) > 20
    assert most < len(events.tick)


def test_rows_of_the_book_are_kept_while_their_order_is_not_that_of_arrival() -> None:
    """Where the exchange's clock steps back, what is told of the book would be told again in another order."""
    events = arriving(3)
    told = np.flatnonzero(events.kind == DEPTH)
    back = np.isin(events.message, events.message[told[::7]])
    events = events._replace(exchange_ns=events.exchange_ns - np.where(back, 15 * MS, 0))
    wished = Wished.drawn(3, 4000)
    expected = whole(events, wished, LATENCIES[0], "10ms")
    found, most = in_parts(events, wished, LATENCIES[0], "10ms", list(range(50, len(events.tick), 50)), window=100)
    assert found.said == expected.said
    assert most > 300, "not as short as could be"
