"""Orders at rest in sorted lists of exact numbers, and a loop over them: price, then time, without the core."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from decimal import Decimal

from qframe_rl.rehearsal.book import BUY, SELL, Level
from qframe_rl.rehearsal.decimals import ZERO
from qframe_rl.rehearsal.market import ListedMarket
from qframe_rl.rehearsal.order import Order
from qframe_rl.rehearsal.resting import Offer


class PlainRestingBook:
    """What `qframe_rl.rehearsal.resting.RestingBook` does, in plain words."""

    def __init__(self, market: ListedMarket):
        self.lot = market.lot
        self.sides: dict[str, list[Order]] = {BUY: [], SELL: []}

    def __len__(self) -> int:
        return len(self.sides[BUY]) + len(self.sides[SELL])

    def __iter__(self) -> Iterator[Order]:
        for side in (BUY, SELL):
            yield from list(self.sides[side])

    def line(self, side: str) -> Iterator[Order]:
        return iter(list(self.sides[side]))

    def at(self, price: Decimal) -> list[Order]:
        return [order for side in (BUY, SELL) for order in self.sides[side] if order.limit == price]

    def best(self, side: str) -> Decimal | None:
        return self.sides[side][0].limit if self.sides[side] else None

    def depth(self, side: str) -> list[Level]:
        table: dict[Decimal, Decimal] = {}
        for order in self.sides[side]:
            assert order.limit is not None
            table[order.limit] = table.get(order.limit, ZERO) + order.remaining
        return [Level(price, quantity) for price, quantity in table.items()]

    def rest(self, order: Order) -> None:
        insort(self.sides[order.side], order, key=_rank)

    def withdraw(self, order: Order) -> None:
        if order in self.sides[order.side]:
            self.sides[order.side].remove(order)

    def lessened(self, order: Order) -> None:
        if order.remaining <= 0:
            self.withdraw(order)

    def met(self, order: Order, lots: int, outside: Iterable[Level], *, own: bool = True) -> list[Offer]:
        sign = 1 if order.buys else -1
        rests = [Offer(o.limit or ZERO, o.remaining, o) for o in self.sides[SELL if order.buys else BUY]]
        made = [Offer(price, quantity, None) for price, quantity in outside]
        found, left = [], lots * self.lot
        for offer in sorted([*made, *rests], key=lambda offer: sign * offer.price):
            if not fits(order, offer.price) or left <= 0:
                break
            mine = own and offer.maker is not None and offer.maker.account is order.account
            quantity = ZERO if mine else min(offer.quantity, left)
            left -= quantity
            found.append(offer._replace(quantity=quantity))
        return found


def fits(order: Order, price: Decimal) -> bool:
    """Whether an order's limit allows a price."""
    if order.limit is None:
        return True
    return price <= order.limit if order.buys else price >= order.limit


def _rank(order: Order) -> tuple[Decimal, int]:
    assert order.limit is not None
    return (-order.limit if order.buys else order.limit, order.turn)
