"""Feeds of sessions that are written down: the bars on record first, then those that are still to come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event
from typing import Protocol

import numpy as np

from qframe_rl.feeds.feed import Feed
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.journal.codec import Plain, bar_in, bar_out
from qframe_rl.journal.ledger import Ledger
from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.shapes import check_bar, parsed
from qframe_rl.journal.store import last_events
from qframe_rl.risk.engine import Conditions
from qframe_rl.types import Bar, Instrument


class Live(Feed, Protocol):
    """A feed that a session can go on with after it was interrupted."""

    stopped: Event
    """Set it to end the feed after the bar under way."""
    idle: Callable[[], None]
    """Called now and then while the feed waits for its next bar."""
    hear: Callable[[], None]
    """Called several times a second while it waits for an answer."""

    def resume(self, time: int, memory: Plain) -> None:
        """Begin with the bar after the one that closed at ``time``, ns UTC, when `moment` said ``memory``."""

    def rules(self) -> tuple[Instrument, ...]:
        """What the exchange states of the instruments, as far as is known now; it does not wait."""

    def moment(self, bar: Bar) -> Plain:
        """What is to be recorded with a bar besides itself: ``late_ns``, ``skew_ns``, ``memory``; each may lack."""


def _nothing() -> None:
    """No one waits to be called."""


class ReplayFeed(HistoryFeed):
    """A `HistoryFeed` that a session can resume."""

    hear: Callable[[], None] = staticmethod(_nothing)

    def resume(self, time: int, memory: Plain) -> None:
        """Begin with the bar after ``time``."""
        self.start = int(np.searchsorted(self.history.time, time, side="right"))
        self.window = 0

    def rules(self) -> tuple[Instrument, ...]:
        """Rules of the past do not change."""
        return self.instruments

    def moment(self, bar: Bar) -> Plain:
        """Bars of the past are never late."""
        return {}


class Recording:
    """The feed of a session with a journal.

    Parameters
    ----------
    ledger
        Where bars are taken from and written to.
    live
        Goes on where the record ends; None for a replay.
    instruments, columns, bar_ns
        As in `Feed`.
    """

    def __init__(
        self,
        ledger: Ledger,
        live: Live | None,
        instruments: tuple[Instrument, ...],
        columns: tuple[str, ...],
        bar_ns: int,
    ):
        self.instruments, self.columns, self.bar_ns = instruments, columns, bar_ns
        self.heed: Callable[[], None] = _nothing
        """Takes what came from the operator before the next bar."""
        self.listen: Callable[[], None] = _nothing
        """The same while an exchange is waited for that may not answer."""
        self.began: Callable[[], None] = _nothing
        """Called where the record ends and new bars begin."""
        self._ledger = ledger
        self._live = live
        self.n_bars = 0
        """All bars so far."""
        self._last: int | None = None
        self._moment: Plain = {}

    def begin_after(self, seq: int, n_bars: int, window: int) -> list[Bar]:
        """Begin with the bar after event ``seq``, before which there were ``n_bars``; return the last ``window``."""
        self._ledger.begin_after(seq)
        self.n_bars = n_bars
        return [
            self._looked_at(parsed(self._ledger.path, event.seq, event.kind, event.payload))
            for event in last_events(self._ledger.path, "bar", seq, window)
        ]

    def conditions(self) -> Conditions:
        """What is known about the moment at which the last bar came."""
        return Conditions(self._moment.get("late_ns", 0), self._moment.get("skew_ns", 0))

    def __iter__(self) -> Iterator[Bar]:
        while self._ledger.recorded is not None:
            self._heard()
            if self._ledger.recorded is None:
                break
            bar = self._looked_at(self._ledger.take("bar", dict))
            self.n_bars += 1
            yield bar
        if self._live is None:
            return
        self.began()
        if self._last is not None:
            self._live.resume(self._last, self._moment.get("memory", {}))
        self._live.idle, self._live.hear = self._idle, self._hear
        for new in self._live:
            self.heed()
            self._moment = self._live.moment(new)
            self._ledger.put("bar", bar_out(new) | self._moment)
            self.n_bars += 1
            yield new

    def _heard(self) -> None:
        """Take all that the record has before its next bar: it came at several times while that was waited for."""
        while True:
            n = self._ledger.n_repeated
            self.heed()
            if self._ledger.recorded in (None, "bar") or self._ledger.n_repeated == n:
                return

    def _idle(self) -> None:
        self.heed()
        self._ledger.commit()

    def _hear(self) -> None:
        self.listen()
        self._ledger.commit()

    def _looked_at(self, payload: Plain) -> Bar:
        """A bar of the record; the moment at which it came is now."""
        check_bar(self._ledger.path, payload, len(self.instruments), 5 + len(self.columns))
        self._moment = {key: payload[key] for key in ("late_ns", "skew_ns", "memory") if key in payload}
        bar = bar_in(payload)
        if self._last is not None and bar.time <= self._last:
            raise corrupt(self._ledger.path, "its bars are not in the order of time")
        self._last = bar.time
        return bar
