"""A strategy that turns its whole account over on every bar, beginning long (side 1) or short (side -1)."""

from __future__ import annotations

import numpy as np

from qframe_rl.agent import MarketSpec, View
from qframe_rl.config import Base
from qframe_rl.interface import rebalance
from qframe_rl.types import Orders


class Config(Base):
    side: float = 1.0
    """How it begins."""


class Loser:
    window = 1

    def __init__(self, side: float):
        self.side = side

    def decide(self, view: View) -> Orders:
        n = len(view.account.position)
        return rebalance(view, np.where(view.account.position * self.side > 0.0, -self.side, self.side) / n)


def make(config: Config, spec: MarketSpec) -> Loser:
    return Loser(config.side)
