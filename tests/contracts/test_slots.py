"""Every strategy of the catalogue keeps the contract with exits beside its positions: four orders per instrument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import View
from qframe_rl.evaluate.metrics import unexplained
from qframe_rl.interface import protect
from qframe_rl.types import History, Orders, Record
from tests.contracts import checks
from tests.contracts.test_agents import AGENTS, cases, make, remade

SLICE = ("momentum", "grid")
"""Run with every suite; the others wait for their turn."""
NAMES = [name if name in SLICE else pytest.param(name, marks=pytest.mark.long) for name in AGENTS]


class Protected:
    """A strategy whose positions have a stop that trails, a target and an end beside them."""

    def __init__(self, agent: Any):
        self.agent, self.window = agent, agent.window

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["agent"], name)

    def decide(self, view: View) -> Orders:
        return protect(view, self.agent.decide(view), stop=0.02, take=0.03, trail=0.04, bars=12)


def traded(name: str, history: History) -> Record:
    market, agent = make(name, history)
    return checks.trade(market, Protected(agent), history)


@pytest.mark.parametrize("name", NAMES)
def test_money_is_explained_and_exits_only_reduce(name: str) -> None:
    for history in cases(name):
        record = traded(name, history)
        assert unexplained(record) < 1e-9
        assert (record.account.equity >= 0.0).all()
        if record.slots is None:
            continue
        filled = record.slots.fills[:, :, 0]
        np.testing.assert_allclose(filled.sum(axis=-1), record.fills.quantity, atol=1e-9)
        before = np.concatenate([np.zeros_like(record.account.position[:1]), record.account.position[:-1]])
        # What an exit closed was held before the bar, or opened by the entry of the same bar.
        held = np.abs(before) + np.abs(filled[:, :, 0])
        assert (np.abs(filled[:, :, 1:]).sum(axis=-1) <= held + 1e-9).all()
        exits = np.sign(filled[:, :, 1:]).sum(axis=-1) * np.sign(before)
        assert (exits[(before != 0.0) & (filled[:, :, 0] == 0.0)] <= 0.0).all(), "an exit added to a position"


@pytest.mark.parametrize("name", NAMES)
def test_equal_runs_are_equal_and_another_process_goes_on_to_the_same_orders(name: str) -> None:
    history = cases(name)[-1]
    market, agent = make(name, history)
    whole = checks.trade(market, Protected(agent), history)
    assert checks.trade(market, Protected(agent), history).digest == whole.digest
    relay = checks.Relay(lambda: remade(name, market, agent, history, {}), 17)
    assert checks.trade(market, Protected(relay), history).digest == whole.digest


@pytest.mark.parametrize("name", NAMES)
def test_it_is_blind_to_the_future(name: str) -> None:
    history = cases(name)[-1]
    record, start = traded(name, history), len(history) // 2
    for k in np.linspace(1, len(record) - 2, 4).astype(int):
        again = traded(name, checks.scrambled(history, start - 1 + int(k)))
        for one, two in zip(met(record), met(again), strict=True):
            n = min(one.shape[-1], two.shape[-1])
            # Orders of row r were decided at the close of row r - 1: all decided by row k meet the bar of row k + 1.
            assert np.array_equal(one[: k + 2, ..., :n], two[: k + 2, ..., :n], equal_nan=True), f"row {k + 1}"


def met(record: Record) -> list[np.ndarray]:
    """What stood in each bar: in slots, or one order per instrument where there never were any."""
    return list(record.orders[:3]) if record.slots is None else [record.slots.orders]
