"""Limits mean the same wherever they bind: in a session, in one environment, in a batch, in a walk of many settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from qframe_rl.agent import View
from qframe_rl.config import Ref, UserError
from qframe_rl.deploy import window_of
from qframe_rl.evaluate.splits import Fold
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.gym.env import SessionEnv
from qframe_rl.gym.market import Market, MarketConfig, market, whole
from qframe_rl.risk.columns import PEAK, STATE, STATES
from qframe_rl.risk.engine import RiskEngine
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.batch import batch, lane, records
from qframe_rl.runner.task import MarketTask
from qframe_rl.session import Session
from qframe_rl.types import MINUTE, History, Orders, Segment
from qframe_rl.venues.guarded import GuardedVenue
from qframe_rl.venues.simulated import SimulatedVenue
from tests.contracts.test_agents import bars, market_for
from tests.contracts.test_planners import planners
from tests.markets import panel

CAPS = {"max_order": 4_000.0, "max_position": 5_000.0, "max_gross": 9_000.0, "max_leverage": 0.9}
CASES: dict[str, dict[str, Any]] = {
    "caps": CAPS,
    "what an order may be": {"filters": True, "collar": 0.012, "max_orders_per_hour": 2},
    "flatten": {**CAPS, "max_drawdown": 0.05},
    "reduce": {"daily_loss": 0.01, "on_loss": "REDUCE_ONLY", "max_leverage": 1.5},
    "halt": {"daily_loss": 0.02, "max_drawdown": 0.08, "on_loss": "HALTED"},
    "rejects": {"max_rejects": 3, "max_order": 4.0},
    "protections": {
        "cooldown_bars": 3,
        "stop_guard": 2,
        "stop_guard_bars": 30,
        "stop_guard_scope": "side",
        "low_profit": -0.002,
        "low_profit_bars": 40,
        "drawdown_pause": 0.02,
        "drawdown_pause_bars": 50,
        "max_entries_per_day": 9,
        "volatility_halt": 0.012,
        "volatility_halt_bars": 3,
        "volatility_halt_lock_bars": 2,
    },
}

BRACKETED = (*list(CASES)[:4], "protections")
ENDS = {"flatten": ["FLATTEN", "HALTED"], "reduce": ["REDUCE_ONLY"], "halt": ["HALTED"], "rejects": ["HALTED"]}
"""States that the session with such limits goes through."""


def made(history: History, limits: Limits, scheme: str = "limit", episode_bars: int | None = None) -> Market:
    more = {"limit": {"max_offset": 0.03}, "bracket": {"trailing": True, "bars": 20, "max_stop": 0.01}}
    params = {"low": -2.0, "high": 2.0} | more.get(scheme, {})
    config = MarketConfig(
        features=("log_return:1", "volatility:24"),
        show_locks=True,
        show_limits=True,
        show_resting=True,
        actions=Ref(name=scheme, params=params),
        half_spread_bps=3.0,
        impact=0.05,
        episode_bars=episode_bars,
    )
    one = market(
        "test", config, history.instruments, history.columns, history.bar_ns, leverage=4.0, shorting=True,
        liquidation_fee=0.005,
    )  # fmt: skip
    return replace(one.fit([(history, whole(history))]), limits=limits)


def by_the_quarter(history: History) -> History:
    """The same bars, four to the hour: what is counted by the hour is more than one bar's."""
    return replace(history, bar_ns=15 * MINUTE, time=history.time[0] + 15 * MINUTE * np.arange(len(history)))


@pytest.mark.parametrize(
    ("name", "scheme"),
    [*((name, "limit") for name in CASES), *((name, "bracket") for name in BRACKETED)],
)
def test_session_environment_and_batch_agree_to_the_bit(name: str, scheme: str) -> None:
    history = by_the_quarter(panel(1_200, 3, seed=5, volatility=0.004))
    one = made(history, Limits(**CASES[name]), scheme)
    tape, window = one.tape([(history, whole(history))]), one.interface.window
    env, vec = one.env(tape), one.vec(tape, 3, AutoresetMode.DISABLED)
    row, _ = env.reset(seed=0)
    vec.reset(seed=0)
    feed = HistoryFeed(history, Segment(int(env.engine.row[0]) + 1, len(history)), window)
    venue = GuardedVenue(SimulatedVenue(one.rules, one.cash), RiskEngine(one.limits, one.instruments))
    live = SessionEnv(Session(feed, venue, window), one.interface, one.reward)
    seen, _ = live.reset()
    assert np.array_equal(row, seen)
    one.interface.action_space.seed(1)
    watch, bound, ended = env.engine.watch, 0, False
    assert watch is not None
    while not ended:
        action = one.interface.action_space.sample()
        row, reward, terminated, truncated, info = env.step(action)
        rows, rewards, *_ = vec.step(np.stack([action] * 3))
        seen, paid, over, _, more = live.step(action)
        assert np.array_equal(row, seen)
        assert np.array_equal(rows, np.stack([row] * 3))
        assert reward == paid == rewards[1]
        assert info == more
        assert over == terminated
        assert venue.account.cash == env.engine.cash[0] == vec.engine.cash[2]
        assert np.array_equal(venue.account.position, env.engine.position[0])
        assert STATES[int(watch.state[0, STATE])] == venue.engine.state
        assert watch.state[0, PEAK] == venue.engine.peak
        assert venue.verdict is not None
        bound += bool(venue.verdict.reasons)
        ended = terminated or truncated
    assert bound > 0
    states = [state for _, state, _ in venue.trips]
    assert states == ENDS.get(name, [])


def test_limits_bind_in_training_and_begin_anew_with_each_episode() -> None:
    history = panel(900, 2, seed=8)
    one = made(history, Limits(max_drawdown=0.05, max_leverage=0.5), "exposure", episode_bars=40)
    tape = one.tape([(history, whole(history))])
    vec = one.vec(tape, 5, AutoresetMode.SAME_STEP)
    vec.reset(seed=70)
    actions = np.random.default_rng(0).uniform(-1, 1, (200, 5, 2))
    watch = vec.engine.watch
    assert watch is not None
    log, states = [], []
    for step in range(200):
        if step == 90:
            kept = vec.snapshot()
        rows, *_ = vec.step(actions[step])
        log.append(rows)
        states.append(watch.state[:, STATE].copy())
        if step % 40 == 39:
            assert not states[-1].any()
    assert {0.0, 3.0} <= set(np.unique(states))
    vec.restore(kept)
    assert np.array_equal(vec.step(actions[90])[0], log[90])
    for b in range(5):
        env = one.env(tape)
        env.reset(seed=70 + b)
        for step in range(200):
            row, _, terminated, truncated, _ = env.step(actions[step, b])
            if terminated or truncated:
                row, _ = env.reset()
            assert np.array_equal(row, log[step][b])


def test_what_a_learner_is_handed_is_held_to_the_limits() -> None:
    history = panel(900, 1, seed=4, volatility=0.002, ragged=False)
    fold = Fold((Segment(0, 600),), (Segment(600, 750),), (Segment(750, 900),))
    for limits in (Limits(), Limits(max_leverage=0.25)):
        task = MarketTask(made(history, limits, "exposure"), history, fold, 0)
        envs = task.envs(2, indexed=True)
        envs.reset()
        account = envs.step(np.full((2, 1), 1.0))[0]["account"]
        assert (account[:, 0] > 0.3).all() != limits.binding


class Asks:
    """Trades on the last return, and looks at its account: it cannot be stated ahead."""

    window = 30

    def __init__(self, one: Market):
        self.one = one

    def decide(self, view: View) -> Orders:
        rise = np.nan_to_num(view.close[-1] / view.close[-2] - 1.0)
        return self.one.interface.orders(np.concatenate([np.tanh(300.0 * rise), np.zeros(len(rise))]), view)


def test_a_backtest_is_held_to_the_limits_of_its_market() -> None:
    history = panel(600, 2, seed=2)
    free, held = (made(history, limits) for limits in (Limits(), Limits(max_leverage=0.4)))
    gross = [
        np.abs(backtest(one, Asks(one), history, Segment(30, 600), 30).account.exposure).sum(-1) for one in (free, held)
    ]
    assert np.median(gross[0]) > 0.6
    assert np.median(gross[1]) < 0.45


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("kind", "n"), [("spot", 1), ("perpetual", 3)])
def test_a_batch_is_what_sessions_give(name: str, kind: str, n: int) -> None:
    history = by_the_quarter(bars(kind, n))
    one = replace(market_for(history), limits=Limits(**CASES[name]))
    segments = (Segment(450, 900), Segment(300, 720), Segment(0, 600))
    differs = False
    for title, agent in planners(kind, n).items():
        window = window_of(one, agent)
        lanes = [lane(agent, history, segment, window) for segment in segments]
        free = batch(replace(one, limits=Limits()), lanes)
        together = zip(segments, free, batch(one, lanes), records(one, lanes), strict=True)
        for segment, untied, result, journal in together:
            record = backtest(one, agent, history, segment, window)
            assert journal.digest == record.digest, title
            assert np.array_equal(record.account.equity, result.equity[: len(record)]), title
            assert (result.equity[len(record) :] == result.equity[-1]).all()
            assert result.trades == (record.fills.quantity != 0.0).sum()
            differs = differs or not np.array_equal(untied.equity, result.equity)
    assert differs or n == 1


def test_gymnasium_takes_limits_by_name() -> None:
    history = panel(400, 1, seed=3)
    held = gymnasium.make_vec("QFrame/Perp-v1", 2, history=history, risk={"max_leverage": 0.25})
    assert held.unwrapped.engine.watch is not None  # type: ignore[attr-defined]
    assert gymnasium.make("QFrame/Perp-v1", history=history).unwrapped.engine.watch is None  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="max_levrage"):
        gymnasium.make("QFrame/Perp-v1", history=history, risk={"max_levrage": 1.0})
    with pytest.raises(UserError, match="takes no risk"):
        gymnasium.make("QFrame/Kelly-v0", risk={"max_leverage": 1.0})
