"""Moves events from a source to a target, and goes on after whatever happened to either."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.lock import Head
from qframe_rl.relay.events import BATCH, CursorMoved, EventSource, EventTarget

_WAIT_S = 0.5
_LONGEST_S = 5.0
_SAID_EVERY_S = 60.0
_AGAIN_S = 30.0
_TAKEN_EVERY_S = 5.0


class Pump:
    """Takes every event once, in order.

    Parameters
    ----------
    source
        Where events come from.
    target
        Where they go.
    consumer
        What the target is called among those who read the source.
    told
        Told in one line of every change.
    """

    def __init__(self, source: EventSource, target: EventTarget, consumer: str, told: Callable[[str], None]):
        self.source, self.target, self.consumer, self.told = source, target, consumer, told
        self.moved = 0
        """Events so far."""
        self.stopped: dict[str, str] = {}
        """Why a journal is not moved any more, by session; it is looked at again twice a minute."""
        self._cursors: dict[str, Head] = {}
        self._heads: dict[str, int] = {}
        self._had: dict[str, int] = {}
        self._again: dict[str, float] = {}
        self._taken: dict[str, float] = {}
        self._ill: str | None = None
        self._said = self._pause = 0.0

    def step(self) -> int:
        """Move what there is of each journal, one batch; return how many events there were."""
        try:
            there = self.source.journals()
            self._forget(there)
            moved = sum(self._moved(session, name) for session, name in there.items())
        except Unavailable as error:
            self._cursors.clear()
            self._suffer(str(error))
            return 0
        if self._ill is not None:
            self.told(f"{self.target.place} takes events again; {self.behind():,} events behind")
            self._ill, self._pause = None, 0.0
        return moved

    def run(self, stopped: Callable[[], bool], *, once: bool = False) -> None:
        """Work until stopped.

        Parameters
        ----------
        stopped
            Whether to stop.
        once
            Whether to stop when all is moved.
        """
        while not stopped():
            moved = self.step()
            if self._ill is not None:
                _sleep(self._pause, stopped)
            elif not moved:
                if once:
                    return
                self._rest()

    def behind(self) -> int:
        """Events that the target lacks, as far as is known."""
        return sum(max(0, head - self._had.get(session, 0)) for session, head in self._heads.items())

    def _forget(self, there: Collection[str]) -> None:
        """Wait for no journal that was taken away, nor count what it had."""
        for known in (self._cursors, self._heads, self.stopped):
            for session in known.keys() - there:
                del known[session]

    def _moved(self, session: str, name: str) -> int:
        if self._again.get(session, 0.0) > time.monotonic():
            return 0
        try:
            moved = self._batch(session, name)
        except CursorMoved:
            self._cursors.pop(session, None)
            return 1
        except UserError as error:
            self._stop(session, name, str(error))
            return 0
        if session in self.stopped:
            del self.stopped[session]
            self.told(f"{name} goes on")
        return moved

    def _batch(self, session: str, name: str) -> int:
        self._heads[session] = self.source.head(session)
        if session not in self._cursors:
            self._cursors[session] = self.target.cursor(session, name)
        head = self._cursors[session]
        self._had[session] = head.seq
        # Where the source ends before what was taken it is looked at as well: an old copy says so.
        events = self.source.after(session, head, BATCH) if self._heads[session] != head.seq else []
        if events:
            self.target.write(session, events, self.source.pulse(session))
            head = Head(events[-1].event.seq, events[-1].hash)
            self._cursors[session], self._had[session] = head, head.seq
            self.moved += len(events)
        if events or time.monotonic() - self._taken.get(session, -_TAKEN_EVERY_S) >= _TAKEN_EVERY_S:
            self.source.taken(session, self.consumer, head.seq)
            self._taken[session] = time.monotonic()
        return len(events)

    def _stop(self, session: str, name: str, why: str) -> None:
        self._again[session] = time.monotonic() + _AGAIN_S
        self._cursors.pop(session, None)
        if self.stopped.get(session) != why:
            self.stopped[session] = why
            self.told(f"ALERT: {name} ({session}) is stopped: {why}")

    def _suffer(self, why: str) -> None:
        """Say that either does not answer, at once and then each minute, and how much waits by now."""
        now = time.monotonic()
        if self._ill is None or now - self._said >= _SAID_EVERY_S:
            self._said = now
            self._count()
            self.told(f"{why} {self.behind():,} events behind; it is tried again")
        self._ill = why
        self._pause = min(_LONGEST_S, 2.0 * self._pause or _WAIT_S)

    def _count(self) -> None:
        """How far the source is, if that is not what does not answer."""
        try:
            for session in self.source.journals():
                self._heads[session] = self.source.head(session)
        except (Unavailable, UserError):
            return

    def _rest(self) -> None:
        cursors = {session: head.seq for session, head in self._cursors.items() if session not in self.stopped}
        try:
            self.source.wait(cursors, _WAIT_S)
        except (Unavailable, UserError):  # the next step meets it too, and says so
            time.sleep(_WAIT_S)


def _sleep(seconds: float, stopped: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stopped():
        time.sleep(0.05)
