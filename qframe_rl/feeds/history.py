"""Feeds over bars that are already there: as fast as they are read, or paced as time passed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

from qframe_rl.config import UserError
from qframe_rl.types import SECOND, Bar, History, Segment

_LOOK_S = 0.5


def _nothing() -> None:
    """No one waits to be called."""


class HistoryFeed:
    """Bars of a segment, preceded by the bars that a session needs to warm up.

    Parameters
    ----------
    history
        The bars.
    segment
        Rows in which orders may settle.
    window
        Bars that the session shows at its first decision. They are the ones before the segment where there are enough,
        else the first of the segment itself.
    speed
        How many times faster than the clock the bars arrive; ``math.inf`` does not wait at all. The bars of the warm-up
        are never waited for.

    Raises
    ------
    UserError
        If the segment and what precedes it do not hold ``window`` bars and one more.
    """

    def __init__(self, history: History, segment: Segment, window: int, speed: float = math.inf):
        self.start = max(0, segment.start - window)
        if segment.stop - self.start <= window:
            n_bars = max(0, segment.stop - self.start)
            raise UserError(
                f"{history.source.origin}: the period has {n_bars} bars with its warm-up, but {window} are needed "
                "before the first decision and one after; take a longer period."
            )
        self.history = history
        self.stop = segment.stop
        self.window = window
        self.speed = speed
        self.instruments = history.instruments
        self.columns = history.columns
        self.bar_ns = history.bar_ns
        self.stopped = threading.Event()
        self.idle: Callable[[], None] = _nothing
        """Called twice a second while a bar is waited for."""

    def __iter__(self) -> Iterator[Bar]:
        live = self.start + self.window
        for row in range(self.start, self.stop):
            if self.speed < math.inf and row >= live:
                wait = (self.history.time[row] - self.history.time[row - 1]) / SECOND / self.speed
                self._wait(wait)
            if self.stopped.is_set():
                return
            yield self.history.bar(row)

    def _wait(self, seconds: float) -> None:
        """Wait for so long, or until it is stopped."""
        end = time.monotonic() + seconds
        while not self.stopped.wait(max(0.0, min(end - time.monotonic(), _LOOK_S))) and time.monotonic() < end:
            self.idle()
