"""What members' journals say: their figures, and which transfers they obeyed, each event taken once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.config import Unavailable, UserError
from qframe_rl.instruments import instrument_of
from qframe_rl.journal.lock import corrupt, read_head
from qframe_rl.journal.peek import Peek
from qframe_rl.journal.shapes import parsed
from qframe_rl.journal.store import JournalEvent, read
from qframe_rl.portfolio.ledger import CapitalTransfer, TransferState
from qframe_rl.portfolio.valuation import MemberValue
from qframe_rl.service.booking import (
    JOINED,
    NEW,
    WAITS,
    MemberRow,
    book,
    end,
    equity_of,
    flowed,
    in_kind,
    keep_value,
    members_in,
    units_in,
)
from qframe_rl.service.desired import Desired, SupervisedSession
from qframe_rl.service.portfolios import Portfolios
from qframe_rl.service.store import ServiceStore
from qframe_rl.types import HOUR

EVENTS = 5000
"""Events that are taken at once, at most."""
LARGEST = 5e10
"""Of a member's equity, quote currency: its units are whole numbers of 64 bits."""
_KINDS = frozenset({"session", "started", "settled", "transferred", "state"})


class MemberFlow(NamedTuple):
    """A transfer that a session decided on."""

    seq: int
    transfer: CapitalTransfer
    before: MemberValue
    after: MemberValue


class MemberWalk(NamedTuple):
    """What some events of a journal came to."""

    seq: int
    """The last of them; 0 = there is none."""
    hash: str
    pairs: tuple[str, ...]
    first: MemberValue | None
    """The first figures among them; None where there are none."""
    value: MemberValue
    flows: tuple[MemberFlow, ...]


def walked(member: MemberRow, journal: Path, currency: str) -> MemberWalk:
    """Read on where the last look ended.

    Parameters
    ----------
    member
        The row, with the last event that was read.
    journal
        Of the session.
    currency
        That its instruments must be priced in.

    Raises
    ------
    UserError
        If the journal is corrupt, is another one than had been read, or is in another currency.
    """
    last = read_head(journal)
    with Peek(journal) as peek:
        ((head,),) = peek.rows("SELECT coalesce(max(seq), 0) FROM events")
        if head < max(member.seq, 0 if last is None else last.seq):
            raise corrupt(journal, f"it ends at event {head}, but more had been written")
        if member.seq and peek.rows("SELECT hash FROM events WHERE seq = ?", (member.seq,)) != [
            (bytes.fromhex(member.hash),)
        ]:
            raise corrupt(journal, f"its event {member.seq} is not the one that had been read: an old copy")
        walk = _Walk(member, currency)
        # Who comes brings what it owns now, so all that led to it is read at once.
        last_seq = head if member.joined == NEW else min(head, member.seq + EVENTS)
        for event in read(journal, member.seq):
            walk.take(journal, event)
            if event.seq >= last_seq:
                break
        if walk.seq == member.seq:
            return walk.told(member.hash)
        ((digest,),) = peek.rows("SELECT hash FROM events WHERE seq = ?", (walk.seq,))
    return walk.told(bytes(digest).hex())


class _Walk:
    """The figures of one member, moved on by events."""

    def __init__(self, member: MemberRow, currency: str):
        self.seq, self.pairs, self.value = member.seq, member.pairs, member.value
        self.first: MemberValue | None = None
        self._name, self._currency = member.name, currency
        self._flows: list[MemberFlow] = []

    def told(self, digest: str) -> MemberWalk:
        return MemberWalk(self.seq, digest, self.pairs, self.first, self.value, tuple(self._flows))

    def take(self, journal: Path, event: JournalEvent) -> None:
        self.seq = event.seq
        if event.kind not in _KINDS:
            return
        plain = parsed(journal, event.seq, event.kind, event.payload)
        try:
            getattr(self, f"_{event.kind}")(plain)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise corrupt(journal, f"event {event.seq}, a {event.kind}, is not what a session writes") from None

    def _session(self, plain: dict[str, Any]) -> None:
        instruments = [instrument_of(one, "its terms") for one in plain["instruments"]]
        self.pairs = tuple(one.pair for one in instruments)
        for one in instruments:
            if one.quote and one.quote != self._currency:
                raise UserError(f"{self._name} trades in {one.quote}, and its portfolio is in {self._currency}.")

    def _started(self, plain: dict[str, Any]) -> None:
        self._stands(plain, "ACTIVE")

    def _settled(self, plain: dict[str, Any]) -> None:
        self._stands(plain, self.value.state or "ACTIVE")

    def _state(self, plain: dict[str, Any]) -> None:
        self.value = self.value._replace(state=str(plain["state"]))

    def _transferred(self, plain: dict[str, Any]) -> None:
        state = TransferState(plain["state"])
        one = CapitalTransfer(str(plain["id"]), self._name, int(plain["units"]), state, str(plain.get("why", "")))
        before = self.value
        self._stands(plain, before.state)
        self._flows.append(MemberFlow(self.seq, one, before, self.value))

    def _stands(self, plain: dict[str, Any], state: str) -> None:
        account = plain["account"]
        net: dict[str, float] = {}
        gross = 0.0
        for pair, held, mark in zip(self.pairs, account["position"], account["mark"], strict=True):
            worth = float(held) * float(mark) if held else 0.0
            gross += abs(worth)
            net[pair] = net.get(pair, 0.0) + worth
        equity = float(account["equity"])
        if not abs(equity) < LARGEST:
            raise UserError(
                f"{self._name} has {equity:,.0f} {self._currency}, and a portfolio counts less than {LARGEST:,.0f}; "
                "let it go from there."
            )
        self.value = MemberValue(self._name, equity, net, gross, int(plain["time"]), state)
        self.first = self.first or self.value


def is_of(journal: Path, member: MemberRow) -> bool:
    """Whether a journal is the one that a member's figures are from, by the last event that was read of it.

    Other folders may have a member's name; of a member that nobody has looked at, nothing is known.
    """
    try:
        with Peek(journal) as peek:
            found = peek.rows("SELECT hash FROM events WHERE seq = ?", (member.seq,))
    except (UserError, Unavailable):
        return False
    return bool(member.seq) and found == [(bytes.fromhex(member.hash),)]


def bar_of(journal: Path) -> int:
    """Length of a session's bars, ns; an hour where its journal does not tell."""
    try:
        with Peek(journal) as peek:
            ((payload,),) = peek.rows("SELECT payload FROM events WHERE seq = 1")
        return int(parsed(journal, 1, "session", payload)["bar_ns"])
    except (UserError, Unavailable, LookupError, TypeError, ValueError):
        return HOUR


def apply(store: ServiceStore, member: MemberRow, walk: MemberWalk) -> None:
    """Move a member's row on and book what its journal decided, in one transaction; each event counts once.

    Parameters
    ----------
    store
        Of the rows.
    member
        The row as it was when the walk began.
    walk
        What came.
    """
    with store.writing() as database:
        rows = [one for one in members_in(database, member.portfolio) if one.name == member.name]
        if not rows or (rows[0].seq, rows[0].hash) != (member.seq, member.hash):
            return
        joined, flows = member.joined, walk.flows
        came = walk.first if joined == WAITS else walk.value if joined == NEW and walk.value.state else None
        if came is not None:
            # What there is when it comes is what it brings: what was before, also transfers, is in that.
            flows = tuple(flow for flow in flows if joined == WAITS)
            before = equity_of(database, member.portfolio)
            keep_value(database, member.name, came)
            database.execute("UPDATE members SET joined = ? WHERE member = ?", (JOINED, member.name))
            # One that went may come again before its journal goes on: each time is a movement of its own.
            _book_in_kind(database, member, walk, f"joins at {walk.seq}, {time.time_ns()}", units_in(came), before)
            joined = JOINED
        elif joined != JOINED:
            joined = WAITS
        for flow in flows if joined == JOINED else ():
            _flow(database, member, walk, flow)
        keep_value(database, member.name, walk.value)
        database.execute(
            "UPDATE members SET joined = ?, seq = ?, hash = ?, pairs = ? WHERE member = ?",
            (joined, walk.seq, walk.hash, json.dumps(list(walk.pairs)), member.name),
        )


def _flow(database: Any, member: MemberRow, walk: MemberWalk, flow: MemberFlow) -> None:
    """Book the end of a transfer; one that the portfolio did not ask for is money from outside."""
    keep_value(database, member.name, flow.before)
    if not end(database, member.portfolio, flow.transfer) and flow.transfer.state is TransferState.SETTLED:
        before = equity_of(database, member.portfolio)
        keep_value(database, member.name, flow.after)
        _book_in_kind(database, member, walk, f"event {flow.seq}", flow.transfer.units, before)
    keep_value(database, member.name, flow.after)


def _book_in_kind(
    database: Any, member: MemberRow, walk: MemberWalk, what: str, units: int, before: float
) -> None:  # fmt: skip
    if units:
        entry = f"{member.name} {what} {walk.hash[:8]}"
        book(database, member.portfolio, in_kind(entry, member.name, units), "journal")
        flowed(database, member.portfolio, before)


def check_newcomers(portfolios: Portfolios, portfolio: str, names: Iterable[str]) -> None:
    """Refuse sessions that may not come into a portfolio.

    Parameters
    ----------
    portfolios, portfolio
        The rows, and which of them.
    names
        Of sessions that are to come.

    Raises
    ------
    UserError
        If no session of a name is supervised, if one is in another currency, or if two members would have the same
        exchange account: that account's money would count twice.
    """
    desired, currency = Desired(portfolios.store), portfolios.one(portfolio).spec.currency
    sessions = {one.name: one for one in desired.all()}
    members = {one.name: one.portfolio for one in portfolios.members()}
    for name in names:
        session = desired.one(name)
        for symbol in (session.spec.symbols or "").split(","):
            quote = symbol.partition(":")[0].partition("/")[2].partition("#")[0]
            if quote and quote != currency:
                raise UserError(f"{name} trades {symbol}, and {portfolio} is in {currency}.")
        for other, where in members.items():
            if other != name and _one_account(session, sessions.get(other)):
                raise UserError(
                    f"{name} and {other}, a member of {where}, trade one exchange account, whose money would count "
                    "twice: give each a sub-account of its own (account=NAME)."
                )
        members[name] = portfolio


def _one_account(one: SupervisedSession, other: SupervisedSession | None) -> bool:
    if other is None or "paper" in (one.spec.orders, other.spec.orders):
        return False
    own, its = ((s.spec.exchange, s.spec.account, s.spec.url) for s in (one, other))
    return own == its
