"""The rule that came with a claim of 56.5 % return, exactly as it ran: a baseline, and it loses money.

The claim was no strategy result; docs/agents.md tells the story. Whatever the market did, the rule's regime detector
answered "ranging", so its constants are those of that regime; its RSI filter, stop, target and drawdown limit were
configured and never applied, so they are not here either (ALGORITHMS, sections 0 and 1).
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from qframe_rl.agent import Brief, Memoryless, View
from qframe_rl.config import Base
from qframe_rl.features import Remembered, frozen
from qframe_rl.interface import rebalance
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import CLOSE, Float, Int, Orders

_MEASURED = Remembered()


class Config(Base):
    """The constants of the regime that it was always in. They were published; none was fitted."""

    windows: tuple[int, ...] = (10, 20, 50)
    """Bars of the means that the price is measured by; each counts alike."""
    z_scale: float = Field(default=1.8, gt=0.0)
    """Standard deviations at which a signal saturates (tanh of 1)."""
    multiplier: float = Field(default=1.2, gt=0.0)
    """Strength of the signal."""
    base_volatility: float = Field(default=0.015, gt=0.0)
    """Volatility per bar at which the signal is left as it is. It is a daily figure whatever the bar, so on hours the
    ratio sits at its upper bound: one of the rule's faults, kept."""
    volatility_bars: int = Field(default=20, ge=2)
    """Bars from which volatility is measured."""
    ratio_low: float = Field(default=0.5, gt=0.0)
    """Least ratio of base to measured volatility."""
    ratio_high: float = Field(default=1.5, gt=0.0)
    """Largest ratio of base to measured volatility."""
    threshold: float = Field(default=0.02, ge=0.0)
    """Signals below this are zero."""
    kelly: float = Field(default=0.25, gt=0.0, le=1.0)
    """Share of equity at a signal of one: its Kelly fraction of 0.328 came from invented odds and was capped here."""
    least_strength: float = Field(default=0.01, ge=0.0)
    """Exposures below this are zero."""


class AdaptiveMeanReversionLegacy(Memoryless):
    """Sells what rose and buys what fell, on nearly every bar."""

    band = 0.0

    def __init__(self, config: Config, brief: Brief):
        self.config = config
        self.window = max(*config.windows, config.volatility_bars + 1)
        self.low = -1.0 if brief.shorting else 0.0

    def decide(self, view: View) -> Orders:
        """Go to the signal's exposure, each bar anew."""
        return rebalance(view, self.targets(view.bars, view.times, len(view.bars) - 1)[0])

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """The same for every row: each looks at its own last bars alone."""
        close = bars[first - self.window + 1 :, :, CLOSE]
        key = (self.config.windows, self.config.volatility_bars, self.window)
        measured = _MEASURED(key, [close], lambda: self._measured(close))
        return np.maximum(self.low, self._exposure(measured))

    def _measured(self, close: Float) -> Float:
        """(T - window + 1, A, W + 1) z-scores of each window, and volatility a bar."""
        config = self.config
        prices, windows = frozen(close.T), frozen(np.array(config.windows, dtype=np.int64))
        out = np.empty((len(close) - self.window + 1, len(prices), len(windows) + 1))
        for a, row in enumerate(prices):
            _measure(row, self.window - 1, windows, config.volatility_bars, np.empty(len(row)), out[:, a])
        return out

    def _exposure(self, measured: Float) -> Float:
        """(T, A) signed shares of equity; 0 where a bar is missing."""
        config, out = self.config, np.empty(measured.shape[:2])
        size = np.array([config.multiplier, config.base_volatility, config.ratio_low, config.ratio_high])
        floor, kelly = np.array([config.threshold, config.least_strength]), min(config.kelly, 1.0 / measured.shape[1])
        _expose(frozen(measured), config.z_scale, size, floor, kelly, out)
        return out


@compiled
def _measure(close: Float, first: int, windows: Int, volatility_bars: int, moves: Float, out: Float) -> None:
    """Write what rows ``first``.. of (T,) closes show, with sample deviations."""
    n = len(windows)
    for t in range(len(close)):
        moves[t] = close[t] / close[max(t - 1, 0)] - 1.0
    for t in range(first, len(close)):
        for w in range(n):
            mean, deviation = _moments(close[t - windows[w] + 1 : t + 1])
            out[t - first, w] = (close[t] - mean) / deviation if deviation != 0.0 else 0.0
        out[t - first, n] = _moments(moves[t - volatility_bars + 1 : t + 1])[1]


@inlined
def _moments(x: Float) -> tuple[float, float]:
    """Mean and standard deviation (n - 1)."""
    mean = squares = 0.0
    for k in range(len(x)):
        mean += x[k]
    mean /= len(x)
    for k in range(len(x)):
        squares += (x[k] - mean) ** 2
    return mean, math.sqrt(squares / (len(x) - 1))


@compiled
def _expose(measured: Float, scale: float, size: Float, floor: Float, kelly: float, out: Float) -> None:
    """Write the exposures; what is too weak, or not known, is 0."""
    n = measured.shape[2] - 1
    for t in range(out.shape[0]):
        for a in range(out.shape[1]):
            signal = 0.0
            for w in range(n):
                signal -= math.tanh(measured[t, a, w] / scale) * size[0] / n
            volatility = measured[t, a, n]
            known = not math.isnan(signal) and not math.isnan(volatility)
            ratio = size[1] / (1e-12 if volatility <= 1e-12 else volatility)
            signal *= min(max(ratio, size[2]), size[3])
            signal = min(max(signal, -1.0), 1.0)
            held = signal * kelly if abs(signal) >= floor[0] else 0.0
            out[t, a] = held if known and abs(held) >= floor[1] else 0.0


def make(config: Config, brief: Brief) -> AdaptiveMeanReversionLegacy:
    """Make the agent."""
    return AdaptiveMeanReversionLegacy(config, brief)
