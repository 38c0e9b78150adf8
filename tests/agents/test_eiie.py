"""The portfolio policy gradient: coins are alike to it, and it climbs growth after costs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.eiie import QUICK, Config, Eiie, _shown
from qframe_rl.agent import View
from qframe_rl.config import UserError
from qframe_rl.deploy import window_of
from qframe_rl.evaluate.splits import Fold
from qframe_rl.gym.market import Market
from qframe_rl.interface import rebalance
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import CLOSE, Float, History, Orders, Segment
from tests.contracts.checks import Quiet
from tests.markets import panel
from tests.planted import market_of, planted

FOLD = Fold((Segment(0, 500),), (Segment(500, 700),), (Segment(700, 900),))


def trained(history: History, snapshot: Path | None = None, log: Any = None, **params: Any) -> tuple[Market, Eiie]:
    market = market_of(history, FOLD)
    task = MarketTask(market, history, FOLD, 7, snapshot)
    agent = Eiie(Config(**{**QUICK, **params}), task.spec)
    agent.fit(task, log or Quiet())
    return market, agent


class Interrupt(Quiet):
    def progress(self, done: int, total: int, note: str = "") -> None:
        if done == 2:
            raise KeyboardInterrupt


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    history = panel(900, 3, seed=3)
    _, whole = trained(history, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        trained(history, tmp_path / "part", Interrupt(), epochs=4)
    _, resumed = trained(history, tmp_path / "part", epochs=4)
    for name, value in whole.state().items():
        assert np.array_equal(value, resumed.state()[name]), name


def test_coins_in_another_order_get_the_same_weights() -> None:
    _, agent = trained(panel(900, 3, seed=3))
    rng = np.random.default_rng(1)
    prices = torch.from_numpy(np.exp(0.05 * rng.standard_normal((2, 3, 5, 12))).astype(np.float32))
    held = torch.full((2, 5), 0.1)
    tradable = torch.tensor([[True, True, False, True, True]] * 2)
    order = torch.tensor([3, 0, 4, 2, 1])
    with torch.inference_mode():
        one = agent._net(prices, held, tradable)
        two = agent._net(prices[:, :, order], held[:, order], tradable[:, order])
    assert torch.allclose(one[:, 1:][:, order], two[:, 1:], atol=1e-6)
    assert torch.allclose(one.sum(1), torch.ones(2))
    assert (one[:, 3] == 0.0).all()


def test_the_same_network_serves_any_number_of_coins() -> None:
    _, agent = trained(panel(900, 3, seed=3))
    history = panel(900, 2, seed=4)
    market = market_of(history, FOLD)
    other = Eiie(agent.config, market.spec(history.columns, 0))
    other.restore(agent.state())
    record = backtest(market, other, history, Segment(700, 900), window_of(market, other))
    assert (record.account.position >= 0.0).all()


def test_a_live_window_is_a_row_of_the_matrix() -> None:
    bars = panel(200, 3, seed=2).values
    prices, tradable = _shown(bars, 12)
    for row in (11, 60, 199):
        live, trades = _shown(bars[row - 11 : row + 1], 12)
        assert np.array_equal(prices[row - 11], live[0])
        assert np.array_equal(tradable[row - 11], trades[0])


def test_too_short_a_training_period_is_refused() -> None:
    with pytest.raises(UserError, match="n_bars and batch_bars, 816,"):
        trained(panel(900, 1, seed=3), n_bars=800)


class Equal:
    """The uniform constant rebalanced portfolio."""

    window = 1

    def decide(self, view: View) -> Orders:
        n = len(view.account.position)
        return rebalance(view, np.full(n, 1.0 / n))


def best_constant(rises: Float) -> float:
    """Log growth of the best constant rebalanced portfolio in hindsight (Cover's 1984 iteration)."""
    weights = np.full(rises.shape[1], 1.0 / rises.shape[1])
    for _ in range(2000):
        weights = weights * (rises / (rises @ weights)[:, None]).mean(axis=0)
    return float(np.log(rises @ weights).sum())


@pytest.mark.slow
@pytest.mark.long
def test_it_outgrows_every_constant_portfolio_where_trends_are_planted() -> None:
    history = planted(5_000, 8, 5, drift=0.3, stay=0.98)
    fold = Fold((Segment(0, 3_000),), (Segment(3_000, 3_500),), (Segment(3_500, 5_000),))
    market = market_of(history, fold, taker_fee_bps=5.0)
    task = MarketTask(market, history, fold, 1)
    agent = Eiie(Config(epochs=8), task.spec)
    agent.fit(task, Quiet())
    growth = {}
    for name, one in (("eiie", agent), ("equal", Equal())):
        record = backtest(market, one, history, fold.test[0], 50)
        growth[name] = math.log(record.account.equity[-1] / record.account.equity[0])
    close = history.values[3_499:, :, CLOSE]
    hindsight = best_constant(close[1:] / close[:-1])
    print(growth, hindsight)  # shown by pytest -s
    assert growth["eiie"] > 2.0 * hindsight > 0.0 > growth["equal"]
