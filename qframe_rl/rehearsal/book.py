"""The synthetic order book around the walking price.

Taking a quantity q from it costs on average ``price x (1 + half_spread + impact x sqrt(q / V))``, with V the volume of
the bar that is open: the rule by which `qframe_rl.kernel` fills market orders. It is cut into levels: level i ends at
the share ``((i + 1) / levels)^2`` of the quantity on offer, and costs what the rule says for it. At the end of each
level the average price is the kernel's, rounded outward to the tick; inside a level it is worse by less than a level.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from qframe_rl.rehearsal.decimals import ZERO, exact, floored, raised

BUY, SELL = "BUY", "SELL"


@dataclass(frozen=True)
class BookDepth:
    """How deep the book is."""

    half_spread: float
    """Half of the spread, fraction of the price."""
    impact: float
    """Coefficient of square-root impact, as in `kernel.rules_of`."""
    share: float
    """Quantity on offer on each side, as a share of the open bar's volume."""
    levels: int
    """Number of price levels on each side."""


class Level(NamedTuple):
    """What is on offer at one price."""

    price: Decimal
    quantity: Decimal


class BookInputs(NamedTuple):
    """What the book is made from at one instant."""

    price: float
    """Price of the last trade."""
    volume: float
    """Volume of the open bar, base units."""
    tick: Decimal
    lot: Decimal


def levels(shape: BookDepth, terms: BookInputs, side: str, taken: Decimal = ZERO) -> Iterator[Level]:
    """Offers that an order of ``side`` meets, the best first, each made when it is asked for.

    Parameters
    ----------
    shape
        How deep the book is.
    terms
        Where it stands.
    side
        Side of the taker: ``BUY`` meets the asks.
    taken
        Quantity that was taken from this side since the last trade of the market; it is gone from the best levels.
    """
    sign = 1.0 if side == BUY else -1.0
    offer = shape.share * terms.volume
    begin, gone, last = 0.0, taken, None
    for n in range(shape.levels):
        end = offer * ((n + 1) / shape.levels) ** 2 if shape.impact > 0.0 else offer * (1.0 + n)
        price = _rounded(_marginal(shape, terms, sign, begin, end, n), terms.tick, sign)
        price = _apart(price, last, terms, sign)
        quantity = floored(exact(end), terms.lot) - floored(exact(begin), terms.lot)
        begin, last = end, price
        less = min(gone, quantity)
        gone -= less
        if quantity > less and price > 0:
            yield Level(price, quantity - less)


def _marginal(shape: BookDepth, terms: BookInputs, sign: float, begin: float, end: float, n: int) -> float:
    """Average price of the quantity between ``begin`` and ``end``."""
    slip = shape.half_spread
    if shape.impact > 0.0 and end > begin:
        slip += shape.impact * (end**1.5 - begin**1.5) / (end - begin) / math.sqrt(terms.volume)
    elif shape.impact == 0.0:
        slip += n * float(terms.tick) / terms.price
    return terms.price * (1.0 + sign * slip)


def _rounded(price: float, tick: Decimal, sign: float) -> Decimal:
    return raised(exact(price), tick) if sign > 0.0 else floored(exact(price), tick)


def _apart(price: Decimal, last: Decimal | None, terms: BookInputs, sign: float) -> Decimal:
    """Keep levels a tick apart, and the best ask above the best bid."""
    step = terms.tick if sign > 0.0 else -terms.tick
    if last is None:
        middle = exact(terms.price)
        return price + step if sign > 0.0 and price == middle else price
    return last + step if (price - last) * step <= 0 else price
