"""What every market and every strategy must keep, as functions that raise AssertionError where it is broken.

They are run over the whole catalogue, and over planted cheats, which they must catch.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from qframe_rl import catalog
from qframe_rl.agent import Agent, Portable, View
from qframe_rl.config import Base, build
from qframe_rl.deploy import window_of
from qframe_rl.evaluate.splits import Fold
from qframe_rl.feeds.finer import with_made_up
from qframe_rl.gym.env import TradingEnv
from qframe_rl.gym.market import Market
from qframe_rl.journal.codec import packed, unpacked
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.task import MarketTask
from qframe_rl.types import History, Orders, Record, Segment
from tests.contracts.denied import Watched, denied

MakeEnv = Callable[[History], TradingEnv]
Setup = tuple[Market, Agent]
TRAININGS = 3
"""On as many scrambled histories; where nothing is found in one, as a search for formulas may not, weights are none."""


class Quiet:
    """A log that nobody reads."""

    def scalar(self, name: str, value: float, step: int) -> None:
        assert np.isfinite(value), f"{name} is {value} at step {step}"

    def progress(self, done: int, total: int, note: str = "") -> None:
        assert 0 <= done <= total


def scrambled(history: History, after: int, seed: int = 9) -> History:
    """The same history up to row ``after``; later every price is another one, and half of the bars turn round."""
    rng = np.random.default_rng(seed)
    values, funding = history.values.copy(), history.funding.copy()
    later = slice(after + 1, len(history))
    factor = np.exp(0.3 * rng.standard_normal(values[later, :, :1].shape))
    turned = rng.random(factor.shape[:2]) < 0.5
    values[later][turned] = values[later][turned][:, [3, 1, 2, 0, *range(4, values.shape[2])]]
    values[later, :, :4] *= factor
    values[later, :, 4] *= np.exp(rng.standard_normal(values[later, :, 4].shape))
    values[later, :, 5:] += rng.standard_normal(values[later, :, 5:].shape)
    funding[later] += 0.01 * rng.standard_normal(funding[later].shape)
    changed = replace(history, values=values, funding=funding, finer=None)
    if history.finer is None:
        return changed
    bars, made = history.finer.bars.copy(), with_made_up(changed, history.finer.ns, seed).finer
    first = int(history.finer.start[after + 1])
    bars[first:] = made.bars[first:]
    return replace(changed, finer=history.finer._replace(bars=bars))


def walk(env: TradingEnv, actions: list[Any], seed: int = 0) -> list[tuple[Any, ...]]:
    """Observations, rewards, ends, fills and equity of one episode."""
    row, info = env.reset(seed=seed)
    log: list[tuple[Any, ...]] = [(row.copy(), 0.0, False, False, env.engine.fills.copy(), info["equity"])]
    for action in actions:
        row, reward, terminated, truncated, info = env.step(action)
        log.append((row.copy(), reward, terminated, truncated, env.engine.fills.copy(), info["equity"]))
        if terminated or truncated:
            break
    return log


def sampled(env: TradingEnv, n: int, seed: int = 1) -> list[Any]:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(n)]


def same(one: list[tuple[Any, ...]], two: list[tuple[Any, ...]], n: int | None = None) -> None:
    assert n is not None or len(one) == len(two)
    for k, (a, b) in enumerate(zip(one[:n], two[:n], strict=True)):
        for field, other in zip(a, b, strict=True):
            assert np.array_equal(field, other), f"step {k} differs"


def env_is_deterministic(make: MakeEnv, history: History) -> None:
    one, two = make(history), make(history)
    actions = sampled(one, 60)
    same(walk(one, actions), walk(two, actions))
    same(walk(one, actions), walk(two, actions))
    starts = {int(walk(one, actions[:1], seed)[0][5] * 0 + one.engine.row[0]) for seed in range(20)}
    assert len(starts) > 1 or one.engine.episode_bars == 0


def env_pickles(make: MakeEnv, history: History) -> None:
    env = make(history)
    actions = sampled(env, 40)
    env.reset(seed=3)
    for action in actions[:10]:
        env.step(action)
    copy = pickle.loads(pickle.dumps(env))
    for action in actions[10:]:
        one, two = env.step(action), copy.step(action)
        assert np.array_equal(one[0], two[0])
        assert one[1:4] == two[1:4]
        if one[2] or one[3]:
            break


def env_snapshots(make: MakeEnv, history: History) -> None:
    env = make(history)
    actions = sampled(env, 30)
    env.reset(seed=3)
    for action in actions[:5]:
        env.step(action)
    state = env.snapshot()
    first = [env.step(action)[:4] for action in actions[5:]]
    env.restore(state)
    for action, (row, *rest) in zip(actions[5:], first, strict=True):
        again = env.step(action)
        assert np.array_equal(row, again[0])
        assert list(rest) == list(again[1:4])


def env_conserves_money(make: MakeEnv, history: History) -> None:
    env = make(history)
    actions = sampled(env, 300)
    env.reset(seed=2)
    engine = env.engine
    for action in actions:
        position, mark, equity = engine.position[0].copy(), engine.mark[0].copy(), engine.equity[0]
        _, _, terminated, truncated, info = env.step(action)
        quantity, price, fee, spread, impact, funding, _, forced, forced_price = engine.fills[0].T
        after = engine.mark[0]
        moves = np.where(position != 0, position * (after - mark), 0.0)
        moves += np.where(quantity != 0, quantity * (after - price), 0.0)
        moves += np.where(forced != 0, forced * (after - forced_price), 0.0)
        change = moves.sum() - fee.sum() - funding.sum() + engine.account[0, 3]
        assert info["equity"] - equity == float(np.float64(info["equity"]) - equity)
        assert abs(info["equity"] - equity - change) <= 1e-9 * max(equity, 1.0) * 10
        assert (fee >= 0).all()
        assert (spread >= 0).all()
        assert (impact >= -1e-9).all()
        assert info["equity"] >= 0.0
        if terminated or truncated:
            break


def env_is_blind(make: MakeEnv, history: History) -> None:
    """Scramble every bar after t: no observation, reward, end, fill or equity up to t changes."""
    env = make(history)
    actions = sampled(env, 200)
    log = walk(env, actions)
    start = int(np.searchsorted(history.time, int(env.engine.tape.time[env.engine.row[0]]))) - (len(log) - 1)
    for k in np.linspace(1, len(log) - 2, 8).astype(int):
        other = walk(make(scrambled(history, start + int(k))), actions)
        same(log, other, int(k) + 1)


def env_observations_do_not_alias(make: MakeEnv, history: History) -> None:
    env = make(history)
    rows, copies = [], []
    row, _ = env.reset(seed=1)
    for action in sampled(env, 30):
        rows.append(row)
        copies.append(row.copy())
        row, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            row, _ = env.reset()
    for row, copy in zip(rows, copies, strict=True):
        assert np.array_equal(row, copy)
        row[:] = np.nan
    assert np.isfinite(env.engine.observe()).all()


def batch_is_as_gymnasiums_own(env_id: str, n: int, mode: AutoresetMode, params: dict[str, Any], n_steps: int) -> int:
    """A native batch and Gymnasium's own of as many single ones agree to the bit; how many episodes ended.

    Seeds are independent of the size of the batch, too: each of theirs is a batch of one.
    """
    ours = gymnasium.make_vec(env_id, num_envs=n, autoreset_mode=mode, **params)
    theirs = SyncVectorEnv([lambda: gymnasium.make(env_id, **params)] * n, autoreset_mode=mode)
    ours.action_space.seed(0)
    assert np.array_equal(ours.reset(seed=7)[0], theirs.reset(seed=7)[0])
    ends = 0
    for _ in range(n_steps):
        actions = ours.action_space.sample()
        a, b = ours.step(actions), theirs.step(actions)
        for mine, other in zip(a[:4], b[:4], strict=True):
            assert np.array_equal(mine, other)
        assert ("final_obs" in a[4]) == ("final_obs" in b[4])
        over = b[2] | b[3]
        ends += int(over.sum())
        if mode == AutoresetMode.SAME_STEP and over.any():
            assert np.array_equal(a[4]["_final_obs"], over)
            for k in np.flatnonzero(over):
                assert np.array_equal(a[4]["final_obs"][k], b[4]["final_obs"][k])
    return ends


def batch_points_at_what_it_shows(env_id: str, mode: AutoresetMode, params: dict[str, Any], n_steps: int) -> None:
    """Rows gathered by an ``index`` observation are those of a ``window``, and nothing else differs."""
    params = params | {"num_envs": 5, "autoreset_mode": mode}
    window, index = gymnasium.make_vec(env_id, **params), gymnasium.make_vec(env_id, observation="index", **params)
    inner: Any = index.unwrapped

    def gathered(shown: dict[str, np.ndarray]) -> np.ndarray:
        rows = shown["cursor"][:, None] + np.arange(1 - inner.n_rows, 1)
        return np.concatenate([inner.features[rows].reshape(5, -1), shown["account"]], axis=1)

    assert np.array_equal(window.reset(seed=7)[0], gathered(index.reset(seed=7)[0]))
    window.action_space.seed(0)
    for _ in range(n_steps):
        actions = window.action_space.sample()
        a, b = window.step(actions), index.step(actions)
        assert index.observation_space.contains(b[0]) and window.observation_space.contains(a[0])
        assert np.array_equal(a[0], gathered(b[0]))
        for mine, other in zip(a[1:4], b[1:4], strict=True):
            assert np.array_equal(mine, other)
        if "final_obs" in b[4]:
            over = b[4]["_final_obs"]
            assert np.array_equal(a[4]["final_obs"][over], gathered(b[4]["final_obs"])[over])


def batch_goes_back(envs: Any, n_steps: int) -> dict[str, np.ndarray]:
    """A copy through pickle and a return to a snapshot live through the same bits; that snapshot."""
    envs.action_space.seed(1)
    envs.reset(seed=3)
    for _ in range(7):
        envs.step(envs.action_space.sample())
    actions = [envs.action_space.sample() for _ in range(n_steps)]
    copy, state = pickle.loads(pickle.dumps(envs)), envs.snapshot()
    first = [envs.step(action)[:4] for action in actions]
    second = [copy.step(action)[:4] for action in actions]
    envs.restore(state)
    third = [envs.step(action)[:4] for action in actions]
    for one, two, three in zip(first, second, third, strict=True):
        for a, b, c in zip(one, two, three, strict=True):
            assert np.array_equal(a, b)
            assert np.array_equal(a, c)
    return dict(state)


def batch_observations_stay(envs: Any, n_steps: int) -> None:
    """Observations lie in their space, and are never written again while anybody holds them."""
    envs.action_space.seed(1)
    rows, _ = envs.reset(seed=3)
    kept, copies = [], []
    for _ in range(n_steps):
        assert envs.observation_space.contains(rows)
        assert np.isfinite(rows).all()
        kept.append(rows)
        copies.append(rows.copy())
        rows, rewards, *_ = envs.step(envs.action_space.sample())
        assert np.isfinite(rewards).all()
    assert all(np.array_equal(one, two) for one, two in zip(kept, copies, strict=True))


def batch_waits_for_a_reset(envs: Any) -> np.ndarray:
    """In DISABLED an ended episode must be reset before the next step; which ended."""
    envs.reset(seed=0)
    envs.action_space.seed(0)
    over = np.zeros(envs.num_envs, np.bool_)
    while not over.any():
        _, _, terminated, truncated, _ = envs.step(envs.action_space.sample())
        over = terminated | truncated
        assert not (terminated & truncated).any()
    with pytest.raises(AssertionError, match="reset_mask"):
        envs.step(envs.action_space.sample())
    envs.reset(options={"reset_mask": over})
    envs.step(envs.action_space.sample())
    return np.asarray(over)


def quick(module: Any) -> dict[str, Any]:
    """Parameters of a strategy that make it quick, without those of members whose files are not in the catalogue."""
    found = dict(getattr(module, "QUICK", {}))
    if "member" in found:
        found["member"] = {name: of for name, of in found["member"].items() if name in catalog.names("agents")}
    return found


def setup(name: str, market: Market, history: History, params: dict[str, Any], seed: int = 3) -> Agent:
    """Make an agent of the catalogue and train it, if it learns, on the first half of the history alone."""
    module = catalog.load("agents", name)
    half = len(history) // 2
    config: Base = build(module.Config, quick(module) | params, name)
    agent: Agent = module.make(config, market.spec(history.columns, seed, history.theory))
    if hasattr(agent, "fit"):
        fold = Fold((Segment(0, half),), (), (Segment(half, len(history)),))
        task = MarketTask(market, history, fold, seed)
        # Ray, in which RLlib trains, is processes that talk over sockets.
        with nullcontext() if name == "rllib" else denied():
            agent.fit(task, Quiet())
    return agent


def trade(market: Market, agent: Agent, history: History) -> Record:
    """Trade the second half; what is not in the view is denied to the agent."""
    segment = Segment(len(history) // 2, len(history))
    return backtest(market, Watched(agent), history, segment, window_of(market, agent))


def agent_is_deterministic(market: Market, agent: Agent, history: History) -> None:
    assert trade(market, agent, history).digest == trade(market, agent, history).digest


class Relay:
    """Hands a session from one process's agent to the next, as a journal's snapshots do, every ``bars`` bars."""

    def __init__(self, make: Callable[[], Agent], bars: int):
        self.make, self.bars, self.n = make, bars, 0
        self.agent = make()
        self.window = self.agent.window

    def decide(self, view: View) -> Orders:
        memory = self.agent.carried() if isinstance(self.agent, Portable) else None
        if memory is not None and self.n and self.n % self.bars == 0:
            fresh = self.make()
            assert isinstance(fresh, Portable)
            fresh.carry({name: unpacked(packed(value)) for name, value in memory.items()})
            self.agent = fresh
        self.n += 1
        return self.agent.decide(view)


def agent_can_be_carried(market: Market, agent: Agent, make: Callable[[], Agent], history: History) -> None:
    """Move it to a fresh object, of its weights and its memory, now and then: no order changes."""
    assert trade(market, Relay(make, 17), history).digest == trade(market, agent, history).digest


def agent_orders_are_finite(market: Market, agent: Agent, history: History) -> None:
    record = trade(market, agent, history)
    assert np.isfinite(record.orders.quantity).all()
    assert (record.account.equity >= 0.0).all()


def agent_is_blind(make: Callable[[History], Setup], history: History, setup: Setup | None = None) -> None:
    """Scramble every bar after t: no order up to t changes. ``make`` sees the first half of the history only.

    What learns is trained anew for the first three, its weights being the same to the bit; whatever else it holds of
    bars to come is then other than those of the later three.
    """
    market, agent = setup or make(history)
    record = trade(market, agent, history)
    start, made, learns = len(history) // 2, setup, hasattr(agent, "fit")
    for number, k in enumerate(np.linspace(1, len(record) - 2, 6).astype(int).tolist()):
        changed = scrambled(history, start - 1 + k)
        made = made if made and learns and number >= TRAININGS else make(changed)
        if learns:
            weights_are_equal(agent, made[1])
        again = trade(*made, changed)
        # Orders of row r were decided at the close of row r - 1: all decided by row k meet the bar of row k + 1.
        for one, two in zip(record.orders[:3], again.orders[:3], strict=True):
            assert np.array_equal(one[: k + 2], two[: k + 2], equal_nan=True), f"orders differ by row {k + 1}"


def weights_are_equal(one: Any, two: Any) -> None:
    """To the bit, by their names."""
    ours, theirs = one.state(), two.state()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert np.array_equal(value, theirs[key]), f"{key} differs"


def fitted(market: Market, history: History) -> Market:
    """The market with its scaler fitted on the first half of the history."""
    return market.fit([(history, (Segment(0, len(history) // 2),))])
