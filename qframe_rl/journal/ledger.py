"""A journal that is read and written in one movement: what is recorded is repeated and checked, then it goes on.

A session is a function of what comes from outside: bars, quotes, answers of an exchange, commands. Those are *taken*:
from the record as long as it lasts, from the world after that. Everything else follows from them and is *put*: compared
with the record as long as it lasts, appended after that. So a killed session resumes by running again from its first
bar, and a replay is the same run with nothing appended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.config import UserError, canonical
from qframe_rl.journal.codec import Plain
from qframe_rl.journal.secrets import MASK, agree
from qframe_rl.journal.shapes import parsed
from qframe_rl.journal.snapshot import Snapshot
from qframe_rl.journal.store import Alert, JournalEvent, Writer, last_events, read
from qframe_rl.types import LAST_NS, iso

REMARKS = frozenset({"process", "note", "alert"})
"""Kinds of events on which nothing depends: a replay passes over them."""


class Differs(UserError):
    """A recorded event is not what the session arrives at now."""


class RecordEnds(Exception):
    """A replay came to the end of its record."""


class Input(NamedTuple):
    """Something that came from outside between two bars."""

    kind: str
    payload: Plain


class Ledger:
    """The events of one session.

    Parameters
    ----------
    path
        The journal.
    writer
        Appends to it; None to replay it only.
    """

    def __init__(self, path: Path, writer: Writer | None):
        self.path = path
        self._writer = writer
        self._events: Iterator[JournalEvent] = read(path)
        self._next: JournalEvent | None = None
        self.n_repeated = 0
        """Events that were taken from the record or found the same."""
        self.n_foreign = 0
        """Snapshots among them that other code or libraries made, of which only the time was compared."""
        self.told: Callable[[str, Plain], None] = lambda kind, payload: None
        """Told of every event that is appended, remarks left out."""
        self._advance()

    @property
    def recorded(self) -> str | None:
        """Kind of the next recorded event; None where the record has ended."""
        return None if self._next is None else self._next.kind

    @property
    def writing(self) -> bool:
        """Whether events are appended from here on."""
        return self._next is None and self._writer is not None

    def put(self, kind: str, payload: Plain) -> None:
        """Note what the session arrived at.

        Raises
        ------
        Differs
            If the record has something else here.
        RecordEnds
            If the record has ended and nothing may be appended.
        """
        text = canonical(payload)
        if self._next is None:
            self._must_write().append(kind, text)
            self.told(kind, payload)
            return
        if self._next.kind != kind or not _same(self._next.payload, text):
            raise self._differs(kind, payload)
        self._advance()

    def take(self, kind: str, source: Callable[[], Plain]) -> Plain:
        """What came from outside: as it was recorded, or from ``source`` now.

        Raises
        ------
        Differs
            If the record has another kind of event here.
        RecordEnds
            If the record has ended and nothing may be appended.
        """
        if self._next is None:
            self._must_write()
            return self._written(kind, source())
        if self._next.kind != kind:
            raise self._differs(kind, {})
        return self._repeat()

    def awaited(self, kind: str, attempt: Callable[[], Plain | None], hear: Callable[[], None]) -> Plain:
        """What came from outside after a wait, in which other things may have come: they are on record before it.

        Parameters
        ----------
        kind
            Of the event.
        attempt
            Waits a moment for it; None if it is not there yet.
        hear
            Takes what else comes, from the record or from the world, and does what follows from it.

        Raises
        ------
        Differs
            If the record has something here that ``hear`` does not take either.
        RecordEnds
            If the record has ended and nothing may be appended.
        """
        while self._next is not None:
            if self._next.kind == kind:
                return self._repeat()
            here = self._next.seq
            hear()
            if self._next is not None and self._next.seq == here:
                raise self._differs(kind, {})
        self._must_write()
        while True:
            said = attempt()
            if said is not None:
                return self._written(kind, said)
            hear()

    def inputs(self, kinds: frozenset[str], source: Callable[[], Sequence[Input]]) -> list[Input]:
        """Whatever came from outside at this point: any number of events of some kinds, perhaps none.

        Where the record has some, the world is asked the next time: it cannot know yet that these were taken.
        """
        came = []
        while self._next is not None and self._next.kind in kinds:
            came.append(Input(self._next.kind, self._repeat()))
        if self.writing and not came:
            came += [Input(new.kind, self._written(new.kind, new.payload)) for new in source()]
        return came

    def snapshot(self, time: int, made: str, state: Plain, watchers: Plain) -> None:
        """Note the hash of what the session consists of after the bar that closed at ``time``, and keep it.

        What it consists of is a matter of the code: the hash of one that other code or libraries made (``made`` is
        their fingerprint) is not compared.

        Raises
        ------
        Differs
            If the record has something else here.
        """
        text, fresh = canonical(state), self.writing
        if self.recorded == "snapshot":
            assert self._next is not None
            was = self._parsed(self._next)
            if was.get("made") != made:
                self.n_foreign += 1
                self.put("snapshot", was | {"time": time})
                return
        self.put("snapshot", {"time": time, "hash": _hash(text), "made": made})
        if fresh:
            self._must_write().snapshot(made, text, canonical(watchers))

    def last_snapshot(self) -> Snapshot | None:
        """The snapshot that was kept, if there is one."""
        return self._must_write().last_snapshot()

    def genuine(self, kept: Snapshot) -> bool:
        """Whether a snapshot is the one that was noted."""
        noted = last_events(self.path, "snapshot", kept.seq, 1)
        return bool(noted) and noted[0].seq == kept.seq and self._parsed(noted[0])["hash"] == _hash(kept.state)

    def begin_after(self, seq: int) -> None:
        """Pass over the events up to ``seq``: what they led to is known."""
        self._events = read(self.path, seq)
        self._next = None
        self._advance()

    def remark(self, kind: str, payload: Plain) -> None:
        """Note something on which nothing depends; dropped while the record is repeated."""
        assert kind in REMARKS
        if self._writer is not None:
            if self._next is not None:
                raise RuntimeError("a remark cannot stand before events that are recorded already")
            self._writer.append(kind, canonical(payload))

    def alert(self, alert: Alert) -> None:
        """Note an alert and put it into the outbox, in one transaction; what was recorded is not said twice."""
        if self.writing:
            self.remark("alert", alert._asdict())
            self._must_write().alert(alert)

    def commit(self, pulse: Plain | None = None) -> None:
        """Write what was appended."""
        if self.writing:
            self._must_write().commit(None if pulse is None else canonical(pulse))

    def left_inside(self, after: int) -> list[tuple[int, str]]:
        """Commands after number ``after`` that an earlier version put into the journal itself."""
        return self._must_write().left_inside(after)

    def beat(self) -> None:
        """Show that the process lives, where it writes."""
        if self._writer is not None:
            self._writer.beat()

    def _written(self, kind: str, payload: Plain) -> Plain:
        """Append what came from outside; return what a replay will read of it."""
        # Read back: keys in the order of the record, and lists for tuples, or a replay would go through them otherwise.
        payload = json.loads(self._must_write().append(kind, canonical(payload)))
        self.told(kind, payload)
        return payload

    def _must_write(self) -> Writer:
        if self._writer is None:
            raise RecordEnds
        return self._writer

    def _repeat(self) -> Plain:
        assert self._next is not None
        payload = self._parsed(self._next)
        self._advance()
        return payload

    def _parsed(self, event: JournalEvent) -> Plain:
        return parsed(self.path, event.seq, event.kind, event.payload)

    def _advance(self) -> None:
        if self._next is not None:
            self.n_repeated += 1
        self._next = next((event for event in self._events if event.kind not in REMARKS), None)

    def _differs(self, kind: str, payload: Plain) -> Differs:
        assert self._next is not None
        seq = self._next.seq
        if self._next.kind != kind:
            return Differs(f"{self.path}: event {seq} is a {self._next.kind}, but the session now arrives at a {kind}.")
        was = self._parsed(self._next)
        field, before, after = _first_difference(was, json.loads(canonical(payload)), kind)
        at = was.get("time")
        when = f" of {iso(at)}" if isinstance(at, int) and 0 <= at < LAST_NS else ""
        return Differs(
            f"{self.path}: event {seq}, the {kind}{when}, has {field} = {before}, "
            f"but the session now arrives at {after}."
        )


def _same(was: str, now: str) -> bool:
    """Whether an event is as it was written; a text that was masked was any text."""
    if was == now or MASK not in was:
        return was == now
    try:
        return agree(json.loads(was), json.loads(now))
    except (ValueError, RecursionError):  # what differs is said by who reads it
        return False


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _first_difference(was: Any, now: Any, place: str) -> tuple[str, str, str]:
    """Where two JSON values differ first, and how."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted({*was, *now}):
            if not agree(was.get(key), now.get(key)):
                return _first_difference(was.get(key), now.get(key), f"{place}.{key}")
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for n, (one, other) in enumerate(zip(was, now, strict=True)):
            if not agree(one, other):
                return _first_difference(one, other, f"{place}[{n}]")
    return place, json.dumps(was), json.dumps(now)
