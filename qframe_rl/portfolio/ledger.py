"""The ledger of a portfolio: double entry, in integer units of 1e-8 of its currency.

Money is in one of four kinds of accounts: what was contributed (the counterpart of all the others), what is
unallocated, what is in transit to a member, and what each member was given. Every posting takes from one account what
it brings to another, so after any number of postings, in any order, to the unit:

    contributions = unallocated + in transit + settled transfers of all members

The ledger knows no profit: what members made of their money is in their journals.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from qframe_rl.amounts import MOST, money
from qframe_rl.config import UserError

CONTRIBUTED = "contributed"
UNALLOCATED = "unallocated"
TRANSIT = "transit"
MEMBER = "member:"
"""Before a member's name: the account of what it was given, less what it gave back."""


class TransferState(StrEnum):
    """How far a transfer is; PENDING becomes SETTLED or REFUSED, once."""

    PENDING = "PENDING"
    SETTLED = "SETTLED"
    REFUSED = "REFUSED"


class CapitalTransfer(NamedTuple):
    """Money on its way to a member of a portfolio, or from it."""

    id: str
    """1 to 64 of ``0-9a-z_-``; it decides after any kill."""
    member: str
    units: int
    """1e-8 of the currency; negative = from the member."""
    state: TransferState = TransferState.PENDING
    why: str = ""
    """Why it was refused."""


class Posting(NamedTuple):
    """Units that go from one account to another."""

    entry: str
    """What they belong to: the id of a transfer, a contribution, or of a member that comes or goes."""
    kind: str
    """contribution, withdrawal, joins, leaves, sent, settled, returned."""
    source: str
    target: str
    units: int
    """More than 0."""


class PortfolioLedger:
    """Balances after a number of postings; each rule says which postings follow, and changes nothing by itself.

    Parameters
    ----------
    postings
        All so far.

    Raises
    ------
    ValueError
        For one that is no posting, or leaves less than nothing where nothing may be owed.
    """

    def __init__(self, postings: Iterable[Posting] = ()):
        self._balance: dict[str, int] = {}
        self._settled: dict[str, str] = {}
        for one in postings:
            self.post(one)

    def post(self, posting: Posting) -> None:
        """Take a posting over."""
        if not posting.units > 0 or posting.source == posting.target:
            raise ValueError(f"{posting} moves nothing")
        for name, change in ((posting.source, -posting.units), (posting.target, posting.units)):
            self._balance[name] = self._balance.get(name, 0) + change
        if min(self.unallocated, self.in_transit) < 0:
            raise ValueError(f"{posting} takes more than there is")

    @property
    def contributions(self) -> int:
        """Paid in less paid out, by those who own the portfolio."""
        return -self._balance.get(CONTRIBUTED, 0)

    @property
    def unallocated(self) -> int:
        """With no member, and on its way to none."""
        return self._balance.get(UNALLOCATED, 0)

    @property
    def in_transit(self) -> int:
        """On its way to members."""
        return self._balance.get(TRANSIT, 0)

    @property
    def settled(self) -> dict[str, int]:
        """Settled transfers by member, also of those that left: what each was given, less what it gave back."""
        names = sorted(name for name in self._balance if name.startswith(MEMBER))
        return {name.removeprefix(MEMBER): self._balance[name] for name in names}

    def contribution(self, entry: str, units: int) -> list[Posting]:
        """What follows where the owners pay in, or out where negative.

        Raises
        ------
        UserError
            If more is taken out than is unallocated.
        """
        check_units(units)
        if units > 0:
            return [Posting(entry, "contribution", CONTRIBUTED, UNALLOCATED, units)]
        self._check(-units, "is taken out")
        return [Posting(entry, "withdrawal", UNALLOCATED, CONTRIBUTED, -units)]

    def joins(self, entry: str, member: str, units: int) -> list[Posting]:
        """What follows where a member comes in with what it owns."""
        return [Posting(entry, "joins", CONTRIBUTED, MEMBER + member, units)] if units else []

    def leaves(self, entry: str, member: str, units: int) -> list[Posting]:
        """What follows where a member goes with what it owns."""
        return [Posting(entry, "leaves", MEMBER + member, CONTRIBUTED, units)] if units else []

    def begins(self, transfer: CapitalTransfer) -> list[Posting]:
        """What follows where a transfer is asked for: money to a member leaves what is unallocated at once.

        Raises
        ------
        UserError
            If that is not there.
        """
        check_units(transfer.units)
        if transfer.units < 0:
            return []
        self._check(transfer.units, "is to be sent")
        return [Posting(transfer.id, "sent", UNALLOCATED, TRANSIT, transfer.units)]

    def ends(self, transfer: CapitalTransfer) -> list[Posting]:
        """What follows where a transfer is settled or refused, as its session's journal says."""
        at_member, units = MEMBER + transfer.member, transfer.units
        if transfer.state is TransferState.SETTLED and units > 0:
            return [Posting(transfer.id, "settled", TRANSIT, at_member, units)]
        if transfer.state is TransferState.SETTLED:
            return [Posting(transfer.id, "settled", at_member, UNALLOCATED, -units)]
        if transfer.state is TransferState.REFUSED and units > 0:
            return [Posting(transfer.id, "returned", TRANSIT, UNALLOCATED, units)]
        return []

    def _check(self, units: int, what: str) -> None:
        if units > self.unallocated:
            raise UserError(f"{money(units)} {what}, but {money(self.unallocated)} are unallocated.")


def check_units(units: int) -> None:
    """Refuse units that no transfer has; raises UserError."""
    if units == 0 or abs(units) >= MOST:
        raise UserError(f"{money(units)} is no amount to move: more than nothing, and less than {money(MOST)}.")


def balanced(ledger: PortfolioLedger) -> bool:
    """Whether what was contributed is all there: true after any postings."""
    return ledger.contributions == ledger.unallocated + ledger.in_transit + sum(ledger.settled.values())
