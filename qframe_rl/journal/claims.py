"""Claims of sessions on what only one of them may have, such as a market of an account, over all of a user's processes.

A claim is a file below the user's own state folder, locked with `flock`: it ends with the process that holds it,
however that ends, and who finds it taken reads in it who has it. The files stay; one that is not locked is nobody's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qframe_rl.config import UserError, canonical
from qframe_rl.home import user_state
from qframe_rl.journal.lock import need_flock, taken

_LONGEST = 1 << 16


class Claimed(Exception):
    """Somebody else has it.

    Attributes
    ----------
    what
        The first thing that was not to be had.
    holder
        What its holder says of himself; empty where he says nothing.
    """

    def __init__(self, what: str, holder: dict[str, Any]):
        super().__init__(what)
        self.what, self.holder = what, holder


class Claims:
    """Things that this process alone has, until `close` or its end.

    Parameters
    ----------
    things
        Their names; all of them are had, or none.
    holder
        What is said to who comes later, as JSON; no secrets.

    Raises
    ------
    Claimed
        If another process, or another part of this one, has one of them.
    UserError
        If the user's folder cannot be written, so that nobody could tell.
    """

    def __init__(self, things: Iterable[str], holder: dict[str, Any]):
        self._files: list[int] = []
        try:
            for thing in sorted(set(things)):
                self._files.append(_claimed(thing, holder))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give all of it back."""
        for file in self._files:
            os.close(file)
        self._files = []


def claims_folder() -> Path:
    """Where the claims of this user lie."""
    return user_state() / "claims"


def _claimed(thing: str, holder: dict[str, Any]) -> int:
    need_flock()
    path = claims_folder() / f"{hashlib.sha256(thing.encode()).hexdigest()[:32]}.lock"
    file = -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if not taken(file):
            raise Claimed(thing, _said(file))
        os.ftruncate(file, 0)
        os.pwrite(file, canonical({**holder, "process": os.getpid()}).encode(), 0)
    except (Claimed, OSError) as error:
        if file >= 0:
            os.close(file)
        if isinstance(error, Claimed):
            raise
        raise UserError(
            f"{path} cannot be written ({error.strerror}), so nobody could tell that another session has {thing}; "
            "set XDG_STATE_HOME to a folder of yours."
        ) from None
    return file


def _said(file: int) -> dict[str, Any]:
    try:
        said = json.loads(os.pread(file, _LONGEST, 0))
    except ValueError:  # he has just begun
        return {}
    return said if isinstance(said, dict) else {}
