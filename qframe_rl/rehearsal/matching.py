"""The matching engine of one market: orders of clients, against the synthetic book and each other.

Who meets whom is the core's to say (`qframe_rl.rehearsal.queues`); here is what the venue makes of it: what may rest,
what ends and how, whose wallet pays, and what is told.

Resting orders meet the walking price. They fill when the market trades *through* their price, at their price, as in the
backtest's kernel; at exactly their price only the configured share of each trade is theirs. What a client takes from
the synthetic book is gone until the market's next trade. Client fills are not printed on the public tape: the market
is the recorded one, whatever the clients do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from decimal import Decimal

from qframe_rl.book.state import MOST_ORDER_LOTS
from qframe_rl.rehearsal import errors, pairs
from qframe_rl.rehearsal.book import BUY, SELL, BookInputs, Level, levels
from qframe_rl.rehearsal.config import RehearsalConfig
from qframe_rl.rehearsal.decimals import ZERO, exact, floored, money, steps
from qframe_rl.rehearsal.market import SPOT, ListedMarket
from qframe_rl.rehearsal.order import (
    CANCELED,
    EXPIRED,
    EXPIRED_IN_MATCH,
    FILLED,
    NEW,
    PARTIALLY_FILLED,
    Order,
    Register,
    Trade,
)
from qframe_rl.rehearsal.path import Print
from qframe_rl.rehearsal.resting import Offer, RestingBook
from qframe_rl.types import OPEN, VOLUME

_Crossing = tuple[Decimal, Order, Callable[[], None] | None]


class MatchingEngine:
    """One market's books.

    Parameters
    ----------
    market
        The market.
    config
        Shape of the book, and where market orders fill.
    register
        Numbers and the log.
    """

    def __init__(self, market: ListedMarket, config: RehearsalConfig, register: Register):
        self.market, self.config, self.register = market, config, register
        self.shape = config.shape
        self.price = exact(float(market.values[0, OPEN]))
        """Price of the last trade."""
        self.row = -1
        """Bar that is open; -1 = none, and nobody trades."""
        self.halted = False
        """Prices go on, and no client trades."""
        self.ration: Decimal | None = None
        """Share of an order that may fill at one instant; None = all of it."""
        self.resting = RestingBook(market)
        """Orders that rest."""
        self.waiting: list[tuple[Order, Callable[[], None]]] = []
        """Orders that wait for their trigger price, and what is done then."""
        self.ratio = Decimal(1)
        """Mark price over last price."""
        self._taken = {BUY: ZERO, SELL: ZERO}

    @property
    def mark(self) -> Decimal:
        """Mark price now."""
        return self.price * self.ratio

    @property
    def idle(self) -> bool:
        """Whether no order waits for the price."""
        return not (self.resting or self.waiting)

    def place(self, order: Order) -> None:
        """Accept an order and match it.

        Raises
        ------
        Refused
            If the market is closed, the order would take although it must not, or the wallet does not carry it.
        """
        if self.row < 0 or self.halted:
            raise errors.closed(self.market.wire)
        wallet = order.account.wallet(self.market.wire)
        taking = self.matches(order)
        if order.quantity <= 0:
            raise errors.Refused(-1013, "Filter failure: LOT_SIZE")
        if order.post_only and self.takes(order, taking):
            raise errors.would_take(self.market.wire)
        if order.tif == "FOK" and self.market.wire != SPOT and _sum(taking) < order.quantity:
            raise errors.Refused(
                -5021,
                "Due to the order could not be filled immediately, the FOK order has been rejected. The order will not "
                "be recorded in the order history",
            )
        wallet.admit(order, [Level(o.price, o.quantity) for o in taking])
        self.accept(order)
        self.execute(order, taking)

    def accept(self, order: Order) -> None:
        """Give an order its number and tell of it."""
        order.id = self.register.order_number()
        order.created = order.updated = self.register.now
        order.turn = order.id
        order.account.add(order)
        self.register.tell(NEW, order.account, self.market, order)

    def place_stop(self, order: Order) -> None:
        """Accept an order of the spot wire that waits for its trigger price.

        Raises
        ------
        Refused
            If the market is closed, the price is already met, or the wallet does not carry it.
        """
        if self.row < 0 or self.halted:
            raise errors.closed(self.market.wire)
        if self.triggered(order):
            raise errors.would_trigger(self.market.wire)
        order.account.wallet(self.market.wire).admit(order, [])
        self.accept(order)
        self.wait(order, lambda: self.fire(order))

    def wait(self, order: Order, fire: Callable[[], None]) -> None:
        """Let an order wait for its trigger price."""
        self.waiting.append((order, fire))

    def triggered(self, order: Order, price: Decimal | None = None) -> bool:
        """Whether a trigger price is met at a price, the last one by default."""
        at = self.price if price is None else price
        at = at * self.ratio if order.by_mark else at
        assert order.stop is not None
        return at >= order.stop if order.rises else at <= order.stop

    def fire(self, order: Order) -> None:
        """Match an order of the spot wire whose trigger price was met."""
        if not pairs.goes_on(self, order):
            return
        wallet = order.account.wallet(self.market.wire)
        wallet.release(order)
        order.stop = None
        taking = self.matches(order)
        try:
            wallet.admit(order, [Level(o.price, o.quantity) for o in taking])
        except errors.Refused:
            self.close(order, EXPIRED)
            return
        self.register.tell(NEW, order.account, self.market, order)
        self.execute(order, taking)

    def cancel(self, order: Order) -> None:
        """Take an order out.

        Raises
        ------
        Refused
            If it is not open.
        """
        if not order.is_open:
            raise errors.unknown_order()
        self.close(order, CANCELED)

    def close(self, order: Order, status: str, what: str | None = None) -> None:
        """End an order that did not fill completely."""
        order.status, order.updated = status, self.register.now
        self.resting.withdraw(order)
        self.waiting = [(o, fire) for o, fire in self.waiting if o is not order]
        order.account.wallet(self.market.wire).release(order)
        order.account.settle(order)
        self.register.tell(what or status, order.account, self.market, order)
        pairs.ended(self, order)

    def offers(self, side: str) -> list[Level]:
        """Depth that an order of ``side`` meets: the synthetic book and the resting orders, the best first."""
        other = SELL if side == BUY else BUY
        table: dict[Decimal, Decimal] = {}
        if self.row >= 0:
            for level in levels(self.shape, self._terms(), side, self._taken[side]):
                table[level.price] = table.get(level.price, ZERO) + level.quantity
        for price, quantity in self.resting.depth(other):
            table[price] = table.get(price, ZERO) + quantity
        return [Level(price, table[price]) for price in sorted(table, reverse=side == SELL)]

    def renew(self) -> None:
        """Put back what was taken from the synthetic book."""
        self._taken = {BUY: ZERO, SELL: ZERO}

    def jump(self, print_: Print) -> None:
        """Open a bar: the price is elsewhere at once."""
        self._arrive(print_, jump=True)

    def walk(self, print_: Print) -> None:
        """Go on inside a bar: the price passes everything between the last trade and this one."""
        self._arrive(print_, jump=False)

    def _arrive(self, print_: Print, jump: bool) -> None:
        self.renew()
        target = print_.price
        served: set[int] = set()
        while not self.halted and not self.idle and (crossing := self._crossing(target, served)) is not None:
            at, order, fire = crossing
            self.price = target if jump else at
            if fire is None:
                served.add(order.id)
                self._fill(order, at, self._portion(order), maker=True)
            else:
                self.waiting.remove((order, fire))
                fire()
        self.price = target
        if self.config.touch_share > 0.0 and not self.halted:
            self._touch(print_)

    def _crossing(self, target: Decimal, served: set[int]) -> _Crossing | None:
        """The next order on the way to ``target``: a trigger that is met, or a limit that is traded through."""
        rises = target > self.price
        found: list[_Crossing] = []
        for order, fire in self.waiting:
            if self.triggered(order, target) and order.stop is not None:
                at = order.stop / self.ratio if order.by_mark else order.stop
                found.append((at, order, fire))
        for side, sign in ((BUY, 1), (SELL, -1)):
            best = self._through(side, sign, target, served)
            if best is not None and best.limit is not None:
                found.append((best.limit, best, None))
        if not found:
            return None
        # At one price a trigger is met before a limit is traded through.
        key = (lambda x: (x[0], x[2] is None)) if rises else (lambda x: (-x[0], x[2] is None))
        return min(found, key=key)

    def _through(self, side: str, sign: int, target: Decimal, served: set[int]) -> Order | None:
        """The first order of a side that a trade at ``target`` goes through and that was not served yet."""
        price = self.resting.best(side)
        if price is None or sign * (price - target) <= 0:
            return None
        order = next((o for o in self.resting.line(side) if o.id not in served), None)
        return order if order is not None and sign * ((order.limit or ZERO) - target) > 0 else None

    def _touch(self, print_: Print) -> None:
        """Give resting orders at exactly the traded price their share of the trade, the oldest first."""
        left = floored(print_.quantity * exact(self.config.touch_share), self.market.lot)
        for order in self.resting.at(print_.price):
            if left > 0:
                part = min(left, order.remaining)
                left -= part
                self._fill(order, print_.price, part, maker=True)

    def _portion(self, order: Order) -> Decimal:
        """Quantity that may fill at this instant."""
        if self.ration is None:
            return order.remaining
        return min(order.remaining, max(floored(order.quantity * self.ration, self.market.lot), self.market.lot))

    def execute(self, order: Order, taking: list[Offer]) -> None:
        """Fill an accepted order with what it takes; let the rest rest or expire."""
        whole = order.tif != "FOK" or _sum(taking) >= order.quantity
        for offer in taking if whole else ():
            maker = offer.maker
            if not order.is_open or not order.remaining:
                break
            if maker is not None and maker.account is order.account:
                self.close(maker, EXPIRED_IN_MATCH, "TRADE_PREVENTION")
                continue
            quantity = min(offer.quantity, order.remaining)
            if maker is None:
                self._took(order, offer.price, quantity)
            else:
                self._fill(maker, offer.price, quantity, maker=True)
            self._fill(order, offer.price, quantity, maker=False)
        if not order.is_open:
            return
        if order.limit is None or order.tif in ("IOC", "FOK"):
            self.close(order, EXPIRED)
        else:
            self.rest(order)

    def rest(self, order: Order) -> None:
        """Let an order wait for the price."""
        self.resting.rest(order)

    def takes(self, order: Order, taking: list[Offer]) -> bool:
        """Whether an order that would take so much must not rest if it may not take."""
        return bool(taking)

    def _took(self, order: Order, price: Decimal, quantity: Decimal) -> None:
        """Note what an order took from what is on offer beside other clients."""
        self._taken[order.side] += quantity

    def matches(self, order: Order) -> list[Offer]:
        """What an order would take, the best first; its own account's orders are met with quantity 0."""
        wanted = self._wanted(order)
        return self.resting.met(order, steps(wanted, self.market.lot), self._outside(order, wanted))

    def _wanted(self, order: Order) -> Decimal:
        """Quantity that an order asks for now."""
        if order.quote_quantity > 0:
            order.quantity = self._bought_with(order)
        if order.reduce_only:
            held = abs(order.account.margin.position(self.market).amount)
            return min(order.remaining, held)
        return self._portion(order) if order.limit is not None and order.tif == "GTC" else order.remaining

    def _bought_with(self, order: Order) -> Decimal:
        """Whole lots that a spot market order's amount of quote currency buys or sells."""
        left, quantity = order.quote_quantity, ZERO
        outside = self._outside(order, order.quote_quantity / self.price)
        for offer in self.resting.met(order, MOST_ORDER_LOTS, outside, own=False):
            part = min(offer.quantity, floored(left / offer.price, self.market.lot))
            quantity += part
            left -= part * offer.price
            if part < offer.quantity:
                break
        return quantity

    def _outside(self, order: Order, wanted: Decimal) -> Iterable[Level]:
        """The synthetic book that an order meets, the best first."""
        if self.config.fills == "bar" and order.limit is None:
            return self._kernel_offer(order, wanted)
        return levels(self.shape, self._terms(), order.side, self._taken[order.side])

    def _kernel_offer(self, order: Order, wanted: Decimal) -> list[Level]:
        """One offer at the price and up to the quantity at which the kernel fills a market order in the open bar.

        A stop that was met takes from the price of that moment.
        """
        base, volume = (float(self.market.values[self.row, column]) for column in (OPEN, VOLUME))
        base = float(self.price) if order.stop_price else base
        size = min(wanted, floored(exact(self.config.volume_share * volume), self.market.lot))
        if size < self.market.lot:
            return []
        slip = self.shape.half_spread
        if self.shape.impact > 0.0:
            slip += self.shape.impact * math.sqrt(float(size) / volume)
        price = base * (1.0 + (1.0 if order.side == BUY else -1.0) * slip)
        return [Level(exact(price), floored(size, self.market.lot))]

    def _terms(self) -> BookInputs:
        volume = float(self.market.values[self.row, VOLUME])
        return BookInputs(float(self.price), volume, self.market.tick, self.market.lot)

    def _fill(self, order: Order, price: Decimal, quantity: Decimal, maker: bool) -> None:
        """Fill a part of an order and tell of it."""
        if not pairs.goes_on(self, order):
            return
        if order.reduce_only:
            quantity = min(quantity, abs(order.account.margin.position(self.market).amount))
            if quantity <= 0:
                self.close(order, EXPIRED)
                return
        rate = self.market.maker if maker else self.market.taker
        wallet = order.account.wallet(self.market.wire)
        fee, asset, realized = wallet.fill(order, price, quantity, rate)
        number = self.register.trade_number()
        quote = money(price * quantity)
        trade = Trade(number, order, self.register.now, price, quantity, quote, fee, asset, maker, realized)
        self._book(order, trade)
        self.register.tell("TRADE", order.account, self.market, order, trade)
        if not order.is_open:
            pairs.ended(self, order)

    def _book(self, order: Order, trade: Trade) -> None:
        """Write a fill into its order."""
        order.filled += trade.quantity
        order.paid += trade.quote
        order.updated = self.register.now
        order.trades.append(trade)
        order.account.trades[self.market.wire].append(trade)
        order.status = PARTIALLY_FILLED if order.remaining else FILLED
        self.resting.lessened(order)
        if order.status == FILLED:
            order.account.wallet(self.market.wire).release(order)
            order.account.settle(order)


def _sum(offers: list[Offer]) -> Decimal:
    return sum((offer.quantity for offer in offers), ZERO)
