"""Live sessions: a checkpoint on a feed that delivers bars as time passes, written down so that nothing is lost."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qframe_rl.agent import Agent, View
from qframe_rl.feeds.exchange import Stopped
from qframe_rl.gym.market import Market
from qframe_rl.journal.codec import Plain
from qframe_rl.journal.ledger import Differs, Ledger, RecordEnds
from qframe_rl.journal.shapes import parsed
from qframe_rl.journal.snapshot import Snapshot
from qframe_rl.journal.store import NAME, Writer, last_events
from qframe_rl.kernel.dust import Dust, dust
from qframe_rl.listeners import Listener, Soft
from qframe_rl.live.books import BookSource
from qframe_rl.live.operator import Operator
from qframe_rl.live.recorded import Live, Recording
from qframe_rl.live.refits import hand_over
from qframe_rl.live.router import OrderRouter
from qframe_rl.live.snapshots import SNAPSHOT_BARS, SnapshotManager
from qframe_rl.live.spec import SessionSpec, agree, check_hidden, run_id, this_process
from qframe_rl.live.told import RouterListener
from qframe_rl.risk.engine import RiskEngine, ready
from qframe_rl.risk.limits import Limits
from qframe_rl.session import Session, Unready, run
from qframe_rl.venues.book import TwinVenue
from qframe_rl.venues.ccxt import ExchangeVenue
from qframe_rl.venues.order_sender import OrderSender
from qframe_rl.venues.simulated import SimulatedVenue
from qframe_rl.venues.venue import Venue
from qframe_rl.versions import code_fingerprint

_LAST = 2**62
"""After every event."""


@dataclass(frozen=True)
class SessionResult:
    """How a live session ended."""

    state: Literal["finished", "stopped", "liquidated"]
    final_equity: float
    bars: int
    """Bars settled."""
    journal: Path
    digest: str
    """Hash over every bar, order, fill and account; that of a backtest on the same bars."""
    repeated: int
    """Of the bars settled, those that were on record already when this process began."""
    drift_bps: float | None
    """How much more real books cost than the rule for bars, mean by notional; None where nothing filled by both."""
    drift_fills: int
    """Fills by both."""
    awaited: int = 0
    """Bars that were still lacking before the first decision when it was stopped."""
    dust: tuple[Dust, ...] = ()
    """What is held and no order can sell."""
    paid: int = 0
    """Paid in less paid out since the first decision, 1e-8 of the quote currency; no part of what was earned."""
    risk_state: str = "ACTIVE"
    """Of the risk engine: what the session may do when it goes on."""


def simulated(market: Market, terms: SessionSpec) -> Venue:
    """Make the venue of a paper session: the kernel, with order books beside it where they are recorded."""
    if not terms.quoted:
        return SimulatedVenue(market.rules, market.cash)
    return TwinVenue(market.rules, market.cash, by_book=terms.fills == "book")


def recorded(ledger: Ledger, terms: SessionSpec) -> Venue:
    """Make the venue of a replay of real orders: all that the exchange said is in the record."""
    sender = OrderSender(None, ledger, run_id(ledger))
    return ExchangeVenue(None, sender, ledger, terms.instruments, terms.bar_ns, lambda: 0)


def paper(
    market: Market,
    agent: Agent,
    feed: Live,
    terms: SessionSpec,
    folder: Path,
    *,
    limits: Limits | None = None,
    quotes: BookSource | None = None,
    listeners: Sequence[Listener] = (),
    told: Sequence[RouterListener] = (),
    process: Plain | None = None,
    durable: bool = True,
    hidden: Mapping[str, str] | None = None,
    begun: Callable[[OrderRouter, Ledger, Operator], None] | None = None,
    venue: Callable[[Ledger], Venue] | None = None,
    snapshot_bars: int = SNAPSHOT_BARS,
    note: Callable[[str], None] = lambda text: None,
) -> SessionResult:
    """Trade until the feed ends, is stopped, or the account is gone; go on where the journal of the folder ends.

    Parameters
    ----------
    market, agent
        As `qframe_rl.deploy.deployed` made them.
    feed
        Where bars come from; setting its ``stopped`` ends the session after the bar under way.
    terms
        What the session is.
    folder
        ``journal.db`` is there, or is put there.
    limits
        Of the risk engine; none bind by default.
    quotes
        Order books, where the terms ask for them.
    listeners, told
        Told of each bar; told of each decision and change of state.
    process
        What to note about this process.
    durable
        As in `qframe_rl.journal.store.Writer`.
    hidden
        Texts that must never be written, by where they come from, as `secrets_of` finds them.
    begun
        Called with the router, the ledger and the operator before the first bar.
    venue
        Makes the venue; None = `simulated`.
    snapshot_bars
        Bars between two snapshots; a session resumes from the last one.
    note
        Told in one line where it cannot, and of every failure of who looks on.

    Raises
    ------
    UserError
        If the journal is corrupt, is written by another process, was begun on other terms, or if what it records is not
        what the session arrives at now; if its own terms hold a text that must not be written.
    Unavailable
        If the journal cannot be written.
    """
    path = folder / NAME
    ready(market.instruments)
    hidden, soft = hidden or {}, Soft(note)
    check_hidden(hidden, terms, limits or Limits())
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(contextlib.closing(Writer(path, durable=durable, secrets=tuple(hidden.values()))))
        ledger = Ledger(path, writer)
        operator = Operator(ledger, folder, limits or Limits(), soft)
        stack.enter_context(operator.hearing())
        router = OrderRouter(
            venue(ledger) if venue else simulated(market, terms), RiskEngine(Limits(), market.instruments), ledger,
            market.instruments, operator, quotes, terms.quoted, listeners, soft, terms.universe,
        )  # fmt: skip
        router.told.extend(told)
        if begun is not None:
            begun(router, ledger, operator)
        agree(ledger, terms)
        router.stopping, router.rules = feed.stopped.is_set, feed.rules
        recording = Recording(ledger, feed, market.instruments, terms.columns, terms.bar_ns)
        about = this_process(process)
        before: list[int] = []

        def goes_on() -> None:
            before.append(router.n_bars)
            if _codes(path)[-1:] not in ([], [about["code"]]):
                note(f"{path}: other code wrote it last; what that did was run again, and came out the same.")
            ledger.remark("process", {"says": "begins", **about})
            if router.n_bars:
                soft.run("alerts", router.resumed, router.pulse()["time"])

        recording.began = goes_on
        manager = SnapshotManager(ledger, router, recording, agent, snapshot_bars)
        view, awaited = _walked(router, recording, agent, terms.window, manager, manager.found(note), feed)
        return _ended(router, before[0] if before else router.n_bars, ledger, feed, view, awaited)


def _walked(
    router: OrderRouter,
    recording: Recording,
    agent: Agent,
    window: int,
    manager: SnapshotManager,
    kept: Snapshot | None,
    feed: Live,
) -> tuple[View | None, int]:
    """Let the agent trade to the end: the last view, or None and the bars that lacked when it was stopped before."""
    try:
        return walk(router, recording, agent, window, manager, kept), 0
    except Unready as error:
        if not feed.stopped.is_set():
            raise
        return None, error.needed - error.n_bars
    except Stopped:
        return router.left(), 0
    except Differs as error:
        raise _by_other_code(error, manager.path) from None


def _codes(path: Path) -> list[str]:
    """Fingerprints of the code of all processes that wrote a journal, in their order."""
    begun = (parsed(path, e.seq, e.kind, e.payload) for e in last_events(path, "process", _LAST, _LAST))
    return [said["code"] for said in begun if "code" in said]


def _by_other_code(error: Differs, path: Path) -> Differs:
    """Say what to do where part of the record was made by other code than runs now."""
    if set(_codes(path)) <= {code_fingerprint()}:
        return error
    return Differs(
        f"{error} Part of the record was made by other code, whose rules may have been others: end the session with "
        "that version (control flatten, then stop it), and begin anew with another --out; see docs/upgrade.md."
    )


def _ended(
    router: OrderRouter, repeated: int, ledger: Ledger, feed: Live, view: View | None, awaited: int
) -> SessionResult:
    """Put the end on record, and say how it was."""
    state: Literal["finished", "stopped", "liquidated"] = "finished"
    if view is not None and view.terminated:
        state = "liquidated"
    elif feed.stopped.is_set():
        state = "stopped"
    if ledger.writing:
        ledger.remark("process", {"says": state, "pid": os.getpid(), "bar": None if view is None else view.time})
    ledger.commit(None if view is None else router.pulse())
    return SessionResult(
        state, float(router.account.equity), router.n_bars, ledger.path, str(router.digest), repeated,
        router.drift.mean_bps, router.drift.n_fills, awaited,
        dust(feed.instruments, router.account.position, router.account.mark), router.capital.units,
        router.engine.state,
    )  # fmt: skip


def walk(
    router: OrderRouter,
    recording: Recording,
    agent: Agent,
    window: int,
    manager: SnapshotManager,
    kept: Snapshot | None = None,
) -> View:
    """Let ``agent`` trade at a router until the bars or the account end.

    Parameters
    ----------
    router
        Where its orders go.
    recording
        The bars, and what is said to the session between them.
    agent
        Who decides.
    window
        Bars shown at each decision.
    manager
        Keeps what the session is resumed from.
    kept
        What an earlier process left; None = the session begins with its first bar.

    Returns
    -------
    View
        The last one.
    """
    hand_over(agent, router)
    recording.heed, recording.listen = router.heed, router.listen
    router.conditions = recording.conditions
    router.snapshot = manager
    session = Session(recording, router, window, router)
    view = run(session, agent, None if kept is None else manager.resume(session, kept, window))
    router.heed()  # what lies in the inbox of an account that is gone is answered, too
    return view


@dataclass(frozen=True)
class Replay:
    """What running a record again came to."""

    events: int
    """Events that were found the same."""
    bars: int
    final_equity: float
    digest: str
    drift_bps: float | None
    """As in `SessionResult`."""
    drift_fills: int
    foreign: int
    """Snapshots that other code or libraries made, whose content could not be compared."""


def replay(market: Market, agent: Agent, terms: SessionSpec, path: Path) -> Replay:
    """Run a recorded session again, through the same router, kernel and agent; nothing is written.

    Parameters
    ----------
    market, agent
        As the session had them; the agent has not decided yet.
    terms
        What the session was begun with, from its journal.
    path
        The journal.

    Raises
    ------
    UserError
        If the journal is corrupt.
    Differs
        At the first event that is not what the session arrives at now.
    """
    ledger = Ledger(path, None)
    router = OrderRouter(
        recorded(ledger, terms) if terms.orders != "paper" else simulated(market, terms),
        RiskEngine(Limits(), market.instruments), ledger, market.instruments,
        quoted=terms.quoted, universe=terms.universe,
    )  # fmt: skip
    ledger.put("session", terms.plain())
    recording = Recording(ledger, None, market.instruments, terms.columns, terms.bar_ns)
    # A record may end between a bar and its decision: the rest of that bar was never acted upon.
    try:
        with contextlib.suppress(RecordEnds):
            walk(router, recording, agent, terms.window, SnapshotManager(ledger, router, recording, agent))
    except Differs as error:
        raise _by_other_code(error, path) from None
    equity, drift = float(router.account.equity), router.drift
    return Replay(
        ledger.n_repeated, router.n_bars, equity, str(router.digest), drift.mean_bps, drift.n_fills, ledger.n_foreign
    )
