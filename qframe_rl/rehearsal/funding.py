"""Mark prices and funding of a perpetual, by the rules of `feeds.panel`."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np

from qframe_rl.rehearsal.decimals import exact
from qframe_rl.rehearsal.market import FUNDING_MS, ListedMarket
from qframe_rl.rehearsal.tape import MarketTape
from qframe_rl.types import CLOSE, OPEN, Int


def mark_tape(market: ListedMarket, n_prints: int) -> MarketTape:
    """The mark price as a tape of its own: its candles, and no volume."""
    marks = replace(market, opens=market.mark_opens, values=market.marks, bar_ms=market.mark_ms, stamps=_none())
    return MarketTape(marks, n_prints)


def _none() -> Int:
    return np.empty(0, dtype=np.int64)


def settlement_mark(market: ListedMarket, time_ms: int) -> float:
    """Mark price that a settlement is charged at: the open of its mark candle, else of its bar, else the last close."""
    candle = int(np.searchsorted(market.mark_opens, time_ms, side="right")) - 1
    if candle >= 0 and time_ms < int(market.mark_opens[candle]) + market.mark_ms:
        return float(market.marks[candle, OPEN])
    row = int(np.searchsorted(market.opens, time_ms, side="right")) - 1
    if row < 0:
        return 0.0
    return float(market.values[row, OPEN if market.row_at(time_ms) == row else CLOSE])


def due(market: ListedMarket, n: int, time_ms: int) -> Decimal:
    """Quote currency that settlement ``n`` takes for each unit held long."""
    return exact(float(market.rates[n]) * settlement_mark(market, time_ms))


def ratio(market: ListedMarket, row: int) -> Decimal:
    """Mark price over last price while bar ``row`` is open: that of the last mark candle that opened with a bar."""
    candle = int(np.searchsorted(market.mark_opens, market.opens[row], side="right")) - 1
    if candle < 0:
        return Decimal(1)
    at = int(np.searchsorted(market.opens, market.mark_opens[candle]))
    if at == len(market.opens) or market.opens[at] != market.mark_opens[candle]:
        return Decimal(1)
    return exact(float(market.marks[candle, OPEN])) / exact(float(market.values[at, OPEN]))


def last_rate(market: ListedMarket, now_ms: int) -> float:
    """Rate of the last settlement; that of the first one before it."""
    if len(market.rates) == 0:
        return 0.0
    return float(market.rates[max(0, int(np.searchsorted(market.stamps, now_ms, side="right")) - 1)])


def next_stamp(market: ListedMarket, now_ms: int) -> int:
    """When funding is paid next: as recorded, and every eight hours where nothing is."""
    n = int(np.searchsorted(market.stamps, now_ms, side="right"))
    if n < len(market.stamps):
        return int(market.stamps[n]) // 1000 * 1000
    return (now_ms // FUNDING_MS + 1) * FUNDING_MS


def interval_hours(market: ListedMarket, now_ms: int) -> int:
    """Hours from the settlement before to the next one, as recorded."""
    n = int(np.searchsorted(market.stamps, now_ms, side="right"))
    if 0 < n < len(market.stamps):
        return max(1, round(int(market.stamps[n] - market.stamps[n - 1]) / 3_600_000))
    return FUNDING_MS // 3_600_000
