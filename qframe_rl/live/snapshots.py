"""Snapshots of live sessions: a restart goes on from the last one, and runs only the bars after it again.

A snapshot follows from the record: its hash is an event like any other, so `qframe_rl.live.paper.replay`, which
runs everything from the first bar, proves each of them. It is used by the very code and libraries that made it alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from qframe_rl.agent import Agent, Portable, State, View
from qframe_rl.config import fingerprint
from qframe_rl.journal.codec import Plain, packed, unpacked
from qframe_rl.journal.ledger import Ledger
from qframe_rl.journal.lock import corrupt
from qframe_rl.journal.snapshot import Snapshot
from qframe_rl.listeners import Returning, Soft
from qframe_rl.live.recorded import Recording
from qframe_rl.live.router import OrderRouter
from qframe_rl.session import Session
from qframe_rl.versions import code_fingerprint, versions

SNAPSHOT_BARS = 100
"""Bars between two snapshots."""


UNREADABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError)
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
        self._made = made_by()
        self._watchers = Watchers(router.soft, lambda: (*router.listeners, *router.told))

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
        self._ledger.snapshot(view.time, self._made, state, self._watchers.carried() if due else {})

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
        except UNREADABLE as error:
            # Its hash holds, so whoever wrote the journal put it there: no session did.
            raise corrupt(
                self.path, f"its last snapshot cannot be taken up ({type(error).__name__}: {error})"
            ) from None
        view = session.resume(self._recording.begin_after(kept.seq, n_bars, window), fills)
        self._router.begin_after(view)
        self._watchers.carry(watchers, view)
        return view

    def _obstacle(self, kept: Snapshot | None) -> str | None:
        """Why a snapshot cannot be begun from."""
        if self._memory() is None:
            return f"its strategy, {type(self._agent).__name__}, cannot hand on what it remembers"
        if not self._router.lasting:
            return "its venue cannot hand on what it remembers"
        return None if kept is None else unusable(kept, self._ledger, self._made, self._watchers)

    def _memory(self) -> State | None:
        return self._agent.carried() if isinstance(self._agent, Portable) else None


def made_by() -> str:
    """Fingerprint of the code and the libraries that take and use snapshots now."""
    return fingerprint(code_fingerprint(), versions())


def unusable(kept: Snapshot, ledger: Ledger, made: str, watchers: Watchers) -> str | None:
    """Why a snapshot cannot be begun from, whatever the session; None if it can."""
    if not ledger.genuine(kept):
        return "its last snapshot is not as it was written"
    if kept.made != made:
        return "code or libraries have changed since its last snapshot"
    return watchers.obstacle(kept.watchers)


class Watchers:
    """Those who look on a session, and what they remember, by the names of their classes.

    Parameters
    ----------
    soft
        Calls them.
    all_of
        Who they are now; one may be named twice.
    """

    def __init__(self, soft: Soft, all_of: Callable[[], Iterable[object]]):
        self._soft, self._all = soft, all_of

    def carried(self) -> Plain:
        """What those remember who look on; one that cannot say so now was not there."""
        each = {n: self._soft.run(n, one.carried) for n, one in self.named().items() if isinstance(one, Returning)}
        return {name: memory for name, memory in each.items() if memory is not None}

    def carry(self, memory: Plain, view: View) -> None:
        """Hand them what `carried` returned after ``view``."""
        for name, one in self.named().items():
            if isinstance(one, Returning):
                self._soft.run(name, one.carry, memory[name], view)

    def obstacle(self, text: str) -> str | None:
        """Why what a snapshot says of them is not enough; None if it is."""
        try:
            memory = json.loads(text)
        except (ValueError, RecursionError):
            memory = None
        if not isinstance(memory, dict):
            return "what those remember who look on is not readable in its last snapshot"
        lacking = [n for n, one in self.named().items() if n not in memory or not isinstance(one, Returning)]
        return f"{lacking[0]} was not there at its last snapshot" if lacking else None

    def named(self) -> dict[str, Any]:
        """All of them, each once."""
        each = {id(one): one for one in self._all()}
        named: dict[str, Any] = {}
        for one in each.values():
            name = type(one).__name__
            while name in named:
                name += "+"
            named[name] = one
        return named
