"""Filling against an order book: what an order would have paid when it was decided, settled by the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from qframe_rl.feeds.rows import AMOUNT, PRICE
from qframe_rl.journal.codec import Plain, array, numbers, packed, unpacked
from qframe_rl.kernel.rules import HALF_SPREAD, IMPACT, VOLUME_SHARE, Rules, changed
from qframe_rl.kernel.settle import settle
from qframe_rl.orders import alone, is_plain
from qframe_rl.types import CLOSE, OPEN, VOLUME, Account, Bar, Fills, Float, Instrument, Orders
from qframe_rl.venues.simulated import SimulatedVenue


class Book(NamedTuple):
    """One instrument's order book at one moment."""

    time: int
    """By the exchange's clock, ns UTC; by the local one where it states none."""
    bids: Float
    """(N, 2) price and base units, best first."""
    asks: Float
    """(N, 2) price and base units, best first."""

    @property
    def mid(self) -> float:
        """Middle of best bid and ask; NaN if a side is empty."""
        if not len(self.bids) or not len(self.asks):
            return float("nan")
        return float((self.bids[0, PRICE] + self.asks[0, PRICE]) / 2.0)

    def walk(self, quantity: float, limit: float = np.nan) -> tuple[float, float]:
        """Take ``quantity`` (signed base units) from the book, no further than ``limit``.

        Returns
        -------
        tuple[float, float]
            Average price, and base units there were up to the quantity; zeros if none.
        """
        levels = self.asks if quantity > 0.0 else self.bids
        if not np.isnan(limit):
            levels = levels[levels[:, PRICE] <= limit] if quantity > 0.0 else levels[levels[:, PRICE] >= limit]
        before = np.cumsum(levels[:, AMOUNT]) - levels[:, AMOUNT]
        taken = np.clip(abs(quantity) - before, 0.0, levels[:, AMOUNT])
        depth = float(taken.sum())
        return (float((taken * levels[:, PRICE]).sum()) / depth, depth) if depth > 0.0 else (0.0, 0.0)


class TwinVenue:
    """One account whose orders are filled by the order book or by the rule for bars, and priced by the other as well.

    By the book, a market order fills at the average price of the levels it reaches, as far as they go; the rest is
    cancelled. So does a limit order that the book crosses, up to its limit; one that it does not cross rests and fills
    by the rule for bars. Without a book nothing fills. Stops are of bars. The average is that of the whole order, also
    where the margin cuts it: a cut order pays a little more than it would have. Money is settled by the kernel either
    way: for the book it meets a bar that opens at the book's average price, with the book's depth as its volume.

    Parameters
    ----------
    rules
        The market rules; their half-spread, impact and volume share do not bind the book.
    cash
        Quote currency at the start.
    by_book
        Whether the book's fills count.
    """

    def __init__(self, rules: Rules, cash: float, *, by_book: bool):
        table = rules.table.copy()
        table[:, [HALF_SPREAD, IMPACT]] = 0.0
        table[:, VOLUME_SHARE] = 1.0
        bare = replace(rules, table=table)
        n = len(table)
        self.by_book = by_book
        self.other: Fills | None = None
        """What the other rule made of the last bar; None before the first."""
        self._venue = SimulatedVenue(bare if by_book else rules, cash)
        self._other_rules = rules if by_book else bare
        self._books: Sequence[Book | None] = [None] * n
        self._orders = Orders.market(np.zeros(n))
        self._offers = np.zeros((n, 2))
        self._tradable = np.zeros(n, dtype=np.bool_)
        self._several = False

    @property
    def account(self) -> Account:
        """The account now."""
        return self._venue.account

    @property
    def terminated(self) -> bool:
        """Whether the account was liquidated or ruined."""
        return self._venue.terminated

    @property
    def resting(self) -> Orders | None:
        """What stands in slots: where the rule for bars counts."""
        return self._venue.resting

    def carried(self) -> Plain:
        """The account between two bars, as JSON."""
        return {"venue": self._venue.carried(), "tradable": packed(self._tradable)}

    def carry(self, memory: Plain) -> None:
        """Take over what `carried` returned."""
        self._venue.carry(memory["venue"])
        self._tradable = unpacked(memory["tradable"])

    def transfer(self, units: int) -> str:
        """Pay units in or out, as `SimulatedVenue.transfer`."""
        return self._venue.transfer(units)

    def adopt(self, a: int | None, units: int) -> str:
        """Take in, or give up, as `SimulatedVenue.adopt`."""
        return self._venue.adopt(a, units)

    def rule(self, instruments: tuple[Instrument, ...]) -> None:
        """Fill by what the exchange now states of the instruments."""
        self._venue.rule(instruments)
        self._other_rules = changed(self._other_rules, instruments)

    def quote(self, books: Sequence[Book | None]) -> None:
        """Set the books that the next orders meet; None where there is none."""
        self._books = books

    def submit(self, orders: Orders) -> None:
        """Take the orders, and from the books what they would get; of several per instrument books say nothing.

        Raises
        ------
        UserError
            For several orders per instrument, or those that may rest, where the books' fills count.
        """
        self._several = not is_plain(orders)
        if self._several:
            if self.by_book:
                alone(orders, "a session filled by order books")
            self._venue.submit(orders)
            return
        self._orders = orders._replace(quantity=np.where(self._tradable, orders.quantity, 0.0))
        self._offers = np.zeros_like(self._offers)
        for a, book in enumerate(self._books):
            if orders.quantity[a] != 0.0 and book is not None:
                self._offers[a] = book.walk(float(orders.quantity[a]), float(orders.limit[a]))
        self._books = [None] * len(self._offers)
        self._venue.submit(orders)

    def advance(self, bar: Bar) -> Fills:
        """Settle one closed bar, and see what the other rule would have made of it."""
        if self._several:
            self.other, self._tradable = None, ~np.isnan(bar.values[:, CLOSE])
            return self._venue.advance(bar)
        quoted = self._quoted(bar)
        before = self._venue.account
        fills = self._venue.advance(quoted if self.by_book else bar)
        _, self.other = settle(before, self._orders, bar if self.by_book else quoted, self._other_rules)
        self._orders = Orders.market(np.zeros(len(self._offers)))
        self._tradable = ~np.isnan(bar.values[:, CLOSE])
        return fills

    def sides(self, fills: Fills) -> tuple[Fills, Fills]:
        """What the books gave and what the rule for bars gave, where ``fills`` are those that count."""
        other = fills if self.other is None else self.other
        return (fills, other) if self.by_book else (other, fills)

    def _quoted(self, bar: Bar) -> Bar:
        """The bar as it would be if it began with what the books offered."""
        values = bar.values.copy()
        plain = np.isnan(self._orders.limit) & np.isnan(self._orders.stop)
        offered = self._offers[:, AMOUNT] > 0.0
        met = (self._orders.quantity != 0.0) & (plain | offered) & ~np.isnan(values[:, CLOSE])
        values[met, VOLUME] = self._offers[met, AMOUNT]
        values[met & offered, OPEN] = self._offers[met & offered, PRICE]
        return bar._replace(values=values)


class Drift:
    """How much more real books cost than the rule for bars says, on orders that both filled."""

    def __init__(self, n_instruments: int):
        self.n_fills = 0
        self._cost = self._notional = 0.0
        self.last_bps = np.full(n_instruments, np.nan)
        """(A,) on the last bar, basis points; NaN where not both filled."""

    def carried(self) -> Plain:
        """The sums so far, as JSON."""
        return {"fills": self.n_fills, "cost": self._cost, "notional": self._notional, "last": numbers(self.last_bps)}

    def carry(self, memory: Plain) -> None:
        """Take over what `carried` returned."""
        self.n_fills, self._cost, self._notional = memory["fills"], memory["cost"], memory["notional"]
        self.last_bps = array(memory["last"])

    @property
    def mean_bps(self) -> float | None:
        """Mean over all fills, weighted by notional, basis points; None before the first."""
        return None if self._notional == 0.0 else self._cost / self._notional * 1e4

    def add(self, book: Fills, bar: Fills) -> None:
        """Count one bar."""
        both = (book.quantity * bar.quantity) > 0.0
        worse = np.sign(bar.quantity) * (book.price - bar.price)
        self.last_bps = np.divide(worse * 1e4, bar.price, out=np.full_like(worse, np.nan), where=both)
        self.n_fills += int(both.sum())
        size = np.abs(bar.quantity[both])
        self._cost += float((size * worse[both]).sum())
        self._notional += float((size * bar.price[both]).sum())
