"""Market data that both wires give out, each in its own keys: candles, trades, the day's figures, depth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from qframe_rl.rehearsal import errors
from qframe_rl.rehearsal.book import Level
from qframe_rl.rehearsal.candles import INTERVALS, Candle, candles, latest
from qframe_rl.rehearsal.decimals import ZERO, exact, float_text, money, text
from qframe_rl.rehearsal.market import SPOT, ListedMarket
from qframe_rl.rehearsal.path import Print
from qframe_rl.rehearsal.place import Place
from qframe_rl.rehearsal.tape import MarketTape
from qframe_rl.rehearsal.wire.call import Call, Json
from qframe_rl.types import CLOSE, HIGH, LOW, OPEN, VOLUME

DAY_MS = 86_400_000
_FAR = 2**62


def kline_rows(call: Call, tape: MarketTape, most: int, default: int = 500) -> list[list[Json]]:
    """Candles in a request's span."""
    interval = call.text("interval")
    if interval not in INTERVALS or (interval == "1s" and call.wire != SPOT):
        raise errors.Refused(-1120, "Invalid interval.")
    limit = call.limit(default, most)
    until = call.whole("endTime", _FAR)
    if "startTime" in call.params:
        found = candles(tape, interval, call.whole("startTime"), until, limit, call.now)
    else:
        found = latest(tape, interval, until, limit, call.now)
    return [kline_row(tape.market, candle) for candle in found]


def kline_row(market: ListedMarket, candle: Candle) -> list[Json]:
    """One candle as REST writes it."""
    digits, size = market.price_digits, market.quantity_digits
    prices = [float_text(x, digits) for x in (candle.open, candle.high, candle.low, candle.close)]
    quote = quote_volume(candle)
    volume = float_text(candle.volume, size)
    half = f"{candle.volume / 2:.{size}f}", f"{quote / 2:.8f}"
    return [candle.open_ms, *prices, volume, candle.end_ms - 1, f"{quote:.8f}", candle.trades, *half, "0"]


def quote_volume(candle: Candle) -> float:
    """Turnover of a candle: its volume at the mean of its four prices."""
    return candle.volume * (candle.open + candle.high + candle.low + candle.close) / 4.0


class Span(NamedTuple):
    """Figures of some time up to now, counted from its trades."""

    open: float
    high: float
    low: float
    close: float
    before: float
    """Last price before it."""
    volume: float
    quote: float
    since_ms: int
    first_id: int
    """-1 where nothing was traded."""
    last: Print
    """The last trade there was."""
    trades: int


def day(place: Place, now_ms: int) -> Span:
    """The last 24 hours."""
    return span(place, now_ms - DAY_MS, now_ms)


def span(place: Place, since_ms: int, now_ms: int) -> Span:
    """Count what was traded from a moment on: trades of the bars that are cut, and the bars between them."""
    tape, market = place.tape, place.market
    row, n = tape.last(now_ms)
    last = last_print(tape, now_ms)
    first = int(np.searchsorted(market.opens, since_ms))
    cut = tape.prints(first - 1) if 0 < first <= row else ()
    head = [p for p in cut if p.time >= since_ms]
    tail = [p for p in tape.prints(row)[: n + 1] if p.time >= since_ms]
    whole = market.values[first : max(0, row)]
    before = _before(place, first, since_ms)
    if not head and not tail and not len(whole):
        price = float(last.price)
        return Span(price, price, price, price, before, 0.0, 0.0, since_ms, -1, last, 0)
    told = head + tail
    prices = [float(p.price) for p in told]
    high = max([*prices, *whole[:, HIGH].tolist()])
    low = min([*prices, *whole[:, LOW].tolist()])
    volume = round(float(sum(p.quantity for p in told)) + float(whole[:, VOLUME].sum()), 8)
    quote = float(sum(p.quantity * p.price for p in told))
    quote += float((whole[:, VOLUME] * whole[:, OPEN : CLOSE + 1].mean(axis=1)).sum())
    opening = float(head[0].price if head else whole[0, OPEN] if len(whole) else tail[0].price)
    number = head[0].id if head else tape.first_id(first) if len(whole) else tail[0].id
    count = len(told) + tape.count(first, first + len(whole))
    return Span(opening, high, low, float(last.price), before, volume, quote, since_ms, number, last, count)


def last_print(tape: MarketTape, now_ms: int) -> Print:
    """The last trade up to a moment; before the first one, a trade of nothing at the first price there is."""
    row, n = tape.last(now_ms)
    if row >= 0:
        return tape.prints(row)[n]
    return Print(tape.market.first_ms, exact(tape.market.values[0, OPEN]), ZERO, True, 0)


def _before(place: Place, first: int, since_ms: int) -> float:
    """Last price before a moment, at or after which bar ``first`` opens; the first price there is where it is none."""
    if first == 0:
        return float(place.market.values[0, OPEN])
    told = [p for p in place.tape.prints(first - 1) if p.time < since_ms]
    if told:
        return float(told[-1].price)
    return float(place.market.values[max(0, first - 2), CLOSE])


_WINDOW = re.compile(r"^([1-9][0-9]?)([mhd])$")
_UNITS = {"m": (60_000, 59), "h": (3_600_000, 23), "d": (DAY_MS, 7)}


def window_of(call: Call) -> int:
    """Length of a rolling window, ms."""
    found = _WINDOW.match(call.text("windowSize", "1d"))
    if found is not None:
        length, most = _UNITS[found[2]]
        if int(found[1]) <= most:
            return length * int(found[1])
    raise errors.illegal("windowSize", "1m-59m, 1h-23h, 1d-7d")


def midnight_of(call: Call) -> int:
    """Begin of the day of a time zone such as ``-3`` or ``5:45``, ms."""
    zone = call.text("timeZone", "0")
    found = re.match(r"^([+-]?)([0-9]{1,2})(?::([0-9]{2}))?$", zone)
    if found is None or int(found[2]) > 14:
        raise errors.illegal("timeZone", "[-12:00,+14:00]")
    offset = (int(found[2]) * 60 + int(found[3] or 0)) * 60_000 * (-1 if found[1] == "-" else 1)
    return (call.now + offset) // DAY_MS * DAY_MS - offset


def historical(call: Call, tape: MarketTape) -> list[Print]:
    """Trades from a number on, or the last ones."""
    if "fromId" not in call.params:
        return last_trades(call, tape)
    return list(islice(by_number(tape, call.whole("fromId"), call.now), call.limit(500, 1000)))


def recent(tape: MarketTape, now_ms: int) -> Iterator[Print]:
    """Trades up to a moment, the latest first."""
    last, n = tape.last(now_ms)
    for row in range(last, -1, -1):
        told = tape.prints(row)
        yield from reversed(told[: n + 1] if row == last else told)


def by_number(tape: MarketTape, number: int, now_ms: int) -> Iterator[Print]:
    """Trades from one number on, up to a moment."""
    for row in range(tape.row_of(number), len(tape.market.opens)):
        for one in tape.prints(row):
            if one.time > now_ms:
                return
            if one.id >= number:
                yield one


def by_time(tape: MarketTape, since_ms: int, until_ms: int) -> Iterator[Print]:
    """Trades of a span, both ends included."""
    start = int(np.searchsorted(tape.market.opens, since_ms, side="right")) - 1
    for row in range(max(0, start), len(tape.market.opens)):
        for one in tape.prints(row):
            if one.time > until_ms:
                return
            if one.time >= since_ms:
                yield one


def wanted_trades(call: Call, tape: MarketTape) -> list[Print]:
    """Trades that a request for aggregate trades asks for."""
    limit = call.limit(500, 1000)
    if "fromId" in call.params:
        return list(islice(by_number(tape, call.whole("fromId"), call.now), limit))
    if "startTime" in call.params:
        until = min(call.whole("endTime", _FAR), call.now)
        return list(islice(by_time(tape, call.whole("startTime"), until), limit))
    until = min(call.whole("endTime", call.now), call.now)
    return list(islice(recent(tape, until), limit))[::-1]


def last_trades(call: Call, tape: MarketTape) -> list[Print]:
    """The last trades, the oldest first."""
    return list(islice(recent(tape, call.now), call.limit(500, 1000)))[::-1]


def agg_trade(market: ListedMarket, one: Print) -> Json:
    """One aggregate trade; only spot says ``M``."""
    row = {
        "a": one.id,
        "p": text(one.price, market.price_digits),
        "q": text(one.quantity, market.quantity_digits),
        "f": one.id,
        "l": one.id,
        "T": one.time,
        "m": not one.buying,
    }
    return row | {"M": True} if market.wire == SPOT else row


def trade(market: ListedMarket, one: Print) -> Json:
    """One trade; only spot says ``isBestMatch``."""
    row = {
        "id": one.id,
        "price": text(one.price, market.price_digits),
        "qty": text(one.quantity, market.quantity_digits),
        "quoteQty": text(money(one.price * one.quantity), 8 if market.wire == SPOT else 2),
        "time": one.time,
        "isBuyerMaker": not one.buying,
    }
    return row | {"isBestMatch": True} if market.wire == SPOT else row


def pairs(market: ListedMarket, levels: list[Level], limit: int | None = None) -> list[list[str]]:
    """Levels as pairs of texts."""
    return [
        [text(price, market.price_digits), text(quantity, market.quantity_digits)] for price, quantity in levels[:limit]
    ]


def best(market: ListedMarket, levels: list[Level]) -> list[str]:
    """Best level of a side; zeros where it is empty."""
    if levels:
        return pairs(market, levels, 1)[0]
    return [f"{0:.{market.price_digits}f}", f"{0:.{market.quantity_digits}f}"]
