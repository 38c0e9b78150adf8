"""A real account: orders go to an exchange or its test environment, and the account is what the exchange says.

Nothing is settled here. After each bar what still rests is cancelled, new trades are read and counted by their id, and
wallet and positions are read until two readings in a row agree: an answer that is empty by mistake looks like a flat
account. Positions that the trades do not explain are trouble, which halts trading.

Requests run in threads of their own. Whatever is waited for, `ExchangeVenue.hear` is called meanwhile, and what the
operator then asks for is begun at once: for every market that answers, whatever the others do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from qframe_rl.feeds.task import PendingRequest
from qframe_rl.journal.codec import Plain, packed, unpacked
from qframe_rl.journal.ledger import Input, Ledger
from qframe_rl.kernel.columns import CANCELLED
from qframe_rl.orders import is_plain
from qframe_rl.types import CLOSE, Account, Bar, Fills, Float, Instrument, Orders
from qframe_rl.venues.aside import SetAside, cash_moved, traded_by_others
from qframe_rl.venues.counting import counted
from qframe_rl.venues.dead_man import arm
from qframe_rl.venues.order_sender import Intent, OrderSender
from qframe_rl.venues.reading import Known, PendingReading, Reader
from qframe_rl.venues.resting import Ours, Resting
from qframe_rl.venues.slot_orders import SlotOrders
from qframe_rl.venues.slot_trader import SlotTrader
from qframe_rl.venues.sweep import Again, Sweeper, called_off, held_now
from qframe_rl.venues.timely import Asking, Timekeeper
from qframe_rl.venues.troubles import strange, troubles, unexplained, unpriced

_MS = 1_000_000
_OVERLAP_MS = 600_000
_KEPT = 5000
"""Orders, and trades, that are remembered beside what stands: many times those of the time that is read again."""
_LOOK_S = 0.05
"""How long the account is waited for before the operator is heard again, seconds."""
_LOST_S = 3.0
"""How long the account is not shown before that is said, seconds."""


class ExchangeVenue:
    """One account of one exchange, through CCXT.

    Parameters
    ----------
    client
        Of CCXT, with keys and markets; None in a replay.
    sender
        Sends the orders.
    ledger
        What the exchange says is taken from it, or written to it.
    instruments
        The A instruments, all of one kind and one quote currency.
    bar_ns
        An order that could not be sent within half a bar after its decision is not sent at all.
    now
        The exchange's clock, ns UTC; it must not wait.
    patience_s
        How long the account is asked for before giving up, seconds.
    note
        Told in one line of every failure.

    Raises
    ------
    UserError
        For instruments of two kinds or quote currencies.
    """

    def __init__(
        self,
        client: Any,
        sender: OrderSender,
        ledger: Ledger,
        instruments: tuple[Instrument, ...],
        bar_ns: int,
        now: Callable[[], int],
        *,
        patience_s: float = 3600.0,
        note: Callable[[str], None] = lambda text: None,
    ):
        self._reader = Reader(client, instruments, now)
        self._client, self._sender, self._ledger = client, sender, ledger
        self._instruments, self._bar_ns, self._now = instruments, bar_ns, now
        self._symbols = [i.symbol for i in instruments]
        self._patience_s, self._note = patience_s, note
        self._time_kept = Timekeeper(client, note=note)
        n = len(instruments)
        self.account = Account(np.zeros(()), np.zeros(n), np.full(n, np.nan))
        self.terminated = False
        self.trouble: tuple[str, ...] = ()
        """What the last reading could not explain."""
        self.hear: Callable[[], None] = lambda: None
        self._n_orders = 0
        self._names: dict[str, int] = {}
        self._waiting: dict[str, int] = {}
        """Ids of conditional orders that an exchange keeps apart, as long as it is not known what became of them."""
        self._ordered = np.zeros(n)
        self._owed = np.zeros(n)
        """Base units that came while an order was unknown, and whose trades are still to be counted."""
        self._seen: dict[str, None] = {}
        self._since_ms = 0
        self._time = -1
        self._began = False
        self._left: dict[str, bool] = {}
        """Markets whose orders could not be cancelled; whether those that only reduce may stay."""
        self._unfinished = self._unseen = False
        """Whether part of a close did not go out; whether it went by what we know, not by what the exchange says."""
        self._aside, self._slots = SetAside(instruments), SlotOrders(instruments)
        self._trader = SlotTrader(self._slots, self._send_each, self._call_off, note, getattr(client, "id", None))
        # The rest belongs to this process alone.
        self._sweeper, self._again = Sweeper(self._clearing, note), Again()
        self._acts = 0
        """How often anything was sent or cancelled: an account that was read meanwhile is read again."""
        self._reading: PendingReading | None = None
        self._lost_since = 0.0

    def carried(self) -> Plain:
        """What is known of account, orders and trades between two bars, as JSON."""
        return {
            "account": [packed(field) for field in self.account], "terminated": self.terminated,
            "trouble": list(self.trouble), "orders": self._n_orders,
            "names": list(self._names.items()), "waiting": list(self._waiting.items()), "seen": list(self._seen),
            "since_ms": self._since_ms, "time": self._time, "began": self._began, "unknown": self._sender.carried(),
            "owed": packed(self._owed), "left": self._left, "unfinished": [self._unfinished, self._unseen],
            "aside": self._aside.carried(), **({"slots": self._slots.carried()} if self._slots.active else {}),
        }  # fmt: skip

    def carry(self, memory: Plain) -> None:
        """Take over what `carried` returned."""
        self.account, self.terminated = Account(*map(unpacked, memory["account"])), memory["terminated"]
        self.trouble, self._n_orders = tuple(memory["trouble"]), memory["orders"]
        self._names, self._seen = dict(memory["names"]), dict.fromkeys(memory["seen"])
        self._waiting, self._left = dict(memory["waiting"]), dict(memory["left"])
        self._since_ms, self._time, self._began = memory["since_ms"], memory["time"], memory["began"]
        self._sender.carry(memory["unknown"])
        self._aside.carry(memory["aside"])
        self._slots.carry(memory.get("slots", {}))
        self._owed, (self._unfinished, self._unseen) = unpacked(memory["owed"]), memory["unfinished"]

    def transfer(self, units: int) -> str:
        """Let the session use more or less of the exchange's account, whose money stays where it is; why not, if so."""
        why, self.account = self._aside.transfer(units, self.account, self._instruments)
        return why

    def adopt(self, a: int | None, units: int) -> str:
        """Let the session have what came from outside, or set aside what will be withdrawn; why not, if so."""
        if a is not None and self._instruments[a].kind != "spot":
            return "contracts came with their price: what was traded by hand counted when it was seen"
        why, self.account = self._aside.adopt(a, units, self.account, self._instruments)
        return why

    def rule(self, instruments: tuple[Instrument, ...]) -> None:
        """Judge what is held by what the exchange now states of the instruments."""
        self._instruments = self._slots.instruments = instruments

    @property
    def resting(self) -> Orders | None:
        """(A, K) orders that stand in slots; None where there are none."""
        return self._slots.resting

    def submit(self, orders: Orders) -> None:
        """Send orders; each is on record before it is sent, and its outcome after.

        Nothing is sent for a market in which it is not known what became of an earlier order.
        """
        doubtful = self._doubtful()
        if self._ledger.writing and orders.quantity[doubtful].any():
            held_up = ", ".join(s for s, doubt in zip(self._symbols, doubtful, strict=True) if doubt)
            self._note(f"{held_up}: no order goes out until it is known what became of the last one")
        if not self._slots.active and is_plain(orders):
            self._send(orders, self.account.position, self._in_time, ~doubtful)
            return
        self._trader.take(orders, self.account.position, ~doubtful, self._in_time)
        for symbol in self._slots.beside():
            self._arm(symbol)

    def close(self, orders: Orders, position: Float) -> None:
        """Send orders that close ``position``, (A,) base units: for these it is never too late; nothing else is left.

        One that closes already, though its answer was lost, is not followed by another before that is found out.
        """
        orders = self._trader.close(orders)
        unknown = [one.intent for one in self._sender.unknown.values()]
        closing = {one.symbol for one in unknown if one.quantity * position[self._symbols.index(one.symbol)] < 0.0}
        outcomes = self._send(orders, position, lambda: True, np.array([s not in closing for s in self._symbols]))
        self._unfinished = self._unseen or any(said["status"] in ("refused", "never") for said in outcomes)
        self._unseen = False
        if not self._unfinished:
            self._again.done("close")

    def cancel(self, markets: Mapping[str, bool]) -> None:
        """Cancel every order of ours that rests in some markets, or, where true, every one that may open a position.

        Where that is not done at once it is tried again, until it is: see `news`.
        """
        self._acts += 1

        def source() -> Plain:
            gone, left = self._sweeper.begin(markets)
            return {"orders": gone} | ({"left": left} if left else {})

        said = self._ledger.take("cancelled", source)
        self._slots.gone(said["orders"])
        others = {symbol: opening for symbol, opening in self._left.items() if symbol not in markets}
        self._left = others | {symbol: markets[symbol] for symbol in said.get("left", ())}

    def held(self) -> Float:
        """(A,) base units that the exchange says are held now; where it does not say, those that we know of."""
        position = self._ledger.take("held", partial(held_now, self._client, self._reader, self._note))["position"]
        self._unseen = position is None
        if position is None:
            return self.account.position + self._ordered
        return self._aside.position(np.array(position, dtype=np.float64))

    def news(self) -> list[Input]:
        """What became clear of orders, and what of a kill switch is done, or due again; nobody is waited for."""
        self._time_kept.look()
        found = [Input("resolved", said) for said in self._sender.look()]
        for symbol, opening in self._left.items():
            gone = self._sweeper.go_on(symbol, opening)
            if gone is not None:
                found.append(Input("swept", {"orders": gone, "market": symbol}))
        if self._unfinished and self._again.due("close"):
            found.append(Input("again", {"why": "something was not closed"}))
        if self._reading is not None and 0.0 < self._lost_since < time.monotonic() - _LOST_S:
            self._lost_since = 0.0
            found.append(Input("lost", {"why": self._reading.asking.why or "no answer"}))
        return found

    def learn(self, kind: str, payload: Plain) -> bool:
        """Take over what `news` said; return whether a kill switch has to act again."""
        if kind == "resolved":
            intent = self._sender.learn(payload)
            a = self._symbols.index(intent.symbol)
            if payload["status"] == "accepted":
                self._accepted(a, intent, payload)
            self._slots.found(payload, a)
            return True
        if kind == "swept":
            self._left.pop(payload["market"], None)
            self._slots.gone(payload["orders"])
        return kind == "again"

    def advance(self, bar: Bar) -> Fills:
        """Read what became of the orders, and the account."""
        close = bar.values[:, CLOSE]
        mark = np.where(np.isnan(close), self.account.mark, close)
        self._time = bar.time
        if self._warms_up():
            self.account = self.account._replace(mark=mark)
            return Fills.none(len(mark))
        self._lost_since = time.monotonic()
        said = self._ledger.awaited("exchange", self._read, self.hear)
        self._reading, self._left = None, self._left if self._slots.active else {}
        self._fire(said.get("fired", {}))
        doubtful = self._doubtful()
        unsure = {s for s, doubt in zip(self._symbols, doubtful, strict=True) if doubt}
        moved = cash_moved(said, self._names, self._seen, unsure) if "aside" in said else 0.0
        fees = unpriced(said["trades"], self._names, self._seen)
        fills = self._fills(said)
        before, raw = self.account.position, np.array(said["position"], dtype=np.float64)
        after = self._aside.position(raw)
        if self._began:
            expected = before + fills.quantity - np.where(doubtful, 0.0, self._owed)
            self._owed = np.where(doubtful, self._owed + after - expected, 0.0)
            off = unexplained(self._instruments, expected, after) & ~doubtful
            self.trouble = troubles(self._symbols, expected, after, off, strange(said["trades"], self._names, unsure))
            self.trouble += fees
            if "aside" in said:
                others = traded_by_others(said, self._names)
                self._seen.update((number, None) for number, symbol in others.items() if symbol not in unsure)
                self._aside.take_coins(after - expected, off, others.values())
                after = self._aside.position(raw)
                off &= unexplained(self._instruments, expected, after)
            forced = np.where(off, after - expected, 0.0)
            fills = fills._replace(forced=forced, forced_price=np.where(forced == 0.0, 0.0, mark))
        cash = np.array(self._aside.cash_of(said, moved, float(self.account.equity), self._began, certain=not unsure))
        if (aside := self._aside.news()) is not None:
            self._ledger.put("aside", {"time": self._time, **aside})
        if not doubtful.any():
            # Read again a little of what was read before: a trade may be listed late, and counts once by its id.
            self._since_ms = max(self._since_ms, bar.time // _MS - _OVERLAP_MS)
        self.account = Account(cash, after, mark)
        self.terminated = self._began and float(self.account.equity) <= 0.0
        self._ordered = np.zeros_like(self._ordered)
        for kept, stands in ((self._names, self._slots.standing), (self._seen, frozenset[str]())):
            for old in [one for one in list(kept)[:-_KEPT] if one not in stands]:
                del kept[old]
        return self._slots.settled(fills, said, self._waiting, after, bar, over=self.terminated)

    def _warms_up(self) -> bool:
        """Whether nothing was decided yet and the account is known already."""
        if self._began:
            return False
        known = self._since_ms > 0
        self._since_ms = self._time // _MS
        return known

    def _in_time(self) -> bool:
        return self._now() - self._time <= self._bar_ns // 2

    def _doubtful(self) -> Any:
        """(A,) in which instruments it is not known what became of an order."""
        symbols = {one.intent.symbol for one in self._sender.unknown.values()}
        return np.array([symbol in symbols for symbol in self._symbols])

    def _read(self) -> Plain | None:
        """Read the account, in a thread; None while that goes on, or while an order is about to be found."""
        if self._sender.young():
            time.sleep(_LOOK_S)
            return None
        if self._reading is None or self._reading.acts != self._acts:
            if self._reading is not None:
                self._reading.asking.abandoned.set()
            asking = Asking(self._client, self._patience_s, self._note)
            ours, waiting, seen = self._ours(), dict(self._waiting), frozenset(self._seen)
            known = Known(ours, waiting, seen, self._since_ms, self._began, self._slots.active)
            task = PendingRequest(partial(self._reader.read, known, asking))
            self._reading = PendingReading(self._acts, asking, task)
        return self._reading.task.result() if self._reading.task.wait(_LOOK_S) else None

    def _send(self, orders: Orders, position: Float, valid: Callable[[], bool], where: Any) -> list[Plain]:
        """Send orders where they may go: those that reduce first, for they bring the money for the others."""
        outcomes: list[Plain] = []
        for reducing in (True, False):
            wanted = np.flatnonzero((orders.quantity != 0.0) & where).tolist()
            intents = [(a, self._intent(a, orders, float(position[a]))) for a in wanted]
            outcomes += self._send_each(
                [(a, one) for a, one in intents if (one.quantity * position[a] < 0.0) == reducing], valid
            )
        return outcomes

    def _send_each(self, intents: Sequence[tuple[int, Intent]], valid: Callable[[], bool]) -> list[Plain]:
        """Send orders together; what became of each."""
        self._began = True
        self._acts += 1
        numbered = {self._n_orders + k: intent for k, (_, intent) in enumerate(intents)}
        self._n_orders += len(numbered)
        outcomes = list(self._sender.send(numbered, valid).values()) if numbered else []
        for (a, intent), outcome in zip(intents, outcomes, strict=True):
            if outcome["status"] == "accepted":
                self._accepted(a, intent, outcome)
                if (intent.limit, intent.stop) != (None, None) and not outcome.get("apart"):
                    self._arm(intent.symbol)
        return outcomes

    def _arm(self, symbol: str) -> None:
        """Have the exchange cancel what rests in a market if we do not come back within two bars."""
        if self._ledger.writing:
            PendingRequest(partial(arm, self._client, symbol, 2 * self._bar_ns // _MS, self._note))

    def _call_off(self, orders: Sequence[Resting]) -> list[str]:
        """Cancel orders; ids of those that are gone."""
        self._acts += 1
        said = self._ledger.take("cancelled", lambda: {"orders": called_off(self._client, orders, self._note)})
        return list(said["orders"])

    def _intent(self, a: int, orders: Orders, held: float) -> Intent:
        quantity = float(orders.quantity[a])
        closes = self._instruments[a].kind == "perpetual" and quantity * held < 0.0 and abs(quantity) <= abs(held)
        limit, stop = (None if np.isnan(p[a]) else float(p[a]) for p in (orders.limit, orders.stop))
        return Intent(self._symbols[a], quantity, limit, stop, closes)

    def _accepted(self, a: int, intent: Intent, outcome: Plain) -> None:
        if not self._slots.active or (intent.limit, intent.stop) == (None, None):
            self._ordered[a] += intent.quantity
        (self._waiting if outcome.get("apart") else self._names)[outcome["order"]] = a

    def _ours(self) -> Ours:
        return Ours(frozenset(self._names), frozenset(self._waiting), frozenset(self._sender.unknown))

    def _clearing(self, symbol: str, opening: bool) -> Callable[[], list[str]]:
        """How to cancel the orders of a market."""
        held = float(self.account.position[self._symbols.index(symbol)]) if opening else None
        return partial(self._reader.clear, symbol, self._ours(), Asking(self._client, 0.0, self._note), held)

    def _fire(self, became: dict[str, str | None]) -> None:
        """Take over under which ids conditional orders went on, and forget those that never will."""
        for number, order in became.items():
            if order is None:
                continue
            a = self._waiting.pop(number)
            if order:
                self._names[order] = a
                self._slots.fired(number, order)

    def _fills(self, said: Plain) -> Fills:
        """Count new trades, each once, by instrument."""
        columns, gross = counted(said, self._names, self._seen, self._symbols, self._slots.filled)
        columns[:, CANCELLED] = self._ordered - gross
        return Fills.of(columns, np.zeros(()), np.zeros(()))
