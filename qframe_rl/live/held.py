"""What the risk engine leaves of wishes: nothing new where trading is halted, and no more than limits have room for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qframe_rl.book.state import BUY, MOST_LOTS, MOST_TICKS, SELL
from qframe_rl.book.tape import NO_ASK, NO_BID
from qframe_rl.config import UserError
from qframe_rl.quoter import BookView, Wishes, wishes
from qframe_rl.risk.engine import RiskEngine, State
from qframe_rl.risk.limits import Limits
from qframe_rl.types import Instrument
from qframe_rl.venues.paper_book import PaperBook


def held_to(asked: Wishes, engine: RiskEngine, view: BookView, book: PaperBook, instrument: Instrument) -> Wishes:
    """What may be wished; ``asked`` itself where nothing is cut.

    HALTED withdraws both quotes. FLATTEN, and a lock in every state, withdraw them too, and take the position once it
    is known that nothing stands, so that nothing is closed twice. REDUCE_ONLY leaves what makes the position smaller.

    Parameters
    ----------
    asked
        By the strategy.
    engine
        Its state and limits.
    view
        What the strategy saw.
    book, instrument
        The account, and what it trades.
    """
    if engine.state is State.HALTED and not engine.locked:
        return wishes()
    if engine.state is State.FLATTEN or engine.locked:
        if not book.idle or view.position == 0:
            return wishes()
        side, bound = (SELL, NO_BID) if view.position > 0 else (BUY, NO_ASK)
        return wishes(take=(side, abs(view.position), bound))
    quotes, take = asked.quotes.copy(), asked.take.copy()
    take[1] = _room(int(take[1]), int(take[0]), view.taking, engine, view, instrument)
    for side in (BUY, SELL):
        coming = view.taking + (int(take[1]) if take[0] == side else 0)
        quotes[side, 1] = _room(int(quotes[side, 1]), side, coming, engine, view, instrument)
    same = np.array_equal(quotes, asked.quotes) and np.array_equal(take, asked.take)
    return asked if same else Wishes(quotes, take)


def _room(lots: int, side: int, coming: int, engine: RiskEngine, view: BookView, instrument: Instrument) -> int:
    """So many of some lots, besides those that are taken already."""
    limits, worth = engine.limits, view.mid * instrument.tick * instrument.lot
    held = (view.position if side == BUY else -view.position) + coming
    if engine.state is State.REDUCE_ONLY:
        lots = min(lots, max(-held, 0))
    if limits.max_order is not None:
        lots = min(lots, math.floor(limits.max_order / worth))
    if limits.max_position is not None:
        lots = min(lots, max(math.floor(limits.max_position / worth) - held, 0))
    return lots


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


def checked_limits(limits: Limits) -> Limits:
    """Limits that mean something where a strategy quotes.

    Raises
    ------
    UserError
        For another one that binds.
    """
    known = {"max_order", "max_position", "daily_loss", "max_drawdown", "on_loss"}
    for name, value in limits.model_dump(exclude_defaults=True).items():
        if name not in known:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} {value} means nothing where a strategy quotes; {', '.join(sorted(known))} do.")
    return limits
