"""Agents learn what there is to learn: the default market's optimum is known."""

from __future__ import annotations

import math

import pytest

from qframe_rl import catalog
from qframe_rl.config import Ref
from qframe_rl.deploy import make_agent, make_market, window_of
from qframe_rl.evaluate.splits import split
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.task import MarketTask
from tests.contracts.checks import Quiet


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_ppo_reaches_nine_tenths_of_the_optimal_growth(seed: int) -> None:
    history = synthetic("ar1", 30_000, seed=3)
    (fold,) = split("holdout").split(history)
    market = make_market(Ref(name="auto"), history.instruments, history.columns, history.bar_ns)
    market = market.fit([(history, fold.train)])
    growth = {}
    for name, params in (("ppo", {"total_steps": 400_000}), ("optimal", {}), ("buy_and_hold", {})):
        config = catalog.load("agents", name).Config(**params)
        agent = make_agent(name, config, market, history.columns, seed, history.theory)
        if name == "ppo":
            agent.fit(MarketTask(market, history, fold, seed), Quiet())  # type: ignore[attr-defined]
        record = backtest(market, agent, history, fold.test[0], window_of(market, agent))
        growth[name] = math.log(record.account.equity[-1] / record.account.equity[0])
    assert growth["ppo"] > 0.9 * growth["optimal"]
    assert growth["buy_and_hold"] < 0.3 * growth["optimal"]
