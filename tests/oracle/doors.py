"""Three ways through a sequence of bars: the venue, single settlements, and the oracle by itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

import numpy as np

from qframe_rl.kernel.rules import rules_of
from qframe_rl.kernel.settle import settle as settled_by_kernel
from qframe_rl.types import PER_INSTRUMENT, Account, Bar, Fills, Orders
from qframe_rl.venues.simulated import SimulatedVenue
from tests.oracle.bar import settle
from tests.oracle.draws import Scene
from tests.oracle.grids import meaning
from tests.oracle.records import Outcome, Rulebook, State, candles_of, orders_of


class Door(Protocol):
    """What settles orders against a bar."""

    account: Account

    def step(self, orders: Orders, bar: Bar) -> Fills:
        """Settle one bar."""

    def over(self, expected: bool) -> bool:
        """Whether the account is over; ``expected`` where the door does not say."""


class VenueDoor:
    """The kernel behind one account, which keeps what is on its way and says when it is over."""

    def __init__(self, scene: Scene):
        self.venue = SimulatedVenue(rules_of(scene.instruments, **scene.rules), float(scene.account.cash))
        self.account = self.venue.account

    def step(self, orders: Orders, bar: Bar) -> Fills:
        self.venue.submit(orders)
        fills = self.venue.advance(bar)
        self.account = self.venue.account
        return fills

    def over(self, expected: bool) -> bool:
        return self.venue.terminated


class SettleDoor:
    """The kernel as a function of any account; it does not say when an account is over."""

    def __init__(self, scene: Scene):
        self.rules, self.account = rules_of(scene.instruments, **scene.rules), scene.account

    def step(self, orders: Orders, bar: Bar) -> Fills:
        self.account, fills = settled_by_kernel(self.account, orders, bar, self.rules)
        return fills

    def over(self, expected: bool) -> bool:
        return expected


class OracleDoor:
    """The oracle in the kernel's place: its account is in doubles between the bars."""

    def __init__(self, scene: Scene):
        self.book, self.account = rulebook(scene), scene.account
        self.state, self.terminated = State.of(scene.account), False

    def step(self, orders: Orders, bar: Bar) -> Fills:
        outcome = outcome_of(self.book, resumed(self.account, self.state), orders, bar)
        self.state, self.terminated = outcome.state, outcome.terminated
        self.account = account_of(outcome.state)
        columns = [[float(getattr(fill, name)) for name in PER_INSTRUMENT] for fill in outcome.fills]
        return Fills.of(np.array(columns), np.array(float(outcome.absorbed)), np.array(float(outcome.interest)))

    def over(self, expected: bool) -> bool:
        return self.terminated


def kernel_door(scene: Scene) -> Door:
    """The venue for what begins with cash, single settlements for what begins with positions."""
    return SettleDoor(scene) if np.any(scene.account.position) else VenueDoor(scene)


def outcome_of(book: Rulebook, state: State, orders: Orders, bar: Bar, flips: frozenset[int] = frozenset()) -> Outcome:
    """The oracle, asked in doubles."""
    return settle(book, state, orders_of(orders), candles_of(bar), meaning(bar.cash_rate), flips)


def account_of(state: State) -> Account:
    """An account of the oracle in doubles."""
    mark = [float("nan") if m is None else float(m) for m in state.mark]
    return Account(np.array(float(state.cash)), np.array([float(p) for p in state.position]), np.array(mark))


def rulebook(scene: Scene) -> Rulebook:
    """The oracle's rules of a scene."""
    return Rulebook.of(scene.instruments, **scene.rules)


def resumed(account: Account, before: State) -> State:
    """The kernel's account with the oracle's record of what is on its way (the account's own does not show it)."""
    return State.of(account, before.on_way if before.wait else Decimal(0), before.wait)
