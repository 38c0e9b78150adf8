"""The time that a live feed lives in: that of the exchange."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from qframe_rl.feeds.exchange import Exchange, Stopped
from qframe_rl.types import SECOND

_LOOK_S = 1.0
"""Longest time between two looks at whether the feed is stopped."""


class Clock(Protocol):
    """The time that a live feed lives in."""

    def now(self) -> int:
        """Exchange time, ns UTC."""

    def wait(self, seconds: float) -> None:
        """Return after ``seconds``, or raise `Stopped` as soon as the feed is stopped."""


class LiveClock:
    """The clock of an exchange that runs evenly, asked again now and then.

    Parameters
    ----------
    exchange
        The exchange.
    speed
        How many times faster than ours its clock runs.
    wake
        Ends a wait early.
    idle
        Called every second of a wait.
    """

    def __init__(
        self,
        exchange: Exchange,
        speed: float = 1.0,
        wake: threading.Event | None = None,
        idle: Callable[[], None] = lambda: None,
    ):
        self._exchange, self._speed, self._idle = exchange, speed, idle
        self._wake = wake or threading.Event()
        self._set: tuple[int, int] | None = None

    def now(self) -> int:
        """Exchange time, ns UTC."""
        ticks = time.monotonic_ns()
        if self._set is None or ticks - self._set[0] > max(SECOND, int(600 * SECOND / self._speed)):
            self._set = self._exchange.measured()
        return self._set[1] + int((time.monotonic_ns() - self._set[0]) * self._speed)

    def wait(self, seconds: float) -> None:
        """Wait for so much exchange time, or until woken; raise `Stopped` as soon as the feed is stopped."""
        end = time.monotonic() + seconds / self._speed
        while True:
            if self._exchange.stopped.is_set():
                raise Stopped
            woken = self._wake.wait(max(0.0, min(end - time.monotonic(), _LOOK_S)))
            self._idle()
            if woken or time.monotonic() >= end:
                self._wake.clear()
                return
