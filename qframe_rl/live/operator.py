"""Who commands a live session, and how that is heard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from qframe_rl.journal.inbox import KILL_FILE, Inbox, adoption_of, locking_of, transfer_of
from qframe_rl.journal.ledger import Input, Ledger
from qframe_rl.listeners import Soft
from qframe_rl.live.signals import obeyed
from qframe_rl.risk.engine import COMMANDS, RiskEngine
from qframe_rl.risk.limits import Limits


class Operator:
    """What a human tells a running session: by a command in its inbox, by a file, or by a signal.

    Parameters
    ----------
    ledger
        The inbox beside it is read.
    folder
        Where the kill file would lie.
    limits
        Those of this process; they become part of the record where they differ from those before.
    soft
        An inbox that cannot be read is said, and tried again; file and signals are heard all the same.
    """

    def __init__(self, ledger: Ledger, folder: Path, limits: Limits, soft: Soft):
        self._ledger, self._soft = ledger, soft
        self._inbox = Inbox(ledger.path)
        self._file = folder / KILL_FILE
        self._limits = limits
        self._read, self._stood = 0, True
        self.signalled: str | None = None
        """A command that a signal handler left here."""
        self.expires: int | None = None
        """From when on, ns UTC, a session that trades only reduces; None = never."""
        self.expired: Callable[[int], None] = lambda at: None
        """Told of that moment when it is over and the session begins to reduce."""

    def hearing(self) -> AbstractContextManager[None]:
        """Take the signals of this process in a block."""
        return obeyed(lambda word: setattr(self, "signalled", word))

    def poll(self, engine: RiskEngine, time: int) -> list[Input]:
        """What is new at ``time``, ns UTC by the session.

        The inbox is first: when a signal was sent is not known, so that in doubt it halts.
        """
        found = []
        if self._limits != engine.limits:
            found.append(Input("limits", self._limits.model_dump(mode="json")))
        left = self._ledger.left_inside(self._read)
        for number, word in [*left, *(self._soft.run("the inbox", self._inbox.after, self._read) or ())]:
            said = self._meant(number, word, engine)
            if said is not None:
                found.append(said)
        signalled, self.signalled = self.signalled, None  # another one may come while this one is put on record
        if signalled is not None:
            found.append(Input("command", {"word": signalled, "by": "signal"}))
        # Who resumes does so before what still stands against it: no decision lies between the two.
        words = [one.payload.get("word") for one in found if "symbol" not in one.payload]
        resumed = "resume" in words
        if self.expires is not None and time >= self.expires and (engine.state == "ACTIVE" or resumed):
            found.append(Input("command", {"word": "reduce", "by": "expiry"}))
            self.expired(self.expires)
        stood, self._stood = self._stood, self._file.exists()
        # A file that stood there before ends no flatten: halted, what is being closed would stay open.
        closing = stood and (engine.state == "FLATTEN" or "flatten" in words)
        if self._stood and (resumed or (engine.state != "HALTED" and not closing)):
            found.append(Input("command", {"word": "halt", "by": "file"}))
        return found

    def _meant(self, number: int, word: str, engine: RiskEngine) -> Input | None:
        """What a word in the inbox means; what means nothing is said, and is no reason to stop trading."""
        transfer = transfer_of(word)
        if transfer is not None:
            return Input("transfer", {"id": transfer[0], "units": transfer[1], "by": "command", "number": number})
        if word in COMMANDS:
            return Input("command", {"word": word, "by": "command", "number": number})
        adoption = adoption_of(word)
        if adoption is not None:
            return Input("adopt", {**adoption._asdict(), "by": "command", "number": number})
        locking, symbols = locking_of(word), [i.symbol for i in engine.instruments]
        if locking is not None and locking[1] in symbols:
            said = {"word": locking[0], "symbol": locking[1], "by": "command", "number": number}
            return Input("command", said)
        self._read = max(self._read, number)
        why = "which is none" if locking is None else f"and this session trades {', '.join(symbols)}"
        self._soft.failed("a command", f"the inbox holds {word[:80]!r}, {why}")
        return None

    def noted(self, number: int) -> None:
        """Remember how far the inbox was read."""
        self._read = max(self._read, number)
