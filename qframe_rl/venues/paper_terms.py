"""What holds for an account in an order book, what it sends, and the moments at which is decided."""

from __future__ import annotations

from typing import NamedTuple

from qframe_rl.book.moments import DecisionClock, Latency
from qframe_rl.types import Float, Int


class PaperTerms(NamedTuple):
    """What holds on paper."""

    power: float
    """Of the queue, see `qframe_rl.book.queue.exponent`."""
    maker_fee: float
    """Share of turnover."""
    taker_fee: float
    often: DecisionClock
    latency: Latency
    hold_ns: int
    """The hold-back, see `qframe_rl.book.growing.settled`."""
    rates: tuple[tuple[int, int], ...] = ()
    """Most messages, and in how many ns."""


class OwnMessage(NamedTuple):
    """What is sent to the exchange."""

    time: int
    kind: int
    """`QUOTE`, `TAKE` or `WITHDRAW` of `qframe_rl.book.walk`."""
    side: int
    tick: int
    """Of what takes, the worst one."""
    lots: int


class DueMoments(NamedTuple):
    """T moments at which is decided now."""

    at: Int
    """(T,) ns UTC."""
    best: Int
    """(T, 2, 2) bid and ask as they had arrived: tick, lots."""
    mid2: Int
    """(T,) twice the true mid price, ticks."""
    entry_ns: Int
    """(T,)."""
    answer_ns: Int
    """(T,)."""
    features: Float
    """(T, F) NaN what cannot be known yet."""
