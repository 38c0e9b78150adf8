"""Rows of portfolios, and what one transaction does to them: booking, valuing, asking for transfers and ending them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from qframe_rl.amounts import units_of
from qframe_rl.config import Base, UserError
from qframe_rl.portfolio.ledger import CapitalTransfer, PortfolioLedger, Posting, TransferState
from qframe_rl.portfolio.limits import PortfolioLimits
from qframe_rl.portfolio.shares import Method
from qframe_rl.portfolio.valuation import MemberValue, equity
from qframe_rl.portfolio.warden import Vigil, paid_in
from qframe_rl.service.store import Statements

PORTFOLIO = "id, spec, revision, vigil, made_ns, looked_ns, due_ns, plan, why"
MEMBER = "member, portfolio, share, joined, seq, hash, pairs, value"
TRANSFER = "id, member, units, state, why, portfolio, who, asked_ns, sent_ns, ended_ns"
_POSTINGS = "SELECT entry, kind, source, target, units FROM ledger WHERE portfolio = ? ORDER BY seq"
NEW, JOINED, WAITS = range(3)
HEAD = "0" * 64
"""Hash of a journal of which nothing was read."""


class PortfolioSpec(Base):
    """What a portfolio is."""

    currency: Annotated[str, Field(pattern=r"^[0-9A-Z]{2,12}$")] = "USDT"
    """The quote currency of every member."""
    limits: PortfolioLimits = PortfolioLimits()
    method: Method = "hand"
    """How capital is divided: by hand (members' shares), equal, inverse_volatility, risk_parity, hrp."""
    every: Annotated[str | None, Field(pattern=r"^[1-9][0-9]{0,3}[mhdw]$")] = None
    """Time between two rebalances, such as 7d; None = when it is asked for alone."""
    band: float = Field(default=0.02, ge=0.0, le=0.5)
    """A member is moved where its share of the portfolio is off by more than this."""


class PortfolioRow(NamedTuple):
    """A portfolio."""

    id: str
    spec: PortfolioSpec
    revision: int
    """Rises with every change of what it is or who is in it."""
    vigil: Vigil
    made_ns: int
    looked_ns: int
    """When its members' journals were last looked at, ns UTC; 0 = never."""
    due_ns: int
    """When it is rebalanced next, ns UTC; 0 = not."""
    plan: dict[str, Any]
    """Of the rebalance under way; empty if none is."""
    why: str
    """Why it was not rebalanced when it was due; empty if nothing is wrong."""


class MemberRow(NamedTuple):
    """A session that is a member of a portfolio."""

    name: str
    portfolio: str
    share: float | None
    """By hand."""
    joined: int
    """0 = nobody looked yet; 2 = looked, and it had not begun; 1 = what it brought in is booked."""
    seq: int
    """Last event of its journal that is in these rows."""
    hash: str
    """Of that event."""
    pairs: tuple[str, ...]
    """Of its instruments."""
    value: MemberValue


class LedgerRow(NamedTuple):
    """A posting as it was booked."""

    seq: int
    time_ns: int
    who: str
    posting: Posting


class TransferRow(NamedTuple):
    """A transfer."""

    transfer: CapitalTransfer
    portfolio: str
    who: str
    asked_ns: int
    sent_ns: int
    """When it was last put into the session's inbox; 0 = not yet."""
    ended_ns: int | None


def portfolio_of(row: Sequence[Any]) -> PortfolioRow:
    """A row of `PORTFOLIO`."""
    name, spec, revision, vigil, made, looked, due, plan, why = row
    return PortfolioRow(
        name,
        PortfolioSpec.model_validate_json(spec),
        revision,
        vigil_of(vigil),
        made,
        looked,
        due,
        json.loads(plan),
        why,
    )


def vigil_of(text: str) -> Vigil:
    """What a warden remembers, as it was kept."""
    plain = json.loads(text)
    return Vigil(**plain | {"why": tuple(plain["why"])})


def member_of(row: Sequence[Any]) -> MemberRow:
    """A row of `MEMBER`."""
    name, portfolio, share, joined, seq, digest, pairs, value = row
    return MemberRow(
        name, portfolio, share, joined, seq, digest, tuple(json.loads(pairs)), MemberValue(**json.loads(value))
    )


def transfer_of(row: Sequence[Any]) -> TransferRow:
    """A row of `TRANSFER`."""
    name, member, units, state, why, portfolio, who, asked, sent, ended = row
    one = CapitalTransfer(name, member, units, TransferState(state), why)
    return TransferRow(one, portfolio, who, asked, sent, ended)


def nothing(member: str) -> MemberValue:
    """A member whose journal says nothing yet."""
    return MemberValue(member, 0.0, {}, 0.0, 0, "", "not begun")


def members_in(database: Statements, portfolio: str) -> list[MemberRow]:
    """Members of a portfolio, by name."""
    rows = database.execute(f"SELECT {MEMBER} FROM members WHERE portfolio = ? ORDER BY member", (portfolio,))
    return [member_of(row) for row in rows.fetchall()]


def balances(database: Statements, portfolio: str) -> PortfolioLedger:
    """Balances of a portfolio."""
    return PortfolioLedger(Posting(*row) for row in database.execute(_POSTINGS, (portfolio,)).fetchall())


def equity_of(database: Statements, portfolio: str) -> float:
    """What a portfolio is worth, by its ledger and the last values of its members that are booked."""
    ledger = balances(database, portfolio)
    values = [one.value for one in members_in(database, portfolio) if one.joined == JOINED]
    return equity(ledger.unallocated, ledger.in_transit, values)


def vigil_in(database: Statements, portfolio: str) -> Vigil:
    """What the warden remembers."""
    ((text,),) = database.execute("SELECT vigil FROM portfolios WHERE id = ?", (portfolio,)).fetchall()
    return vigil_of(text)


def keep_vigil(database: Statements, portfolio: str, vigil: Vigil) -> None:
    """Keep what the warden remembers."""
    database.execute("UPDATE portfolios SET vigil = ? WHERE id = ?", (json.dumps(vigil._asdict()), portfolio))


def flowed(database: Statements, portfolio: str, before: float) -> None:
    """Money came in or went out since the portfolio was worth ``before``: that is no profit and no loss."""
    vigil = vigil_in(database, portfolio)
    keep_vigil(database, portfolio, paid_in(vigil, before, equity_of(database, portfolio)))


def book(database: Statements, portfolio: str, postings: Sequence[Posting], who: str) -> None:
    """Append postings to a ledger; that of an entry and kind which is there already is an error of the database."""
    ((last,),) = database.execute(
        "SELECT coalesce(max(seq), 0) FROM ledger WHERE portfolio = ?", (portfolio,)
    ).fetchall()
    now = time.time_ns()
    for seq, one in enumerate(postings, start=last + 1):
        database.execute(
            "INSERT INTO ledger (portfolio, seq, entry, kind, source, target, units, time_ns, who) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (portfolio, seq, *one, now, who[:64]),
        )  # fmt: skip


def in_kind(entry: str, member: str, units: int) -> list[Posting]:
    """What follows where a member comes with what it owns, or goes with it where negative."""
    ledger = PortfolioLedger()
    return ledger.joins(entry, member, units) if units > 0 else ledger.leaves(entry, member, -units)


def begin(database: Statements, portfolio: str, one: CapitalTransfer, who: str) -> None:
    """Ask for a transfer, once; raises UserError as `qframe_rl.service.portfolios.Portfolios.transfer` does."""
    known = database.execute("SELECT portfolio, member, units FROM transfers WHERE id = ?", (one.id,)).fetchall()
    if known:
        if tuple(known[0]) != (portfolio, one.member, one.units):
            raise UserError(f"transfer {one.id} is another one already; give an id of its own.")
        return
    if one.member not in {member.name for member in members_in(database, portfolio)}:
        raise UserError(f"{one.member[:64]} is no member of {portfolio}.")
    book(database, portfolio, balances(database, portfolio).begins(one), who)
    database.execute(
        "INSERT INTO transfers (id, portfolio, member, units, state, why, who, asked_ns, sent_ns) "
        "VALUES (?, ?, ?, ?, 'PENDING', '', ?, ?, 0)",
        (one.id, portfolio, one.member, one.units, who[:64], time.time_ns()),
    )


def end(database: Statements, portfolio: str, told: CapitalTransfer) -> bool:
    """Book the end of a transfer that a journal tells, once; whether it is one of this portfolio."""
    known = database.execute(
        "SELECT state FROM transfers WHERE id = ? AND portfolio = ? AND member = ? AND units = ?",
        (told.id, portfolio, told.member, told.units),
    ).fetchall()
    if known and known[0][0] == "PENDING":
        database.execute(
            "UPDATE transfers SET state = ?, why = ?, ended_ns = ? WHERE id = ?",
            (str(told.state), told.why[:500], time.time_ns(), told.id),
        )
        book(database, portfolio, balances(database, portfolio).ends(told), "journal")
    return bool(known)


def keep_value(database: Statements, member: str, value: MemberValue) -> None:
    """Keep how a member stands."""
    plain = json.dumps(value._asdict() | {"positions": dict(value.positions)})
    database.execute("UPDATE members SET value = ? WHERE member = ?", (plain, member))


def units_in(value: MemberValue) -> int:
    """What a member owns, in units."""
    return units_of(value.equity)
