"""Order books: matching against another engine, and a maker on a recorded market against another replay."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.bench.book_training import training_rows
from qframe_rl.bench.maker import arrived_best, quote_best, quote_many
from qframe_rl.bench.measure import BenchmarkRow, Work, rates, rows
from qframe_rl.bench.peers import Peers
from qframe_rl.book import state as s
from qframe_rl.book.accounts import Walk, new_walk
from qframe_rl.book.core import match, resting
from qframe_rl.book.tape import Tape, tape_of
from qframe_rl.book.walk import place
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.synthetic_ticks import synthetic_ticks
from qframe_rl.feeds.ticks import TickRun, tick_runs
from qframe_rl.runner.log import Screen
from qframe_rl.types import SECOND, Int

STEP_NS = SECOND // 10
ENTRY_NS, ANSWER_NS = 10_000_037, 10_000_041
"""Travel times of messages and answers: no whole milliseconds, at which rows stand."""
_SETTLING_NS = 2 * SECOND + 3
_BATCH, _STEPS = 256, 1000
_PART, _RESTING = 100, 200
"""Messages that are drawn at a time; orders that rest."""


def book(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Messages a second into one book, and rows a second of a maker on a tape; one thread."""
    n = 20_000 if small else 400_000
    messages = drawn_messages(0, n)
    run = recorded(small)
    tape = tape_of(run.events, run.clock_shift_ns)
    work: dict[str, Work] = {
        "core": _matched(messages), "scan": scanned(run, tape), "batch": stepped(run, tape, small, random=False),
        "batch_random": stepped(run, tape, small, random=True),
    }  # fmt: skip
    a_row = start_of(run, tape)[1] / len(tape.tick)
    with tempfile.TemporaryDirectory() as folder:
        if peers is not None:
            orders, told = Path(folder) / "orders.npz", Path(folder) / "events.npz"
            np.savez(orders, messages=messages)
            np.savez(told, **told_of(run, tape, 1.0))
            work |= peers.books(orders, "bourse", "bourse-arrays") | peers.books(told, "hftbacktest")
        found = rates(work, repeats, screen, "books")
    return [
        *rows("book.core", 1, found["core"], "messages/s", {"bourse-arrays": 1.0}, found),
        *rows("book.core_calls", 1, found["core"], "messages/s", {"bourse": 1.0}, found),
        *rows("book.scan", 1, found["scan"], "rows/s", {"hftbacktest": 1.0}, found),
        *rows("book.batch", _BATCH, found["batch"], "steps/s", {"hftbacktest": a_row}, found),
        *rows("book.batch_random", _BATCH, found["batch_random"], "steps/s", {"hftbacktest": a_row}, found),
        BenchmarkRow("book.memory", 1, float(new_walk(64).nbytes), "bytes an account", "", None),
        BenchmarkRow("book.core_memory", 1, float(s.empty_books(64).nbytes), "bytes a book", "", None),
        *training_rows(run, small, screen),
    ]


def drawn_messages(seed: int, n: int) -> Int:
    """(n, 6) limit orders round a price, market orders, and cancels of orders that rest; some 200 rest at a time."""
    rng, books, parts, first = np.random.default_rng(seed), s.empty_books(1, 512, 4096), [], 0
    while first < n:
        rests = resting(books).order_id
        kinds = rng.choice([s.LIMIT, s.MARKET, s.CANCEL], _PART, p=[0.5, 0.05, 0.45])
        named = np.flatnonzero(kinds == s.CANCEL)[: max(len(rests) - _RESTING // 2, 0)]
        kinds[kinds == s.CANCEL] = s.LIMIT
        kinds[named] = s.CANCEL
        made = np.zeros((_PART, s.N_MESSAGE), np.int64)
        made[:, s.KIND], made[:, s.SIDE] = kinds, rng.integers(2, size=_PART)
        away = rng.integers(-1, 10, _PART)
        made[:, s.TICK] = 10_000 + np.where(made[:, s.SIDE] == s.BUY, -away, away)
        made[:, s.LOTS], made[:, s.OWNER] = rng.integers(1, 30, _PART), first + np.arange(_PART)
        made[:, s.ID] = made[:, s.OWNER]
        made[named, s.ID] = rng.permutation(rests)[: len(named)]
        match(books, made)
        parts.append(made)
        first += _PART
    return np.concatenate(parts)[:n]


def _matched(messages: Int) -> Work:
    def do() -> float:
        match(s.empty_books(1, 512, 512), messages)
        return float(len(messages))

    return do


def recorded(small: bool) -> TickRun:
    """The last run of BTC perpetuals of ``QFRAME_DATA``; without it, or for little work, one that is made up."""
    root = os.environ.get("QFRAME_DATA")
    if small or not root:
        return synthetic_ticks(0, 2_000 if small else 100_000)
    return tick_runs(Path(root), Listing("binance", "BTC/USDT:USDT"))[-1]


def start_of(run: TickRun, tape: Tape) -> tuple[int, int]:
    """First decision, ns, and how many there are."""
    start = max(run.ready_ns, int(tape.local_ns.min())) + _SETTLING_NS
    return start, max(int((tape.local_ns.max() - start) // STEP_NS) - 5, 1)


def walked(run: TickRun, tape: Tape, power: float) -> tuple[Int, Walk]:
    """What a maker of best prices sees and holds at each decision, and its account at the end."""
    start, n = start_of(run, tape)
    walk, seen = new_walk(1, 20_000), np.zeros((n, 3), np.int64)
    place(tape, walk, np.array([start - 1]))
    quote_best(tape, walk, 0, start, STEP_NS, ENTRY_NS, ANSWER_NS, power, seen, np.zeros((3, 3), np.int64))
    return seen, walk


def scanned(run: TickRun, tape: Tape) -> Work:
    """A maker on all of a tape."""

    def do() -> float:
        walked(run, tape, 1.0)
        return float(len(tape.tick))

    return do


def stepped(run: TickRun, tape: Tape, small: bool, *, random: bool) -> Work:
    """Makers side by side: all at one moment of the tape, or each at one of its own."""
    start, n = start_of(run, tape)
    n_steps = min(20 if small else _STEPS, n)
    first = np.random.default_rng(0).integers(0, n - n_steps + 1, _BATCH) if random else np.zeros(_BATCH, np.int64)
    walk, wishes = new_walk(_BATCH), np.zeros((3, 3), np.int64)

    def do() -> float:
        place(tape, walk, start + first * STEP_NS - 1)
        best = np.zeros((int(first.max()) + n_steps, 2), np.int64)
        arrived_best(tape, start, STEP_NS, best)
        quote_many(tape, walk, best, first, n_steps, start, STEP_NS, ENTRY_NS, ANSWER_NS, 1.0, wishes)
        return float(_BATCH * n_steps)

    return do


def told_of(run: TickRun, tape: Tape, power: float) -> dict[str, Any]:
    """A tape, and the maker's terms, as another replay reads them."""
    start, n = start_of(run, tape)
    return {
        "exchange_ns": tape.exchange_ns, "local_ns": tape.local_ns, "kind": tape.kind, "side": tape.side,
        "tick": tape.tick, "lots": tape.lots, "by_exchange": np.arange(len(tape.tick)), "by_arrival": tape.arrivals,
        "tick_size": run.tick, "lot_size": run.lot, "entry_ns": ENTRY_NS, "answer_ns": ANSWER_NS, "power": power,
        "n_steps": n, "start_ns": start, "step_ns": STEP_NS,
    }  # fmt: skip
