"""Keeps exposure at a constant multiple of equity, as leveraged tokens and funds do.

Its growth is known: ``leverage_growth`` of `qframe_rl.theory.kelly`.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from qframe_rl.agent import MarketSpec, Memoryless, View
from qframe_rl.config import Base, UserError, search
from qframe_rl.interface import rebalance
from qframe_rl.types import Float, Int, Orders


class Config(Base):
    """How much, and how closely."""

    leverage: float = Field(default=1.0, ge=-100.0, le=100.0)
    """Value of all positions as a multiple of equity, in equal parts; below zero = short, on perpetuals alone. It
    is a choice of risk, and no search makes it."""
    band: float = Field(default=0.05, ge=0.0, le=100.0, json_schema_extra=search(low=0.0, high=0.5))
    """No trade while a part is within this share of itself of its target: 0.05 lets a leverage of 2 lie between 1.9
    and 2.1. Wider costs less and lets leverage drift further; 0 = brought back at every bar."""


class ConstantLeverage(Memoryless):
    """Buys after rises and sells after falls (above 1), or the other way round (between 0 and 1)."""

    window = 1

    def __init__(self, config: Config, spec: MarketSpec):
        n, leverage = len(spec.instruments), config.leverage
        if leverage < 0.0 and not spec.shorting:
            raise UserError(f"agent constant_leverage: leverage={leverage:g} is short, which this market has not; take "
                            "--env perp, or a leverage above zero.")  # fmt: skip
        if abs(leverage) > spec.leverage:
            raise UserError(f"agent constant_leverage: leverage={leverage:g} is more than this market allows, "
                            f"{spec.leverage:g}; lower it, or raise env.leverage on perpetuals.")  # fmt: skip
        self.parts = np.full(n, leverage / n)
        self.band = config.band * abs(leverage) / n

    def decide(self, view: View) -> Orders:
        """Go back to the constant."""
        return rebalance(view, self.parts, self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """The constant, at every row."""
        return np.tile(self.parts, (len(bars) - first, 1))


def make(config: Config, spec: MarketSpec) -> ConstantLeverage:
    """Make the agent."""
    return ConstantLeverage(config, spec)
