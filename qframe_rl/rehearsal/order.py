"""Orders, what becomes of them, and the register in which everything that happened is written down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from qframe_rl.rehearsal.decimals import ZERO, short
from qframe_rl.rehearsal.market import ListedMarket

if TYPE_CHECKING:
    from qframe_rl.rehearsal.account import ExchangeAccount

NEW, PARTIALLY_FILLED, FILLED = "NEW", "PARTIALLY_FILLED", "FILLED"
CANCELED, EXPIRED, EXPIRED_IN_MATCH = "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"
TRIGGERED, FINISHED, REJECTED = "TRIGGERED", "FINISHED", "REJECTED"
OPEN = (NEW, PARTIALLY_FILLED)
# The first numbers that the exchange gives out; they look like the ones of a venue that has been there for years.
_FIRST_ORDER, _FIRST_TRADE = 28_000_000_001, 3_500_000_001


class Trade(NamedTuple):
    """One fill of one order."""

    id: int
    order: Order
    time: int
    price: Decimal
    quantity: Decimal
    quote: Decimal
    """Price times quantity, rounded to money."""
    fee: Decimal
    fee_asset: str
    maker: bool
    realized: Decimal
    """Profit taken by the part that closed a position; 0 on spot."""


@dataclass(eq=False, slots=True)
class Order:
    """One order; of a market order ``limit`` is None."""

    account: ExchangeAccount
    market: ListedMarket
    side: str
    type: str
    quantity: Decimal
    limit: Decimal | None
    tif: str
    client_id: str
    quote_quantity: Decimal = ZERO
    """Quote currency that a spot market order is to spend or to earn; 0 = ``quantity`` counts."""
    stop: Decimal | None = None
    """Trigger price that is still waited for."""
    stop_price: Decimal = ZERO
    """Trigger price as it was sent."""
    rises: bool = False
    """Whether the trigger waits for the price to rise."""
    by_mark: bool = False
    """Whether the trigger watches the mark price."""
    post_only: bool = False
    reduce_only: bool = False
    close_position: bool = False
    original_type: str = ""
    pair: OcoPair | None = None
    """The other order that goes as soon as one of the two fills."""
    id: int = 0
    turn: int = 0
    """Place among the orders of its price; the lower is older."""
    status: str = NEW
    created: int = 0
    updated: int = 0
    filled: Decimal = ZERO
    paid: Decimal = ZERO
    """Quote currency that changed hands."""
    reason: str = ""
    """Why the exchange ended it at once, where its protocol says so."""
    held: Decimal = ZERO
    """What a wallet keeps back for it: quote currency of a buy, coins of a sale; spot only."""
    trades: list[Trade] = field(default_factory=list)
    amendments: list[Amendment] = field(default_factory=list)

    @property
    def remaining(self) -> Decimal:
        """Quantity that is not filled."""
        return self.quantity - self.filled

    @property
    def buys(self) -> bool:
        """Whether it is a purchase."""
        return self.side == "BUY"

    @property
    def is_open(self) -> bool:
        """Whether it can still fill."""
        return self.status in OPEN

    @property
    def average(self) -> Decimal:
        """Average price of its fills; 0 before the first."""
        return self.paid / self.filled if self.filled else ZERO


@dataclass(eq=False, slots=True)
class OcoPair:
    """Two orders of which one cancels the other."""

    orders: tuple[Order, Order]
    id: int
    client_id: str
    created: int
    begun: Order | None = None
    """The one that fills, or waits for it alone."""
    updated: int = 0

    @property
    def is_open(self) -> bool:
        """Whether one of them can still fill."""
        return any(order.is_open for order in self.orders)


class Amendment(NamedTuple):
    """A change of an order that went on."""

    id: int
    time: int
    price: tuple[Decimal, Decimal]
    """Before and after."""
    quantity: tuple[Decimal, Decimal]
    """Before and after."""
    names: tuple[str, str]
    """Client order id before and after."""


@dataclass(eq=False, slots=True)
class Algo:
    """A conditional order of the futures wire: it becomes an `Order` once its trigger price is met."""

    order: Order
    """The order it will place."""
    id: int
    client_id: str
    created: int
    updated: int
    status: str = NEW
    triggered: int = 0
    placed: Order | None = None
    reason: str = ""


class Happening(NamedTuple):
    """One line of the register."""

    number: int
    time: int
    what: str
    """``NEW``, ``TRADE``, ``CANCELED``, ``EXPIRED``, ``TRADE_PREVENTION``, ``AMENDED``, ``PAIR``, ``ALGO``,
    ``FUNDING``, ``LEVERAGE``, ``LIQUIDATION`` or ``DELISTED``."""
    account: ExchangeAccount
    market: ListedMarket
    order: Order | None = None
    trade: Trade | None = None
    algo: Algo | None = None
    pair: OcoPair | None = None
    amount: Decimal = ZERO


class Register:
    """Numbers, names, and the log of all that happened, chained into a digest."""

    def __init__(self) -> None:
        self.now = 0
        self.log: list[dict[str, Any]] = []
        self.listeners: list[Callable[[Happening], None]] = []
        self._order, self._trade, self._name = _FIRST_ORDER, _FIRST_TRADE, 0
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        """SHA-256 over the log."""
        return self._digest.hexdigest()

    def order_number(self) -> int:
        """A new order id."""
        self._order += 1
        return self._order

    def trade_number(self) -> int:
        """A new trade id."""
        self._trade += 1
        return self._trade

    def name(self) -> str:
        """A client order id for an order that came without one."""
        self._name += 1
        return hashlib.sha256(f"name {self._name}".encode()).hexdigest()[:22]

    def tell(
        self,
        what: str,
        account: ExchangeAccount,
        market: ListedMarket,
        order: Order | None = None,
        trade: Trade | None = None,
        algo: Algo | None = None,
        pair: OcoPair | None = None,
        amount: Decimal = ZERO,
    ) -> None:
        """Write a line and tell the listeners."""
        happening = Happening(len(self.log) + 1, self.now, what, account, market, order, trade, algo, pair, amount)
        line = _line(happening)
        self.log.append(line)
        self._digest.update(json.dumps(line).encode())
        for listener in self.listeners:
            listener(happening)


def _line(happening: Happening) -> dict[str, Any]:
    order, trade, algo = happening.order, happening.trade, happening.algo
    line: dict[str, Any] = {
        "n": happening.number,
        "time": happening.time,
        "what": happening.what,
        "key": happening.account.key,
        "wire": happening.market.wire,
        "symbol": happening.market.id,
    }
    if order is not None:
        line |= {"order": order.id, "client": order.client_id, "side": order.side, "type": order.type}
        line |= {"status": order.status, "quantity": short(order.quantity), "filled": short(order.filled)}
        line |= {"limit": None if order.limit is None else short(order.limit)}
    if trade is not None:
        line |= {"trade": trade.id, "price": short(trade.price), "size": short(trade.quantity), "maker": trade.maker}
        line |= {"fee": short(trade.fee), "fee_asset": trade.fee_asset, "realized": short(trade.realized)}
    if algo is not None:
        line |= {"algo": algo.id, "algo_status": algo.status}
    if happening.pair is not None:
        line |= {"pair": happening.pair.id, "open": happening.pair.is_open}
    if happening.amount:
        line["amount"] = short(happening.amount)
    return line
