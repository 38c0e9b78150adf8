"""Markets of bars as one `gymnasium.vector.VectorEnv`: no Python per environment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from qframe_rl.config import UserError, nearest
from qframe_rl.gym.batch import BatchEnv, Moved, starts_of
from qframe_rl.gym.engine import OVER, TERMINATED, TRUNCATED, BatchEngine
from qframe_rl.gym.info import checked, infos_of
from qframe_rl.interface import BOUND
from qframe_rl.types import Bool, Int

OBSERVATIONS = ("window", "dict", "index")


class VectorTradingEnv(BatchEnv):
    """B episodes on bars; seeds and autoreset as in `qframe_rl.gym.batch.BatchEnv`.

    ``infos`` hold what ``info`` asks for by name, see `qframe_rl.gym.info.NAMES`, as Gymnasium's own batches lay it
    out: (B, ...) arrays, each with a mask under ``_`` and its name; in SAME_STEP, ``final_info`` holds those of
    episodes that ended. ``start`` of a reset is where episodes begin instead of at a random bar, as in
    `qframe_rl.gym.packed.PackedHistory.row_of`.

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

    options = ("reset_mask", "start")

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
        self._kind, self._info = observation, checked(info)
        # Writable as other masks are: for a read-only one the kernel would be compiled once more.
        self._everyone = np.ones(engine.n_envs, dtype=np.bool_)
        steps = engine.episode_bars or None
        super().__init__(engine, engine.n_envs, self._space(), engine.interface.action_space, steps, autoreset_mode)

    def _starts(self, options: dict[str, Any]) -> Int | None:
        return starts_of(options, self.num_envs, self.engine.tape.row_of)

    def _moved(self, actions: NDArray[Any], active: Bool | None) -> Moved:
        rewards, ends, some = self.engine.step(actions, self._everyone if active is None else active)
        return rewards, ends[TERMINATED], ends[TRUNCATED], ends[OVER], some

    def _infos(self, mask: Bool) -> dict[str, Any]:
        return infos_of(self.engine, self._info, mask) if self._info else {}

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
        n_account = self.engine.interface.observer.n_panels * self.engine.holding.shape[1]
        return spaces.Dict(
            cursor=spaces.Box(0, len(self.features) - 1, (), np.int32),
            account=spaces.Box(-BOUND, BOUND, (n_account,), np.float32),
        )
