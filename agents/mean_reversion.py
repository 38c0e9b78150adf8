"""Mean reversion: buy what fell far below its mean, sell what rose far above it, and wait for the return."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from qframe_rl.agent import Brief, View
from qframe_rl.config import Base
from qframe_rl.interface import rebalance
from qframe_rl.types import DAY, YEAR, Bool, Float, Int, Orders


class Config(Base):
    """When it enters and leaves, and how large."""

    mean_bars: int = Field(default=50, ge=3)
    """Bars of the mean and deviation that a price is measured by."""
    entry: float = Field(default=2.0, gt=0.0)
    """Enter beyond this many standard deviations. A reversion of that size must exceed the cost of a round trip."""
    exit: float = Field(default=0.5, ge=0.0)
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
        self.window = max(config.mean_bars, config.regime_bars + config.volatility_bars)
        self.shorting = brief.shorting
        self.bars_per_year = YEAR / brief.bar_ns
        self.side = np.zeros(n)
        self.since: Int = np.zeros(n, dtype=np.int64)

    def decide(self, view: View) -> Orders:
        """Enter, leave, or stay as it is."""
        if view.first:
            self.side[:] = 0.0
        z, scale, volatility = self._measure(view.close[-self.window :])
        leave = self._leave(view, z, scale)
        self.side[leave] = 0.0
        enter = (self.side == 0.0) & ~leave & (np.abs(z) > self.config.entry * scale) & ((z < 0.0) | self.shorting)
        self.side[enter] = -np.sign(z[enter])
        self.since[enter] = view.time
        size = np.minimum(1.0, self.config.volatility_target / np.maximum(volatility, 1e-9)) / len(z)
        return rebalance(view, np.where(enter, self.side * size, np.where(self.side == 0.0, 0.0, np.nan)))

    def _leave(self, view: View, z: Float, scale: Float) -> Bool:
        back = (np.abs(z) < self.config.exit * scale) | (self.side * z > 0.0)
        old = view.time - self.since >= self.config.max_age_days * DAY
        leaving: Bool = (self.side != 0.0) & (back | old)
        return leaving

    def _measure(self, close: Float) -> tuple[Float, Float, Float]:
        """(A,) z-scores, threshold multipliers and volatilities a year; NaN z-scores compare as neither."""
        config = self.config
        recent = close[-config.mean_bars :]
        z = (close[-1] - recent.mean(axis=0)) / np.maximum(recent.std(axis=0), 1e-12)
        returns = np.diff(np.log(close[-config.regime_bars - config.volatility_bars :]), axis=0)
        trailing = np.lib.stride_tricks.sliding_window_view(returns, config.volatility_bars, axis=0).std(axis=-1)
        low, high = np.quantile(trailing, (0.25, 0.75), axis=0)
        scale = np.where(trailing[-1] < low, config.quiet, np.where(trailing[-1] > high, config.wild, 1.0))
        return z, scale, trailing[-1] * math.sqrt(self.bars_per_year)


def make(config: Config, brief: Brief) -> MeanReversion:
    """Make the agent."""
    return MeanReversion(config, brief)
