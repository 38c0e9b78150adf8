"""Snapshots of live sessions: a restart goes on from the last one, and runs only the bars after it again.

A snapshot follows from the record: its hash is an event like any other, so `qframe_rl.live.paper.replay`, which
runs everything from the first bar, proves each of them. It is used by the very code and libraries that made it alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from qframe_rl.agent import Agent, Portable, State, View
from qframe_rl.config import fingerprint
from qframe_rl.journal.codec import Plain, packed, unpacked
from qframe_rl.journal.ledger import Ledger
from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.snapshot import Snapshot
from qframe_rl.listeners import Returning
from qframe_rl.live.recorded import Recording
from qframe_rl.live.router import OrderRouter
from qframe_rl.session import Session
from qframe_rl.versions import code_fingerprint, versions

SNAPSHOT_BARS = 100
"""Bars between two snapshots."""


_UNREADABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError)
"""What parts of a session raise when they are to take up what none of them wrote."""


class SnapshotManager:
    """Takes snapshots of one session, and begins it from one.

    Parameters
    ----------
    ledger, router, recording, agent
        Those of the session.
    every
        Bars between two snapshots; None = none but those on record.
    """

    def __init__(
        self, ledger: Ledger, router: OrderRouter, recording: Recording, agent: Agent, every: int | None = None
    ):
        self.path = ledger.path
        self._ledger, self._router, self._recording, self._agent = ledger, router, recording, agent
        self._every = every
        self._made = fingerprint(code_fingerprint(), versions())

    def __call__(self, view: View) -> None:
        """Take a snapshot of the session after ``view``, if it is time to, or if the record has one here."""
        due = self._ledger.writing and self._every is not None and self._router.n_bars % self._every == 0
        if not due and self._ledger.recorded != "snapshot":
            return
        router, memory = self._router.carried(), self._memory()
        if router is None or memory is None:
            return
        agent = {name: packed(value) for name, value in memory.items()}
        state: Plain = {"bars": self._recording.n_bars, "desk": router, "agent": agent}
        self._ledger.snapshot(view.time, self._made, state, self._watching() if due else {})

    def found(self, note: Callable[[str], None]) -> Snapshot | None:
        """The snapshot to begin from; None, and why is noted, where the whole record is to be run again."""
        if self._ledger.recorded is None:
            return None
        kept = self._ledger.last_snapshot()
        why = self._obstacle(kept)
        if why is not None:
            note(f"{self._ledger.path}: its bars are run again from the first one, because {why}.")
        return None if why is not None else kept

    def resume(self, session: Session, kept: Snapshot, window: int) -> View:
        """Put a session where it was when the snapshot was taken; return its view then."""
        try:
            state, watchers = json.loads(kept.state), json.loads(kept.watchers)
            fills = self._router.carry(state["desk"])
            if isinstance(self._agent, Portable):
                self._agent.carry({name: unpacked(plain) for name, plain in state["agent"].items()})
            n_bars = int(state["bars"])
        except _UNREADABLE as error:
            # Its hash holds, so whoever wrote the journal put it there: no session did.
            raise corrupt(
                self.path, f"its last snapshot cannot be taken up ({type(error).__name__}: {error})"
            ) from None
        view = session.resume(self._recording.begin_after(kept.seq, n_bars, window), fills)
        self._router.begin_after(view)
        for name, one in self._watchers().items():
            if isinstance(one, Returning):
                self._router.soft.run(name, one.carry, watchers[name], view)
        return view

    def _obstacle(self, kept: Snapshot | None) -> str | None:
        """Why a snapshot cannot be begun from."""
        if self._memory() is None:
            return f"its strategy, {type(self._agent).__name__}, cannot hand on what it remembers"
        if not self._router.lasting:
            return "its venue cannot hand on what it remembers"
        if kept is None:
            return None
        if not self._ledger.genuine(kept):
            return "its last snapshot is not as it was written"
        if kept.made != self._made:
            return "code or libraries have changed since its last snapshot"
        try:
            watchers = json.loads(kept.watchers)
        except (ValueError, RecursionError):
            watchers = None
        if not isinstance(watchers, dict):
            return "what those remember who look on is not readable in its last snapshot"
        lacking = [name for name, one in self._watchers().items()
                   if name not in watchers or not isinstance(one, Returning)]  # fmt: skip
        return f"{lacking[0]} was not there at its last snapshot" if lacking else None

    def _memory(self) -> State | None:
        return self._agent.carried() if isinstance(self._agent, Portable) else None

    def _watching(self) -> Plain:
        """What those remember who look on; one that cannot say so now was not there."""
        soft = self._router.soft
        each = {n: soft.run(n, one.carried) for n, one in self._watchers().items() if isinstance(one, Returning)}
        return {name: memory for name, memory in each.items() if memory is not None}

    def _watchers(self) -> dict[str, Any]:
        """All that look on, each once, by the names of their classes."""
        each = {id(one): one for one in (*self._router.listeners, *self._router.told)}
        named: dict[str, Any] = {}
        for one in each.values():
            name = type(one).__name__
            while name in named:
                name += "+"
            named[name] = one
        return named
