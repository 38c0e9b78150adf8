"""All that the author of a strategy for order books must know: what it sees, and what it wishes.

A strategy that quotes is a file in ``agents/`` with a ``Config`` and ``make(config, spec) -> Quoter``. It sees the book
through its `BookView` alone, as it had arrived and as the exchange had answered by then, and says what it wishes to
stand there; what is sent for it follows from that, the same way in training, replay, paper and real trading
(`qframe_rl.book.wish`). A learner that knows spaces alone, such as ``ppo``, needs no more than ``spec.interface``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium
import numpy as np
from numpy.typing import NDArray

from qframe_rl.agent import MarketSpec
from qframe_rl.book.state import BUY, MOST_LOTS, MOST_TICKS, SELL
from qframe_rl.book.wish import passive_tick, room_for
from qframe_rl.config import UserError
from qframe_rl.types import Float, Int, Single

QUOTE_TICK, QUOTE_LEFT, QUOTE_WAITS, QUOTE_AGE = range(4)
"""Columns of an own quote as it is known: price; lots left, 0 = there is none; 1 while a message about it is on its
way; ns since its place is known."""
BEST_TICK, BEST_LOTS = range(2)
AHEAD, SHOWN = range(2)
"""Columns of a quote's queue as it is known: lots ahead, and lots displayed at its price."""


@dataclass(frozen=True, slots=True)
class BookView:
    """Everything that is knowable at one decision instant, and nothing later. Arrays are read-only."""

    time: int
    """Now, ns UTC."""
    best: Int
    """(2, 2) best bid and ask as they had arrived: tick, lots."""
    features: Float
    """(W, F) named features at the last W decision instants, the last one now; NaN what cannot be known yet."""
    position: int
    """Lots held, as answers had it; below zero = sold. On a spot market: more or fewer than at the start."""
    quotes: Int
    """(2, 4) own bid and ask as they are known."""
    queue: Float
    """(2, 2) lots ahead of them and lots displayed there, as rows that had arrived have it; 0 where there is none."""
    taking: int
    """Lots of an order that takes, whose end is not known yet; no other is sent meanwhile."""
    task: Int
    """(4,) what the episode asks for: first the lots that must be held in the end, 0 for a maker; then the
    environment's own."""
    done: int
    """Decisions made since the episode or the session began."""
    n_decisions: int
    """Decisions of the episode; 0 = there is no end."""
    first: bool
    """The first view of an episode or a run of the tape: who remembers forgets here. Another process may go on then."""

    @property
    def mid(self) -> float:
        """Mid price, ticks."""
        return 0.5 * float(self.best[BUY, BEST_TICK] + self.best[SELL, BEST_TICK])

    @property
    def target(self) -> int:
        """Lots that must be held in the end."""
        return int(self.task[0])

    @property
    def time_left(self) -> float:
        """Share of the episode that is left, 1 to 0; 1 where there is no end."""
        return 1.0 - self.done / self.n_decisions if self.n_decisions else 1.0

    @property
    def spread(self) -> int:
        """Best ask less best bid, ticks."""
        return int(self.best[SELL, BEST_TICK] - self.best[BUY, BEST_TICK])


class Wishes(NamedTuple):
    """What shall stand in the book, and what shall be taken now."""

    quotes: Int
    """(2, 2) bid and ask: tick and lots, 0 lots = none. They are post-only."""
    take: Int
    """(3,) side, lots and the worst tick of an order that takes; 0 lots = none."""


def wishes(
    bid: tuple[int, int] = (0, 0), ask: tuple[int, int] = (0, 0), take: tuple[int, int, int] = (0, 0, 0)
) -> Wishes:  # fmt: skip
    """Wishes of plain numbers.

    Parameters
    ----------
    bid, ask
        Tick and lots.
    take
        Side, lots and worst tick.
    """
    return Wishes(np.array([bid, ask], np.int64), np.array(take, np.int64))


def checked_wishes(asked: Any, name: str) -> Wishes:
    """What a strategy wishes, looked at; never clipped.

    Raises
    ------
    UserError
        If it is not whole numbers of the right shape and range.
    """
    try:
        quotes, take = (np.asarray(part) for part in asked)
    except (TypeError, ValueError):
        raise UserError(
            f"strategy {name} wishes {type(asked).__name__}; Wishes of quotes and take are wanted."
        ) from None
    if quotes.shape != (2, 2) or take.shape != (3,) or quotes.dtype.kind != "i" or take.dtype.kind != "i":
        raise UserError(
            f"strategy {name} wishes quotes {quotes.dtype} {quotes.shape} and take {take.dtype} {take.shape}; whole "
            "numbers of shapes (2, 2) and (3,) are wanted."
        )
    lots, ticks = [*quotes[:, 1].tolist(), int(take[1])], [*quotes[:, 0].tolist(), int(take[2])]
    if min(lots) < 0 or max(lots) > MOST_LOTS or max(map(abs, ticks)) > 2 * MOST_TICKS or int(take[0]) not in (0, 1):
        raise UserError(f"strategy {name} wishes lots {lots} at ticks {ticks}, side {int(take[0])}: out of range.")
    return Wishes(np.ascontiguousarray(quotes, np.int64), np.ascontiguousarray(take, np.int64))


def around(
    view: BookView, spec: BookSpec, bid: float, ask: float, reference: float | None = None, size: int | None = None
) -> Wishes:
    """Quotes on both sides of a price, whole ones where the limit has room.

    Parameters
    ----------
    view, spec
        What is seen, and what is known beforehand.
    bid, ask
        Distances from the price, ticks; infinite = no quote. A quote never reaches the other side's best price.
    reference
        The price, ticks; None = the mid price.
    size
        Lots of each; None = a whole quote.
    """
    price, made = view.mid if reference is None else reference, np.zeros((2, 2), np.int64)
    for side, distance in ((BUY, bid), (SELL, ask)):
        if np.isfinite(distance):
            other = int(view.best[SELL if side == BUY else BUY, BEST_TICK])
            lots = min(spec.size if size is None else size, room_for(side, view.position, float(spec.limit)))
            made[side] = passive_tick(side, price, float(distance), other), int(lots)
    return Wishes(made, np.zeros(3, np.int64))


def towards_target(view: BookView, spec: BookSpec, due: int, collar: int) -> Wishes:
    """Rest at the own side's best price with a whole quote, and take what is due and does not rest.

    Parameters
    ----------
    view, spec
        What is seen, and what is known beforehand.
    due
        Lots, without sign, of the target that must be done by now: what lacks is taken.
    collar
        Ticks beyond the other side's best price that are accepted.
    """
    rest = view.target - view.position
    if rest == 0:
        return wishes()
    side, left = (BUY, rest) if rest > 0 else (SELL, -rest)
    lives = int(view.quotes[side, QUOTE_LEFT])
    late = max(due - (abs(view.target) - left) - view.taking, 0)
    taken = min(late, max(left - lives - view.taking, 0))
    lots = min(spec.size, max(left - late - view.taking, 0))
    quote = (int(view.best[side, BEST_TICK]), lots)
    other = int(view.best[SELL if side == BUY else BUY, BEST_TICK])
    take = (side, taken, other + collar if side == BUY else other - collar)
    return wishes(bid=quote, take=take) if side == BUY else wishes(ask=quote, take=take)


class BookInterface(Protocol):
    """Numbers out, numbers in: what a policy sees of a book, and how its action becomes wishes."""

    @property
    def window(self) -> int:
        """Decision instants that `observe` needs."""

    @property
    def observation_space(self) -> gymnasium.Space[Any]:
        """Of one account."""

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """Of one account."""

    @property
    def market_shape(self) -> tuple[int, int]:
        """W and F: an observation begins with the scaled features."""

    @property
    def idle(self) -> tuple[int, ...]:
        """Of discrete actions the one that asks for nothing, for each choice."""

    def observe(self, view: BookView) -> Single:
        """Observation of one view."""

    def wishes(self, action: NDArray[Any], view: BookView) -> Wishes:
        """What an action means at one view."""


@dataclass(frozen=True)
class BookSpec(MarketSpec):
    """What a strategy for a book may know before the first row.

    ``instruments`` has one, with its tick, lot and fees; ``bar_ns`` is 0.
    """

    features: tuple[str, ...] = ()
    """Names of what `BookView.features` has, see `qframe_rl.book.features`."""
    size: int = 1
    """Lots of a whole quote."""
    limit: int = 1
    """Lots that may be held, quotes that live counted; of an execution, those that are to be done."""
    decide_ns: int = 0
    """Mean time between decisions, ns."""
    horizon: int = 0
    """Decisions until the deadline; 0 = there is none."""
    volatility: float = 0.0
    """Standard deviation of the mid price over training rows, ticks per root of a second."""
    intensity: float = 0.0
    """A of A exp(-k d): trades of one side a second that reach a distance d of 0 ticks from the mid price, fitted to
    training rows."""
    decay: float = 0.0
    """k of it, per tick."""


@runtime_checkable
class Quoter(Protocol):
    """A strategy for an order book."""

    window: int
    """Decision instants whose features it needs."""

    def quote(self, view: BookView) -> Wishes:
        """What shall stand in the book from now on."""
