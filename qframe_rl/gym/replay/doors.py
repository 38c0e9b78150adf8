"""Recorded books through Gymnasium's doors: one environment, and a native batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from qframe_rl.config import UserError, nearest
from qframe_rl.gym.engine import check_snapshot
from qframe_rl.gym.render import steps_picture
from qframe_rl.gym.replay.engine import FEES, HELD, MADE, SENT, TOOK, UNSHOWN, WORTH, ReplayEngine
from qframe_rl.gym.single import Bounded, SingleEnv
from qframe_rl.gym.vector import OPTIONS, check_options, mask_of
from qframe_rl.interface import BOUND
from qframe_rl.types import Bool, Float, Int, Single, iso

OBSERVATIONS = ("window", "index")
_KINDS: dict[str, Callable[[ReplayEngine], NDArray[Any]]] = {
    "worth": lambda e: e.ledger[:, WORTH].copy(),
    "position": lambda e: e.ledger[:, HELD].copy(),
    "fees": lambda e: e.ledger[:, FEES].copy(),
    "made": lambda e: e.ledger[:, MADE].copy(),
    "taken": lambda e: e.ledger[:, TOOK].copy(),
    "sent": lambda e: e.ledger[:, SENT].copy(),
    "unshown": lambda e: e.ledger[:, UNSHOWN].copy(),
    "time": lambda e: e.ticks.at[e.row],
}
NAMES = tuple(_KINDS)
"""``worth`` at the mid price less ``fees``, ticks times lots; ``position``, lots; lots ``made`` (filled as maker) and
``taken``; messages ``sent``; lots that the end took beyond what was displayed (``unshown``); ``time``, ns UTC. The
exchange's truth, of which a strategy is told later."""


def asked(names: Iterable[str] | str) -> tuple[str, ...]:
    """Names of what ``info`` shall hold; raises UserError for one that there is not."""
    found = tuple(dict.fromkeys(names.split(",") if isinstance(names, str) else names))
    for name in found:
        if name not in _KINDS:
            raise UserError(f"info of an order book has no {name!r}{nearest(name, NAMES)}")
    return found


class VectorBookEnv(Bounded, VectorEnv[Any, NDArray[Any], NDArray[Any]]):
    """B episodes on recorded books in one batch, without Python per environment.

    Environment b of a batch seeded with s lives through what a single one seeded with s + b does, in every autoreset
    mode of Gymnasium, as in `qframe_rl.gym.vector.VectorTradingEnv`, whose ``index`` observation it has too.

    Parameters
    ----------
    engine
        The batch.
    autoreset_mode
        What happens when an episode ends.
    observation
        ``window`` or ``index``.
    info
        Of `NAMES`, what ``infos`` hold.

    Raises
    ------
    UserError
        For another kind of observation, or a name that is not known.
    """

    def __init__(
        self,
        engine: ReplayEngine,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        observation: str = "window",
        info: Iterable[str] = (),
    ):
        if observation not in OBSERVATIONS:
            raise UserError(f"order books have no observation {observation!r}{nearest(observation, OBSERVATIONS)}")
        self.engine, self._kind, self._info = engine, observation, asked(info)
        self.features, self.growing = engine.ticks.features, False
        self.n_rows = engine.interface.n_rows
        self.num_envs = engine.n_envs
        self.max_episode_steps = engine.rules.episode_steps or None
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self.single_observation_space = self._space()
        self.single_action_space = engine.interface.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._over = np.ones(self.num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin new episodes.

        Parameters
        ----------
        seed
            Environment b gets ``seed + b``; or (B,) one for each; None = go on with those of before.
        options
            ``reset_mask``, (B,) bool: in which environments. ``start``: the moment that they begin at, its number or
            its time (ns UTC from 10¹⁵ on, or ISO 8601; the first moment that is not before it), for all or (B,) one
            for each.

        Raises
        ------
        UserError
            For another option, or a start at which no episode can begin.
        """
        options = options or {}
        check_options(options, OPTIONS)
        mask = mask_of(options, self.num_envs)
        starts = self._starts(options.get("start"))
        if seed is None and self._np_random is None:
            super().reset()
            self.engine.seed_with(int(self.np_random.integers(1 << 63)), mask)
        elif seed is not None:
            super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else int(seed[0]))
            self.engine.seed_with(seed, mask)
        self.engine.reset(mask, starts)
        self._over = self._over & ~mask
        return self._observe(), self._infos(mask)

    def step(self, actions: NDArray[Any]) -> tuple[Any, Float, Bool, Bool, dict[str, Any]]:
        """Take every environment to its next decision."""
        waiting = self._over
        if self.autoreset_mode == AutoresetMode.DISABLED and waiting.any():
            raise AssertionError("an episode has ended: reset(options={'reset_mask': terminated | truncated}) first")
        rewards, terminated, truncated = self.engine.step(np.asarray(actions), ~waiting)
        if waiting.any():
            self.engine.reset(waiting)
        over = terminated | truncated
        infos: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and over.any():
            infos = {
                "final_obs": self._observe(),
                "_final_obs": over,
                "final_info": self._infos(over),
                "_final_info": over,
            }
            self.engine.reset(over)
            over = np.zeros_like(over)
        self._over = over
        return self._observe(), rewards, terminated, truncated, infos | self._infos(np.ones(self.num_envs, np.bool_))

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The exact state of every environment."""
        return self.engine.snapshot() | {"over": self._over.copy()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Return to a snapshot: the same actions then give the same bits; raises ValueError for another batch's."""
        check_snapshot({"over": self._over}, state)
        self.engine.restore(state)
        self._over = state["over"].copy()

    def _starts(self, start: Any) -> Int | None:
        if start is None:
            return None
        each = [start] * self.num_envs if np.ndim(start) == 0 else list(start)
        if len(each) != self.num_envs:
            raise UserError(f"reset option 'start' has {len(each)} values for {self.num_envs} environments.")
        return np.array([moment_of(self.engine.ticks.at, one) for one in each], np.int64)

    def _observe(self) -> Any:
        if self._kind == "window":
            return self.engine.observe()
        cursor, account = self.engine.point()
        return {"cursor": cursor, "account": account}

    def _infos(self, mask: Bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in self._info:
            found[name], found[f"_{name}"] = _KINDS[name](self.engine), mask
        return found

    def _space(self) -> spaces.Space[Any]:
        interface = self.engine.interface
        if self._kind == "window":
            return interface.observation_space
        return spaces.Dict(
            cursor=spaces.Box(0, self.engine.ticks.n - 1, (), np.int32),
            account=spaces.Box(-BOUND, BOUND, (interface.actions.n_account,), np.float32),
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to close."""


def moment_of(at: Int, start: Any) -> int:
    """Number of the moment that a number, a time in ns or a text means.

    Raises
    ------
    UserError
        If it is none of these, or lies outside.
    """
    from qframe_rl.types import parse_time

    if isinstance(start, str):
        start = parse_time(start)
    if isinstance(start, bool) or not isinstance(start, int | np.integer):
        raise UserError(f"reset option 'start' is a moment's number or its time, not {start!r}.")
    number = int(start)
    if number >= 10**15:
        later = np.flatnonzero(at >= number)
        if not len(later):
            raise UserError(f"reset option 'start': no moment of these ticks is at or after {iso(number)}.")
        number = int(later[np.argmin(at[later])])
    if not 0 <= number < len(at):
        raise UserError(f"reset option 'start': there are {len(at)} moments, 0 to {len(at) - 1}, and no {number}.")
    return number


class BookEnv(SingleEnv):
    """A batch of one: the same functions, the same bits as `VectorBookEnv`.

    Parameters
    ----------
    engine
        A batch of one.
    render_mode
        As in `SingleEnv`.
    info
        As in `VectorBookEnv`.
    """

    def __init__(self, engine: ReplayEngine, render_mode: str | None = None, info: Iterable[str] = ("worth", "time")):
        super().__init__(VectorBookEnv(engine, AutoresetMode.DISABLED), render_mode)
        self.engine, self._names = engine, asked(info)
        self._steps: list[tuple[Single, Float, float]] = []

    def _info(self) -> dict[str, Any]:
        return {name: _KINDS[name](self.engine)[0].item() for name in self._names}

    def _begun(self) -> None:
        self._steps.clear()

    def _lived(self, seen: Any, action: Any, paid: float) -> None:
        self._steps.append((seen, np.array(action, dtype=np.float64).ravel(), paid))

    def _picture(self, *, show: bool) -> NDArray[np.uint8]:
        return steps_picture(self._steps, show=show)
