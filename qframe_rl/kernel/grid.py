"""Steps of quantities and prices, counted as whole numbers so that decimal steps mean what they say.

A step is a whole number over a power of ten, such as 25 / 100. A number that is n steps is then ``n * 25 / 100``:
product and power are exact, so the quotient is the double nearest to the decimal number, and two such numbers are equal
where their decimals are. A step of 0 / 1 allows everything.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from qframe_rl.jit import inlined


def step_of(size: float) -> tuple[float, float]:
    """Numerator and power of ten of a step, by its shortest decimal digits."""
    number = Decimal(repr(float(size))).normalize()
    scale = 10 ** max(-int(number.as_tuple().exponent), 0)
    return float(number * scale), float(scale)


@inlined
def slack(n: float) -> float:
    """By how much of a step a number may miss ``n`` steps and count as them: products such as 3 x 0.1 do."""
    return 1e-9 + 1e-14 * abs(n)


@inlined
def down(x: float, step: float, scale: float) -> float:
    """The largest number of whole steps up to ``x``, which is not negative."""
    n = x * (scale / step)
    return float(np.floor(n + slack(n)) * step / scale)


@inlined
def together(x: float, more: float, step: float, scale: float) -> float:
    """``x`` and the largest number of whole steps that is surely no more than ``more``."""
    n = x * (scale / step)
    whole = np.rint(n)
    n = whole if abs(n - whole) <= slack(n) else n
    return float((n + np.floor(more * (scale / step))) * step / scale)


@inlined
def up(x: float, step: float, scale: float) -> float:
    """The smallest number of whole steps from ``x`` on, which is not negative."""
    n = x * (scale / step)
    return float(np.ceil(n - slack(n)) * step / scale)


@inlined
def snapped(x: float, of: float, step: float, scale: float) -> float:
    """Whole steps where ``x`` counts as them, else ``x``; it came about by adding numbers of size ``of``."""
    n = x * (scale / step)
    whole = np.rint(n)
    return whole * step / scale if abs(n - whole) <= slack(of * (scale / step)) else x


@inlined
def reaches(price: float, level: float, side: float, step: float, scale: float) -> bool:
    """Whether a price is at a level, or beyond it to the ``side``: 1 = above, -1 = below."""
    if step <= 0.0:
        return side * (price - level) >= 0.0
    n = level * (scale / step)
    return side * (price * (scale / step) - n) >= -slack(n)


@inlined
def passes(price: float, level: float, side: float, step: float, scale: float) -> bool:
    """Whether a price is beyond a level to the ``side``."""
    return not reaches(price, level, -side, step, scale)
