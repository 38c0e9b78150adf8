"""Candles of any interval: closed ones from the recorded bars, the open one and finer ones from the trades."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from qframe_rl.rehearsal.path import Print
from qframe_rl.rehearsal.tape import MarketTape
from qframe_rl.types import CLOSE, HIGH, LOW, OPEN, VOLUME, Float, Int

_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
INTERVALS = {
    "1s": 1_000, "1m": _MINUTE, "3m": 3 * _MINUTE, "5m": 5 * _MINUTE, "15m": 15 * _MINUTE, "30m": 30 * _MINUTE,
    "1h": _HOUR, "2h": 2 * _HOUR, "4h": 4 * _HOUR, "6h": 6 * _HOUR, "8h": 8 * _HOUR, "12h": 12 * _HOUR,
    "1d": _DAY, "3d": 3 * _DAY, "1w": 7 * _DAY, "1M": 0,
}  # fmt: skip
"""Binance's intervals in ms; a month has no fixed length."""
# Binance's weeks begin on Mondays; the epoch was a Thursday.
_MONDAY = 4 * _DAY


class Candle(NamedTuple):
    """One candle; times are ms UTC."""

    open_ms: int
    end_ms: int
    """Open of the next one."""
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int
    first_id: int


def start_of(interval: str, time_ms: int) -> int:
    """Open of the candle that a moment lies in."""
    if interval == "1M":
        month = datetime.fromtimestamp(time_ms / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return int(month.timestamp()) * 1000
    offset = _MONDAY if interval == "1w" else 0
    return (time_ms - offset) // INTERVALS[interval] * INTERVALS[interval] + offset


def end_of(interval: str, open_ms: int) -> int:
    """Open of the candle after the one that opens at ``open_ms``."""
    return start_of(interval, open_ms + 32 * _DAY) if interval == "1M" else open_ms + INTERVALS[interval]


def candles(tape: MarketTape, interval: str, since_ms: int, until_ms: int, limit: int, now_ms: int) -> list[Candle]:
    """Candles that open in a span, the first ``limit`` of them.

    Parameters
    ----------
    tape
        The market.
    interval
        Name as on the wire.
    since_ms, until_ms
        First and last open, both included.
    limit
        Most candles.
    now_ms
        The moment of asking; a candle that is open then is told by the trades so far.
    """
    since = max(since_ms, start_of(interval, tape.market.first_ms))
    first = start_of(interval, since)
    first = first if first >= since else end_of(interval, first)
    until = min(until_ms, now_ms)
    if first > until:
        return []
    if interval != "1M" and INTERVALS[interval] < tape.market.bar_ms:
        return _fine(tape, interval, first, until, limit, now_ms)
    return _coarse(tape, interval, first, until, limit, now_ms)


def latest(tape: MarketTape, interval: str, until_ms: int, limit: int, now_ms: int) -> list[Candle]:
    """The last ``limit`` candles that open at or before ``until_ms``, in the order of time."""
    until = min(until_ms, now_ms)
    length = INTERVALS[interval] or 31 * _DAY
    reach = limit
    while True:
        since = start_of(interval, until) - length * reach
        found = candles(tape, interval, since, until, reach + 2, now_ms)
        if len(found) >= limit or since <= tape.market.first_ms:
            return found[-limit:]
        reach *= 4


def _coarse(tape: MarketTape, interval: str, first: int, until: int, limit: int, now_ms: int) -> list[Candle]:
    """Candles of whole recorded bars."""
    market = tape.market
    length = INTERVALS[interval] or 31 * _DAY
    begin = int(np.searchsorted(market.opens, first))
    # More bars than `limit` candles can need; gaps make them fewer, so the span is cut by rows and not by time.
    rows = (limit + 1) * max(1, length // market.bar_ms)
    last = int(np.searchsorted(market.opens, min(until + length, now_ms), side="right"))
    stop = min(begin + rows, last)
    opens = market.opens[begin:stop]
    values = market.values[begin:stop]
    if len(opens) and int(opens[-1]) + market.bar_ms > now_ms:
        values = values.copy()
        values[-1] = _so_far(tape, stop - 1, now_ms)
    made = _plain(tape, opens, values) if length == market.bar_ms else _grouped(tape, interval, opens, values)
    return [c for c in made if c.open_ms <= until][:limit]


def _so_far(tape: MarketTape, row: int, now_ms: int) -> Float:
    told = [p for p in tape.prints(row) if p.time <= now_ms]
    return _counted(told) if told else np.append(np.full(4, tape.market.values[row, OPEN]), 0.0)


def _counted(told: list[Print]) -> Float:
    """(5,) a bar counted from trades."""
    price = [float(p.price) for p in told]
    return np.array([price[0], max(price), min(price), price[-1], float(sum(p.quantity for p in told))])


def _five(row: Float) -> tuple[float, float, float, float, float]:
    o, h, low, c, v = row.tolist()
    return o, h, low, c, v


def _plain(tape: MarketTape, opens: Int, values: Float) -> list[Candle]:
    length = tape.market.bar_ms
    start = int(np.searchsorted(tape.market.opens, opens[0])) if len(opens) else 0
    return [
        Candle(time, time + length, o, h, low, c, v, tape.count(start + k, start + k + 1), tape.first_id(start + k))
        for k, (time, (o, h, low, c, v)) in enumerate(zip(opens.tolist(), values.tolist(), strict=True))
    ]


def _grouped(tape: MarketTape, interval: str, opens: Int, values: Float) -> list[Candle]:
    if len(opens) == 0:
        return []
    groups = np.array([start_of(interval, int(t)) for t in opens])
    heads = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))
    counts = np.diff(np.append(heads, len(opens)))
    columns = [
        values[heads, OPEN],
        np.maximum.reduceat(values[:, HIGH], heads),
        np.minimum.reduceat(values[:, LOW], heads),
        values[np.append(heads[1:], len(opens)) - 1, CLOSE],
        np.round(np.add.reduceat(values[:, VOLUME], heads), 8),
    ]
    first = int(np.searchsorted(tape.market.opens, opens[0]))
    return [
        Candle(
            int(groups[head]),
            end_of(interval, int(groups[head])),
            *_five(row),
            tape.count(first + int(head), first + int(head + count)),
            tape.first_id(first + int(head)),
        )
        for head, count, row in zip(heads, counts, np.column_stack(columns), strict=True)
    ]


def _fine(tape: MarketTape, interval: str, first: int, until: int, limit: int, now_ms: int) -> list[Candle]:
    """Candles shorter than a recorded bar; where nothing traded, one stands at the last price."""
    made: list[Candle] = []
    length, market = INTERVALS[interval], tape.market
    time = first
    while time <= until and len(made) < limit:
        row = market.row_at(time)
        if row < 0:
            following = int(np.searchsorted(market.opens, time))
            if following == len(market.opens):
                break
            time = int(market.opens[following])
            continue
        made.append(_slice(tape, row, time, length, now_ms))
        time += length
    return made


def _slice(tape: MarketTape, row: int, time: int, length: int, now_ms: int) -> Candle:
    told = tape.prints(row)
    inside = [p for p in told if time <= p.time < time + length and p.time <= now_ms]
    if inside:
        return Candle(time, time + length, *_five(_counted(inside)), len(inside), inside[0].id)
    before = [p for p in told if p.time < time]
    price = float(before[-1].price) if before else float(tape.market.values[row, OPEN])
    return Candle(time, time + length, price, price, price, price, 0.0, 0, -1)
