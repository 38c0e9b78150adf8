"""Buys at the first open and holds to the end: the market itself, after the cost of one purchase."""

from __future__ import annotations

import numpy as np

from qframe_rl.agent import Brief, Memoryless, View
from qframe_rl.config import Base
from qframe_rl.interface import rebalance
from qframe_rl.types import CLOSE, Float, Int, Orders


class Config(Base):
    """Nothing to choose."""


class BuyAndHold(Memoryless):
    """Puts an equal share of equity into each instrument that trades at the first decision, and never trades again."""

    window = 1
    band = 0.0

    def decide(self, view: View) -> Orders:
        """Buy once."""
        if not view.first:
            return Orders.market(np.zeros(len(view.account.position)))
        return rebalance(view, _shares(view.bars[-1]))

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """Equal shares at the first decision, then nothing."""
        target = np.full((len(bars) - first, bars.shape[1]), np.nan)
        target[0] = _shares(bars[first])
        return target


def _shares(bar: Float) -> Float:
    """(A,) equal shares of what traded in a bar (A, C)."""
    traded = ~np.isnan(bar[:, CLOSE])
    return np.where(traded, 1.0 / max(1, traded.sum()), 0.0)


def make(config: Config, brief: Brief) -> BuyAndHold:
    """Make the agent."""
    return BuyAndHold()
