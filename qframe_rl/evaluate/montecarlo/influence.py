"""Which bars a result rests on: one bad print can be a whole backtest, and a report must say so.

The figure is what becomes of the result without the bar. A bar *decides* a record if it moves a figure by more than
that figure's standard error among the other bars. The Sharpe ratio alone would not show it: however large an outlier
is, it raises the deviation with the mean, and gives the root of the years of hours that there are.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.evaluate.inference.sharpe import Moments, moments
from qframe_rl.evaluate.metrics import sharpe
from qframe_rl.types import Float, Int, iso

MOST = 10
"""Bars that are listed."""
_NOTHING = 1e-12


class Influence(NamedTuple):
    """What one bar does to a record."""

    row: int
    """Bar of the record, from 0."""
    rate: float
    """Its return."""
    sharpe_without: float
    """Annual Sharpe ratio of the other bars."""
    total_without: float
    """Compound return of the other bars."""
    errors: float
    """Standard errors, of the other bars, by which it moves the Sharpe ratio or the log growth, whichever is more."""
    decides: bool
    """Whether the result rests on it: ``errors`` is above 1."""


def influences(rate: Float, frequency: float, most: int = MOST) -> list[Influence]:
    """Rank bars by what they do to a result.

    Parameters
    ----------
    rate
        (n,) returns per bar; the joint influence of several is not looked at.
    frequency
        Bars in a year.
    most
        How many to return.

    Returns
    -------
    list[Influence]
        The bars farthest from the median, those that move most first; none for fewer than three bars.
    """
    if len(rate) < 3:
        return []
    growth = np.log(np.maximum(1.0 + rate, _NOTHING))
    whole, total = sharpe(rate, frequency), float(growth.sum())
    suspects = np.argsort(-np.abs(rate - np.median(rate)), kind="stable")[:most]
    found = []
    for row in suspects:
        others = np.delete(rate, row)
        without = sharpe(others, frequency)
        error = standard_error(moments(others)) * math.sqrt(frequency)
        scale = float(np.std(np.delete(growth, row))) * math.sqrt(len(rate))
        moved = (abs(whole - without), error), (abs(float(growth[row])), scale)
        errors = max(change / usual if usual > 0.0 else 0.0 for change, usual in moved)
        left = math.expm1(total - float(growth[row]))
        found.append(Influence(int(row), float(rate[row]), without, left, errors, errors > 1.0))
    return sorted(found, key=lambda one: (-one.errors, one.row))


def standard_error(of: Moments) -> float:
    """Standard error of a Sharpe ratio per bar, with skew and kurtosis (Mertens, 2002)."""
    factor = 1.0 - of.skew * of.sharpe + (of.kurtosis - 1.0) / 4.0 * of.sharpe**2
    return math.sqrt(max(factor, 0.0) / max(of.n_bars - 1.0, 1.0))


def describe(found: list[Influence], times: Int) -> list[dict[str, Any]]:
    """Plain data, each with its time: ``times`` (n,) closes of the bars."""
    return [{**one._asdict(), "time": iso(int(times[one.row]))} for one in found]
