"""What stands in slots, and the bench on which a bar with several orders is worked out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np

from qframe_rl.types import Float
from tests.oracle.grids import MISS, ZERO, down, meaning, meaning_or_none, settled
from tests.oracle.orders import Plan, fee_rate, price, slip
from tests.oracle.work import Work


@dataclass(frozen=True)
class Standing:
    """An order in its slot; a quantity of 0 is none."""

    quantity: Decimal = ZERO
    limit: Decimal | None = None
    stop: Decimal | None = None
    good: float = 1.0
    after: int = 0
    trail: Decimal | None = None
    post_only: bool = False
    reduce_only: bool = False
    group: int = 0

    @property
    def side(self) -> int:
        return 1 if self.quantity > 0 else -1


Slots = list[list[Standing]]
"""Of each instrument, slot by slot."""


@dataclass
class Part:
    """What became of one order."""

    quantity: Decimal = ZERO
    price: Decimal = ZERO
    fee: Decimal = ZERO


@dataclass(frozen=True)
class Going(Plan):
    """The plan of an order in a slot."""

    j: int = 0
    only: bool = False
    """Whether it is reduce-only."""

    @property
    def need_free(self) -> Going:
        """As what the room is shared by: a reduce-only order has no opening part."""
        return replace(self, size=self.closing) if self.only else self


@dataclass
class Bench:
    """The orders of one account in one bar."""

    w: Work
    slots: Slots
    parts: list[list[Part]]
    left: list[Decimal] = field(default_factory=list)
    """Volume left, per instrument."""
    taken: dict[tuple[int, int], Decimal] = field(default_factory=dict)
    """What was taken, per instrument and side."""
    held_on: list[Decimal] = field(default_factory=list)
    """What has been held since the open, without its sign."""
    gone: set[tuple[int, int]] = field(default_factory=set)
    """Post-only limits that would have taken."""

    def before(self, i: int, side: int) -> Decimal:
        return self.taken.get((i, side), ZERO)

    def take(self, i: int, side: int, size: Decimal) -> None:
        self.taken[i, side] = self.before(i, side) + size


def siblings(b: Bench, i: int, j: int, k: int) -> bool:
    """Whether two slots of an instrument are of one group."""
    return b.slots[i][j].group != 0 and b.slots[i][j].group == b.slots[i][k].group


def rounded(w: Work, i: int, size: Decimal, opposite: Decimal, bound: bool) -> Decimal:
    """3. In whole lots, or the position that it closes but for a rounding; ``bound``: no more than that."""
    size = min(size, opposite) if bound else size
    if w.book.listings[i].lot:
        return down(size, w.book.listings[i].lot)
    return opposite if opposite and abs(size - opposite) <= MISS * opposite else size


def trade(b: Bench, plan: Going, size: Decimal) -> None:
    """A fill: money and coins change hands, and the order and its siblings are smaller."""
    if not size:
        return
    w, i = b.w, plan.i
    record, part = w.fills[i], b.parts[i][plan.j]
    paid = price(w, plan, size)
    fee, before = size * paid * fee_rate(w, plan), w.state.position[i]
    part.quantity, part.price, part.fee = plan.side * size, paid, fee
    record.quantity += plan.side * size
    record.fee += fee
    if plan.takes:
        record.spread += size * plan.base * w.book.half_spread
        record.impact += size * plan.base * slip(w, i, size, plan.before)
        b.take(i, plan.side, size)
    w.move(i, plan.side * size, paid, fee)
    if plan.side < 0 and w.book.listings[i].owned and not w.book.spot:
        w.send(size * paid - fee)
    if before * plan.side < 0 and b.held_on:
        b.held_on[i] = max(ZERO, b.held_on[i] - size)
    for k in range(len(b.slots[i])):
        if k == plan.j or siblings(b, i, k, plan.j):
            b.slots[i][k] = lessened(w, i, b.slots[i][k], size)
            w.note("taken off a sibling") if k != plan.j else None
    w.note("slot filled at the open" if plan.at_open else "slot filled in the bar")


def lessened(w: Work, i: int, slot: Standing, filled: Decimal) -> Standing:
    """An order of which so much filled."""
    lot, left = w.book.listings[i].lot, abs(slot.quantity) - filled
    if lot:
        left = settled(left, lot)
        left = ZERO if left <= 0 or down(left, lot) == 0 else left
    elif left <= MISS * abs(slot.quantity):
        left = ZERO
    return replace(slot, quantity=slot.side * left)


def slots_in(slots: Float) -> Slots:
    """(A, 8, K) doubles by their decimal meaning."""
    return [[standing(column) for column in np.asarray(row).T.tolist()] for row in slots]


def standing(column: list[float]) -> Standing:
    """An order from its eight numbers."""
    quantity, limit, stop, good, after, trail, flags, group = column
    if quantity == 0.0:
        return Standing()
    post, only = int(flags) % 2 == 1, int(flags) >= 2
    prices = (meaning_or_none(limit), meaning_or_none(stop))
    return Standing(meaning(quantity), *prices, good, int(after), meaning_or_none(trail), post, only, int(group))
