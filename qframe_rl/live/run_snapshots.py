"""Snapshots of sessions on order books: a restart goes on after the last run of the tape that ended.

Where a run ends nothing stands, nothing is on its way, and a strategy forgets (`qframe_rl.quoter.BookView.first`): what
is left of a session is money, lots and counts. So there a snapshot is taken, and nowhere else. A live run ends at the
latest when its file is full, after an hour, and with every restart. As those of bars (`qframe_rl.live.snapshots`), they
follow from the record, and a replay, which lives through all of it, proves each.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from qframe_rl.journal.ledger import Ledger
from qframe_rl.journal.lock import corrupt
from qframe_rl.live.quoting import QuotingSession
from qframe_rl.live.snapshots import UNREADABLE, Watchers, made_by, unusable


class RunSnapshots:
    """Takes snapshots of one session where a run of its tape has ended, and begins it from the last one.

    Parameters
    ----------
    ledger, session
        The journal, and whose it is.
    """

    def __init__(self, ledger: Ledger, session: QuotingSession):
        self._ledger, self._session, self._made = ledger, session, made_by()
        self._watchers = Watchers(session.soft, lambda: (*session.listeners, *session.told))

    def __call__(self) -> None:
        """Take a snapshot of the session after a run, if it is new, or if the record has one here."""
        fresh = self._ledger.writing
        if not fresh and self._ledger.recorded != "snapshot":
            return
        state = self._session.carried()
        if state is not None:
            self._ledger.snapshot(self._session.time, self._made, state, self._watchers.carried() if fresh else {})

    def resume(self, note: Callable[[str], None]) -> None:
        """Put the session where it was after the last run that ended; where that cannot be, say why.

        Raises
        ------
        UserError
            If the snapshot is genuine, and no session wrote it.
        """
        if self._ledger.recorded is None:
            return
        kept = self._ledger.last_snapshot()
        if kept is None:
            return
        why = unusable(kept, self._ledger, self._made, self._watchers)
        if why is not None:
            note(f"{self._ledger.path}: its record is lived through from the beginning, because {why}.")
            return
        try:
            self._session.carry(json.loads(kept.state))
        except UNREADABLE as error:
            raise corrupt(
                self._ledger.path, f"its last snapshot cannot be taken up ({type(error).__name__}: {error})"
            ) from None
        self._ledger.begin_after(kept.seq)
        self._watchers.carry(json.loads(kept.watchers), self._session.shown())
