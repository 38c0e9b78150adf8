"""What the service keeps for itself: ``service.db``, one SQLite file, or a PostgreSQL database for several hosts.

Journals stay the truth: equity and fills here are projections of them, each with a cursor. To back up: users, tokens,
the audit. Several processes may open it; each statement is short, and is written so that both kinds take it: ``?`` for
values, ``ON CONFLICT`` in place of SQLite's own words, no function of one of them alone.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from qframe_rl.config import Unavailable
from qframe_rl.servers import locked
from qframe_rl.service.sqlite import NAME, SqliteRows

__all__ = ["MIGRATIONS", "NAME", "PASSWORD", "VARIABLE", "Done", "ServiceStore", "Statements", "StoreRows", "elsewhere"]
VARIABLE, PASSWORD = "QFRAME_STORE", "QFRAME_STORE_PASSWORD"
"""Name the database and its password: others read a command's arguments."""
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
    """
    CREATE TABLE events (journal INTEGER NOT NULL REFERENCES journals, seq INTEGER NOT NULL, kind TEXT NOT NULL,
        time_ns INTEGER NOT NULL, payload TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (journal, seq)) WITHOUT ROWID;
    """,
    """
    CREATE TABLE flows (journal INTEGER NOT NULL REFERENCES journals, seq INTEGER NOT NULL, units INTEGER NOT NULL,
        before REAL NOT NULL, after REAL NOT NULL, PRIMARY KEY (journal, seq)) WITHOUT ROWID;
    ALTER TABLE tokens ADD COLUMN portfolios TEXT;
    CREATE TABLE portfolios (id TEXT PRIMARY KEY, spec TEXT NOT NULL, revision INTEGER NOT NULL, vigil TEXT NOT NULL,
        made_ns INTEGER NOT NULL, looked_ns INTEGER NOT NULL, due_ns INTEGER NOT NULL, plan TEXT NOT NULL,
        why TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE members (member TEXT PRIMARY KEY, portfolio TEXT NOT NULL REFERENCES portfolios, share REAL,
        joined INTEGER NOT NULL, seq INTEGER NOT NULL, hash TEXT NOT NULL, pairs TEXT NOT NULL, value TEXT NOT NULL)
        WITHOUT ROWID;
    CREATE TABLE ledger (portfolio TEXT NOT NULL REFERENCES portfolios, seq INTEGER NOT NULL, entry TEXT NOT NULL,
        kind TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL, units INTEGER NOT NULL,
        time_ns INTEGER NOT NULL, who TEXT NOT NULL, PRIMARY KEY (portfolio, seq), UNIQUE (portfolio, entry, kind))
        WITHOUT ROWID;
    CREATE TABLE transfers (id TEXT PRIMARY KEY, portfolio TEXT NOT NULL REFERENCES portfolios, member TEXT NOT NULL,
        units INTEGER NOT NULL, state TEXT NOT NULL, why TEXT NOT NULL, who TEXT NOT NULL, asked_ns INTEGER NOT NULL,
        sent_ns INTEGER NOT NULL, ended_ns INTEGER) WITHOUT ROWID;
    CREATE INDEX transfers_by_state ON transfers (portfolio, state, asked_ns);
    CREATE TABLE worths (portfolio TEXT NOT NULL REFERENCES portfolios, time_ns INTEGER NOT NULL, equity REAL NOT NULL,
        worth REAL NOT NULL, gross REAL NOT NULL, unallocated INTEGER NOT NULL, in_transit INTEGER NOT NULL,
        PRIMARY KEY (portfolio, time_ns)) WITHOUT ROWID;
    """,
    """
    CREATE TABLE ramps (member TEXT PRIMARY KEY, steps TEXT NOT NULL, state TEXT NOT NULL, moving INTEGER NOT NULL,
        tried_ns INTEGER NOT NULL, why TEXT NOT NULL) WITHOUT ROWID;
    """,
    "ALTER TABLE supervised ADD COLUMN folder TEXT NOT NULL DEFAULT '';",
    """
    CREATE TABLE notices (portfolio TEXT NOT NULL REFERENCES portfolios, seq INTEGER NOT NULL, once TEXT NOT NULL,
        time_ns INTEGER NOT NULL, rule TEXT NOT NULL, text TEXT NOT NULL, alert INTEGER NOT NULL, sent_ns INTEGER,
        PRIMARY KEY (portfolio, seq), UNIQUE (portfolio, once)) WITHOUT ROWID;
    """,
    # Journals are gone through once more: forced closings were left out of the fills. Rows that are there stay.
    "DELETE FROM cursors WHERE consumer = 'figures';",
)
"""Numbered from 1; one that was released is never edited. Types are SQLite's, which PostgreSQL's are made from."""


def elsewhere(url: str | None, password: str = PASSWORD) -> str | None:
    """Address of the database that rows lie in; None where they lie in ``service.db``.

    Its password comes from the variable that ``password`` names, where the address has none.
    """
    named = url or os.environ.get(VARIABLE)
    return locked(named, password) if named else None


class Done(Protocol):
    """What a statement came to."""

    @property
    def rowcount(self) -> int:
        """Rows that it changed."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that it gives."""
        ...

    def fetchone(self) -> Any:
        """The next row that it gives; None after the last."""
        ...


class Statements(Protocol):
    """A transaction under way."""

    def execute(self, query: str, parameters: Sequence[object] = (), /) -> Done:
        """One statement."""
        ...

    def executemany(self, query: str, rows: Iterable[Sequence[object]], /) -> object:
        """One statement for each row of values."""
        ...


class StoreRows(Protocol):
    """Where rows lie: `qframe_rl.service.sqlite` or `qframe_rl.service.postgres`."""

    place: str
    skip_locked: str

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        ...

    def writing(self, *, alone: bool = True) -> AbstractContextManager[Statements]:
        """One transaction."""
        ...

    def version(self) -> object:
        """What is another when another process has written."""
        ...

    def hold(self, what: str) -> bool:
        """Whether this process is the one of all hosts that has a thing."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class ServiceStore:
    """The open store, for all threads of a process.

    Parameters
    ----------
    folder
        Where ``service.db`` lies, and logs of jobs in any case; made if it is not there.
    url
        ``postgresql://...``: rows lie there; None = as the variable ``QFRAME_STORE`` says, else in ``service.db``.
    password
        Variable that has its password, where the address has none.

    Raises
    ------
    UserError
        If what lies there is not one, or was written by a later version, or the address is not one.
    Unavailable
        If it cannot be written, or does not answer.
    """

    def __init__(self, folder: Path, url: str | None = None, password: str = PASSWORD):
        self.folder, self.url = folder, elsewhere(url, password)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"{folder} cannot be written ({error.strerror}); give a folder that can be.") from None
        self._rows: StoreRows
        if self.url:
            from qframe_rl.service.postgres import PostgresRows

            self._rows = PostgresRows(self.url, MIGRATIONS)
        else:
            self._rows = SqliteRows(folder, MIGRATIONS)
        self.place = self._rows.place
        """For messages, without a password."""
        self.skip_locked = self._rows.skip_locked
        """What stands behind a query for a row that another process may be about to take."""
        with self.writing() as database:
            database.execute("INSERT INTO meta VALUES ('epoch', ?) ON CONFLICT DO NOTHING", (secrets.token_hex(4),))
        ((self.epoch,),) = self.rows("SELECT value FROM meta WHERE key = 'epoch'")
        """Changes when the store is made anew: cursors of another one mean nothing here."""

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query.

        Raises
        ------
        Unavailable
            If the database does not answer.
        """
        return self._rows.rows(query, parameters)

    def writing(self, *, alone: bool = True) -> AbstractContextManager[Statements]:
        """One transaction: all of it or nothing.

        Parameters
        ----------
        alone
            Whether no other process writes meanwhile, so that what was read in it stays true to its end. Without it
            rows that are changed are held alone, where the database can.

        Raises
        ------
        Unavailable
            If the disk is full or fails, another process holds it, or the database does not answer.
        """
        return self._rows.writing(alone=alone)

    def version(self) -> object:
        """What is another when another process has written; raises Unavailable as `rows` does."""
        return self._rows.version()

    def hold(self, what: str) -> bool:
        """Whether this process is the one of all hosts that has a thing; asked for again, whether it still has.

        With ``service.db`` that is for a lock in its folder to say, and the answer yes.
        """
        return self._rows.hold(what)

    def journal(self, session: str, name: str) -> int:
        """Number of a session's journal, given once for good."""
        known = self.rows("SELECT id FROM journals WHERE session = ?", (session,))
        if known:
            return int(known[0][0])
        with self.writing() as database:
            database.execute(
                "INSERT INTO journals (session, name) VALUES (?, ?) ON CONFLICT DO NOTHING", (session, name)
            )
        return int(self.rows("SELECT id FROM journals WHERE session = ?", (session,))[0][0])

    def audit(self, who: str, what: str, on_what: str, outcome: str) -> None:
        """Note who did what; texts are cut to what a page can show."""
        with self.writing() as database:
            database.execute(
                "INSERT INTO audit (time_ns, who, what, on_what, outcome) VALUES (?, ?, ?, ?, ?)",
                (time.time_ns(), who[:64], what[:64], on_what[:200], outcome[:200]),
            )

    def close(self) -> None:
        """Let go of it."""
        self._rows.close()
