"""The rule that came with a claim of 56.5 % return, exactly as it ran: a baseline, and it loses money.

The claim was no strategy result; docs/agents.md tells the story. Whatever the market did, the rule's regime detector
answered "ranging", so its constants are those of that regime; its RSI filter, stop, target and drawdown limit were
configured and never applied, so they are not here either (ALGORITHMS, sections 0 and 1).
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from qframe_rl.agent import Brief, Memoryless, View
from qframe_rl.config import Base
from qframe_rl.interface import rebalance
from qframe_rl.types import Float, Orders


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

    def __init__(self, config: Config, brief: Brief):
        self.config = config
        self.window = max(*config.windows, config.volatility_bars + 1)
        self.low = -1.0 if brief.shorting else 0.0

    def decide(self, view: View) -> Orders:
        """Go to the signal's exposure, each bar anew."""
        return rebalance(view, np.maximum(self.low, self.exposure(view.close[-self.window :])))

    def exposure(self, close: Float) -> Float:
        """(A,) signed shares of equity from (W, A) closes; 0 where a bar is missing."""
        config, n = self.config, close.shape[1]
        signal = np.zeros(n)
        for bars in config.windows:
            part = close[-bars:]
            deviation = part.std(axis=0, ddof=1)
            z = np.divide(close[-1] - part.mean(axis=0), deviation, out=np.zeros(n), where=deviation > 0.0)
            signal -= np.tanh(z / config.z_scale) * config.multiplier / len(config.windows)
        recent = close[-config.volatility_bars - 1 :]
        volatility = (recent[1:] / recent[:-1] - 1.0).std(axis=0, ddof=1)
        ratio = config.base_volatility / np.maximum(volatility, 1e-12)
        signal = np.clip(signal * np.clip(ratio, config.ratio_low, config.ratio_high), -1.0, 1.0)
        held = np.where(np.abs(signal) < config.threshold, 0.0, signal) * min(config.kelly, 1.0 / n)
        return np.where(np.isnan(held) | (np.abs(held) < config.least_strength), 0.0, held)


def make(config: Config, brief: Brief) -> AdaptiveMeanReversionLegacy:
    """Make the agent."""
    return AdaptiveMeanReversionLegacy(config, brief)
