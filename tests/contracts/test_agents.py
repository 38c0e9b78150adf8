"""Every strategy of the catalogue keeps the contract."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.agent import Agent
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.market import Market
from qframe_rl.types import History
from tests.contracts import checks
from tests.contracts.test_envs import disaster
from tests.markets import panel

AGENTS = catalog.bar_agents()
SEVERAL = ("cross_sectional", "pairs")
"""Strategies that hold one coin against another."""
FEATURES = ("log_return:1", "log_return:4", "volatility:12", "rsi:3", "columns")


@cache
def bars(kind: str, n_instruments: int) -> History:
    return panel(900, n_instruments, seed=21, kind=kind, volatility=0.01)


def cases(name: str) -> list[History]:
    if name == "optimal":
        return [synthetic("ar1", 900, seed=5)]
    if name == "funding_arbitrage":
        return [replace(bars("mixed", n), columns=("funding_rate",)) for n in (2, 4)]
    if name == "external":
        return [replace(bars(kind, n), columns=("target",)) for kind, n in (("spot", 1), ("perpetual", 3))]
    if name == "rllib":  # beginning its trainings takes seconds, and the markets are those of the others
        return [bars("perpetual", 3)]
    if name in SEVERAL:
        return [bars("spot", 3), bars("perpetual", 3)][name == "pairs" :]
    return [bars("spot", 1), bars("perpetual", 1), bars("perpetual", 3)]


def doubled(history: History, kind: str) -> History:
    """The same coin twice, or a coin beside its perpetual."""
    one = history.instruments[0]
    symbol = one.symbol.removesuffix(":USDT") if kind == "mixed" else f"TWIN-{one.symbol}"
    twin = replace(one, symbol=symbol, kind="spot" if kind == "mixed" else one.kind)
    pair = {name: np.repeat(getattr(history, name), 2, axis=1) for name in ("values", "funding", "final")}
    return replace(history, instruments=(one, twin), **pair)


def market_for(history: History) -> Market:
    kinds = {i.kind for i in history.instruments}
    module = catalog.load("envs", "funding" if len(kinds) > 1 else "perp" if kinds == {"perpetual"} else "spot")
    config = module.Config(features=FEATURES, episode_bars=100)
    market: Market = module.make(config, history.instruments, history.columns, history.bar_ns)
    return checks.fitted(market, history)


def make(name: str, history: History) -> tuple[Market, Agent]:
    market = market_for(history)
    return market, checks.setup(name, market, history, {})


@cache
def made(name: str, case: int) -> tuple[Market, Agent]:
    """Trained once for all tests of a process: a strategy that begins anew is the same."""
    return make(name, cases(name)[case])


@pytest.mark.parametrize("name", AGENTS)
def test_equal_runs_are_equal_and_orders_are_finite(name: str) -> None:
    for case, history in enumerate(cases(name)):
        market, agent = made(name, case)
        checks.agent_is_deterministic(market, agent, history)
        checks.agent_orders_are_finite(market, agent, history)


@pytest.mark.parametrize("name", AGENTS)
def test_it_is_blind_to_the_future_and_training_twice_gives_the_same_weights(name: str) -> None:
    for case, history in enumerate(cases(name)):
        checks.agent_is_blind(lambda changed: make(name, changed), history, made(name, case))


@pytest.mark.parametrize("name", AGENTS)
def test_another_process_goes_on_to_the_same_orders(name: str) -> None:
    history = cases(name)[-1]
    market, agent = made(name, len(cases(name)) - 1)
    checks.agent_can_be_carried(market, agent, lambda: remade(name, market, agent, history, {}), history)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("dmn", {"network": "transformer"}),
        ("ensemble", {"method": "stacking"}),
        ("ensemble", {"method": "fixed_share", "reweight_bars": 1}),
        ("ensemble", {"method": "oamp", "reweight_bars": 2}),
        ("ensemble", {"method": "learned", "route_steps": 40}),
        ("ensemble", {"method": "eg", "members": ["random", "mean_reversion"]}),
        ("sb3", {"algorithm": "recurrent_ppo"}),
        ("ppo", {"network": "lstm", "memory": "episode"}),
        ("ppo", {"network": "gru", "memory": "episode", "members": 2}),
    ],
)
def test_another_process_can_go_on_with_what_it_remembers(name: str, params: dict[str, Any]) -> None:
    history = cases(name)[-1]
    market = market_for(history)
    trained = checks.setup(name, market, history, params)
    checks.agent_can_be_carried(market, trained, lambda: remade(name, market, trained, history, params), history)


def remade(name: str, market: Market, trained: Any, history: History, params: dict[str, Any]) -> Any:
    """The same agent, as another process makes it from its checkpoint."""
    module = catalog.load("agents", name)
    config = module.Config(**(checks.quick(module) | params))
    made = module.make(config, market.spec(history.columns, 3, history.theory))
    if hasattr(trained, "state"):
        made.restore(trained.state())
    return made


@pytest.mark.parametrize("name", [n for n in AGENTS if n != "optimal"])
@pytest.mark.parametrize("what", ["flat", "crash", "surge", "no volume", "gaps and delisting"])
def test_disasters_are_survived(name: str, what: str) -> None:
    kinds = {"pairs": ("perpetual",), "funding_arbitrage": ("mixed",)}.get(name, ("spot", "perpetual"))
    for kind in kinds:
        history = disaster(what, kind)
        if name in (*SEVERAL, "funding_arbitrage") and len(history.instruments) == 1:
            history = doubled(history, kind)
        if kind == "mixed":
            rates = np.full((*history.final.shape, 1), 1e-4)
            values = np.concatenate([history.values[:, :, :5], rates], axis=2)
            history = replace(history, values=values, columns=("funding_rate",))
        if name == "external":
            known = history.values[:, :, :5]
            history = replace(
                history, values=np.concatenate([known, known[:, :, :1] * 0.0 + 0.1], axis=2), columns=("target",)
            )
        market = market_for(history)
        checks.agent_orders_are_finite(market, checks.setup(name, market, history, {}), history)
