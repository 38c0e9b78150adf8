"""Steps and grids: doubles by their decimal meaning, and numbers that count as whole steps."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

ZERO = Decimal(0)
MISS, MISS_A_STEP = Decimal("1e-9"), Decimal("1e-14")


def meaning(number: float) -> Decimal:
    """The decimal number that a double is written as: 0.1 is a tenth."""
    return Decimal(repr(float(number)))


def meaning_or_none(number: float) -> Decimal | None:
    """The same; NaN is nothing."""
    return None if math.isnan(number) else meaning(number)


def tolerance(whole: Decimal) -> Decimal:
    """By how much of a step a number may miss ``whole`` steps and still count as these."""
    return MISS + MISS_A_STEP * abs(whole)


def steps(value: Decimal, step: Decimal) -> Decimal:
    """How many steps ``value`` is: a whole number if it counts as one."""
    n = value / step
    whole = n.to_integral_value(ROUND_HALF_EVEN)
    return whole if abs(n - whole) <= tolerance(whole) else n


def counted(value: Decimal, step: Decimal) -> Decimal:
    """``value`` in the unit in which it is compared: steps, or itself where there is no grid."""
    return steps(value, step) if step else value


def settled(value: Decimal, step: Decimal) -> Decimal:
    """``value``, or the whole steps that it counts as."""
    return steps(value, step) * step if step else value


def down(value: Decimal, step: Decimal) -> Decimal:
    """``value`` (not negative) rounded down to whole steps; itself where there is no grid."""
    return steps(value, step).to_integral_value(ROUND_FLOOR) * step if step else value


def up(value: Decimal, step: Decimal) -> Decimal:
    """``value`` rounded up to whole steps; itself where there is no grid."""
    return steps(value, step).to_integral_value(ROUND_CEILING) * step if step else value
