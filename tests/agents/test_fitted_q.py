"""Full-information fitted Q: the rewards of all pairs are the kernel's, and what is known later plays no part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.fitted_q import QUICK, Config, FittedQ
from qframe_rl.config import Ref, UserError
from qframe_rl.deep.fitted_q import Drawn, greedy, targets
from qframe_rl.deploy import make_market, window_of
from qframe_rl.evaluate.splits import Fold
from qframe_rl.gym.make import make_problem
from qframe_rl.gym.market import Market
from qframe_rl.kernel.rules import rules_of
from qframe_rl.kernel.settle import settle
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.solve.solve import ProblemTask, measure
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import Account, Bar, History, Orders, Segment
from tests.contracts.checks import Quiet
from tests.markets import history_of, panel

FOLD = Fold((Segment(0, 500),), (Segment(500, 700),), (Segment(700, 900),))
FEATURES = ("log_return:1", "volatility:12", "columns")


def task_of(history: History, fold: Fold = FOLD, snapshot: Path | None = None, **market: Any) -> MarketTask:
    ref = Ref(name="auto", params={"features": FEATURES, **market})
    made = make_market(ref, history.instruments, history.columns, history.bar_ns).fit([(history, fold.train)])
    return MarketTask(made, history, fold, 7, snapshot)


def trained(history: History, snapshot: Path | None = None, log: Any = None, **params: Any) -> tuple[Market, FittedQ]:
    task = task_of(history, snapshot=snapshot)
    agent = FittedQ(Config(**{**QUICK, **params}), task.spec)
    agent.fit(task, log or Quiet())
    return task.market, agent


class Interrupt(Quiet):
    def progress(self, done: int, total: int, note: str = "") -> None:
        if done == 2:
            raise KeyboardInterrupt


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    history = panel(900, 2, seed=3)
    _, whole = trained(history, passes=4)
    with pytest.raises(KeyboardInterrupt):
        trained(history, tmp_path / "part", Interrupt(), passes=4)
    _, resumed = trained(history, tmp_path / "part", passes=4)
    for name, value in whole.state().items():
        assert np.array_equal(value, resumed.state()[name]), name


@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_rewards_of_all_pairs_are_those_of_the_kernel(spread: float) -> None:
    """From every level to every level at one open, and from there to the next open, funding paid."""
    history = panel(300, 1, seed=4, ragged=False)
    exact = tuple(replace(i, lot=0.0, tick=0.0, min_notional=0.0) for i in history.instruments)
    history = replace(history, instruments=exact)
    task = task_of(history, Fold((Segment(0, 300),), (), ()), half_spread_bps=spread)
    agent = FittedQ(Config(levels=(-1.0, -0.3, 0.5, 1.0)), task.spec)
    table = agent.table([(history, (Segment(0, 300),))])
    rules = rules_of(exact, half_spread=spread / 1e4, volume_share=1.0, leverage=3.0, shorting=True)
    funded = 0
    for n in range(0, len(table), 7):
        t = int(table.at[n])
        opening = history.values[t + 1, 0, 0]
        found = table.rewards(np.array([n]))[0]
        for i, held in enumerate(agent.levels):
            for j, wanted in enumerate(agent.levels):
                equity = 1000.0
                before = Account(
                    np.array(equity * (1.0 - held)), np.array([held * equity / opening]), np.array([opening])
                )
                order = Orders.market(np.array([(wanted - held) * equity / opening]))
                after, _ = settle(before, order, bar_at(history, t + 1, funding=False), rules)
                idle = Orders.market(np.zeros(1))
                last, _ = settle(after, idle, bar_at(history, t + 2, funding=True), rules)
                worth = float(last.cash) + float(last.position[0]) * history.values[t + 2, 0, 0]
                assert worth / equity - 1.0 == pytest.approx(found[i, j], abs=1e-12)
        funded += history.funding[t + 2, 0] != 0.0
    assert funded > 3


def bar_at(history: History, t: int, *, funding: bool) -> Bar:
    due = history.funding[t] if funding else np.zeros(1)
    return Bar(int(history.time[t]), history.values[t], due, history.final[t], 0.0)


def test_nothing_is_learned_across_gaps_of_time_or_of_trading_or_the_end_of_a_segment() -> None:
    history = panel(300, 1, seed=4, ragged=False)
    time, values = history.time.copy(), history.values.copy()
    time[100:] += history.bar_ns
    values[200, 0, :5] = np.nan
    holed = replace(history, time=time, values=values)
    agent = FittedQ(Config(), task_of(holed, Fold((Segment(0, 300),), (), ())).spec)
    table = agent.table([(holed, (Segment(10, 150), Segment(160, 300)))])
    wanted = set(range(10, 148)) | set(range(160, 298))
    assert set(table.at.tolist()) == wanted - {98, 99} - {198, 199, 200}


def test_ties_keep_what_is_held_and_ends_have_no_sequel() -> None:
    values = torch.tensor([[[1.0, 1.0, 1.0], [2.0, 1.0, 2.0], [0.0, 3.0, 3.0]]])
    assert greedy(values).tolist() == [[0, 0, 2]]
    drawn = Drawn(torch.zeros(1, 2), torch.tensor([[[1.0, 2.0]]]), torch.zeros(1, 2, 2), torch.tensor([[1.0, 0.0]]))
    found = targets(drawn, lambda after: torch.full((*after.shape[:-1], 1, 2), 10.0), 0.5)
    assert found.tolist() == [[[6.0, 2.0]]]


def test_it_chooses_among_the_levels_of_the_market_or_its_own() -> None:
    coin, perpetual = panel(900, 1, seed=3, kind="spot"), panel(900, 3, seed=3)
    assert FittedQ(Config(), task_of(coin).spec).levels.tolist() == [0.0, 0.5, 1.0]
    assert np.allclose(FittedQ(Config(), task_of(perpetual).spec).levels, [-1 / 3, 0.0, 1 / 3])
    assert FittedQ(Config(levels=(-1.0, 1.0)), task_of(coin).spec).levels.tolist() == [0.0, 1.0]
    other = task_of(coin, actions={"name": "exposure"}).spec
    assert FittedQ(Config(exposure=0.7), other).levels.tolist() == [0.0, 0.7]
    with pytest.raises(UserError, match="allows none but 0"):
        FittedQ(Config(levels=(-1.0,)), task_of(coin).spec)


def test_a_training_period_without_three_bars_in_a_row_is_refused() -> None:
    history = panel(900, 1, seed=3, ragged=False)
    agent = FittedQ(Config(), task_of(history).spec)
    with pytest.raises(UserError, match="three bars follow"):
        agent.table([(history, (Segment(0, 2),))])


def test_at_a_huge_cost_it_stays_flat() -> None:
    history = panel(2000, 1, seed=5, ragged=False, volatility=0.01)
    dear = tuple(replace(i, taker_fee=0.09) for i in history.instruments)
    history = replace(history, instruments=dear)
    fold = Fold((Segment(0, 1500),), (), (Segment(1500, 2000),))
    task = task_of(history, fold)
    agent = FittedQ(Config(steps=400, passes=4), task.spec)
    agent.fit(task, Quiet())
    record = backtest(task.market, agent, history, fold.test[0], window_of(task.market, agent))
    assert (record.account.position == 0.0).all()


def test_later_rows_change_no_action() -> None:
    """Training included: what it learns on the first rows does not move with those that no fold shows it."""
    history = panel(900, 2, seed=3)
    scrambled = history.values.copy()
    scrambled[700:] = scrambled[700:][::-1]
    records = []
    for one in (history, replace(history, values=scrambled)):
        market, agent = trained(one)
        records.append(backtest(market, agent, one, Segment(500, 700), window_of(market, agent)))
    assert np.array_equal(records[0].fills.quantity, records[1].fills.quantity)
    assert np.abs(records[0].fills.quantity).sum() > 0.0


def test_on_a_problem_it_finds_the_optimum_and_refuses_what_has_no_few_actions() -> None:
    problem = make_problem(Ref(name="regime"))
    task = ProblemTask(problem, 1)
    agent = FittedQ(Config(steps=600, passes=6, states=20_000, gamma=0.95), task.spec)
    agent.fit(task, Quiet())
    assert measure(problem, agent, 500).share == pytest.approx(1.0)
    with pytest.raises(UserError, match="chooses among a few actions"):
        FittedQ(Config(), ProblemTask(make_problem(Ref(name="kelly")), 1).spec)


def test_it_needs_prices_that_it_can_tell_apart() -> None:
    flat = np.full((900, 1, 5), 100.0)
    market, agent = trained(history_of(flat))
    record = backtest(market, agent, history_of(flat), Segment(700, 900), window_of(market, agent))
    assert (record.account.position == 0.0).all()
