"""A market where it is traded whose book and trades were recorded: what clients do does not change them.

Public data are the tape's. Orders of clients take what is displayed, less what clients took there since the level was
told; what rests fills by the rules of replay (`qframe_rl.book.walk`), each lot that was printed or displayed once for
all clients: the better price first, and of one price the older order. Clients meet each other as on any market.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from qframe_rl.book.events import TRADE
from qframe_rl.book.queue import ahead_after, exponent
from qframe_rl.book.state import BUY as BIDS
from qframe_rl.book.tape import NOT_TOLD, Tape
from qframe_rl.config import UserError
from qframe_rl.rehearsal.book import BUY, SELL, Level
from qframe_rl.rehearsal.config import RehearsalConfig
from qframe_rl.rehearsal.decimals import ZERO, steps
from qframe_rl.rehearsal.ladder import Change, Sides
from qframe_rl.rehearsal.market import ListedMarket
from qframe_rl.rehearsal.matching import MatchingEngine
from qframe_rl.rehearsal.order import Order, Register
from qframe_rl.rehearsal.path import Print
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.resting import Offer
from qframe_rl.rehearsal.ticks import TickTape
from qframe_rl.types import Int

_FAR = 1e18
"""Lots ahead of an order at a price that was never told: the first quantity that is."""


class RecordedBook:
    """What a tape displays at a moment.

    Parameters
    ----------
    tape
        The messages.
    """

    def __init__(self, tape: Tape):
        self.tape = tape
        self.row = 0
        """Rows that have happened."""
        self.lots = np.full(len(tape.level_tick), NOT_TOLD, np.int64)
        """(K,) lots at each level now."""
        self._n_bids = int(np.searchsorted(tape.level_side, 1))
        self._numbers = np.concatenate([[1], 1 + np.cumsum(tape.kind != TRADE)])

    @property
    def number(self) -> int:
        """Number of the last change."""
        return int(self._numbers[self.row])

    def go(self, stop: int) -> Int:
        """Let rows up to one happen; return the levels that they told."""
        rows = np.arange(self.row, stop)
        rows = rows[self.tape.kind[rows] != TRADE]
        told: Int = self.tape.level[rows].astype(np.int64)
        self.lots[told] = self.tape.lots[rows]
        self.row = stop
        return told

    def best(self, side: int) -> int:
        """Tick of the best price, as the tape has it after each whole message."""
        return int((self.tape.bid if side == BIDS else self.tape.ask)[self.row - 1])

    def level_of(self, side: int, tick: int) -> int:
        """Number of a level; -1 if no row names it."""
        first, stop = (0, self._n_bids) if side == BIDS else (self._n_bids, len(self.lots))
        k = first + int(np.searchsorted(self.tape.level_tick[first:stop], tick))
        return k if k < stop and self.tape.level_tick[k] == tick else -1

    def standing(self, side: int) -> Int:
        """Numbers of the levels that have lots, the best first."""
        if side == BIDS:
            return np.flatnonzero(self.lots[: self._n_bids] > 0)[::-1]
        return self._n_bids + np.flatnonzero(self.lots[self._n_bids :] > 0)


@dataclass(slots=True)
class QueuePlace:
    """Where an order waits at its price."""

    order: Order
    level: int
    """Number of the level on the tape; -1 = no row names it."""
    ahead: float
    """Lots before it."""
    printed: float = 0.0
    """Lots printed there since the level was told."""


class TapeEngine(MatchingEngine):
    """Orders of clients on a recorded market.

    Parameters
    ----------
    market, config, register
        As of `MatchingEngine`; of ``config`` the rule of queues counts, and not the shape of a book.
    book
        What is displayed.
    """

    def __init__(self, market: ListedMarket, config: RehearsalConfig, register: Register, book: RecordedBook):
        super().__init__(market, config, register)
        self.shown = book
        self._places: dict[int, QueuePlace] = {}
        self._crossed = {BUY: 0, SELL: 0}
        """Lots of the other side that resting orders filled against while it stands through them."""
        self._gone: dict[int, int] = {}
        """Lots that were taken at a level since it was told."""
        self._power = exponent(config.queue)
        ahead_after(self._power, 1.0, 1.0, 1.0, 0.0)  # machine code is there before the first order rests

    def offers(self, side: str) -> list[Level]:
        """What is displayed against an order of ``side``, the best first, whatever clients did."""
        return self.levels(SELL if side == BUY else BUY)

    def levels(self, side: str, limit: int | None = None) -> list[Level]:
        """So many displayed levels of a side, the best first."""
        found, tape = self.shown.standing(_number(side))[:limit], self.shown.tape
        tick, lot = self.market.tick, self.market.lot
        pairs = zip(tape.level_tick[found].tolist(), self.shown.lots[found].tolist(), strict=True)
        return [Level(at * tick, lots * lot) for at, lots in pairs]

    def takes(self, order: Order, taking: list[Offer]) -> bool:
        """Whether an order would take, or its price is at or through what is displayed."""
        return bool(taking) or self._reaches(order)

    def _reaches(self, order: Order) -> bool:
        best = self.shown.best(_other(order.side))
        at = self._tick(order)
        return best <= at if order.buys else best >= at

    def rest(self, order: Order) -> None:
        """Let an order wait behind what is displayed at its price."""
        alone = next(self.resting.line(order.side), None) is None
        super().rest(order)
        if order.turn in self._places:
            return
        self._places = {turn: place for turn, place in self._places.items() if place.order in self.resting}
        side, tick = _number(order.side), self._tick(order)
        level = self.shown.level_of(side, tick)
        lots = int(self.shown.lots[level]) if level >= 0 else NOT_TOLD
        best = self.shown.best(side)
        inside = tick > best if order.buys else tick < best
        ahead = float(max(lots, 0)) if lots != NOT_TOLD or inside else _FAR
        self._places[order.turn] = QueuePlace(order, level, ahead)
        taken = sum(self._gone.get(k, 0) for k in self._crossing_levels(order).tolist())
        self._crossed[order.side] = taken if alone else max(taken, self._crossed[order.side])

    def forget(self, told: Int) -> None:
        """Levels were told anew: what was taken there before counts no more."""
        if self._gone:
            again = set(told.tolist())
            self._gone = {k: lots for k, lots in self._gone.items() if k not in again}

    def printed(self, row: int) -> None:
        """A trade meets the orders of the side that it took from; then triggers are looked at."""
        tape = self.shown.tape
        side = BUY if tape.level_side[tape.level[row]] == BIDS else SELL
        at, lots = int(tape.tick[row]), int(tape.lots[row])
        left = lots
        for order in self.resting.line(side):
            tick = self._tick(order)
            if tick < at if side == BUY else tick > at:
                break
            place = self._places[order.turn]
            reached = left
            if tick == at:
                place.printed += lots
                place.ahead -= left
                reached = round(-place.ahead)
            if tick != at or reached > 0:
                place.ahead = 0.0
                left -= self._filled(order, min(reached, left))
        self.price = at * self.market.tick
        for order, fire in list(self.waiting):
            if not self.halted and (order, fire) in self.waiting and self.triggered(order):
                self.waiting.remove((order, fire))
                fire()

    def told(self, row: int) -> None:
        """A level has another quantity: of what is gone without a print, a part was ahead."""
        if not self.resting:
            return
        tape = self.shown.tape
        level, before, lots = int(tape.level[row]), float(tape.before[row]), float(tape.lots[row])
        for order in self.resting.at(int(tape.tick[row]) * self.market.tick):
            place = self._places[order.turn]
            if place.level == level:
                place.ahead = float(ahead_after(self._power, place.ahead, before, lots, place.printed))
                place.printed = 0.0

    def stood(self) -> None:
        """After a whole message: the other side may stand at resting orders or through them."""
        for side in (BUY, SELL):
            line = list(self.resting.line(side))
            if not line or not self._reaches(line[0]):
                self._crossed[side] = 0
                continue
            for n, order in enumerate(line):
                if not self._reaches(order):
                    break
                there = int(self.shown.lots[self._crossing_levels(order)].sum())
                if n == 0:
                    self._crossed[side] = min(self._crossed[side], there)
                self._places[order.turn].ahead = 0.0
                self._crossed[side] += self._filled(order, there - self._crossed[side])

    def _outside(self, order: Order, wanted: Decimal) -> Iterable[Level]:
        """What is displayed and was not taken yet."""
        tape, tick, lot = self.shown.tape, self.market.tick, self.market.lot
        for k in self.shown.standing(_other(order.side)).tolist():
            lots = int(self.shown.lots[k]) - self._gone.get(k, 0)
            if lots > 0:
                yield Level(int(tape.level_tick[k]) * tick, lots * lot)

    def _took(self, order: Order, price: Decimal, quantity: Decimal) -> None:
        level = self.shown.level_of(_other(order.side), steps(price, self.market.tick))
        self._gone[level] = self._gone.get(level, 0) + steps(quantity, self.market.lot)

    def _crossing_levels(self, order: Order) -> Int:
        """Levels of the other side at an order's price or through it."""
        found, at = self.shown.standing(_other(order.side)), self._tick(order)
        ticks = self.shown.tape.level_tick[found]
        return found[ticks <= at if order.buys else ticks >= at]

    def _filled(self, order: Order, lots: int) -> int:
        """Fill up to so many lots of a resting order at its price; how many there were."""
        if lots <= 0 or self.halted or not order.is_open:
            return 0
        before = order.filled
        quantity = min(lots * self.market.lot, self._portion(order))
        self._fill(order, order.limit or ZERO, quantity, maker=True)
        return steps(order.filled - before, self.market.lot)

    def _tick(self, order: Order) -> int:
        assert order.limit is not None
        return steps(order.limit, self.market.tick)


class RecordedPlace(Place):
    """A market told by recorded messages.

    Parameters
    ----------
    market, config, register
        As of `Place`; the market has ticks.

    Raises
    ------
    UserError
        For a protocol that does not tell recorded books.
    """

    engine: TapeEngine
    tape: TickTape

    def __init__(self, market: ListedMarket, config: RehearsalConfig, register: Register):
        if config.protocol != "binance":
            raise UserError(f"recorded ticks are served over the protocol of binance, not of {config.protocol}.")
        assert market.ticks is not None
        super().__init__(market, config, register)
        self.book = RecordedBook(market.ticks.tape)
        self.tape = TickTape(market)
        self.engine = TapeEngine(market, config, register, self.book)

    def sides(self, limit: int | None = None) -> Sides:
        """The book as it was recorded, or so many levels of each side."""
        return Sides(self.engine.levels(BUY, limit), self.engine.levels(SELL, limit))

    def step(self) -> Change | None:
        """Nothing: what is different is told as it happens, whatever clients do."""
        return None

    def sync(self, now_ms: int) -> None:
        """Bring a market that nobody minded to the present."""
        self.engine.row = self.market.row_at(now_ms)
        self.engine.forget(self.book.go(self.tape.rows_until(now_ms)))
        self.ladder.number = self.book.number
        row, n = self.tape.last(now_ms)
        if row >= 0:
            self.engine.price = self.tape.prints(row)[n].price

    def happen(self, row: int, stop: int) -> tuple[Print | None, Change | None]:
        """Let a message of some rows come true; return the trade that it prints, or what changed in the book."""
        if self.book.tape.kind[row] == TRADE:
            self.book.go(stop)
            self.engine.printed(row)
            return self.tape.print_of(row), None
        before, best = self.book.number, self._best()
        levels: tuple[list[Level], list[Level]] = ([], [])
        for k in range(row, stop):
            self.engine.told(k)
            side, tick, lots = (int(f[k]) for f in (self.book.tape.side, self.book.tape.tick, self.book.tape.lots))
            levels[side].append(Level(tick * self.market.tick, lots * self.market.lot))
        self.engine.forget(self.book.go(stop))
        self.ladder.number = self.book.number
        self.engine.stood()
        return None, Change(before + 1, self.book.number, before, *levels, best != self._best())

    def _best(self) -> Sides:
        return self.sides(1)


def _number(side: str) -> int:
    return 0 if side == BUY else 1


def _other(side: str) -> int:
    return 1 if side == BUY else 0
