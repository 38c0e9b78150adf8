"""One environment as a batch of one: when an episode runs, what Gymnasium asks of it, and its picture."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from qframe_rl.config import UserError, nearest

Step = tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]


class Bounded:
    """An environment whose specification says how many steps an episode has at most."""

    max_episode_steps: int | None = None
    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """What Gymnasium made it from."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = spec
        if spec is not None and spec.max_episode_steps is None:
            spec.max_episode_steps = self.max_episode_steps


class SingleEnv(Bounded, gymnasium.Env[Any, Any]):
    """A batch of one: the same functions, the same bits.

    Parameters
    ----------
    batch
        A native batch of one in mode DISABLED.
    render_mode
        ``rgb_array`` (the episode so far as a picture) or ``human`` (the same in a window).

    Raises
    ------
    UserError
        For another render mode.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, batch: Any, render_mode: str | None = None):
        modes = self.metadata["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise UserError(f"render_mode has no {render_mode!r}{nearest(render_mode, modes)}")
        self._batch, self.render_mode = batch, render_mode
        self.max_episode_steps = batch.max_episode_steps
        self.observation_space = batch.single_observation_space
        self.action_space = batch.single_action_space
        self._running = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Parameters
        ----------
        seed
            Of this and of later episodes; None = go on with the one of before.
        options
            Those of the batch, but ``reset_mask``; a market has ``start``, where the episode begins instead of at a
            random bar, see `qframe_rl.gym.packed.PackedHistory.row_of`.

        Raises
        ------
        UserError
            For another option, or a start at which no episode can begin.
        """
        super().reset(seed=seed)
        if seed is None and self._batch._np_random is None:
            seed = int(self.np_random.integers(1 << 62))
        rows, _ = self._batch.reset(seed=seed, options=options)
        self._running = True
        if self.render_mode is not None:
            self._begun()
        if self.render_mode == "human":
            self.render()
        return _only(rows), self._info()

    def step(self, action: Any) -> Step:
        """Take a step.

        Raises
        ------
        ValueError
            For an action outside the space.
        gymnasium.error.ResetNeeded
            Before the first `reset`, and after the end of an episode.
        """
        if not self._running:
            raise ResetNeeded("call reset() before step(): no episode is under way")
        rows, rewards, terminated, truncated, _ = self._batch.step(np.asarray(action)[None])
        seen, paid, ended, cut = _only(rows), float(rewards[0]), bool(terminated[0]), bool(truncated[0])
        self._running = not (ended or cut)
        if self.render_mode is not None:
            self._lived(seen, action, paid)
        if self.render_mode == "human":
            self.render()
        return seen, paid, ended, cut, self._info()

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """Draw the episode so far: return (H, W, 3) for ``rgb_array``, show it for ``human``.

        Raises
        ------
        gymnasium.error.ResetNeeded
            Before the first `reset`.
        """
        if self.render_mode is None:
            return None
        if self._batch._np_random is None:
            raise ResetNeeded("call reset() before render(): no episode is under way")
        image = self._picture(show=self.render_mode == "human")
        return image if self.render_mode == "rgb_array" else None

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state."""
        state: dict[str, NDArray[Any]] = self._batch.snapshot()
        return state

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Return to a snapshot; a picture begins there, for what came before is not in it."""
        self._batch.restore(state)
        self._running = not bool(state["over"][0])
        if self.render_mode is not None:
            self._begun()

    def _info(self) -> dict[str, Any]:
        return {}

    @abstractmethod
    def _begun(self) -> None:
        """Begin to remember an episode for its picture."""

    @abstractmethod
    def _lived(self, seen: Any, action: Any, paid: float) -> None:
        """Remember a step for the picture."""

    @abstractmethod
    def _picture(self, *, show: bool) -> NDArray[np.uint8]:
        """(H, W, 3) of what is remembered, also shown in a window if asked for."""


def _only(rows: Any) -> Any:
    """What the only environment of a batch sees."""
    return {name: part[0] for name, part in rows.items()} if isinstance(rows, dict) else rows[0]
