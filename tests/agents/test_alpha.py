"""RL Alpha: formulas that a search finds, pooled, chosen on the tail of training, and held as one book."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from qframe_rl.agent import State
from qframe_rl.config import UserError
from qframe_rl.evaluate.metrics import metrics
from qframe_rl.evaluate.splits import Fold
from qframe_rl.runner.batch import batch, lane, records
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import CLOSE, History, Segment
from tests.agents.planted import bars_of
from tests.agents.runs import FREE, made, market_of, trade, trained
from tests.contracts.checks import Quiet, scrambled

RULES = {**FREE, "taker_fee_bps": 5.0}


@cache
def reverting(n_coins: int = 12, n_bars: int = 900) -> History:
    """Coins that give back three tenths of what a bar took them from the others."""
    rng = np.random.default_rng(n_coins)
    move = np.zeros((n_bars, n_coins))
    for t in range(1, n_bars):
        centre = move[t - 1].mean() if n_coins > 1 else 0.0
        move[t] = 0.01 * rng.standard_normal(n_coins) - 0.3 * (move[t - 1] - centre)
    return bars_of(100.0 * np.exp(np.cumsum(move, axis=0)))


def alpha(history: History, stop: int = 600, env: str = "perp", **params: Any) -> tuple[Any, Any]:
    """Market, and agent that has learned on rows before ``stop``."""
    market = market_of(history, env, **RULES)
    settings = {"horizon_bars": 1, "n_formulas": 150, "n_pools": 1, "lookback_bars": 100} | params
    return market, trained(made("alpha", market, history, **settings), market, history, stop)


@pytest.mark.parametrize("n_coins", [1, 12])
def test_what_is_planted_is_found_and_earned(n_coins: int) -> None:
    history = reverting(n_coins)
    market, agent = alpha(history)
    assert agent.pool.trees
    assert metrics(trade(market, agent, history, 600)).sharpe > 3.0


def test_a_pool_of_ones_own_is_weighed_and_not_searched_for() -> None:
    history = reverting()
    market, agent = alpha(history, formulas=("alpha:neg(ret1)", "rank(std(ret1, 20))"))
    assert [tree.text for tree in agent.pool.trees] == ["neg(ret1)", "rank(std(ret1,20))"]
    assert agent.pool.weights[0] > 10.0 * abs(agent.pool.weights[1])
    assert metrics(trade(market, agent, history, 600)).sharpe > 3.0


def test_without_shorts_the_better_coins_are_held() -> None:
    history = reverting()
    market, agent = alpha(history, env="spot", formulas=("neg(ret1)",))
    exposure = trade(market, agent, history, 600).account.exposure[2:]
    assert exposure.min() >= 0.0
    assert np.abs(exposure.sum(axis=1) - 1.0).max() < 0.05


def test_without_shorts_pools_are_chosen_after_funding() -> None:
    """What fell is bought, and pays two hundredths of its price while it is held."""
    history = reverting()
    _, agent = alpha(history, env="spot", formulas=("neg(ret1)",))
    close, due = history.values[:, :, CLOSE], np.zeros(history.funding.shape)
    due[3:] = 0.02 * close[2:-1] * -np.sign(close[1:-2] - close[:-3])
    free, funded = (
        agent._earned(SimpleNamespace(validation=[(one, (Segment(600, 898),))]))
        for one in (history, replace(history, funding=due))
    )
    assert free > 0.0 > funded


def test_what_is_decided_is_the_mean_of_the_last_decisions() -> None:
    history = reverting()
    _, one = alpha(history, formulas=("neg(ret1)",))
    _, four = alpha(history, formulas=("neg(ret1)",), horizon_bars=4)
    single, mean = (agent.targets(history.values, history.time, 200) for agent in (one, four))
    assert mean[3:] == pytest.approx((single[3:] + single[2:-1] + single[1:-2] + single[:-3]) / 4.0, abs=1e-15)
    assert np.abs(single).sum(axis=1) == pytest.approx(1.0)


def test_a_batch_of_a_panel_is_what_a_session_gives() -> None:
    history = reverting()
    market, agent = alpha(history)
    segment = Segment(600, 900)
    lanes = [lane(agent, history, segment, agent.window)]
    record = trade(market, agent, history, 600)
    assert records(market, lanes)[0].digest == record.digest
    assert np.array_equal(batch(market, lanes)[0].equity, record.account.equity)


def test_no_bar_after_training_changes_what_is_found() -> None:
    history = reverting()
    _, agent = alpha(history)
    _, other = alpha(scrambled(history, 600))
    for key, value in agent.state().items():
        assert np.array_equal(value, other.state()[key]), key


def test_nothing_is_traded_where_no_pool_earned_on_the_tail() -> None:
    rng = np.random.default_rng(5)
    history = bars_of(100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal((900, 12)), axis=0)))
    market = market_of(history, "perp", **{**FREE, "taker_fee_bps": 100.0})
    agent: Any = trained(
        made("alpha", market, history, horizon_bars=1, formulas=(), n_formulas=100, n_pools=1), market, history, 600
    )
    assert agent.pool.trees == ()
    assert not trade(market, agent, history, 600).account.exposure.any()
    again: Any = made("alpha", market, history)
    again.restore(agent.state())
    assert again.pool.trees == ()


def test_a_pool_whose_truth_turned_round_on_the_tail_is_not_traded() -> None:
    rng, move = np.random.default_rng(3), np.zeros((900, 12))
    for t in range(1, 900):
        sign = -0.3 if t < 460 else 0.3
        move[t] = 0.01 * rng.standard_normal(12) + sign * (move[t - 1] - move[t - 1].mean())
    _, agent = alpha(bars_of(100.0 * np.exp(np.cumsum(move, axis=0))))
    assert agent.pool.trees == ()


def test_coins_that_are_never_enough_to_rank_are_said_and_not_traded() -> None:
    history = reverting()
    values = history.values.copy()
    values[:600, 5:] = np.nan
    said: list[str] = []

    class Heard(Quiet):
        def progress(self, done: int, total: int, note: str = "") -> None:
            said.append(note)

    late = replace(history, values=values)
    market, fold = market_of(late, "perp", **RULES), Fold((Segment(0, 600),), (), (Segment(600, 900),))
    agent: Any = made("alpha", market, late)
    agent.fit(MarketTask(market, late, fold, 0), Heard())
    assert said == ["no training bar has 8 coins to rank: nothing is traded"]
    assert agent.pool.trees == ()


class Remembering(MarketTask):
    """A task that is interrupted after its first pool."""

    kept: ClassVar[State] = {}

    def remember(self, state: State) -> None:
        first, type(self).kept = not self.kept, state
        if first:
            raise KeyboardInterrupt

    def recall(self) -> State:
        return self.kept


def test_an_interrupted_search_goes_on_with_the_pools_it_has() -> None:
    history = reverting()
    market, whole = alpha(history, n_pools=2)
    fold = Fold((Segment(0, 600),), (), (Segment(600, len(history)),))
    settings = {"horizon_bars": 1, "n_formulas": 150, "n_pools": 2, "lookback_bars": 100}
    with pytest.raises(KeyboardInterrupt):
        made("alpha", market, history, **settings).fit(Remembering(market, history, fold, 0), Quiet())  # type: ignore[attr-defined]
    agent: Any = made("alpha", market, history, **settings)
    agent.fit(Remembering(market, history, fold, 0), Quiet())
    for key, value in whole.state().items():
        assert np.array_equal(value, agent.state()[key]), key


def test_formulas_that_look_back_too_far_are_not_taken() -> None:
    history = reverting()
    _, agent = alpha(history, lookback_bars=8)
    assert agent.pool.trees
    assert max(tree.lookback for tree in agent.pool.trees) <= 8


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"formulas": ("std(ret1,200)",)}, "looks back 201 bars; agent.alpha.lookback_bars allows 120"),
        ({"formulas": ("close",)}, "number"),
        ({"formulas": ("ref(close,-1)",)}, "it would show a later bar"),
        ({"n_largest": 3}, "n_largest: ranks need 8 coins or more"),
        ({"formulas": ("ret1", "ret1")}, "a formula is named twice"),
        ({"formulas": ("ret(close,5)", "alpha:ret(close, 5)")}, "a formula is named twice"),
    ],
)
def test_wrong_settings_are_told_in_a_sentence(params: dict[str, Any], said: str) -> None:
    history = reverting()
    with pytest.raises(UserError, match=said):
        made("alpha", market_of(history), history, **params)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": np.zeros(1)}, "not as many weights"),
        ({"sizes": np.array([-1, 3])}, "not as many weights"),
        ({"sizes": np.array([2.0])}, "other kinds"),
        ({"formulas": np.frombuffer(b"ret1\nref(close,-1)", np.uint8)}, "later bar"),
        ({"formulas": np.frombuffer(b"ret1\n\xff\xff", np.uint8)}, "decode"),
        ({"formulas": np.frombuffer(b"ret1\nstd(ret1,5000)", np.uint8)}, "looks back 5001 bars"),
    ],
)
def test_a_spoiled_pool_is_refused(change: State, said: str) -> None:
    history = reverting()
    _, agent = alpha(history, formulas=("neg(ret1)", "std(ret1, 20)"))
    with pytest.raises(ValueError, match=said):
        made("alpha", market_of(history), history).restore({**agent.state(), **change})  # type: ignore[attr-defined]


def test_one_coin_cannot_be_ranked() -> None:
    history = reverting(3)
    with pytest.raises(UserError, match="compares coins; that takes 8 or more, not 3"):
        made("alpha", market_of(history), history, formulas=("rank(ret1)",))


def test_a_formula_that_says_nothing_is_refused() -> None:
    history = reverting()
    values = history.values.copy()
    values[:, :, 4] = 7.0
    with pytest.raises(UserError, match="does not count on the training bars: it differs"):
        alpha(replace(history, values=values), formulas=("sign(volume)",))
