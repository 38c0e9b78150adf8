"""Virtual time: as fast as wanted, paused, or moved by hand."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class VirtualClock:
    """Virtual time in ms UTC, tied to the wall clock by a speed.

    Parameters
    ----------
    start_ms, stop_ms
        First and last moment; it does not go on beyond the last one.
    speed
        Virtual seconds in a wall second: 0 stands still until `set`, infinity is always at the last moment.
    ticks
        Wall seconds, monotonic.
    """

    def __init__(self, start_ms: int, stop_ms: int, speed: float, ticks: Callable[[], float] = time.monotonic):
        self.start_ms, self.stop_ms = start_ms, stop_ms
        self.speed = speed
        self._ticks = ticks
        self._at_ms, self._since = start_ms, ticks()

    def now(self) -> int:
        """The virtual time that should be."""
        if self.speed == 0.0:
            return self._at_ms
        if self.speed == math.inf:
            return self.stop_ms
        passed = (self._ticks() - self._since) * 1000.0 * self.speed
        return min(self.stop_ms, self._at_ms + int(passed))

    def run(self, speed: float) -> None:
        """Go on from now with another speed."""
        self._at_ms, self._since = self.now() if self.speed != math.inf else self._at_ms, self._ticks()
        self.speed = speed

    def set(self, now_ms: int) -> None:
        """Go on from another moment; time never goes back."""
        self._at_ms, self._since = min(self.stop_ms, max(now_ms, self._at_ms)), self._ticks()

    def wall_seconds_to(self, moment_ms: int) -> float:
        """Wall seconds until a virtual moment; infinite where time stands still."""
        if self.speed == 0.0:
            return math.inf
        return max(0.0, (moment_ms - self.now()) / 1000.0 / self.speed)
