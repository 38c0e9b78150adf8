"""Parents and their children, counted in whole lots: what is sent never adds up to more than the parent, nor to less.

What came of a child is read off the bar's fills alone. A child that did not fill, or filled in part, stays part of what
is left; what the risk gate, the universe or an operator took of it does not. A child of which nothing was sent at all,
a fill on the other side and a close that the venue forced end their parent: who took it back must not see it go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qframe_rl.execution.plan import ExecutionPlan
from qframe_rl.kernel.grid import down, slack, step_of, up
from qframe_rl.types import CLOSE, VOLUME, Fills, Float, Instrument, Orders

_PARTS = 1e9
"""Lots that a parent counts as where the instrument has none."""
_NOTHING = 1e-9
"""Share of a child that counts as nothing."""
_FIELDS = ("total", "left", "sent", "whole", "limit", "stop", "volume")


class Parent(NamedTuple):
    """What there is to know of one parent when its next child is made."""

    k: int
    """Finer bar since it was ordered in which the child is settled, from 1 on."""
    total: int
    """Lots of the whole parent, at least 1."""
    left: int
    """Lots of it that are not worked yet, at least 1."""
    lot: float
    """Base units."""
    volume: float
    """Base units that were traded since the bar at whose close it was ordered, that bar counted."""
    price: float
    """Last close, quote currency."""
    closes: int
    """Lots by which it reduces what is held; 0 = none."""


def child(plan: ExecutionPlan, slices: int, parent: Parent, instrument: Instrument) -> int:
    """Lots of a parent to send now; 0 = wait.

    Parameters
    ----------
    plan, slices
        How it is worked, and in how many finer bars (`ExecutionPlan.slices`).
    parent
        As it stands.
    instrument
        Its minimum amount and value: less is not sent, nor is less left for the end.

    Returns
    -------
    int
        From 0 to ``parent.left``.
    """
    done = parent.total - parent.left
    if plan.way == "now":
        want = parent.total if parent.k == 1 else done
    elif plan.way == "twap":
        want = parent.total * min(parent.k, slices) // slices
    elif plan.way == "pov":
        known = plan.share * parent.volume / parent.lot
        want = min(parent.total, int(known + slack(known)))
    else:
        want = parent.total
    lots = min(max(want - done, 0), parent.left)
    if lots and _small(lots, parent, instrument, parent.closes):
        lots = 0
    if lots and lots < parent.left and _small(parent.left - lots, parent, instrument, parent.closes - lots):
        lots = parent.left
    return lots


def _small(lots: int, parent: Parent, instrument: Instrument, closes: int) -> bool:
    """Whether no venue takes so little."""
    size = lots * parent.lot * (1.0 + _NOTHING)
    free = instrument.kind == "perpetual" and lots <= closes
    return size < instrument.min_amount or (not free and size * parent.price < instrument.min_notional)


class Parents:
    """One parent of each instrument at most, from one decision of the strategy to the next.

    Parameters
    ----------
    instruments
        The A instruments with their lots, ticks and minimums.
    """

    def __init__(self, instruments: Sequence[Instrument]):
        n = len(instruments)
        self.instruments = tuple(instruments)
        self._lots, self._ticks = [step_of(i.lot) for i in instruments], [step_of(i.tick) for i in instruments]
        self.begun = 0
        """When they were ordered, ns UTC."""
        self.total, self.left, self.sent = np.zeros(n), np.zeros(n), np.zeros(n)
        """(A,) signed lots: of the parent, of what is left of it, of the last child."""
        self.whole, self.volume = np.zeros(n), np.zeros(n)
        """(A,) signed base units of the parent; base units traded since."""
        self.limit, self.stop = np.full(n, np.nan), np.full(n, np.nan)

    def begin(self, time: int, orders: Orders) -> None:
        """Take new parents in the place of the old ones.

        Parameters
        ----------
        time
            Of the decision, ns UTC.
        orders
            Of (A,).

        Raises
        ------
        ValueError
            For quantities that are not finite, or not as many.
        """
        self.begun = time
        quantity, self.limit, self.stop = (np.array(field, dtype=np.float64) for field in orders.terms)
        if quantity.shape != self.total.shape or not np.isfinite(quantity).all():
            raise ValueError(f"orders must be {len(self.total)} finite quantities, got {quantity}")
        for a, asked in enumerate(quantity.tolist()):
            step, scale = self._lots[a]
            lots = _PARTS if asked else 0.0
            if step:
                n = abs(asked) * (scale / step)
                lots = float(np.floor(n + slack(n)))
                asked = np.copysign(lots * step / scale, asked)
            self.total[a], self.whole[a] = np.copysign(lots, asked), asked
        self.left[:], self.sent[:], self.volume[:] = self.total, 0.0, 0.0

    def absorb(self, fills: Fills) -> None:
        """Take off what became of the last children.

        Parameters
        ----------
        fills
            Of (A,), of the bar that they met.
        """
        for a in np.flatnonzero(self.left).tolist() if self.left.any() else ():
            lots, filled = self.sent[a], float(fills.quantity[a])
            asked = self._units(a, abs(lots)) * np.sign(lots)
            out = filled + float(fills.cancelled[a])
            if fills.forced[a] or filled * asked < 0.0 or (lots == 0.0) != (abs(out) <= _NOTHING * abs(asked)):
                self.left[a] = 0.0
            elif lots:
                gone = abs(asked - float(fills.cancelled[a])) / self._lot(a)
                gone = np.ceil(gone - slack(gone))  # a part of a lot counts as one: never more than the parent
                self.left[a] -= np.copysign(min(gone, abs(lots)), lots)
            self.sent[a] = 0.0

    def see(self, bar: Float) -> None:
        """Count the volume of a bar.

        Parameters
        ----------
        bar
            (A, C) channels.
        """
        traded = bar[:, VOLUME]
        self.volume += np.where(traded == traded, traded, 0.0)

    def children(self, plan: ExecutionPlan, slices: int, k: int, bar: Float, position: Float) -> Orders:
        """Orders for the next finer bar.

        Parameters
        ----------
        plan, slices
            As in `child`.
        k
            As in `Parent`.
        bar
            (A, C) channels of the last one; what did not trade in it waits.
        position
            (A,) signed base units.

        Returns
        -------
        Orders
            Of (A,). A parent with a price of its own stands whole, at that price.
        """
        n = len(self.instruments)
        quantity, limit, stop = np.zeros(n), np.full(n, np.nan), np.full(n, np.nan)
        for a in np.flatnonzero(self.left).tolist() if self.left.any() else ():
            price, side = float(bar[a, CLOSE]), float(np.sign(self.left[a]))
            if not price > 0.0:
                continue
            lots = int(abs(self.left[a]))
            if np.isnan(self.limit[a]) and np.isnan(self.stop[a]):
                lots = child(plan, slices, self._parent(a, k, price, float(position[a])), self.instruments[a])
                if plan.way == "passive" and k < slices:
                    limit[a] = self._aside(a, price, side)
            else:
                limit[a], stop[a] = self.limit[a], self.stop[a]
            self.sent[a], quantity[a] = side * lots, side * self._units(a, lots)
        return Orders(quantity, limit, stop)

    def unworked(self) -> Float:
        """(A,) signed base units that are left."""
        return np.array([self._units(a, abs(n)) * np.sign(n) for a, n in enumerate(self.left.tolist())])

    def carried(self) -> dict[str, NDArray[Any]]:
        """All of it, as arrays."""
        return {"begun": np.array([self.begun]), **{name: getattr(self, name).copy() for name in _FIELDS}}

    def carry(self, memory: dict[str, NDArray[Any]]) -> None:
        """Take over what `carried` returned."""
        self.begun = int(memory["begun"][0])
        for name in _FIELDS:
            setattr(self, name, np.array(memory[name], dtype=np.float64))

    def _parent(self, a: int, k: int, price: float, held: float) -> Parent:
        lot = self._lot(a)
        closes = int(abs(held) / lot + slack(held / lot)) if held * self.left[a] < 0.0 else 0
        return Parent(k, int(abs(self.total[a])), int(abs(self.left[a])), lot, float(self.volume[a]), price, closes)

    def _lot(self, a: int) -> float:
        step, scale = self._lots[a]
        return step / scale if step else abs(float(self.whole[a])) / _PARTS

    def _units(self, a: int, lots: float) -> float:
        """Base units of so many lots: the double nearest to the decimal number."""
        step, scale = self._lots[a]
        if lots == abs(self.total[a]):
            return abs(float(self.whole[a]))
        return lots * step / scale if step else lots * self._lot(a)

    def _aside(self, a: int, price: float, side: float) -> float:
        """The tick at or on the own side of a price."""
        step, scale = self._ticks[a]
        if not step:
            return price
        return float(down(price, step, scale) if side > 0.0 else up(price, step, scale))
