"""Recorded messages as a market of the exchange: book and trades as they were, bars of a second that sum them up."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from decimal import Decimal

import numpy as np

from qframe_rl.book.events import TRADE
from qframe_rl.book.tape import Tape, tape_of
from qframe_rl.config import UserError
from qframe_rl.feeds.ticks import TickRun
from qframe_rl.rehearsal.decimals import exact, places
from qframe_rl.rehearsal.market import MS, SPOT, USDM, ListedMarket, TickRecord
from qframe_rl.rehearsal.path import Print
from qframe_rl.rehearsal.tape import MESSAGE, MarketEvent, MarketTape
from qframe_rl.types import CLOSE, OPEN, VOLUME, Float, Instrument, Int

_BAR_MS = 1_000


def tick_market(run: TickRun, instrument: Instrument) -> ListedMarket:
    """A run of ticks as a market.

    Parameters
    ----------
    run
        What was recorded.
    instrument
        Fees, margin and the smallest order; its steps are those of the run.

    Raises
    ------
    UserError
        If no trade was printed after its book was whole, or the symbol is not ``BASE/QUOTE`` or ``BASE/QUOTE:QUOTE``.
    """
    base, slash, rest = instrument.symbol.partition("/")
    quote, _, settle = rest.partition(":")
    if not slash or not base or not quote or (instrument.kind == "perpetual") != (settle == quote):
        raise UserError(f"{instrument.symbol!r} is neither spot BASE/QUOTE nor a perpetual BASE/QUOTE:QUOTE.")
    tape = tape_of(run.events, run.clock_shift_ns)
    at = tape.exchange_ns[tape.trades] // MS
    ready = -(-run.ready_ns // MS)
    after = at[at >= ready]
    if not len(after):
        raise UserError(f"run {run.name} of {run.symbol} has no trade once its book is whole; take another one.")
    tick, lot = exact(run.tick), exact(run.lot)
    opens, values = _bars(tape, at, tick, lot)
    marks = values.copy()
    marks[:, VOLUME] = 0.0
    return ListedMarket(
        id=f"{base}{quote}".upper(), symbol=instrument.symbol, wire=USDM if instrument.kind == "perpetual" else SPOT,
        base=base, quote=quote, tick=tick, lot=lot, min_notional=exact(instrument.min_notional),
        maker=exact(instrument.maker_fee), taker=exact(instrument.taker_fee), maintenance=exact(instrument.maintenance),
        bar_ms=_BAR_MS, opens=opens, values=values, ends=False, stamps=np.empty(0, np.int64), rates=np.empty(0),
        mark_opens=opens, marks=marks, mark_ms=_BAR_MS,
        ticks=TickRecord(tape, int(after[0]), int(tape.exchange_ns[-1]) // MS),
    )  # fmt: skip


def _bars(tape: Tape, at: Int, tick: Decimal, lot: Decimal) -> tuple[Int, Float]:
    """Opens and bars of every second of a tape; where nothing was traded a bar stands at the last price."""
    first, last = (int(tape.exchange_ns[k]) // MS // _BAR_MS for k in (0, -1))
    n = last - first + 1
    price = np.round(tape.tick[tape.trades] * float(tick), places(tick))
    lots = tape.lots[tape.trades]
    heads = np.flatnonzero(np.diff(at // _BAR_MS, prepend=-1))
    rows = at[heads] // _BAR_MS - first
    values = np.zeros((n, 5))
    ends = np.append(heads[1:], len(at)) - 1
    values[:, CLOSE] = price[ends[np.maximum(np.searchsorted(rows, np.arange(n), side="right") - 1, 0)]]
    values[: rows[0], CLOSE] = price[0]
    values[:, :3] = values[:, CLOSE, None]
    values[rows, OPEN] = price[heads]
    values[rows, 1], values[rows, 2] = np.maximum.reduceat(price, heads), np.minimum.reduceat(price, heads)
    values[rows, VOLUME] = np.round(np.add.reduceat(lots, heads) * float(lot), places(lot))
    return (first + np.arange(n)) * _BAR_MS, values


class TickTape(MarketTape):
    """The messages and prints of a market that was recorded.

    Parameters
    ----------
    market
        A market with ticks.
    """

    def __init__(self, market: ListedMarket):
        assert market.ticks is not None
        super().__init__(market, 0)
        tape = self.recorded = market.ticks.tape
        self._ms = tape.exchange_ns // MS
        self._traded = self._ms[tape.trades]
        self._first = np.searchsorted(self._traded, np.append(market.opens, market.opens[-1] + market.bar_ms))
        trade = tape.kind == TRADE
        apart = (tape.message[1:] != tape.message[:-1]) | trade[1:] | trade[:-1]
        self._begins = np.append(0, np.flatnonzero(apart) + 1)

    def rows_until(self, now_ms: int) -> int:
        """Rows that have happened by a moment."""
        return int(np.searchsorted(self._ms, now_ms, side="right"))

    def print_of(self, row: int) -> Print:
        """The trade that a row tells."""
        tape, market = self.recorded, self.market
        number = int(np.searchsorted(tape.trades, row)) + 1
        price, quantity = int(tape.tick[row]) * market.tick, int(tape.lots[row]) * market.lot
        return Print(int(self._ms[row]), price, quantity, int(tape.side[row]) == 0, number)

    def _prints(self, row: int) -> tuple[Print, ...]:
        return tuple(self.print_of(int(k)) for k in self.recorded.trades[self._first[row] : self._first[row + 1]])

    def count(self, first: int, stop: int) -> int:
        """Trades of some bars."""
        return int(self._first[stop] - self._first[first])

    def first_id(self, row: int) -> int:
        """Number of a bar's first trade."""
        return int(self._first[row]) + 1

    def row_of(self, number: int) -> int:
        """Bar of a trade by its number; the first bar for numbers before its trades."""
        return max(0, int(np.searchsorted(self._first, number - 1, side="right")) - 1)

    def last(self, now_ms: int) -> tuple[int, int]:
        """Bar and number in it of the last trade at or before a moment; (-1, -1) before the first."""
        n = int(np.searchsorted(self._traded, now_ms, side="right"))
        if n == 0:
            return -1, -1
        row = self.row_of(n)
        return row, n - 1 - int(self._first[row])

    def events(self, after_ms: int) -> Iterator[MarketEvent]:
        """Everything that happens after a moment."""
        return heapq.merge(self._closes(after_ms), self._messages(after_ms))

    def _closes(self, after_ms: int) -> Iterator[MarketEvent]:
        market = self.market
        for row in range(max(0, math.ceil((after_ms - market.first_ms) / market.bar_ms) - 1), len(market.opens)):
            close = int(market.opens[row]) + market.bar_ms
            if close > after_ms:
                yield MarketEvent(close, 0, row, 0)

    def _messages(self, after_ms: int) -> Iterator[MarketEvent]:
        begins, n = self._begins, len(self._ms)
        for k in range(int(np.searchsorted(begins, self.rows_until(after_ms))), len(begins)):
            row, stop = int(begins[k]), int(begins[k + 1]) if k + 1 < len(begins) else n
            yield MarketEvent(int(self._ms[row]), MESSAGE, row, stop)
