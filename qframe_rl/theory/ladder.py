"""What a grid of orders earns on a price that reverts to its mean.

The log price is an Ornstein-Uhlenbeck process around the log of a mean, and one unit rests between each level and the
next: it is bought when the price falls to the lower and sold when it rises to the upper one. That is the cycle of
Bertram (Analytic solutions for optimal statistical arbitrage trading, Physica A 389, 2010, equation 10), whose expected
length is known for any two thresholds; by the renewal theorem a long time T has T over that of them, and expectations
add up over steps, however they hang together.

It is exact where orders are placed anew as soon as one fills. Where that waits for the end of a bar, what returns
within the bar is missed: little, while a bar's deviation is small beside a step.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from qframe_rl.theory.bertram import BertramParams, expected_cycle
from qframe_rl.types import Float


def ladder_trips(spread: BertramParams, levels: Float) -> Float:
    """Expected round trips a year between each level and the next.

    Parameters
    ----------
    spread
        The log price's distance from the log of its mean; its cost counts for nothing here.
    levels
        (N + 1,) rising log distances of levels from the mean.

    Returns
    -------
    Float
        (N,) from below to above and back.
    """
    return np.array([1.0 / expected_cycle(spread, low, high) for low, high in pairwise(levels)])


def ladder_income(spread: BertramParams, prices: Float, mean: float, unit: float, fee: float) -> float:
    """Expected income a year in quote currency, after fees: what is bought low and sold high, step by step.

    Parameters
    ----------
    spread
        As in `ladder_trips`.
    prices
        (N + 1,) rising prices of the levels.
    mean
        Price that it reverts to.
    unit
        Base units of one step.
    fee
        On both sides of a round trip, fraction of notional.
    """
    low, high = prices[:-1], prices[1:]
    earned = unit * (high - low - fee * (high + low))
    return float((ladder_trips(spread, np.log(prices / mean)) * earned).sum())
