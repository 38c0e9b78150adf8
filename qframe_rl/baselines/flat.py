"""Never trades: what every other strategy must beat after costs."""

from __future__ import annotations

import numpy as np

from qframe_rl.agent import MarketSpec, Memoryless, View
from qframe_rl.config import Base
from qframe_rl.types import Float, Int, Orders


class Config(Base):
    """Nothing to choose."""


class Flat(Memoryless):
    """Holds cash."""

    window = 1
    band = 0.0

    def decide(self, view: View) -> Orders:
        """No orders."""
        return Orders.market(np.zeros(len(view.account.position)))

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """Nothing, ever."""
        return np.full((len(bars) - first, bars.shape[1]), np.nan)


def make(config: Config, spec: MarketSpec) -> Flat:
    """Make the agent."""
    return Flat()
