"""Own orders on a recorded market, row by row with dictionaries: written from the rules in words, not from the walk.

Every row of the tape is visited, in its order; nothing is indexed, and nothing is remembered but the book.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from qframe_rl.book import accounts as a
from qframe_rl.book import walk as w
from qframe_rl.book.events import TRADE
from qframe_rl.book.tape import Tape

BUY, SELL = 0, 1


@dataclass
class OwnQuote:
    """A quote at the exchange."""

    side: int
    tick: int
    left: int
    ahead: float | None
    """None: the level was never told; the first quantity will be."""
    printed: float = 0.0
    crossed: int = 0
    cancels: int | None = None


@dataclass
class PlainReplay:
    """One account."""

    tape: Tape
    answer_ns: int
    power: float
    books: tuple[dict[int, int], dict[int, int]] = field(default_factory=lambda: ({}, {}))
    quotes: list[OwnQuote | None] = field(default_factory=lambda: [None, None])
    free_from: list[int] = field(default_factory=lambda: [0, 0])
    taken: dict[tuple[int, int], int] = field(default_factory=dict)
    fills: list[tuple[int, ...]] = field(default_factory=list)
    cash: int = 0
    position: int = 0
    refused: int = 0

    def best(self, side: int) -> int | None:
        """Best price of a side."""
        there = [tick for tick, lots in self.books[side].items() if lots > 0]
        return None if not there else (max(there) if side == BUY else min(there))

    def run(self, script: list[tuple[int, ...]], start: int, until: int) -> None:
        """Live from a moment to another; rows of a moment come before own messages that arrive at it."""
        tape, coming, row = self.tape, list(script), 0
        while True:
            at = int(tape.exchange_ns[row]) if row < len(tape.tick) else 2**62
            cancels = [q.cancels for q in self.quotes if q is not None and q.cancels is not None]
            own = min([coming[0][0]] if coming else [2**62])
            if min(at, own) > until and not any(c <= until for c in cancels):
                break
            if own < at or any(c < at for c in cancels):
                self.message(coming, min([own, *cancels]))
                continue
            self.row(row, start)
            row += 1

    def message(self, coming: list[tuple[int, ...]], at: int) -> None:
        """One own message."""
        if coming and coming[0][0] == at and coming[0][1] == w.QUOTE:
            self.arrive(coming.pop(0))
            return
        for k, quote in enumerate(self.quotes):
            if quote is not None and quote.cancels == at:
                self.gone(k, at)
                return
        _, kind, side, tick, lots = said = coming.pop(0)
        quote = self.quotes[side]
        if kind == w.WITHDRAW and quote is not None and quote.cancels is None:
            quote.cancels = at
        elif kind == w.TAKE:
            self.take(at, side, tick, lots)
        assert said

    def arrive(self, said: tuple[int, ...]) -> None:
        """A quote comes."""
        at, _, side, tick, lots = said
        if self.quotes[side] is not None or self.free_from[side] > at:
            return
        other, own = self.best(1 - side), self.best(side)
        takes = other is not None and (tick >= other if side == BUY else tick <= other)
        if takes or (other is None and own is None):
            self.refused += 1
            self.free_from[side] = at + self.answer_ns
            return
        ahead: float | None = self.books[side].get(tick)
        if ahead is None and (own is None or (tick > own if side == BUY else tick < own)):
            ahead = 0.0
        self.quotes[side] = OwnQuote(side, tick, lots, ahead)

    def gone(self, side: int, at: int) -> None:
        """A quote is no more."""
        self.quotes[side] = None
        self.free_from[side] = at + self.answer_ns

    def fill(self, side: int, tick: int, lots: int, at: int, cause: int) -> None:
        """Book lots."""
        if lots <= 0:
            return
        self.position += lots if side == BUY else -lots
        self.cash -= lots * tick if side == BUY else -lots * tick
        self.fills.append((at, side, tick, lots, cause))
        quote = self.quotes[side]
        if cause != a.TOOK and quote is not None:
            quote.left -= lots
            if quote.left == 0:
                self.gone(side, at)

    def take(self, at: int, side: int, bound: int, lots: int) -> None:
        """Walk the book."""
        other = self.books[1 - side]
        for tick in sorted(other, reverse=side == SELL):
            if lots == 0 or (tick > bound if side == BUY else tick < bound):
                break
            some = min(max(other[tick] - self.taken.get((1 - side, tick), 0), 0), lots)
            if some:
                self.taken[1 - side, tick] = self.taken.get((1 - side, tick), 0) + some
                self.fill(side, tick, some, at, a.TOOK)
                lots -= some

    def row(self, row: int, start: int) -> None:
        """One row of the tape."""
        tape = self.tape
        at, tick, lots = int(tape.exchange_ns[row]), int(tape.tick[row]), int(tape.lots[row])
        side = int(tape.level_side[tape.level[row]])
        if tape.kind[row] == TRADE:
            self.printed(at, side, tick, lots)
        else:
            quote = self.quotes[side]
            if quote is not None and quote.tick == tick:
                self.told(quote, self.books[side].get(tick, 0), lots)
            self.books[side][tick] = lots
            self.taken.pop((side, tick), None)
        if row + 1 == len(tape.tick) or tape.message[row + 1] != tape.message[row]:
            for quote in list(self.quotes):
                if quote is not None:
                    self.crossed(quote, at)

    def printed(self, at: int, side: int, tick: int, lots: int) -> None:
        """A trade."""
        quote = self.quotes[side]
        if quote is None:
            return
        if tick == quote.tick:
            quote.printed += lots
            if quote.ahead is None:
                return
            quote.ahead -= lots
            over = int(np.rint(-quote.ahead))
            if over > 0:
                quote.ahead = 0.0
                self.fill(side, tick, min(quote.left, over), at, a.PRINT_AT)
        elif tick < quote.tick if side == BUY else tick > quote.tick:
            quote.ahead = 0.0
            self.fill(side, quote.tick, min(quote.left, lots), at, a.PRINT_THROUGH)

    def told(self, quote: OwnQuote, shown: int, then: int) -> None:
        """The level's quantity."""
        if quote.ahead is None:
            quote.ahead = float(then)
        else:
            gone = shown - then - quote.printed
            ahead = quote.ahead
            if gone >= 0 and self.power > 0.0:
                behind = max(shown - ahead, 0.0)
                of = behind**self.power + ahead**self.power
                share = behind**self.power / of if of > 0.0 else 1.0
                ahead = ahead - (1.0 - share) * gone + min(behind - share * gone, 0.0)
            quote.ahead = max(min(ahead, float(then)), 0.0)
        quote.printed = 0.0

    def crossed(self, quote: OwnQuote, at: int) -> None:
        """Whether the other side stands at a quote or through it, and with how many lots."""
        other = self.books[1 - quote.side]
        through = [
            lots for tick, lots in other.items()
            if lots > 0 and (tick <= quote.tick if quote.side == BUY else tick >= quote.tick)
        ]  # fmt: skip
        if not through:
            quote.crossed = 0
            return
        quote.ahead = 0.0
        already = min(quote.crossed, sum(through))
        some = min(quote.left, sum(through) - already)
        quote.crossed = already + some
        self.fill(quote.side, quote.tick, some, at, a.CROSSING)
