"""Small accounts for cases worked by hand; numbers are written as text, so that they are what they look like."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tests.oracle.bar import settle
from tests.oracle.grids import ZERO
from tests.oracle.records import Candle, Listing, Order, Outcome, Rulebook, State

Number = str | int


def d(number: Number) -> Decimal:
    return Decimal(number)


def listing(**numbers: Any) -> Listing:
    """An instrument: lot, tick, min_amount, min_notional, fees and maintenance as text; flags as they are."""
    return Listing(**{name: d(n) if isinstance(n, str) else n for name, n in numbers.items()})


def rules(*listings: Listing, **numbers: Any) -> Rulebook:
    """The rules of an account; all volume can be traded unless told otherwise."""
    given = {"volume_share": "1", **numbers}
    return Rulebook(listings, **{name: d(n) if isinstance(n, str) else n for name, n in given.items()})


def spot(*listings: Listing, **numbers: Any) -> Rulebook:
    return rules(*listings, **numbers)


def margin(*listings: Listing, leverage: str = "10", **numbers: Any) -> Rulebook:
    """An account that may be short."""
    return rules(*listings, leverage=leverage, short=True, **numbers)


def candle(prices: str, volume: Number = 10_000, due: Number = 0, last: bool = False) -> Candle:
    """Open, high, low and close, separated by spaces."""
    return Candle(*map(d, prices.split()), d(volume), d(due), last)


def halted(due: Number = 0, last: bool = False) -> Candle:
    """A bar in which the instrument did not trade."""
    return Candle(due=d(due), last=last)


def order(quantity: Number, limit: Number | None = None, stop: Number | None = None) -> Order:
    return Order(d(quantity), None if limit is None else d(limit), None if stop is None else d(stop))


NOTHING = order(0)


def run(
    book: Rulebook,
    cash: Number,
    orders: Sequence[Order],
    candles: Sequence[Candle],
    held: Sequence[Number] = (),
    marks: Sequence[Number] = (),
    rate: Number = 0,
    on_way: Number = 0,
    wait: int = 0,
) -> Outcome:
    """One bar; without ``held`` nothing is held, without ``marks`` the mark is 100."""
    n = len(book.listings)
    position = [d(h) for h in held] or [ZERO] * n
    mark: list[Decimal | None] = [d(m) for m in marks] or [d(100)] * n
    return settle(book, State(d(cash), position, mark, d(on_way), wait), tuple(orders), tuple(candles), d(rate))


def near(a: Decimal, b: Number, within: Number = "1e-9") -> bool:
    """Whether two numbers are as good as equal: sums that were taken on the safe side of a bound."""
    return abs(a - d(b)) <= d(within) * max(1, abs(d(b)))


PLAIN, OWNED = listing(), listing(owned=True)
CALM = candle("100 101 99 100")
CRASH = candle("100 100.5 90 91")
TWENTY = margin(PLAIN, leverage="20", liquidation_fee="0.01")
LONG = {"held": [200], "marks": [100]}
"""200 at 100, with cash of -19000 an equity of 1000: at 95 all is lost."""
