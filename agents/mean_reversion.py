"""Mean reversion: buy what fell far below its mean, sell what rose far above it, and wait for the return."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from qframe_rl.agent import Brief, View
from qframe_rl.config import Base, search
from qframe_rl.features import frozen
from qframe_rl.interface import rebalance
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import CLOSE, DAY, YEAR, Float, Int, Orders


class Config(Base):
    """When it enters and leaves, and how large."""

    mean_bars: int = Field(default=50, ge=3, json_schema_extra=search(24, 50, 100, 200))
    """Bars of the mean and deviation that a price is measured by."""
    entry: float = Field(default=2.0, gt=0.0, json_schema_extra=search(1.5, 2.0, 3.0))
    """Enter beyond this many standard deviations. A reversion of that size must exceed the cost of a round trip."""
    exit: float = Field(default=0.5, ge=0.0, json_schema_extra=search(0.0, 0.5))
    """Leave within this many standard deviations, or on the other side of the mean."""
    max_age_days: float = Field(default=5.0, gt=0.0)
    """Leave after this time whatever the price."""
    quiet: float = Field(default=0.7, gt=0.0)
    """Multiplier of both thresholds while volatility is in the lowest quarter of its recent range."""
    wild: float = Field(default=1.5, gt=0.0)
    """Multiplier of both thresholds while volatility is in the highest quarter of its recent range."""
    regime_bars: int = Field(default=252, ge=20)
    """Bars of that recent range."""
    volatility_bars: int = Field(default=20, ge=2)
    """Bars from which volatility is estimated."""
    volatility_target: float = Field(default=0.4, gt=0.0)
    """Standard deviation a year that each position aims at; exposure is capped at one share of equity in all."""


QUICK = {"regime_bars": 60}
"""Parameters that need little history: for a first try, and for tests."""


class MeanReversion:
    """A state machine per instrument: flat, long or short, since when (ALGORITHMS, card 4.2)."""

    def __init__(self, config: Config, brief: Brief):
        n = len(brief.instruments)
        self.config = config
        self.band = 0.0
        self.window = max(config.mean_bars, config.regime_bars + config.volatility_bars)
        self.shorting = brief.shorting
        self.bars_per_year = YEAR / brief.bar_ns
        self.side = np.zeros(n)
        self.since: Int = np.zeros(n, dtype=np.int64)

    def decide(self, view: View) -> Orders:
        """Enter, leave, or stay as it is."""
        if view.first:
            self.side[:] = 0.0
        measured = self._measured(view.bars, len(view.bars) - 1)
        target = self._walk(measured, view.times[-1:], self.side, self.since)
        return rebalance(view, target[0], self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """Walk the same states over all rows, beginning flat."""
        n = bars.shape[1]
        return self._walk(self._measured(bars, first), times[first:], np.zeros(n), np.zeros(n, dtype=np.int64))

    def _walk(self, measured: Float, times: Int, side: Float, since: Int) -> Float:
        config, out = self.config, np.empty(measured.shape[:2])
        age, aim = int(config.max_age_days * DAY), config.volatility_target / math.sqrt(self.bars_per_year)
        _walk(measured, frozen(times), config.entry, config.exit, age, aim, self.shorting, side, since, out)
        return out

    def _measured(self, bars: Float, first: int) -> Float:
        """(T - first, A, 3) z-scores, threshold multipliers and volatilities per bar."""
        config = self.config
        close = np.ascontiguousarray(bars[first - self.window + 1 :, :, CLOSE])
        out = np.empty((len(bars) - first, close.shape[1], 3))
        work, order = np.empty((3, *close.shape)), np.empty(config.regime_bars)
        numbers = (config.mean_bars, config.regime_bars, config.volatility_bars)
        _measure(close, self.window - 1, *numbers, config.quiet, config.wild, work, order, out)
        return out


@compiled
def _walk(
    measured: Float, times: Int, entry: float, leave: float, age: int, aim: float, shorting: bool, side: Float,
    since: Int, out: Float,
) -> None:  # fmt: skip
    """Move the states ``side`` and ``since`` (A,) over all rows and write what each asks for."""
    n = len(side)
    for t in range(len(measured)):
        for a in range(n):
            z, scale, volatility = measured[t, a, 0], measured[t, a, 1], measured[t, a, 2]
            old = times[t] - since[a] >= age
            left = side[a] != 0.0 and (abs(z) < leave * scale or side[a] * z > 0.0 or old)
            if left:
                side[a] = 0.0
            out[t, a] = 0.0 if side[a] == 0.0 else np.nan
            if side[a] == 0.0 and not left and abs(z) > entry * scale and (z < 0.0 or shorting):
                side[a] = 1.0 if z < 0.0 else -1.0
                since[a] = times[t]
                size = aim / (1e-12 if volatility <= 1e-12 else volatility)
                out[t, a] = side[a] * (1.0 if size > 1.0 else size) / n


@compiled
def _measure(
    close: Float, first: int, mean_bars: int, regime_bars: int, n: int, quiet: float, wild: float, work: Float,
    order: Float, out: Float,
) -> None:  # fmt: skip
    """Measure rows ``first``.. of (T, A) closes; NaN z-scores, from bars that are missing, compare as neither."""
    logs, moves, trailing = work[0], work[1], work[2]
    for a in range(close.shape[1]):
        for t in range(close.shape[0]):
            logs[t, a] = math.log(close[t, a])
            moves[t, a] = logs[t, a] - logs[max(t - 1, 0), a]
        for t in range(first - regime_bars + 1, close.shape[0]):
            mean = (logs[t, a] - logs[t - n, a]) / n
            trailing[t, a] = math.sqrt(_squares(moves, a, t - n + 1, t + 1, mean) / n)
        known = 0
        for t in range(first - regime_bars + 1, first):
            known = _insert(order, known, trailing[t, a])
        for t in range(first, close.shape[0]):
            known = _insert(order, known, trailing[t, a])
            scale = 1.0
            if known == regime_bars:
                low, high = _quantile(order, known, 0.25), _quantile(order, known, 0.75)
                scale = quiet if trailing[t, a] < low else wild if trailing[t, a] > high else 1.0
            known = _remove(order, known, trailing[t - regime_bars + 1, a])
            mean = _sum(close, a, t - mean_bars + 1, t + 1) / mean_bars
            spread = math.sqrt(_squares(close, a, t - mean_bars + 1, t + 1, mean) / mean_bars)
            out[t - first, a, 0] = (close[t, a] - mean) / (1e-12 if spread <= 1e-12 else spread)
            out[t - first, a, 1] = scale
            out[t - first, a, 2] = trailing[t, a]


@inlined
def _sum(x: Float, a: int, start: int, stop: int) -> float:
    """Sum of rows of one instrument, in four strands: one alone would wait for each addition."""
    one = two = three = four = 0.0
    k = start
    while k + 4 <= stop:
        one += x[k, a]
        two += x[k + 1, a]
        three += x[k + 2, a]
        four += x[k + 3, a]
        k += 4
    while k < stop:
        one += x[k, a]
        k += 1
    return (one + two) + (three + four)


@inlined
def _squares(x: Float, a: int, start: int, stop: int, mean: float) -> float:
    """Sum of squared distances from ``mean``, in four strands."""
    one = two = three = four = 0.0
    k = start
    while k + 4 <= stop:
        one += (x[k, a] - mean) ** 2
        two += (x[k + 1, a] - mean) ** 2
        three += (x[k + 2, a] - mean) ** 2
        four += (x[k + 3, a] - mean) ** 2
        k += 4
    while k < stop:
        one += (x[k, a] - mean) ** 2
        k += 1
    return (one + two) + (three + four)


@inlined
def _quantile(order: Float, n: int, q: float) -> float:
    """Quantile of ``n`` sorted numbers, interpolated."""
    place = q * (n - 1)
    k = int(place)
    return float(order[k] + (order[min(k + 1, n - 1)] - order[k]) * (place - k))


@inlined
def _place(order: Float, n: int, x: float) -> int:
    """Return how many of ``n`` sorted numbers are below ``x``."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if order[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def _insert(order: Float, n: int, x: float) -> int:
    """Put ``x`` among ``n`` sorted numbers, unless it is NaN; return how many there are then."""
    if math.isnan(x):
        return n
    at = _place(order, n, x)
    for k in range(n, at, -1):
        order[k] = order[k - 1]
    order[at] = x
    return n + 1


@inlined
def _remove(order: Float, n: int, x: float) -> int:
    """Take ``x`` out of ``n`` sorted numbers, unless it is NaN; return how many are left."""
    if math.isnan(x):
        return n
    for k in range(_place(order, n, x), n - 1):
        order[k] = order[k + 1]
    return n - 1


def make(config: Config, brief: Brief) -> MeanReversion:
    """Make the agent."""
    return MeanReversion(config, brief)
