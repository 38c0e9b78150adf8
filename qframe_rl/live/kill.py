"""Telling sessions to stop trading in every way they hear: inbox, file, signal. Each is enough; none needs a server.

Nothing here knows an API, a database or a queue: folders with journals are all that is looked at.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.inbox import KILL_FILE, order
from qframe_rl.journal.lock import is_writer, writer_of
from qframe_rl.journal.store import NAME as JOURNAL
from qframe_rl.live.followed import FOLDER as SHADOWS
from qframe_rl.live.signals import WORDS

PORTFOLIO_FILE = "portfolio"
"""A file of this name in a session's folder names the portfolio that it is a member of."""
_DEPTH = 5


class ToldSession(NamedTuple):
    """How a session was told."""

    folder: Path
    ways: tuple[str, ...]
    """Of inbox, file, signal: those that worked."""
    failed: tuple[str, ...]
    """Why the others did not, a sentence each."""
    number: int | None = None
    """Of the command in the inbox, by which the journal tells that it was obeyed."""


def sessions_below(root: Path, portfolio: str | None = None) -> list[Path]:
    """Folders with a journal below a folder, those of one portfolio if it is named, in order.

    Shadows are left out: their accounts are simulated, and one that is stopped says nothing of its session any more.

    Parameters
    ----------
    root
        Where to look; links to folders are not followed. Below the ``shadows`` of a session these are.
    portfolio
        Its id, which stands in a file of each member's folder.

    Raises
    ------
    UserError
        If ``root`` is no folder.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not there or no folder; name the folder below which the sessions are.")
    return sorted(
        folder for folder in _folders(root, _DEPTH)
        if (folder / JOURNAL).is_file() and (portfolio is None or portfolio_of(folder) == portfolio)
    )  # fmt: skip


def is_shadow(folder: Path) -> bool:
    """Whether a folder is that of a session's shadow."""
    return folder.parent.name == SHADOWS and (folder.parent.parent / JOURNAL).is_file()


def portfolio_of(folder: Path) -> str | None:
    """The portfolio that a session is a member of, by the file in its folder; None if there is none."""
    try:
        return (folder / PORTFOLIO_FILE).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def mark(folder: Path, portfolio: str | None) -> None:
    """Write into a session's folder which portfolio it is a member of, whole or not at all; None = of none."""
    path = folder / PORTFOLIO_FILE
    if portfolio is None:
        path.unlink(missing_ok=True)
        return
    fresh = path.with_name(f".{PORTFOLIO_FILE}.part")
    fresh.write_text(f"{portfolio}\n", encoding="utf-8")
    fresh.replace(path)


def tell(folder: Path, word: str, *, file: bool = True, said: str = "") -> ToldSession:
    """Tell a session ``halt``, ``flatten`` or ``reduce`` in every way that it hears the word.

    The signal goes to no other process than that of this user which holds the journal's lock.

    Parameters
    ----------
    folder
        Of the session.
    word
        What to do.
    file
        Whether ``halt`` also leaves the file `HALT`, which keeps it halted until it is removed.
    said
        What stands in that file, where there is none yet.
    """
    ways: list[str] = []
    failed: list[str] = []
    if word == "halt" and file:
        try:
            _left(folder / KILL_FILE, said)
            ways.append("file")
        except OSError as error:
            failed.append(f"{folder / KILL_FILE} cannot be written ({error.strerror})")
    _signalled(folder, word, ways, failed)
    number = None
    try:
        number = order(folder / JOURNAL, word, patience_s=2.0)
        ways.append("inbox")
    except (UserError, Unavailable) as error:
        failed.append(str(error))
    return ToldSession(folder, tuple(ways), tuple(failed), number)


def _left(path: Path, said: str) -> None:
    """Leave the file; what another one left stays as it is. It halts from its first moment on, empty or not."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(said)
    except FileExistsError:
        path.touch()


def _signalled(folder: Path, word: str, ways: list[str], failed: list[str]) -> None:
    numbers = {word: name for name, word in WORDS.items()}
    if word not in numbers or not hasattr(signal, numbers[word]):
        return
    process = writer_of(folder / JOURNAL)
    if process is None:
        return
    try:
        if _sent(folder / JOURNAL, process, getattr(signal, numbers[word])):
            ways.append("signal")
        else:
            failed.append(f"process {process} is not seen to be the session's, or is another user's")
    except OSError as error:
        failed.append(f"process {process} cannot be signalled ({error.strerror})")


def _sent(journal: Path, process: int, number: int) -> bool:
    """Send a signal to a process that is seen to write the journal, and to no other that gets its number meanwhile."""
    if not hasattr(os, "pidfd_open"):  # macOS
        if is_writer(journal, process):
            os.kill(process, number)
            return True
        return False
    held = os.pidfd_open(process)
    try:
        if not is_writer(journal, process):
            return False
        signal.pidfd_send_signal(held, number)
        return True
    finally:
        os.close(held)


def _folders(root: Path, depth: int) -> Iterator[Path]:
    yield root
    if depth:
        try:
            below = [Path(entry.path) for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]
        except OSError:  # gone since it was listed, or not ours to read
            return
        shadows = root / SHADOWS if (root / JOURNAL).is_file() else None
        for folder in below:
            if not folder.name.startswith(".") and folder != shadows:
                yield from _folders(folder, depth - 1)
