"""Locks against the oracle: with one order per instrument, with a bracket's four, and with any that may rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import View
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.orders import is_plain, merged, orders_of, slots_of
from qframe_rl.risk.engine import Conditions, RiskDecision, RiskEngine
from qframe_rl.risk.limits import Limits
from qframe_rl.session import Session
from qframe_rl.types import MINUTE, Account, Fills, History, Instrument, Orders, Segment
from qframe_rl.venues.guarded import GuardedVenue
from qframe_rl.venues.simulated import SimulatedVenue
from tests.markets import panel
from tests.oracle.locks import AFTER, FLAGS, QUANTITY, LockBook
from tests.risk.test_parity import CASES, made

K = 4


class Compared(RiskEngine):
    """The engine, each of whose answers must be the oracle's."""

    def __init__(self, limits: Limits, instruments: tuple[Instrument, ...]):
        super().__init__(limits, instruments)
        self.book, self.notes = LockBook(limits, instruments), Counter[str]()

    def begin(self, time: int, account: Account) -> None:
        super().begin(time, account)
        self.book.begin(time, account)

    def check(
        self, time: int, orders: Orders, account: Account, now: Conditions, resting: Orders | None = None
    ) -> RiskDecision:
        decision = super().check(time, orders, account, now, resting)
        asked = slots_of(orders)
        none = asked[..., :0] if resting is None or is_plain(orders) else slots_of(resting)
        whole = merged(asked, none)
        left, mine = slots_of(decision.orders), self.book.passes(whole, account.position)
        np.testing.assert_allclose(left[:, QUANTITY], mine[:, QUANTITY], rtol=1e-12, err_msg=str(self.book.bars))
        if not is_plain(orders):
            assert np.array_equal(left[:, FLAGS], mine[:, FLAGS])
        cut = left[:, QUANTITY] != whole[:, QUANTITY]
        self.notes["cut"] += int(cut.any())
        self.notes["cut to what closes"] += int((cut & (left[:, QUANTITY] != 0.0)).any())
        self.notes["cut what rested"] += int((cut[:, : asked.shape[-1]] & np.isnan(asked[:, QUANTITY])).any())
        exits = (whole[:, FLAGS] >= 2) & (self.book.left().max(axis=1) > 0)[:, None] & (whole[:, QUANTITY] != 0.0)
        assert not (cut & exits).any(), "an exit was cut"
        self.notes["exit passed a lock"] += int(exits.any())
        self.notes["waited"] += int(((whole[:, AFTER] > 0) & (whole[:, FLAGS] < 2)).any())
        return decision

    def settled(self, time: int, account: Account, orders: Orders, fills: Fills) -> tuple[str, ...]:
        why = super().settled(time, account, orders, fills)
        self.book.settled(time, account, slots_of(orders), fills)
        assert self.left is not None
        assert np.array_equal(self.left, self.book.left()), self.book.bars
        self.notes["locked"] += int(self.left.any())
        return why


def quarters(seed: int, n: int) -> History:
    history = panel(500, n, seed=seed, volatility=0.006)
    return replace(history, bar_ns=15 * MINUTE, time=history.time[0] + 15 * MINUTE * np.arange(len(history)))


def session(history: History, limits: Limits, scheme: str) -> tuple[Any, Compared, Session]:
    market = made(history, limits, scheme)
    engine = Compared(limits, market.instruments)
    venue, window = GuardedVenue(SimulatedVenue(market.rules, market.cash), engine), market.interface.window
    return market, engine, Session(HistoryFeed(history, Segment(window, len(history)), window), venue, window)


def wild(rng: np.random.Generator, view: View, n: int) -> Orders:
    """Some slots left, some emptied, some with an order of any kind."""
    slots = np.full((n, 8, K), np.nan)
    slots[:, 3], slots[:, AFTER], slots[:, FLAGS], slots[:, 7] = 1.0, 0.0, 0.0, 0.0
    for a, mark in enumerate(np.nan_to_num(view.account.mark, nan=100.0)):
        for j in range(K):
            draw = rng.random()
            if draw > 0.5:
                continue
            side = rng.choice([-1.0, 1.0])
            size = 0.0 if draw < 0.1 else side * float(rng.integers(1, 30))
            near, price = mark * (1.0 - side * rng.uniform(0.0, 0.01)), mark * (1.0 + side * rng.uniform(0.0, 0.01))
            slots[a, :3, j] = size, *[(np.nan, np.nan), (near, np.nan), (np.nan, price)][rng.integers(3)]
            slots[a, 3, j], slots[a, AFTER, j] = rng.integers(1, 7), rng.choice([0, 0, 0, 2])
            slots[a, FLAGS, j], slots[a, 7, j] = rng.choice([0, 0, 2]), rng.integers(3)
    return orders_of(slots)


@pytest.mark.parametrize("scheme", ["limit", "bracket", "wild"])
def test_locks_are_the_oracles(scheme: str) -> None:
    notes: Counter[str] = Counter()
    for seed, scope in enumerate(("side", "symbol", "account")):
        limits = Limits(**{**CASES["protections"], "stop_guard_scope": scope, "max_entries_per_day": 9 - 2 * seed})
        market, engine, one = session(quarters(seed, 2 + seed % 2), limits, "limit" if scheme == "wild" else scheme)
        rng, n = np.random.default_rng(seed), len(market.instruments)
        view = one.start()
        live, space = market.interface, market.interface.action_space
        space.seed(seed)
        while not view.over:
            view = one.step(wild(rng, view, n) if scheme == "wild" else live.orders(space.sample(), view))
        notes += engine.notes
    wanted = {"locked", "cut"} | (set() if scheme == "limit" else {"exit passed a lock"})
    wanted |= {"cut to what closes", "cut what rested", "waited"} if scheme == "wild" else set()
    assert all(notes[what] >= 10 for what in wanted), notes


@pytest.mark.long
@pytest.mark.parametrize("name", ["cooldown_bars", "stop_guard", "low_profit", "drawdown_pause", "max_entries_per_day"])
def test_each_rule_by_itself(name: str) -> None:
    given = {key: value for key, value in CASES["protections"].items() if key.startswith(name)}
    for seed in range(4):
        _, engine, one = session(quarters(10 + seed, 2), Limits(**given), "limit")
        rng, view = np.random.default_rng(seed), one.start()
        while not view.over:
            view = one.step(wild(rng, view, 2))
        assert engine.notes["cut"] >= 10
