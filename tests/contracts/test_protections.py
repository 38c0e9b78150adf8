"""The whole catalogue keeps the contract under protections, with one order per instrument and with four."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.agent import Agent, View
from qframe_rl.evaluate.metrics import unexplained
from qframe_rl.gym.env import TradingEnv
from qframe_rl.gym.market import Market, whole
from qframe_rl.interface import BOUND, see_locks
from qframe_rl.risk.limits import Limits
from qframe_rl.types import History, Orders, Record
from tests.contracts import checks
from tests.contracts.test_agents import AGENTS, cases, make, remade
from tests.contracts.test_envs import ENVS, FEATURES, kind
from tests.contracts.test_slots import Protected
from tests.markets import panel

LOCKING = Limits(
    cooldown_bars=3,
    stop_guard=2,
    stop_guard_bars=30,
    stop_guard_scope="side",
    low_profit=-0.002,
    low_profit_bars=40,
    drawdown_pause=0.02,
    drawdown_pause_bars=50,
    max_entries_per_day=3,
    volatility_halt=0.03,
    volatility_halt_bars=3,
    volatility_halt_lock_bars=2,
)
UNCOUNTED = LOCKING.model_copy(update={"max_entries_per_day": None})
"""Without the count, which holds back what opens a position and not what adds to one."""
BRACKET = {"name": "bracket", "params": {"trailing": True, "max_stop": 0.03, "max_take": 0.03, "bars": 12}}
SHOWN = {"show_locks": True, "show_limits": True, "show_resting": True}
LEARNERS = [name for name in AGENTS if hasattr(catalog.load("agents", name), "QUICK")]
NAMES = [pytest.param(name, marks=pytest.mark.long) if name in LEARNERS else name for name in AGENTS]
"""What is trained first waits for its turn."""


class Locks:
    """A strategy, and the locks that it was shown."""

    def __init__(self, agent: Any):
        self.agent, self.window, self.seen = agent, agent.window, list[np.ndarray]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["agent"], name)

    def decide(self, view: View) -> Orders:
        assert view.locks is not None
        self.seen.append(view.locks)
        orders: Orders = self.agent.decide(view)
        return orders


@cache
def trained(name: str) -> tuple[Market, Agent]:
    """Once for all tests here: a strategy that begins anew is the same."""
    return make(name, cases(name)[-1])


def traded(name: str, history: History, wrapped: Any, limits: Limits = LOCKING) -> tuple[Record, np.ndarray]:
    """Half of a history, and (decisions, A, 2) what was locked at each."""
    market, agent = trained(name)
    locks = Locks(wrapped(agent))
    record = checks.trade(replace(market, limits=limits), locks, history)
    return record, np.array(locks.seen)


@pytest.mark.parametrize("wrapped", [lambda agent: agent, Protected], ids=["alone", "bracket"])
@pytest.mark.parametrize("name", NAMES)
def test_money_is_explained_and_what_is_locked_is_only_reduced(name: str, wrapped: Any) -> None:
    history = cases(name)[-1]
    record, locks = traded(name, history, wrapped, UNCOUNTED)
    assert unexplained(record) < 1e-9
    assert (record.account.equity >= 0.0).all()
    # Row r + 1 is the bar that the orders of decision r met.
    before, after = record.account.position[:-1], record.account.position[1:]
    n = min(len(locks), len(after))
    before, after, locked = before[:n], after[:n], locks[:n] > 0
    assert (after <= np.maximum(before, 0.0) + 1e-9)[locked[:, :, 0]].all(), "a locked long grew"
    assert (after >= np.minimum(before, 0.0) - 1e-9)[locked[:, :, 1]].all(), "a locked short grew"


@pytest.mark.parametrize("name", NAMES)
def test_another_process_goes_on_to_the_same_orders_and_it_is_blind(name: str) -> None:
    history = cases(name)[-1]
    market, agent = trained(name)
    market = replace(market, limits=LOCKING)
    one = checks.trade(market, Protected(agent), history)
    relay = checks.Relay(lambda: remade(name, market, agent, history, {}), 17)
    assert checks.trade(market, Protected(relay), history).digest == one.digest
    k = len(one) // 2
    other = traded(name, checks.scrambled(history, len(history) // 2 - 1 + k), Protected)[0]
    assert np.array_equal(one.account.position[: k + 1], other.account.position[: k + 1])


def test_a_lock_of_any_length_lies_in_the_space() -> None:
    """A day of bars of a second has 86,400 decisions."""
    out = np.zeros((1, 4), dtype=np.float32)
    see_locks(np.array([[[0, 1], [86_400, 2**62]]]), np.ones(1, dtype=np.bool_), 0, out)
    assert out.tolist() == [[0.0, BOUND, np.float32(np.log(2.0)), BOUND]]


@pytest.mark.parametrize("name", ENVS)
@pytest.mark.parametrize("actions", ["levels", BRACKET], ids=["levels", "bracket"])
def test_environments_keep_the_contract(name: str, actions: object) -> None:
    def make(history: History) -> TradingEnv:
        module = catalog.load("envs", name)
        config = module.Config(features=FEATURES, episode_bars=150, actions=actions, **SHOWN)
        market = module.make(config, history.instruments, history.columns, history.bar_ns)
        seen, rest = history.rows(0, 60), history.rows(60, len(history))
        market = replace(market.fit([(seen, whole(seen))]), limits=LOCKING)
        return market.env(market.tape([(rest, whole(rest))]))

    history = panel(400, 2, seed=12, kind=kind(name))
    for check in (checks.env_is_deterministic, checks.env_pickles, checks.env_snapshots, checks.env_is_blind):
        check(make, history)
    if actions == "levels":
        checks.env_conserves_money(make, history)
