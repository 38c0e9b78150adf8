"""Fitted Q on the signal with linear cost, realised as bars: the optimum at every noise, and hindsight beside it.

The signal and cost of docs/solvable.md, as 100,000 bars of returns ``b (f + sigma z)`` beside seven features of noise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from agents.fitted_q import Config, FittedQ, Revealed
from qframe_rl.config import Ref
from qframe_rl.deep.fitted_q import Drawn, fit_q, walk
from qframe_rl.deep.training import own_randomness
from qframe_rl.deploy import make_market
from qframe_rl.evaluate.splits import Fold
from qframe_rl.runner.task import MarketTask
from qframe_rl.theory.ar1 import ar1_switching
from qframe_rl.types import Float, History, Int, Segment
from tests.contracts.checks import Quiet
from tests.markets import history_of

N, NOISES, UNIT = 100_000, 7, 1e-4
CELLS = [(2.0, 2.0), (2.0, 8.0), (4.0, 8.0)]
"""Cost and noise, in units of the expected return at a signal of one."""


def bars(cost: float, noise: float, seed: int, n: int = N) -> tuple[History, Float]:
    """The history and its (n,) signal, which is known at each close and drives the bar after it."""
    rng = np.random.default_rng(seed)
    signal, shocks = np.empty(n), np.sqrt(1.0 - 0.81) * rng.standard_normal(n)
    signal[0] = rng.standard_normal()
    for t in range(1, n):
        signal[t] = 0.9 * signal[t - 1] + shocks[t]
    moves = UNIT * (signal + noise * rng.standard_normal(n))
    close = 100.0 * np.exp(np.concatenate([[0.0], np.cumsum(moves[:-1])]))
    opening = np.concatenate([close[:1], close[:-1]])
    prices = (opening, np.maximum(opening, close), np.minimum(opening, close), close, np.full(n, 1e6))
    values = np.stack([*prices, signal, *rng.standard_normal((NOISES, n))], axis=-1)[:, None]
    fee = cost * UNIT
    names = ("f", *(f"noise{k}" for k in range(NOISES)))
    rules = {"taker_fee": fee, "maker_fee": fee, "lot": 0.0, "tick": 0.0, "min_notional": 0.0}
    return history_of(values, columns=names, **rules), signal


def learner(cost: float, noise: float, seed: int, **params: float) -> tuple[FittedQ, MarketTask]:
    history, _ = bars(cost, noise, seed)
    ref = Ref(name="perp", params={"features": ("columns",), "half_spread_bps": 0.0})
    fold = Fold((Segment(0, N),), (), ())
    market = make_market(ref, history.instruments, history.columns, history.bar_ns).fit([(history, fold.train)])
    task = MarketTask(market, history, fold, seed)
    return FittedQ(Config(**params), task.spec), task


def share(agent: FittedQ, cost: float, noise: float, seed: int) -> float:
    """Expected reward of its policy on another path, as a part of the optimal policy's there."""
    history, signal = bars(cost, noise, 1000 + seed, 2 * N)
    grid, policy = ar1_switching(0.9, cost)
    at = np.clip(np.rint((signal - grid[0]) / (grid[1] - grid[0])), 0, len(grid) - 1).astype(np.int64)

    def reward(best: Int) -> float:
        chosen = np.empty((len(best), 1), dtype=np.int64)
        walk(np.ascontiguousarray(best[:, None]), np.ones(1, dtype=np.int64), chosen)
        held = chosen[:, 0] - 1.0
        return float((held * signal - cost * np.abs(np.diff(held, prepend=0.0))).mean())

    return reward(agent.best(history)[:, 0]) / reward(policy.best.T[at])


def fitted(cost: float, noise: float, seed: int, **params: float) -> float:
    agent, task = learner(cost, noise, seed, **params)
    agent.fit(task, Quiet())
    return share(agent, cost, noise, seed)


@pytest.mark.long
def test_a_short_training_comes_near_the_optimum() -> None:
    assert fitted(2.0, 2.0, 0, steps=1500, passes=10) > 0.97


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("cost", "noise"), CELLS)
def test_it_reaches_the_optimum_at_every_noise(cost: float, noise: float, seed: int) -> None:
    found = fitted(cost, noise, seed)
    print(f"cost {cost}, noise {noise}, seed {seed}: {found:.4f} of the optimum")  # shown by pytest -s
    assert found >= 0.97


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_the_same_network_led_by_hindsight_waits_where_nobody_should(seed: int) -> None:
    """The control: the values of the best path that came about, which knows the noise, in the place of forecasts."""
    agent, task = learner(4.0, 8.0, seed)
    table = agent.table(task.train)
    with own_randomness(seed):
        agent._net = agent._network()
        fit_q(agent._net, table, agent._fit(), task, Quiet(), lambda: 0.0, known_later(table, agent.config.gamma))
    found = share(agent, 4.0, 8.0, seed)
    print(f"hindsight, seed {seed}: {found:.4f} of the optimum")
    assert found < 0.7


def known_later(
    table: Revealed, gamma: float
) -> Callable[[Int, Drawn, Callable[[torch.Tensor], torch.Tensor], float], torch.Tensor]:
    """Values of every pair of every row when all that follows is known."""
    rewards = table.rewards(np.arange(len(table))) / table.unit
    values = rewards.copy()
    for t in range(len(table) - 2, -1, -1):
        values[t] += gamma * values[t + 1].max(axis=1)[None, :]
    tensor = torch.from_numpy(values.astype(np.float32))
    return lambda at, rows, slow, gamma: tensor[torch.from_numpy(at)]
