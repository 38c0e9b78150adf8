"""The spot wallet: coins that are free, and coins that open orders keep back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from qframe_rl.rehearsal.book import Level
from qframe_rl.rehearsal.decimals import ZERO, money
from qframe_rl.rehearsal.errors import insufficient
from qframe_rl.rehearsal.market import SPOT
from qframe_rl.rehearsal.order import Order


class SpotWallet:
    """Balances of one account. A purchase pays its fee in the coin bought, a sale in the quote currency."""

    def __init__(self, balances: Mapping[str, Decimal]):
        self.free: dict[str, Decimal] = defaultdict(lambda: ZERO, balances)
        self.spendable: Callable[[str], Decimal] = lambda asset: self.free[asset]
        """What may be kept back of an asset: in a wallet that carries contracts as well, less than is free."""
        self.locked: dict[str, Decimal] = defaultdict(lambda: ZERO)
        self.updated = 0

    def admit(self, order: Order, taking: Sequence[Level]) -> None:
        """Keep back what an order will need.

        Parameters
        ----------
        order
            The order before it is accepted.
        taking
            What it would take from the book at once.

        Raises
        ------
        Refused
            If less is free.
        """
        asset = order.market.quote if order.buys else order.market.base
        at = order.limit if order.limit is not None else order.stop
        if order.buys and at is None:
            need = sum((money(level.price * level.quantity) for level in taking), ZERO)
        else:
            need = self.need(order)
        if self.spendable(asset) < need:
            raise insufficient(SPOT)
        self._hold(order, asset, need)

    def keep(self, order: Order) -> None:
        """Keep back for an order with a price that was admitted before."""
        self._hold(order, order.market.quote if order.buys else order.market.base, self.need(order))

    def _hold(self, order: Order, asset: str, amount: Decimal) -> None:
        order.held = amount
        self.free[asset] -= amount
        self.locked[asset] += amount

    def need(self, order: Order) -> Decimal:
        """What the rest of an order with a price takes: quote currency of a purchase, coins of a sale."""
        at = order.limit if order.limit is not None else order.stop
        return order.remaining if not order.buys else money(order.remaining * (at or ZERO))

    def lessen(self, order: Order) -> None:
        """Give back what an order that was made smaller needs no more."""
        asset = order.market.quote if order.buys else order.market.base
        self._free(order, asset, order.held - self.need(order))

    def fill(self, order: Order, price: Decimal, quantity: Decimal, rate: Decimal) -> tuple[Decimal, str, Decimal]:
        """Exchange coins; return the fee, its asset and the realised profit, which spot has not."""
        base, quote = order.market.base, order.market.quote
        paid = money(price * quantity)
        if order.buys:
            fee = money(quantity * rate)
            part = min(order.held, self._share(order, quantity, paid))
            self._free(order, quote, part)
            self.free[quote] -= paid
            self.free[base] += quantity - fee
            return fee, base, ZERO
        fee = money(paid * rate)
        self._free(order, base, min(order.held, quantity))
        self.free[base] -= quantity
        self.free[quote] += paid - fee
        return fee, quote, ZERO

    def release(self, order: Order) -> None:
        """Give back what a closed order kept."""
        self._free(order, order.market.quote if order.buys else order.market.base, order.held)

    def _share(self, order: Order, quantity: Decimal, paid: Decimal) -> Decimal:
        """What was kept back for this part of a purchase."""
        at = order.limit if order.limit is not None else order.stop_price
        return max(paid, money(at * quantity))

    def _free(self, order: Order, asset: str, amount: Decimal) -> None:
        order.held -= amount
        self.locked[asset] -= amount
        self.free[asset] += amount
