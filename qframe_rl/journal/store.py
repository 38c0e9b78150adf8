"""One journal file: SQLite in WAL mode, append-only, each event chained to the one before by its hash.

Beside ``journal.db`` lies ``journal.db.head``: the writer's lock, and in it the number and hash of the last event that
was committed, so that a journal whose tail was torn off does not pass for a shorter one. Only the session itself opens
``journal.db`` for writing; commands come through `qframe_rl.journal.inbox`, readers through `qframe_rl.journal.peek`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.config import Unavailable, UserError, canonical
from qframe_rl.journal.lock import BEGINNING, Head, Lock, corrupt, head_path, read_head
from qframe_rl.journal.peek import APPLICATION, FORMATS, Peek
from qframe_rl.journal.secrets import Redactor
from qframe_rl.journal.snapshot import Snapshot

FORMAT = FORMATS[-1]
NAME = "journal.db"
"""Its file name in the folder of a session."""
_SNAPSHOTS = """CREATE TABLE IF NOT EXISTS snapshots (seq INTEGER PRIMARY KEY, made TEXT NOT NULL, state TEXT NOT NULL,
    watchers TEXT NOT NULL)"""
_SCHEMA = f"""
PRAGMA application_id={APPLICATION};
PRAGMA user_version={FORMAT};
CREATE TABLE events (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL,
    hash BLOB NOT NULL);
CREATE TRIGGER no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TABLE outbox (id INTEGER PRIMARY KEY, time INTEGER NOT NULL, rule TEXT NOT NULL, text TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, due INTEGER NOT NULL DEFAULT 0, sent INTEGER);
CREATE TABLE pulse (id INTEGER PRIMARY KEY CHECK (id = 1), time INTEGER NOT NULL, state TEXT NOT NULL);
{_SNAPSHOTS};
"""


class JournalEvent(NamedTuple):
    """One line of a journal."""

    seq: int
    """From 1, without gaps."""
    time: int
    """Wall clock when it was written, ns UTC; no result depends on it."""
    kind: str
    payload: str
    """Canonical JSON."""


class Alert(NamedTuple):
    """A message that waits in the outbox."""

    rule: str
    text: str


def read(path: Path, after: int = 0) -> Iterator[JournalEvent]:
    """Events of a journal in their order, each checked against the chain.

    Parameters
    ----------
    path
        The journal.
    after
        Begin with the event after this one, whose hash is taken as it stands.

    Raises
    ------
    UserError
        If there is no journal, or at the first event that is not as it was written.
    """
    for event, _ in chained(path, after):
        yield event


def last_events(path: Path, kind: str, seq: int, n: int) -> list[JournalEvent]:
    """The last ``n`` events of a kind up to event ``seq``, in their order; the chain is not checked."""
    found: list[JournalEvent] = []
    with Peek(path) as peek:
        while len(found) < n:
            rows = peek.rows(
                "SELECT seq, time, kind, payload FROM events WHERE seq <= ? AND kind = ? ORDER BY seq DESC",
                (found[-1].seq - 1 if found else seq, kind), n - len(found),
            )  # fmt: skip
            if not rows:
                break
            found += [JournalEvent(*row) for row in rows]
    return found[::-1]


def verify(path: Path, *, pages: bool = True) -> Head:
    """Check every event of a journal, and that none is missing at its end.

    Parameters
    ----------
    path
        The journal.
    pages
        Whether to check every page of the file as well, in one long read; its writer does it whenever it begins.

    Raises
    ------
    UserError
        If it is not a journal, or is corrupt.
    """
    head = BEGINNING
    known = read_head(path)
    met = known is None or known.seq == 0
    for event, digest in chained(path):
        head = Head(event.seq, digest)
        if known is not None and event.seq == known.seq:
            if digest != known.hash:
                raise corrupt(path, f"event {event.seq} is not the one that was written")
            met = True
    if known is not None and not met:
        raise corrupt(path, f"it ends at event {head.seq}, but event {known.seq} had been written: its tail is lost")
    if pages:
        with Peek(path) as peek:
            ((said,),) = peek.rows("PRAGMA quick_check(1)")
        if said != "ok":
            raise corrupt(path, " ".join(said.split()))
    return head


class Writer:
    """The one process that appends to a journal.

    Parameters
    ----------
    path
        The file; it is made if it is not there, and verified if it is.
    durable
        Whether a commit waits for the disk, so that it survives a loss of power; without, it survives the end of the
        process only.
    secrets
        Texts that must never be written, as in `Redactor`.

    Raises
    ------
    UserError
        If another process writes to it, or if it is corrupt; nothing was changed then.
    """

    def __init__(self, path: Path, *, durable: bool = True, secrets: Sequence[str] = ()):
        self.path = path
        self._redactor = Redactor(secrets)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(path)
        try:
            if not path.exists():
                _make(path)
            self.head = verify(path)
            self._database = _connect(path)
            self._database.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._database.execute(_SNAPSHOTS)
            (self._form,) = self._database.execute("PRAGMA user_version").fetchone()
            inside = self._database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'inbox'").fetchone()
            self._lock.mark(self.head)
        except BaseException:
            self._lock.close()
            raise
        self._inbox_inside = bool(inside[0])
        self._events: list[tuple[int, int, str, str, bytes]] = []
        self._alerts: list[Alert] = []
        self._snapshot: Snapshot | None = None

    def append(self, kind: str, payload: str) -> str:
        """Add an event, as canonical JSON, to the next commit; return what will be written of it."""
        payload = self._redactor.json(payload)
        seq, now = self.head.seq + 1, time.time_ns()
        digest = link(self.head.hash, seq, now, kind, payload)
        self._events.append((seq, now, kind, payload, digest))
        self.head = Head(seq, digest)
        return payload

    def alert(self, alert: Alert) -> None:
        """Put a message into the outbox with the next commit."""
        self._alerts.append(Alert(alert.rule, self._redactor.text(alert.text)))

    def snapshot(self, made: str, state: str, watchers: str) -> None:
        """Put the state after the last event in the place of the one before, with the next commit."""
        self._snapshot = Snapshot(self.head.seq, made, self._redactor.json(state), self._redactor.json(watchers))

    def last_snapshot(self) -> Snapshot | None:
        """The snapshot, if there is one."""
        row = self._database.execute("SELECT seq, made, state, watchers FROM snapshots").fetchone()
        if row is not None and not all(isinstance(part, str) for part in row[1:]):
            raise corrupt(self.path, "its last snapshot is not readable")
        return None if row is None else Snapshot(*row)

    def commit(self, pulse: str | None = None) -> None:
        """Write what was added since the last commit: all of it or nothing.

        Parameters
        ----------
        pulse
            JSON for those who watch; it replaces the last one.

        Raises
        ------
        Unavailable
            If the disk is full or fails. The journal then ends with the commit before.
        """
        if not self._events and not self._alerts and pulse is None:
            return
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._write(time.time_ns(), pulse)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.rollback()
            first = self._events[0][0] if self._events else self.head.seq + 1
            raise Unavailable(
                f"{self.path} cannot be written ({error}); it ends with event {first - 1}. Mend the disk, "
                "then start the same command again."
            ) from None
        self._events, self._alerts, self._snapshot, self._form = [], [], None, FORMAT
        self._lock.mark(self.head)

    def _write(self, now: int, pulse: str | None) -> None:
        self._database.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", self._events)
        for alert in self._alerts:
            self._database.execute("INSERT INTO outbox (time, rule, text) VALUES (?, ?, ?)", (now, *alert))
        if self._snapshot is not None:
            self._database.execute("DELETE FROM snapshots")
            self._database.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?)", self._snapshot)
        if pulse is not None:
            pulse = self._redactor.json(pulse)
            self._database.execute("INSERT OR REPLACE INTO pulse VALUES (1, ?, ?)", (now, pulse))
        if self._form != FORMAT:
            # An earlier version would go on without hearing the new inbox, and its `control` would not be heard.
            self._database.execute(f"PRAGMA user_version={FORMAT}")

    def left_inside(self, after: int) -> list[tuple[int, str]]:
        """Commands after number ``after`` that an earlier version put into the journal itself."""
        if not self._inbox_inside:
            return []
        return self._database.execute("SELECT id, command FROM inbox WHERE id > ? ORDER BY id", (after,)).fetchall()

    def beat(self) -> None:
        """Show that the process lives, in `qframe_rl.journal.lock.beat_of`."""
        self._lock.beat()

    def close(self) -> None:
        """Give the journal back; what was not committed is lost."""
        self._database.close()
        self._lock.close()


def _make(path: Path) -> None:
    """Write an empty journal; it appears whole or not at all."""
    if read_head(path) not in (None, BEGINNING):
        raise UserError(
            f"{path} is gone, but {head_path(path).name} says that it was written; restore it or remove both."
        )
    fresh = path.with_name(f".{path.name}.part")
    for rest in path.parent.glob(f"{fresh.name}*"):
        rest.unlink()
    try:
        with closing(_connect(fresh)) as database:
            database.executescript(f"PRAGMA journal_mode=WAL; BEGIN; {_SCHEMA} COMMIT;")
    except sqlite3.Error as error:
        raise Unavailable(f"{path} cannot be written ({error}); check the disk.") from None
    fresh.rename(path)


def journal_of(place: Path) -> Path:
    """Path of the journal that a user means by it or by its folder.

    Raises
    ------
    UserError
        If there is none.
    """
    path = place / NAME if place.is_dir() else place
    if not path.is_file():
        raise UserError(f"{path} is not there; name the folder of a session (runs/paper/...), or its {NAME}.")
    return path


def pulse(path: Path) -> tuple[int, str] | None:
    """When the writer last committed, ns UTC, and what it then said; None before the first time."""
    with Peek(path) as peek:
        rows = peek.rows("SELECT time, state FROM pulse")
    if not rows:
        return None
    written, state = rows[0]
    if not isinstance(written, int) or not isinstance(state, str):
        raise corrupt(path, "what its writer said last is not readable")
    return written, state


def retell(path: Path, fields: Mapping[str, Any], secrets: Sequence[str] = ()) -> None:
    """Put fields into what the writer of a journal said last, once it has ended; nothing where it said nothing.

    Parameters
    ----------
    path
        The journal.
    fields
        As JSON.
    secrets
        As in `Writer`.

    Raises
    ------
    UserError
        If another process writes it by now.
    Unavailable
        If the disk is full or fails.
    """
    lock = Lock(path)
    try:
        said = pulse(path)
        if said is not None:
            text = Redactor(secrets).json(canonical(json.loads(said[1]) | fields))
            with closing(_connect(path)) as database:
                database.execute("UPDATE pulse SET time = ?, state = ?", (time.time_ns(), text))
    except sqlite3.Error as error:
        raise Unavailable(f"{path} cannot be written ({error}); check the disk.") from None
    finally:
        lock.close()


def waiting(path: Path) -> int:
    """Messages in the outbox that were not delivered yet."""
    with Peek(path) as peek:
        ((count,),) = peek.rows("SELECT count(*) FROM outbox WHERE sent IS NULL")
    return int(count)


def chained(path: Path, after: int = 0) -> Iterator[tuple[JournalEvent, bytes]]:
    """As `read`, each event with its hash."""
    digest, last = BEGINNING.hash, after
    with Peek(path) as peek:
        if after:
            digest = _hash_of(peek, after)
        while rows := peek.rows(
            "SELECT seq, time, kind, payload, hash FROM events WHERE seq > ? ORDER BY seq", (last,)
        ):
            for seq, written, kind, payload, stated in rows:
                if seq != last + 1:
                    raise corrupt(path, f"event {last + 1} is missing")
                if not isinstance(kind, str) or not isinstance(payload, str) or not isinstance(written, int):
                    raise corrupt(path, f"event {seq} is not the one that was written")
                digest = link(digest, seq, written, kind, payload)
                if digest != stated:
                    raise corrupt(path, f"event {seq} is not the one that was written")
                last = seq
                yield JournalEvent(seq, written, kind, payload), digest


def _hash_of(peek: Peek, seq: int) -> bytes:
    rows = peek.rows("SELECT hash FROM events WHERE seq = ?", (seq,))
    if not rows:
        raise corrupt(peek.path, f"event {seq} is missing")
    return bytes(rows[0][0])


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rwc", uri=True, isolation_level=None, timeout=30.0, check_same_thread=False
    )


def link(before: bytes, seq: int, written: int, kind: str, payload: str) -> bytes:
    """Hash of an event.

    Parameters
    ----------
    before
        Hash of the event before, (32,) bytes; zeros before the first.
    seq, written, kind, payload
        As in `JournalEvent`.
    """
    return hashlib.sha256(before + f"{seq} {written} {kind}\n{payload}".encode()).digest()
