"""Who joins and leaves a session's universe, what is listed and what is delisted: on record, by name."""

from __future__ import annotations

from collections.abc import Sequence

from qframe_rl.agent import View
from qframe_rl.feeds.universe import MembersWatch
from qframe_rl.feeds.universe_rule import universe_rule
from qframe_rl.journal.codec import Plain
from qframe_rl.journal.ledger import Ledger
from qframe_rl.types import Instrument


class UniverseLog:
    """Writes an event ``universe`` after each bar with which somebody came or went.

    Parameters
    ----------
    ledger
        The journal.
    instruments
        The A instruments.
    rule
        The universe, where the session's terms have it; None = a coin without trades is waited for as by default.
    """

    def __init__(self, ledger: Ledger, instruments: Sequence[Instrument], rule: str | None = None):
        self._watch = MembersWatch(instruments, None if rule is None else universe_rule(rule))
        self._ledger, self._begun = ledger, False

    def see(self, view: View) -> None:
        """Look at the last bar; nothing is written where the session has no universe."""
        if view.member == 0:
            return
        self._begun = True
        change = self._watch.take(view.time, view.close[-1], view.bars[-1, :, view.member])
        if not change.empty:
            named = {what: list(names) for what, names in change._asdict().items() if what != "time" and names}
            self._ledger.put("universe", {"time": change.time, **named})

    def carried(self) -> Plain:
        """Who is in and when each traded last, as JSON; empty where there is no universe."""
        return self._watch.carried() if self._begun else {}

    def carry(self, memory: Plain) -> None:
        """Take over what `carried` returned; nothing where there was no universe yet."""
        self._begun = bool(memory)
        if memory:
            self._watch.carry(memory)
