"""Many episodes at once as one `gymnasium.vector.VectorEnv`: no Python per environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from qframe_rl.config import UserError, nearest
from qframe_rl.gym.engine import OVER, TERMINATED, TRUNCATED, BatchEngine
from qframe_rl.interface import BOUND
from qframe_rl.types import Bool, Float

OBSERVATIONS = ("window", "index")
Step = tuple[Any, Float, Bool, Bool, dict[str, Any]]


class VectorTradingEnv(VectorEnv[Any, NDArray[Any], NDArray[Any]]):
    """B episodes in one batch.

    Environment b of a batch seeded with s lives through what a single environment seeded with s + b does, in every
    autoreset mode of Gymnasium: ``NEXT_STEP`` (the step after an end ignores its action, returns the first observation
    of the next episode and reward 0), ``SAME_STEP`` (the observation is the next episode's first;
    ``infos["final_obs"]`` (B, n_numbers) holds the true last ones where ``infos["_final_obs"]`` is set, and is
    unspecified elsewhere) and
    ``DISABLED`` (call ``reset(options={"reset_mask": mask})``). An observation array that was handed out is never
    written again while anybody holds it.

    Parameters
    ----------
    engine
        The batch.
    autoreset_mode
        What happens when an episode ends.
    observation
        ``window``: a copied row per environment, as a single environment returns it. ``index``: a dict of ``cursor``
        (B,) int32, the row of `features` that each environment stands on, and ``account`` (B, 2A), the last 2A numbers
        of its window observation; the rest of that observation is rows ``cursor - n_rows + 1`` to ``cursor`` of
        `features`, which the policy gathers where it computes.

    Raises
    ------
    UserError
        For another kind of observation.
    """

    def __init__(
        self,
        engine: BatchEngine,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        observation: str = "window",
    ):
        if observation not in OBSERVATIONS:
            raise UserError(f"unknown kind of observation {observation!r}{nearest(observation, OBSERVATIONS)}")
        self.engine = engine
        self.features = engine.tape.features
        self.n_rows = engine.interface.observer.n_rows
        self._indexed = observation == "index"
        self.num_envs = engine.n_envs
        self.mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.mode}
        self.single_observation_space = self._index_space() if self._indexed else engine.interface.observation_space
        self.single_action_space = engine.interface.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._all = np.ones(self.num_envs, dtype=np.bool_)
        self._none = np.zeros(self.num_envs, dtype=np.bool_)
        self._over, self._anybody_over = self._all, True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin new episodes, in all environments or in those of ``options["reset_mask"]`` (B,)."""
        super().reset(seed=seed)
        if seed is not None:
            self.engine.seed_with(seed)
        elif self._np_random is None:
            self.engine.seed_with(int(self.np_random.integers(1 << 63)))
        mask = self._all if options is None else np.asarray(options.get("reset_mask", self._all), dtype=np.bool_)
        self.engine.reset(mask)
        self._over = self._over & ~mask
        self._anybody_over = bool(self._over.any())
        return self._observe(), {}

    def step(self, actions: NDArray[Any]) -> Step:
        """Move every environment one bar on."""
        if self._anybody_over:
            return self._step_some(actions)
        rewards, ends, over = self.engine.step(np.asarray(actions), self._all)
        return self._ended(rewards, ends, over)

    def _step_some(self, actions: NDArray[Any]) -> Step:
        """Step where some episodes are over: those wait for a reset, or get it now."""
        if self.mode == AutoresetMode.DISABLED:
            raise AssertionError("an episode has ended: reset(options={'reset_mask': terminated | truncated}) first")
        waiting = self._over
        rewards, ends, over = self.engine.step(np.asarray(actions), ~waiting)
        self.engine.reset(waiting)
        return self._ended(rewards, ends, over)

    def _ended(self, rewards: Float, ends: Bool, over: bool) -> Step:
        infos: dict[str, Any] = {}
        self._over, self._anybody_over = ends[OVER], over
        if over and self.mode == AutoresetMode.SAME_STEP:
            infos = {"final_obs": self._observe(ends[OVER]), "_final_obs": ends[OVER]}
            self.engine.reset(ends[OVER])
            self._over, self._anybody_over = self._none, False
        return self._observe(), rewards, ends[TERMINATED], ends[TRUNCATED], infos

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state of every environment."""
        return self.engine.snapshot() | {"over": self._over.copy()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Return to a snapshot: the same actions then give the same bits."""
        self.engine.restore(state)
        self._over = state["over"].copy()
        self._anybody_over = bool(self._over.any())

    def _observe(self, mask: Bool | None = None) -> Any:
        if not self._indexed:
            return self.engine.observe(mask)
        cursor, account = self.engine.point(mask)
        return {"cursor": cursor, "account": account}

    def _index_space(self) -> spaces.Dict:
        n_account = 2 * self.engine.holding.shape[1]
        return spaces.Dict(
            cursor=spaces.Box(0, len(self.features) - 1, (), np.int32),
            account=spaces.Box(-BOUND, BOUND, (n_account,), np.float32),
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to close."""
