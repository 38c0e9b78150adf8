"""Many episodes at once as one `gymnasium.vector.VectorEnv`: no Python per environment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from qframe_rl.config import UserError, nearest
from qframe_rl.gym.engine import OVER, TERMINATED, TRUNCATED, BatchEngine, check_snapshot
from qframe_rl.gym.info import checked, infos_of
from qframe_rl.gym.single import Bounded
from qframe_rl.interface import BOUND
from qframe_rl.types import Bool, Float, Int

OBSERVATIONS = ("window", "dict", "index")
OPTIONS = ("reset_mask", "start")
Seed = int | Sequence[int] | None
Step = tuple[Any, Float, Bool, Bool, dict[str, Any]]


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


class VectorTradingEnv(Bounded, VectorEnv[Any, NDArray[Any], NDArray[Any]]):
    """B episodes in one batch.

    Environment b of a batch seeded with s lives through what a single environment seeded with s + b does, in every
    autoreset mode of Gymnasium: ``NEXT_STEP`` (the step after an end ignores its action, returns the first observation
    of the next episode and reward 0), ``SAME_STEP`` (the observation is the next episode's first;
    ``infos["final_obs"]`` (B, n_numbers) holds the true last ones where ``infos["_final_obs"]`` is set, and is
    unspecified elsewhere) and
    ``DISABLED`` (call ``reset(options={"reset_mask": mask})``). An observation array that was handed out is never
    written again while anybody holds it.

    ``infos`` hold what ``info`` asks for by name, see `qframe_rl.gym.info.NAMES`, as Gymnasium's own batches lay it
    out: (B, ...) arrays, each with a mask under ``_`` and its name; in SAME_STEP, ``final_info`` holds those of
    episodes that ended.

    Parameters
    ----------
    engine
        The batch.
    autoreset_mode
        What happens when an episode ends.
    observation
        ``window``: a copied row per environment, as a single environment returns it. ``dict``: the same numbers as
        ``market`` (B, n_rows, A, F) and ``account`` (B, 2, A), exposures and flags of what trades. ``index``: a dict of
        ``cursor`` (B,) int32, the row of `features` that each environment stands on, and ``account`` (B, 2A), the last
        2A numbers of its window observation; the rest of that observation is rows ``cursor - n_rows + 1`` to
        ``cursor`` of `features`, which the policy gathers where it computes.
    info
        Names of what ``infos`` hold; costs and fills need an engine that records them.

    Raises
    ------
    UserError
        For another kind of observation, or a name that is not known.
    """

    def __init__(
        self,
        engine: BatchEngine,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        observation: str = "window",
        info: Iterable[str] = (),
    ):
        if observation not in OBSERVATIONS:
            raise UserError(f"unknown kind of observation {observation!r}{nearest(observation, OBSERVATIONS)}")
        self.engine = engine
        self.features = engine.tape.features
        self.growing = engine.tape.growing
        self.n_rows = engine.interface.observer.n_rows
        self._kind = observation
        self.num_envs = engine.n_envs
        self.max_episode_steps = engine.episode_bars or None
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self.single_observation_space = self._space()
        self.single_action_space = engine.interface.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._all = np.ones(self.num_envs, dtype=np.bool_)
        self._none = np.zeros(self.num_envs, dtype=np.bool_)
        self._all.flags.writeable = self._none.flags.writeable = False
        self._over, self._anybody_over = self._all, True
        self._info = checked(info)

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin new episodes.

        Parameters
        ----------
        seed
            Environment b gets ``seed + b``; or (B,) one for each; None = go on with those of before.
        options
            ``reset_mask``, (B,) bool: in which environments. ``start``: where they begin instead of at a random bar,
            for all or (B,) one for each, as in `qframe_rl.gym.packed.PackedHistory.row_of`.

        Raises
        ------
        UserError
            For another option, or a start at which no episode can begin.
        """
        mask, start = self._asked(options or {})
        self._seed(seed, mask)
        self.engine.reset(mask, start)
        self._over = self._over & ~mask
        self._anybody_over = bool(self._over.any())
        return self._observe(), infos_of(self.engine, self._info, mask)

    def _seed(self, seed: Seed, mask: Bool) -> None:
        if seed is None and self._np_random is None:
            super().reset()
            self.engine.seed_with(int(self.np_random.integers(1 << 63)))
        elif seed is not None:
            super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else int(seed[0]))
            self.engine.seed_with(seed, *([] if mask.all() else [mask]))

    def _asked(self, options: dict[str, Any]) -> tuple[Bool, Int | None]:
        """Which environments begin anew, and on which rows."""
        check_options(options, OPTIONS)
        mask = mask_of(options, self.num_envs)
        start = options.get("start")
        if start is None:
            return mask, None
        each = [start] * self.num_envs if np.ndim(start) == 0 else list(start)
        if len(each) != self.num_envs:
            raise UserError(f"reset option 'start' has {len(each)} values for {self.num_envs} environments.")
        rows: dict[Any, int] = {one: self.engine.tape.row_of(one) for one in dict.fromkeys(each)}
        return mask, np.array([rows[one] for one in each], dtype=np.int64)

    def step(self, actions: NDArray[Any]) -> Step:
        """Move every environment one bar on."""
        if self._anybody_over:
            return self._step_some(actions)
        rewards, ends, over = self.engine.step(np.asarray(actions), self._all)
        return self._ended(rewards, ends, over)

    def _step_some(self, actions: NDArray[Any]) -> Step:
        """Step where some episodes are over: those wait for a reset, or get it now."""
        if self.autoreset_mode == AutoresetMode.DISABLED:
            raise AssertionError("an episode has ended: reset(options={'reset_mask': terminated | truncated}) first")
        waiting = self._over
        rewards, ends, over = self.engine.step(np.asarray(actions), ~waiting)
        self.engine.reset(waiting)
        return self._ended(rewards, ends, over)

    def _ended(self, rewards: Float, ends: Bool, over: bool) -> Step:
        infos: dict[str, Any] = {}
        self._over, self._anybody_over = ends[OVER], over
        if over and self.autoreset_mode == AutoresetMode.SAME_STEP:
            ended = ends[OVER]
            final = infos_of(self.engine, self._info, ended)
            infos = {"final_obs": self._observe(ended), "_final_obs": ended, "final_info": final, "_final_info": ended}
            self.engine.reset(ended)
            self._over, self._anybody_over = self._none, False
        if self._info:
            infos |= infos_of(self.engine, self._info, self._all)
        return self._observe(), rewards, ends[TERMINATED], ends[TRUNCATED], infos

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state of every environment."""
        return self.engine.snapshot() | {"over": self._over.copy()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Return to a snapshot: the same actions then give the same bits; raises ValueError for another batch's."""
        check_snapshot({"over": self._over}, state)
        self.engine.restore(state)
        self._over = state["over"].copy()
        self._anybody_over = bool(self._over.any())

    def _observe(self, mask: Bool | None = None) -> Any:
        if self._kind == "index":
            cursor, account = self.engine.point(mask)
            return {"cursor": cursor, "account": account}
        rows = self.engine.observe(mask)
        return rows if self._kind == "window" else self.engine.interface.observer.parts(rows)

    def _space(self) -> spaces.Space[Any]:
        if self._kind != "index":
            interface = self.engine.interface
            return interface.observer.dict_space if self._kind == "dict" else interface.observation_space
        n_account = 2 * self.engine.holding.shape[1]
        return spaces.Dict(
            cursor=spaces.Box(0, len(self.features) - 1, (), np.int32),
            account=spaces.Box(-BOUND, BOUND, (n_account,), np.float32),
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to close."""
