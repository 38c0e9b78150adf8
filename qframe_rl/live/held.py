"""What the risk engine leaves of wishes: nothing new where trading is halted, and no more than limits have room for."""

from __future__ import annotations

import math

import numpy as np

from qframe_rl.book.state import BUY, SELL
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
