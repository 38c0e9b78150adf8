"""What a policy sees of an order book, and how its action becomes wishes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qframe_rl.book.known import (
    AHEAD,
    ASK,
    ASK_LOTS,
    AT,
    BID,
    BID_LOTS,
    DONE,
    N_DECISIONS,
    N_KNOWN,
    N_OWN,
    OWN,
    SHOWN,
    TAKING,
)
from qframe_rl.book.known import POSITION as HELD
from qframe_rl.book.micro import MicroPrice
from qframe_rl.interface.observer import BOUND, Scaler
from qframe_rl.interface.schemes import numbers_of, outside
from qframe_rl.quoter import BookView, Wishes
from qframe_rl.types import Bool, Float, Int, Single

TARGET = 0
"""Column of a task: lots that must be held in the end. The others are the environment's own."""
N_TASK = 4
Wish = Callable[[Bool, Float, Float, Int, Int, Int, Int], None]
"""``wish(active (B,), actions (B, K), params, told (B, 17), task (B, 4), quotes (B, 2, 2), take (B, 3))`` writes what
the actions of the active accounts wish."""
Show = Callable[[Float, Int, Float, Int, Single], None]
"""``show(params, told (B, 17), queue (B, 2, 3), task (B, 4), out (B, n))`` writes what accounts see of themselves."""


class BookActions(NamedTuple):
    """Actions of an environment, and what its accounts see of themselves."""

    space: gymnasium.Space[Any]
    wish: Wish
    n_account: int
    show: Show
    params: Float
    """(P,) numbers that both are handed."""
    idle: tuple[int, ...] = ()


@dataclass(frozen=True)
class QuotingInterface:
    """The `qframe_rl.quoter.BookInterface` of an environment."""

    specs: tuple[str, ...]
    """Names of the features."""
    n_rows: int
    """Moments of decisions that are shown."""
    actions: BookActions
    scaler: Scaler
    micro: MicroPrice | None = None

    @property
    def window(self) -> int:
        """Moments that `observe` needs."""
        return self.n_rows

    @property
    def market_shape(self) -> tuple[int, int]:
        """Moments and features of the market's part."""
        return self.n_rows, len(self.specs)

    @property
    def idle(self) -> tuple[int, ...]:
        """Of discrete actions the one that asks for nothing."""
        return self.actions.idle

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """Of one account."""
        return self.actions.space

    @property
    def observation_space(self) -> spaces.Box:
        """Scaled features, moment by moment, then what an account sees of itself."""
        return spaces.Box(-BOUND, BOUND, (self.n_rows * len(self.specs) + self.actions.n_account,), np.float32)

    def with_scaler(self, scaler: Scaler, micro: MicroPrice | None) -> QuotingInterface:
        """The same, fitted."""
        return replace(self, scaler=scaler, micro=micro)

    def observe(self, view: BookView) -> Single:
        """(n,) of one view."""
        told, queue, task = rows_of(view)
        own = np.empty((1, self.actions.n_account), np.float32)
        self.actions.show(self.actions.params, told, queue, task, own)
        market = self.scaler(view.features[-self.n_rows :]).ravel()
        short = self.n_rows * len(self.specs) - len(market)
        return np.concatenate([np.zeros(short, np.float32), market, own[0]])

    def wishes(self, action: NDArray[Any], view: BookView) -> Wishes:
        """What an action means at one view.

        Raises
        ------
        ValueError
            If it is outside the space.
        """
        told, _, task = rows_of(view)
        quotes, take, everyone = np.zeros((1, 2, 2), np.int64), np.zeros((1, 3), np.int64), np.ones(1, np.bool_)
        self.actions.wish(
            everyone, checked(np.asarray(action)[None], everyone, self.action_space), self.actions.params, told, task,
            quotes, take,
        )  # fmt: skip
        return Wishes(quotes[0], take[0])


def checked(actions: NDArray[Any], active: Bool, space: gymnasium.Space[Any]) -> Float:
    """(B, K) actions as environments of books take them.

    Parameters
    ----------
    actions
        (B, ...) of a batch.
    active
        (B,) whose count.
    space
        Of one account: a Box of [-1, 1], or discrete.

    Raises
    ------
    ValueError
        For actions of another shape than the space's, or one outside it that counts.
    """
    shape = (len(active), *(space.shape or ()))
    chosen = numbers_of(actions, shape, f"{space} of {len(active)} wants").reshape(len(active), -1)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        most = int(space.n) if isinstance(space, spaces.Discrete) else space.nvec
        inside = (chosen >= 0.0) & (chosen < most) & (chosen == np.rint(chosen))
    else:
        inside = np.abs(chosen) <= 1.0
    wrong = np.flatnonzero(active & ~inside.all(axis=1))
    if len(wrong):
        raise ValueError(outside(actions, int(wrong[0]), space))
    return chosen


def rows_of(view: BookView) -> tuple[Int, Float, Int]:
    """What is known as a batch of one has it: (1, 17), the queues (1, 2, 3), and the task (1, 4)."""
    told, queue, task = np.zeros((1, N_KNOWN), np.int64), np.zeros((1, 2, 3)), np.zeros((1, N_TASK), np.int64)
    told[0, AT], told[0, HELD] = view.time, view.position
    told[0, DONE], told[0, N_DECISIONS] = view.done, view.n_decisions
    told[0, BID], told[0, BID_LOTS], told[0, ASK], told[0, ASK_LOTS] = view.best.ravel()
    told[0, TAKING], told[0, OWN:] = view.taking, view.quotes.ravel()
    queue[0, :, AHEAD : SHOWN + 1] = view.queue
    task[0] = view.task
    return told, queue, task


def view_of(told: Int, queue: Float, task: Int, features: Float, first: bool) -> BookView:
    """What is known of one account as a strategy sees it.

    Parameters
    ----------
    told, queue, task
        (17,), (2, 3) and (4,) of the account.
    features
        (W, F) up to now.
    first
        Whether the episode begins.
    """
    best = np.array([[told[BID], told[BID_LOTS]], [told[ASK], told[ASK_LOTS]]], np.int64)
    own, ahead = told[OWN:].reshape(2, N_OWN).copy(), queue[:, AHEAD : SHOWN + 1].copy()
    parts = (best, own, ahead, features, task.copy())
    for part in parts:
        part.flags.writeable = False
    return BookView(
        int(told[AT]), best, features, int(told[HELD]), own, ahead, int(told[TAKING]), parts[-1], int(told[DONE]),
        int(told[N_DECISIONS]), first,
    )  # fmt: skip
