"""Made-up markets as tapes."""

from __future__ import annotations

import numpy as np

from qframe_rl.book.events import DEPTH, Events
from qframe_rl.book.state import BUY
from qframe_rl.book.tape import Tape, tape_of
from qframe_rl.feeds.synthetic_ticks import MS, START, events_of, rows_of

__all__ = ["MS", "START", "bare", "drawn_tape", "events"]
events = events_of


def drawn_tape(seed: int, n: int = 2_000, jumps: float = 0.03) -> Tape:
    """A tape of `synthetic_ticks`."""
    return tape_of(events_of(rows_of(seed, n, jumps)))


def bare(whole: Events) -> Events:
    """The same market, told without the ends of levels that the other side came to stand at or beyond."""
    tape = tape_of(whole)
    passed = np.where(tape.side == BUY, tape.ask <= tape.tick, tape.bid >= tape.tick)
    passed &= (tape.kind == DEPTH) & (tape.lots == 0) & (tape.before > 0)
    return Events._make(getattr(tape, name)[~passed] for name in Events._fields)
