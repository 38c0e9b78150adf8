"""Time-series momentum: follow the sign of the past return, sized by volatility (Moskowitz, Ooi & Pedersen, 2012)."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from qframe_rl.agent import Brief, View
from qframe_rl.config import Base
from qframe_rl.interface import rebalance
from qframe_rl.types import YEAR, Orders


class Config(Base):
    """What is followed, and how large."""

    lookback_bars: int = Field(default=168, ge=2)
    """Bars whose return is followed; the default is a week of hours. Shorter reacts sooner and trades more."""
    volatility_bars: int = Field(default=72, ge=2)
    """Bars from which volatility is estimated."""
    volatility_target: float = Field(default=0.4, gt=0.0)
    """Standard deviation a year that each position aims at; exposure is capped at one share of equity in all."""
    band: float = Field(default=0.1, ge=0.0)
    """No trade while exposure is within this of its target."""


class Momentum:
    """Long what rose, short (where that is allowed) what fell."""

    def __init__(self, config: Config, brief: Brief):
        self.config = config
        self.window = max(config.lookback_bars, config.volatility_bars) + 1
        self.low = -1.0 if brief.shorting else 0.0
        self.bars_per_year = YEAR / brief.bar_ns

    def decide(self, view: View) -> Orders:
        """Target the sign of the return times target over current volatility."""
        config = self.config
        price = np.log(view.close[-self.window :])
        trend = np.sign(price[-1] - price[-1 - config.lookback_bars])
        returns = np.diff(price[-1 - config.volatility_bars :], axis=0)
        volatility = returns.std(axis=0) * math.sqrt(self.bars_per_year)
        size = np.minimum(1.0, config.volatility_target / np.maximum(volatility, 1e-9)) / price.shape[1]
        return rebalance(view, np.where(np.isnan(volatility), 0.0, np.maximum(self.low, trend * size)), config.band)


def make(config: Config, brief: Brief) -> Momentum:
    """Make the agent."""
    return Momentum(config, brief)
