"""Time-series momentum: follow the sign of the past return, sized by volatility (Moskowitz, Ooi & Pedersen, 2012)."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from qframe_rl.agent import Brief, View
from qframe_rl.config import Base, search
from qframe_rl.interface import rebalance
from qframe_rl.jit import compiled
from qframe_rl.types import CLOSE, YEAR, Float, Int, Orders


class Config(Base):
    """What is followed, and how large."""

    lookback_bars: int = Field(default=168, ge=2, json_schema_extra=search(24, 72, 168, 336, 720))
    """Bars whose return is followed; the default is a week of hours. Shorter reacts sooner and trades more."""
    volatility_bars: int = Field(default=72, ge=2)
    """Bars from which volatility is estimated."""
    volatility_target: float = Field(default=0.4, gt=0.0)
    """Standard deviation a year that each position aims at; exposure is capped at one share of equity in all."""
    band: float = Field(default=0.1, ge=0.0, json_schema_extra=search(0.1, 0.3))
    """No trade while exposure is within this of its target."""


class Momentum:
    """Long what rose, short (where that is allowed) what fell."""

    def __init__(self, config: Config, brief: Brief):
        self.config = config
        self.band = config.band
        self.window = max(config.lookback_bars, config.volatility_bars) + 1
        self.low = -1.0 if brief.shorting else 0.0
        self.bars_per_year = YEAR / brief.bar_ns

    def decide(self, view: View) -> Orders:
        """Target the sign of the return times target over current volatility."""
        return rebalance(view, self.targets(view.bars, view.times, len(view.bars) - 1)[-1], self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """The same for every row: each looks at its own last bars alone."""
        config = self.config
        close = np.ascontiguousarray(bars[first - self.window + 1 :, :, CLOSE])
        out = np.empty((len(bars) - first, close.shape[1], 2))
        _measure(close, self.window - 1, config.lookback_bars, config.volatility_bars, np.empty_like(close), out)
        trend, volatility = out[..., 0], out[..., 1] * math.sqrt(self.bars_per_year)
        size = np.minimum(1.0, config.volatility_target / np.maximum(volatility, 1e-9)) / close.shape[1]
        return np.where(np.isnan(volatility), 0.0, np.maximum(self.low, trend * size))


@compiled
def _measure(close: Float, first: int, lookback: int, n: int, logs: Float, out: Float) -> None:
    """Write the sign of the return over ``lookback`` bars and the standard deviation of the last ``n`` returns."""
    for a in range(close.shape[1]):
        for t in range(close.shape[0]):
            logs[t, a] = math.log(close[t, a])
        for t in range(first, close.shape[0]):
            out[t - first, a, 0] = np.sign(logs[t, a] - logs[t - lookback, a])
            mean = (logs[t, a] - logs[t - n, a]) / n
            squares = 0.0
            for k in range(t - n + 1, t + 1):
                squares += (logs[k, a] - logs[k - 1, a] - mean) ** 2
            out[t - first, a, 1] = math.sqrt(squares / n)


def make(config: Config, brief: Brief) -> Momentum:
    """Make the agent."""
    return Momentum(config, brief)
