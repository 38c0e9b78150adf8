"""What stands in the slots of a real account, and which orders on an exchange stand for it: rules without requests.

The rules are those of `docs/decisions/0027-several-orders-rest-in-slots.md`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from qframe_rl.journal.codec import Plain, packed, unpacked
from qframe_rl.kernel.columns import (
    AFTER,
    CANCELLED,
    FLAGS,
    LIMIT,
    N_FILLS,
    N_SLOT,
    QUANTITY,
    STOP,
)
from qframe_rl.kernel.grid import down, step_of, up
from qframe_rl.kernel.slots_elsewhere import SIZES, pass_bar
from qframe_rl.orders import POST_ONLY, REDUCE_ONLY, merged, orders_of, slots_of
from qframe_rl.types import Bar, Bool, Fills, Float, Instrument, Orders, SlotFills
from qframe_rl.venues.order_sender import Intent
from qframe_rl.venues.resting import Resting

Slot = tuple[int, int]
"""Instrument and slot."""
_KEPT = 5000
_HALF = 0.5
"""Lots that are no difference."""


@dataclass
class PlacedOrder:
    """An order on the exchange that stands for what is in a slot."""

    name: str
    """The id that we gave it."""
    left: float
    """Base units that it has not filled, signed."""
    limit: float | None
    stop: float | None
    order: str = ""
    """The exchange's id; empty until it is known."""
    apart: bool = False
    """Whether it is one of those conditional orders that the exchange keeps apart."""

    def is_for(self, intent: Intent, lot: float) -> bool:
        """Whether it is what an intent asks for."""
        same = (self.limit, self.stop) == (intent.limit, intent.stop)
        return same and abs(self.left - intent.quantity) <= _HALF * max(lot, 1e-12)

    def resting(self, symbol: str) -> Resting:
        """As it is called off."""
        return Resting(self.order, self.name, symbol, self.apart, self.left, False, self.stop is not None)


class SlotOrders:
    """The slots of an account of A instruments whose orders rest on an exchange.

    Parameters
    ----------
    instruments
        The A instruments.
    """

    def __init__(self, instruments: Sequence[Instrument]):
        self.instruments = tuple(instruments)
        self.active = False
        """Whether there ever were several orders of an instrument, or one that may rest."""
        self.asked = np.zeros((len(instruments), N_SLOT, 0))
        """(A, 8, K) what stands."""
        self.placed: dict[Slot, PlacedOrder] = {}
        self.leftover: dict[str, list[Any]] = {}
        """Orders by their ids that stand for nothing any more and are to be called off: instrument, and as placed."""
        self._owners: dict[str, list[int]] = {}
        """Of orders, by their ids: instrument, slot and how often what is asked for there had changed."""
        self._turns: dict[Slot, int] = {}
        self._unknown: dict[str, Slot] = {}
        """Slots of orders at the market, by their names, of which it is not known what became of them."""
        self._dropped = np.zeros(len(instruments))
        """Base units that were asked for since the last bar, did not fill and stand no more."""
        self._filled: list[list[Any]] = []
        """Fills since the last bar: instrument, slot, quantity, price, fee, and whether they are of what stands."""

    def carried(self) -> Plain:
        """All that is remembered, as JSON."""
        return {
            "asked": packed(self.asked), "placed": [[*key, asdict(one)] for key, one in self.placed.items()],
            "leftover": self.leftover, "owners": self._owners, "dropped": packed(self._dropped),
            "turns": [[*key, turn] for key, turn in self._turns.items()],
            "unknown": [[name, *key] for name, key in self._unknown.items()],
        }  # fmt: skip

    def carry(self, memory: Mapping[str, Any]) -> None:
        """Take over what `carried` returned; nothing where there were no slots."""
        if not memory:
            return
        self.active, self.asked, self._dropped = True, unpacked(memory["asked"]), unpacked(memory["dropped"])
        self.placed = {(a, k): PlacedOrder(**one) for a, k, one in memory["placed"]}
        self._turns = {(a, k): turn for a, k, turn in memory["turns"]}
        self.leftover, self._owners = dict(memory["leftover"]), dict(memory["owners"])
        self._unknown = {name: (a, k) for name, a, k in memory["unknown"]}

    @property
    def resting(self) -> Orders | None:
        """(A, K) what stands; None where nothing does."""
        return orders_of(self.asked) if self.asked[:, QUANTITY].any() else None

    @property
    def standing(self) -> frozenset[str]:
        """Ids of orders that rest, as far as they are known, those that are to be called off among them."""
        return frozenset([*(one.order for one in self.placed.values()), *self.leftover])

    def ask(self, orders: Orders) -> None:
        """Put a decision into the slots.

        Raises
        ------
        ValueError
            If they are no orders of A instruments.
        """
        asked = slots_of(orders)
        if len(asked) != len(self.instruments):
            raise ValueError(f"orders must be of {len(self.instruments)} instruments, got {len(asked)}")
        new = merged(asked, self.asked)
        for a, k in np.argwhere(new[:, QUANTITY] != 0.0).tolist():
            old = self.asked[a, :, k] if k < self.asked.shape[-1] else np.zeros(N_SLOT)
            if not _follows(new[a, :, k], old):
                self._turns[a, k] = self._turns.get((a, k), 0) + 1
        self.active, self.asked = True, new

    def wanted(self, a: int, k: int, held: float) -> Intent | None:
        """What is to be on the exchange for a slot; None for nothing yet.

        Parameters
        ----------
        a, k
            Instrument and slot.
        held
            Base units of it that are held.
        """
        row, one = self.asked[a, :, k], self.instruments[a]
        quantity, contract = float(row[QUANTITY]), one.kind == "perpetual"
        if quantity == 0.0 or row[AFTER] > 0.0 or not np.isnan(row[[LIMIT, STOP]]).any():
            return None
        side, only = 1.0 if quantity > 0.0 else -1.0, row[FLAGS] >= REDUCE_ONLY
        limit, stop = _price(row[LIMIT], side, one.tick), _price(row[STOP], -side, one.tick)
        size = abs(quantity)
        if (only and not (contract and stop is not None)) or (side < 0.0 and not contract):
            size = min(size, abs(held) if side * held < 0.0 else 0.0)
        size = float(down(size, *step_of(one.lot))) if one.lot > 0.0 else size
        if size <= 0.0:
            return None
        now = limit is None and stop is None and side * held < 0.0 and size <= abs(held)
        post: Literal["", "post"] = "post" if row[FLAGS] % REDUCE_ONLY == POST_ONLY else ""
        return Intent(one.symbol, side * size, limit, stop, contract and bool(only or now), post)

    def beside(self) -> set[str]:
        """Markets in which an order rests that is not kept apart: the exchange's own switch reaches it."""
        return {self.instruments[a].symbol for (a, _), one in self.placed.items() if not one.apart}

    def clear(self, n_slots: int) -> None:
        """Ask for nothing more in any of so many slots."""
        for a, k in np.argwhere(self.asked[:, QUANTITY] != 0.0).tolist():
            self.drop((a, k))
        self.active, self.asked = True, np.zeros((len(self.instruments), N_SLOT, n_slots))

    def only_reduces(self, a: int, k: int) -> bool:
        """Whether what stands in a slot only reduces."""
        return bool(self.asked[a, FLAGS, k] >= REDUCE_ONLY)

    def slots(self, where: Bool) -> list[Slot]:
        """Slots of some of the A instruments in which something stands."""
        return [(a, k) for a, k in np.argwhere(self.asked[:, QUANTITY] != 0.0).tolist() if where[a]]

    def sent(self, slot: Slot, intent: Intent, said: Plain) -> None:
        """Take over what became of an order that was sent; one that is done at once is not placed.

        Parameters
        ----------
        slot
            For which it was sent.
        intent
            The order.
        said
            What became of it, as `qframe_rl.venues.order_sender.OrderSender.send` says it.
        """
        if said["status"] == "accepted":
            self._own(slot, said)
        if said["status"] == "unknown" and (intent.limit, intent.stop) == (None, None):
            self._unknown[said["name"]] = slot
        elif said["status"] in ("accepted", "unknown") and (intent.limit, intent.stop) != (None, None):
            apart = bool(said.get("apart"))
            self.placed[slot] = PlacedOrder(
                said["name"], intent.quantity, intent.limit, intent.stop, said.get("order", ""), apart
            )
        elif said["status"] in ("refused", "never") and not self.only_reduces(*slot):
            self.drop(slot)

    def found(self, said: Plain, a: int) -> None:
        """Take over what became of an order of an instrument that was unknown."""
        slot = next((key for key, one in self.placed.items() if one.name == said["name"]), None)
        if said["name"] in self._unknown:
            self.sent(self._unknown.pop(said["name"]), Intent(self.instruments[a].symbol, 0.0), said)
        elif said["status"] == "accepted" and slot is not None:
            one = self.placed[slot]
            one.order, one.apart = said["order"], bool(said.get("apart"))
            self._own(slot, said)
        elif said["status"] == "accepted":
            one = PlacedOrder(said["name"], 0.0, None, None, said["order"], bool(said.get("apart")))
            self.leftover[one.order] = [a, asdict(one)]
        elif slot is not None:
            del self.placed[slot]
            if not self.only_reduces(*slot):
                self.drop(slot)

    def _own(self, slot: Slot, said: Plain) -> None:
        key = _key(said["order"], bool(said.get("apart")))
        self._owners[key] = [*slot, self._turns.get(slot, 0)]
        stands = {_key(one.order, one.apart) for one in self.placed.values()}
        for old in [one for one in list(self._owners)[:-_KEPT] if one not in stands]:
            del self._owners[old]

    def fired(self, number: str, order: str) -> None:
        """A conditional order goes on under another id."""
        if (owner := self._owners.get(_key(number, apart=True))) is not None:
            self._owners[order] = owner

    def leave(self, slot: Slot) -> None:
        """What was placed for a slot stands for nothing any more."""
        one = self.placed.pop(slot)
        if one.order:
            self.leftover[one.order] = [slot[0], asdict(one)]

    def drop(self, slot: Slot, left: float | None = None) -> None:
        """What stands in a slot is over without a fill; or only so many base units of it, as the rest did fill."""
        a, k = slot
        if k >= self.asked.shape[-1]:
            return
        whole = float(self.asked[a, QUANTITY, k])
        part = whole if left is None or abs(whole - left) < self.instruments[a].lot else left
        self._dropped[a] += part
        self.asked[a, QUANTITY, k] = whole - part

    def gone(self, orders: Collection[str]) -> None:
        """Orders that were called off for something else than a decision: a switch, or another hand."""
        for slot, one in list(self.placed.items()):
            if one.order in orders:
                del self.placed[slot]
                self.drop(slot)
        self.leftover = {order: one for order, one in self.leftover.items() if order not in orders}

    def called_off(self, orders: Collection[str]) -> None:
        """Orders that stood for nothing are gone."""
        self.leftover = {order: one for order, one in self.leftover.items() if order not in orders}

    def filled(self, a: int, order: str, quantity: float, price: float, fee: float) -> None:
        """Count a trade.

        Parameters
        ----------
        a
            Instrument.
        order
            The exchange's id of its order.
        quantity
            Signed base units that came in.
        price, fee
            At what, quote currency each; of a purchase of coins the fee may be part of the quantity as well.
        """
        if not self.active:
            return
        _, k, turn = self._owners.get(order, [a, 0, -1])
        stands = turn == self._turns.get((a, k), 0)
        self._filled.append([a, k, quantity, price, fee, stands])
        if stands and (a, k) in self.placed:
            self.placed[a, k].left -= quantity

    def rest(self, open_orders: Collection[str], waiting: Collection[str]) -> None:
        """See which orders rest: those that are gone and only reduced are sent again, others are over."""
        for slot, one in list(self.placed.items()):
            if one.order and one.order not in (waiting if one.apart else open_orders):
                del self.placed[slot]
                if not self.only_reduces(*slot):
                    self.drop(slot, one.left)
        self.leftover = {
            order: [a, one]
            for order, (a, one) in self.leftover.items()
            if order in (waiting if one["apart"] else open_orders)
        }

    def settled(
        self, fills: Fills, said: Plain, waiting: Collection[str], held: Float, bar: Bar, *, over: bool
    ) -> Fills:  # fmt: skip
        """Let a bar pass, by a reading; its fills with what each of the orders did.

        Parameters
        ----------
        fills
            Of the bar, counted already.
        said
            The reading.
        waiting
            Ids of conditional orders that an exchange keeps apart and that still wait.
        held, bar
            As in `passed`.
        over
            Whether the account is gone.
        """
        if not self.active:
            return fills
        self.rest(said.get("open", ()), waiting)
        cancelled, each = self.passed(held, bar, np.array(bar.final, dtype=np.bool_) | over)
        size = np.abs(each.quantity)
        gross = size.sum(axis=-1)
        value = (size * each.price).sum(axis=-1)
        net = np.where(np.abs(fills.quantity) > 1e-12 * gross, fills.quantity, 0.0)
        price = np.divide(value, gross, out=np.zeros_like(gross), where=gross != 0.0)
        return fills._replace(quantity=net, price=price, cancelled=cancelled, slots=each)

    def passed(self, held: Float, bar: Bar, ended: Bool) -> tuple[Float, SlotFills]:
        """Let a bar pass.

        Parameters
        ----------
        held
            (A,) base units after the bar.
        bar
            The bar.
        ended
            (A,) whether nothing is left after it.

        Returns
        -------
        tuple[Float, SlotFills]
            (A,) base units that are ordered no longer, and what filled of each order.
        """
        n, _, k = self.asked.shape
        each, off = np.zeros((3, n, k)), np.zeros((n, k))
        for a, slot, quantity, price, fee, stands in self._filled:
            j = min(slot, k - 1)
            each[0, a, j] += quantity
            each[1, a, j] += quantity * price
            each[2, a, j] += fee
            off[a, j] += quantity if stands else 0.0
        each[1] = np.divide(each[1], each[0], out=np.zeros((n, k)), where=each[0] != 0.0)
        over = np.zeros((n, N_FILLS))
        steps = np.array([step_of(one.lot) for one in self.instruments])
        width, plan, parts, _ = SIZES
        pass_bar(
            self.asked, off, held, np.ascontiguousarray(bar.values[:, :5]), ended, steps, over, np.zeros(width),
            np.zeros((plan, k)), np.zeros((parts, k)),
        )  # fmt: skip
        cancelled = over[:, CANCELLED] + self._dropped
        self._filled, self._dropped = [], np.zeros(n)
        return cancelled, SlotFills(*each)


def _key(order: str, apart: bool) -> str:
    return f"apart {order}" if apart else order


def _follows(new: Float, old: Float) -> bool:
    """Whether an order goes on from another: what fills of that one late is taken off it."""
    if new[QUANTITY] * old[QUANTITY] <= 0.0 or new[FLAGS] != old[FLAGS]:
        return False
    same = (new == old) | (np.isnan(new) & np.isnan(old))
    return bool(new[FLAGS] >= REDUCE_ONLY or same[[LIMIT, STOP]].all())


def _price(price: float, side: float, tick: float) -> float | None:
    """A price on the grid: below it for a side of 1, above it for one of -1; None for none."""
    if np.isnan(price):
        return None
    if tick <= 0.0:
        return float(price)
    step, scale = step_of(tick)
    return float(down(price, step, scale) if side > 0.0 else up(price, step, scale))
