"""Commands for a session, in a file of their own: whoever holds its lock, or is stopped with it, holds up no trading.

``inbox.db`` lies beside ``journal.db``. Those who command write it; the session reads it without waiting, and looks
again a moment later where it is busy. Numbers rise with time, also over an inbox that was removed and began anew, so
the number of the last command that was obeyed, which is in the journal, says which ones are still to be.
"""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.peek import Peek

NAME = "inbox.db"
"""Its file name in the folder of a session."""
KILL_FILE = "HALT"
"""A file of this name in the session's folder halts trading as long as it is there."""
_TRANSFER = re.compile(r"transfer ([0-9a-z_-]{1,64}) (-?[1-9][0-9]{0,17})")
_ADOPT = re.compile(r"adopt ([0-9a-z_-]{1,64}) (-?[1-9][0-9]{0,17})(?: (\S{1,64}) ([1-9][0-9]{0,17}))?")
_LOCK = re.compile(r"(flatten|resume) (\S{1,64})")
_SCHEMA = "CREATE TABLE IF NOT EXISTS commands (number INTEGER PRIMARY KEY, time INTEGER NOT NULL, word TEXT NOT NULL)"
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def order(journal: Path, word: str, patience_s: float = 10.0) -> int:
    """Put a command into the inbox of a session, whether a process runs or not.

    Parameters
    ----------
    journal
        The session's.
    word
        The command.
    patience_s
        How long to wait for another process that holds the inbox, seconds.

    Returns
    -------
    int
        Its number, by which the journal tells that it was obeyed.

    Raises
    ------
    UserError
        If it is not a journal.
    Unavailable
        If the inbox is held, or cannot be written.
    """
    Peek(journal).close()
    inbox, now = journal.with_name(NAME), time.time_ns()
    try:
        with closing(_connect(inbox, "rwc", patience_s)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute(_SCHEMA)
            database.execute(
                "INSERT INTO commands SELECT max(?, coalesce(max(number), 0) + 1), ?, ? FROM commands", (now, now, word)
            )
            ((number,),) = database.execute("SELECT max(number) FROM commands").fetchall()
            database.execute("COMMIT")
    except sqlite3.Error as error:
        raise Unavailable(
            f"{inbox} cannot be written ({error}); the file HALT in the same folder and the signals are heard all the "
            "same."
        ) from None
    return int(number)


def transfer_word(name: str, units: int) -> str:
    """The command that pays ``units``, 1e-8 of the quote currency, into a session, or out of it where negative.

    Parameters
    ----------
    name
        Of the transfer: a session obeys each once for ever, however often it is told.
    units
        Not 0, and less than 1e18.

    Raises
    ------
    UserError
        For a name that is not 1 to 64 of ``0-9a-z_-``, or units that cannot be.
    """
    word = f"transfer {name} {units}"
    if not _TRANSFER.fullmatch(word):
        raise UserError(
            f"a transfer has a name of 1 to 64 of 0-9, a-z, _ and -, and units from 1 to 999999999999999999 or their "
            f"negative, not {name[:64]!r} and {units}."
        )
    return word


def transfer_of(word: str) -> tuple[str, int] | None:
    """Name and units of what `transfer_word` made; None for any other command."""
    found = _TRANSFER.fullmatch(word)
    return None if found is None else (found[1], int(found[2]))


def locking_word(word: str, symbol: str) -> str:
    """The command that closes one instrument and locks it (``flatten``), or releases it (``resume``).

    Raises
    ------
    UserError
        For another word, or a symbol that is empty, has blanks in it or more than 64 characters.
    """
    said = f"{word} {symbol}"
    if not _LOCK.fullmatch(said):
        raise UserError(f"one instrument can be told flatten or resume, by a symbol without blanks, not {said[:80]!r}.")
    return said


def locking_of(word: str) -> tuple[str, str] | None:
    """Word and symbol of what `locking_word` made; None for any other command."""
    found = _LOCK.fullmatch(word)
    return None if found is None else (found[1], found[2])


class Adoption(NamedTuple):
    """What came from outside, or goes there, and is no profit."""

    id: str
    """A session obeys each once for ever."""
    units: int
    """Of 1e-8 of the coin, or of the quote currency where there is no symbol; negative = it leaves."""
    symbol: str | None = None
    price: int = 0
    """1e-8 of the quote currency that a coin counts for."""

    @property
    def value(self) -> int:
        """What it counts for, 1e-8 of the quote currency, rounded half to even."""
        return self.units if self.symbol is None else round(Fraction(self.units * self.price, 10**8))


def adopt_word(one: Adoption) -> str:
    """The command that takes something in which came from outside.

    Raises
    ------
    UserError
        For a name, a symbol or amounts that cannot be.
    """
    word = f"adopt {one.id} {one.units}" + ("" if one.symbol is None else f" {one.symbol} {one.price}")
    if adoption_of(word) != one or abs(one.value) >= 10**18:
        raise UserError(
            "what is adopted has an amount other than 0, a coin its symbol and a price above 0, and it counts for less "
            "than 10,000,000,000 of the quote currency."
        )
    return word


def adoption_of(word: str) -> Adoption | None:
    """What `adopt_word` made; None for any other command."""
    found = _ADOPT.fullmatch(word)
    if found is None:
        return None
    return Adoption(found[1], int(found[2]), found[3], int(found[4] or 0))


def left(journal: Path) -> list[tuple[int, int, str]]:
    """All commands that lie in an inbox, obeyed ones too: number, when it was left (ns UTC), word.

    Raises
    ------
    Unavailable
        If it is held, corrupt or cannot be read.
    """
    inbox = journal.with_name(NAME)
    if not inbox.exists():
        return []
    try:
        with closing(_connect(inbox, "ro", 1.0)) as database:
            rows: list[tuple[int, int, str]] = database.execute(
                "SELECT number, time, word FROM commands ORDER BY number DESC LIMIT 1000"
            ).fetchall()
    except sqlite3.Error as error:
        raise Unavailable(f"{inbox} cannot be read ({error})") from None
    return rows[::-1]


class Inbox:
    """The session's side: reads commands and never waits.

    Parameters
    ----------
    journal
        The session's.
    """

    def __init__(self, journal: Path):
        self.path = journal.with_name(NAME)
        self._database: sqlite3.Connection | None = None
        self._inode = -1

    def after(self, number: int) -> list[tuple[int, str]]:
        """Commands after the one of this number, in their order; none while another process holds the inbox.

        Raises
        ------
        Unavailable
            If it is corrupt or cannot be read; it is opened anew the next time.
        """
        try:
            database = self._opened()
            if database is None:
                return []
            return database.execute(
                "SELECT number, word FROM commands WHERE number > ? ORDER BY number", (number,)
            ).fetchall()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY:
                return []
            self.close()
            raise Unavailable(f"{self.path} cannot be read ({error}); remove it and give the command again") from None

    def close(self) -> None:
        """Let go of the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _opened(self) -> sqlite3.Connection | None:
        """The inbox as it lies there now; None while there is none with a command in it."""
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            self.close()
            return None
        if self._database is None or inode != self._inode:
            self.close()
            self._inode = inode
            database = _connect(self.path, "rw", 0.0)
            if not database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'commands'").fetchone()[0]:
                database.close()
                return None
            self._database = database
        return self._database


def _connect(path: Path, mode: str, timeout_s: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=timeout_s,
        check_same_thread=False,
    )  # fmt: skip
