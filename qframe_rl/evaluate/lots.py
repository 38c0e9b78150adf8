"""Lots first in, first out: what was paid for what is held, and what closing it earned; exact, in decimals.

Fees are part of the basis: of a long lot it is what was paid with the fee, of a short one what was received without it.
Products and sums of the record's numbers are exact. Where a part of a lot is closed, its share of the fee is rounded to
`FEE_PLACES` and the rest stays with the lot, so that nothing is lost over all parts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, ROUND_DOWN, Context, Decimal, Inexact, InvalidOperation, localcontext

FEE_PLACES = 24
"""Decimal places of a fee's share."""
ZERO = Decimal(0)
_DIGITS = 2000
"""Digits of a sum of numbers from 1e-308 to 1e308, and more."""


@contextmanager
def exact() -> Iterator[None]:
    """Compute with decimals in which nothing is rounded, or an error is raised."""
    with localcontext(Context(prec=_DIGITS, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[Inexact, InvalidOperation])):
        yield


@dataclass
class Lot:
    """A part of a position that came in at once."""

    time: int
    """When, ns UTC."""
    quantity: Decimal
    """Signed base units that are left of it."""
    price: Decimal
    fee: Decimal
    """Of what is left, quote currency."""

    @property
    def basis(self) -> Decimal:
        """What was paid for what is left, fee included; of a short lot what was received for it, without the fee."""
        with exact():
            return abs(self.quantity) * self.price + (self.fee if self.quantity > 0 else -self.fee)

    def worth(self, mark: Decimal) -> Decimal:
        """What is left of it would earn at a price, before the fee for closing it."""
        with exact():
            return self.quantity * (mark - self.price) - self.fee


@dataclass(frozen=True)
class LotsClosed:
    """What a fill closed, and what is open after it; quote currency, and base units."""

    quantity: Decimal
    """Signed as the fill is; 0 where it opened alone."""
    since: int | None
    """When the oldest lot of it came in, ns UTC."""
    basis: Decimal
    """Of what was closed: paid for longs, received for shorts."""
    proceeds: Decimal
    """Received for longs, paid for shorts; the fee's part for closing included."""
    realised: Decimal
    open_quantity: Decimal
    open_basis: Decimal


class Lots:
    """Open lots of one instrument, the oldest first; all of them long, or all of them short."""

    def __init__(self) -> None:
        self.open: deque[Lot] = deque()
        self.quantity = self.basis = ZERO
        """Signed base units of all of them, and what was paid for longs, or received for shorts."""

    def fill(self, time: int, quantity: Decimal, price: Decimal, fee: Decimal) -> LotsClosed:
        """Close the oldest lots with a fill against them; what is left of it becomes a lot.

        Parameters
        ----------
        time
            ns UTC.
        quantity
            Signed base units, not zero.
        price
            Quote currency.
        fee
            Quote currency; of a fill that closes and opens, each part bears its share.
        """
        with exact():
            left, sign = quantity, 1 if quantity > 0 else -1
            closed, basis, since = ZERO, ZERO, None
            while left and self.open and self.open[0].quantity * sign < 0:
                lot = self.open[0]
                part = min(abs(left), abs(lot.quantity)) * sign
                since = lot.time if since is None else since
                basis += self._taken(lot, part)
                closed += part
                left -= part
            closing_fee = fee if not left else share(fee, closed, quantity)
            proceeds = abs(closed) * price - (closing_fee if sign < 0 else -closing_fee)
            self.quantity += quantity
            self.basis -= basis
            if left:
                self.open.append(Lot(time, left, price, fee - closing_fee))
                self.basis += self.open[-1].basis
            realised = proceeds - basis if sign < 0 else basis - proceeds
            return LotsClosed(
                closed, since, basis, proceeds if closed else ZERO, realised if closed else ZERO, self.quantity,
                self.basis,
            )  # fmt: skip

    def _taken(self, lot: Lot, part: Decimal) -> Decimal:
        """Take a part, signed as what closes it, out of the oldest lot; return its basis."""
        fee = lot.fee if lot.quantity == -part else share(lot.fee, part, lot.quantity)
        basis = Lot(lot.time, -part, lot.price, fee).basis
        lot.quantity += part
        lot.fee -= fee
        if not lot.quantity:
            self.open.popleft()
        return basis


def share(fee: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """So much of a fee, rounded toward zero.

    Parameters
    ----------
    fee
        Of all.
    part, whole
        Of what it is shared by.
    """
    if not part or not fee:
        return ZERO
    with localcontext(Context(prec=400)):
        return (fee * abs(part) / abs(whole)).quantize(Decimal(1).scaleb(-FEE_PLACES), rounding=ROUND_DOWN)
