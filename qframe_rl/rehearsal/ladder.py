"""The book as it was shown last, numbered, so that snapshots and differences fit together."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from qframe_rl.rehearsal.book import Level
from qframe_rl.rehearsal.decimals import ZERO


class Sides(NamedTuple):
    """The book: what is bid and what is asked, the best first."""

    bids: list[Level]
    asks: list[Level]


class Change(NamedTuple):
    """What is different in the book."""

    first: int
    """Number of the first change in it."""
    last: int
    """Number of the last one."""
    before: int
    """Number of the last change before it."""
    bids: list[Level]
    """Levels with their new quantity; 0 = gone."""
    asks: list[Level]
    best: bool = False
    """Of a recorded book: whether it has other best prices or quantities than before."""


class Ladder:
    """One market's book as clients know it."""

    def __init__(self) -> None:
        self.number = 1
        """Number of the last change; a snapshot carries it."""
        self._bids: dict[Decimal, Decimal] = {}
        self._asks: dict[Decimal, Decimal] = {}

    def step(self, sides: Sides) -> Change | None:
        """Show another book; return what changed, or None."""
        bids, asks = dict(sides.bids), dict(sides.asks)
        lower, upper = _difference(self._bids, bids), _difference(self._asks, asks)
        if not lower and not upper:
            return None
        self._bids, self._asks = bids, asks
        before = self.number
        self.number += len(lower) + len(upper)
        return Change(before + 1, self.number, before, lower, upper)


def _difference(old: dict[Decimal, Decimal], new: dict[Decimal, Decimal]) -> list[Level]:
    gone = [Level(price, ZERO) for price in old if price not in new]
    return gone + [Level(price, quantity) for price, quantity in new.items() if old.get(price) != quantity]
