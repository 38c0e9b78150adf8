"""Buyers and sellers that bring more of themselves (Hawkes, 1971): when the next one comes, compiled.

The intensity of a side is its base rate and what arrivals before have left, which decays exponentially; so what is
left, one number a side, is all that must be kept. Times are exact, not on a grid of steps.

Source: Dassios & Zhao, Exact simulation of Hawkes process with exponentially decaying intensity, Electronic
Communications in Probability 18 (2013), algorithm 3.1; long-run moments are `qframe_rl.theory.hawkes`'s.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from qframe_rl.book.state import BUY, SELL
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Bool, Float, Int

N_ARRIVAL = 5
"""Uniform numbers of an arrival: two of its time, side, member, lots."""


class Excited(NamedTuple):
    """Rates; the unit of time is a step."""

    base: float
    """Arrivals of their own accord, both sides together; 0 = nobody comes."""
    own: float
    """Direct children of an arrival on its own side."""
    cross: float
    """And on the other one."""
    decay: float
    """Of what an arrival leaves, a step."""
    most: int
    """Arrivals of a step, at the most: for so many there are random numbers."""


@inlined
def wait(left: Float, rates: Excited, u: float, v: float) -> float:
    """Time until the next arrival of either side.

    Parameters
    ----------
    left
        (2,) excitement that is left, buyers' and sellers'.
    rates
        Of all.
    u, v
        Uniform numbers in (0, 1).
    """
    excited, found = left[BUY] + left[SELL], -math.log(v) / rates.base
    if excited > 0.0:
        d = 1.0 + rates.decay * math.log(u) / excited
        if d > 0.0:
            found = min(found, -math.log(d) / rates.decay)
    return found


@inlined
def calm(left: Float, rates: Excited, time: float) -> None:
    """Let excitement decay for a time in which nobody comes."""
    factor = math.exp(-rates.decay * time)
    left[BUY] *= factor
    left[SELL] *= factor


@inlined
def come(left: Float, rates: Excited, u: float) -> int:
    """Side of who has come; he leaves excitement."""
    buying = 0.5 * rates.base + left[BUY]
    side = BUY if u * (rates.base + left[BUY] + left[SELL]) < buying else SELL
    left[side] += rates.own * rates.decay
    left[SELL if side == BUY else BUY] += rates.cross * rates.decay
    return int(side)


@compiled
def count(active: Bool, left: Float, rates: Excited, draws: Float, found: Int) -> None:
    """Count arrivals of a step, without a market.

    Parameters
    ----------
    active
        (B,) which streams move on.
    left
        (B, 2) excitement, moved on.
    rates
        Of all.
    draws
        (B, 5 most) uniform numbers.
    found
        (B, 2) buyers and sellers that came; written.
    """
    for b in range(len(active)):
        if active[b]:
            now, k = 0.0, 0
            found[b, BUY] = found[b, SELL] = 0
            while k < rates.most:
                first = N_ARRIVAL * k
                ahead = wait(left[b], rates, draws[b, first], draws[b, first + 1])
                if now + ahead >= 1.0:
                    break
                calm(left[b], rates, ahead)
                found[b, come(left[b], rates, draws[b, first + 2])] += 1
                now, k = now + ahead, k + 1
            calm(left[b], rates, 1.0 - now)
