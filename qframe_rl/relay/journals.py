"""Events of journals on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qframe_rl.config import UserError
from qframe_rl.journal.lock import Head
from qframe_rl.journal.peek import Peek
from qframe_rl.journal.store import chained, pulse
from qframe_rl.relay.events import LinkedEvent, cut

_POLL_S = 0.02
_OPEN = 200
"""Journals that are open at once, at most: a process has so many files and no more."""


class JournalSource:
    """Journals below some folders.

    Parameters
    ----------
    find
        Name and journal of each session, by its id.
    """

    place = "the journals"

    def __init__(self, find: Callable[[], Mapping[str, tuple[str, Path]]]):
        self._find = find
        self._open: dict[str, tuple[Path, Peek]] = {}

    def journals(self) -> dict[str, str]:
        """Names of sessions by their ids."""
        return {session: name for session, (name, _) in self._find().items()}

    def head(self, session: str) -> int:
        """Number of the last event."""
        ((head,),) = self._peek(session).rows("SELECT coalesce(max(seq), 0) FROM events")
        return int(head)

    def after(self, session: str, head: Head, n: int) -> list[LinkedEvent]:
        """At most ``n`` events after one.

        Raises
        ------
        UserError
            If the journal is corrupt, ends before that event, or has another one in its place.
        """
        path = self._path(session)
        if head.seq:
            there = self._peek(session).rows("SELECT hash FROM events WHERE seq = ?", (head.seq,))
            if not there:
                raise UserError(
                    f"{path} ends at event {self.head(session)}, but event {head.seq} was sent already: an old copy? "
                    "Put it aside and restore the journal that went on."
                )
            if head.hash and there[0][0] != head.hash:
                raise UserError(
                    f"{path} has another event {head.seq} than was sent: an old copy that went on? Nothing more is "
                    "sent of it."
                )
        found: list[LinkedEvent] = []
        for event, digest in chained(path, head.seq):
            found.append(LinkedEvent(event, digest))
            if len(found) >= n:
                break
        return cut(found)

    def pulse(self, session: str) -> Mapping[str, Any] | None:
        """What the session said of itself last."""
        said = pulse(self._path(session))
        if said is None:
            return None
        plain: dict[str, Any] = json.loads(said[1])
        return plain | {"written_ns": said[0]}

    def taken(self, session: str, consumer: str, seq: int) -> None:
        """Journals keep what was read of them."""

    def wait(self, cursors: Mapping[str, int], seconds: float) -> None:
        """Wait until one of them has more."""
        until, pause = time.monotonic() + seconds, _POLL_S * max(1.0, len(cursors) / 10)
        while time.monotonic() < until and not any(self.head(one) > seq for one, seq in cursors.items()):
            time.sleep(pause)

    def close(self) -> None:
        """Let go of the files."""
        for _, peek in self._open.values():
            peek.close()
        self._open.clear()

    def _path(self, session: str) -> Path:
        found = self._find().get(session)
        if found is None:
            raise UserError(f"the journal of session {session} is not there any more.")
        return found[1]

    def _peek(self, session: str) -> Peek:
        path = self._path(session)
        known = self._open.get(session)
        if known is not None and known[0] == path and path.exists():
            return known[1]
        if known is not None:
            known[1].close()
            del self._open[session]
        made = Peek(path)
        while len(self._open) >= _OPEN:
            self._open.pop(next(iter(self._open)))[1].close()
        self._open[session] = (path, made)
        return made
