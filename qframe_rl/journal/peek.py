"""How others read a journal: without a write, without a lock that its writer could feel, and on a read-only disk.

A journal in WAL mode that was closed cleanly cannot be opened read-only where its folder cannot be written, but as a
file that nobody changes (``immutable``, https://www.sqlite.org/uri.html); a live one must not be read like that. So:
read-only if its write-ahead log is there, else immutable and a look afterwards whether it still is as it was.

A read transaction that stays open keeps the writer from starting its log anew, and the log grows: each read is short.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.lock import corrupt

APPLICATION = 0x51465231
FORMATS = (1, 2)
"""Formats that can be read; 1 had the inbox inside."""
N_ROWS = 1000
"""Most rows of one read."""
SPAN_S = 0.25
"""Longest read transaction, seconds."""
_TRIES = 100


class Peek:
    """A reader of one journal; use it in a ``with`` block, or `close` it.

    Parameters
    ----------
    path
        The journal.

    Raises
    ------
    UserError
        If it is not there, not a journal, corrupt, or if it cannot be read where it lies.
    """

    def __init__(self, path: Path):
        self.path = path
        self._database: sqlite3.Connection | None = None
        self._live = False
        self._was: tuple[int, ...] = ()
        ((application, self.form),) = self.rows(
            "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version"
        )
        if application != APPLICATION or self.form not in FORMATS:
            self.close()
            raise UserError(f"{path} is not a journal of format {FORMATS[-1]}, or its first page is corrupt.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def rows(self, query: str, parameters: Sequence[object] = (), n: int = N_ROWS) -> list[tuple[Any, ...]]:
        """The first rows of a query: at most ``n``, and no more than come in `SPAN_S`.

        Raises
        ------
        UserError
            If the journal is gone, corrupt, or if it cannot be read where it lies.
        Unavailable
            If it was opened and closed all the time.
        """
        for _ in range(_TRIES):
            try:
                found = _read(self._opened(), query, parameters, n)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite quotes what it cannot read
                if self._stands(failed=True):
                    self.close()
                    raise self._said(error) from None
            else:
                if self._stands(failed=False):
                    return found
            self.close()
        raise Unavailable(f"{self.path} is opened and closed all the time; try again.")

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            self._live = self._log.exists()
            self._was = self._identity()
            how = "mode=ro" if self._live else "mode=ro&immutable=1"
            self._database = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?{how}",
                uri=True, isolation_level=None, timeout=5.0, check_same_thread=False,
            )  # fmt: skip
        return self._database

    @property
    def _log(self) -> Path:
        return self.path.with_name(f"{self.path.name}-wal")

    def _identity(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            raise UserError(f"{self.path} is not there; name the journal of a session.") from None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _stands(self, *, failed: bool) -> bool:
        """Whether what was read, or why it failed, is true of the journal as it is."""
        now = self._identity()
        if self._live:
            return now[0] == self._was[0] and (self._log.exists() or not failed)
        return now == self._was and not self._log.exists()

    def _said(self, error: Exception) -> UserError:
        if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
            return UserError(
                f"{self.path} cannot be read where it lies ({error}): it was not closed, and its folder cannot be "
                "written; copy the folder to where it can."
            )
        return corrupt(self.path, str(error))


def peek(path: Path) -> Peek:
    """Open a journal to read it, as `Peek` says."""
    return Peek(path)


def stamps(path: Path) -> tuple[tuple[int, ...] | None, ...]:
    """What tells that somebody wrote a journal or its log: inode, size and time of each; None where it is not there."""
    found: list[tuple[int, ...] | None] = []
    for file in (path, path.with_name(f"{path.name}-wal")):
        try:
            said = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((said.st_ino, said.st_size, said.st_mtime_ns))
    return tuple(found)


def _read(database: sqlite3.Connection, query: str, parameters: Sequence[object], n: int) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    cursor = database.execute(query, parameters)
    until = time.monotonic() + SPAN_S
    try:
        for row in cursor:
            found.append(row)
            if len(found) >= n or time.monotonic() >= until:
                break
    finally:
        cursor.close()
    return found
