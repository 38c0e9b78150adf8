"""Letting a strategy trade in a test, through the same market, session and kernel as everywhere."""

from __future__ import annotations

from typing import Any

from qframe_rl import catalog
from qframe_rl.agent import Agent
from qframe_rl.config import Ref, build
from qframe_rl.deploy import make_agent, make_market, window_of
from qframe_rl.evaluate.splits import Fold
from qframe_rl.gym.market import Market
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import History, Record, Segment
from tests.contracts.checks import Quiet

FREE = {"taker_fee_bps": 0.0, "maker_fee_bps": 0.0, "half_spread_bps": 0.0, "impact": 0.0, "volume_share": 1.0}


def market_of(history: History, env: str = "perp", **params: Any) -> Market:
    """A market whose observations need no history."""
    ref = Ref(name=env, params={"features": ("log_return:1",), **params})
    return make_market(ref, history.instruments, history.columns, history.bar_ns)


def made(name: str, market: Market, history: History, **params: Any) -> Agent:
    """An agent of the catalogue, untrained."""
    config = build(catalog.load("agents", name).Config, params, f"agent {name}")
    return make_agent(name, config, market, history.columns, 0, history.theory)


def trained(agent: Any, market: Market, history: History, stop: int) -> Agent:
    """The agent after it learned on rows before ``stop``, if it learns."""
    if hasattr(agent, "fit"):
        fold = Fold((Segment(0, stop),), (), (Segment(stop, len(history)),))
        agent.fit(MarketTask(market, history, fold, 0), Quiet())
    trader: Agent = agent
    return trader


def trade(market: Market, agent: Agent, history: History, start: int, stop: int | None = None) -> Record:
    """What became of trading rows ``start`` to ``stop``."""
    return backtest(market, agent, history, Segment(start, stop or len(history)), window_of(market, agent))
