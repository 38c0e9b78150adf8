"""The claim of the one process that writes a journal: ``journal.db.head``, locked, with the last event in it.

The lock is `flock`, and lock and process id stand in one file, so that who finds it locked knows whom to ask. Windows
has no such lock: there what is locked cannot be read, so nobody could learn which process it is.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from qframe_rl.config import Unavailable, UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_BEAT_S = 5.0
_PROBED_S = 1.0


class Head(NamedTuple):
    """The last event of a journal."""

    seq: int
    hash: bytes
    """Chained over every event, (32,) bytes."""


BEGINNING = Head(0, b"\0" * 32)
"""Before the first event."""


class Lock:
    """The right to append to a journal, held until `close` or the end of the process.

    Parameters
    ----------
    path
        The journal.

    Raises
    ------
    UserError
        If another process has it, or on Windows.
    """

    def __init__(self, path: Path):
        need_flock()
        self._path = path
        self._file = os.open(head_path(path), os.O_RDWR | os.O_CREAT, 0o644)
        self._beaten = 0.0
        if not taken(self._file):
            os.close(self._file)
            raise UserError(f"{path} is being written by another process; stop that one, or give another --out.")

    def mark(self, head: Head) -> None:
        """Note the last event in place: a line of fixed length, so that it is there whole or not at all.

        Raises
        ------
        Unavailable
            If the disk fails.
        """
        try:
            os.pwrite(self._file, f"{head.seq:020d} {head.hash.hex()} {os.getpid():010d}\n".encode(), 0)
        except OSError as error:
            name = head_path(self._path)
            raise Unavailable(
                f"{name} cannot be written ({error.strerror}); mend the disk, then start the same command again."
            ) from None

    def beat(self) -> None:
        """Show that the process lives, every few seconds at most: it sets the time of the file."""
        now = time.monotonic()
        if now - self._beaten >= _BEAT_S:
            self._beaten = now
            os.utime(self._file)

    def close(self) -> None:
        """Give it back."""
        os.close(self._file)


def need_flock() -> None:
    """Refuse a system without locks; raises UserError."""
    if fcntl is None:
        raise UserError(
            "a live session needs flock, which Windows lacks; run it under Linux, macOS or WSL (status, replay and "
            "all that reads a journal work here)."
        )


def taken(file: int) -> bool:
    """Whether a file's lock could be taken; who only looks whether it is, as `writer_of`, has it for an instant."""
    until = time.monotonic() + _PROBED_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        else:
            return True


def head_path(path: Path) -> Path:
    """Where the writer of a journal notes the last event."""
    return path.with_name(f"{path.name}.head")


def read_head(path: Path) -> Head | None:
    """What the writer noted last; None where the journal was copied without it.

    Raises
    ------
    UserError
        If the note is damaged.
    """
    file = head_path(path)
    words = file.read_text(encoding="ascii", errors="replace").split() if file.exists() else []
    if not words:
        return None
    try:
        return Head(int(words[0]), bytes.fromhex(words[1]))
    except (ValueError, IndexError):
        raise corrupt(path, f"{file.name} is not readable") from None


def writer_of(path: Path) -> int | None:
    """Process that writes to a journal; None if there is none."""
    head = head_path(path)
    if fcntl is None or not head.exists():
        return None
    with head.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            words = file.read().split()
            return int(words[2]) if len(words) == 3 and words[2].isdigit() else None
    return None


def is_writer(path: Path, process: int) -> bool:
    """Whether a process of this user holds the claim of a journal, by what the kernel says of its open files.

    The number that stands in the note may be that of another process: the lock was taken and not noted yet, or it was
    noted in another container, where numbers mean something else. Without ``/proc`` (macOS) the note is believed.
    """
    if not Path("/proc/self/fdinfo").is_dir():
        return True
    place = Path(f"/proc/{process}")
    try:
        if place.stat().st_uid != os.geteuid():
            return False
        claim = head_path(path).stat()
        return any(_is_claim(place, file.name, claim) for file in (place / "fd").iterdir())
    except OSError:  # it is gone, or not ours to look at
        return False


def _is_claim(place: Path, number: str, claim: os.stat_result) -> bool:
    """Whether an open file of a process is a claim, and locked by it."""
    try:
        if not os.path.samestat((place / "fd" / number).stat(), claim):
            return False
        said = (place / "fdinfo" / number).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:  # closed since it was listed
        return False
    return any("FLOCK" in line and "WRITE" in line for line in said.splitlines() if line.startswith("lock:"))


def beat_of(path: Path) -> int | None:
    """When the writer last showed that it lives, ns UTC; None where the journal was copied without its note."""
    head = head_path(path)
    return head.stat().st_mtime_ns if head.exists() else None


def corrupt(path: Path, what: str) -> UserError:
    """The error for a journal that is not as it was written."""
    return UserError(f"{path} is corrupt: {what}. Nothing was changed; put it aside or restore a copy.")
