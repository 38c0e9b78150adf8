"""Batches of episodes behind `gymnasium.vector.VectorEnv`: options of a reset, seeds, autoreset, snapshots."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from qframe_rl.config import UserError, nearest, shortened
from qframe_rl.gym.lanes import check_snapshot, seed_of_snapshot
from qframe_rl.gym.single import Bounded
from qframe_rl.types import Bool, Float, Int

Seed = int | Sequence[int] | None
Step = tuple[Any, Float, Bool, Bool, dict[str, Any]]
Moved = tuple[Float, Bool, Bool, Bool, bool]
"""(B,) rewards, terminated, truncated and either, and whether there is any of these."""


def check_options(options: dict[str, Any], known: Sequence[str]) -> None:
    """Refuse an option of a reset that there is not, with a UserError."""
    for name in options:
        if name not in known:
            raise UserError(f"reset has no option {name!r}{nearest(name, known)}")


def mask_of(options: dict[str, Any], n_envs: int) -> Bool:
    """(B,) which environments the options of a reset mean; raises ValueError for a mask of another shape."""
    mask = np.asarray(options.get("reset_mask", np.ones(n_envs, dtype=np.bool_)))
    if mask.shape != (n_envs,) or mask.dtype != np.bool_:
        raise ValueError(f"reset_mask must be ({n_envs},) bool, not {mask.shape} {mask.dtype}")
    return mask


def starts_of(options: dict[str, Any], n_envs: int, row_of: Callable[[Any], int]) -> Int | None:
    """(B,) rows on which the options of a reset let episodes begin; None where they do not say.

    Parameters
    ----------
    options
        ``start`` is for all environments, or (B,) one for each.
    n_envs
        B.
    row_of
        Finds the row that a start means.

    Raises
    ------
    UserError
        For another number of starts, or one that ``row_of`` refuses.
    """
    start = options.get("start")
    if start is None:
        return None
    each = [start] * n_envs if np.ndim(start) == 0 else list(start)
    if len(each) != n_envs:
        raise UserError(f"reset option 'start' has {len(each)} values for {n_envs} environments.")
    for one in each:
        if not isinstance(one, Hashable):
            raise UserError(f"reset option 'start' is a number or a time (got {shortened(one)}).")
    rows: dict[Any, int] = {one: row_of(one) for one in dict.fromkeys(each)}
    return np.array([rows[one] for one in each], dtype=np.int64)


class BatchEnv(Bounded, VectorEnv[Any, NDArray[Any], NDArray[Any]]):
    """B episodes in one batch, without Python per environment.

    Environment b of a batch seeded with s lives through what a single environment seeded with s + b does, in every
    autoreset mode of Gymnasium: ``NEXT_STEP`` (the step after an end ignores its action, returns the first observation
    of the next episode and reward 0), ``SAME_STEP`` (the observation is the next episode's first;
    ``infos["final_obs"]`` (B, ...) holds the true last ones where ``infos["_final_obs"]`` is set, and is unspecified
    elsewhere) and ``DISABLED`` (call ``reset(options={"reset_mask": mask})``). An observation array that was handed out
    is never written again while anybody holds it.

    Parameters
    ----------
    lanes
        The episodes: a `qframe_rl.gym.lanes.Lanes` that can ``reset`` masked ones.
    n_envs
        B.
    observation_space, action_space
        Of one environment.
    max_episode_steps
        Steps of an episode; None = until it ends by itself.
    autoreset_mode
        What happens when an episode ends.
    """

    options: tuple[str, ...] = ("reset_mask",)
    """What a reset may be told."""

    def __init__(
        self,
        lanes: Any,
        n_envs: int,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        max_episode_steps: int | None,
        autoreset_mode: AutoresetMode,
    ):
        self._lanes, self.num_envs, self.max_episode_steps = lanes, n_envs, max_episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, n_envs)
        self.action_space = batch_space(action_space, n_envs)
        self._all = np.ones(n_envs, dtype=np.bool_)
        self._none = np.zeros(n_envs, dtype=np.bool_)
        self._all.flags.writeable = self._none.flags.writeable = False
        self._over, self._anybody_over = self._all, True

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin new episodes.

        Parameters
        ----------
        seed
            Environment b gets ``seed + b``; or (B,) one for each; None = go on with those of before.
        options
            ``reset_mask``, (B,) bool: in which environments. Where episodes may begin at a chosen place, ``start``: for
            all or (B,) one for each; the class says what it may be.

        Raises
        ------
        UserError
            For another option, or a start at which no episode can begin.
        """
        options = options or {}
        check_options(options, self.options)
        mask, starts = mask_of(options, self.num_envs), self._starts(options)
        if seed is None and self._np_random is None:
            super().reset()
            self._lanes.seed_with(int(self.np_random.integers(1 << 63)))
        elif seed is not None:
            super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else int(seed[0]))
            self._lanes.seed_with(seed, *([] if mask.all() else [mask]))
        if starts is None:
            self._lanes.reset(mask)
        else:
            self._lanes.reset(mask, starts)
        self._over = self._over & ~mask
        self._anybody_over = bool(self._over.any())
        return self._observe(), self._infos(mask)

    def step(self, actions: NDArray[Any]) -> Step:
        """Take every environment a step on.

        Raises
        ------
        gymnasium.error.ResetNeeded
            Before the first `reset`.
        AssertionError
            In DISABLED, if an episode has ended.
        ValueError
            For actions of another shape than the space's, or one outside it that counts; nothing has moved then.
        """
        if self._np_random is None:
            raise ResetNeeded("call reset() before step(): no episode is under way")
        waiting, actions = self._over, np.asarray(actions)
        if not self._anybody_over:
            rewards, terminated, truncated, over, some = self._moved(actions, None)
        elif self.autoreset_mode == AutoresetMode.DISABLED:
            raise AssertionError("an episode has ended: reset(options={'reset_mask': terminated | truncated}) first")
        else:
            rewards, terminated, truncated, over, some = self._moved(actions, ~waiting)
            self._lanes.reset(waiting)
        infos: dict[str, Any] = {}
        self._over, self._anybody_over = over, some
        if some and self.autoreset_mode == AutoresetMode.SAME_STEP:
            final, told = self._observe(over), self._infos(over)
            infos = {"final_obs": final, "_final_obs": over, "final_info": told, "_final_info": over}
            self._lanes.reset(over)
            self._over, self._anybody_over = self._none, False
        infos |= self._infos(self._all)
        return self._observe(), rewards, terminated, truncated, infos

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state of every environment, as of `qframe_rl.gym.lanes.Lanes`."""
        state: dict[str, NDArray[Any]] = self._lanes.snapshot()
        return state | {"over": self._over.copy()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Return to a snapshot: the same actions then give the same bits, and so do resets without a seed.

        Raises
        ------
        ValueError
            For a snapshot of another batch.
        UserError
            For one of another market: other bars or ticks, or other settings.
        """
        check_snapshot({"over": self._over}, state)
        self._lanes.restore(state)
        if self._np_random is None:
            super().reset(seed=seed_of_snapshot(state))
        self._over = state["over"].copy()
        self._anybody_over = bool(self._over.any())

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to close."""

    @abstractmethod
    def _moved(self, actions: NDArray[Any], active: Bool | None) -> Moved:
        """Move the active ones, None = all."""

    @abstractmethod
    def _observe(self, mask: Bool | None = None) -> Any:
        """Observations, in arrays that nobody else holds; only those of the masked are sure to be written."""

    def _starts(self, options: dict[str, Any]) -> Int | None:
        """(B,) rows on which episodes shall begin."""
        return None

    def _infos(self, mask: Bool) -> dict[str, Any]:
        """What ``infos`` hold beside what Gymnasium asks for, of masked environments."""
        return {}
