"""What is outside the universe can only be reduced: the same in environments, sessions and batches, to the bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from qframe_rl.agent import Planner, View
from qframe_rl.deploy import venue_of
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.gym.market import Market, MarketConfig, market, whole
from qframe_rl.interface import rebalance
from qframe_rl.kernel.lanes import scratch
from qframe_rl.listeners import Journal
from qframe_rl.members import MEMBER, member_channel, reducing
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.batch import lane, records
from qframe_rl.session import Session, run
from qframe_rl.types import CLOSE, Float, History, Int, Orders, Record, Segment
from tests.markets import panel
from tests.test_parity import SCHEMES, Scripted, make, sampler

LIMITS = (Limits(), Limits(max_orders_per_hour=2, max_position=2_000.0, max_drawdown=0.9))


def universe(n_bars: int, seed: int = 5, stay: float = 0.97) -> History:
    """Four coins that come into a universe and leave it, now and then."""
    history = panel(n_bars, 4, seed=seed, volatility=0.004)
    rng = np.random.default_rng(seed)
    inside = np.cumsum(rng.random((n_bars, 4)) > stay, axis=0) % 2 == 0
    column = np.where(np.isnan(history.values[:, :, CLOSE]), np.nan, inside.astype(float))
    values = np.concatenate([history.values, column[:, :, None]], axis=2)
    return replace(history, values=values, columns=(*history.columns, MEMBER))


def session_of(history: History, made: Market, agent: Any, start: int) -> Record:
    journal = Journal(made.instruments, made.bar_ns)
    feed = HistoryFeed(history, Segment(start + 1, len(history)), agent.window)
    run(Session(feed, venue_of(made), agent.window, journal), agent)
    return journal.record()


def never_enlarged(history: History, record: Record) -> int:
    """Assert that nothing outside grew or turned round; return in how many bars something outside was held."""
    channel = member_channel(history.columns)
    rows = np.searchsorted(history.time, record.time[:-1])
    outside = history.values[rows, :, channel] == 0.0
    before, after = record.account.position[:-1], record.account.position[1:]
    assert (np.abs(after) <= np.abs(before) + 1e-12)[outside].all()
    assert (after * before >= 0.0)[outside].all()
    asked = record.orders.quantity[1:] if record.slots is None else record.fills.quantity[1:]
    assert (asked * before <= 0.0)[outside].all()
    assert (np.abs(asked) <= np.abs(before))[outside].all()
    return int(((before != 0.0) & outside).sum())


@pytest.mark.parametrize("limits", LIMITS, ids=["free", "limited"])
@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_session_environment_and_batch_reduce_alike(scheme: str, limits: Limits) -> None:
    history = universe(900)
    made = replace(make(history, scheme), limits=limits)
    sample = sampler(made, 1)
    actions = [sample() for _ in range(len(history))]
    tape = made.tape([(history, whole(history))])
    env, vec = made.env(tape), made.vec(tape, 9, AutoresetMode.DISABLED)
    row, info = env.reset(seed=0)
    vec.reset(seed=0)
    start, rows, equity, cash, ended, steps = int(env.engine.row[0]), [row], [info["equity"]], [], False, 0
    while not ended:
        row, _, terminated, truncated, info = env.step(actions[steps])
        seen, *_ = vec.step(np.stack([actions[steps]] * 9))
        assert np.array_equal(seen, np.stack([row] * 9))
        rows.append(row)
        equity.append(info["equity"])
        cash.append(env.engine.cash[0])
        ended, steps = terminated or truncated, steps + 1
    agent = Scripted(made, actions)
    record = session_of(history, made, agent, start)
    assert np.array_equal(record.account.equity, np.array(equity))
    assert np.array_equal(record.account.cash[1:], np.array(cash))
    assert np.array_equal(np.stack(agent.seen), np.stack(rows)[: len(agent.seen)])
    assert never_enlarged(history, record) > 20
    assert (record.fills.quantity != 0.0).sum() > 100


class Mixed:
    """Targets drawn ahead, by a planner."""

    window = 30
    band = 0.01

    def __init__(self, n_bars: int, n: int):
        rng = np.random.default_rng(3)
        self.drawn = np.repeat(rng.uniform(-0.5, 0.5, (n_bars // 5 + 1, n)), 5, axis=0)
        self.drawn[rng.random(self.drawn.shape) < 0.2] = 0.0
        self.times: Int = np.empty(0, dtype=np.int64)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        return self.drawn[np.searchsorted(self.times, times[first:])]

    def decide(self, view: View) -> Orders:
        return rebalance(view, self.drawn[int(np.searchsorted(self.times, view.time))], self.band)


@pytest.mark.parametrize("limits", LIMITS, ids=["free", "limited"])
def test_a_batch_of_backtests_reduces_as_a_session_does(limits: Limits) -> None:
    history = universe(700, seed=8)
    made = replace(make(history, "exposure"), limits=limits)
    agent = Mixed(len(history), 4)
    agent.times = history.time
    assert isinstance(agent, Planner)
    segments = (Segment(100, 700), Segment(0, 420))
    for segment, journal in zip(segments, records(made, [lane(agent, history, s, 30) for s in segments]), strict=True):
        record = backtest(made, agent, history, segment, 30)
        assert journal.digest == record.digest
        assert never_enlarged(history, record) > 20


def test_orders_outside_keep_their_closing_part_alone() -> None:
    position = np.array([2.0, 2.0, 2.0, -2.0, -2.0, 0.0, 2.0])
    asked = np.array([-1.0, -3.0, 1.0, 3.0, -1.0, 1.0, 9.0])
    left = reducing(Orders.market(asked), position, np.array([True] * 6 + [False])).quantity
    assert left.tolist() == [-1.0, -2.0, 0.0, 2.0, 0.0, 0.0, 9.0]
    assert not np.signbit(left[[2, 4, 5]]).any()


def test_a_view_says_who_may_be_bought_and_who_can_only_be_reduced() -> None:
    history = universe(60)
    made = make(history, "exposure")
    shown: list[View] = []

    class Looking:
        window = 21

        def decide(self, view: View) -> Orders:
            shown.append(view)
            return Orders.market(np.zeros(4))

    session_of(history, made, Looking(), 30)
    for view in shown:
        row = int(np.searchsorted(history.time, view.time))
        close, member = history.values[row, :, CLOSE], history.values[row, :, member_channel(history.columns)]
        assert view.outside.tolist() == (member == 0.0).tolist()
        assert view.tradable.tolist() == (~np.isnan(close) & (member == 1.0)).tolist()
    assert sum(view.outside.any() for view in shown) > 5


def test_a_market_without_a_universe_has_everybody_in() -> None:
    history = panel(60, 2)
    made = market("test", MarketConfig(), history.instruments, history.columns, history.bar_ns)
    tape = made.tape([(history, whole(history))]) if made.interface.window < 60 else None
    assert tape is None or (tape.bars[..., 6] >= 0.0).all()
    assert member_channel(history.columns) == 0
    assert scratch(2) is not None
