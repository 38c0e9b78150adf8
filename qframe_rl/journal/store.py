"""One journal file: SQLite in WAL mode, append-only, each event chained to the one before by its hash.

Beside ``journal.db`` lies ``journal.db.head``: the writer's lock, and in it the number and hash of the last event that
was committed, so that a journal whose tail was torn off does not pass for a shorter one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.snapshot import Snapshot

FORMAT = 1
NAME = "journal.db"
"""Its file name in the folder of a session."""
_APPLICATION = 0x51465231
_GENESIS = b"\0" * 32
_SCHEMA = f"""
PRAGMA application_id={_APPLICATION};
PRAGMA user_version={FORMAT};
CREATE TABLE events (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL,
    hash BLOB NOT NULL);
CREATE TRIGGER no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TABLE outbox (id INTEGER PRIMARY KEY, time INTEGER NOT NULL, rule TEXT NOT NULL, text TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, due INTEGER NOT NULL DEFAULT 0, sent INTEGER);
CREATE TABLE inbox (id INTEGER PRIMARY KEY, time INTEGER NOT NULL, command TEXT NOT NULL);
CREATE TABLE pulse (id INTEGER PRIMARY KEY CHECK (id = 1), time INTEGER NOT NULL, state TEXT NOT NULL);
"""
_SNAPSHOTS = """CREATE TABLE IF NOT EXISTS snapshots (seq INTEGER PRIMARY KEY, made TEXT NOT NULL, state TEXT NOT NULL,
    watchers TEXT NOT NULL)"""


class Event(NamedTuple):
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


class Head(NamedTuple):
    """The last event of a journal."""

    seq: int
    hash: bytes
    """Chained over every event, (32,) bytes."""


def read(path: Path, after: int = 0) -> Iterator[Event]:
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
    for event, _ in _chained(path, after):
        yield event


def last_events(path: Path, kind: str, seq: int, n: int) -> list[Event]:
    """The last ``n`` events of a kind up to event ``seq``, in their order; the chain is not checked."""
    with closing(_connect(path, writable=False)) as database:
        rows = database.execute(
            "SELECT seq, time, kind, payload FROM events WHERE seq <= ? AND kind = ? ORDER BY seq DESC LIMIT ?",
            (seq, kind, n),
        )
        return [Event(*row) for row in rows][::-1]


def verify(path: Path) -> Head:
    """Check every event of a journal, and that none is missing at its end.

    Raises
    ------
    UserError
        If it is not a journal, or is corrupt.
    """
    head = Head(0, _GENESIS)
    known = _read_head(path)
    met = known is None or known.seq == 0
    for event, digest in _chained(path):
        head = Head(event.seq, digest)
        if known is not None and event.seq == known.seq:
            if digest != known.hash:
                raise _corrupt(path, f"event {event.seq} is not the one that was written")
            met = True
    if known is not None and not met:
        raise _corrupt(path, f"it ends at event {head.seq}, but event {known.seq} had been written: its tail is lost")
    with closing(_connect(path, writable=False)) as database:
        try:
            (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            raise _corrupt(path, str(error)) from None
    if said != "ok":
        raise _corrupt(path, " ".join(said.split()))
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
        Texts that must never be written; they are replaced by three asterisks.

    Raises
    ------
    UserError
        If another process writes to it, or if it is corrupt; nothing was changed then.
    """

    def __init__(self, path: Path, *, durable: bool = True, secrets: Sequence[str] = ()):
        self.path = path
        self._secrets = tuple(s for s in secrets if s)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(_head_path(path), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise UserError(
                f"{path} is being written by another process; stop that one, or give another --out."
            ) from None
        try:
            if not path.exists():
                _make(path)
            self.head = verify(path)
            self._database = _connect(path, writable=True)
            self._database.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._database.execute(_SNAPSHOTS)
        except BaseException:
            os.close(self._lock)
            raise
        self._mark()
        self._events: list[tuple[int, int, str, str, bytes]] = []
        self._alerts: list[Alert] = []
        self._snapshot: Snapshot | None = None

    def append(self, kind: str, payload: str) -> None:
        """Add an event to the next commit."""
        payload = self._clean(payload)
        seq, now = self.head.seq + 1, time.time_ns()
        digest = _link(self.head.hash, seq, now, kind, payload)
        self._events.append((seq, now, kind, payload, digest))
        self.head = Head(seq, digest)

    def alert(self, alert: Alert) -> None:
        """Put a message into the outbox with the next commit."""
        self._alerts.append(Alert(alert.rule, self._clean(alert.text)))

    def snapshot(self, made: str, state: str, watchers: str) -> None:
        """Put the state after the last event in the place of the one before, with the next commit."""
        self._snapshot = Snapshot(self.head.seq, made, self._clean(state), self._clean(watchers))

    def last_snapshot(self) -> Snapshot | None:
        """The snapshot, if there is one."""
        row = self._database.execute("SELECT seq, made, state, watchers FROM snapshots").fetchone()
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
        now = time.time_ns()
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", self._events)
            for alert in self._alerts:
                self._database.execute("INSERT INTO outbox (time, rule, text) VALUES (?, ?, ?)", (now, *alert))
            if self._snapshot is not None:
                self._database.execute("DELETE FROM snapshots")
                self._database.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?)", self._snapshot)
            if pulse is not None:
                self._database.execute("INSERT OR REPLACE INTO pulse VALUES (1, ?, ?)", (now, self._clean(pulse)))
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.rollback()
            first = self._events[0][0] if self._events else self.head.seq + 1
            raise Unavailable(
                f"{self.path} cannot be written ({error}); it ends with event {first - 1}. Mend the disk, "
                "then start the same command again."
            ) from None
        self._events, self._alerts, self._snapshot = [], [], None
        self._mark()

    def commands(self, after: int) -> list[tuple[int, str]]:
        """What was put into the inbox after message ``after``: numbers and commands."""
        return self._database.execute("SELECT id, command FROM inbox WHERE id > ? ORDER BY id", (after,)).fetchall()

    def close(self) -> None:
        """Give the journal back; what was not committed is lost."""
        self._database.close()
        os.close(self._lock)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _mark(self) -> None:
        """Note the last event in place: a line of fixed length, so that it is there whole or not at all."""
        os.pwrite(self._lock, f"{self.head.seq:020d} {self.head.hash.hex()} {os.getpid():010d}\n".encode(), 0)


def _make(path: Path) -> None:
    """Write an empty journal; it appears whole or not at all."""
    if _read_head(path) not in (None, Head(0, _GENESIS)):
        raise UserError(
            f"{path} is gone, but {_head_path(path).name} says that it was written; restore it or remove both."
        )
    fresh = path.with_name(f".{path.name}.part")
    for rest in path.parent.glob(f"{fresh.name}*"):
        rest.unlink()
    try:
        with closing(_connect(fresh, writable=True)) as database:
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


def order(path: Path, command: str) -> None:
    """Put a command into the inbox of a journal, whether a process runs or not.

    Raises
    ------
    UserError
        If it is not a journal.
    Unavailable
        If it cannot be written.
    """
    _check_kind(path)
    with closing(_connect(path, writable=True)) as database:
        try:
            database.execute("INSERT INTO inbox (time, command) VALUES (?, ?)", (time.time_ns(), command))
        except sqlite3.Error as error:
            raise Unavailable(f"{path} cannot be written ({error}).") from None


def pulse(path: Path) -> tuple[int, str] | None:
    """When the writer last committed, ns UTC, and what it then said; None before the first time."""
    _check_kind(path)
    with closing(_connect(path, writable=False)) as database:
        row: tuple[int, str] | None = database.execute("SELECT time, state FROM pulse").fetchone()
        return row


def waiting(path: Path) -> int:
    """Messages in the outbox that were not delivered yet."""
    _check_kind(path)
    with closing(_connect(path, writable=False)) as database:
        (count,) = database.execute("SELECT count(*) FROM outbox WHERE sent IS NULL").fetchone()
        return int(count)


def writer_of(path: Path) -> int | None:
    """Process that writes to a journal; None if there is none."""
    head = _head_path(path)
    if not head.exists():
        return None
    with head.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return int(file.read().split()[2])
    return None


def _chained(path: Path, after: int = 0) -> Iterator[tuple[Event, bytes]]:
    _check_kind(path)
    digest = _GENESIS
    with closing(_connect(path, writable=False)) as database:
        try:
            if after:
                (digest,) = database.execute("SELECT hash FROM events WHERE seq = ?", (after,)).fetchone()
            rows = database.execute(
                "SELECT seq, time, kind, payload, hash FROM events WHERE seq > ? ORDER BY seq", (after,)
            )
            for expected, (seq, written, kind, payload, stated) in enumerate(rows, start=after + 1):
                if seq != expected:
                    raise _corrupt(path, f"event {expected} is missing")
                if not isinstance(kind, str) or not isinstance(payload, str) or not isinstance(written, int):
                    raise _corrupt(path, f"event {seq} is not the one that was written")
                digest = _link(digest, seq, written, kind, payload)
                if digest != stated:
                    raise _corrupt(path, f"event {seq} is not the one that was written")
                yield Event(seq, written, kind, payload), digest
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite quotes what it cannot read
            raise _corrupt(path, str(error)) from None


def _check_kind(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path} is not there; name the journal of a session (runs/paper/.../{NAME}).")
    with closing(_connect(path, writable=False)) as database:
        try:
            (application,) = database.execute("PRAGMA application_id").fetchone()
            (form,) = database.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError as error:
            raise _corrupt(path, str(error)) from None
    if (application, form) != (_APPLICATION, FORMAT):
        raise UserError(f"{path} is not a journal of format {FORMAT}, or its first page is corrupt.")


def _connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    mode = "rwc" if writable else "ro"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=30.0, check_same_thread=False
    )


def _link(before: bytes, seq: int, written: int, kind: str, payload: str) -> bytes:
    return hashlib.sha256(before + f"{seq} {written} {kind}\n{payload}".encode()).digest()


def _head_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.head")


def _read_head(path: Path) -> Head | None:
    """What the writer noted last; None where the journal was copied without it."""
    file = _head_path(path)
    words = file.read_text(encoding="ascii", errors="replace").split() if file.exists() else []
    if not words:
        return None
    try:
        return Head(int(words[0]), bytes.fromhex(words[1]))
    except (ValueError, IndexError):
        raise _corrupt(path, f"{file.name} is not readable") from None


def _corrupt(path: Path, what: str) -> UserError:
    return UserError(f"{path} is corrupt: {what}. Nothing was changed; put it aside or restore a copy.")
