"""What an agent states ahead, settled in a batch, is what it does bar by bar in a session, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.agent import Planner, Sparse, View
from qframe_rl.config import UserError
from qframe_rl.deploy import window_of
from qframe_rl.evaluate.metrics import metrics
from qframe_rl.interface import rebalance
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.batch import batch, lane, records, sweep
from qframe_rl.runner.study.stress import with_costs
from qframe_rl.types import History, Orders, Segment
from tests.contracts import checks
from tests.contracts.test_agents import bars, market_for
from tests.markets import panel

SMALL = {"units": 8, "hidden": (8,), "total_steps": 256, "n_envs": 8, "n_steps": 16, "batch_size": 64}
LEARNERS: dict[str, tuple[dict[str, Any], ...]] = {
    "mean_reversion": ({"entry": "fitted", "regime_bars": 60},),
    "meta": ({"volatility_bars": 60, "policy": SMALL},),
}
"""What is trained in no time, with settings to try it in."""


def planners(kind: str, n: int) -> dict[str, Planner]:
    """Those of the catalogue that need no training, and those that are trained at once."""
    history = bars(kind, n)
    market = market_for(history)
    found = {}
    for name in catalog.bar_agents():
        module = catalog.load("agents", name)
        if name != "optimal":
            try:
                agent = module.make(module.Config(), market.spec(history.columns, 3))
            except UserError:  # it does not trade such a market
                continue
            if isinstance(agent, Planner) and not hasattr(agent, "fit"):
                found[name] = agent
    for name, settings in LEARNERS.items():
        for params in settings:
            agent = checks.setup(name, market, history, params)
            assert isinstance(agent, Planner)
            found[f"{name} {params}"] = agent
    return found


def test_the_shipped_rules_are_planners() -> None:
    rules = {"flat", "random", "momentum", "mean_reversion", "adaptive_mean_reversion"}
    assert rules <= set(planners("spot", 1))


@pytest.mark.parametrize(("kind", "n"), [("spot", 1), ("perpetual", 1), ("perpetual", 3)])
def test_a_batch_is_what_sessions_give(kind: str, n: int) -> None:
    history = bars(kind, n)
    market = market_for(history)
    segments = (Segment(450, 900), Segment(300, 720), Segment(0, 600))
    for name, agent in planners(kind, n).items():
        window = window_of(market, agent)
        lanes = [lane(agent, history, segment, window) for segment in segments]
        kept = records(market, lanes)
        for segment, result, journal in zip(segments, batch(market, lanes), kept, strict=True):
            record = backtest(market, agent, history, segment, window)
            assert journal.digest == record.digest, name
            assert np.array_equal(journal.account.exposure, record.account.exposure)
            figures = metrics(record)
            assert np.array_equal(record.account.equity, result.equity[: len(record)]), name
            assert (result.equity[len(record) :] == result.equity[-1]).all()
            assert result.trades == figures.trades
            assert result.costs == pytest.approx(figures.costs, rel=1e-9, abs=1e-9)
            assert result.notional / figures.years == pytest.approx(
                figures.turnover * record.account.equity[:-1].mean(), rel=1e-9
            )


def test_what_is_stated_ahead_does_not_look_ahead() -> None:
    """U1: row t of the targets is the same whether later bars are there or not."""
    history = bars("perpetual", 3)
    for name, agent in planners("perpetual", 3).items():
        first = agent.window + 4
        whole = agent.targets(history.values, history.time, first)
        for stop in np.random.default_rng(0).choice(np.arange(first + 1, len(history)), 50, replace=False):
            part = agent.targets(history.values[:stop], history.time[:stop], first)
            assert np.array_equal(part, whole[: stop - first], equal_nan=True), (name, stop)


@pytest.mark.parametrize(("kind", "n"), [("spot", 1), ("perpetual", 3)])
def test_runs_say_what_decisions_one_by_one_say(kind: str, n: int) -> None:
    """Leaping from crossing to crossing finds what looking at every bar finds."""
    history = bars(kind, n)
    found = [agent for agent in planners(kind, n).values() if isinstance(agent, Sparse)]
    assert found
    for agent in found:
        first = agent.window + 4
        runs = agent.runs(history.values, history.time, first)
        assert runs.length == len(history) - first
        assert runs.starts[0] == 0
        assert (np.diff(runs.starts) > 0).all()
        assert np.array_equal(agent.targets(history.values, history.time, first), runs.dense(), equal_nan=True)
        for length in (1, 7, runs.length - 1):
            assert np.array_equal(runs.until(length).dense(), runs.dense()[:length], equal_nan=True)


def test_a_sweep_gives_what_a_batch_gives() -> None:
    """More lanes than seats, of two lengths, so that accounts take over the seats of others."""
    history = bars("perpetual", 1)
    market = market_for(history)
    module = catalog.load("agents", "mean_reversion")
    spec = market.spec(history.columns, 0)
    settings = [module.Config(mean_bars=20 + k % 7, entry=0.6 + 0.02 * k, max_age_days=0.5 + k % 3) for k in range(90)]
    lanes = [
        lane(module.make(config, spec), history, Segment(400, 900 if k % 2 else 700), 400)
        for k, config in enumerate(settings)
    ]
    batched = batch(market, lanes)
    assert sum(result.trades for result in batched) > 0
    swept = sweep(market, lanes, lambda r: (r.equity.copy(), r.costs, r.notional, r.trades))
    ended = sweep(market, lanes, lambda r: (r.equity.copy(), r.costs, r.notional, r.trades), curves=False)
    for one, kept, end in zip(batched, swept, ended, strict=True):
        assert np.array_equal(kept[0], one.equity)
        assert np.array_equal(end[0], one.equity[[0, -1]])
        assert kept[1:] == end[1:] == (one.costs, one.notional, one.trades)


class Told:
    """Asks now and then for what a generator says, up to four times its equity, and else leaves things as they are."""

    window, band = 1, 0.0

    def __init__(self, history: History, seed: int):
        rng, shape = np.random.default_rng(seed), (len(history), len(history.instruments))
        self.time = history.time
        self.plan = np.where(rng.random(shape) < 0.02, rng.uniform(-4.0, 4.0, shape), np.nan)

    def decide(self, view: View) -> Orders:
        return rebalance(view, self.plan[np.searchsorted(self.time, view.time)])

    def targets(self, bars: np.ndarray, times: np.ndarray, first: int) -> np.ndarray:
        return self.plan[np.searchsorted(self.time, times)[first:]]


@pytest.mark.parametrize("n", [1, 3])
def test_what_happens_between_two_orders_is_what_sessions_give(n: int) -> None:
    """Liquidation, ruin, funding large enough to tip a bar, gaps, a last bar: none may be passed over."""
    history = panel(700, n, seed=8, volatility=0.02)
    history = replace(history, funding=300.0 * history.funding)
    market = market_for(history)
    agents = [Told(history, seed) for seed in range(70)]
    lanes = [lane(agent, history, Segment(1, 700), 1) for agent in agents]
    liquidated = 0
    for agent, result, kept in zip(agents, batch(market, lanes), records(market, lanes), strict=True):
        record = backtest(market, agent, history, Segment(1, 700), 1)
        assert kept.digest == record.digest
        assert np.array_equal(record.account.equity, result.equity[: len(record)])
        assert (result.equity[len(record) :] == result.equity[-1]).all()
        assert result.costs == pytest.approx(metrics(record).costs, rel=1e-9, abs=1e-9)
        liquidated += int((record.fills.forced != 0.0).any())
    assert liquidated > 10


def test_lanes_of_several_histories_and_bands_do_not_mix() -> None:
    history = bars("spot", 1)
    market = market_for(history)
    other = checks.scrambled(history, 100)
    agents = list(planners("spot", 1).values())
    window = max(window_of(market, agent) for agent in agents)
    lanes = [lane(agent, h, Segment(400, 900), window) for agent in agents for h in (history, other)]
    together = batch(market, lanes)
    for one, result in zip(lanes, together, strict=True):
        (alone,) = batch(market, [one])
        assert np.array_equal(alone.equity, result.equity)


def test_delay_and_costs_are_felt() -> None:
    history = bars("spot", 1)
    market = market_for(history)
    agent = planners("spot", 1)["momentum"]
    window = window_of(market, agent)
    plain, late = (lane(agent, history, Segment(400, 900), window, delay=d) for d in (0, 1))
    assert np.array_equal(late.targets[1:], plain.targets[:-1], equal_nan=True)
    with pytest.raises(UserError, match="more bars"):
        lane(agent, history, Segment(0, 900), window, delay=1)
    one, dear = (batch(with_costs(market, factor), [plain])[0] for factor in (1.0, 3.0))
    assert dear.costs > 2.0 * one.costs
    assert dear.equity[-1] < one.equity[-1]
    with pytest.raises(ValueError, match="zero"):
        with_costs(market, 1e5)
    with pytest.raises(UserError, match="longer period"):
        lane(agent, history, Segment(0, 100), window)
