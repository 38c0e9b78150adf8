"""Exact numbers as an exchange keeps them, and their text on the wire."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

ZERO = Decimal(0)
MONEY = Decimal("0.00000001")
"""Smallest step of money: balances, fees and quote quantities have eight decimals."""


def exact(value: float) -> Decimal:
    """The shortest decimal that reads back as the same float."""
    return Decimal(repr(float(value)))


def places(step: Decimal) -> int:
    """Digits after the point that multiples of ``step`` need."""
    return max(0, -int(step.normalize().as_tuple().exponent))


def floored(value: Decimal, step: Decimal) -> Decimal:
    """Largest multiple of ``step`` at or below ``value``."""
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def raised(value: Decimal, step: Decimal) -> Decimal:
    """Smallest multiple of ``step`` at or above ``value``."""
    return (value / step).to_integral_value(ROUND_CEILING) * step


def nearest(value: Decimal, step: Decimal) -> Decimal:
    """Multiple of ``step`` nearest to ``value``."""
    return (value / step).to_integral_value(ROUND_HALF_EVEN) * step


def on_grid(value: Decimal, step: Decimal) -> bool:
    """Whether ``value`` is a multiple of ``step``."""
    return value % step == 0


def steps(value: Decimal, step: Decimal) -> int:
    """How many steps a number on the grid is.

    Raises
    ------
    ValueError
        If it is not on the grid.
    """
    whole = int(value / step)
    if whole * step != value:
        raise ValueError(f"{value} is no multiple of {step}")
    return whole


def money(value: Decimal) -> Decimal:
    """``value`` rounded to the smallest step of money."""
    return value.quantize(MONEY, ROUND_HALF_EVEN)


def text(value: Decimal, digits: int = 8) -> str:
    """Decimal digits without an exponent: at least ``digits`` after the point, and all that ``value`` has."""
    own = -int(value.as_tuple().exponent)
    if own > digits:
        own = -int(value.normalize().as_tuple().exponent)
    return f"{value:.{max(digits, own, 0)}f}"


def short(value: Decimal) -> str:
    """Decimal digits without an exponent or trailing zeros, as futures endpoints write zero amounts."""
    return f"{value.normalize():f}" if value else "0"


def float_text(value: float, digits: int = 8) -> str:
    """As `text`, of a float: what is written reads back as the same float."""
    written = repr(value)
    if "e" in written or "n" in written:
        return text(Decimal(written), digits)
    head, _, tail = written.partition(".")
    tail = "" if tail == "0" else tail
    return f"{head}.{tail:0<{digits}}" if digits or tail else head
