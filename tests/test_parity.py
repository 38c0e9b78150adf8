"""One path: the same actions on the same bars give the same bits through a session, one environment and a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from qframe_rl.agent import View
from qframe_rl.config import Ref
from qframe_rl.feeds.finer import with_made_up
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.gym.env import SessionEnv
from qframe_rl.gym.market import Market, MarketConfig, market, whole
from qframe_rl.listeners import Journal
from qframe_rl.session import Session, run
from qframe_rl.types import MINUTE, History, Orders, Segment
from qframe_rl.venues.simulated import SimulatedVenue
from tests.markets import panel

SCHEMES = {
    "limit": {"low": -2.0, "high": 2.0, "max_offset": 0.03},
    "exposure": {"low": -1.0, "high": 1.0},
    "levels": {"levels": (-1.0, 0.0, 0.5)},
    "simplex": {"step": 0.3},
    "delta": {"low": -1.0, "high": 1.0},
    "bracket": {"low": -1.0, "high": 1.0, "max_stop": 0.02, "max_take": 0.02, "trailing": True, "bars": 6},
}


def make(history: History, scheme: str, *, spot: bool = False, detail: str | None = None) -> Market:
    config = MarketConfig(
        features=("log_return:1", "volatility:24", "rsi:5", "zscore:20", "day_sin", "column:signal"),
        n_rows=3,
        actions=Ref(name=scheme, params=SCHEMES[scheme]),
        half_spread_bps=3.0,
        impact=0.05,
        episode_bars=None,
        detail=detail,
    )
    made = market(
        "test", config, history.instruments, history.columns, history.bar_ns,
        leverage=1.0 if spot else 4.0, shorting=not spot, liquidation_fee=0.0 if spot else 0.005,
    )  # fmt: skip
    return made.fit([(history, whole(history))])


def sampler(made: Market, seed: int) -> Callable[[], Any]:
    space = made.interface.action_space
    space.seed(seed)
    return space.sample


class Scripted:
    """Plays recorded actions and remembers what it saw."""

    def __init__(self, made: Market, actions: list[Any]):
        self.made, self.actions = made, iter(actions)
        self.window = made.interface.window
        self.seen: list[np.ndarray] = []

    def decide(self, view: View) -> Orders:
        self.seen.append(self.made.interface.observe(view))
        return self.made.interface.orders(next(self.actions), view)


@pytest.mark.parametrize(
    ("scheme", "n_bars", "detail"),
    [
        ("limit", 10_100, None),
        ("exposure", 2_000, None),
        ("levels", 2_000, None),
        ("simplex", 2_000, None),
        ("delta", 2_000, None),
        ("bracket", 2_000, None),
        ("limit", 1_000, "5m"),
        ("exposure", 1_000, "5m"),
        ("bracket", 1_000, "5m"),
    ],
)
def test_session_environment_and_batch_agree_to_the_bit(scheme: str, n_bars: int, detail: str | None) -> None:
    history = panel(n_bars, 3, seed=5, volatility=0.004)
    history = with_made_up(history, 5 * MINUTE, 0) if detail else history
    made = make(history, scheme, detail=detail)
    sample = sampler(made, 1)
    actions = [sample() for _ in range(n_bars)]
    tape = made.tape([(history, whole(history))])

    env = made.env(tape)
    vec = made.vec(tape, 3, AutoresetMode.DISABLED)
    row, _ = env.reset(seed=0)
    rows, _ = vec.reset(seed=0)
    start = int(env.engine.row[0])
    observations, equity, cash, position = (
        [row],
        [env.engine.equity[0]],
        [env.engine.cash[0]],
        [env.engine.position[0].copy()],
    )
    ended = False
    steps = 0
    while not ended:
        action = actions[steps]
        row, reward, terminated, truncated, info = env.step(action)
        rows, rewards, ends, cuts, _ = vec.step(np.stack([action] * 3))
        assert np.array_equal(rows, np.stack([row] * 3))
        assert (rewards == reward).all()
        assert (ends == terminated).all()
        assert (cuts == truncated).all()
        assert (vec.engine.cash == env.engine.cash[0]).all()
        observations.append(row)
        equity.append(info["equity"])
        cash.append(env.engine.cash[0])
        position.append(env.engine.position[0].copy())
        ended = terminated or truncated
        steps += 1
    assert steps >= n_bars - 100

    window = made.interface.window
    agent = Scripted(made, actions)
    journal = Journal(made.instruments, made.bar_ns)
    feed = HistoryFeed(history, Segment(start + 1, len(history)), window)
    view = run(Session(feed, SimulatedVenue(made.rules, made.cash), window, journal), agent)
    record = journal.record()
    assert view.terminated == terminated
    assert np.array_equal(record.account.equity, np.array(equity))
    assert np.array_equal(record.account.cash, np.array(cash))
    assert np.array_equal(record.account.position, np.array(position))
    n = len(agent.seen)
    assert n >= steps
    assert np.array_equal(np.stack(agent.seen), np.stack(observations)[:n])
    assert (record.fills.quantity < 0.0).any()
    if scheme == "bracket":
        assert record.slots is not None
        filled = (record.slots.fills[:, :, 0] != 0.0).sum(axis=(0, 1))
        assert (filled > n_bars / 200).all(), f"entries, stops, targets and ends: {filled}"
    if scheme == "limit":
        assert (np.isfinite(record.orders.limit) & (record.fills.quantity != 0.0)).any()
        assert (record.account.position < 0.0).any()


def test_a_session_behind_gymnasium_agrees_with_the_environment() -> None:
    history = panel(600, 2, seed=3, volatility=0.004)
    made = make(history, "exposure")
    env = made.env(made.tape([(history, whole(history))]))
    window = made.interface.window
    row, _ = env.reset(seed=0)
    feed = HistoryFeed(history, Segment(int(env.engine.row[0]) + 1, len(history)), window)
    live = SessionEnv(Session(feed, SimulatedVenue(made.rules, made.cash), window), made.interface, made.reward)
    seen, _ = live.reset()
    assert np.array_equal(row, seen)
    sample = sampler(made, 4)
    truncated = False
    while not truncated:
        action = sample()
        row, reward, _, truncated, info = env.step(action)
        seen, paid, _, _, more = live.step(action)
        assert np.array_equal(row, seen)
        assert reward == paid
        assert info == more
    _, paid, terminated, over, _ = live.step(sample())
    assert (paid, terminated, over) == (0.0, False, True)


def test_environment_b_of_a_batch_lives_through_what_a_single_one_with_seed_b_does() -> None:
    history = panel(900, 2, seed=8)
    config = {"scheme": "exposure"}
    made = make(history, config["scheme"])
    made = Market(*(getattr(made, f) if f != "episode_bars" else 40 for f in made.__dataclass_fields__))
    tape = made.tape([(history, whole(history))])
    actions = np.random.default_rng(0).uniform(-1, 1, (200, 5, 2))
    vec = made.vec(tape, 5, AutoresetMode.SAME_STEP)
    rows, _ = vec.reset(seed=70)
    log = [rows]
    for step in range(200):
        rows, *_ = vec.step(actions[step])
        log.append(rows)
    for b in range(5):
        env = made.env(tape)
        row, _ = env.reset(seed=70 + b)
        assert np.array_equal(row, log[0][b])
        for step in range(200):
            row, _, terminated, truncated, _ = env.step(actions[step, b])
            if terminated or truncated:
                row, _ = env.reset()
            assert np.array_equal(row, log[step + 1][b])
