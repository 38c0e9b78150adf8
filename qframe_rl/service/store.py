"""What the service keeps for itself: one SQLite file, ``service.db``, whose every row but a few can be made again.

Journals stay the truth: equity and fills here are projections of them, each with a cursor. To back up: users, tokens,
the audit. Several processes may open it; each statement is short.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qframe_rl.config import Unavailable, UserError

NAME = "service.db"
APPLICATION = 0x51465253
MIGRATIONS = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE journals (id INTEGER PRIMARY KEY, session TEXT NOT NULL UNIQUE, name TEXT NOT NULL);
    CREATE TABLE cursors (consumer TEXT NOT NULL, journal INTEGER NOT NULL REFERENCES journals, seq INTEGER NOT NULL,
        PRIMARY KEY (consumer, journal)) WITHOUT ROWID;
    CREATE TABLE equity (journal INTEGER NOT NULL REFERENCES journals, seq INTEGER NOT NULL, time_ns INTEGER NOT NULL,
        equity REAL NOT NULL, cash REAL NOT NULL, gross REAL NOT NULL, net REAL NOT NULL,
        PRIMARY KEY (journal, seq)) WITHOUT ROWID;
    CREATE TABLE fills (journal INTEGER NOT NULL REFERENCES journals, seq INTEGER NOT NULL, leg INTEGER NOT NULL,
        time_ns INTEGER NOT NULL, symbol TEXT NOT NULL, quantity REAL NOT NULL, price REAL NOT NULL, fee REAL NOT NULL,
        cost REAL NOT NULL, PRIMARY KEY (journal, seq, leg)) WITHOUT ROWID;
    CREATE TABLE users (name TEXT PRIMARY KEY, password TEXT NOT NULL, scopes TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE tokens (id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, name TEXT NOT NULL, owner TEXT,
        scopes TEXT NOT NULL, made_ns INTEGER NOT NULL, expires_ns INTEGER, cookie INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE audit (id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
        on_what TEXT NOT NULL, outcome TEXT NOT NULL);
    CREATE TABLE replies (key TEXT NOT NULL, token TEXT NOT NULL, asked TEXT NOT NULL, status INTEGER NOT NULL,
        body TEXT NOT NULL, time_ns INTEGER NOT NULL, PRIMARY KEY (key, token)) WITHOUT ROWID;
    """,
    """
    CREATE TABLE supervised (name TEXT PRIMARY KEY, spec TEXT NOT NULL, desired TEXT NOT NULL,
        revision INTEGER NOT NULL, state TEXT NOT NULL, pid INTEGER, begun TEXT, since_ns INTEGER NOT NULL,
        starts TEXT NOT NULL, due_ns INTEGER NOT NULL, why TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE jobs (id TEXT PRIMARY KEY, spec TEXT NOT NULL, state TEXT NOT NULL, asked_ns INTEGER NOT NULL,
        who TEXT NOT NULL, worker TEXT, lease_ns INTEGER NOT NULL, tries INTEGER NOT NULL, cancel INTEGER NOT NULL,
        ended_ns INTEGER, why TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX jobs_by_state ON jobs (state, asked_ns);
    """,
    "ALTER TABLE jobs ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;",
)
"""Numbered from 1; one that was released is never edited."""


class ServiceStore:
    """The open file, for all threads of a process.

    Parameters
    ----------
    folder
        Where it lies; made if it is not there, for its owner alone.

    Raises
    ------
    UserError
        If what lies there is not one, or was written by a later version.
    Unavailable
        If it cannot be written.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self._lock = threading.RLock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)
            self._database = sqlite3.connect(
                self.path, isolation_level=None, timeout=10.0, check_same_thread=False, cached_statements=256
            )
            self._migrate()
        except (sqlite3.OperationalError, OSError) as error:
            raise Unavailable(f"{self.path} cannot be written ({error}); give a folder that can be.") from None
        except sqlite3.DatabaseError as error:
            raise UserError(f"{self.path} is no database of the service ({error}); put it aside.") from None
        ((self.epoch,),) = self.rows("SELECT value FROM meta WHERE key = 'epoch'")
        """Changes when the file is made anew: cursors of another one mean nothing here."""

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self._lock:
            return self._database.execute(query, parameters).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it or nothing.

        Raises
        ------
        Unavailable
            If the disk is full or fails, or another process holds the file.
        """
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._database.execute("COMMIT")
            except BaseException as error:
                if self._database.in_transaction:
                    self._database.rollback()
                if isinstance(error, sqlite3.OperationalError):
                    why = f"{self.path} cannot be written ({error}); mend the disk, then try again."
                    raise Unavailable(why) from None
                raise

    def version(self) -> int:
        """A number that moves when another process has written."""
        with self._lock:
            return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def journal(self, session: str, name: str) -> int:
        """Number of a session's journal, given once for good."""
        known = self.rows("SELECT id FROM journals WHERE session = ?", (session,))
        if known:
            return int(known[0][0])
        with self.writing() as database:
            database.execute("INSERT OR IGNORE INTO journals (session, name) VALUES (?, ?)", (session, name))
        return int(self.rows("SELECT id FROM journals WHERE session = ?", (session,))[0][0])

    def audit(self, who: str, what: str, on_what: str, outcome: str) -> None:
        """Note who did what; texts are cut to what a page can show."""
        with self.writing() as database:
            database.execute(
                "INSERT INTO audit (time_ns, who, what, on_what, outcome) VALUES (?, ?, ?, ?, ?)",
                (time.time_ns(), who[:64], what[:64], on_what[:200], outcome[:200]),
            )

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()

    def _migrate(self) -> None:
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        with self.writing() as database:
            (form,) = database.execute("PRAGMA user_version").fetchone()
            (application,) = database.execute("PRAGMA application_id").fetchone()
            ((n_tables,),) = database.execute("SELECT count(*) FROM sqlite_master").fetchall()
            if n_tables and application != APPLICATION:
                raise UserError(f"{self.path} is no database of the service; put it aside.")
            if form > len(MIGRATIONS):
                raise UserError(f"{self.path} was written by a later version (its form is {form}); install that one.")
            for script in MIGRATIONS[form:]:
                for statement in script.split(";"):
                    database.execute(statement)
            database.execute(f"PRAGMA application_id={APPLICATION}")
            database.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
            database.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', ?)", (secrets.token_hex(4),))
