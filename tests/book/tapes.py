"""Made-up markets as tapes."""

from __future__ import annotations

from qframe_rl.book.tape import Tape, tape_of
from qframe_rl.feeds.synthetic_ticks import MS, START, events_of, rows_of

__all__ = ["MS", "START", "drawn_tape", "events"]
events = events_of


def drawn_tape(seed: int, n: int = 2_000, jumps: float = 0.03) -> Tape:
    """A tape of `synthetic_ticks`."""
    return tape_of(events_of(rows_of(seed, n, jumps)))
