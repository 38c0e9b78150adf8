"""A strategy that shows why a Sharpe ratio is not enough: 11.3 times its equity, from midnight to noon."""

from __future__ import annotations

import numpy as np

from qframe_rl.agent import MarketSpec, Memoryless, View
from qframe_rl.config import Base
from qframe_rl.interface import rebalance
from qframe_rl.types import DAY, Orders


class Config(Base):
    """Nothing to choose."""


class Levered(Memoryless):
    """Holds it in the first half of each day."""

    window = 1

    def decide(self, view: View) -> Orders:
        """Buy at midnight, sell at noon."""
        return rebalance(view, np.full(len(view.account.position), 11.3 if view.time % DAY == 0 else 0.0))


def make(config: Config, spec: MarketSpec) -> Levered:
    """Make the agent."""
    return Levered()
