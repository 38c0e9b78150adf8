"""Whether a session does what it should, by the clock on the wall and not by bars.

The rule, for `/healthz`, alerts and the outward ping alike: a session is well while

- its feed was heard from within ``beat_s`` (a feed that polls an exchange is heard every second while it waits), and
- it decided on the bar that closed last no later than ``late_s`` after that bar's close: after a decision the next one
  is due a bar's length after the close of the bar it was about.

So a session on daily bars is ill a day and three minutes after its last bar, and one whose exchange does not answer, or
that hangs, after a minute, whatever its bars.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from qframe_rl.types import SECOND


class Health:
    """Told of decisions and of signs of the feed; it is asked from other threads.

    Parameters
    ----------
    bar_s
        Length of a bar by the wall's clock, seconds; 0 where bars are not waited for.
    late_s
        How late a decision may be, seconds.
    beat_s
        Longest silence of the feed, seconds; infinite for one that need not be heard from.
    late_ns
        How late the last bar arrived, ns of the wall's clock.
    clock
        Time, seconds.
    """

    def __init__(
        self,
        bar_s: float,
        late_s: float,
        beat_s: float = math.inf,
        late_ns: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._bar_s, self._late_s, self._beat_s = bar_s, late_s, beat_s
        self._late_ns, self._clock = late_ns, clock
        self._beaten = self._decided = clock()
        self._due = self._decided + bar_s

    def beat(self) -> None:
        """The feed was heard from."""
        self._beaten = self._clock()

    def decided(self) -> None:
        """A decision was made; the next one is due a bar's length after the close of its bar."""
        self._decided = self._clock()
        self._due = self._decided + max(0.0, self._bar_s - self._late_ns() / SECOND)

    @property
    def decision_age_s(self) -> float:
        """Age of the last decision, seconds; of this process before the first."""
        return self._clock() - self._decided

    @property
    def feed_age_s(self) -> float:
        """Time since the feed was heard from, seconds."""
        return self._clock() - self._beaten

    def ill(self) -> str | None:
        """What is wrong, as a sentence; None if the session is well."""
        late, silent = self._clock() - self._due, self.feed_age_s
        if silent > self._beat_s:
            return f"the feed was not heard from for {silent:,.0f} s"
        if late > self._late_s:
            return f"no decision for {self.decision_age_s:,.0f} s; the one that should have come is {late:,.0f} s late"
        return None
