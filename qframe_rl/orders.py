"""Orders and what became of them: one order per instrument, or several at once, each in a slot of its own.

Axes are those of `qframe_rl.types`; ``K`` are the slots of an instrument. The rules of several orders are those of
`docs/decisions/0027-several-orders-rest-in-slots.md`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qframe_rl.config import UserError

Float = NDArray[np.float64]

POST_ONLY, REDUCE_ONLY = 1, 2
"""Of `Orders.flags`: a limit that would take at the open is cancelled; what is held is reduced, nothing is opened."""
UNTIL_CANCELLED = float("inf")
"""Of `Orders.good`."""
KEEP = float("nan")
"""Of `Orders.quantity` where there are slots: leave what stands in the slot as it is."""


class Orders(NamedTuple):
    """One order per instrument, good for the next bar only; or K of them, which may rest in their slots for longer.

    Orders of (*B, A) cancel whatever rests. Of those of (*B, A, K) a slot's quantity of NaN leaves what stands in it, 0
    cancels it, and any other replaces it; slots beyond K are cancelled. A field that is None stands for its default.
    """

    quantity: Float
    """(*B, A) or (*B, A, K) signed base units; 0 = no order."""
    limit: Float
    """As `quantity`: limit price; NaN = none."""
    stop: Float
    """As `quantity`: trigger price; NaN = none. An order with both a limit and a stop is refused."""
    good: Float | None = None
    """Bars that an order lives through; inf = until it is cancelled. Default 1."""
    after: Float | None = None
    """Bars that it waits before; what only reduces counts those at whose end there is something to reduce. Default
    0."""
    trail: Float | None = None
    """Distance, fraction of the price, at which a stop follows the best price of each bar; NaN = it does not move."""
    flags: Float | None = None
    """Sum of `POST_ONLY` and `REDUCE_ONLY`. Default 0."""
    group: Float | None = None
    """Number of a group of an instrument: what fills of one of its orders is taken off the others; 0 = none."""

    @property
    def terms(self) -> tuple[Float, Float, Float]:
        """Quantity, limit and stop: what every order has."""
        return self.quantity, self.limit, self.stop

    @classmethod
    def market(cls, quantity: Float) -> Orders:
        """Market orders for ``quantity`` (*B, A), or (*B, A, K), signed base units."""
        given = np.asarray(quantity, dtype=np.float64)
        none = np.empty(given.shape)
        none.fill(np.nan)  # np.full takes four times as long, and a tuple's fields by name twice
        return tuple.__new__(cls, (given, none, none, None, None, None, None, None))


PRICES = ("quantity", "limit", "stop")
"""What every order has; the other fields are those of slots."""
_DEFAULTS = (0.0, np.nan, np.nan, 1.0, 0.0, np.nan, 0.0, 0.0)


class SlotFills(NamedTuple):
    """What one bar did to each of several orders; all (*B, A, K)."""

    quantity: Float
    """Signed base units filled."""
    price: Float
    """Price of the fill; 0 where nothing filled."""
    fee: Float
    """Quote currency paid to the exchange."""


class Fills(NamedTuple):
    """What one bar did to the orders and the account; every field but the last three is (*B, A)."""

    quantity: Float
    """Signed base units filled, net where there were several orders."""
    price: Float
    """Average price of the fill, by size where there were several; 0 where nothing filled."""
    fee: Float
    """Quote currency paid to the exchange, the liquidation fee included."""
    spread: Float
    """Quote currency lost to the half-spread; part of ``price`` already."""
    impact: Float
    """Quote currency lost to market impact; part of ``price`` already."""
    funding: Float
    """Quote currency paid as funding; negative = received."""
    cancelled: Float
    """Signed base units ordered and not filled, and no longer ordered."""
    forced: Float
    """Signed base units that the venue closed by itself: liquidation, or the instrument's last bar."""
    forced_price: Float
    """Price of the forced close; 0 where there was none."""
    absorbed: Float
    """(*B,) quote currency of loss beyond the account's equity that the venue bore."""
    interest: Float
    """(*B,) quote currency that idle cash earned."""
    slots: SlotFills | None = None
    """Each of several orders by itself; None where there was one per instrument."""

    @property
    def sums(self) -> list[Float]:
        """All fields but ``slots``."""
        return list(self[: len(Fills._fields) - 1])  # type: ignore[arg-type]

    @classmethod
    def made(cls, sums: Iterable[Float]) -> Fills:
        """Fills of all fields but ``slots``."""
        return cls(*sums)  # type: ignore[arg-type]

    @property
    def slippage(self) -> Float:
        """(*B, A) quote currency lost to half-spread and impact together."""
        return self.spread + self.impact

    @property
    def traded(self) -> Float:
        """(*B, A) quote currency that changed hands by orders."""
        if self.slots is None:
            return np.asarray(np.abs(self.quantity) * self.price)
        return np.asarray((np.abs(self.slots.quantity) * self.slots.price).sum(axis=-1))

    @classmethod
    def of(cls, columns: Float, absorbed: Float, interest: Float, slots: SlotFills | None = None) -> Fills:
        """Take the fields apart that the kernel wrote side by side in (*B, A, 9).

        Parameters
        ----------
        columns
            (*B, A, 9) as `qframe_rl.kernel.columns` names them: quantity first, the price of forced trades last.
        absorbed, interest
            (*B,) quote currency.
        slots
            Each of several orders by itself.

        Returns
        -------
        Fills
            Views of the same memory.
        """
        sums = [columns[..., k] for k in range(len(PER_INSTRUMENT))]
        return cls.made([*sums, absorbed, interest])._replace(slots=slots)

    @classmethod
    def none(cls, *shape: int) -> Fills:
        """A bar in which nothing happened to accounts of ``shape`` (*B, A)."""
        return cls.of(np.zeros((*shape, len(PER_INSTRUMENT))), np.zeros(shape[:-1]), np.zeros(shape[:-1]))


PER_INSTRUMENT = Fills._fields[:9]
"""Fields of `Fills` that there are per instrument."""


def is_plain(orders: Orders) -> bool:
    """Whether one account's orders are one per instrument, good for the next bar only."""
    return np.ndim(orders.quantity) < 2 and all(field is None for field in orders[len(PRICES) :])


def alone(orders: Orders, whose: str) -> Orders:
    """The same orders, where there is one per instrument.

    Raises
    ------
    UserError
        If there are several, or one that may rest, for ``whose`` orders that cannot be done.
    """
    if not is_plain(orders):
        raise UserError(f"{whose} has one order per instrument and bar: several, or those that rest, cannot be done.")
    return orders


def slots_of(orders: Orders) -> Float:
    """(A, 8, K) the fields of one account's orders, in their order, as the kernel reads them.

    Parameters
    ----------
    orders
        Of (A, K), or of (A,): then K is 1.

    Raises
    ------
    ValueError
        For fields of other shapes, quantities that are infinite, or attributes that mean nothing.
    """
    quantity = np.asarray(orders.quantity, dtype=np.float64)
    shape = quantity.shape if quantity.ndim == 2 else (*quantity.shape, 1)
    out = np.empty((shape[0], len(_DEFAULTS), shape[1]))
    for k, (name, field) in enumerate(zip(Orders._fields, orders, strict=True)):
        given = np.full(shape, _DEFAULTS[k]) if field is None else np.asarray(field, dtype=np.float64)
        if given.shape not in (shape, quantity.shape):
            raise ValueError(f"orders: {name} has shape {given.shape}, but quantity has {quantity.shape}")
        out[:, k] = given.reshape(shape)
    _check(out)
    return out


def orders_of(slots: Float) -> Orders:
    """What `slots_of` laid side by side."""
    return Orders(*(slots[:, k].copy() for k in range(len(_DEFAULTS))))


def merged(asked: Float, resting: Float) -> Float:
    """Orders that stand after a decision: what was asked for, and what rests where that says to leave it.

    Parameters
    ----------
    asked
        (A, 8, K) from `slots_of`, quantities of NaN where a slot is left.
    resting
        (A, 8, L) what stands now; slots beyond K are cancelled.

    Returns
    -------
    Float
        (A, 8, K), quantities finite.
    """
    out = asked.copy()
    kept = np.isnan(out[:, 0])
    n = min(out.shape[-1], resting.shape[-1])
    out[:, 0][kept] = 0.0
    for a, k in zip(*np.nonzero(kept[:, :n]), strict=True):
        out[a, :, k] = resting[a, :, k]
    return out


def summed(orders: Orders, fills: Fills) -> Orders:
    """(A,) orders for records and sums: of several, what filled or is over, without prices."""
    if fills.slots is None:
        return orders
    return Orders.market(fills.quantity + fills.cancelled)


def _check(slots: Float) -> None:
    quantity, limit, stop, good, after, trail, flags, group = np.moveaxis(slots, 1, 0)
    asked = np.isfinite(quantity) & (quantity != 0.0)
    wrong = {
        "quantities must be finite, or NaN to leave a slot as it is": np.isinf(quantity),
        "good must be at least 1 bar": ~(good >= 1.0),
        "after must be 0 bars or more": ~(after >= 0.0) | np.isinf(after),
        "trail must lie in (0, 1), and needs a stop": ~np.isnan(trail) & ~((trail > 0) & (trail < 1) & (stop == stop)),
        "flags are sums of POST_ONLY and REDUCE_ONLY": ~np.isin(flags, (0.0, 1.0, 2.0, 3.0)),
        "post-only is for limits": (flags % 2 == POST_ONLY) & np.isnan(limit),
        "group must be a whole number from 0 on": ~(group >= 0.0) | (group != np.floor(group)),
    }
    for why, where in wrong.items():
        if (asked & where).any() or (why.startswith("quant") and where.any()):
            raise ValueError(f"orders: {why}")
