"""The deep momentum network: training that resumes, and decisions that are the batch's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.dmn import QUICK, Config, Dmn
from qframe_rl.agent import View
from qframe_rl.config import Ref, UserError, build
from qframe_rl.deploy import make_market, window_of
from qframe_rl.evaluate.splits import Fold
from qframe_rl.gym.market import Market
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import History, Orders, Segment
from tests.contracts import checks
from tests.contracts.checks import Quiet
from tests.markets import panel

FOLD = Fold((Segment(0, 500),), (Segment(500, 700),), (Segment(700, 900),))


def market_of(history: History) -> Market:
    name = "perp" if history.instruments[0].kind == "perpetual" else "spot"
    ref = Ref(name=name, params={"features": ("log_return:1",)})
    return make_market(ref, history.instruments, history.columns, history.bar_ns).fit([(history, FOLD.train)])


def trained(history: History, snapshot: Path | None = None, log: Any = None, **params: Any) -> tuple[Market, Dmn]:
    market = market_of(history)
    task = MarketTask(market, history, FOLD, 7, snapshot)
    agent = Dmn(Config(**{**QUICK, **params}), task.spec)
    agent.fit(task, log or Quiet())
    return market, agent


class Interrupt(Quiet):
    def progress(self, done: int, total: int, note: str = "") -> None:
        if done == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("network", ["lstm", "mlp", "transformer"])
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path, network: str) -> None:
    history = panel(900, 2, seed=3)
    _, whole = trained(history, network=network, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        trained(history, tmp_path / "part", Interrupt(), network=network, epochs=4)
    _, resumed = trained(history, tmp_path / "part", network=network, epochs=4)
    for name, value in whole.state().items():
        assert np.array_equal(value, resumed.state()[name]), name


def test_a_corrupt_snapshot_is_named(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"junk")
    with pytest.raises(UserError, match="part is corrupt"):
        trained(panel(900, 1, seed=3), tmp_path / "part")


class Watch:
    """Notes the exposures that an agent asks for."""

    def __init__(self, agent: Dmn):
        self.agent, self.window = agent, agent.window
        self.asked: list[np.ndarray] = []

    def decide(self, view: View) -> Orders:
        orders = self.agent.decide(view)
        account = view.account
        value = np.nan_to_num((account.position + orders.quantity) * account.mark)
        self.asked.append(value / float(account.equity))
        return orders


@pytest.mark.parametrize(
    "params", [{"network": "lstm"}, {"network": "mlp"}, {"network": "transformer"}, {"changepoint_bars": (10, 21)}]
)
def test_live_decisions_are_the_batch_forward(params: dict[str, Any]) -> None:
    history = panel(900, 3, seed=3)
    market, agent = trained(history, **params, band=0.0)
    watch = Watch(agent)
    backtest(market, watch, history, Segment(700, 900), window_of(market, watch))
    piece = agent._piece(history)
    rows = slice(700 - agent.config.sequence_bars, 899)
    with torch.inference_mode():
        position = agent._positions(agent._net(piece.inputs[:, rows])) * piece.size[:, rows] / piece.n[rows]
    batch = position[:, agent.config.sequence_bars - 1 :].numpy().T
    traded = ~np.isnan(history.values[699:899, :, 3])
    asked = np.stack(watch.asked[: len(batch)])
    kept = traded & (np.abs(asked) > 1e-9)
    assert kept.mean() > 0.5
    # float32 scores, then lots rounded toward zero: 1e-3 units of about 100 on an equity of about 10,000
    assert np.abs(asked - batch)[kept].max() < 2e-5 + 1e-3 * 200 / 9_000


def test_a_restart_converges_to_the_running_session() -> None:
    history = panel(900, 1, seed=3)
    market, agent = trained(history, band=0.0)
    long, short = Watch(agent), Watch(agent)
    backtest(market, long, history, Segment(500, 900), agent.window)
    backtest(market, short, history, Segment(800, 900), agent.window)
    gap = np.abs(np.stack(long.asked[-100:]) - np.stack(short.asked[-100:]))
    assert gap[50:].max() <= max(1e-3, gap[:10].max())


def test_a_missed_bar_warms_the_memory_up_again() -> None:
    history = panel(900, 1, seed=3, ragged=False)
    _, agent = trained(history)
    views = [_view(history, row, agent.window, row == 700) for row in (700, 701, 705)]
    for view in views[:2]:
        agent.decide(view)
    after_gap = agent.decide(views[2])
    fresh = agent.decide(replace(views[2], first=True))
    assert np.array_equal(after_gap.quantity, fresh.quantity)


def _view(history: History, row: int, window: int, first: bool) -> View:
    from qframe_rl.types import Account, Fills

    part = slice(row + 1 - window, row + 1)
    account = Account(np.float64(1e4), np.zeros(1), history.values[row, :, 3])
    fills = Fills.none(1)
    return View(int(history.time[row]), history.time[part], history.values[part], account, fills, first)


@pytest.mark.slow
def test_with_changepoints_it_keeps_the_contract_too() -> None:
    history = panel(500, 2, seed=21, kind="perpetual", volatility=0.01)
    params = {"changepoint_bars": (10,), "epochs": 1}

    def setup(bars: History) -> tuple[Market, Any]:
        market = checks.fitted(market_of(bars), bars)
        return market, checks.setup("dmn", market, bars, params)

    market, agent = setup(history)
    checks.agent_is_blind(setup, history)
    again = Dmn(Config(**{**QUICK, **params}), market.spec(history.columns, 3))
    again.restore(agent.state())
    assert checks.trade(market, agent, history).digest == checks.trade(market, again, history).digest


def test_coins_are_never_sold_short() -> None:
    history = panel(900, 3, seed=3, kind="spot")
    market, agent = trained(history)
    record = backtest(market, agent, history, Segment(700, 900), window_of(market, agent))
    assert (record.account.position >= 0.0).all()
    assert (record.account.position > 0.0).any()


def test_too_few_bars_are_said_to_be_few() -> None:
    notes = []

    class Notes(Quiet):
        def progress(self, done: int, total: int, note: str = "") -> None:
            notes.append(note)

    trained(panel(900, 1, seed=3), log=Notes())
    assert "expect little" in notes[-1]


def test_there_is_a_sequence_to_learn_from_in_every_epoch() -> None:
    """Begun later it reached beyond the only stretch: the epoch had no loss, and nothing could be kept."""
    history = panel(80, 1, seed=3)
    market, fold = market_of(history), Fold((Segment(0, 42),), (Segment(42, 80),), ())
    for seed in range(3):
        Dmn(Config(**QUICK), market.spec((), seed)).fit(MarketTask(market, history, fold, seed), Quiet())


@pytest.mark.parametrize(
    "params", [{"macd": ("24:8",)}, {"macd": ("x",)}, {"horizons": ()}, {"horizons": (0,)}, {"changepoint_bars": (5,)}]
)
def test_wrong_inputs_are_refused_in_a_sentence(params: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="agent dmn"):
        build(Config, params, "agent dmn")


def test_weights_of_another_width_are_refused() -> None:
    history = panel(900, 1, seed=3)
    market, agent = trained(history)
    other = Dmn(Config(**{**QUICK, "hidden": 5}), market.spec(history.columns, 1))
    with pytest.raises(ValueError, match="shape"):
        other.restore(agent.state())
