"""The walk of a price inside a bar: the trades that a recorded bar is told with.

A bar that closed at or above its open walks open, low, high, close; one that closed below walks open, high, low, close.
The first trade is at the open price in the bar's first millisecond, the last at the close price in its last one. What
a client counts together is the recorded bar: the same four prices, and the same volume to the last digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from qframe_rl.rehearsal.decimals import ZERO, exact, nearest
from qframe_rl.rehearsal.market import ListedMarket

MIN_PRINTS = 4


class Print(NamedTuple):
    """One trade of the market."""

    time: int
    """ms UTC."""
    price: Decimal
    quantity: Decimal
    buying: bool
    """Whether the taker bought."""
    id: int
    """Number of the trade in its market."""


def prints(market: ListedMarket, row: int, n_prints: int) -> tuple[Print, ...]:
    """Trades of bar ``row``: ``n_prints`` of them, or none if nothing was traded and the price stood still."""
    o, h, low, c, volume = (exact(x) for x in market.values[row].tolist())
    if volume == 0 and o == h == low == c:
        return ()
    prices = _prices(_corners(o, h, low, c), n_prints, market.tick)
    quantities = _quantities(volume, n_prints, market.lot)
    start, length = int(market.opens[row]), market.bar_ms - 1
    told, before = [], o
    for n, (price, quantity) in enumerate(zip(prices, quantities, strict=True)):
        time = start + length * n // (n_prints - 1)
        told.append(Print(time, price, quantity, price >= before, row * n_prints + n + 1))
        before = price
    return tuple(told)


def _corners(o: Decimal, h: Decimal, low: Decimal, c: Decimal) -> tuple[Decimal, ...]:
    return (o, low, h, c) if c >= o else (o, h, low, c)


def _prices(corners: Sequence[Decimal], n_prints: int, tick: Decimal) -> list[Decimal]:
    """Prices on the way from corner to corner; the corners themselves are met exactly."""
    first = max(1, (n_prints - 1) // 3)
    stops = (0, first, max(first + 1, 2 * (n_prints - 1) // 3), n_prints - 1)
    low, high = min(corners), max(corners)
    way = [corners[0]]
    for leg in range(3):
        begin, end = corners[leg], corners[leg + 1]
        length = stops[leg + 1] - stops[leg]
        way += [min(max(nearest(begin + (end - begin) * n / length, tick), low), high) for n in range(1, length)]
        way.append(end)
    return way


def _quantities(volume: Decimal, n_prints: int, lot: Decimal) -> list[Decimal]:
    """Equal shares in whole lots where the volume allows it; the last takes what is left."""
    share = volume / n_prints
    step = lot if share >= lot else Decimal(1).scaleb(min(-8, share.adjusted() - 2) if share else -8)
    share = (share / step).to_integral_value(ROUND_DOWN) * step
    return [share] * (n_prints - 1) + [volume - share * (n_prints - 1)] if volume else [ZERO] * n_prints
