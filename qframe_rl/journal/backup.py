"""Copies of folders, whole and consistent while journals and other SQLite files in them are written.

A file of SQLite is copied by SQLite itself, in one read that waits for no writer. Journals come last: no note of a last
event, no cursor and no row of a copy is ahead of them. Nothing is written where the originals lie.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.lock import Head
from qframe_rl.journal.store import NAME, verify

MANIFEST = "backup.json"
"""What stands beside the copies: when they were made, by which version, and where each journal ended."""
_MAGIC = b"SQLite format 3\0"
_BESIDE = ("-wal", "-shm", "-journal")
_TRIES = 100


class Backup(NamedTuple):
    """What was copied."""

    files: int
    n_bytes: int
    journals: dict[str, Head]
    """Where each journal of the copy ends, by its path in it."""
    corrupt: dict[str, str]
    """Journals that were not as they had been written, and what is wrong; they are copied as they lie."""


def back_up(roots: Mapping[str, Path], target: Path) -> Backup:
    """Copy folders, whoever writes to them; the copy appears whole or not at all.

    Parameters
    ----------
    roots
        Folders by their path in the copy. Links are copied as links.
    target
        Folder that is made.

    Returns
    -------
    Backup
        What came of it.

    Raises
    ------
    UserError
        If the target is there already, lies in a root or where no folder can be made, or a root is no folder or lies in
        another.
    Unavailable
        If something cannot be read, or the copy not be written; nothing is left of it then.
    """
    _check(roots, target)
    fresh = target.with_name(f".{target.name}.part")
    try:
        fresh.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise UserError(f"{fresh} is of a copy that was broken off, or is under way; remove it.") from None
    except OSError as error:
        kind = Unavailable if error.errno == errno.ENOSPC else UserError
        raise kind(f"{target} cannot be made ({error.strerror}); name a place that can be written.") from None
    try:
        files = [_copied(source, fresh / name / inside) for name, source, inside in _found(roots)]
        journals, corrupt = _verified(fresh)
        _note(fresh, journals)
        fresh.rename(target)
    except BaseException as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if isinstance(error, (OSError, sqlite3.Error)):
            raise Unavailable(f"{target} cannot be made ({error}); nothing of it is left.") from None
        raise
    _sync(target.parent)
    return Backup(len(files), sum(files), journals, corrupt)


def _check(roots: Mapping[str, Path], target: Path) -> None:
    if target.exists():
        raise UserError(f"{target} is there already; name a folder that is made, such as one with the date.")
    places = {name: root.resolve() for name, root in roots.items()}
    for name, root in places.items():
        if not root.is_dir():
            raise UserError(f"{roots[name]} is no folder; name one that is to be copied.")
        if target.resolve().is_relative_to(root):
            raise UserError(f"{target} lies in {roots[name]}, of which it is to be a copy; name a place outside.")
        for other, place in places.items():
            if other != name and root.is_relative_to(place):
                raise UserError(f"{roots[name]} lies in {roots[other]}, which is copied as well; name one of them.")


def _found(roots: Mapping[str, Path]) -> Iterator[tuple[str, Path, Path]]:
    """Root's name, path and path below the root of all there is; folders before what is in them, journals last."""
    journals = []
    for name, root in roots.items():
        for folder, below, files in os.walk(root):
            here = Path(folder)
            yield name, here, here.relative_to(root)
            beside = {f"{file}{end}" for file in files if _is_database(here / file) for end in _BESIDE}
            links = [file for file in below if (here / file).is_symlink()]
            for file in [*links, *(file for file in files if file not in beside)]:
                found = name, here / file, (here / file).relative_to(root)
                if file == NAME:
                    journals.append(found)
                else:
                    yield found
    yield from journals


def _is_database(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except FileNotFoundError:
        return False


def _copied(source: Path, target: Path) -> int:
    """Copy a folder (without what is in it), a link or a file; return its bytes. What is gone by now is left out."""
    try:
        mode = source.lstat().st_mode
        if stat.S_ISDIR(mode):
            target.mkdir(parents=True, exist_ok=True)
            target.chmod(stat.S_IMODE(mode) | 0o700)
            return 0
        if stat.S_ISLNK(mode):
            target.symlink_to(source.readlink())
            return 0
        if not stat.S_ISREG(mode):
            return 0
        if _is_database(source):
            _copied_database(source, target)
            shutil.copystat(source, target)
        else:
            shutil.copy2(source, target)
    except FileNotFoundError:
        if source.exists():
            raise
        return 0
    _sync(target)
    return target.stat().st_size


def _copied_database(source: Path, target: Path) -> None:
    """Copy a file of SQLite as it is at one instant, without a file beside the original, as `Peek` reads."""
    log = source.with_name(f"{source.name}-wal")
    for _ in range(_TRIES):
        live, was = log.exists(), _identity(source)
        how = "mode=ro" if live else "mode=ro&immutable=1"
        try:
            with (
                closing(sqlite3.connect(f"{source.absolute().as_uri()}?{how}", uri=True, timeout=30.0)) as opened,
                closing(sqlite3.connect(target)) as copy,
            ):
                opened.backup(copy)
        except sqlite3.Error:
            if live and log.exists():
                raise
        if live or (_identity(source) == was and not log.exists()):
            return
        target.unlink(missing_ok=True)
    raise Unavailable(f"{source} is opened and closed all the time; try again.")


def _identity(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _verified(copy: Path) -> tuple[dict[str, Head], dict[str, str]]:
    """Where the journals of a copy end, and which of them are corrupt."""
    journals, corrupt = {}, {}
    for path in sorted(copy.rglob(NAME)):
        name = str(path.relative_to(copy))
        try:
            journals[name] = verify(path)
        except UserError as error:
            corrupt[name] = str(error).replace(f"{copy}{os.sep}", "")
    return journals, corrupt


def _note(copy: Path, journals: Mapping[str, Head]) -> None:
    ends = {name: {"seq": head.seq, "hash": head.hash.hex()} for name, head in journals.items()}
    text = json.dumps({"made_ns": time.time_ns(), "version": version("qframe-rl"), "journals": ends}, indent=1)
    (copy / MANIFEST).write_text(f"{text}\n", encoding="utf-8")
    _sync(copy / MANIFEST)


def _sync(path: Path) -> None:
    """Wait until it is on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
