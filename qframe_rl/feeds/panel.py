"""Aligning the series of several instruments into one `History`: bars and the funding that falls due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qframe_rl.feeds.parquet import Series
from qframe_rl.types import CLOSE, OPEN, SECOND, Bool, Float, History, Instrument, Int, Source

FUNDING_RATE = "funding_rate"


class Leg(NamedTuple):
    """One instrument's series."""

    instrument: Instrument
    bars: Series
    """(N, 5) open, high, low, close, volume at each bar's open."""
    rates: Series | None = None
    """(M, 1) funding rates at their settlements; None = none are known, and none is paid."""
    marks: Series | None = None
    """(K, 5) mark-price candles at their opens."""
    mark_ns: int = 0
    """Length of a mark-price candle."""
    paid: int | None = None
    """Last settlement that was charged before these bars; None = those before the first bar."""
    last: float = np.nan
    """Close before the first of these bars."""


def panel(legs: Sequence[Leg], bar_ns: int, source: Source) -> History:
    """Align instruments over the union of their bars.

    A settlement is charged in the first row that closes after it, also where it fell into a gap, at rate x mark: the
    open of the mark-price candle that contains it, else the bar's own open, else the last close. The column
    `funding_rate` (for panels with a perpetual) is the last rate settled before the row's close: one stamped at the
    close itself is not published yet when the bar ends. Spot instruments have 0 there.

    Parameters
    ----------
    legs
        The A instruments.
    bar_ns
        Length of a bar.
    source
        Where the series came from.

    Returns
    -------
    History
        (T, A, 5 or 6), unchecked. `final` marks the last bar of an instrument that the panel goes on without.
    """
    opens = np.unique(np.concatenate([leg.bars.time for leg in legs]))
    close = opens + bar_ns
    columns = (FUNDING_RATE,) if any(leg.instrument.kind == "perpetual" for leg in legs) else ()
    values = np.full((len(opens), len(legs), 5 + len(columns)), np.nan)
    funding = np.zeros((len(opens), len(legs)))
    final: Bool = np.zeros((len(opens), len(legs)), dtype=np.bool_)
    for a, leg in enumerate(legs):
        rows = np.searchsorted(opens, leg.bars.time)
        values[rows, a, :5] = leg.bars.values
        if len(rows) and rows[-1] < len(opens) - 1:
            final[rows[-1], a] = True
        if columns:
            values[rows, a, 5] = _rate_before(leg, close[rows])
        if leg.rates is not None and len(opens):
            funding[:, a] = _due(leg, close, values[:, a], bar_ns)
    return History(tuple(leg.instrument for leg in legs), bar_ns, close, values, funding, final, source, columns)


def settled(rates: Series) -> Int:
    """(M,) settlement times to the second: exchanges stamp them some ms off."""
    return (rates.time + SECOND // 2) // SECOND * SECOND


def _rate_before(leg: Leg, close: Int) -> Float:
    if leg.rates is None:
        return np.zeros(len(close))
    row = np.searchsorted(settled(leg.rates), close, side="left") - 1
    known: Float = np.append(leg.rates.values[:, 0], np.nan)[row]
    return known


def _due(leg: Leg, close: Int, values: Float, bar_ns: int) -> Float:
    """(T,) rate x mark of the settlements that each row is charged with."""
    assert leg.rates is not None
    stamps, rates = settled(leg.rates), leg.rates.values[:, 0]
    traded = np.flatnonzero(~np.isnan(values[:, CLOSE]))
    begin = close[traded[0]] - bar_ns if len(traded) else close[0] - bar_ns
    begin = begin if leg.paid is None else leg.paid + 1
    end = close[traded[-1]] if leg.paid is None and len(traded) else close[-1]
    due = (stamps >= begin) & (stamps < end)
    stamps, rates = stamps[due], rates[due]
    rows = np.searchsorted(close, stamps, side="right")
    out = np.zeros(len(close))
    # Before its first trade a contract has no price, and nobody holds it.
    paid = rates * _marks_at(leg, stamps, rows, values)
    np.add.at(out, rows, np.where(np.isnan(paid), 0.0, paid))
    return out


def _marks_at(leg: Leg, stamps: Int, rows: Int, values: Float) -> Float:
    """(M,) price that each settlement is charged at."""
    before = np.where(np.isnan(values[:, CLOSE]), -1, np.arange(len(values)))
    before = np.maximum.accumulate(before)[rows]
    price = np.where(before >= 0, values[before, CLOSE], leg.last)
    price = np.where(np.isnan(values[rows, OPEN]), price, values[rows, OPEN])
    if leg.marks is None or len(leg.marks.time) == 0:
        return price
    candle = np.searchsorted(leg.marks.time, stamps, side="right") - 1
    inside = (candle >= 0) & (stamps - leg.marks.time[candle] < leg.mark_ns)
    return np.where(inside, leg.marks.values[candle, OPEN], price)
