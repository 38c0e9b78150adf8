"""Deep agents find planted trends: how near they come to the Bayes filter is known."""

from __future__ import annotations

import pytest

from agents import direct_rl, dmn
from qframe_rl.evaluate.metrics import returns
from qframe_rl.evaluate.splits import Fold
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import Segment
from tests.contracts.checks import Quiet
from tests.planted import SIGMA, Filter, HiddenRegime, macd, market_of, planted, score, trend

FOLD = Fold((Segment(0, 3500),), (), (Segment(3500, 5500),))


@pytest.mark.long
def test_dmn_comes_near_the_filter_and_beats_every_classical_rule_and_its_forecasting_twin() -> None:
    history = planted(5500, 40, seed=1)
    market, test = market_of(history, FOLD), FOLD.test[0]
    best = score(market, Filter(), history, test)
    rules = {f"sign of {n} bars": score(market, trend(n), history, test) for n in (21, 63, 252)}
    rules["macd"] = score(market, macd(), history, test)
    found = {}
    for loss in ("sharpe", "mse"):
        task = MarketTask(market, history, FOLD, 1)
        agent = dmn.Dmn(dmn.Config(epochs=6, loss=loss, band=0.0), task.spec)
        agent.fit(task, Quiet())
        found[loss] = score(market, agent, history, test)
    print(f"filter {best:.2f}, rules {rules}, networks {found}")  # shown by pytest -s
    assert found["sharpe"] > 0.93 * best
    assert found["sharpe"] > max(rules.values())
    assert found["sharpe"] > 1.03 * found["mse"]


@pytest.mark.long
def test_direct_rl_trades_a_hidden_regime_nearly_as_well_as_the_optimum() -> None:
    history = planted(25_000, 1, 5, HiddenRegime.drift, HiddenRegime.stay)
    fold = Fold((Segment(0, 15_000),), (), (Segment(15_000, 25_000),))
    features = tuple(f"log_return:{n}" for n in (1, 2, 4, 8, 16))
    market = market_of(history, fold, features=features, taker_fee_bps=HiddenRegime.cost_bps)
    task = MarketTask(market, history, fold, 1)
    agent = direct_rl.DirectRl(direct_rl.Config(objective="log_growth", batch_size=16, epochs=40), task.spec)
    agent.fit(task, Quiet())
    gain = {}
    for name, one in (("direct_rl", agent), ("optimum", HiddenRegime())):
        record = backtest(market, one, history, fold.test[0], 100)
        gain[name] = returns(record.account.equity).mean() / SIGMA
    print(gain)  # shown by pytest -s
    assert gain["direct_rl"] > 0.93 * gain["optimum"]
    assert gain["optimum"] > 0.18  # 0.2295 in expectation
