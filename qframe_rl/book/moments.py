"""When decisions are made on a tape, and what travels how long then."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from qframe_rl.book.arrived import arrived_quotes
from qframe_rl.book.events import TRADE
from qframe_rl.book.tape import NO_ASK, NO_BID, Tape
from qframe_rl.config import UserError, shortened
from qframe_rl.types import Float, Int

_EVERY = re.compile(r"(\d{1,7})(ms|s)|(\d{1,7}) ?prints?")
_MS = 1_000_000


class DecisionClock(NamedTuple):
    """How often is decided: one of the two is 0."""

    ns: int
    prints: int


def every(text: str) -> DecisionClock:
    """What ``100ms``, ``1s`` or ``20 prints`` mean.

    Raises
    ------
    UserError
        For anything else.
    """
    match = _EVERY.fullmatch(text.strip())
    number = int(match[1] or match[3]) if match else 0
    if match is None or number < 1:
        raise UserError(f"decisions are made every 100ms, 1s or 20 prints, not every {shortened(text)}.")
    return DecisionClock(0, number) if match[3] else DecisionClock(number * _MS * (1 if match[2] == "ms" else 1000), 0)


def moments(tape: Tape, often: DecisionClock, start: int, stop: int) -> Int:
    """(T,) when is decided within a time, rising, by the clock of ``tape.local_ns``, ns UTC.

    Parameters
    ----------
    tape
        The market.
    often
        By the clock: at whole multiples of the step since 1970, so that a tape that begins later has the same ones. By
        prints: as every k-th trade arrives.
    start, stop
        The time, both with it.
    """
    if often.ns:
        first = -(-max(start, int(tape.local_ns.min())) // often.ns)
        last = min(stop, int(tape.local_ns.max())) // often.ns
        return np.arange(first, last + 1, dtype=np.int64) * often.ns
    came = tape.arrivals[tape.kind[tape.arrivals] == TRADE]
    at = np.unique(tape.local_ns[came[often.prints - 1 :: often.prints]])
    return at[(at >= start) & (at <= stop)]


class Seen(NamedTuple):
    """The book at T moments."""

    best: Int
    """(T, 2, 2) best bid and ask as they had arrived: tick, lots; `NO_BID`, `NO_ASK` where a side is empty."""
    mid2: Int
    """(T,) the exchange's best bid plus its best ask, ticks: twice the true mid price."""
    whole: np.ndarray
    """(T,) bool: both sides are there, at the exchange and as they had arrived."""


def seen(tape: Tape, at: Int) -> Seen:
    """The book at moments, as it had arrived and as it was."""
    came = arrived_quotes(tape)
    k = np.searchsorted(came.at, at, side="right") - 1
    row = np.searchsorted(tape.exchange_ns, at, side="right") - 1
    best = came.quotes[np.maximum(k, 0), 0].copy() if len(came.at) else np.zeros((len(at), 2, 2), np.int64)
    bid, ask = tape.bid[np.maximum(row, 0)], tape.ask[np.maximum(row, 0)]
    whole = (k >= 0) & (row >= 0) & (bid != NO_BID) & (ask != NO_ASK)
    whole &= (best[:, 0, 0] != NO_BID) & (best[:, 1, 0] != NO_ASK)
    return Seen(np.ascontiguousarray(best), np.where(whole, bid + ask, 0), whole)


class Latency(NamedTuple):
    """How long messages travel: constant, with the feed's own delay, or as it was recorded."""

    entry_ns: int
    """To the exchange, at least."""
    answer_ns: int
    """Back from it, at least."""
    feed_share: float = 0.0
    """Of what the feed is late now, added to both."""
    recorded: Int | None = None
    """(R, 3) sent, at the exchange, answered, ns, rising: that which was sent last before now decides; the two above
    hold before the first one."""

    def at(self, tape: Tape, moments: Int) -> tuple[Int, Int]:
        """(T,) ns to the exchange and back for what is sent at T moments."""
        entry, answer = (np.full(len(moments), ns, np.int64) for ns in (self.entry_ns, self.answer_ns))
        if self.recorded is not None:
            k = np.searchsorted(self.recorded[:, 0], moments, side="right") - 1
            way = np.diff(self.recorded, axis=1)[np.maximum(k, 0)]
            entry, answer = np.where(k >= 0, way[:, 0], entry), np.where(k >= 0, way[:, 1], answer)
        if self.feed_share:
            local = tape.local_ns[tape.arrivals]
            k = np.searchsorted(local, moments, side="right") - 1
            row = tape.arrivals[np.maximum(k, 0)]
            late = np.where(k >= 0, tape.local_ns[row] - tape.exchange_ns[row], 0)
            more = np.rint(self.feed_share * np.maximum(late, 0)).astype(np.int64)
            entry, answer = entry + more, answer + more
        return entry, answer


def check_recorded(rows: Int, where: str) -> Int:
    """Recorded latencies, looked at.

    Raises
    ------
    UserError
        If they are not (R, 3) with R > 0, do not rise, or arrive before they were sent.
    """
    if rows.ndim != 2 or rows.shape[1] != 3 or not len(rows):
        raise UserError(f"{where}: recorded latencies are rows of sent, exchange and answered, ns.")
    wrong = np.flatnonzero((np.diff(rows, axis=1) < 0).any(axis=1))
    if len(wrong):
        raise UserError(f"{where}: row {wrong[0]} is answered, or at the exchange, before it was sent.")
    if (np.diff(rows[:, 0]) < 0).any():
        raise UserError(f"{where}: what was sent does not rise in time.")
    return rows


def mid_volatility(mid2: Int, at: Int) -> float:
    """Standard deviation of the mid price, ticks per root of a second, from its moves between moments."""
    if len(at) < 2:
        return 0.0
    moves: Float = 0.5 * np.diff(mid2)
    return float(np.sqrt((moves**2).sum() / ((at[-1] - at[0]) / 1e9)))
