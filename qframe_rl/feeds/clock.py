"""The time that a live feed lives in: that of the exchange."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from qframe_rl.feeds.exchange import MarketDataClient, Stopped
from qframe_rl.feeds.task import Reckoned

_LOOK_S = 0.5
"""Longest time between two looks at whether the feed is stopped, and at what its operator says."""


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
        Called twice a second of a wait.
    """

    def __init__(
        self,
        exchange: MarketDataClient,
        speed: float = 1.0,
        wake: threading.Event | None = None,
        idle: Callable[[], None] = lambda: None,
    ):
        self._exchange, self._speed, self._idle = exchange, speed, idle
        self._wake = wake or threading.Event()
        self._clock = Reckoned(exchange.measured, exchange.glanced, max(1.0, 600.0 / speed), speed)

    def now(self) -> int:
        """Exchange time, ns UTC."""
        return self._clock.now()

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
