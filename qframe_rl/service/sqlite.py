"""The service's rows in one SQLite file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qframe_rl.config import Unavailable, UserError

NAME = "service.db"
APPLICATION = 0x51465253


class SqliteRows:
    """The open file, for all threads of a process.

    Parameters
    ----------
    folder
        Where it lies; made if it is not there, for its owner alone.
    migrations
        What makes its tables.

    Raises
    ------
    UserError
        If what lies there is not one, or was written by a later version.
    Unavailable
        If it cannot be written.
    """

    skip_locked = ""
    """What stands behind a query for a row that another one may be about to take."""

    def __init__(self, folder: Path, migrations: Sequence[str]):
        self.path = folder / NAME
        self.place = str(self.path)
        """For messages."""
        self._lock = threading.RLock()
        try:
            self.path.touch(mode=0o600)
            self._database = sqlite3.connect(
                self.path, isolation_level=None, timeout=10.0, check_same_thread=False, cached_statements=256
            )
            self._migrate(migrations)
        except (sqlite3.OperationalError, OSError) as error:
            raise Unavailable(f"{self.path} cannot be written ({error}); give a folder that can be.") from None
        except sqlite3.DatabaseError as error:
            raise UserError(f"{self.path} is no database of the service ({error}); put it aside.") from None

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; raises Unavailable if the disk fails, or the file is damaged."""
        with self._lock:
            try:
                return self._database.execute(query, parameters).fetchall()
            except sqlite3.DatabaseError as error:
                raise self._said(error, "read") from None

    @contextmanager
    def writing(self, *, alone: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it or nothing; always alone.

        Raises
        ------
        Unavailable
            If the disk is full or fails, the file is damaged, or another process holds it.
        """
        del alone
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._database.execute("COMMIT")
            except BaseException as error:
                if self._database.in_transaction:
                    self._database.rollback()
                if isinstance(error, sqlite3.DatabaseError):
                    raise self._said(error, "written") from None
                raise

    def version(self) -> object:
        """What is another when another process has written; raises Unavailable as `rows` does."""
        return int(self.rows("PRAGMA data_version")[0][0])

    def hold(self, what: str) -> bool:
        """Whether this process is the one that has a thing: a folder has locks of its own."""
        del what
        return True

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()

    def _said(self, error: sqlite3.DatabaseError, what: str) -> Exception:
        """What a disk or a file that fails comes to; a mistake in what was asked stays what it is."""
        if type(error) not in (sqlite3.OperationalError, sqlite3.DatabaseError):
            return error
        return Unavailable(f"{self.path} cannot be {what} ({error}); mend the disk, then try again.")

    def _migrate(self, migrations: Sequence[str]) -> None:
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        with self.writing() as database:
            (form,) = database.execute("PRAGMA user_version").fetchone()
            (application,) = database.execute("PRAGMA application_id").fetchone()
            ((n_tables,),) = database.execute("SELECT count(*) FROM sqlite_master").fetchall()
            if n_tables and application != APPLICATION:
                raise UserError(f"{self.path} is no database of the service; put it aside.")
            if form > len(migrations):
                raise UserError(f"{self.path} was written by a later version (its form is {form}); install that one.")
            for script in migrations[form:]:
                for statement in script.split(";"):
                    database.execute(statement)
            database.execute(f"PRAGMA application_id={APPLICATION}")
            database.execute(f"PRAGMA user_version={len(migrations)}")
