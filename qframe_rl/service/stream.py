"""Events of all sessions as they are written, for any number of listeners that may come back.

One thread looks at every journal: at those that are written to every 20 ms, at the others every second. An event is
checked against its chain, put into words once, and handed to every listener. What a listener had is in its cursor: the
number of the last event of each session. So one that comes back, to this process or another one, misses nothing and
gets nothing twice.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.lock import corrupt, writer_of
from qframe_rl.journal.peek import Peek, stamps
from qframe_rl.journal.shapes import parsed
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.journal.store import JournalEvent, read
from qframe_rl.service.places import Found, Places
from qframe_rl.service.store import ServiceStore
from qframe_rl.types import LAST_NS

POLL_S = 0.02
REST_S = 1.0
"""Time between two looks at a journal that nobody writes."""
MISSED = 10_000
"""Events that a listener who comes back is sent at most; more, and it is told to begin anew."""
BLOCKS = 256
"""Blocks that wait for a listener; more, and it is hung up on."""
HEARTBEAT_S = 15.0
_RECENT = 10_000
_HASH = "SELECT hash FROM events WHERE seq = ?"


class Cursor:
    """Numbers of the last events, by the number of the journal in the store.

    Parameters
    ----------
    epoch
        Of the store.
    seen
        Last event of each journal.
    """

    def __init__(self, epoch: str, seen: Mapping[int, int] | None = None):
        self.epoch, self.seen = epoch, dict(seen or {})

    def text(self) -> str:
        """Opaque, of characters that a header takes."""
        plain = b"".join(_varint(part) for item in sorted(self.seen.items()) for part in item)
        return f"{self.epoch}.{base64.urlsafe_b64encode(plain).decode().rstrip('=')}"

    @classmethod
    def of(cls, text: str) -> Cursor:
        """What `text` gave; raises ValueError for anything else."""
        epoch, _, coded = text.partition(".")
        plain = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True)
        numbers = _numbers(plain)
        if len(epoch) != 8 or len(numbers) % 2:
            raise ValueError("not a cursor of this service")
        return cls(epoch, dict(zip(numbers[::2], numbers[1::2], strict=True)))


class Published(NamedTuple):
    """An event in words."""

    session: str
    journal: int
    seq: int
    kind: str
    rest: bytes
    """What is sent of it, after the line with the cursor of who gets it."""


@dataclass(eq=False)
class StreamListener:
    """One who listens."""

    sessions: frozenset[str]
    """Which; empty = all."""
    kinds: frozenset[str]
    """Which; empty = all."""
    end: Callable[[], object]
    """Hangs up."""
    blocks: deque[bytes] = field(default_factory=deque)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: bool = False

    def wants(self, session: str, kind: str) -> bool:
        """Whether an event is for it."""
        return (not self.sessions or session in self.sessions) and (not self.kinds or kind in self.kinds)

    def give(self, block: bytes) -> None:
        """Put a block into its queue, or hang up if it does not read."""
        if self.dropped:
            return
        if len(self.blocks) >= BLOCKS:
            self.dropped = True
            self.end()
            return
        self.blocks.append(block)
        self.more.set()


@dataclass
class _Tailed:
    """A journal that is looked at."""

    found: Found
    number: int
    seq: int
    hash: bytes = b""
    """Of that event; empty before the first."""
    peek: Peek | None = None
    due: float = 0.0
    live: bool = False
    asked: float = -REST_S
    """When it was last asked whether somebody writes it."""
    files: tuple[Any, ...] = ()
    """Of one that was read to its end, as they were: while nobody writes it and they are the same, nothing is new."""

    def left(self) -> None:
        """Let go of its file."""
        if self.peek is not None:
            self.peek.close()
            self.peek = None


class EventHub:
    """Looks at journals and tells listeners.

    Parameters
    ----------
    places
        Where the sessions lie.
    store
        Which numbers the journals have.
    """

    def __init__(self, places: Places, store: ServiceStore):
        self.places, self.store = places, store
        self.listeners: set[StreamListener] = set()
        self.moved: dict[str, int] = {}
        """Last event that was seen of each session: what is known of one is old when this moves."""
        self.broken: dict[str, str] = {}
        """Why a journal is not read any more, by session: in quarantine until it is another file."""
        self._tailed: dict[str, _Tailed] = {}
        self._recent: deque[Published] = deque(maxlen=_RECENT)
        self._cursor = Cursor(store.epoch)
        self._stopped = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="tail", daemon=True)
        self._looked = -REST_S
        self._begun = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to look, and tell listeners in this event loop."""
        self._loop = loop
        self._discover()
        self._begun = True
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        for tailed in self._tailed.values():
            tailed.left()

    def begin(self, listener: StreamListener, cursor: Cursor | None) -> list[bytes] | None:
        """Let one listen from now on; call it in the event loop.

        Parameters
        ----------
        listener
            Who.
        cursor
            What it has had; None = begin now.

        Returns
        -------
        list[bytes] | None
            What it missed, as blocks; None if that is too much, or of another store: it must begin anew.
        """
        # Published events reach listeners in the loop, one batch after another: between two of them nothing is lost.
        now = Cursor(self._cursor.epoch, self._cursor.seen)
        if cursor is None:
            self.listeners.add(listener)
            return []
        if cursor.epoch != now.epoch or any(now.seen.get(j, 0) < seq for j, seq in cursor.seen.items()):
            return None
        missed = self._missed(listener, cursor, now)
        if missed is not None:
            self.listeners.add(listener)
        return missed

    def cursor(self) -> str:
        """Where a listener stands who begins now."""
        return self._cursor.text()

    def _missed(self, listener: StreamListener, cursor: Cursor, now: Cursor) -> list[bytes] | None:
        total = sum(seq - cursor.seen.get(j, 0) for j, seq in now.seen.items())
        if total > MISSED:
            return None
        missed = [event for event in self._recent if cursor.seen.get(event.journal, 0) < event.seq]
        if len(missed) < total:
            try:
                missed = list(self._read(cursor, now))
            except (UserError, Unavailable):  # gone or corrupt: what it held cannot be sent again
                return None
        if len(missed) < total:
            return None
        # Each with the cursor of this listener: it may have had more of one journal than others had at that event.
        blocks, at = [], Cursor(cursor.epoch, cursor.seen)
        for event in missed:
            at.seen[event.journal] = event.seq
            if listener.wants(event.session, event.kind):
                blocks.append(_block(at.text(), event.rest))
        return blocks

    def _read(self, cursor: Cursor, now: Cursor) -> Iterator[Published]:
        """What journals hold between two cursors."""
        for tailed in list(self._tailed.values()):
            have, want = cursor.seen.get(tailed.number, 0), now.seen.get(tailed.number, 0)
            if have < want:
                path = tailed.found.folder / JOURNAL
                for event in read(path, have):
                    if event.seq > want:
                        break
                    yield _published(tailed.found.id, tailed.number, path, event)

    def _work(self) -> None:
        while not self._stopped.wait(POLL_S):
            now = time.monotonic()
            if now - self._looked >= REST_S:
                self._discover()
            for tailed in list(self._tailed.values()):
                if tailed.due <= now:
                    self._tail(tailed, now)

    def _discover(self) -> None:
        """Find journals that are new. What they hold when the service begins was before its time."""
        self._looked = time.monotonic()
        for session, found in self.places.sessions().items():
            tailed = self._tailed.get(session)
            if tailed is not None and tailed.found.folder == found.folder:
                continue
            try:
                number = self.store.journal(session, found.name)
            except Unavailable as error:
                if not self._begun:
                    raise
                self.broken[session] = str(error)  # and again at the next look
                continue
            seq, digest = (tailed.seq, tailed.hash) if tailed is not None else (0, b"")
            if not self._begun:
                try:
                    with Peek(found.folder / JOURNAL) as peek:
                        last = peek.rows("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")
                        seq, digest = last[0] if last else (0, b"")
                except (UserError, Unavailable) as error:
                    self.broken[session] = str(error)
                self._cursor.seen[number] = seq
            self._tailed[session] = _Tailed(found, number, seq, digest)

    def _tail(self, tailed: _Tailed, now: float) -> None:
        path = tailed.found.folder / JOURNAL
        files = stamps(path)
        if not tailed.live and files == tailed.files:
            tailed.due = now + REST_S
            return
        try:
            if tailed.peek is None:
                tailed.peek = Peek(path)
            ((head,),) = tailed.peek.rows("SELECT coalesce(max(seq), 0) FROM events")
            if head < tailed.seq:
                raise UserError(f"{path} ends at event {head}, but event {tailed.seq} had been read: an old copy?")
            events: list[Published] = []
            if head > tailed.seq:
                if tailed.hash and tailed.peek.rows(_HASH, (tailed.seq,)) != [(tailed.hash,)]:
                    raise UserError(
                        f"{path} has another event {tailed.seq} than had been read: an old copy that went on?"
                    )
                for event in read(path, tailed.seq):
                    events.append(_published(tailed.found.id, tailed.number, path, event))
                    if len(events) >= 1000:
                        break
            self.broken.pop(tailed.found.id, None)
            if now - tailed.asked >= REST_S:
                tailed.live, tailed.asked = writer_of(path) is not None, now
            more = head > tailed.seq + len(events)
            tailed.files = () if more else files
            tailed.due = now if more else now + (POLL_S if tailed.live else REST_S)
            if events:
                ((tailed.hash,),) = tailed.peek.rows(_HASH, (events[-1].seq,))
                tailed.seq = self.moved[tailed.found.id] = events[-1].seq
                self._publish(events)
            if not tailed.live:  # there may be thousands of them, and only so many files are open at once
                tailed.left()
        except (UserError, Unavailable, OSError) as error:
            self.broken[tailed.found.id] = str(error)
            if tailed.found.id not in self.places.sessions():  # its folder was taken away
                self.broken.pop(tailed.found.id)
            tailed.left()
            tailed.files, tailed.due = (), now + REST_S

    def _publish(self, events: Sequence[Published]) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, events)

    def _tell(self, events: Sequence[Published]) -> None:
        for event in events:
            self._cursor.seen[event.journal] = event.seq
            self._recent.append(event)
            block = _block(self._cursor.text(), event.rest)
            for listener in list(self.listeners):
                if listener.wants(event.session, event.kind):
                    listener.give(block)
                if listener.dropped:
                    self.listeners.discard(listener)


def told(session: str, event: JournalEvent) -> str:
    """An event as the API has it, version 1, on one line; fields are only ever added."""
    payload = event.payload.replace("\r", " ").replace("\n", " ")
    return (
        f'{{"v":1,"session":"{session}","seq":{event.seq},"kind":{json.dumps(event.kind)},"at":"{_iso(event.time)}",'
        f'"time_ns":"{event.time}","data":{payload}}}'
    )


def _published(session: str, number: int, path: Path, event: JournalEvent) -> Published:
    """An event in words, if it is what a session writes: whoever can write a journal can chain it anew."""
    parsed(path, event.seq, event.kind, event.payload)
    if not 0 <= event.time < LAST_NS:
        raise corrupt(path, f"event {event.seq} has no time")
    rest = f"event: journal\ndata: {told(session, event)}\n\n".encode()
    return Published(session, number, event.seq, event.kind, rest)


def _block(cursor: str, rest: bytes) -> bytes:
    return f"id: {cursor}\n".encode() + rest


def _iso(time_ns: int) -> str:
    """ISO 8601 to the millisecond, UTC."""
    seconds, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 10**6:03d}Z"


def block(event: str, data: Any, cursor: str | None = None) -> bytes:
    """A message of the service itself."""
    head = "" if cursor is None else f"id: {cursor}\n"
    return f"{head}event: {event}\ndata: {json.dumps(data)}\n\n".encode()


def _varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def _numbers(plain: bytes) -> list[int]:
    found, number, shift = [], 0, 0
    for byte in plain:
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > 63:
            raise ValueError("not a cursor of this service")
        if not byte & 0x80:
            found.append(number)
            number = shift = 0
    if shift:
        raise ValueError("not a cursor of this service")
    return found
