"""One run of live ticks: whole numbers as they arrive, until something is missing.

The rules are those by which `qframe_rl.feeds.ticks` reads files, so that a run has the same rows live and from disk:
update ids follow each other, the exchange's clock does not step back by more than a second, the least delay of a minute
stays within 5 ms. What only a live book can tell comes on top: one that crosses again and again is none.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from typing import NamedTuple

import numpy as np

from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE, Events, on_grid
from qframe_rl.book.state import BUY, SELL
from qframe_rl.feeds.tick_wire import BookPicture, DepthMessage, Levels, TickMessage, TradeMessage
from qframe_rl.feeds.ticks import BACK_NS, BESIDE, DRIFT_NS, DROPPED, EMPTY, NO_TRADE, REPEATED, SPAN_NS

_MS = 1_000_000
_REMEMBERED = 100_000
"""Ids of trades that are known again."""
_MOST_CROSSINGS, _CROSSINGS_NS, _CROSSED_NS = 10, 60_000 * _MS, 1000 * _MS
_MOST_ASKED = 5
"""How often a whole book is asked for, each time older than the stream."""
EARLY = "trades before the run"


class RunBroken(Exception):
    """Something is missing, or not to be believed: the run ends. Its text says why."""


class OldPicture(Exception):
    """The whole book is older than the stream: it is to be asked for anew."""


class RunBegins(NamedTuple):
    """A book is whole; what was known before means nothing."""

    symbol: str
    tick: float
    """Smallest step of a price, quote currency."""
    lot: float
    """Smallest step of a quantity, base units."""
    events: Events
    """The whole book, `SNAPSHOT` rows; the first rows that follow are depth."""
    picture: BookPicture
    """The same as it came."""


class RowsTold(NamedTuple):
    """One message, which the run goes on with."""

    events: Events
    """Its rows; none where a trade is none of the book."""
    message: DepthMessage | TradeMessage
    """The same as it came."""
    clock_shift_ns: int
    """What the recorder's clock is behind as far as is known by now, ns: added to it, nothing so far arrives before it
    happened."""


class RunEnds(NamedTuple):
    """Nothing more comes of a run: quotes that rest on it are to be cancelled."""

    why: str


Told = RunBegins | RowsTold | RunEnds


class TickChain:
    """One run.

    Parameters
    ----------
    symbol
        Whose it is, for what is said of it.
    tick, lot
        Smallest steps of price and quantity.
    """

    def __init__(self, symbol: str, tick: float, lot: float):
        self.symbol, self.tick, self.lot = symbol, tick, lot
        self.begun = False
        self.dropped = dict.fromkeys((*DROPPED, EARLY), 0)
        """Rows that were left out, by why."""
        self.uncrossed = 0
        """Levels that were taken out because the other side had come to stand at or beyond them."""
        self.book = LiveBook()
        self._waiting: list[DepthMessage | TradeMessage] = []
        self._picture: BookPicture | None = None
        self._last: DepthMessage | None = None
        self._first_ns = self._number = self._asked = 0
        self._ids: OrderedDict[int, None] = OrderedDict()
        self._clock = LeastDelay()
        self._crossings: deque[int] = deque(maxlen=_MOST_CROSSINGS + 1)
        self._crossed_since: int | None = None

    @property
    def clock_shift_ns(self) -> int:
        """What the recorder's clock is behind as far as is known by now, ns."""
        return self._clock.shift_ns

    def hear(self, message: TickMessage) -> list[Told]:
        """Go on with a message.

        Raises
        ------
        RunBroken
            If the run ends; the message belongs to no run.
        OldPicture
            If a whole book is to be asked for anew.
        UserError
            If a number is off the grid.
        """
        if self.begun:
            return [] if isinstance(message, BookPicture) else self._more(message)
        if isinstance(message, BookPicture):
            self._picture = message
        else:
            self._waiting.append(message)
        if self._picture is None or isinstance(message, TradeMessage):
            return []
        return self._begin(self._picture)

    def _begin(self, picture: BookPicture) -> list[Told]:
        """The picture and what waited, once a message goes on from it."""
        kept = None
        for k, one in enumerate(self._waiting):
            if isinstance(one, DepthMessage) and one.final >= picture.last + (one.previous < 0):
                kept = k
                break
        if kept is None:
            return []
        first = self._waiting[kept]
        assert isinstance(first, DepthMessage)
        if not goes_on(first, picture.last):
            self._picture, self._asked = None, self._asked + 1
            raise (OldPicture if self._asked < _MOST_ASKED else RunBroken("the whole book stays older than the stream"))
        self._first_ns = first.exchange_ns
        # Trades that travelled faster than the first message, and happened no earlier, are of the run.
        early = [one for one in self._waiting[:kept] if isinstance(one, TradeMessage)]
        early = [one for one in early if one.exchange_ns >= first.exchange_ns]
        told, self._waiting = [*early, *self._waiting[kept:]], []
        picture = picture._replace(local_ns=min(picture.local_ns, told[0].local_ns))
        levels, stamps = (picture.bids, picture.asks), (first.exchange_ns, picture.local_ns)
        events = self._rows(*levels, *stamps, SNAPSHOT, f"book {picture.last}")
        self._cross(events, first.local_ns)
        self.begun = True
        begins = RunBegins(self.symbol, self.tick, self.lot, events, picture)
        return [begins, *(rows for one in told for rows in self._more(one))]

    def _more(self, message: DepthMessage | TradeMessage) -> list[Told]:
        if isinstance(message, TradeMessage) and message.exchange_ns < self._first_ns:
            self.dropped[EARLY] += 1
            return []
        events = self._depth(message) if isinstance(message, DepthMessage) else self._trade(message)
        if len(events.tick):
            self._clock.check(message.local_ns, message.exchange_ns)
        return [RowsTold(events, message, self._clock.shift_ns)]

    def _depth(self, message: DepthMessage) -> Events:
        last = self._last
        if last is not None:
            follows = message.previous == last.final if message.previous >= 0 else message.first == last.final + 1
            if not follows:
                raise RunBroken("update ids have a gap")
            if message.exchange_ns - last.exchange_ns < -BACK_NS:
                raise RunBroken("the exchange's clock steps back")
        self._last = message
        stamps = (message.exchange_ns, message.local_ns)
        events = self._rows(message.bids, message.asks, *stamps, DEPTH, f"update {message.final}")
        self._cross(events, message.local_ns)
        return events

    def _trade(self, message: TradeMessage) -> Events:
        why = {
            REPEATED: message.trade_id in self._ids,
            EMPTY: not (message.quantity > 0.0 and message.price > 0.0),
            BESIDE: message.exec_type in NO_TRADE,
        }
        for reason, holds in why.items():
            self.dropped[reason] += holds
        self._ids[message.trade_id] = None
        if len(self._ids) > _REMEMBERED:
            self._ids.popitem(last=False)
        side, level = int(message.buyer_is_maker), [] if any(why.values()) else [(message.price, message.quantity)]
        both: tuple[Levels, Levels] = (level, []) if side == BUY else ([], level)
        stamps = (message.exchange_ns, message.local_ns)
        return self._rows(*both, *stamps, TRADE, f"trade {message.trade_id}")

    def _rows(self, bids: Levels, asks: Levels, at: int, local: int, kind: int, what: str) -> Events:
        """Rows of one message, as whole numbers."""
        table = np.array([*bids, *asks], np.float64).reshape(-1, 2)
        n, of = len(table), f"{self.symbol}, {what}"
        if kind != SNAPSHOT and n:
            self._number += 1
        side = np.repeat(np.array([BUY, SELL], np.int8), (len(bids), len(asks)))
        return Events(
            np.full(n, at), np.full(n, local), np.full(n, kind, np.int8), side,
            on_grid(table[:, 0], self.tick, f"{of}: price"), on_grid(table[:, 1], self.lot, f"{of}: quantity"),
            np.full(n, self._number),
        )  # fmt: skip

    def _cross(self, events: Events, local_ns: int) -> None:
        """Let the book know, and end the run if it crosses again and again."""
        taken = self.book.tell(events)
        self.uncrossed += taken
        if not taken:
            self._crossed_since = None
            return
        if self._crossed_since is None:
            self._crossed_since = local_ns
        self._crossings.append(local_ns)
        often = len(self._crossings) > _MOST_CROSSINGS and local_ns - self._crossings[0] <= _CROSSINGS_NS
        if often or local_ns - self._crossed_since > _CROSSED_NS:
            raise RunBroken("the book crosses again and again")


def goes_on(message: DepthMessage, last: int) -> bool:
    """Whether a message is the next after a book, whose last update is given."""
    return message.first <= last + (message.previous < 0) or message.previous == last


class LeastDelay:
    """The least delay so far, and whether it stays what it was, minute by minute."""

    def __init__(self) -> None:
        self._least = self._minute = self._low = math.inf
        self._high = -math.inf
        self._begun: int | None = None
        self._span = self._last = 0

    @property
    def shift_ns(self) -> int:
        """What the recorder's clock is behind, ns, and a millisecond."""
        return (0 if self._least == math.inf else max(0, -int(self._least))) + _MS

    def check(self, local_ns: int, exchange_ns: int) -> None:
        """Go on.

        Parameters
        ----------
        local_ns, exchange_ns
            When a message arrived, and when it happened.

        Raises
        ------
        RunBroken
            If the recorder's clock steps back, or drifts by more than 5 ms.
        """
        delay = local_ns - exchange_ns
        if self._begun is None:
            self._begun = local_ns
        elif local_ns < self._last:
            raise RunBroken("the recorder's clock steps back")
        span = (local_ns - self._begun) // SPAN_NS
        if span != self._span:
            self._low, self._high = min(self._low, self._minute), max(self._high, self._minute)
            self._minute, self._span = math.inf, span
        if self._high - min(self._low, delay) > DRIFT_NS:
            raise RunBroken("the recorder's clock drifts")
        self._last, self._least, self._minute = local_ns, min(self._least, delay), min(self._minute, delay)


class LiveBook:
    """What stands now: lots at each tick of both sides."""

    def __init__(self) -> None:
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._told: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._n = 0

    def best(self, side: int) -> int | None:
        """Best tick of a side."""
        return (max if side == BUY else min)(self.sides[side], default=None)

    def tell(self, events: Events) -> int:
        """Go on with the rows of one message; levels that were taken out because the book had crossed."""
        for side, tick, lots in zip(*(x.tolist() for x in (events.side, events.tick, events.lots)), strict=True):
            self._n += 1
            if lots > 0:
                self.sides[side][tick], self._told[side][tick] = lots, self._n
            elif self.sides[side].pop(tick, None) is not None:
                del self._told[side][tick]
        taken = 0
        while (bid := self.best(BUY)) is not None and (ask := self.best(SELL)) is not None and bid >= ask:
            old, tick = (BUY, bid) if self._told[BUY][bid] < self._told[SELL][ask] else (SELL, ask)
            del self.sides[old][tick], self._told[old][tick]
            taken += 1
        return taken
