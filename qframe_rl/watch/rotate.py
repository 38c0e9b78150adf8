"""A file of lines that does not grow for ever."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

from qframe_rl.config import UserError

PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""What a disk may get over; everything else about a place is a mistake of who named it."""


class Lines:
    """Appends whole lines to ``FILE``; a full one becomes ``FILE.1``, that one ``FILE.2`` and so on.

    Parameters
    ----------
    path
        The file; its folder is made.
    size
        Bytes from which on a line goes into a new file.
    keep
        Full files that are kept; the oldest beyond is removed.

    Raises
    ------
    UserError
        If the place cannot be written, for another reason than a disk that is full or fails at the moment.
    """

    def __init__(self, path: Path, size: int, keep: int):
        self._path, self._size, self._keep = path, size, keep
        self._file: int | None = None
        self._torn = False
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._opened()
        except OSError as error:
            if error.errno not in PASSING:
                raise UserError(f"{path}: {error.strerror}; name a place that can be written.") from None

    def write(self, line: str) -> None:
        """Append a line; one of which only a part could be written is ended before the next.

        Raises
        ------
        OSError
            If it cannot be written; the next one is tried anew.
        """
        with self._lock:
            text = f"{chr(10) * self._torn}{line}\n".encode()
            file = self._opened(len(text))
            written = os.write(file, text)
            self._torn = self._torn if written == 0 else written < len(text)
            if written < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self, more: int = 0) -> int:
        """The file that takes ``more`` bytes."""
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        now = os.fstat(self._file)
        if stat.S_ISREG(now.st_mode) and now.st_size and now.st_size + more > self._size:
            self.close()
            self._shift()
            self._torn = False
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        return self._file

    def _shift(self) -> None:
        places = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._keep + 1))]
        for older, newer in zip(places[:0:-1], places[-2::-1], strict=True):
            if newer.exists():
                newer.replace(older)
        if not self._keep:
            self._path.unlink(missing_ok=True)
