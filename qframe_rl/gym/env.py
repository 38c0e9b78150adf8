"""One episode at a time: over the kernel for training, or over a session for any feed, live ones included."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from qframe_rl.agent import View
from qframe_rl.config import UserError
from qframe_rl.gym.engine import BatchEngine
from qframe_rl.gym.info import checked, info_of
from qframe_rl.gym.render import Trace, picture
from qframe_rl.gym.reward import N_STATE, Reward
from qframe_rl.gym.single import SingleEnv, Step
from qframe_rl.gym.vector import VectorTradingEnv
from qframe_rl.interface import MarketInterface
from qframe_rl.interface.observer import laid_out
from qframe_rl.kernel.columns import BEFORE, EQUITY, N_ACCOUNT, QUANTITY
from qframe_rl.session import Session
from qframe_rl.types import Single


class TradingEnv(SingleEnv):
    """A batch of one: the same engine, the same bits as `VectorTradingEnv`.

    ``info`` holds what is asked for by name: ``equity`` (quote currency) and ``time`` (close of the last bar, ns UTC),
    unless something else is. Its picture has prices with trades, exposure and equity.

    Parameters
    ----------
    engine
        A batch of one.
    render_mode
        As in `SingleEnv`.
    symbols
        Names for the picture.
    info
        Names of what ``info`` holds, of `qframe_rl.gym.info.NAMES`.
    observation
        ``window`` or ``dict``, as in `VectorTradingEnv`.

    Raises
    ------
    UserError
        For a render mode, a kind of observation or a name in ``info`` that there is not.
    """

    def __init__(
        self,
        engine: BatchEngine,
        render_mode: str | None = None,
        symbols: tuple[str, ...] = (),
        info: Iterable[str] = ("equity", "time"),
        observation: str = "window",
    ):
        if observation == "index":
            raise UserError("an index is an observation of batches; take window or dict for one environment.")
        super().__init__(VectorTradingEnv(engine, AutoresetMode.DISABLED, observation), render_mode)
        self.engine = engine
        self._shown = checked(info)
        self._trace = Trace(symbols)

    def _info(self) -> dict[str, Any]:
        return info_of(self.engine, self._shown)

    def _begun(self) -> None:
        self._trace.clear()
        self._remember()

    def _lived(self, seen: Any, action: Any, paid: float) -> None:
        self._remember()

    def _picture(self, *, show: bool) -> NDArray[np.uint8]:
        return picture(self._trace, show=show)

    def _remember(self) -> None:
        engine, b = self.engine, 0
        row = int(engine.row[b])
        exposure = engine.position[b] * np.nan_to_num(engine.mark[b]) / max(float(engine.equity[b]), 1e-12)
        bar = engine.tape.bars[row]
        self._trace.append(int(engine.tape.time[row]), bar, engine.fills[b, :, QUANTITY], exposure, engine.equity[b])


class SessionEnv(gymnasium.Env[Any, Any]):
    """A session behind the Gymnasium interface: ``step`` blocks until the feed's next bar closes.

    It takes any feed, a live one of an exchange included, and settles in the session's venue, so a policy trained in
    `TradingEnv` runs unchanged. There is one episode: the session's.

    Parameters
    ----------
    session
        Its window must be at least the interface's.
    interface
        Observations and actions.
    reward
        What a step is worth.
    """

    def __init__(self, session: Session, interface: MarketInterface, reward: Reward):
        self.session = session
        self.interface = interface
        self.reward = reward
        self.observation_space = interface.observation_space
        self.action_space = interface.action_space
        self._view: View | None = None
        self._memory = np.zeros((1, N_STATE))

    @property
    def view(self) -> View:
        """What is known now; raises RuntimeError before `reset`."""
        if self._view is None:
            raise RuntimeError("call reset() first")
        return self._view

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Single, dict[str, Any]]:
        """Start the session.

        Raises
        ------
        RuntimeError
            The second time: what was traded cannot be taken back.
        UserError
            For any option: a feed begins where it begins.
        """
        for name in options or {}:
            raise UserError(f"a session has no option {name!r} of reset.")
        super().reset(seed=seed)
        if self._view is not None:
            raise RuntimeError("a session has one episode; make a new session for another")
        self._view = self.session.start()
        return self.interface.observe(self._view), self._info(self._view)

    def step(self, action: Any) -> Step:
        """Submit the orders that the action means and wait for the next bar.

        When the data end there is no further bar: the last observation returns with reward 0 and ``truncated``.
        """
        if self._view is None:
            raise RuntimeError("call reset() before step()")
        account = np.zeros((1, N_ACCOUNT))
        account[0, BEFORE] = self._view.account.equity
        view = self._view = self.session.step(self.interface.orders(action, self._view))
        account[0, EQUITY] = view.account.equity
        paid = np.zeros(1)
        if not view.exhausted:
            _, holding, _ = laid_out(view)
            paid = self.reward.pay(account, holding, np.ones(1, dtype=np.bool_), self._memory)
        return self.interface.observe(view), float(paid[0]), view.terminated, view.exhausted, self._info(view)

    def _info(self, view: View) -> dict[str, Any]:
        return {"equity": float(view.account.equity), "time": view.time}
