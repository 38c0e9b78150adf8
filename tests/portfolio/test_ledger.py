"""The ledger of a portfolio balances to the unit after whatever happens, and every transfer counts once."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from qframe_rl.config import UserError
from qframe_rl.portfolio.ledger import (
    CONTRIBUTED,
    TRANSIT,
    UNALLOCATED,
    CapitalTransfer,
    PortfolioLedger,
    Posting,
    TransferState,
    balanced,
)

units = st.integers(1, 10**15)
members = st.sampled_from(["alpha", "beta", "gamma"])


class Money(RuleBasedStateMachine):
    """Everything that can happen to a portfolio, beside a second book kept by plain sums."""

    def __init__(self) -> None:
        super().__init__()
        self.postings: list[Posting] = []
        self.open: list[CapitalTransfer] = []
        self.paid, self.free, self.moving = 0, 0, 0
        self.given: dict[str, int] = {}
        self.n = 0

    def took(self, postings: list[Posting]) -> None:
        self.postings += postings

    @property
    def ledger(self) -> PortfolioLedger:
        return PortfolioLedger(self.postings)

    def name(self) -> str:
        self.n += 1
        return f"t{self.n}"

    @rule(amount=units, out=st.booleans())
    def contribute(self, amount: int, out: bool) -> None:
        if out and amount > self.free:
            with pytest.raises(UserError, match="unallocated"):
                self.ledger.contribution(self.name(), -amount)
            return
        change = -amount if out else amount
        self.took(self.ledger.contribution(self.name(), change))
        self.paid += change
        self.free += change

    @rule(amount=units, member=members, goes=st.booleans())
    def member(self, amount: int, member: str, goes: bool) -> None:
        change = -amount if goes else amount
        made = self.ledger.leaves if goes else self.ledger.joins
        self.took(made(self.name(), member, amount))
        self.paid += change
        self.given[member] = self.given.get(member, 0) + change

    @rule(amount=units, member=members, back=st.booleans())
    def begin(self, amount: int, member: str, back: bool) -> None:
        one = CapitalTransfer(self.name(), member, -amount if back else amount)
        if not back and amount > self.free:
            with pytest.raises(UserError, match="unallocated"):
                self.ledger.begins(one)
            return
        self.took(self.ledger.begins(one))
        if not back:
            self.free -= amount
            self.moving += amount
        self.open.append(one)

    @rule(which=st.integers(0, 10**6), settled=st.booleans())
    def end(self, which: int, settled: bool) -> None:
        if not self.open:
            return
        one = self.open.pop(which % len(self.open))
        one = one._replace(state=TransferState.SETTLED if settled else TransferState.REFUSED)
        self.took(self.ledger.ends(one))
        if one.units > 0:
            self.moving -= one.units
        if settled:
            self.given[one.member] = self.given.get(one.member, 0) + one.units
            self.free += -one.units if one.units < 0 else 0
        elif one.units > 0:
            self.free += one.units

    @invariant()
    def exact(self) -> None:
        ledger = self.ledger
        assert balanced(ledger)
        assert (ledger.contributions, ledger.unallocated, ledger.in_transit) == (self.paid, self.free, self.moving)
        assert {k: v for k, v in ledger.settled.items() if v} == {k: v for k, v in self.given.items() if v}


Money.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMoney = Money.TestCase


@pytest.mark.parametrize("amount", [0, 10**18, -(10**18)])
def test_amounts_that_cannot_be_are_refused(amount: int) -> None:
    with pytest.raises(UserError, match="no amount to move"):
        PortfolioLedger().contribution("c", amount)
    with pytest.raises(UserError, match="no amount to move"):
        PortfolioLedger().begins(CapitalTransfer("t", "alpha", amount))


def test_postings_that_cannot_be_are_an_error() -> None:
    for one in (
        Posting("x", "sent", UNALLOCATED, TRANSIT, 5), Posting("x", "sent", CONTRIBUTED, UNALLOCATED, 0),
        Posting("x", "sent", TRANSIT, TRANSIT, 5),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"moves nothing|more than there is"):
            PortfolioLedger([one])
