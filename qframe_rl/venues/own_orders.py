"""Own orders of an account in an order book as an exchange takes them, and its fills as those of a bar."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from qframe_rl.book.accounts import (
    ARRIVES,
    F_CAUSE,
    F_LOTS,
    F_SIDE,
    F_TICK,
    KNOWN,
    LEFT,
    NEVER,
    PLACED,
    PRINT_AT,
    RESTS,
    SENT,
    SENT_LOTS,
    STATE,
    TICK,
    TOOK,
    Walk,
    book_fill,
)
from qframe_rl.book.state import BUY
from qframe_rl.book.tape import NO_ASK, NO_BID
from qframe_rl.book.walk import QUOTE
from qframe_rl.types import Fills, Instrument, Int
from qframe_rl.venues.order_sender import Intent
from qframe_rl.venues.paper_book import PaperBook
from qframe_rl.venues.paper_terms import OwnMessage

_DIGITS = 12


@dataclass
class OwnOrder:
    """An order that is out, or may be."""

    name: str
    side: int
    tick: int
    lots: int
    takes: bool
    id: str | None = None
    """The exchange's; None while it is not known."""
    counted: int = 0
    """Lots whose trades were counted."""
    trades: set[str] = field(default_factory=set)
    """Ids of these."""
    withdrawn: bool = False


def intent_of(one: OwnMessage, coin: Instrument, position: int) -> Intent:
    """A quote or a take as an order.

    Parameters
    ----------
    one
        What the difference asks for.
    coin
        The market.
    position
        Lots held: a take against it that is not larger may only reduce it.
    """
    quantity = round(one.lots * coin.lot, _DIGITS) * (1.0 if one.side == BUY else -1.0)
    limit = None if one.tick in (NO_ASK, NO_BID) else round(one.tick * coin.tick, _DIGITS)
    closes = one.kind != QUOTE and position * quantity < 0.0 and one.lots <= abs(position)
    force = "post" if one.kind == QUOTE else "" if limit is None else "ioc"
    return Intent(coin.symbol, quantity, limit, reduce_only=closes, force=force)  # type: ignore[arg-type]


def net_fills(filled: Int, book: PaperBook) -> Fills:
    """Own fills as those of a bar: net quantity at its mean price, and all fees.

    Parameters
    ----------
    filled
        (N, 6), columns as in `qframe_rl.book.accounts`.
    book
        Whose they are.
    """
    one, terms, none = book.instrument, book.terms, Fills.none(1)
    if not len(filled):
        return none
    signed = np.where(filled[:, F_SIDE] == BUY, 1, -1) * filled[:, F_LOTS]
    turnover = filled[:, F_LOTS] * filled[:, F_TICK] * book.unit
    fee = float((turnover * np.where(filled[:, F_CAUSE] == TOOK, terms.taker_fee, terms.maker_fee)).sum())
    price = float(turnover.sum()) / float(filled[:, F_LOTS].sum() * one.lot)
    # Bought and sold in one part may cancel out; that something filled must still be seen.
    quantity = float(signed.sum() * one.lot) or one.lot
    return none._replace(quantity=np.array([quantity]), price=np.array([price]), fee=np.array([fee]))


def fill_quote(walk: Walk, order: OwnOrder, tick: int, lots: int, now: int, *, stands: bool) -> None:
    """Book a trade of a quote on the first account, exchange's clock, ns.

    Parameters
    ----------
    walk, order
        The account, and whose trade it is.
    tick, lots, now
        Price and quantity of the trade, and when it is known.
    stands
        Whether the order is the quote of its side, not one that another has followed.
    """
    quote = walk.quotes[0, order.side]
    before = quote.copy()
    if quote[STATE] == SENT:
        quote[STATE], quote[KNOWN], quote[PLACED], quote[ARRIVES] = RESTS, now, now, NEVER
    if quote[TICK] != order.tick or quote[LEFT] < lots:
        # Of an order that was thought to be over: it is what is held that counts.
        quote[TICK], quote[LEFT], quote[SENT_LOTS] = order.tick, lots, lots
    book_fill(walk, 0, order.side, tick, lots, now, 0, PRINT_AT)
    if not stands:  # another one is this side's quote by now, or none
        quote[:] = before
