"""Orders that rest in one market, and whom an incoming one meets: exact prices here, ticks and lots in the queues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple

from qframe_rl.book import state
from qframe_rl.rehearsal.book import BUY, SELL, Level
from qframe_rl.rehearsal.decimals import ZERO, floored, raised, steps
from qframe_rl.rehearsal.market import ListedMarket
from qframe_rl.rehearsal.order import Order
from qframe_rl.rehearsal.queues import NOBODY, OrderQueues, QueuedOrder


class Offer(NamedTuple):
    """Something that an incoming order meets."""

    price: Decimal
    quantity: Decimal
    maker: Order | None
    """The resting order behind it; None = the synthetic book."""


class RestingBook:
    """Both sides of one market.

    Parameters
    ----------
    market
        The market.
    """

    def __init__(self, market: ListedMarket):
        self.tick, self.lot = market.tick, market.lot
        self._sides = {BUY: OrderQueues(state.BUY), SELL: OrderQueues(state.SELL)}
        self._orders: dict[int, Order] = {}
        self._owners: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._orders)

    def __contains__(self, order: Order) -> bool:
        return self._orders.get(order.turn) is order

    def __iter__(self) -> Iterator[Order]:
        """Bids, then asks, the best first."""
        return (order for side in (BUY, SELL) for order in self.line(side))

    def line(self, side: str) -> Iterator[Order]:
        """Orders of a side, the best first, as they stand when the first is asked for."""
        return iter([self._orders[turn] for turn in self._sides[side]])

    def at(self, price: Decimal) -> list[Order]:
        """Orders at a price: bids, then asks, the oldest first."""
        tick = price / self.tick
        if tick != int(tick):
            return []
        return [self._orders[turn] for side in (BUY, SELL) for turn in self._sides[side].at(int(tick))]

    def best(self, side: str) -> Decimal | None:
        """The best price of a side; None where nothing rests."""
        tick = self._sides[side].best()
        return None if tick is None else tick * self.tick

    def depth(self, side: str) -> list[Level]:
        """What rests on a side in all, the best first."""
        return [Level(tick * self.tick, lots * self.lot) for tick, lots in self._sides[side].depth()]

    def rest(self, order: Order) -> None:
        """Let an order wait for the price, behind those of its price whose turn was before."""
        owner = self._owners.setdefault(order.account.key, len(self._owners) + 1)
        lots = steps(order.remaining, self.lot)
        self._sides[order.side].enter(QueuedOrder(order.turn, self._tick(order), lots, owner))
        self._orders[order.turn] = order

    def withdraw(self, order: Order) -> None:
        """Let an order rest no more, if it does."""
        if self._orders.pop(order.turn, None) is not None:
            self._sides[order.side].leave(self._tick(order), order.turn)

    def lessened(self, order: Order) -> None:
        """Less of an order is left; where it rests it keeps its place."""
        if order.turn in self._orders and order.remaining > 0:
            self._sides[order.side].lessen(self._tick(order), order.turn, steps(order.remaining, self.lot))
        else:
            self.withdraw(order)

    def met(self, order: Order, lots: int, outside: Iterable[Level], *, own: bool = True) -> list[Offer]:
        """What an order of some lots would take, the best first; nothing is changed.

        Parameters
        ----------
        order
            Its side, limit and account count.
        lots
            What it wants.
        outside
            The synthetic book that it meets, the best first.
        own
            Whether orders of its own account are met with quantity 0, and not as those of others.
        """
        rounded = raised if order.buys else floored
        laid: list[Level] = []
        rows: list[tuple[int, int]] = []
        enough = lots
        for level in outside:
            # A price between two ticks comes before everybody at the next worse one.
            tick = steps(rounded(level.price, self.tick), self.tick)
            laid.append(level)
            rows.append((tick, steps(level.quantity, self.lot)))
            enough -= rows[-1][1]
            if enough <= 0:
                break
        bound = None if order.limit is None else self._tick(order)
        owner = self._owners.get(order.account.key, NOBODY) if own else NOBODY
        offers = []
        for turn, traded in self._sides[SELL if order.buys else BUY].met(bound, lots, owner, rows):
            maker = self._orders.get(turn)
            price = laid[turn].price if maker is None else maker.limit or ZERO
            offers.append(Offer(price, max(traded, 0) * self.lot, maker))
        return offers

    def _tick(self, order: Order) -> int:
        assert order.limit is not None
        return steps(order.limit, self.tick)
