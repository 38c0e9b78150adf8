"""Decisions about slots on their way to an exchange, so that a position is never without its exits longer than it must.

In each decision: what stands no more is called off; stops of contracts that only reduce go out, before what they take
the place of is called off and before anything is opened; then what reduces, then what opens, and at last the exits that
need a position. See `docs/decisions/0027-several-orders-rest-in-slots.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from qframe_rl.exchanges import check_rests, owner_of
from qframe_rl.journal.codec import Plain
from qframe_rl.orders import is_plain
from qframe_rl.types import Bool, Float, Orders
from qframe_rl.venues.order_sender import Intent
from qframe_rl.venues.resting import Resting
from qframe_rl.venues.slot_orders import PlacedOrder, Slot, SlotOrders

Send = Callable[[Sequence[tuple[int, Intent]], Callable[[], bool]], list[Plain]]
"""Sends orders of instruments together, where it is not too late; what became of each."""


def _always() -> bool:
    return True


def _closes(intent: Intent, held: float) -> bool:
    return intent.quantity * held < 0.0


class SlotTrader:
    """Sends what is asked for in slots.

    Parameters
    ----------
    slots
        What stands.
    send
        Sends orders.
    call_off
        Cancels orders, and returns ids of those that are gone.
    note
        Told in one line of an order that does not go out, or not rest.
    exchange
        Id of the CCXT class; None in a replay.
    """

    def __init__(
        self,
        slots: SlotOrders,
        send: Send,
        call_off: Callable[[Sequence[Resting]], Collection[str]],
        note: Callable[[str], None],
        exchange: str | None,
    ):
        self._slots, self._send, self._call_off, self._note = slots, send, call_off, note
        self._exchange = exchange

    def take(self, orders: Orders, position: Float, where: Bool, in_time: Callable[[], bool]) -> None:
        """Send what a decision changes.

        Parameters
        ----------
        orders
            All that shall stand.
        position
            (A,) base units held.
        where
            (A,) instruments for which orders may go out.
        in_time
            Whether it is not too late for what opens.

        Raises
        ------
        UserError
            Where it was never rehearsed what the exchange does with orders that rest.
        """
        slots = self._slots
        if not slots.active and self._exchange is not None:
            name = owner_of(self._exchange) or self._exchange
            check_rests(name, slots.instruments[0].kind, "this strategy")
        slots.ask(orders)
        wanted = {}
        for a, k in slots.slots(where):
            intent = slots.wanted(a, k, float(position[a]))
            if intent is not None:
                wanted[a, k] = intent
        kept = {key for key, one in wanted.items() if self._is_there(key, one)}
        exits = {key: one for key, one in wanted.items() if one.reduce_only and one.stop is not None}
        stops = {key: one for key, one in exits.items() if key not in kept}
        stay = self._withdraw([key for key in slots.placed if where[key[0]] and key not in kept and key not in stops])
        others = {key: one for key, one in wanted.items() if key not in kept and key not in stops and key not in stay}
        bare = self._protect(stops, position, others)
        self._sweep({a for a in np.flatnonzero(where).tolist() if a not in bare})
        self._trade(others, position, bare, in_time)

    def close(self, orders: Orders) -> Orders:
        """Take back whatever is beside orders that close; those orders, one per instrument.

        Of several per instrument all else is over; of one, all else of its instrument.
        """
        if is_plain(orders):
            self._drop(set(np.flatnonzero(orders.quantity).tolist()))
            return orders
        self._slots.clear(orders.quantity.shape[-1])
        self._withdraw(list(self._slots.placed))
        return Orders.market(orders.quantity.sum(axis=-1))

    def _drop(self, where: Collection[int]) -> None:
        """Take back everything of some instruments."""
        slots = self._slots
        for key in [(a, k) for a in where for k in range(slots.asked.shape[-1])]:
            slots.drop(key)
        self._withdraw([key for key in slots.placed if key[0] in where])

    def _is_there(self, slot: Slot, intent: Intent) -> bool:
        placed = self._slots.placed.get(slot)
        return placed is not None and placed.is_for(intent, self._slots.instruments[slot[0]].lot)

    def _withdraw(self, keys: Sequence[Slot]) -> set[Slot]:
        """Call off what stands for some slots; return those of which it is not known to be gone."""
        slots = self._slots
        orders = {key: slots.placed[key].order for key in keys}
        for key in keys:
            slots.leave(key)
        self._sweep({key[0] for key in keys}, set(orders.values()))
        return {key for key, order in orders.items() if order in slots.leftover or not order}

    def _sweep(self, where: Collection[int], only: Collection[str] | None = None) -> None:
        """Call off orders of some instruments that stand for nothing any more."""
        slots = self._slots
        over = [
            PlacedOrder(**one).resting(slots.instruments[a].symbol)
            for order, (a, one) in slots.leftover.items()
            if a in where and (only is None or order in only)
        ]
        if over:
            slots.called_off(self._call_off(over))

    def _protect(self, stops: Mapping[Slot, Intent], position: Float, others: dict[Slot, Intent]) -> set[int]:
        """Let stops rest; return the instruments in which one surely does not.

        Where the price has passed one already, what is held is closed with ``others``.
        """
        slots, bare = self._slots, set()
        for key, intent, said in self._sent(stops, _always):
            if key in slots.placed and (said["status"] in ("accepted", "unknown") or said.get("met")):
                slots.leave(key)
            if said["status"] != "accepted":
                bare.add(key[0])
            held = float(position[key[0]])
            if said.get("met") and _closes(intent, held):
                size = min(abs(intent.quantity), abs(held))
                others[key] = replace(intent, quantity=size if intent.quantity > 0.0 else -size, stop=None)
            elif said["status"] in ("refused", "never"):
                self._note(f"{intent.symbol}: an exit does not rest: {said.get('why', said['status'])}")
            slots.sent(key, intent, said)
        return bare

    def _trade(
        self, wanted: Mapping[Slot, Intent], position: Float, bare: set[int], in_time: Callable[[], bool]
    ) -> None:
        """Send what reduces, then what opens, then exits that need what was opened."""
        slots, exits = self._slots, {key: one for key, one in wanted.items() if self._slots.only_reduces(*key)}
        opening = {key: one for key, one in wanted.items() if key not in exits and not _closes(one, position[key[0]])}
        reducing = {key: one for key, one in wanted.items() if key not in exits and key not in opening}
        for key in [key for key in opening if key[0] in bare]:
            self._note(f"{opening.pop(key).symbol}: nothing is opened while its exit does not rest")
            slots.drop(key)
        self._book(exits, _always)
        self._book(reducing, in_time)
        now = position.copy()
        for (a, _), one, said in self._book(opening, in_time):
            if said["status"] == "accepted" and one.limit is None and one.stop is None:
                now[a] += one.quantity
        later = {}
        for key in slots.slots(now != position):
            intent = slots.wanted(*key, float(now[key[0]]))
            if intent is not None and slots.only_reduces(*key) and key not in exits and key not in slots.placed:
                later[key] = intent
        self._book(later, _always)

    def _book(self, orders: Mapping[Slot, Intent], valid: Callable[[], bool]) -> list[tuple[Slot, Intent, Plain]]:
        """Send orders, and take over what became of them."""
        done = list(self._sent(orders, valid))
        for key, intent, said in done:
            self._slots.sent(key, intent, said)
            if said["status"] == "refused" and self._slots.only_reduces(*key):
                self._note(f"{intent.symbol}: an exit does not rest: {said['why']}")
        return done

    def _sent(self, orders: Mapping[Slot, Intent], valid: Callable[[], bool]) -> list[tuple[Slot, Intent, Plain]]:
        if not orders:
            return []
        said = self._send([(a, one) for (a, _), one in orders.items()], valid)
        return [(key, one, what) for (key, one), what in zip(orders.items(), said, strict=True)]
