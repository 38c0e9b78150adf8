"""Real orders in an order book: what a strategy wishes, on an exchange or its test environment.

Wishes become messages by the one difference (`qframe_rl.book.wish`), as on paper. Here the account is what the exchange
says: each part of the tape begins with asking what became of the orders that are out, and fills are its trades, counted
by their ids. Quotes are post-only; what takes is cancelled where it does not fill. Each order is on record before it is
sent, and is sent once (`qframe_rl.venues.order_sender`); cancels may be sent again, which does no harm. Everything that
the exchange says is on record too, so that a session can be run again.

A strategy decides at once, for the last moment of a part: for moments before it, it is asked, but nothing is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from qframe_rl.book.accounts import (
    ARRIVES,
    KNOWN,
    LEVEL,
    MAKER_TURNOVER,
    N_SENT,
    NEVER,
    NOW,
    PLACED,
    POSITION,
    REFUSED,
    RESTS,
    SENT,
    STATE,
    TAKE_KNOWN,
    TAKER_TURNOVER,
    TAKES,
    TICK,
    TOOK,
    WITHDRAWN,
    book_fill,
    end_quote,
)
from qframe_rl.book.events import Events
from qframe_rl.book.features import BookWatch
from qframe_rl.book.lookup import level_of
from qframe_rl.book.state import BUY, SELL
from qframe_rl.book.tape import Tape
from qframe_rl.book.walk import QUOTE, WITHDRAW
from qframe_rl.book.wish import TAKE_LOTS
from qframe_rl.journal.codec import Plain
from qframe_rl.journal.ledger import Ledger
from qframe_rl.types import SECOND, Instrument, Int
from qframe_rl.venues.holdings import Holdings
from qframe_rl.venues.order_sender import OrderSender
from qframe_rl.venues.order_states import OrderStates
from qframe_rl.venues.own_orders import OwnOrder, fill_quote, intent_of
from qframe_rl.venues.paper_book import PaperBook
from qframe_rl.venues.paper_terms import DueMoments, OwnMessage, PaperTerms
from qframe_rl.venues.resting import GONE
from qframe_rl.venues.timely import Timekeeper

LATE_NS = 2 * SECOND
"""Older decisions are not sent: what is repeated from the record after a kill, above all."""
_RECKONED_NS = 30 * SECOND
_SILENT_NS = 30 * SECOND
"""So long the exchange may say nothing of our orders, until that is trouble."""
_STRANGE = 5
"""Looks in a row at which the position is not what the trades say, until that is trouble."""
_PATIENCE_S = 60.0


class ExchangeBook(PaperBook):
    """One account of one exchange, in one order book.

    Parameters
    ----------
    terms, instrument
        What holds, and whose book it is; the hold-back is 0.
    client
        Of CCXT, with keys and markets; None in a replay.
    ledger
        The journal.
    sender
        Makes what sends orders, for a session that has that id or none yet; called once the session is on record.
    wall
        The clock of whoever records the tape, ns UTC.
    note
        Told in one line of every failure.
    """

    def __init__(
        self, terms: PaperTerms, instrument: Instrument, client: Any, ledger: Ledger,
        sender: Callable[[str | None], OrderSender], wall: Callable[[], int] = time.time_ns,
        note: Callable[[str], None] = lambda text: None,
    ):  # fmt: skip
        super().__init__(terms, instrument, 0.0)
        self._client, self._ledger, self._note, self._wall = client, ledger, note, wall
        self._make = sender
        self._made: OrderSender | None = None
        self._run: str | None = None
        self._states = OrderStates(client, instrument, note)
        self._holdings = Holdings(client, instrument, wall, note)
        self._kept = Timekeeper(client, note=note)
        self._orders: dict[str, OwnOrder] = {}
        self._funded: dict[str, None] = {}
        """Ids of payments of funding that were."""
        self._standing = ["", ""]
        """Name of the order that is the quote of each side; empty = there is none."""
        self._number = self._shift = self._last = self._reckoned = self._strange = 0
        self._begun_ns = self._asked = self._unanswered = 0
        self._fees = 0.0

    @property
    def worth(self) -> float:
        """At the mid price, fees paid as the exchange took them, less what there was at the start."""
        plain = super().worth
        account, terms = self.walk.account[0], self.terms
        assumed = terms.maker_fee * int(account[MAKER_TURNOVER]) + terms.taker_fee * int(account[TAKER_TURNOVER])
        return plain + assumed - self._fees / self.unit

    def carried(self) -> Plain | None:
        """As on paper, once no order is out: trades of orders to come have ids of their own."""
        memory = super().carried()
        if memory is None or self._orders or self._reckoned == 0:
            return None
        return memory | {
            "session": self._sender.run,
            "number": self._number,
            "reckoned": self._reckoned,
            "strange": self._strange,
            "begun": self._begun_ns,
            "asked": self._asked,
            "fees": self._fees,
            "funded": list(self._funded),
        }

    def carry(self, memory: Plain) -> None:
        """Take over what `carried` returned."""
        super().carry(memory)
        self._run, self._number, self._reckoned = memory["session"], memory["number"], memory["reckoned"]
        self._strange, self._begun_ns, self._asked = memory["strange"], memory["begun"], memory["asked"]
        self._fees, self._funded = memory["fees"], dict.fromkeys(memory["funded"])

    def owe(self, dues: Any) -> None:
        """Funding is what the exchange takes."""

    def transfer(self, units: int) -> str:
        """Refuse: the account is all of the exchange's."""
        return "an account on an exchange is paid into and out of there"

    def _settle(self, tape: Tape, now: int, mid: float | None = None) -> None:
        """Nothing: the exchange settles."""

    @property
    def _sender(self) -> OrderSender:
        if self._made is None:
            self._made = self._make(self._run)
        return self._made

    def open(self, clock_shift_ns: int, start: int, stop: int, watch: BookWatch) -> None:
        """Begin a run."""
        self._shift, self._standing = clock_shift_ns, ["", ""]
        super().open(clock_shift_ns, start, stop, watch)

    def hear(self, events: Events, *, ends: bool) -> DueMoments:
        """Take rows as they arrive; only for the last moment something will be sent."""
        due = super().hear(events, ends=ends)
        self._kept.look()
        self._last = int(due.at[-1]) if len(due.at) else 0
        return due

    def _reach(self, tape: Tape, now: int) -> None:
        """Ask what became of the orders that are out, before the last moment of a part."""
        self.walk.account[0, NOW] = now
        for side in (BUY, SELL):
            self.walk.quotes[0, side, LEVEL] = level_of(tape, side, int(self.walk.quotes[0, side, TICK]))
        if self._reckoned == 0:
            self._begin(now)
        # Who does not answer is not asked with every part.
        if now == self._last and (not self._unanswered or now - self._asked >= SECOND):
            self._ask(now)
            self._reckon(now)

    def _begin(self, now: int) -> None:
        """The account as it is found."""
        _ = self._sender
        said = self._ledger.take("holdings", partial(self._holdings.found, now // 1_000_000))
        self._cash, self._reckoned, self._begun_ns = said["cash"], now, now
        self._funded |= dict.fromkeys(said.get("funding", ()))
        self.walk.account[0, POSITION] = round(said["position"] / self.instrument.lot)

    def send(
        self, quotes: Int, take: Int, now: int, entry_ns: int, *, must: bool, fresh: bool = True
    ) -> list[OwnMessage]:  # fmt: skip
        """Pursue wishes; what must go out goes at any moment, but nothing new for a moment that is over."""
        past = now < self._last
        if past and not must:
            return []
        if any(one.takes for one in self._orders.values()):
            take = take.copy()
            take[TAKE_LOTS] = 0
        sent = super().send(quotes, take, now, 0, must=must, fresh=fresh and not past)
        self._out(sent, now)
        return sent

    def abandon(self) -> None:
        """Withdraw what stands as far as it can be, off the record, and say what is left."""
        out = [one for one in self._orders.values() if not one.takes]
        if self._client is None or not out:
            return
        known = {str(one.id): one.name for one in out if one.id is not None}
        gone = set(self._states.called_off(list(known))["orders"])
        left = [one.name for one in out if str(one.id) not in gone]
        if left:
            self._note(f"orders that may still rest: {', '.join(left)}; start the session again to withdraw them")

    def close_run(self) -> list[OwnMessage]:
        """The tape tells no more: withdraw what stands, and wait until the exchange says that it is gone."""
        sent: list[OwnMessage] = []
        if self._reckoned:
            pause = 0.05
            at = max(self._last, int(self.walk.account[0, NOW]))
            until = time.monotonic() + _PATIENCE_S
            while True:
                self._ask(at)
                fresh = [one for one in self._orders.values() if not one.withdrawn and not one.takes]
                sent += [OwnMessage(at, WITHDRAW, one.side, one.tick, 0) for one in fresh if one.id is not None]
                self._withdraw([one for one in self._orders.values() if one.id is not None and not one.takes])
                left = list(self._orders)
                # Whether to go on is on record, as everything is that depends on clocks.
                over = self._ledger.take("closing", lambda left=left: {"over": not left or time.monotonic() > until})  # type: ignore[misc]
                if over["over"]:
                    break
                if self._ledger.writing:
                    time.sleep(pause)
                    pause = min(1.0, 1.5 * pause)
            if self._orders:
                self.trouble = (f"orders that cannot be withdrawn: {', '.join(self._orders)}",)
                if self._ledger.writing:
                    self._note(self.trouble[0])
            self.walk.account[0, N_SENT] += len(sent)
        self._growing = self._watch = None
        return sent

    def _out(self, messages: list[OwnMessage], now: int) -> None:
        """Send messages that the difference asks for."""
        gone = [one.side for one in messages if one.kind == WITHDRAW]
        out_there = [o for o in self._orders.values() if not o.takes and o.side in gone and o.id is not None]
        self._withdraw(out_there, noted=True)
        fresh = [one for one in messages if one.kind != WITHDRAW]
        if not fresh:
            return
        out = {}
        for one in fresh:
            out[self._number] = one
            self._number += 1
        intents = {number: intent_of(one, self.instrument, self.position) for number, one in out.items()}
        said = self._sender.send(intents, lambda: self._wall() + self._shift - now <= LATE_NS)
        for number, one in out.items():
            order = OwnOrder(said[number]["name"], one.side, one.tick, one.lots, one.kind != QUOTE)
            self._orders[order.name] = order
            if not order.takes:
                self._standing[order.side] = order.name
            self._became(order, said[number], now)

    def _became(self, order: OwnOrder, said: Plain, now: int) -> None:
        """What became of an order that was sent."""
        if said["status"] == "accepted":
            order.id = said["order"]
            quote = self.walk.quotes[0, order.side]
            if self._stands(order) and quote[STATE] == SENT:
                quote[STATE], quote[KNOWN], quote[PLACED], quote[ARRIVES] = RESTS, now, now, NEVER
        elif said["status"] in ("refused", "never"):
            if said["status"] == "refused" and not order.takes:
                self.walk.account[0, REFUSED] += 1
            self._over(order, now)

    def _over(self, order: OwnOrder, now: int) -> None:
        """An order is no more."""
        self._orders.pop(order.name, None)
        if order.takes:
            self.walk.account[0, TAKES], self.walk.account[0, TAKE_KNOWN] = NEVER, now
        elif self._stands(order):
            self._standing[order.side] = ""
            end_quote(self.walk, 0, order.side, now)

    def _stands(self, order: OwnOrder) -> bool:
        """Whether an order is the quote of its side, not one that another has followed."""
        return self._standing[order.side] == order.name

    def _withdraw(self, orders: list[OwnOrder], *, noted: bool = False) -> None:
        """Cancel orders; one that is there no more is found out about with the next look.

        Parameters
        ----------
        orders
            Which.
        noted
            Whether they are counted among the messages already.
        """
        if not orders:
            return
        for one in orders:
            one.withdrawn = True
            if self._stands(one):
                self.walk.quotes[0, one.side, WITHDRAWN] = 1
        if not noted:
            self._rates.note(int(self.walk.account[0, NOW]), len(orders))
        self._ledger.commit()
        self._ledger.take("cancelled", partial(self._states.called_off, [str(one.id) for one in orders]))

    def _ask(self, now: int) -> None:
        """Ask what became of all orders that are out."""
        self._asked = now
        if not self._orders:
            self._unanswered = 0
            return
        self._ledger.commit()
        waited = any(one.id is not None for one in self._orders.values())
        said = self._ledger.take("polled", self._polled)
        self._unanswered = (self._unanswered or now) if waited and not said["orders"] else 0
        if self._unanswered and now - self._unanswered >= _SILENT_NS:
            self.trouble = (f"the exchange has said nothing of our orders for {_SILENT_NS // SECOND} s",)
        for one in said.get("resolved", ()):
            intent_name = one["name"]
            self._sender.learn(one)
            if intent_name in self._orders:
                self._became(self._orders[intent_name], one, now)
        for name, told in said["orders"].items():
            order = self._orders.get(name)
            if order is not None:
                self._told(order, told, now)
        out_there = [o for o in self._orders.values() if o.id is not None and not o.takes]
        again = [o for o in out_there if o.withdrawn or not self._stands(o)]
        self._withdraw(again)

    def _polled(self) -> Plain:
        """States of our orders, and their trades, as far as there is an answer."""
        out = {name: (str(one.id), one.counted) for name, one in self._orders.items() if one.id is not None}
        said: Plain = {"orders": self._states.states(out)}
        resolved = self._sender.look()
        return said | ({"resolved": resolved} if resolved else {})

    def _told(self, order: OwnOrder, told: Plain, now: int) -> None:
        """Count trades that are new; an order that is over is forgotten once all of them were counted."""
        for trade in told.get("trades", ()):
            if trade["id"] in order.trades:
                continue
            order.trades.add(trade["id"])
            lots = round(trade["quantity"] / self.instrument.lot)
            tick = round(trade["price"] / self.instrument.tick)
            self._fees += trade["fee"]
            if "fee_in" in trade:
                self.trouble = (f"a fee was taken in {trade['fee_in']}, whose worth is not known here",)
            order.counted += lots
            if order.takes:
                book_fill(self.walk, 0, order.side, tick, lots, now, 0, TOOK)
            else:
                fill_quote(self.walk, order, tick, lots, now, stands=self._stands(order))
        if told["status"] in ("closed", *GONE) and order.counted >= told["filled"]:
            self._over(order, now)

    def _reckon(self, now: int) -> None:
        """Hold what is held by our count against what the exchange says, now and then, and count funding."""
        if now - self._reckoned < (_RECKONED_NS if self._strange == 0 else SECOND) or self._orders_unknown():
            return
        self._reckoned = now
        said = self._ledger.take(
            "holdings", partial(self._holdings.since, self._begun_ns // 1_000_000, now // 1_000_000)
        )
        if "position" not in said:
            return
        for number, cost in said.get("funding", {}).items():
            if number not in self._funded:
                self._funded[number] = None
                self.walk.funding[0] += cost / self.unit
        held = round(said["position"] / self.instrument.lot)
        # A quote may fill between two answers: only what stays is strange.
        self._strange = self._strange + 1 if held != self.position else 0
        if self._strange >= _STRANGE:
            self.trouble = (f"{held} lots are held at the exchange, and {self.position} by our own trades",)

    def _orders_unknown(self) -> bool:
        return any(one.id is None for one in self._orders.values())

    def filled(self) -> Int:
        """Own fills since the last time."""
        account = self.walk.account[0]
        if account[TAKES] != NEVER and not any(one.takes for one in self._orders.values()):
            account[TAKES] = NEVER
        return super().filled()
