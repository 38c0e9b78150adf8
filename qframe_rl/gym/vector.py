"""Many episodes at once as one `gymnasium.vector.VectorEnv`: no Python per environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from qframe_rl.gym.engine import Engine
from qframe_rl.types import Bool, Float, Single

Step = tuple[Single, Float, Bool, Bool, dict[str, Any]]


class VectorTradingEnv(VectorEnv[Single, NDArray[Any], NDArray[Any]]):
    """B episodes in one batch.

    Environment b of a batch seeded with s lives through what a single environment seeded with s + b does, in every
    autoreset mode of Gymnasium: ``NEXT_STEP`` (the step after an end ignores its action, returns the first observation
    of the next episode and reward 0), ``SAME_STEP`` (the observation is the next episode's first;
    ``infos["final_obs"]`` (B, n_numbers) holds the true last ones where ``infos["_final_obs"]`` is set) and
    ``DISABLED`` (call ``reset(options={"reset_mask": mask})``). An observation array that was handed out is never
    written again while anybody holds it.

    Parameters
    ----------
    engine
        The batch.
    autoreset_mode
        What happens when an episode ends.
    """

    def __init__(self, engine: Engine, autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP):
        self.engine = engine
        self.num_envs = engine.n_envs
        self.mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.mode}
        self.single_observation_space = engine.interface.observation_space
        self.single_action_space = engine.interface.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._over = np.ones(self.num_envs, dtype=np.bool_)
        self._all = np.ones(self.num_envs, dtype=np.bool_)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Single, dict[str, Any]]:
        """Begin new episodes, in all environments or in those of ``options["reset_mask"]`` (B,)."""
        super().reset(seed=seed)
        if seed is not None:
            self.engine.seed_with(seed)
        elif self._np_random is None:
            self.engine.seed_with(int(self.np_random.integers(1 << 63)))
        mask = self._all if options is None else np.asarray(options.get("reset_mask", self._all), dtype=np.bool_)
        self.engine.reset(mask)
        self._over = self._over & ~mask
        return self.engine.observe(), {}

    def step(self, actions: NDArray[Any]) -> Step:
        """Move every environment one bar on."""
        waiting = self._over
        if self.mode == AutoresetMode.DISABLED and waiting.any():
            raise AssertionError("an episode has ended: reset(options={'reset_mask': terminated | truncated}) first")
        rewards, terminated, truncated = self.engine.step(np.asarray(actions), ~waiting)
        if waiting.any():
            self.engine.reset(waiting)
        over = terminated | truncated
        infos: dict[str, Any] = {}
        if self.mode == AutoresetMode.SAME_STEP and over.any():
            infos = {"final_obs": self.engine.observe(), "_final_obs": over}
            self.engine.reset(over)
            over = np.zeros_like(over)
        self._over = over
        return self.engine.observe(), rewards, terminated, truncated, infos

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state of every environment."""
        return self.engine.snapshot() | {"over": self._over.copy()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Return to a snapshot: the same actions then give the same bits."""
        self.engine.restore(state)
        self._over = state["over"].copy()

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to close."""
