"""The best that can be done in a market whose optimum is known: what every other agent's growth is measured by."""

from __future__ import annotations

import numpy as np

from qframe_rl.agent import MarketSpec, Memoryless, View
from qframe_rl.config import Base, UserError
from qframe_rl.interface import rebalance
from qframe_rl.theory.ar1 import ar1_flip
from qframe_rl.types import Orders


class Config(Base):
    """Nothing to choose: the market publishes its constants."""


class Optimal(Memoryless):
    """Holds one share of equity long or short, and flips when the published signal passes the threshold."""

    window = 1

    def __init__(self, spec: MarketSpec):
        if spec.theory is None or "signal" not in spec.columns:
            raise UserError("agent 'optimal' needs a market whose optimum is known; take --data synthetic:ar1.")
        self.channel = 5 + spec.columns.index("signal")
        self.threshold = ar1_flip(spec.theory["phi"], spec.cost_rate / spec.theory["edge"]).threshold

    def decide(self, view: View) -> Orders:
        """Flip, or leave it as it is; drift alone does not trade."""
        signal = view.bars[-1, :, self.channel]
        held = np.sign(view.account.position)
        limit = np.where(held == 0.0, 0.0, self.threshold)
        side = np.where(signal > limit, 1.0, np.where(signal < -limit, -1.0, held))
        return rebalance(view, np.where(side == held, np.nan, side))


def make(config: Config, spec: MarketSpec) -> Optimal:
    """Make the agent."""
    return Optimal(spec)
