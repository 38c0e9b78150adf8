"""What a learner on order books is handed: batches to learn on, and a score to stop by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from qframe_rl.agent import Agent, MarketSpec, Solver, Transitions
from qframe_rl.config import UserError
from qframe_rl.gym.replay.doors import VectorBookEnv
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.gym.replay.packed import PackedTicks, TickSpan
from qframe_rl.runner.interrupted import Interruptible

_EPISODES, _SEED = 64, 1 << 40


class BookTask(Interruptible):
    """The `Task` of spans of ticks. It holds no row that the learner is judged on.

    Parameters
    ----------
    market
        Fitted on the spans that are learned on.
    train
        To learn on.
    stopping
        To stop and choose by.
    seed
        Root of the learner's randomness.
    snapshot
        File in which an interrupted training is kept; None = nowhere.
    """

    train: Sequence[Any] = ()

    def __init__(
        self, market: BookMarket, train: Sequence[TickSpan], stopping: Sequence[TickSpan], seed: int,
        snapshot: Path | None = None,
    ):  # fmt: skip
        self.market, self.snapshot, self.validation = market, snapshot, tuple(stopping)
        self.spec: MarketSpec = market.spec(seed)
        self._ticks = market.pack(train)
        self._stopping: PackedTicks | None = None

    def envs(self, n_envs: int, *, indexed: bool = False) -> VectorEnv[Any, Any, Any]:
        """Training environments with autoreset mode SAME_STEP, seeded."""
        kind = "index" if indexed else "window"
        envs = VectorBookEnv(self.market.engine(self._ticks, n_envs), AutoresetMode.SAME_STEP, kind)
        envs.reset(seed=self.spec.seed)
        return envs

    def transitions(self, dataset: str) -> Transitions:
        """Refuse: there are no datasets of books; raises UserError."""
        raise UserError(f"dataset {dataset}: order books have no datasets to learn from.")

    def validate(self, agent: Agent) -> float:
        """Mean reward of a decision over episodes of the tail, from the same moments each time."""
        if self._stopping is None:
            self._stopping = self.market.pack(self.validation)
        engine = self.market.engine(self._stopping, _EPISODES)
        everyone = np.ones(_EPISODES, np.bool_)
        engine.seed_with(_SEED)
        engine.reset(everyone)
        act, alive, total, count = cast(Solver, agent).policy(), everyone.copy(), 0.0, 0
        while alive.any():
            rewards, terminated, truncated = engine.step(act(engine.observe()), alive)
            total, count = total + float(rewards.sum()), count + int(alive.sum())
            alive &= ~(terminated | truncated)
        return total / count
