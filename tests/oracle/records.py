"""What there is: rules, an account, a bar and orders, as decimal numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from qframe_rl.types import Account, Bar, Instrument, Orders
from tests.oracle.grids import ZERO, meaning, meaning_or_none


@dataclass(frozen=True)
class Listing:
    """One instrument and the exchange's rules for it."""

    lot: Decimal = ZERO
    tick: Decimal = ZERO
    min_amount: Decimal = ZERO
    min_notional: Decimal = ZERO
    maker_fee: Decimal = ZERO
    taker_fee: Decimal = ZERO
    maintenance: Decimal = ZERO
    perpetual: bool = False
    owned: bool = False
    """A coin beside contracts."""


@dataclass(frozen=True)
class Rulebook:
    """The rules of an account."""

    listings: tuple[Listing, ...]
    half_spread: Decimal = ZERO
    impact: Decimal = ZERO
    volume_share: Decimal = Decimal("0.1")
    liquidation_fee: Decimal = ZERO
    leverage: Decimal = Decimal(1)
    short: bool = False
    transfer_bars: int = 0
    margin_earns: bool = False

    @property
    def spot(self) -> bool:
        """Whether it is a spot account: leverage 1, not short. Any other is a margin account."""
        return self.leverage == 1 and not self.short

    def contract(self, i: int) -> bool:
        """Whether instrument ``i`` is a contract: in a margin account, and not owned."""
        return not self.spot and not self.listings[i].owned

    @classmethod
    def of(
        cls,
        instruments: tuple[Instrument, ...],
        *,
        owned: tuple[bool, ...] = (),
        shorting: bool = False,
        transfer_bars: int = 0,
        margin_earns: bool = False,
        **rates: float,
    ) -> Rulebook:
        """The rules that `qframe_rl.kernel.rules.rules_of` takes, by the decimal meaning of their numbers."""
        flags = owned or (False,) * len(instruments)
        listings = tuple(listing_of(i, flag) for i, flag in zip(instruments, flags, strict=True))
        numbers = {name: meaning(rate) for name, rate in rates.items()}
        return cls(listings, short=shorting, transfer_bars=transfer_bars, margin_earns=margin_earns, **numbers)


def listing_of(instrument: Instrument, owned: bool) -> Listing:
    """An instrument's rules by the decimal meaning of their numbers."""
    names = ("lot", "tick", "min_amount", "min_notional", "maker_fee", "taker_fee", "maintenance")
    numbers = {name: meaning(getattr(instrument, name)) for name in names}
    return Listing(**numbers, perpetual=instrument.kind == "perpetual", owned=owned)


@dataclass
class State:
    """An account between two bars."""

    cash: Decimal
    position: list[Decimal]
    mark: list[Decimal | None]
    on_way: Decimal = ZERO
    """Money on its way: part of the cash."""
    wait: int = 0
    """Bars that it still has to wait."""

    @classmethod
    def of(cls, account: Account, on_way: Decimal = ZERO, wait: int = 0) -> State:
        """What an account of doubles means."""
        position = [meaning(p) for p in account.position.tolist()]
        return cls(
            meaning(float(account.cash)), position, [meaning_or_none(m) for m in account.mark.tolist()], on_way, wait
        )

    def value(self, i: int) -> Decimal:
        """Position times mark."""
        mark = self.mark[i]
        return ZERO if self.position[i] == 0 or mark is None else self.position[i] * mark

    @property
    def equity(self) -> Decimal:
        """Cash plus positions at their marks."""
        return self.cash + sum((self.value(i) for i in range(len(self.position))), ZERO)

    @property
    def size(self) -> Decimal:
        """How large the terms are that equity is the sum of."""
        return abs(self.cash) + sum((abs(self.value(i)) for i in range(len(self.position))), ZERO)

    def copy(self) -> State:
        return State(self.cash, list(self.position), list(self.mark), self.on_way, self.wait)


@dataclass(frozen=True)
class Candle:
    """One instrument in one bar; the prices are None where it did not trade."""

    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    close: Decimal | None = None
    volume: Decimal | None = None
    due: Decimal = ZERO
    """Funding due per unit held long."""
    last: bool = False

    @property
    def trades(self) -> bool:
        return self.open is not None


def candles_of(bar: Bar) -> tuple[Candle, ...]:
    """The candles of a bar of one account."""
    rows = zip(bar.values.tolist(), bar.funding.tolist(), bar.final.tolist(), strict=True)
    return tuple(Candle(*map(meaning_or_none, row[:5]), meaning(due), last) for row, due, last in rows)


@dataclass(frozen=True)
class Order:
    """A signed quantity and at most one of limit and stop."""

    quantity: Decimal = ZERO
    limit: Decimal | None = None
    stop: Decimal | None = None


def orders_of(orders: Orders) -> tuple[Order, ...]:
    """The orders of one account."""
    rows = np.stack([orders.quantity, orders.limit, orders.stop], axis=-1).tolist()
    return tuple(Order(meaning(q), meaning_or_none(limit), meaning_or_none(stop)) for q, limit, stop in rows)


@dataclass
class Fill:
    """What one bar did to one instrument; the fields are those of `qframe_rl.types.Fills`."""

    quantity: Decimal = ZERO
    price: Decimal = ZERO
    fee: Decimal = ZERO
    spread: Decimal = ZERO
    impact: Decimal = ZERO
    funding: Decimal = ZERO
    cancelled: Decimal = ZERO
    forced: Decimal = ZERO
    forced_price: Decimal = ZERO


@dataclass
class Outcome:
    """The account after a bar, and what happened."""

    state: State
    fills: list[Fill]
    interest: Decimal
    absorbed: Decimal
    terminated: bool
    edges: tuple[str, ...] = ()
    """Decisions that lay on a knife's edge, in their order."""
    notes: Counter[str] = field(default_factory=Counter)
    """How often which rule applied."""
