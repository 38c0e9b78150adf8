"""Stable-Baselines3's view of a native batch of environments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from qframe_rl.config import UserError
from qframe_rl.types import Bool, Single

Masks = Callable[[Single], Bool]
"""(B, n) observations to (B, actions) which are allowed."""


class BatchVecEnv(VecEnv):
    """A `VecEnv` over a batch in SAME_STEP mode.

    Observations are copied: Stable-Baselines3 stores the one before a step only after the step, so that a batch which
    writes into one buffer would have it store the observation after. The last observation of a truncated episode is
    handed over, so that its value is bootstrapped. Rewards are multiplied by ``scale``; episodes are reported unscaled.
    What ``info`` of the batch asks for is told of each environment, of the bar that ended an episode where one did.

    Parameters
    ----------
    envs
        The batch.
    scale
        What a reward is multiplied by for the learner.
    masks
        Which actions are allowed at an observation, for algorithms that can be told.

    Raises
    ------
    UserError
        For a batch in another mode than SAME_STEP.
    """

    render_mode = None

    def __init__(self, envs: VectorEnv[Any, Any, Any], scale: float = 1.0, masks: Masks | None = None):
        if envs.metadata.get("autoreset_mode") != AutoresetMode.SAME_STEP:
            raise UserError("Stable-Baselines3 needs a batch in SAME_STEP mode; make it with autoreset_mode SAME_STEP.")
        self.envs, self.scale, self.masks = envs, scale, masks
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
        self._actions: NDArray[Any] = np.empty(0)
        self._observation: Any = np.empty(0, dtype=np.float32)
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, dtype=np.int64)

    def reset(self) -> Any:
        """Begin new episodes, with the seeds that `seed` was told since the last time."""
        seeds: Any = None if self._seeds[0] is None else self._seeds  # a native batch takes one for each
        self._observation = _copied(self.envs.reset(seed=seeds)[0])
        self._reset_seeds()
        self._returns[:], self._lengths[:] = 0.0, 0
        return self._observation

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remember the actions."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, Single, Bool, list[dict[str, Any]]]:
        """Take the step."""
        observation, rewards, terminated, truncated, more = self.envs.step(self._actions)
        self._observation = _copied(observation)
        over = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [_told(more, b) if more else {} for b in range(self.num_envs)]
        for b in np.flatnonzero(over).tolist():
            infos[b] = _told(more.get("final_info", {}), b) | {
                "terminal_observation": _copied(_of(more["final_obs"], b)),
                "TimeLimit.truncated": bool(truncated[b]),
                "episode": {"r": float(self._returns[b]), "l": int(self._lengths[b])},
            }
        self._returns[over] = 0.0
        self._lengths[over] = 0
        return self._observation, (self.scale * rewards).astype(np.float32), over, infos

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state of every environment and of what is told of its episode."""
        envs: Any = self.envs
        told = {"returns": self._returns.copy(), "lengths": self._lengths.copy(), "shown": self._observation.copy()}
        return {f"envs.{name}": value for name, value in envs.snapshot().items()} | told

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Return to a snapshot: the same actions then give the same bits."""
        envs: Any = self.envs
        envs.restore({name.removeprefix("envs."): v for name, v in state.items() if name.startswith("envs.")})
        self._returns, self._lengths = state["returns"].copy(), state["lengths"].copy()
        self._observation = state["shown"].copy()

    def close(self) -> None:
        """Close the batch."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """One attribute, as often as there are environments; ``action_masks`` exists where actions are forbidden."""
        if attr_name == "action_masks":
            if self.masks is None:
                raise AttributeError("no action is ever forbidden here")
            return [self.masks] * self.num_envs
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse.

        Parameters
        ----------
        attr_name, value, indices
            As in `stable_baselines3.common.vec_env.VecEnv`.
        """
        raise AttributeError(f"{attr_name} of a batch cannot be set")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """``action_masks`` of all environments; nothing else can be called on the members of a batch.

        Parameters
        ----------
        method_name
            ``action_masks``.
        *args, indices, **kwargs
            Not looked at: all environments answer.
        """
        if method_name != "action_masks" or self.masks is None:
            raise AttributeError(f"a batch has no environments to call {method_name} on")
        return list(self.masks(self._observation))

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Never."""
        return [False] * self.num_envs


def _copied(observation: Any) -> Any:
    """An observation, or a dict of them, in memory of its own."""
    if isinstance(observation, dict):
        return {name: np.array(part) for name, part in observation.items()}
    return np.array(observation)


def _of(observation: Any, b: int) -> Any:
    """What environment ``b`` sees."""
    return {name: part[b] for name, part in observation.items()} if isinstance(observation, dict) else observation[b]


def _told(infos: Mapping[str, Any], b: int) -> dict[str, Any]:
    """What a batch says of environment ``b``, without masks and what belongs to ends."""
    named = {name: value for name, value in infos.items() if not name.startswith(("_", "final_"))}
    return {name: _told(value, b) if isinstance(value, Mapping) else value[b] for name, value in named.items()}
