"""A trader that has learned to learn: trained on made markets alone, it finds out at each instrument what may be there.

A recurrent policy is trained on ``envs/unknown_market.py``, where every episode draws a market (autocorrelated,
drifting, of two regimes, or without any edge) that is not shown (Duan et al., "RL²", 2016). On bars each instrument is
such an episode, from the first bar of a session on: its last return in standard deviations, what is held of it, and
what that earned after costs, in the same unit. No bar of the market's history is trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator

from qframe_rl import catalog
from qframe_rl.agent import Log, MarketSpec, Resumable, Solver, State, Task, View
from qframe_rl.config import Base, UserError, build
from qframe_rl.interface import rebalance
from qframe_rl.types import CLOSE, Float, Int, Orders

_BOUND = 20.0
"""Returns beyond so many standard deviations are shown as so many, as the made markets show them."""
_SEEDS = 1 << 32


_MARKET = {"prior": "wide", "reward_mode": "expected"}
_POLICY = {
    "network": "gru", "memory": "episode", "memory_steps": 256, "units": 128, "hidden": [64],
    "total_steps": 4_000_000, "n_envs": 64, "n_steps": 256, "batch_size": 4096, "n_epochs": 4, "gamma": 0.95,
    "learning_rate": 0.003, "ent_coef": 0.15, "ent_coef_end": 0.003,
}  # fmt: skip


class Config(Base):
    """What it is trained on, and how large it trades."""

    market: dict[str, Any] = Field(default=_MARKET)
    """Parameters of ``envs/unknown_market.py`` in place of these: the prior that markets are drawn from."""
    policy: dict[str, Any] = Field(default=_POLICY)
    """Parameters of ``agents/ppo.py``, which learns it, in place of these."""
    volatility_bars: int = Field(default=336, ge=20, le=1_000_000)
    """Bars from which the standard deviation of a return is estimated; an instrument is held where half are known."""
    size: float = Field(default=1.0, gt=0.0, le=1000.0)
    """What is held of an instrument that it is sure of, as a share of its part: of A instruments each has 1 / A of
    equity."""
    band: float = Field(default=0.5, ge=0.0, le=1000.0)
    """No trade while exposure is within this of its target, as a share of an instrument's part, so that a position is
    left alone until another one is wanted."""

    @field_validator("market", "policy")
    @classmethod
    def _in_place(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return (_MARKET if info.field_name == "market" else _POLICY) | value


QUICK = {
    "volatility_bars": 60,
    "policy": {
        "memory_steps": 16, "units": 8, "hidden": [8], "total_steps": 2048, "n_envs": 8, "n_steps": 32,
        "batch_size": 128, "n_epochs": 1,
    },
}  # fmt: skip
"""Parameters of a training that takes a second: for a first try, and for tests."""


class _Made:
    """The `Task` of the made markets, kept where the one that it stands for is kept."""

    train, validation = (), ()

    def __init__(self, problem: Any, seed: int):
        self.problem, self.spec = problem, problem.spec(seed)

    def envs(self, n_envs: int, *, indexed: bool = False) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
        """Episodes without end."""
        envs: gymnasium.vector.VectorEnv[Any, Any, Any] = self.problem.vec(n_envs, AutoresetMode.SAME_STEP)
        envs.reset(seed=self.spec.seed)
        return envs


class _KeptMade(_Made):
    """One that an interrupted training goes on from."""

    def __init__(self, problem: Any, seed: int, outer: Resumable):
        super().__init__(problem, seed)
        self.remember, self.recall = outer.remember, outer.recall


class _Walk:
    """One session: what is held of each instrument, what the last change of it cost, and the policy's memory."""

    def __init__(self, agent: Meta, n: int):
        self.agent = agent
        self.memory: tuple[Any, ...] = ()
        self.held, self.paid = np.zeros(n), np.zeros(n)

    def step(self, close: Float) -> Float:
        """(W, A) closes to (A,) exposures of the next bar: in full, short where that is allowed, or 0."""
        agent = self.agent
        last, unit = _measured(close)
        known = unit > 0.0
        unit = np.where(known, unit, 1.0)
        last = np.where(known, last, 0.0) / unit
        earned = self.held * last - self.paid / unit
        seen = np.stack([self.held, np.clip(last, -_BOUND, _BOUND), np.clip(earned, -_BOUND, _BOUND)], axis=1)
        chosen, self.memory = agent.solver.answer(seen.astype(np.float32), self.memory)
        wanted = np.where(known, np.maximum(chosen.astype(np.float64) - 1.0, agent.low), 0.0)
        self.paid = agent.cost_rate * np.abs(wanted - self.held)
        self.held = wanted
        return wanted * agent.part


def _measured(close: Float) -> tuple[Float, Float]:
    """(A,) last moves, 0 where one is missing, and deviations of the known ones; 0 where half are missing, or the last.

    A move is missing beside a bar that is.
    """
    moves = close[1:] / close[:-1] - 1.0
    known = np.isfinite(moves)
    moves, n = np.where(known, moves, 0.0), known.sum(axis=0)
    mean = moves.sum(axis=0) / np.maximum(n, 1)
    spread = np.sqrt(np.where(known, (moves - mean) ** 2, 0.0).sum(axis=0) / np.maximum(n, 1))
    there = (2 * n >= len(moves)) & np.isfinite(close[-1])
    return moves[-1], np.where(there, spread, 0.0)


class Meta:
    """Long, flat or short in each instrument, as the policy answers to its bars since the session began."""

    def __init__(self, config: Config, spec: MarketSpec):
        n = len(spec.instruments)
        self.config, self.window = config, config.volatility_bars + 1
        self.low, self.cost_rate = -1.0 if spec.shorting else 0.0, spec.cost_rate
        self.part = min(config.size, spec.leverage) / n
        self.band = config.band / n
        self.seed = spec.seed % _SEEDS
        self.problem = _made_markets(config.market)
        self.solver: Any = _learner(config.policy, self.problem.spec(self.seed))
        self._n, self._walk = n, _Walk(self, n)

    def fit(self, task: Task, log: Log) -> None:
        """Train on made markets; of the task no bar is looked at."""
        made = (
            _KeptMade(self.problem, self.seed, task) if isinstance(task, Resumable) else _Made(self.problem, self.seed)
        )
        self.solver.fit(made, log)

    def decide(self, view: View) -> Orders:
        """Hold what the policy wants, and leave it alone while it wants the same."""
        if view.first:
            self._walk = _Walk(self, self._n)
        return rebalance(view, self._walk.step(view.close), self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """The same for every row, from a session that begins at the first."""
        walk, close = _Walk(self, bars.shape[1]), bars[..., CLOSE]
        return np.stack([walk.step(close[row - self.window + 1 : row + 1]) for row in range(first, len(bars))])

    def carried(self) -> State:
        """What is held of each instrument, what it cost, and what the policy remembers."""
        memory = {str(k): part.numpy().copy() for k, part in enumerate(self._walk.memory) if part is not None}
        return {"held": self._walk.held.copy(), "paid": self._walk.paid.copy()} | memory

    def carry(self, memory: State) -> None:
        """Take it over."""
        import torch

        self._walk = _Walk(self, self._n)
        self._walk.held, self._walk.paid = np.array(memory["held"]), np.array(memory["paid"])
        self._walk.memory = tuple(torch.from_numpy(np.array(memory[str(k)])) for k in range(len(memory) - 2))

    def state(self) -> State:
        """Weights of the policy."""
        found: State = self.solver.state()
        return found

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take trained weights over; raises ValueError if they are of another network."""
        self.solver.restore(state)


def _made_markets(given: Mapping[str, Any]) -> Any:
    """The problem that is trained on."""
    module = catalog.load("envs", "unknown_market")
    config = build(module.Config, dict(given), "agent.meta.market")
    if config.shown:
        raise UserError("agent.meta.market.shown: on bars no parameters are shown; leave it out.")
    return module.make(config)


def _learner(given: Mapping[str, Any], spec: MarketSpec) -> Solver:
    module = catalog.load("agents", "ppo")
    learner: Solver = module.make(build(module.Config, dict(given), "agent.meta.policy"), spec)
    return learner


def parts(config: Config) -> tuple[str, ...]:
    """Names of the strategies whose code is part of what it is."""
    return ("ppo",)


def make(config: Config, spec: MarketSpec) -> Meta:
    """Make the agent."""
    return Meta(config, spec)
