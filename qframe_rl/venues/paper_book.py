"""Paper trading in an order book: own orders on a tape that grows as rows arrive, run after run.

Who trades decides for moments that lie the hold-back behind the last row (`qframe_rl.book.growing`), and lives through
what it would live through on the finished tape. Between two runs nothing is known of the market: quotes are withdrawn
where the first one ends, and what is held is carried into the next one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from qframe_rl.book.accounts import (
    CASH,
    MAKER_TURNOVER,
    N_SENT,
    POSITION,
    QUOTED,
    REFUSED,
    TAKER_TURNOVER,
    TAKES,
    TICK,
    UNTOLD,
    WITHDRAWN,
    Walk,
    begin,
    is_free,
    new_walk,
    taking,
)
from qframe_rl.book.accounts import MAKER_LOTS as MADE_LOTS
from qframe_rl.book.accounts import TAKER_LOTS as TOOK_LOTS
from qframe_rl.book.events import TRADE, Events
from qframe_rl.book.features import BookWatch
from qframe_rl.book.funding import mid_before, owed
from qframe_rl.book.growing import GrowingTape
from qframe_rl.book.known import AT, DONE, AccountKnowledge, forget, learn, nothing_known
from qframe_rl.book.state import BUY, SELL
from qframe_rl.book.tape import NO_ASK, NO_BID, Tape
from qframe_rl.book.walk import QUOTE, TAKE, WITHDRAW, advance
from qframe_rl.book.wish import TAKE_LOTS, TAKE_SIDE, WISH_LOTS, pursue
from qframe_rl.jit import apart
from qframe_rl.journal.codec import Plain
from qframe_rl.types import HOUR, Account, Instrument, Int
from qframe_rl.venues.message_rates import MessageRates
from qframe_rl.venues.paper_terms import DueMoments, OwnMessage, PaperTerms

_ENDLESS = 2**62
_LASTING = (CASH, POSITION, MADE_LOTS, TOOK_LOTS, MAKER_TURNOVER, TAKER_TURNOVER, REFUSED, UNTOLD, N_SENT, QUOTED)
_AT_ONCE = 3
"""Messages that one decision sends at most."""
_N_FILLS = 4096
_UNITS = 1e8
_HOURS = 26
"""Whole hours of which is remembered what was held, until the funding that fell due then is known."""


class PaperBook:
    """One account.

    Parameters
    ----------
    terms, instrument
        What holds, and whose book it is.
    cash
        Quote currency at the start.
    """

    def __init__(self, terms: PaperTerms, instrument: Instrument, cash: float):
        self.terms, self.instrument, self.unit = terms, instrument, instrument.tick * instrument.lot
        self.walk: Walk = new_walk(1, _N_FILLS)
        self.known: AccountKnowledge = nothing_known(1)
        self.mid2 = 0
        """Twice the true mid price at the last moment, ticks."""
        self.late = 0
        """Rows that came later than the hold-back, of all runs."""
        self.trouble: tuple[str, ...] = ()
        """What cannot be explained: trading halts."""
        self.held_back = 0
        """Decisions whose messages would have been too many, and were not sent."""
        self._cash, self._paid = cash, 0
        self._dues: list[tuple[int, float, float]] = []
        self._held: deque[tuple[int, int, float]] = deque(maxlen=_HOURS)
        self._lived_ns = 0
        """Until when it has lived; 0 before the first moment."""
        self._rates = MessageRates(terms.rates)
        self._growing: GrowingTape | None = None
        self._watch: BookWatch | None = None
        self._start = self._stop = self._until = self._trades = 0
        self._begun, self._answer, self._done = False, 0, 0

    @property
    def position(self) -> int:
        """Lots held, the exchange's truth."""
        return int(self.walk.account[0, POSITION])

    @property
    def worth(self) -> float:
        """At the mid price, fees paid, less what there was at the start: ticks times lots."""
        account, terms = self.walk.account[0], self.terms
        fees = terms.maker_fee * int(account[MAKER_TURNOVER]) + terms.taker_fee * int(account[TAKER_TURNOVER])
        return int(account[CASH]) + int(account[POSITION]) * (0.5 * self.mid2) - fees - float(self.walk.funding[0])

    @property
    def account(self) -> Account:
        """In quote currency and base units."""
        held, mark = self.position * self.instrument.lot, 0.5 * self.mid2 * self.instrument.tick
        cash = self._cash + self._paid / _UNITS + self.worth * self.unit - held * mark
        return Account(np.array(cash), np.array([held]), np.array([mark if self.mid2 else np.nan]))

    @property
    def idle(self) -> bool:
        """Whether it is known that nothing stands, and nothing is on its way."""
        now = int(self.known.told[0, AT])
        walk = self.walk
        return is_free(walk, 0, BUY, now) and is_free(walk, 0, SELL, now) and taking(walk, 0, now) == 0

    def carried(self) -> Plain | None:
        """What is remembered between two runs, as JSON; None if something may still stand at the exchange."""
        return {
            "account": self.walk.account[0, list(_LASTING)].tolist(), "funding": float(self.walk.funding[0]),
            "mid2": self.mid2, "late": self.late, "held_back": self.held_back, "paid": self._paid, "done": self._done,
            "lived_ns": self._lived_ns, "answer": self._answer, "rates": self._rates.carried(),
            "dues": [(at, rate, None if math.isnan(mark) else mark) for at, rate, mark in self._dues],
            "held": [(at, lots, None if math.isnan(mid) else mid) for at, lots, mid in self._held],
            "trouble": list(self.trouble), "cash": self._cash,
        }  # fmt: skip

    def carry(self, memory: Plain) -> None:
        """Take over what `carried` returned."""
        self.walk.account[0, list(_LASTING)], self.walk.funding[0] = memory["account"], memory["funding"]
        self.mid2, self.late, self.held_back = memory["mid2"], memory["late"], memory["held_back"]
        self._paid, self._done, self._lived_ns = memory["paid"], memory["done"], memory["lived_ns"]
        self._answer, self._cash, self.trouble = memory["answer"], memory["cash"], tuple(memory["trouble"])
        self._rates.carry(memory["rates"])
        self._dues = [(at, rate, math.nan if mark is None else mark) for at, rate, mark in memory["dues"]]
        held = ((at, lots, math.nan if mid is None else mid) for at, lots, mid in memory["held"])
        self._held = deque(held, maxlen=_HOURS)

    def transfer(self, units: int) -> str:
        """Pay so many 1e-8 of the quote currency in or out; why not, if so."""
        if float(self.account.equity) + units / _UNITS <= 0.0:
            return "more than the account is worth"
        self._paid += units
        return ""

    def owe(self, dues: Sequence[tuple[int, float, float | None]]) -> None:
        """Be told of funding: when it falls due, its rate, and the mark price, ticks, None = the mid price.

        One that falls due later is paid then; one that fell due is paid now, on what was held at that whole hour.
        """
        known = {at for at, _, _ in self._dues}
        fresh = [(at, rate, math.nan if mark is None else mark) for at, rate, mark in dues]
        self._dues = sorted([*self._dues, *(one for one in fresh if one[0] not in known)])
        self._pay()

    def _pay(self) -> None:
        """Pay what is due for moments at which is known what was held; of those before the first nothing is owed."""
        left = []
        for at, rate, mark in self._dues:
            noted = next(((held, mid) for when, held, mid in self._held if when == at), None)
            if noted is not None:
                self.walk.funding[0] += owed(noted[0], noted[1], rate, mark)
                self._held = deque((one for one in self._held if one[0] != at), maxlen=_HOURS)
            elif self._lived_ns == 0 or at > self._lived_ns:
                left.append((at, rate, mark))
        self._dues = left

    def _settle(self, tape: Tape, now: int, mid: float | None = None) -> None:
        """Note what is held at each moment until now at which funding may fall due, and pay what is known to.

        With ``mid`` nothing is lived through: it is the price that was known last, and there was no tape.
        """
        if self.instrument.kind == "spot":
            return
        hours = range((self._lived_ns // HOUR + 1) * HOUR, now + 1, HOUR)
        for at in sorted({*hours, *(at for at, _, _ in self._dues if self._lived_ns < at <= now)}):
            price = mid
            if price is None:
                advance(tape, self.walk, 0, at - 1, self._answer, self.terms.power)
                price = mid_before(tape, at)
            self._held.append((at, self.position, price))
            self._lived_ns = at
            self._pay()

    def open(self, clock_shift_ns: int, start: int, stop: int, watch: BookWatch) -> None:
        """Begin a run.

        Parameters
        ----------
        clock_shift_ns
            What is added to the recorder's clock.
        start, stop
            From when on and until when is decided, by the clock that was put right.
        watch
            Its features.
        """
        self._growing, self._watch = GrowingTape(clock_shift_ns, self.terms.hold_ns), watch
        self._start, self._stop, self._until, self._trades, self._begun = start, stop, -_ENDLESS, 0, False

    def hear(self, events: Events, *, ends: bool) -> DueMoments:
        """Take rows as they arrive, and say for which moments can be decided now.

        Parameters
        ----------
        events
            The rows.
        ends
            Whether the run ends with them, so that nothing is waited for.
        """
        growing, watch = self._growing, self._watch
        assert growing is not None and watch is not None
        late = growing.late
        growing.add(events)
        self.late += growing.late - late
        until = min(growing.complete_ns, growing.last_ns) if not ends else growing.last_ns
        growing.grow(_ENDLESS if ends else until, self.walk, self.known)
        tape = growing.tape
        if tape is None:
            return _nothing(watch)
        at = self._due(tape, growing.first_ns, until)
        self._until = max(self._until, until)
        features, best = watch.sampled(tape, at)
        row = np.searchsorted(tape.exchange_ns, at, side="right") - 1
        bid, ask = tape.bid[np.maximum(row, 0)], tape.ask[np.maximum(row, 0)]
        whole = (row >= 0) & (bid != NO_BID) & (ask != NO_ASK)
        whole &= (best[:, 0, 0] != NO_BID) & (best[:, 1, 0] != NO_ASK)
        at = at[whole]
        entry, answer = self.terms.latency.at(tape, at)
        return DueMoments(at, best[whole], (bid + ask)[whole], entry, answer, features[whole])

    def _due(self, tape: Tape, first: int, until: int) -> Int:
        """Moments after the last ones, as `qframe_rl.book.moments.moments` has them."""
        often, start, stop = self.terms.often, max(self._start, first, self._until + 1), min(until, self._stop)
        if often.ns:
            return np.arange(-(-start // often.ns), stop // often.ns + 1, dtype=np.int64) * often.ns
        came = tape.arrivals[tape.kind[tape.arrivals] == TRADE]
        local = tape.local_ns[came]
        local = local[(local > self._until) & (local <= until)]
        skipped = (-self._trades - 1) % often.prints
        self._trades += len(local)
        at = np.unique(local[skipped :: often.prints])
        return at[(at >= start) & (at <= stop)]

    def live(self, due: DueMoments, k: int) -> None:
        """Live to the k-th moment, and learn what is known then."""
        growing = self._growing
        assert growing is not None and growing.tape is not None
        now, tape, account = int(due.at[k]), growing.tape, self.walk.account[0]
        if not self._begun:
            if self._lived_ns:
                self._settle(tape, now, 0.5 * self.mid2)
            kept, paid = account[list(_LASTING)].copy(), float(self.walk.funding[0])
            begin(tape, self.walk, 0, now)
            account[list(_LASTING)] = kept
            self.walk.funding[0] = paid
            forget(self.known, 0, 0)
            self._begun = True
        else:
            self._settle(tape, now)
        self._reach(tape, now)
        self._lived_ns = now
        _learned(tape, growing.heard, self.walk, self.known, now, due.best[k], self.terms.power)
        self.known.told[0, DONE] = self._done
        self._answer, self.mid2 = int(due.answer_ns[k]), int(due.mid2[k])
        self._done += 1

    def _reach(self, tape: Tape, now: int) -> None:
        """Live to a moment."""
        advance(tape, self.walk, 0, now, self._answer, self.terms.power)

    def abandon(self) -> None:
        """The session ends by a fault: withdraw what stands, off the record. On paper nothing does."""

    def send(
        self, quotes: Int, take: Int, now: int, entry_ns: int, *, must: bool, fresh: bool = True
    ) -> list[OwnMessage]:  # fmt: skip
        """Pursue wishes.

        Parameters
        ----------
        quotes, take
            (2, 2) and (3,), as in `qframe_rl.quoter.Wishes`.
        now, entry_ns
            When it is sent, and how long it travels.
        must
            Whether withdrawals, and a take beside which no quote is wished, go out even where they leave no room for
            another withdrawal.
        fresh
            Whether anything goes out but withdrawals.

        Returns
        -------
        list[OwnMessage]
            What went out.
        """
        walk, room = self.walk, self._rates.room(now) >= 2 * _AT_ONCE
        if not must and not room:
            self.held_back += 1
            return []
        if not fresh or not room:
            quoting = bool(quotes[:, WISH_LOTS].any())
            quotes, take = quotes.copy(), take.copy()
            for side in (BUY, SELL):
                if is_free(walk, 0, side, now):
                    quotes[side, WISH_LOTS] = 0
            if not fresh or quoting:
                take[TAKE_LOTS] = 0
        n, withdrawn, takes = int(walk.account[0, N_SENT]), walk.quotes[0, :, WITHDRAWN].copy(), walk.account[0, TAKES]
        free = [is_free(walk, 0, side, now) for side in (BUY, SELL)]
        pursue(walk, 0, quotes, take, now, entry_ns)
        sent = []
        for side in (BUY, SELL):
            tick, lots = int(walk.quotes[0, side, TICK]), int(quotes[side, WISH_LOTS])
            if free[side] and lots > 0:
                sent.append(OwnMessage(now, QUOTE, side, tick, lots))
            elif not free[side] and withdrawn[side] != walk.quotes[0, side, WITHDRAWN]:
                sent.append(OwnMessage(now, WITHDRAW, side, tick, 0))
        if walk.account[0, TAKES] != takes:
            sent.append(OwnMessage(now, TAKE, int(take[TAKE_SIDE]), int(take[2]), int(take[TAKE_LOTS])))
        assert len(sent) == walk.account[0, N_SENT] - n
        self._rates.note(now, len(sent))
        return sent

    def filled(self) -> Int:
        """(N, 6) own fills since the last time, columns as in `qframe_rl.book.accounts`."""
        n = int(self.walk.n_fills[0])
        if n > len(self.walk.fills):
            raise RuntimeError(f"{n} own fills between two looks; there is room for {len(self.walk.fills)}")
        self.walk.n_fills[0] = 0
        return self.walk.fills[:n].copy()

    def close_run(self) -> list[OwnMessage]:
        """The run is over: live to its last row, and withdraw what stands.

        The next one begins without it, and what is on its way never arrives.
        """
        growing, walk = self._growing, self.walk
        sent: list[OwnMessage] = []
        if growing is not None and growing.tape is not None and self._begun:
            at = growing.last_ns
            self._settle(growing.tape, at)
            advance(growing.tape, walk, 0, at, self._answer, self.terms.power)
            self._lived_ns = max(self._lived_ns, at)
            sent = [
                OwnMessage(at, WITHDRAW, side, int(walk.quotes[0, side, TICK]), 0)
                for side in (BUY, SELL)
                if not is_free(walk, 0, side, at) and walk.quotes[0, side, WITHDRAWN] == 0
            ]
            walk.account[0, N_SENT] += len(sent)
            self._rates.note(at, len(sent))
        self._growing = self._watch = None
        return sent


@apart
def _learned(
    tape: Tape, rows: Int, walk: Walk, known: AccountKnowledge, now: int, best: Int, power: float
) -> None:  # fmt: skip
    learn(tape, rows, walk, known, 0, now, best, power)


def _nothing(watch: BookWatch) -> DueMoments:
    none = np.zeros(0, np.int64)
    return DueMoments(none, np.zeros((0, 2, 2), np.int64), none, none, none, np.zeros((0, watch.n_features)))
