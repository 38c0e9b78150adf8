"""Buys at the first open and holds to the end: the market itself, after the cost of one purchase."""

from __future__ import annotations

import numpy as np

from qframe_rl.agent import Brief, View
from qframe_rl.config import Base
from qframe_rl.interface import rebalance
from qframe_rl.types import Orders


class Config(Base):
    """Nothing to choose."""


class BuyAndHold:
    """Puts an equal share of equity into each instrument that trades at the first decision, and never trades again."""

    window = 1

    def decide(self, view: View) -> Orders:
        """Buy once."""
        n = len(view.account.position)
        if not view.first:
            return Orders.market(np.zeros(n))
        traded = view.tradable
        return rebalance(view, np.where(traded, 1.0 / max(1, traded.sum()), 0.0))


def make(config: Config, brief: Brief) -> BuyAndHold:
    """Make the agent."""
    return BuyAndHold()
