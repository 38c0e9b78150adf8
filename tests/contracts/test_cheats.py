"""Tests of the tests: planted cheats, each of which a contract check must catch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qframe_rl import catalog, features
from qframe_rl.agent import Agent, View
from qframe_rl.gym.engine import BatchEngine
from qframe_rl.gym.env import TradingEnv
from qframe_rl.gym.market import Market, whole
from qframe_rl.interface import rebalance
from qframe_rl.runner import task
from qframe_rl.types import CLOSE, Float, History, Int, Orders
from tests.contracts import checks
from tests.contracts.test_agents import market_for
from tests.contracts.test_envs import maker
from tests.markets import panel


@pytest.fixture
def history() -> History:
    return panel(500, 2, seed=3, kind="perpetual", volatility=0.01)


def peek(bars: Float, times: Int, first: int, lookback: int, params: Float, out: Float) -> None:
    """The return of the next bar, where there is one."""
    close = bars[:, :, CLOSE]
    for t in range(first, len(bars)):
        ahead = min(t + 1, len(bars) - 1)
        out[t - first] = np.log(close[ahead] / close[t])


def test_a_feature_that_peeks_one_bar(monkeypatch: pytest.MonkeyPatch, history: History) -> None:
    checks.env_is_blind(maker("perp"), history)
    kind = features._KINDS["log_return"]
    monkeypatch.setitem(features._KINDS, "log_return", kind._replace(kernel=peek))
    with pytest.raises(AssertionError):
        checks.env_is_blind(maker("perp"), history)
    with pytest.raises(AssertionError):
        feature = features.features(["log_return:1"], ())[0]
        rows = feature.rows(history.values, history.time)
        assert np.array_equal(feature.rows(history.values[:100], history.time[:100])[-1], rows[99], equal_nan=True)


def test_a_scaler_fitted_on_the_future(history: History) -> None:
    def leaking(bars: History) -> TradingEnv:
        module = catalog.load("envs", "perp")
        config = module.Config(features=("log_return:1", "columns"), episode_bars=None)
        market = module.make(config, bars.instruments, bars.columns, bars.bar_ns)
        market = market.fit([(bars, whole(bars))])
        return market.env(market.tape([(bars, whole(bars))]))

    with pytest.raises(AssertionError):
        checks.env_is_blind(leaking, history)


def test_fills_at_prices_that_are_not_known_yet(history: History) -> None:
    def make(bars: History) -> TradingEnv:
        env = maker("perp")(bars)
        bars = np.roll(env.engine.tape.bars, -1, axis=0)
        env.engine.tape = replace(env.engine.tape, bars=np.ascontiguousarray(bars))
        return env

    with pytest.raises(AssertionError):
        checks.env_is_blind(make, history)


def test_observations_in_a_reused_buffer(monkeypatch: pytest.MonkeyPatch, history: History) -> None:
    original = BatchEngine.observe

    def reused(self: BatchEngine, mask: Any = None) -> Any:
        fresh = original(self, mask)
        buffer = self.__dict__.setdefault("buffer", fresh.copy())
        buffer[:] = fresh
        return buffer

    monkeypatch.setattr(BatchEngine, "observe", reused)
    with pytest.raises(AssertionError):
        checks.env_observations_do_not_alias(maker("perp"), history)


def test_money_from_nowhere(monkeypatch: pytest.MonkeyPatch, history: History) -> None:
    original = BatchEngine.step

    def generous(self: BatchEngine, actions: Any, active: Any) -> Any:
        out = original(self, actions, active)
        self.account[:, :2] += 1e-3
        return out

    monkeypatch.setattr(BatchEngine, "step", generous)
    with pytest.raises(AssertionError):
        checks.env_conserves_money(maker("perp"), history)


def test_starts_from_a_global_generator(monkeypatch: pytest.MonkeyPatch, history: History) -> None:
    original = BatchEngine.seed_with
    chance = np.random.default_rng(0)
    monkeypatch.setattr(BatchEngine, "seed_with", lambda self, seed: original(self, int(chance.integers(1 << 40))))
    with pytest.raises(AssertionError):
        checks.env_is_deterministic(maker("perp"), history)


class Prophet:
    """Holds the whole history and buys what will rise."""

    window = 2

    def __init__(self, history: History):
        self.history = history

    def decide(self, view: View) -> Orders:
        row = min(int(np.searchsorted(self.history.time, view.time)) + 1, len(self.history) - 1)
        bar = self.history.values[row]
        target = np.nan_to_num(np.sign(bar[:, CLOSE] - bar[:, 0])) / len(bar)
        return rebalance(view, target)


class Forgetful:
    """Draws from a generator that no session starts anew."""

    window = 1

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def decide(self, view: View) -> Orders:
        return rebalance(view, self.rng.uniform(-0.5, 0.5, len(view.account.position)))


def test_a_strategy_that_holds_the_future(history: History) -> None:
    def make(bars: History) -> tuple[Market, Agent]:
        return market_for(bars), Prophet(bars)

    with pytest.raises(AssertionError):
        checks.agent_is_blind(make, history)


def test_a_strategy_that_differs_from_run_to_run(history: History) -> None:
    with pytest.raises(AssertionError):
        checks.agent_is_deterministic(market_for(history), Forgetful(), history)


RULES = ("ensemble", "adaptive_mean_reversion", "meta")


@pytest.mark.parametrize(
    "name",
    # A rule, an ensemble of rules, or what is trained on made markets has nothing to learn from such rows.
    [n for n in catalog.bar_agents() if hasattr(catalog.load("agents", n), "QUICK") and n not in RULES],
)
def test_a_task_that_hands_out_test_rows(name: str, monkeypatch: pytest.MonkeyPatch, history: History) -> None:
    def make(bars: History) -> tuple[Market, Agent]:
        market = market_for(bars)
        return market, checks.setup(name, market, bars, {})

    checks.agent_is_blind(make, history)
    monkeypatch.setattr(task, "pieces", lambda bars, *_: [(bars, whole(bars))])
    with pytest.raises(AssertionError):
        checks.agent_is_blind(make, history)
