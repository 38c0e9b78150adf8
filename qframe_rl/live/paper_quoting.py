"""Sessions of strategies that quote, from their journal's opening to its end; and the same run again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qframe_rl.book.accounts import N_SENT
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.journal.codec import Plain
from qframe_rl.journal.ledger import Ledger, RecordEnds
from qframe_rl.journal.store import NAME, Writer
from qframe_rl.listeners import Soft
from qframe_rl.live.held import checked_limits
from qframe_rl.live.operator import Operator
from qframe_rl.live.quoting import QuotingSession
from qframe_rl.live.quoting_terms import QuotingTerms
from qframe_rl.live.run_snapshots import RunSnapshots
from qframe_rl.live.spec import agree, check_hidden, this_process
from qframe_rl.live.tapes import TapeSource
from qframe_rl.quoter import Quoter
from qframe_rl.risk.engine import ready
from qframe_rl.risk.limits import Limits
from qframe_rl.venues.paper_book import PaperBook


@dataclass(frozen=True)
class QuotingResult:
    """How a session ended."""

    state: Literal["finished", "stopped"]
    final_equity: float
    decisions: int
    fills: int
    runs: int
    sent: int
    """Messages."""
    held_back: int
    """Decisions whose messages were held back by the exchange's limits."""
    late: int
    """Rows that came later than the hold-back."""
    journal: Path
    digest: str
    """Hash over all that was seen, wished and filled."""
    repeated: int
    """Parts of the tape that were on record already, and were lived through again."""
    paid: int = 0
    """Paid in less paid out, 1e-8 of the quote currency."""


def run_quoter(
    market: BookMarket,
    quoter: Quoter,
    source: TapeSource,
    terms: QuotingTerms,
    folder: Path,
    *,
    limits: Limits | None = None,
    process: Plain | None = None,
    durable: bool = True,
    hidden: Mapping[str, str] | None = None,
    begun: Callable[[QuotingSession, Ledger, Operator], None] | None = None,
    account: Callable[[Ledger], PaperBook] | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> QuotingResult:
    """Quote on paper until the tape ends or is stopped; go on where the journal of the folder ends.

    Parameters
    ----------
    market, quoter
        What is traded, and who decides; the strategy has not been asked yet.
    source
        The tape.
    terms
        What the session is.
    folder
        ``journal.db`` is there, or is put there.
    limits
        Of the risk engine; none bind by default.
    process
        What to note about this process.
    durable, hidden
        As in `qframe_rl.live.paper.paper`.
    begun
        Called before the first part.
    account
        Makes the account, where it is on an exchange; None = on paper.
    note
        Told in one line of every failure of who looks on.

    Raises
    ------
    UserError
        If the journal is corrupt, is written by another process, was begun on other terms, if the tape is another one,
        or if what it records is not what the session arrives at now; if its own terms hold a text that must not be
        written.
    Unavailable
        If the journal cannot be written.
    """
    path, bounds = folder / NAME, checked_limits(limits or Limits())
    check_hidden(hidden or {}, terms, bounds)
    ready((market.instrument,))
    with contextlib.ExitStack() as stack:
        writer = Writer(path, durable=durable, secrets=tuple((hidden or {}).values()))
        ledger = Ledger(path, stack.enter_context(contextlib.closing(writer)))
        soft = Soft(note)
        operator = Operator(ledger, folder, bounds, soft)
        stack.enter_context(operator.hearing())
        book = None if account is None else account(ledger)
        session = QuotingSession(market, quoter, terms, ledger, source, operator, soft, book)
        if begun is not None:
            begun(session, ledger, operator)
        agree(ledger, terms)
        session.snapshot = snapshots = RunSnapshots(ledger, session)
        snapshots.resume(note)
        try:
            session.repeat()
            ledger.remark("process", {"says": "begins", **this_process(process)})
            if session.n_parts:
                soft.run("alerts", session.resumed, session.time)
            session.go_on()
        except BaseException:
            session.book.abandon()
            raise
        session.end()
        state: Literal["finished", "stopped"] = "stopped" if source.stopped.is_set() else "finished"
        ledger.remark("process", {"says": state, "pid": os.getpid()})
        ledger.commit(session.pulse())
        return _result(session, state, path)


def _result(session: QuotingSession, state: Literal["finished", "stopped"], path: Path) -> QuotingResult:
    book = session.book
    return QuotingResult(
        state, float(book.account.equity), session.n_decisions, session.n_fills, session.n_runs,
        int(book.walk.account[0, N_SENT]), book.held_back, book.late, path, session.digest, session.n_repeated,
        session.capital.units,
    )  # fmt: skip


@dataclass(frozen=True)
class QuotingReplay:
    """What running a record again came to."""

    events: int
    """Events that were found the same."""
    decisions: int
    fills: int
    final_equity: float
    digest: str


def replay_quoter(
    market: BookMarket, quoter: Quoter, source: TapeSource, terms: QuotingTerms, path: Path,
    account: Callable[[Ledger], PaperBook] | None = None,
) -> QuotingReplay:  # fmt: skip
    """Run a recorded session again; nothing is written.

    Parameters
    ----------
    market, quoter, source
        As the session had them; the strategy has not been asked yet.
    terms
        What the session was begun with.
    path
        The journal.
    account
        As in `run_quoter`.

    Raises
    ------
    UserError
        If the journal is corrupt, or the tape is another one.
    Differs
        At the first event that is not what the session arrives at now.
    """
    ledger = Ledger(path, None)
    book = None if account is None else account(ledger)
    session = QuotingSession(market, quoter, terms, ledger, source, book=book)
    session.snapshot = RunSnapshots(ledger, session)
    ledger.put("session", terms.plain())
    with contextlib.suppress(RecordEnds):
        session.repeat()
    equity = float(session.book.account.equity)
    return QuotingReplay(ledger.n_repeated, session.n_decisions, session.n_fills, equity, session.digest)
