"""Portfolios as rows: what each is, who is in it, its ledger, and the transfers between it and its members.

Every change is one transaction that reads what it needs inside it. What money did is in the ledger alone; balances are
sums of it. A transfer's id decides after any end of any process: its row is made once, its session obeys it once, and
its end is booked once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qframe_rl.amounts import money
from qframe_rl.config import UserError
from qframe_rl.portfolio.ledger import CapitalTransfer, PortfolioLedger, Posting
from qframe_rl.portfolio.limits import PortfolioLimits
from qframe_rl.portfolio.ramp import RampState, steps_of, steps_text
from qframe_rl.portfolio.shares import check_shares
from qframe_rl.portfolio.warden import Vigil
from qframe_rl.service.auth import check_name
from qframe_rl.service.booking import (
    HEAD,
    JOINED,
    MEMBER,
    NEW,
    PORTFOLIO,
    TRANSFER,
    WAITS,
    LedgerRow,
    MemberRow,
    PortfolioRow,
    PortfolioSpec,
    TransferRow,
    balances,
    begin,
    book,
    equity_of,
    flowed,
    in_kind,
    member_of,
    members_in,
    nothing,
    portfolio_of,
    transfer_of,
    units_in,
)  # fmt: skip
from qframe_rl.service.store import ServiceStore, Statements
from qframe_rl.times import timeframe_ns

CAPITAL = "capital"
"""Entry of what a portfolio begins with."""


class PortfolioChanges(NamedTuple):
    """What becomes of a portfolio."""

    spec: PortfolioSpec | None = None
    """What it is; None = as it is. Its currency stays."""
    members: Mapping[str, float | None] = {}
    """Sessions that come in, and shares by hand that change; None = the share as it is."""
    remove: Sequence[str] = ()
    """Members that go."""
    ramps: Mapping[str, str | None] = {}
    """Members that earn their capital in steps from the first one on, as `steps_of` reads them; None = all at once.
    The same steps again change nothing."""


class Portfolios:
    """The rows.

    Parameters
    ----------
    store
        Where they lie.
    """

    def __init__(self, store: ServiceStore):
        self.store = store

    def all(self) -> list[PortfolioRow]:
        """All portfolios, by id."""
        return [portfolio_of(row) for row in self.store.rows(f"SELECT {PORTFOLIO} FROM portfolios ORDER BY id")]

    def one(self, portfolio: str) -> PortfolioRow:
        """A portfolio; raises UserError if there is none."""
        rows = self.store.rows(f"SELECT {PORTFOLIO} FROM portfolios WHERE id = ?", (portfolio,))
        if not rows:
            raise UserError(f"there is no portfolio {portfolio[:64]!r}.")
        return portfolio_of(rows[0])

    def members(self, portfolio: str | None = None) -> list[MemberRow]:
        """Members of a portfolio, or of all of them, by name."""
        only, given = ("", ()) if portfolio is None else ("WHERE portfolio = ?", (portfolio,))
        rows = self.store.rows(f"SELECT {MEMBER} FROM members {only} ORDER BY member", given)
        return [member_of(row) for row in rows]

    def ledger(self, portfolio: str) -> PortfolioLedger:
        """Balances of a portfolio."""
        return PortfolioLedger(one.posting for one in self.entries(portfolio))

    def entries(self, portfolio: str, after: int = 0, n: int | None = None) -> list[LedgerRow]:
        """Postings of a portfolio after one, in their order."""
        limit, given = ("", ()) if n is None else ("LIMIT ?", (n,))
        rows = self.store.rows(
            "SELECT seq, time_ns, who, entry, kind, source, target, units FROM ledger WHERE portfolio = ? AND seq > ? "
            f"ORDER BY seq {limit}", (portfolio, after, *given),
        )  # fmt: skip
        return [LedgerRow(seq, time_ns, who, Posting(*rest)) for seq, time_ns, who, *rest in rows]

    def transfers(self, portfolio: str, before_ns: int = 0, n: int = 1000) -> list[TransferRow]:
        """Transfers of a portfolio, the newest first; those that were asked for before ``before_ns`` where given."""
        before = before_ns or 2**63 - 1
        rows = self.store.rows(
            f"SELECT {TRANSFER} FROM transfers WHERE portfolio = ? AND asked_ns < ? ORDER BY asked_ns DESC, id LIMIT ?",
            (portfolio, before, n),
        )
        return [transfer_of(row) for row in rows]

    def pending(self, portfolio: str) -> list[TransferRow]:
        """Transfers whose end no journal tells yet, the oldest first."""
        rows = self.store.rows(
            f"SELECT {TRANSFER} FROM transfers WHERE portfolio = ? AND state = 'PENDING' ORDER BY asked_ns, id",
            (portfolio,),
        )
        return [transfer_of(row) for row in rows]

    def limits_of(self, member: str) -> PortfolioLimits | None:
        """Limits of the portfolio that a session is a member of; None where it is of none."""
        rows = self.store.rows("SELECT portfolio FROM members WHERE member = ?", (member,))
        return self.one(rows[0][0]).spec.limits if rows else None

    def make(self, portfolio: str, spec: PortfolioSpec, capital: int = 0, who: str = "") -> PortfolioRow:
        """Make a portfolio with what its owners pay in, both or neither; the same again is the same.

        Parameters
        ----------
        portfolio, spec
            Its id, and what it is.
        capital
            Units of 1e-8 that it begins with.
        who
            Asks.

        Raises
        ------
        UserError
            If there is another one of this id or it began with another capital, the id is not 1 to 64 of ``0-9a-z_-``,
            or the capital is less than nothing.
        """
        check_name(portfolio)
        if capital < 0:
            raise UserError(f"a portfolio begins with nothing or more, not with {money(capital)}.")
        now = time.time_ns()
        due = now + timeframe_ns(spec.every) if spec.every else 0
        with self.store.writing() as database:
            database.execute(
                f"INSERT INTO portfolios ({PORTFOLIO}) VALUES (?, ?, 1, ?, ?, 0, ?, ?, '') ON CONFLICT DO NOTHING",
                (portfolio, spec.model_dump_json(), json.dumps(Vigil()._asdict()), now, due, "{}"),
            )
            ((made_ns,),) = database.execute("SELECT made_ns FROM portfolios WHERE id = ?", (portfolio,)).fetchall()
            if capital and made_ns == now:
                _contribute(database, portfolio, CAPITAL, capital, who)
            began = database.execute(
                "SELECT units FROM ledger WHERE portfolio = ? AND entry = ?", (portfolio, CAPITAL)
            ).fetchall()
        found, had = self.one(portfolio), began[0][0] if began else 0
        if found.spec != spec and found.made_ns != now:
            raise UserError(f"there is a portfolio {portfolio!r} already, and it is another one; take another id.")
        if had != capital:
            raise UserError(
                f"there is a portfolio {portfolio!r} already, which began with {money(had)} and not with "
                f"{money(capital)}; take another id, or pay in with a transfer."
            )
        return found

    def change(self, portfolio: str, changes: PortfolioChanges, who: str, revision: int | None = None) -> PortfolioRow:
        """Change what a portfolio is and who is in it: all of it or nothing.

        What a session owns that comes in is booked once its journal tells; one that goes takes what it owns, by its
        last value.

        Parameters
        ----------
        portfolio, changes
            Which, and what becomes of it.
        who
            Asks.
        revision
            That of the row as it was seen; None = whatever it is.

        Raises
        ------
        UserError
            If there is none, its currency would be another, a session is in another portfolio, shares by hand are more
            than the whole, or who is to go is no member or has a transfer under way.
        LookupError
            If it has changed since.
        """
        with self.store.writing() as database:
            self._revise(database, portfolio, revision)
            before = self.one(portfolio)
            if changes.spec is not None:
                _respecify(database, before, changes.spec)
            for member in changes.remove:
                _remove(database, portfolio, member, who)
            for member, share in changes.members.items():
                _add(database, portfolio, member, share)
            ramps = [one for one in changes.ramps.items() if _ramp(database, portfolio, *one)]
            spec = changes.spec or before.spec
            shares = {one.name: one.share for one in members_in(database, portfolio) if one.share is not None}
            if spec.method == "hand":
                check_shares(list(shares), shares)
        for member, steps in ramps:
            self.store.audit(who, "ramp", member, steps or "none")
        return self.one(portfolio)

    def contribute(self, portfolio: str, entry: str, units: int, who: str) -> None:
        """Pay in, or take out what is unallocated; each entry once.

        Parameters
        ----------
        portfolio
            Its id.
        entry
            Id of the movement: 1 to 64 of ``0-9a-z_-``.
        units
            1e-8 of the currency; negative = out.
        who
            Asks.

        Raises
        ------
        UserError
            If more is taken out than there is, or the entry was another.
        """
        self.one(portfolio)
        check_name(entry)
        with self.store.writing() as database:
            _contribute(database, portfolio, entry, units, who)

    def transfer(self, portfolio: str, one: CapitalTransfer, who: str) -> TransferRow:
        """Ask for a transfer, PENDING; the same id is the same transfer.

        Parameters
        ----------
        portfolio
            Its id.
        one
            The transfer.
        who
            Asks.

        Raises
        ------
        UserError
            If it is no member, if there is not as much unallocated, or the id is that of another transfer.
        """
        check_name(one.id)
        with self.store.writing() as database:
            begin(database, portfolio, one, who)
        ((*row,),) = self.store.rows(f"SELECT {TRANSFER} FROM transfers WHERE id = ?", (one.id,))
        return transfer_of(row)

    def waits(self, member: str) -> None:
        """Note that a member was looked at and had not begun: what it begins with is what it brings."""
        with self.store.writing() as database:
            database.execute("UPDATE members SET joined = ? WHERE member = ? AND joined = ?", (WAITS, member, NEW))

    def note(self, portfolio: str, **fields: Any) -> None:
        """Note any of looked_ns, due_ns, why, and plan (as JSON)."""
        columns = ", ".join(f"{column} = ?" for column in fields)
        with self.store.writing() as database:
            database.execute(f"UPDATE portfolios SET {columns} WHERE id = ?", (*fields.values(), portfolio))

    def sent(self, transfer: str) -> None:
        """Note that a transfer lies in its session's inbox."""
        with self.store.writing() as database:
            database.execute("UPDATE transfers SET sent_ns = ? WHERE id = ?", (time.time_ns(), transfer))

    def _revise(self, database: Statements, portfolio: str, revision: int | None) -> None:
        only, given = ("", ()) if revision is None else ("AND revision = ?", (revision,))
        done = database.execute(
            f"UPDATE portfolios SET revision = revision + 1 WHERE id = ? {only}", (portfolio, *given)
        ).rowcount
        if not done:
            rows = database.execute("SELECT revision FROM portfolios WHERE id = ?", (portfolio,)).fetchall()
            if not rows:
                raise UserError(f"there is no portfolio {portfolio[:64]!r}.")
            raise LookupError(f"{portfolio} is at revision {rows[0][0]} by now")


def _contribute(database: Statements, portfolio: str, entry: str, units: int, who: str) -> None:
    known = database.execute(
        "SELECT units, kind FROM ledger WHERE portfolio = ? AND entry = ?", (portfolio, entry)
    ).fetchall()
    if known:
        if known != [(abs(units), "contribution" if units > 0 else "withdrawal")]:
            raise UserError(f"{entry} is another movement of {portfolio}; give one of its own.")
        return
    before = equity_of(database, portfolio)
    book(database, portfolio, balances(database, portfolio).contribution(entry, units), who)
    flowed(database, portfolio, before)


def _respecify(database: Statements, before: PortfolioRow, spec: PortfolioSpec) -> None:
    if spec.currency != before.spec.currency:
        raise UserError(f"{before.id} is in {before.spec.currency}; a portfolio keeps its currency.")
    due = before.due_ns
    if spec.every != before.spec.every:
        due = time.time_ns() + timeframe_ns(spec.every) if spec.every else 0
    database.execute(
        "UPDATE portfolios SET spec = ?, due_ns = ? WHERE id = ?", (spec.model_dump_json(), due, before.id)
    )


def _add(database: Statements, portfolio: str, member: str, share: float | None) -> None:
    database.execute(
        f"INSERT INTO members ({MEMBER}) VALUES (?, ?, ?, 0, 0, ?, '[]', ?) ON CONFLICT DO NOTHING",
        (member, portfolio, share, HEAD, json.dumps(nothing(member)._asdict())),
    )
    ((there,),) = database.execute("SELECT portfolio FROM members WHERE member = ?", (member,)).fetchall()
    if there != portfolio:
        raise UserError(f"{member} is a member of {there}; a session is in one portfolio.")
    if share is not None:
        database.execute("UPDATE members SET share = ? WHERE member = ?", (share, member))
        database.execute("UPDATE ramps SET tried_ns = 0 WHERE member = ?", (member,))


def _ramp(database: Statements, portfolio: str, member: str, steps: str | None) -> bool:
    """Whether that changed anything."""
    if member not in {one.name for one in members_in(database, portfolio)}:
        raise UserError(f"{member[:64]} is no member of {portfolio}.")
    text = None if steps is None else steps_text(steps_of(steps))
    known = database.execute("SELECT steps FROM ramps WHERE member = ?", (member,)).fetchall()
    if text is not None and known and known[0][0] == text:
        return False
    database.execute("DELETE FROM ramps WHERE member = ?", (member,))
    if text is not None:
        database.execute(
            "INSERT INTO ramps (member, steps, state, moving, tried_ns, why) VALUES (?, ?, ?, 1, 0, '')",
            (member, text, json.dumps(RampState()._asdict())),
        )
    return text is not None or bool(known)


def _remove(database: Statements, portfolio: str, member: str, who: str) -> None:
    found = [one for one in members_in(database, portfolio) if one.name == member]
    if not found:
        raise UserError(f"{member[:64]} is no member of {portfolio}.")
    open_now = database.execute("SELECT id FROM transfers WHERE member = ? AND state = 'PENDING'", (member,)).fetchall()
    if open_now:
        raise UserError(f"transfer {open_now[0][0]} of {member} is under way; its session decides on it when it runs.")
    before = equity_of(database, portfolio)
    database.execute("DELETE FROM members WHERE member = ?", (member,))
    database.execute("DELETE FROM ramps WHERE member = ?", (member,))
    if found[0].joined == JOINED:
        entry = f"{member}-{time.time_ns()}"
        book(database, portfolio, in_kind(entry, member, -units_in(found[0].value)), who)
        flowed(database, portfolio, before)
