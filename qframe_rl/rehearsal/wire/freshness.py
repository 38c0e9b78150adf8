"""Whether a signed request is fresh, whatever the speed of virtual time.

A client's clock goes at one second per second, however fast the exchange's does. So a timestamp is judged by the
client's own clock, as it was set: by an answer of ``/time``, or by nothing at all, which is the wall clock. The rule of
the venue then holds in seconds of the wall: older than ``recvWindow`` is refused, and so is more than a second ahead.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from qframe_rl.rehearsal import errors

_AHEAD_MS = 1_000
DEFAULT_WINDOW_MS, MAX_WINDOW_MS = 5_000, 60_000


class _Set(NamedTuple):
    """A client's clock was set."""

    wall_ms: float
    virtual_ms: int
    skew_ms: int


class Freshness:
    """The exchange's clock as clients see it.

    Parameters
    ----------
    speed
        Speed of virtual time now.
    wall_ms
        The wall clock, ms UTC.
    """

    def __init__(self, speed: Callable[[], float], wall_ms: Callable[[], float] = lambda: time.time() * 1000.0):
        self._speed, self._wall_ms = speed, wall_ms
        self._clocks: deque[_Set] = deque(maxlen=64)
        self.skew_ms = 0
        """How far the exchange's clock is ahead of what it should show."""

    def told(self, now_ms: int) -> int:
        """What the clock shows, to somebody who will set his own by it."""
        self._clocks.append(_Set(self._wall_ms(), now_ms, self.skew_ms))
        return now_ms + self.skew_ms

    def check(self, timestamp: int, window_ms: int, now_ms: int) -> None:
        """Refuse a stale timestamp, or one from the future.

        Raises
        ------
        Refused
            If it is fresh by nobody's clock.
        """
        if window_ms > MAX_WINDOW_MS:
            raise errors.Refused(-1131, "recvWindow must be less than 60000.")
        ages = self._ages(timestamp, now_ms)
        if any(-_AHEAD_MS < age <= window_ms for age in ages):
            return
        # Both ways of being wrong have one code; the clock that comes nearest tells which text it is.
        raise errors.early() if min(ages, key=abs) < 0 else errors.stale()

    def _ages(self, timestamp: int, now_ms: int) -> list[float]:
        """Age of a request in ms of the wall clock, by each clock that its client may have."""
        wall = self._wall_ms()
        virtual = (now_ms + self.skew_ms - timestamp) / max(1.0, min(self._speed(), 1e9))
        unset = wall + self.skew_ms - timestamp
        # Where the exchange's clock was moved after a client's was set, the two differ by the move.
        return [virtual, unset, *(c.virtual_ms + wall - c.wall_ms + self.skew_ms - timestamp for c in self._clocks)]
