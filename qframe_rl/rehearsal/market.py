"""What the exchange lists: markets with their rules, bars, funding and mark prices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple, TypedDict

import numpy as np

from qframe_rl.book.tape import Tape
from qframe_rl.config import UserError
from qframe_rl.feeds.parquet import Series
from qframe_rl.rehearsal.decimals import exact, places
from qframe_rl.types import CLOSE, OPEN, RELISTED, VOLUME, Float, History, Instrument, Int

MS = 1_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FUNDING_MS = 8 * HOUR_MS
Wire = str
SPOT, USDM = "spot", "usdm"


class TickRecord(NamedTuple):
    """Recorded messages that tell a market instead of its bars."""

    tape: Tape
    """The messages."""
    begins_ms: int
    """From when on its book is whole and a trade was printed."""
    ends_ms: int
    """Of its last message."""

    def later(self, by_ms: int) -> TickRecord:
        """The same at another time."""
        by, tape = by_ms * MS, self.tape
        moved = tape._replace(exchange_ns=tape.exchange_ns + by, local_ns=tape.local_ns + by)
        return TickRecord(moved, self.begins_ms + by_ms, self.ends_ms + by_ms)


@dataclass(frozen=True, eq=False)
class ListedMarket:
    """One listed market. Times are ms UTC; bars are indexed by their opens."""

    id: str
    """Name on the wire, such as ``BTCUSDT``."""
    symbol: str
    """Unified symbol, such as ``BTC/USDT:USDT``."""
    wire: Wire
    """``spot`` or ``usdm``."""
    base: str
    quote: str
    tick: Decimal
    lot: Decimal
    min_notional: Decimal
    maker: Decimal
    taker: Decimal
    maintenance: Decimal
    bar_ms: int
    opens: Int
    """(N,) opens of the bars there are."""
    values: Float
    """(N, 5) open, high, low, close, volume."""
    ends: bool
    """Whether it is delisted at the close of its last bar, while others go on."""
    stamps: Int
    """(M,) funding settlements as the exchange stamped them; empty for spot."""
    rates: Float
    """(M,) rate of each."""
    mark_opens: Int
    """(K,) opens of the mark-price candles."""
    marks: Float
    """(K, 5) mark-price candles with a volume of 0."""
    mark_ms: int
    """Length of a mark-price candle."""
    ticks: TickRecord | None = None
    """What was recorded of it message by message; the bars then only sum it up."""

    @property
    def begins_ms(self) -> int:
        """From when on it can be traded."""
        return self.first_ms if self.ticks is None else self.ticks.begins_ms

    @property
    def first_ms(self) -> int:
        """Open of the first bar."""
        return int(self.opens[0])

    @property
    def last_ms(self) -> int:
        """Close of the last bar, or the end of the last recorded millisecond."""
        if self.ticks is not None:
            return self.ticks.ends_ms + 1
        return int(self.opens[-1]) + self.bar_ms

    @cached_property
    def price_digits(self) -> int:
        """Digits after the point of prices on the wire."""
        return 8 if self.wire == SPOT else places(self.tick)

    @cached_property
    def quantity_digits(self) -> int:
        """Digits after the point of quantities on the wire."""
        return 8 if self.wire == SPOT else places(self.lot)

    def row_at(self, now_ms: int) -> int:
        """Bar that is open at a time, or -1 where none is."""
        row = int(np.searchsorted(self.opens, now_ms, side="right")) - 1
        return row if row >= 0 and now_ms < int(self.opens[row]) + self.bar_ms else -1

    def delisted(self, now_ms: int) -> bool:
        """Whether it has ended for good."""
        return self.ends and now_ms >= self.last_ms


def listed(
    history: History, rates: Mapping[str, Series] | None = None, marks: Mapping[str, tuple[Series, int]] | None = None
) -> tuple[ListedMarket, ...]:
    """Markets of a panel.

    Parameters
    ----------
    history
        Bars, rules and the funding that falls due.
    rates
        Settlements as they were recorded, by symbol: (M, 1) rates at their times, ns. Where a perpetual has none here
        they are taken from the panel: one at the open of each bar with funding, with the column ``funding_rate`` as
        its rate.
    marks
        Mark-price candles and their length in ns, by symbol. Where there are none, the bars themselves, opening at the
        mark price that the panel's funding tells.

    Raises
    ------
    UserError
        For an instrument whose symbol is not ``BASE/QUOTE`` or ``BASE/QUOTE:QUOTE``, or that has no bar.
    """
    return tuple(
        _market(history, a, instrument, (rates or {}).get(instrument.symbol), (marks or {}).get(instrument.symbol))
        for a, instrument in enumerate(history.instruments)
    )


def joined(panels: Sequence[tuple[ListedMarket, ...]]) -> tuple[ListedMarket, ...]:
    """Markets of several panels on one exchange.

    Raises
    ------
    UserError
        If two of them would have one name on one wire.
    """
    markets = tuple(market for panel in panels for market in panel)
    names: set[tuple[str, str]] = set()
    for market in markets:
        if (market.wire, market.id) in names:
            raise UserError(f"{market.symbol} is listed twice; one exchange has one {market.id} on {market.wire}.")
        names.add((market.wire, market.id))
    return markets


def present(markets: Sequence[ListedMarket], start_ms: int, now_ms: int) -> tuple[ListedMarket, ...]:
    """Markets whose tape is shifted so that what was at ``start_ms``, or less than a day later, is at ``now_ms``.

    It is shifted by whole days, of bars that are longer by whole bars, so that candles and settlements stay where they
    are in the day; recorded ticks by whole seconds.
    """
    whole = max(market.bar_ms for market in markets)
    step = whole if all(market.ticks for market in markets) else max(DAY_MS, whole)
    by = (now_ms - start_ms) // step * step
    return tuple(
        replace(
            market,
            opens=market.opens + by,
            stamps=market.stamps + by,
            mark_opens=market.mark_opens + by,
            ticks=None if market.ticks is None else market.ticks.later(by),
        )
        for market in markets
    )


def _market(
    history: History, a: int, instrument: Instrument, rates: Series | None, marks: tuple[Series, int] | None
) -> ListedMarket:
    if RELISTED in instrument.symbol:
        raise UserError(
            f"{instrument.symbol} came back under an old ticker, by which one exchange lists one coin; take bars of "
            "its time alone, or join both with relist."
        )
    base, slash, rest = instrument.symbol.partition("/")
    quote, _, settle = rest.partition(":")
    if not slash or not base or not quote or (instrument.kind == "perpetual") != (settle == quote):
        raise UserError(f"{instrument.symbol!r} is neither spot BASE/QUOTE nor a perpetual BASE/QUOTE:QUOTE.")
    rows = np.flatnonzero(~np.isnan(history.values[:, a, CLOSE]))
    if len(rows) == 0:
        raise UserError(f"{instrument.symbol} has no bar to serve.")
    opens = (history.time[rows] - history.bar_ns) // MS
    values = np.ascontiguousarray(history.values[rows, a, :5])
    price = float(values[0, OPEN])
    perpetual = instrument.kind == "perpetual"
    funding = _settlements(history, a, rows, opens, values, rates) if perpetual else _none()
    return ListedMarket(
        id=f"{base}{quote}".upper(),
        symbol=instrument.symbol,
        wire=USDM if perpetual else SPOT,
        base=base,
        quote=quote,
        tick=_step(instrument.tick, math.floor(math.log10(price)) - 6),
        lot=_step(instrument.lot, -4 - math.floor(math.log10(price))),
        min_notional=exact(instrument.min_notional),
        maker=exact(instrument.maker_fee),
        taker=exact(instrument.taker_fee),
        maintenance=exact(instrument.maintenance),
        bar_ms=history.bar_ns // MS,
        opens=opens,
        values=values,
        ends=bool(history.final[rows[-1], a]),
        stamps=funding[0],
        rates=funding[1],
        **_mark_candles(opens, values, history.bar_ns // MS, funding, marks),
    )


def _step(given: float, exponent: int) -> Decimal:
    """A stated step, or a power of ten that is fine beside the price where none is stated; at least 1e-8."""
    return exact(given) if given > 0.0 else Decimal(1).scaleb(max(-8, exponent))


_Funding = tuple[Int, Float, Float]


def _none() -> _Funding:
    return np.empty(0, dtype=np.int64), np.empty(0), np.empty(0)


def _settlements(history: History, a: int, rows: Int, opens: Int, values: Float, rates: Series | None) -> _Funding:
    """Stamps (ms), rates and marks of the settlements; a mark is NaN where mark-price candles tell it."""
    if rates is not None:
        return rates.time // MS, rates.values[:, 0].copy(), np.full(len(rates.time), np.nan)
    due = history.funding[rows, a]
    paid = np.flatnonzero(due)
    grid = opens[paid] if len(paid) else opens[:1]
    free = (opens % FUNDING_MS == 0) & (due == 0.0) if (grid % FUNDING_MS == 0).all() else np.zeros(len(due), np.bool_)
    at = np.flatnonzero(free | (due != 0.0))
    price = values[at, OPEN]
    rate = due[at] / price
    if "funding_rate" in history.columns:
        stated = history.values[rows[at], a, 5 + history.columns.index("funding_rate")]
        rate = np.where((due[at] != 0.0) & (stated != 0.0) & ~np.isnan(stated), stated, rate)
    return opens[at], rate, _marks(due[at], rate, price)


def _marks(due: Float, rate: Float, price: Float) -> Float:
    """Mark prices whose product with the rate is what was due, to the bit where such a number exists."""
    marks = price.copy()
    for n in np.flatnonzero(due != rate * price):
        guess = due[n] / rate[n]
        near = (guess, np.nextafter(guess, 0.0), np.nextafter(guess, np.inf))
        marks[n] = next((m for m in near if m * rate[n] == due[n]), guess)
    return marks


class _Marks(TypedDict):
    mark_opens: Int
    marks: Float
    mark_ms: int


def _mark_candles(
    opens: Int, values: Float, bar_ms: int, funding: _Funding, given: tuple[Series, int] | None
) -> _Marks:
    if given is not None:
        series, length = given
        candles = series.values[:, :5].copy()
        candles[:, VOLUME] = 0.0
        return {"mark_opens": series.time // MS, "marks": candles, "mark_ms": length // MS}
    candles = values.copy()
    candles[:, VOLUME] = 0.0
    known = ~np.isnan(funding[2])
    rows = np.searchsorted(opens, funding[0][known])
    candles[rows, OPEN] = funding[2][known]
    candles[:, 1] = np.maximum(candles[:, 1], candles[:, OPEN])
    candles[:, 2] = np.minimum(candles[:, 2], candles[:, OPEN])
    return {"mark_opens": opens, "marks": candles, "mark_ms": bar_ms}
