"""The order router: where a live session's decisions are judged, written down, and only then sent."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter
from typing import ParamSpec

import numpy as np

from qframe_rl.agent import View
from qframe_rl.amounts import UNITS
from qframe_rl.config import build
from qframe_rl.feeds.exchange import Stopped
from qframe_rl.journal.codec import Plain, account_out, numbers, orders_out, packed, settled_out, sight, unpacked
from qframe_rl.journal.ledger import Input, Ledger
from qframe_rl.listeners import Digest, Listener, Paid, Soft
from qframe_rl.live.books import BookSource, books_of
from qframe_rl.live.capital import CapitalAccount
from qframe_rl.live.operator import Operator
from qframe_rl.live.told import RouterListener, VenueFront, held_in_words, kill, put_lock, put_pauses, standing_of
from qframe_rl.live.universe_log import UniverseLog
from qframe_rl.risk.engine import Conditions, RiskEngine
from qframe_rl.risk.limits import Limits
from qframe_rl.types import Bar, Fills, Instrument, Orders
from qframe_rl.venues.book import Book, Drift
from qframe_rl.venues.venue import NEWS, Lasting, Outgoing, Quoted, Ruled, Venue
from qframe_rl.watch.health import Health

P = ParamSpec("P")
HEARD = frozenset({"command", "limits", "rules", "transfer", "adopt"}) | NEWS
"""Kinds of events that come between two bars: from the operator, and from an exchange."""
_STOP_S = 1.0
"""How long a bar that waits for an exchange goes on after the session was told to stop, seconds."""


class OrderRouter(VenueFront):
    """A venue that asks the risk engine, writes to the ledger, and then hands orders on to another venue.

    It is a listener of its own session as well: it sees what the agent was shown.

    Parameters
    ----------
    venue
        Where orders become fills.
    engine
        The risk engine.
    ledger
        The journal.
    instruments
        The A instruments.
    operator
        Whoever gives commands; None in a replay.
    quotes
        Order books; None where there are none, or in a replay.
    quoted
        Whether books are part of the session.
    listeners
        Told of every bar, with the orders that went out.
    soft
        Calls them, and those in `told`: what one of them cannot do ends no session.
    universe
        As in `UniverseLog`.
    """

    def __init__(
        self,
        venue: Venue,
        engine: RiskEngine,
        ledger: Ledger,
        instruments: tuple[Instrument, ...],
        operator: Operator | None = None,
        quotes: BookSource | None = None,
        quoted: bool = False,
        listeners: Sequence[Listener] = (),
        soft: Soft | None = None,
        universe: str | None = None,
    ):
        self.engine = engine
        self.soft = soft or Soft(lambda text: None)
        self.health = Health(0.0, math.inf)
        """Told of decisions, and whenever the session looks for commands: while its feed waits, every second."""
        self.digest, self.drift = Digest(), Drift(len(instruments))
        self.conditions: Callable[[], Conditions] = Conditions
        """What the feed knows of the moment."""
        self.told: list[RouterListener] = []
        self.resumed: Callable[[int], None] = lambda time: None
        """Told once, with the last bar's close, when a session that was on record goes on."""
        self.promise: Callable[[], Plain] = dict
        self.shadows: Callable[[], Plain] = dict
        self.refit: Callable[[], Plain] = dict
        """How it stands to what its checkpoint promised, each shadow to it, by name, and which model it trades; empty
        where there is none."""
        self.rules: Callable[[], tuple[Instrument, ...]] = lambda: self.instruments
        """What the exchange states of the instruments now; it does not wait."""
        self.instruments = instruments
        self.stopping: Callable[[], bool] = lambda: False
        """Whether the session was told to stop."""
        self.snapshot: Callable[[View], None] = lambda view: None
        """Called last of all for each bar that is settled."""
        self.capital, self._members = CapitalAccount(), UniverseLog(ledger, instruments, universe)
        self.n_bars = self._heard = 0
        self._venue, self._ledger = venue, ledger
        self._tripped: tuple[str, ...] = ()
        self._met = venue if isinstance(venue, Quoted) else None
        self._outgoing = venue if isinstance(venue, Outgoing) else None
        self._lasting = venue if isinstance(venue, Lasting) else None
        if self._outgoing is not None:
            self._outgoing.hear = self._hear
        self._stop_seen: float | None = None
        self._symbols = [i.symbol for i in instruments]
        self._operator, self._quotes, self._quoted = operator, quotes, quoted
        self.listeners = list(listeners)
        self._view: View | None = None
        self._arrived = 0.0
        self._sent = Orders.market(np.zeros(len(instruments)))

    def submit(self, orders: Orders) -> None:
        """Judge one decision, write it down, and hand on what is left of it."""
        view = self._seen()
        self.heed()
        books = self._books(orders)
        mid = np.array([np.nan if book is None else book.mid for book in books])
        now = self.conditions()._replace(mid=mid if self._quoted else None)
        verdict = self.engine.check(view.time, orders, self.account, now, self.resting)
        decision: Plain = {"time": view.time, "sight": sight(view), "asked": orders_out(orders)}
        if verdict.reasons:
            decision["reasons"] = list(verdict.reasons)
            decision["orders"] = orders_out(verdict.orders)
        if verdict.state != "ACTIVE":
            decision["state"] = verdict.state
        self._ledger.put("decision", decision)
        live = self._ledger.writing
        self._ledger.commit(self.pulse())
        if live:
            self.health.decided()
            for one in self.told:
                self._inform(one, one.decided, view, verdict, perf_counter() - self._arrived)
        self._sent = verdict.orders
        if self._met is not None:
            self._met.quote(books)
        if self._outgoing is not None and verdict.state == "FLATTEN":
            self._outgoing.close(verdict.orders, self.account.position)
            return
        if self._outgoing is not None and self.engine.locked:  # for what closes it is never too late
            self._outgoing.close(self.engine.closing(self.account), self.account.position)
        self._venue.submit(verdict.orders if self._outgoing is None else self.engine.unlocked(verdict.orders))

    def advance(self, bar: Bar) -> Fills:
        """Settle one closed bar."""
        self._arrived = perf_counter()
        fills = self._venue.advance(bar)
        if self._view is not None:  # before the view is made, which shows what is locked now
            self._tripped = self.engine.settled(bar.time, self.account, self._sent, fills)
        return fills

    def late_ns(self) -> int:
        """How late the last bar arrived."""
        return self.conditions().late_ns

    @property
    def live(self) -> bool:
        """Whether what happens is new, not repeated from the record."""
        return self._ledger.writing

    @property
    def lasting(self) -> bool:
        """Whether another process can go on with the venue."""
        return self._lasting is not None

    def heed(self) -> None:
        """Obey what was said since the last time; nothing before the first decision. The feed is well."""
        self.health.beat()
        self.listen()

    def listen(self) -> None:
        """Obey what was said since the last time, while somebody is waited for who may not be well."""
        self.soft.run("the sign of life", self._ledger.beat)
        if self._view is None:
            return
        before = self.engine.state, self.engine.locked
        for kind, payload in self._ledger.inputs(HEARD, self._news):
            self._obey(kind, payload)
        if (self.engine.state, self.engine.locked) != before:  # who looks sees it now, not after the next bar
            self._ledger.commit(self.pulse())

    def awaited(self, kind: str, attempt: Callable[[], Plain | None]) -> Plain:
        """What came from outside after a wait, in which the operator is heard, as `Ledger.awaited`."""
        return self._ledger.awaited(kind, attempt, self._hear)

    def _news(self) -> list[Input]:
        """What operator and exchange say now."""
        said = [] if self._operator is None else self._operator.poll(self.engine, self._seen().time)
        rules = self.rules()
        if rules != self.instruments:
            said.append(Input("rules", {"instruments": [i.plain() for i in rules]}))
        return said if self._outgoing is None else [*said, *self._outgoing.news()]

    def _obey(self, kind: str, payload: Plain) -> None:
        """Do what follows from something that came between two bars."""
        if kind == "limits":
            self.engine.limits = build(Limits, payload, "the record's limits")
        elif kind == "rules":
            self._rule(payload["instruments"])
        elif kind in ("transfer", "adopt"):
            self._note(payload)
            self._pay(kind, payload)
        elif kind == "command" and "symbol" in payload:
            self._note(payload)
            self._lock(payload)
        elif kind == "command":
            self._note(payload)
            before = self.engine.state
            if self.engine.command(payload["word"]) is not before:
                self._tell(self._seen().time, (f"{payload['word']} by {payload['by']}",))
                self._act(self._seen())
        elif self._outgoing is not None and self._outgoing.learn(kind, payload):
            self._act(self._seen())

    def _lock(self, payload: Plain) -> None:
        """Close one instrument and hold it flat, or release it, and put it on record."""
        time = self._seen().time
        if reasons := put_lock(self._ledger, self.engine, time, payload):
            for one in self.told:
                self._inform(one, one.changed, time, str(self.engine.state), reasons)
            self._act(self._seen())

    def _note(self, payload: Plain) -> None:
        """Remember how far the inbox was read."""
        self._heard = max(self._heard, payload.get("number", 0))
        if self._operator is not None:
            self._operator.noted(self._heard)

    def _pay(self, kind: str, payload: Plain) -> None:
        """Pay in or out, or adopt; what it did to equity is no profit and no loss to anybody."""
        time, venue, ledger = self._seen().time, self._venue, self._ledger
        if kind == "transfer":
            flow = self.capital.transfer(time, payload, venue, ledger)
        else:
            flow = self.capital.adopt(time, payload, self._symbols, venue, ledger)
        if flow is not None:
            self.engine.paid(flow.scale)
            if payload.get("symbol") is not None:
                quantity, price = payload["units"] / UNITS, payload["price"] / UNITS
                self.engine.adopted(self._symbols.index(payload["symbol"]), quantity, price, self.account)
            for listener in self.listeners:
                if isinstance(listener, Paid):
                    self._inform(listener, listener.paid, flow)
        self._ledger.commit(self.pulse())

    def _rule(self, instruments: Sequence[Plain]) -> None:
        """Go on by other rules of the instruments."""
        self.instruments = tuple(Instrument(**i) for i in instruments)
        self.engine.rule(self.instruments)
        if isinstance(self._venue, Ruled):
            self._venue.rule(self.instruments)

    def _hear(self) -> None:
        """Listen while something is waited for; end the session if it is told to stop and the wait goes on.

        Raises
        ------
        Stopped
            If that was a second ago. The bar under way is on record, and settled when the session is started again.
        """
        self.listen()
        self._ledger.commit()
        if not self.stopping():
            self._stop_seen = None
        elif self._stop_seen is None:
            self._stop_seen = monotonic()
        elif monotonic() - self._stop_seen > _STOP_S:
            raise Stopped

    def carried(self) -> Plain | None:
        """All that router, engine and venue remember between two bars, as JSON; None if the venue cannot say."""
        if self._lasting is None:
            return None
        return {
            "bars": self.n_bars, "heard": self._heard, "fills": [packed(field) for field in self._seen().fills.sums],
            "engine": self.engine.carried(), "digest": self.digest.carried(), "drift": self.drift.carried(),
            "venue": self._lasting.carried(), "instruments": [i.plain() for i in self.instruments],
            "capital": self.capital.carried(), "members": self._members.carried(),
        }  # fmt: skip

    def carry(self, memory: Plain) -> Fills:
        """Take over what `carried` returned, before `begin_after`; return what the last bar did."""
        assert self._lasting is not None
        self._rule(memory["instruments"])
        self._lasting.carry(memory["venue"])
        self.engine.carry(memory["engine"])
        self.digest.carry(memory["digest"])
        self.drift.carry(memory["drift"])
        self.capital.carry(memory["capital"])
        self._members.carry(memory.get("members", {}))
        self.n_bars, self._heard = memory["bars"], memory["heard"]
        if self._operator is not None:
            self._operator.noted(self._heard)
        return Fills.made(map(unpacked, memory["fills"]))

    def begin_after(self, view: View) -> None:
        """Go on after a view that was settled already."""
        self._view = view

    def _act(self, view: View) -> None:
        """Where orders are real, do at once what a kill switch is for; paper waits for its next bar."""
        venue = self._outgoing
        if venue is None or (self.engine.state == "ACTIVE" and not self.engine.locked):
            return
        self._ledger.commit()
        kill(venue, self.engine, view.time, self._sent, self.account)
        self._ledger.commit()

    def started(self, view: View) -> None:
        """Note the state before the first decision."""
        self._view = view
        self.engine.begin(view.time, view.account)
        self.digest.begin(view)
        self._ledger.put("started", {"time": view.time, "account": account_out(view.account), "hash": str(self.digest)})
        self._members.see(view)
        for listener in self.listeners:
            self._inform(listener, listener.started, view)

    def settled(self, view: View, orders: Orders) -> None:
        """Note what a bar did to the orders that went out; ``orders`` are those that the agent asked for."""
        self._view = view
        self.n_bars += 1
        self.digest.add(view, self._sent, view.fills)
        event: Plain = {"time": view.time, "account": account_out(view.account), "hash": str(self.digest)}
        event |= settled_out(view)
        if self._met is not None and self._met.other is not None:
            other = self._met.other
            self.drift.add(*self._met.sides(view.fills))
            event["other"] = {"quantity": numbers(other.quantity), "price": numbers(other.price)}
        if view.terminated:
            event["terminated"] = True
        self._ledger.put("settled", event)
        self._members.see(view)
        reasons = self._tripped
        if self._outgoing is not None and self._outgoing.trouble:
            trouble = self._outgoing.trouble
            # What is being closed goes on being closed: halted, it would stay open.
            reasons += trouble if self.engine.state == "FLATTEN" else self.engine.trip(trouble)
        if reasons:
            self._tell(view.time, reasons)
        put_pauses(self._ledger, self.engine, view.time)
        for listener in self.listeners:
            self._inform(listener, listener.settled, view, self._sent)
        self.snapshot(view)

    def left(self) -> View | None:
        """End in the midst of a bar, which is settled when the session goes on; return the last view there was."""
        if self._view is not None:
            self.ended(self._view)
        return self._view

    def ended(self, view: View) -> None:
        """Write what is left."""
        for listener in self.listeners:
            self._inform(listener, listener.ended, view)
        self._ledger.commit(self.pulse())

    def pulse(self) -> Plain:
        """What those who watch want to know."""
        said = {"promise": self.promise(), "shadows": self.shadows(), "refit": self.refit()}
        return {
            "bars": self.n_bars, "drift_bps": self.drift.mean_bps, "drift_fills": self.drift.n_fills,
            **standing_of(self.engine, self._seen().time, self.account),
            **self.capital.told(float(self.account.equity)), **{name: one for name, one in said.items() if one},
        }  # fmt: skip

    def _seen(self) -> View:
        if self._view is None:
            raise RuntimeError("the router must be told of its session: pass it as a listener too")
        return self._view

    def _books(self, orders: Orders) -> list[Book | None]:
        """Books of what is ordered or held; they are part of the record."""
        asked = orders.quantity != 0.0
        wanted = (asked if asked.ndim == 1 else asked.any(axis=-1)) | (self.account.position != 0.0)
        if not self._quoted or not wanted.any():
            return [None] * len(self._symbols)
        return books_of(self._ledger, self._quotes, self._symbols, np.flatnonzero(wanted).tolist(), self._hear)

    def _tell(self, time: int, reasons: Sequence[str]) -> None:
        """Put a change of state on record."""
        state = str(self.engine.state)
        self._ledger.put("state", {"time": time, "state": state, "reasons": list(reasons)})
        if state == "HALTED" and self.account.position.any():
            held = held_in_words(self._symbols, self.account)
            reasons = [*reasons, f"{held} stays open: nothing closes it but `control flatten`"]
        for one in self.told:
            self._inform(one, one.changed, time, state, reasons)

    def _inform(self, one: object, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        self.soft.run(getattr(one, "option", type(one).__name__), call, *args, **kwargs)
