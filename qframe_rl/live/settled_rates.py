"""Funding rates of a live market, asked for as they are settled: a whole hour is over, and the exchange tells of it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from qframe_rl.config import Unavailable, UserError
from qframe_rl.feeds.exchange import Note
from qframe_rl.types import DAY, HOUR, SECOND

Due = tuple[int, float, float | None]
"""When, ns UTC; the rate; the mark price, ticks, None = unknown."""
_SOON_NS, _AGAIN_S, _LONG_NS = 5 * SECOND, 20.0, HOUR // 2


class SettledRates(threading.Thread):
    """A thread that asks, so that nobody waits for the answer.

    Parameters
    ----------
    ask
        Settlements at and after a moment, ns UTC: their times and rates. It may fail.
    wall
        The clock, ns UTC.
    note
        Told in one line of a failure.
    again_s
        How long is waited before asking again, seconds.
    """

    def __init__(
        self, ask: Callable[[int], list[tuple[int, float]]], wall: Callable[[], int] = time.time_ns,
        note: Note = lambda text: None, again_s: float = _AGAIN_S,
    ):  # fmt: skip
        super().__init__(name="funding", daemon=True)
        self._ask, self._wall, self._note, self._again_s = ask, wall, note, again_s
        self._over, self._came = threading.Event(), queue.SimpleQueue[Due]()
        self._since = wall() - DAY

    def run(self) -> None:
        """Ask at once for the day before, and then after each whole hour, for half an hour or until it is told."""
        due, failed = self._wall(), False
        while not self._over.is_set():
            now = self._wall()
            if now >= due:
                try:
                    told = self._heard()
                    failed = False
                except (Unavailable, UserError) as error:
                    told = False
                    if not failed:
                        self._note(f"funding rates cannot be asked for: {error}")
                    failed = True
                hour = now // HOUR * HOUR
                waits = not told and (failed or now - hour < _LONG_NS)
                due = now + round(self._again_s * SECOND) if waits else hour + HOUR + _SOON_NS
            self._over.wait(min(self._again_s, 1.0))

    def _heard(self) -> bool:
        """Whether a settlement was told that was not known."""
        fresh = [(at, rate) for at, rate in self._ask(self._since) if at >= self._since]
        for at, rate in fresh:
            self._came.put((at, rate, None))
            self._since = max(self._since, at + 1)
        return bool(fresh)

    def came(self) -> list[Due]:
        """What was told since the last time."""
        found = []
        while not self._came.empty():
            found.append(self._came.get())
        return found

    def stop(self) -> None:
        """End it."""
        self._over.set()
