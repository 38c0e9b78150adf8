"""What lies below the folders that a service shows: sessions, runs and checkpoints, each by an id that is no path."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.lock import writer_of
from qframe_rl.journal.peek import Peek
from qframe_rl.journal.store import NAME as JOURNAL

ID = re.compile(r"[0-9a-z_-]{1,64}")
_DEPTH = 5
"""Folders below a root in which is looked."""
_EVERY_S = 2.0
_LARGEST = 32 << 20
"""Bytes of a JSON file that is shown."""
MANIFEST = "checkpoint.json"
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_LISTED = 1000
"""Things of a kind that are listed."""
MARKS = {
    "choice.json": "training", "study.json": "study", "tune.json": "search", "board.json": "board",
    "experiment.json": "training",
}  # fmt: skip
"""Files by which a folder is known for a run, and of what kind: the first counts; the last is there from its start."""


class Found(NamedTuple):
    """A folder of something."""

    id: str
    folder: Path
    kind: str
    name: str
    """Where it lies below its root, for people."""


class Places:
    """The folders, looked through again every two seconds at the most.

    Parameters
    ----------
    roots
        Folders to look below. What a link in them leads out of them is not there.
    """

    def __init__(self, roots: Sequence[Path]):
        self.roots = tuple(dict.fromkeys(root.resolve() for root in roots))
        self._lock = threading.Lock()
        self._at = -_EVERY_S
        self._ids: dict[Path, tuple[int, str]] = {}
        self._sessions: dict[str, Found] = {}
        self._runs: dict[str, Found] = {}
        self._checkpoints: dict[str, Found] = {}

    def sessions(self) -> Mapping[str, Found]:
        """Folders with a journal, by the first 16 digits of its first event's hash."""
        self._look()
        return self._sessions

    def runs(self) -> Mapping[str, Found]:
        """Folders of runs, by their name."""
        self._look()
        return self._runs

    def checkpoints(self) -> Mapping[str, Found]:
        """Folders of checkpoints, by their name."""
        self._look()
        return self._checkpoints

    def _look(self) -> None:
        with self._lock:
            if time.monotonic() - self._at < _EVERY_S:
                return
            sessions: dict[str, Found] = {}
            named: dict[str, dict[str, Found]] = {"run": {}, "checkpoint": {}}
            for root in self.roots:
                for folder, files in _folders(root, _DEPTH):
                    name = _shown(folder.relative_to(root) if folder != root else Path(folder.name))
                    if JOURNAL in files and (session := self._session(folder / JOURNAL)) is not None:
                        other = sessions.get(session)
                        if other is None or (
                            writer_of(other.folder / JOURNAL) is None and _newer(folder, other.folder)
                        ):
                            sessions[session] = Found(session, folder, "session", name)
                    for what, mark in (("checkpoint", MANIFEST), *(("run", mark) for mark in MARKS)):
                        if mark in files and ID.fullmatch(folder.name):
                            kind = MARKS.get(mark, what)
                            named[what].setdefault(folder.name, Found(folder.name, folder, kind, name))
            self._sessions, self._runs, self._checkpoints = sessions, named["run"], named["checkpoint"]
            self._at = time.monotonic()

    def _session(self, journal: Path) -> str | None:
        """Id of a session; None while its journal says nothing yet or cannot be read."""
        try:
            inode = journal.stat().st_ino
            known = self._ids.get(journal)
            if known is not None and known[0] == inode:
                return known[1]
            with Peek(journal) as peek:
                rows = peek.rows("SELECT hash FROM events WHERE seq = 1")
        except (UserError, Unavailable, OSError):
            return self._ids.get(journal, (0, None))[1]
        if not rows or not isinstance(rows[0][0], bytes):
            return None
        found = rows[0][0].hex()[:16]
        self._ids[journal] = (inode, found)
        return found


def plain_json(text: str) -> Any:
    """What JSON says, in letters that an answer can have: it may name halves of them; errors as of `json.loads`."""
    plain = json.loads(text)
    return _whole(plain) if _HALF.search(text) else plain


def _whole(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {_whole(key): _whole(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_whole(value) for value in plain]
    return plain.encode(errors="replace").decode() if isinstance(plain, str) else plain


def shown_json(path: Path) -> Any:
    """What a file of a run says.

    Raises
    ------
    UserError
        If it is not there, too large, or no JSON.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path.name} is larger than {_LARGEST >> 20} MiB and is not shown.")
        return plain_json(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{path.name} is not there.") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path.name} is no JSON.") from None


def manifest_of(found: Found) -> dict[str, Any]:
    """What the manifest of a checkpoint says; raises UserError as `shown_json`, and where it is none."""
    told = shown_json(found.folder / MANIFEST)
    if not isinstance(told, dict):
        raise UserError(f"{MANIFEST} is no manifest.")
    return told


def newest(found: Mapping[str, Found]) -> list[Found]:
    """The newest thousand, newest first."""
    return sorted(found.values(), key=lambda one: (-_changed(one.folder), one.id))[:_LISTED]


def _folders(root: Path, depth: int) -> Iterator[tuple[Path, set[str]]]:
    """Folders below a root, itself included, and the names of the files in each; links to folders are not followed."""
    try:
        entries = list(os.scandir(root))
    except OSError:  # gone since it was listed, or not ours to read
        return
    yield root, {entry.name for entry in entries if _is(entry, "file")}
    if depth:
        for entry in entries:
            if _is(entry, "dir") and not entry.name.startswith("."):
                yield from _folders(Path(entry.path), depth - 1)


def _shown(path: Path) -> str:
    """A path for people: bytes that are no UTF-8 are marked, since JSON has no such text."""
    return os.fsencode(path).decode("utf-8", "replace")


def _is(entry: os.DirEntry[str], kind: str) -> bool:
    return entry.is_file(follow_symlinks=False) if kind == "file" else entry.is_dir(follow_symlinks=False)


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _newer(one: Path, other: Path) -> bool:
    return _changed(one / JOURNAL) > _changed(other / JOURNAL)
