"""Trades by chance: what costs alone do to an account."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from qframe_rl.agent import Brief, View
from qframe_rl.config import Base
from qframe_rl.interface import rebalance
from qframe_rl.types import Orders


class Config(Base):
    """How often it trades."""

    trade_probability: float = Field(default=0.05, ge=0.0, le=1.0)
    """Chance per bar and instrument of choosing a new exposure."""


class Random:
    """Chooses exposures uniformly, within equity, from a generator that starts anew with every session."""

    window = 1

    def __init__(self, config: Config, brief: Brief):
        self.config = config
        self.seed = brief.seed
        self.low = -1.0 if brief.shorting else 0.0
        self.rng = np.random.default_rng(self.seed)

    def decide(self, view: View) -> Orders:
        """Trade some instruments to a random share of equity."""
        if view.first:
            self.rng = np.random.default_rng(self.seed)
        n = len(view.account.position)
        target = self.rng.uniform(self.low, 1.0, n) / n
        return rebalance(view, np.where(self.rng.random(n) < self.config.trade_probability, target, np.nan))


def make(config: Config, brief: Brief) -> Random:
    """Make the agent."""
    return Random(config, brief)
