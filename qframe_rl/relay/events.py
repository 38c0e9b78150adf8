"""What passes between a source of events and where they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from qframe_rl.config import UserError
from qframe_rl.journal.lock import Head
from qframe_rl.journal.store import JournalEvent, link

BATCH = 500
"""Events that move together, at most."""
BATCH_BYTES = 1 << 20
"""Bytes of their payloads from which on no further one joins them."""


class LinkedEvent(NamedTuple):
    """An event with its hash."""

    event: JournalEvent
    hash: bytes
    """Chained over every event before, (32,) bytes."""


class CursorMoved(Exception):
    """Somebody else wrote meanwhile, or what was there is gone: the cursor is to be asked for anew."""


class EventFiller(Protocol):
    """Where events are looked for that another source has not any more."""

    place: str
    """For messages."""

    def after(self, session: str, head: Head, n: int) -> list[LinkedEvent]:
        """At most ``n`` events after one; raises UserError where they are not those that were written."""
        ...


class EventSource(EventFiller, Protocol):
    """Where events come from."""

    def journals(self) -> Mapping[str, str]:
        """Names of sessions by their ids."""
        ...

    def head(self, session: str) -> int:
        """Number of the last event that there is."""
        ...

    def pulse(self, session: str) -> Mapping[str, Any] | None:
        """What the session said of itself last, if that is known here."""
        ...

    def taken(self, session: str, consumer: str, seq: int) -> None:
        """Hear that a consumer has all events up to one."""
        ...

    def wait(self, cursors: Mapping[str, int], seconds: float) -> None:
        """Wait until there may be more than these, no longer than so many seconds."""
        ...


class EventTarget(Protocol):
    """Where events go."""

    place: str
    """For messages."""

    def cursor(self, session: str, name: str) -> Head:
        """The last event that is there; its hash is empty where that is not known."""
        ...

    def write(self, session: str, events: Sequence[LinkedEvent], pulse: Mapping[str, Any] | None) -> None:
        """Take events that follow the cursor: all or none; raises `CursorMoved` if they do not follow it."""
        ...


def checked(place: str, head: Head, events: Sequence[LinkedEvent]) -> list[LinkedEvent]:
    """Events, if each follows the one before.

    Parameters
    ----------
    place
        Where they were read, for a message.
    head
        The event before the first; an empty hash is taken for right.
    events
        In their order.

    Raises
    ------
    UserError
        If one does not.
    """
    before, last = head.hash, head.seq
    for event, digest in events:
        if event.seq != last + 1:
            raise UserError(f"{place}: event {last + 1} is missing.")
        if before and link(before, *event) != digest:
            raise UserError(f"{place}: event {event.seq} does not follow event {last} that was taken: an old copy?")
        before, last = digest, event.seq
    return list(events)


def cut(events: Sequence[LinkedEvent]) -> list[LinkedEvent]:
    """The first events, as many as move together."""
    size, kept = 0, []
    for one in events[:BATCH]:
        kept.append(one)
        size += len(one.event.payload)
        if size >= BATCH_BYTES:
            break
    return kept
