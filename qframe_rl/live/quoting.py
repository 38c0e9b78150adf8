"""Paper trading of a strategy that quotes: a tape in parts, decisions for the moments in them, all of it on record.

A session is a function of its tape and of what it is told between two parts. Both are on record: of a part its digest,
the rows lie in the tape's own files. So a killed session goes on by living through the tape again, and a replay is the
same with nothing appended; another tape is refused.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import ParamSpec

import numpy as np

from qframe_rl.agent import View
from qframe_rl.book.accounts import F_CAUSE, F_LOTS, F_SIDE, F_TICK, F_TIME, N_SENT
from qframe_rl.book.features import BookWatch, book_features
from qframe_rl.config import UserError, build
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.interface.books import N_TASK, view_of
from qframe_rl.journal.codec import Plain, account_out
from qframe_rl.journal.ledger import Ledger
from qframe_rl.listeners import CashFlow, Listener, Paid, Soft
from qframe_rl.live.capital import CapitalAccount
from qframe_rl.live.held import checked_limits, held_to
from qframe_rl.live.operator import Operator
from qframe_rl.live.quoting_terms import QuotingTerms, paper_terms
from qframe_rl.live.tapes import StatedRun, TapePart, TapeSource, digest_of
from qframe_rl.live.told import RouterListener, put_lock, standing_of
from qframe_rl.quoter import BookView, Quoter, Wishes, checked_wishes
from qframe_rl.risk.engine import RiskEngine
from qframe_rl.risk.limits import Limits
from qframe_rl.types import Fills, Float, Int, Orders
from qframe_rl.venues.book import Drift
from qframe_rl.venues.own_orders import net_fills
from qframe_rl.venues.paper_book import PaperBook
from qframe_rl.venues.paper_terms import DueMoments, OwnMessage
from qframe_rl.watch.health import Health

P = ParamSpec("P")
HEARD = frozenset({"command", "limits", "transfer", "adopt"})
"""Kinds of events that come between two parts."""


class QuotingSession:
    """One session.

    Parameters
    ----------
    market, quoter
        What is traded, and who decides.
    terms
        What the session is.
    ledger
        The journal.
    source
        The tape.
    operator
        Whoever gives commands; None in a replay.
    soft
        Calls those who look on: what one of them cannot do ends no session.
    book
        The account, where it is on an exchange; None = on paper.
    """

    def __init__(
        self, market: BookMarket, quoter: Quoter, terms: QuotingTerms, ledger: Ledger, source: TapeSource,
        operator: Operator | None = None, soft: Soft | None = None, book: PaperBook | None = None,
    ):  # fmt: skip
        self.market, self.quoter, self.terms, self.source = market, quoter, terms, source
        self.book = book or PaperBook(paper_terms(market, terms), market.instrument, terms.cash)
        self.engine = RiskEngine(Limits(), (market.instrument,))
        self.capital = CapitalAccount()
        self.n_decisions = self.n_fills = self.n_repeated = self.n_runs = self.n_parts = 0
        self.n_rows = 0
        """Rows of the run under way that were taken."""
        self.run: StatedRun | None = None
        """The last run."""
        self.ended = True
        """Whether it has ended."""
        self.time = 0
        """The last moment, ns UTC; 0 before the first."""
        self.soft, self.health, self.drift = soft or Soft(lambda text: None), Health(0.0, math.inf), Drift(1)
        self.listeners: list[Listener] = []
        """Told of every part, as of a bar: its last mid price, and net fills."""
        self.told: list[RouterListener] = []
        """Told of every change of the state of trading."""
        self.resumed: Callable[[int], None] = lambda time: None
        """Told once, with the last moment, when a session that was on record goes on."""
        self.promise: Callable[[], Plain] = dict
        self.shadows: Callable[[], Plain] = dict
        self.snapshot: Callable[[], None] = lambda: None
        """Called last of all once a run of the tape has ended."""
        self._heard = 0
        self._ledger, self._operator = ledger, operator
        self._features = book_features(market.interface.specs)
        self._rows: list[Float] = []
        self._window = max(quoter.window, market.interface.window)
        self._first, self._last, self._told = True, b"", 0
        self._view: BookView | None = None
        self._wished = np.zeros(7, np.int64)
        self._chain = b"\0" * 32
        self._task = np.zeros(N_TASK, np.int64)
        self._none = Orders.market(np.zeros(1))

    @property
    def digest(self) -> str:
        """Hash over all that was seen, wished and filled so far."""
        return self._chain.hex()

    def heed(self) -> None:
        """Obey what was said since the last time; nothing before the first decision. The tape is well."""
        self.health.beat()
        self.soft.run("the sign of life", self._ledger.beat)
        if self.n_decisions == 0:
            return
        operator = self._operator
        said = self._ledger.inputs(HEARD, lambda: [] if operator is None else operator.poll(self.engine, self.time))
        for kind, payload in said:
            if kind == "limits":
                self.engine.limits = checked_limits(build(Limits, payload, "the record's limits"))
                continue
            self._noted(payload.get("number", 0))
            if kind in ("transfer", "adopt"):
                flow = self._paid(kind, payload)
                if flow is not None:
                    self.engine.paid(flow.scale)
                    for listener in self.listeners:
                        if isinstance(listener, Paid):
                            self._inform(listener, listener.paid, flow)
                continue
            if "symbol" in payload:
                self._lock(payload)
                continue
            before = self.engine.state
            if self.engine.command(payload["word"]) is not before:
                self._changed((f"{payload['word']} by {payload['by']}",))
                self._act()
        if said:
            self._ledger.commit(self.pulse())

    def _paid(self, kind: str, payload: Plain) -> CashFlow | None:
        if kind == "transfer":
            return self.capital.transfer(self.time, payload, self.book, self._ledger)
        return self.capital.adopt(self.time, payload, [self.market.instrument.symbol], self.book, self._ledger)

    def _lock(self, payload: Plain) -> None:
        """Close the instrument and hold it flat in every state, or release it, and put it on record."""
        if reasons := put_lock(self._ledger, self.engine, self.time, payload):
            for one in self.told:
                self._inform(one, one.changed, self.time, str(self.engine.state), reasons)
            self._act()

    def _noted(self, number: int) -> None:
        """Remember how far the inbox was read."""
        self._heard = max(self._heard, number)
        if self._operator is not None:
            self._operator.noted(self._heard)

    def carried(self) -> Plain | None:
        """All that is remembered between two runs of the tape, as JSON; None if more is than that."""
        book = self.book.carried() if self.ended and self.n_decisions else None
        if book is None or self.run is None:
            return None
        return {
            "decisions": self.n_decisions, "fills": self.n_fills, "runs": self.n_runs, "parts": self.n_parts,
            "rows": self.n_rows, "run": self.run._asdict(), "time": self.time, "told": self._told,
            "heard": self._heard, "last": self._last.hex(), "hash": self.digest, "engine": self.engine.carried(),
            "capital": self.capital.carried(), "book": book,
        }  # fmt: skip

    def carry(self, memory: Plain) -> None:
        """Take over what `carried` returned."""
        self.n_decisions, self.n_fills = memory["decisions"], memory["fills"]
        self.n_runs, self.n_parts, self.n_rows = memory["runs"], memory["parts"], memory["rows"]
        self.run, self.time, self._told = StatedRun(**memory["run"]), memory["time"], memory["told"]
        self._last, self._chain = bytes.fromhex(memory["last"]), bytes.fromhex(memory["hash"])
        self.engine.carry(memory["engine"])
        self.capital.carry(memory["capital"])
        self.book.carry(memory["book"])
        self._noted(memory["heard"])

    def _act(self) -> None:
        """Where orders are real, withdraw at once what may not stand: the tape may tell nothing more for a while.

        Nothing new goes out: what was wished was wished of a market that is over.
        """
        if self.terms.orders != "paper" and not self.ended and self._view is not None and self._bound:
            asked = Wishes(self._wished[:4].reshape(2, 2).copy(), self._wished[4:].copy())
            left = held_to(asked, self.engine, self._view, self.book, self.market.instrument)
            self.book.send(left.quotes, left.take, self.time, 0, must=True, fresh=False)

    def repeat(self) -> None:
        """Live through what is on record.

        Raises
        ------
        Differs
            If it comes out otherwise.
        UserError
            If the tape is another one.
        """
        while self._ledger.recorded is not None:
            self.heed()
            if self._ledger.recorded is None:
                return
            if self._ledger.recorded in HEARD and self.n_decisions:
                continue  # said again before another part came
            said = self._ledger.take("part", dict)
            begins, first = StatedRun(**said["run"]), int(said["first"])
            events = self.source.rows(begins.name, first, int(said["rows"]))
            if digest_of(events) != said["digest"]:
                raise UserError(
                    f"{self._ledger.path}: rows {first:,} to {first + int(said['rows']):,} of run {begins.name} are "
                    "not those that the session traded on; give the tape that it had."
                )
            self.n_repeated += 1
            dues = tuple((at, rate, mark) for at, rate, mark in said.get("dues", []))
            self._live(TapePart(begins, first, events, said.get("ends"), dues))

    def go_on(self) -> None:
        """Live through what comes, until the tape ends or is stopped."""
        for part in self.source.parts(self.run, self.n_rows, ended=self.ended):
            self.heed()
            if part is None:
                self._ledger.commit()
                continue
            said: Plain = {
                "run": part.run._asdict(), "first": part.first, "rows": len(part.events.tick),
                "digest": digest_of(part.events),
            }  # fmt: skip
            if part.ends is not None:
                said["ends"] = part.ends
            if part.dues:
                said["dues"] = [list(due) for due in part.dues]
            self._ledger.take("part", lambda said=said: said)  # type: ignore[misc]
            self._live(part)
            self._ledger.commit(self.pulse())
        self.heed()
        self._ledger.commit(self.pulse())

    def pulse(self) -> Plain:
        """What those who watch want to know."""
        account, walk = self.book.account, self.book.walk
        return {
            **standing_of(self.engine, self.time, account), **self.capital.told(float(account.equity)),
            "bars": self.n_decisions, "drift_bps": None, "drift_fills": 0, "runs": self.n_runs, "fills": self.n_fills,
            "sent": int(walk.account[0, N_SENT]), "held_back": self.book.held_back, "late": self.book.late,
        }  # fmt: skip

    def _live(self, part: TapePart) -> None:
        """Decide for the moments that a part makes due."""
        book = self.book
        if part.first == 0 or self.ended:
            watch = BookWatch(self._features, self.market.interface.micro, part.run.ready_ns)
            book.open(part.run.clock_shift_ns, part.run.start_ns, part.run.stop_ns, watch)
            self.run, self.n_rows, self.ended, self._first = part.run, 0, False, True
            self._rows.clear()
            self._view = None
            self.n_runs += 1
        book.owe(part.dues)
        self.n_rows = part.first + len(part.events.tick)
        wished: list[list[int]] = []
        sent: list[OwnMessage] = []
        fills: list[Int] = []
        due = book.hear(part.events, ends=part.ends is not None)
        for k in range(len(due.at)):
            sent += self._decide(due, k, wished, fills)
        if part.ends is not None:
            sent += book.close_run()
            fills.append(self._fill())
            self.ended = True
            self._trip()
        filled = np.concatenate(fills) if fills else np.zeros((0, 6), np.int64)
        self.n_parts += 1
        self.n_fills += len(filled)
        columns = [F_TIME, F_SIDE, F_TICK, F_LOTS, F_CAUSE]
        self._ledger.put("lived", {
            "time": self.time, "decisions": self.n_decisions, "wished": wished, "sent": [list(one) for one in sent],
            "fills": filled[:, columns].tolist(), "truth": book.walk.account[0, :8].tolist(),
            "account": account_out(book.account), "held_back": book.held_back, "late": book.late, "hash": self.digest,
        })  # fmt: skip
        self._tell(net_fills(filled, self.book))
        if self.ended:
            self.snapshot()

    def _decide(self, due: DueMoments, k: int, wished: list[list[int]], fills: list[Int]) -> list[OwnMessage]:
        """One decision; what is wished is noted where it differs from before."""
        book, now = self.book, int(due.at[k])
        book.live(due, k)
        self.time = now
        fills.append(self._fill())
        self._watch_losses(now)
        self._rows = [*self._rows[1 - self._window :], due.features[k]] if self._window > 1 else [due.features[k]]
        view = view_of(book.known.told[0], book.known.queue[0], self._task, np.array(self._rows), self._first)
        self._first = False
        asked = checked_wishes(self.quoter.quote(view), self.terms.name)
        left = held_to(asked, self.engine, view, book, self.market.instrument)
        self._view, self._wished = view, np.concatenate([asked.quotes.ravel(), asked.take])
        messages = book.send(left.quotes, left.take, now, int(due.entry_ns[k]), must=self._bound)
        said = np.concatenate([left.quotes.ravel(), left.take])
        if said.tobytes() != self._last:
            self._last = said.tobytes()
            wished.append([now, *said.tolist()])
        self._note(view, asked, said)
        self.n_decisions += 1
        return messages

    def _watch_losses(self, now: int) -> None:
        """Look at what the account is worth; what leads to another state is put on record."""
        account = self.book.account
        if self.n_decisions == 0:
            self.engine.begin(now, account)
        # While what is held is being closed, and something may still fill, nothing is closed for good.
        if self.engine.state == "FLATTEN" and not self.book.idle:
            return
        reasons = self.engine.settled(now, account, self._none, Fills.none(1))
        if reasons:
            self._changed(reasons)
        self._trip()

    def _trip(self) -> None:
        """Halt for what the account finds amiss; while what is held is being closed, closing goes on."""
        if not self.book.trouble or (self.engine.state == "FLATTEN" and self.book.position):
            return
        reasons, self.book.trouble = self.engine.trip(self.book.trouble), ()
        if reasons:
            self._changed(reasons)

    def _changed(self, reasons: Sequence[str]) -> None:
        state = str(self.engine.state)
        self._ledger.put("state", {"time": self.time, "state": state, "reasons": list(reasons)})
        held = self.book.position * self.market.instrument.lot
        if state == "HALTED" and held:
            rest = f"{held:+g} {self.market.instrument.symbol} stays open: nothing closes it but `control flatten`"
            reasons = [*reasons, rest]
        for one in self.told:
            self._inform(one, one.changed, self.time, state, reasons)

    @property
    def _bound(self) -> bool:
        """Whether something may not stand whatever is wished."""
        return self.engine.state != "ACTIVE" or bool(self.engine.locked)

    @property
    def live(self) -> bool:
        """Whether what happens is new, not repeated from the record."""
        return self._ledger.writing

    def late_ns(self) -> int:
        """Rows are not waited for, but as they come."""
        return 0

    def end(self) -> None:
        """Tell those who look on that no more comes."""
        for listener in self.listeners:
            self._inform(listener, listener.ended, self.shown())

    def shown(self, fills: Fills | None = None) -> View:
        """A part as a bar, with its net fills."""
        mid = 0.5 * self.book.mid2 * self.market.instrument.tick
        bars = np.full((1, 1, 5), mid if self.book.mid2 else np.nan)
        bars[..., 4] = 0.0
        return View(self.time, np.array([self.time]), bars, self.book.account, fills or Fills.none(1), self._told == 0)

    def _tell(self, fills: Fills) -> None:
        """Tell those who look on of a part."""
        if not self.n_decisions:
            return
        view, first = self.shown(fills), self._told == 0
        self._told += 1
        for listener in self.listeners:
            if first:
                self._inform(listener, listener.started, view)
            else:
                self._inform(listener, listener.settled, view, self._none)
        self.health.decided()

    def _inform(self, one: object, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        self.soft.run(getattr(one, "option", type(one).__name__), call, *args, **kwargs)

    def _note(self, view: BookView, asked: Wishes, left: Int) -> None:
        """Chain a decision to all before."""
        digest = hashlib.sha256(self._chain)
        for part in (self.book.known.told, view.features, view.queue, asked.quotes, asked.take, left):
            digest.update(np.ascontiguousarray(part).tobytes())
        self._chain = digest.digest()

    def _fill(self) -> Int:
        """Own fills since the last time, chained."""
        filled = self.book.filled()
        if len(filled):
            self._chain = hashlib.sha256(self._chain + filled.tobytes()).digest()
        return filled
