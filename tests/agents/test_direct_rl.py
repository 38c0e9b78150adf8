"""Direct reinforcement: exact gradients through the book, and what it learns of a known optimum."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.direct_rl import QUICK, Config, DirectRl
from qframe_rl import catalog
from qframe_rl.config import Ref, UserError
from qframe_rl.deep.policies import Trader
from qframe_rl.deep.training import own_randomness
from qframe_rl.deploy import make_agent, make_market, window_of
from qframe_rl.evaluate.metrics import returns, sharpe
from qframe_rl.evaluate.splits import Fold, split
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.market import Market
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import History, Segment
from tests.contracts.checks import Quiet
from tests.markets import panel

FOLD = Fold((Segment(0, 500),), (Segment(500, 700),), (Segment(700, 900),))


def trained(history: History, snapshot: Path | None = None, log: Any = None, **params: Any) -> tuple[Market, DirectRl]:
    ref = Ref(name="auto", params={"features": ("log_return:1", "volatility:12", "columns")})
    market = make_market(ref, history.instruments, history.columns, history.bar_ns).fit([(history, FOLD.train)])
    task = MarketTask(market, history, FOLD, 7, snapshot)
    agent = DirectRl(Config(**{**QUICK, **params}), task.spec)
    agent.fit(task, log or Quiet())
    return market, agent


class Interrupt(Quiet):
    def progress(self, done: int, total: int, note: str = "") -> None:
        if done == 2:
            raise KeyboardInterrupt


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    history = panel(900, 2, seed=3)
    _, whole = trained(history, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        trained(history, tmp_path / "part", Interrupt(), epochs=4)
    _, resumed = trained(history, tmp_path / "part", epochs=4)
    for name, value in whole.state().items():
        assert np.array_equal(value, resumed.state()[name]), name


@pytest.mark.parametrize("objective", ["sharpe", "differential_sharpe", "log_growth"])
@pytest.mark.parametrize("hidden", [0, 5])
def test_every_objective_trains_on_a_ragged_panel(objective: str, hidden: int) -> None:
    history = panel(900, 3, seed=3)
    market, agent = trained(history, objective=objective, hidden=hidden)
    record = backtest(market, agent, history, Segment(700, 900), window_of(market, agent))
    assert np.isfinite(record.account.equity).all()
    assert np.abs(record.fills.quantity).sum() > 0.0


def test_coins_are_never_sold_short() -> None:
    history = panel(900, 2, seed=3, kind="spot")
    market, agent = trained(history)
    record = backtest(market, agent, history, Segment(700, 900), window_of(market, agent))
    assert (record.account.position >= 0.0).all()


def test_gradients_flow_through_the_positions_held() -> None:
    with own_randomness(0):
        trader = Trader(2, 0, shorting=True).double()
    torch.nn.init.constant_(trader.keep, 0.7)
    inputs = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 6, 1, 2)))
    tradable = torch.ones((1, 6, 1), dtype=torch.bool)
    held = torch.zeros((1, 1), dtype=torch.float64)

    def last(weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(trader, {"outer.weight": weight}, (inputs[:, 0], held)).sum()

    assert torch.autograd.gradcheck(last, trader.outer.weight.detach().requires_grad_())
    trader.walk(inputs, tradable, held)[0, -1].sum().backward()
    whole = trader.keep.grad
    assert whole is not None
    assert float(whole) != 0.0
    step = 1e-6
    moved = []
    for change in (-step, step):
        with torch.no_grad():
            trader.keep += change
            moved.append(float(trader.walk(inputs, tradable, held)[0, -1]))
            trader.keep -= change
    assert float(whole) == pytest.approx((moved[1] - moved[0]) / (2 * step), rel=1e-5)


def test_what_cannot_be_traded_stays() -> None:
    with own_randomness(0):
        trader = Trader(2, 0, shorting=True)
    inputs, held = torch.ones((1, 4, 1, 2)), torch.full((1, 1), 0.3)
    walk = trader.walk(inputs, torch.tensor([[[False], [False], [True], [False]]]), held)[0, :, 0]
    assert walk[0] == walk[1] == held[0, 0]
    assert walk[2] == walk[3] != held[0, 0]


def test_a_training_period_shorter_than_a_sequence_is_refused() -> None:
    with pytest.raises(UserError, match="sequence_bars, 600"):
        trained(panel(900, 1, seed=3), sequence_bars=600)


@pytest.mark.slow
@pytest.mark.long
def test_it_reaches_the_optimal_growth_or_a_better_sharpe_ratio_as_it_is_asked() -> None:
    history = synthetic("ar1", 30_000, seed=3)
    (fold,) = split("holdout").split(history)
    market = make_market(Ref(name="auto"), history.instruments, history.columns, history.bar_ns)
    market = market.fit([(history, fold.train)])
    growth, ratio = {}, {}
    for title, name, params in (
        ("optimal", "optimal", {}),
        ("growth", "direct_rl", {"objective": "log_growth", "epochs": 20}),
        ("sharpe", "direct_rl", {"objective": "sharpe", "epochs": 20}),
    ):
        config = catalog.load("agents", name).Config(**params)
        agent = make_agent(name, config, market, history.columns, 1, history.theory)
        if name == "direct_rl":
            agent.fit(MarketTask(market, history, fold, 1), Quiet())  # type: ignore[attr-defined]
        record = backtest(market, agent, history, fold.test[0], window_of(market, agent))
        growth[title] = math.log(record.account.equity[-1] / record.account.equity[0])
        ratio[title] = sharpe(returns(record.account.equity), 8760.0)
    print(f"growth {growth}, Sharpe {ratio}")  # shown by pytest -s
    assert growth["growth"] > 0.93 * growth["optimal"]
    assert ratio["sharpe"] > 1.05 * ratio["optimal"]
