"""Formulas written a second by a policy: side by side, one by one, and by MaskablePPO of Stable-Baselines3."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from qframe_rl.alpha.grammar import MOST_TOKENS, Vocabulary
from qframe_rl.alpha.mine import BATCH
from qframe_rl.alpha.search.neural import NeuralSearch
from qframe_rl.bench.measure import BenchmarkRow, Work, rates, rows
from qframe_rl.policy.apart import one_thread, own_randomness
from qframe_rl.runner.log import Screen
from qframe_rl.types import Bool, Int


def alpha_sampling(small: bool, repeats: int, screen: Screen) -> list[BenchmarkRow]:
    """The recurrent policy of a search, untrained, in batches; beside it the same one formula at a time."""
    n = 1 if small else 8
    work = {"ours": _written(BATCH, n), "one by one": _written(1, 16 * n), "maskable-ppo": _stepped(64 * n)}
    with own_randomness(), one_thread():
        speed = rates(work, repeats, screen, "alpha sampling")
    others = {"one by one": 1.0, "maskable-ppo": 1.0}
    return rows("alpha.sample", BATCH, speed["ours"], "formulas/s", others, speed)


def _written(batch: int, times: int) -> Work:
    search = NeuralSearch(Vocabulary(), 0)

    def do() -> float:
        return float(sum(len(search.propose(batch)) for _ in range(times)))

    return do


def _stepped(n_steps: int) -> Work:
    """A rollout of MaskablePPO over an environment of one formula, as those who mine with it do."""
    from sb3_contrib import MaskablePPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    made = WrittenFormula()
    model = MaskablePPO(
        "MlpPolicy", DummyVecEnv([lambda: made]), n_steps=n_steps, batch_size=n_steps, device="cpu", seed=0
    )
    _, callback = model._setup_learn(n_steps)
    envs = model.get_env()
    assert envs is not None

    def do() -> float:
        before = made.n_finished
        model.collect_rollouts(envs, callback, model.rollout_buffer, n_steps)
        return float(made.n_finished - before)

    return do


class WrittenFormula(gym.Env[Int, np.int64]):
    """A formula written token by token; it earns nothing here, since only the writing is timed."""

    def __init__(self) -> None:
        self.vocabulary, self.n_finished = Vocabulary(), 0
        self.observation_space = gym.spaces.MultiDiscrete(np.full(MOST_TOKENS + 1, len(self.vocabulary) + 1))  # type: ignore[assignment]
        self.action_space = gym.spaces.Discrete(len(self.vocabulary))
        self._draft, self._written = self.vocabulary.begin(), np.zeros(MOST_TOKENS + 1, dtype=np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Int, dict[str, Any]]:
        """Begin a formula."""
        super().reset(seed=seed)
        self._draft, self._written = self.vocabulary.begin(), np.zeros(MOST_TOKENS + 1, dtype=np.int64)
        return self._written, {}

    def step(self, action: np.int64) -> tuple[Int, SupportsFloat, bool, bool, dict[str, Any]]:
        """Write a token."""
        self._written[MOST_TOKENS - self._draft.left] = int(action) + 1
        self._draft = self._draft.push(int(action))
        done = self._draft.formula is not None
        self.n_finished += done
        return self._written.copy(), 0.0, done, False, {}

    def action_masks(self) -> Bool:
        """Which tokens may come next."""
        return self._draft.mask()
