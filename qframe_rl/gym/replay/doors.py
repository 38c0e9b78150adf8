"""Recorded books through Gymnasium's doors: one environment, and a native batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from qframe_rl.config import UserError, nearest
from qframe_rl.gym.batch import BatchEnv, Moved, starts_of
from qframe_rl.gym.render import steps_picture
from qframe_rl.gym.replay.engine import FEES, FUNDING, HELD, MADE, SENT, TOOK, UNSHOWN, WORTH, ReplayEngine
from qframe_rl.gym.single import SingleEnv
from qframe_rl.interface import BOUND
from qframe_rl.types import Bool, Float, Int, Single, iso, parse_time

OBSERVATIONS = ("window", "index")
_KINDS: dict[str, Callable[[ReplayEngine], NDArray[Any]]] = {
    "worth": lambda e: e.ledger[:, WORTH].copy(),
    "position": lambda e: e.ledger[:, HELD].copy(),
    "fees": lambda e: e.ledger[:, FEES].copy(),
    "funding": lambda e: e.ledger[:, FUNDING].copy(),
    "made": lambda e: e.ledger[:, MADE].copy(),
    "taken": lambda e: e.ledger[:, TOOK].copy(),
    "sent": lambda e: e.ledger[:, SENT].copy(),
    "unshown": lambda e: e.ledger[:, UNSHOWN].copy(),
    "time": lambda e: e.ticks.at[e.row],
}
NAMES = tuple(_KINDS)
"""``worth`` at the mid price less ``fees`` and ``funding``, ticks times lots; ``position``, lots; lots ``made`` (filled
as maker) and ``taken``; messages ``sent``; lots that the end took beyond what was displayed (``unshown``); ``time``,
ns UTC. The exchange's truth, of which a strategy is told later."""


def asked(names: Iterable[str] | str) -> tuple[str, ...]:
    """Names of what ``info`` shall hold; raises UserError for one that there is not."""
    found = tuple(dict.fromkeys(names.split(",") if isinstance(names, str) else names))
    for name in found:
        if name not in _KINDS:
            raise UserError(f"info of an order book has no {name!r}{nearest(name, NAMES)}")
    return found


class VectorBookEnv(BatchEnv):
    """B episodes on recorded books; seeds and autoreset as in `qframe_rl.gym.batch.BatchEnv`.

    Its ``index`` observation is that of `qframe_rl.gym.vector.VectorTradingEnv`. ``start`` of a reset is the moment
    that episodes begin at: its number or its time (ns UTC from 10¹⁵ on, or ISO 8601; the first moment that is not
    before it).

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

    options = ("reset_mask", "start")

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
        steps = engine.rules.episode_steps or None
        super().__init__(engine, engine.n_envs, self._space(), engine.interface.action_space, steps, autoreset_mode)

    def _starts(self, options: dict[str, Any]) -> Int | None:
        return starts_of(options, self.num_envs, lambda start: moment_of(self.engine.ticks.at, start))

    def _moved(self, actions: NDArray[Any], active: Bool | None) -> Moved:
        everyone = np.ones(self.num_envs, np.bool_) if active is None else active
        rewards, terminated, truncated = self.engine.step(actions, everyone)
        over = terminated | truncated
        return rewards, terminated, truncated, over, bool(over.any())

    def _observe(self, mask: Bool | None = None) -> Any:
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


def moment_of(at: Int, start: Any) -> int:
    """Number of the moment that a number, a time in ns or a text means.

    Raises
    ------
    UserError
        If it is none of these, or lies outside.
    """
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
