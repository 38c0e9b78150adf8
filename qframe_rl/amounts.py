"""Amounts of money in integer units of 1e-8 of a currency, and how they meet binary fractions.

Cash is a binary fraction and units are decimal ones: what comes of both is the binary fraction nearest to the exact
sum, so there is one rounding, of half a last bit of cash at most, and none in any sum of units.
"""

from __future__ import annotations

from fractions import Fraction

UNITS = 10**8
"""In one of the quote currency."""
MOST = 10**18
"""Units of a transfer at most: 10 thousand million of the quote currency."""


def money(units: int) -> str:
    """An amount as people write it, every digit of it: ``1,000.00`` or ``-0.00000001``."""
    whole, rest = divmod(abs(units), UNITS)
    digits = f"{rest:08d}".rstrip("0").ljust(2, "0")
    return f"{'-' if units < 0 else ''}{whole:,}.{digits}"


def units_of(amount: float) -> int:
    """The units nearest to an amount of money that a binary fraction states."""
    return round(Fraction(amount) * UNITS)


def paid(cash: float, units: int) -> float:
    """Cash after a transfer: the exact sum, rounded once."""
    return float(Fraction(cash) + Fraction(units, UNITS))
