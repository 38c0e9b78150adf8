"""The futures wallet: one-way positions in cross margin, one wallet for each quote currency."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from qframe_rl.rehearsal.book import Level
from qframe_rl.rehearsal.decimals import ZERO, money
from qframe_rl.rehearsal.errors import Refused, insufficient
from qframe_rl.rehearsal.market import USDM, ListedMarket
from qframe_rl.rehearsal.order import Order


class Income(NamedTuple):
    """One line of the account statement."""

    id: int
    time: int
    kind: str
    """``REALIZED_PNL``, ``COMMISSION``, ``FUNDING_FEE`` or ``INSURANCE_CLEAR``."""
    amount: Decimal
    asset: str
    market: ListedMarket
    trade: int


@dataclass(eq=False)
class Position:
    """What is held of one perpetual."""

    market: ListedMarket
    amount: Decimal = ZERO
    """Signed base units."""
    cost: Decimal = ZERO
    """Signed quote currency at which it was entered."""
    bids: Decimal = ZERO
    """Quote currency of open orders that buy."""
    asks: Decimal = ZERO
    """Quote currency of open orders that sell."""
    realized: Decimal = ZERO
    """Profit taken since the start, before fees."""
    updated: int = 0

    @property
    def entry(self) -> Decimal:
        """Average price of entry; 0 when flat."""
        return self.cost / self.amount if self.amount else ZERO


class MarginWallet:
    """Money, positions and leverage of one account.

    Parameters
    ----------
    balances
        Wallet balance by currency.
    leverage
        Leverage of each perpetual until it is changed.
    mark
        Mark price of a market now.
    """

    def __init__(self, balances: Mapping[str, Decimal], leverage: int, mark: Callable[[ListedMarket], Decimal]):
        self.wallet: dict[str, Decimal] = defaultdict(lambda: ZERO, balances)
        self.positions: dict[str, Position] = {}
        self.leverage: dict[str, int] = defaultdict(lambda: leverage)
        self.incomes: list[Income] = []
        self.funding_paid = ZERO
        self.absorbed = ZERO
        """Losses beyond the wallet, which the insurance fund bore."""
        self.mark = mark
        self.updated = 0

    def position(self, market: ListedMarket) -> Position:
        """Position in a market, flat where there never was one."""
        return self.positions.setdefault(market.id, Position(market))

    def held(self, asset: str | None = None) -> Iterator[Position]:
        """Positions that are not flat."""
        return (p for p in self.positions.values() if p.amount and (asset is None or p.market.quote == asset))

    def unrealized(self, position: Position) -> Decimal:
        """Profit of a position at the mark price."""
        return money(position.amount * self.mark(position.market)) - position.cost if position.amount else ZERO

    def notional(self, position: Position) -> Decimal:
        """Signed value of a position at the mark price."""
        return money(position.amount * self.mark(position.market)) if position.amount else ZERO

    def initial(self, position: Position, bids: Decimal = ZERO, asks: Decimal = ZERO) -> Decimal:
        """Initial margin of a position and its open orders, with ``bids`` and ``asks`` of quote currency more."""
        value = self.notional(position)
        worst = max(abs(value), abs(value + position.bids + bids), abs(value - position.asks - asks))
        return money(worst / self.leverage[position.market.id])

    def maintenance(self, position: Position) -> Decimal:
        """Maintenance margin of a position."""
        return money(abs(self.notional(position)) * position.market.maintenance)

    def balance(self, asset: str) -> Decimal:
        """Margin balance: wallet and unrealised profit."""
        return self.wallet[asset] + sum((self.unrealized(p) for p in self.held(asset)), ZERO)

    def available(self, asset: str) -> Decimal:
        """What new positions may be opened with."""
        mine = (p for p in self.positions.values() if p.market.quote == asset)
        return self.balance(asset) - sum((self.initial(p) for p in mine), ZERO)

    def admit(self, order: Order, taking: Sequence[Level]) -> None:
        """Check that the margin carries an order.

        Parameters
        ----------
        order
            The order before it is accepted.
        taking
            What it would take from the book at once.

        Raises
        ------
        Refused
            If it does not, or if a reduce-only order would reduce nothing.
        """
        position = self.position(order.market)
        if order.reduce_only:
            if position.amount == 0 or (position.amount > 0) == order.buys:
                raise Refused(-2022, "ReduceOnly Order is rejected.")
            return
        size = self._value(order, taking)
        bids, asks = (size, ZERO) if order.buys else (ZERO, size)
        more = self.initial(position, bids, asks) - self.initial(position)
        asset = order.market.quote
        if more > 0 and more + money(size * order.market.taker) > self.available(asset):
            raise insufficient(USDM)
        self.keep(order)

    def keep(self, order: Order) -> None:
        """Count the rest of an order with a price for the initial margin."""
        if order.limit is not None and not order.reduce_only:
            self._reserve(order, money(order.remaining * order.limit))

    def _value(self, order: Order, taking: Sequence[Level]) -> Decimal:
        """Quote currency that an order is worth: a market order what it takes, a limit order its limit."""
        if order.limit is not None:
            return money(order.remaining * order.limit)
        return sum((money(level.price * level.quantity) for level in taking), ZERO)

    def _reserve(self, order: Order, amount: Decimal) -> None:
        """Count an open order's value for the initial margin; less than nothing counts it out."""
        position = self.position(order.market)
        order.held += amount
        if order.buys:
            position.bids += amount
        else:
            position.asks += amount

    def fill(self, order: Order, price: Decimal, quantity: Decimal, rate: Decimal) -> tuple[Decimal, str, Decimal]:
        """Change a position; return the fee, its asset and the profit that was realised."""
        asset = order.market.quote
        value = money(price * quantity)
        fee = money(value * rate)
        if order.held:
            at = order.limit if order.limit is not None else price
            self._reserve(order, -min(order.held, money(at * quantity)))
        signed = quantity if order.buys else -quantity
        realized = self._trade(self.position(order.market), signed, value.copy_sign(signed))
        self.wallet[asset] += realized - fee
        return fee, asset, realized

    def _trade(self, position: Position, signed: Decimal, value: Decimal) -> Decimal:
        """Add a signed quantity at a signed value to a position; return the realised profit."""
        realized = ZERO
        if position.amount and (position.amount > 0) != (signed > 0):
            closing = min(abs(signed), abs(position.amount))
            entered = money(position.cost * closing / abs(position.amount))
            left = money(value * closing / abs(signed))
            realized = -left - entered
            position.cost -= entered
            position.amount += closing.copy_sign(signed)
            signed -= closing.copy_sign(signed)
            value -= left
        position.amount += signed
        position.cost += value
        position.realized += realized
        return realized

    def release(self, order: Order) -> None:
        """Count a closed order out."""
        if order.held:
            self._reserve(order, -order.held)
