"""Trades by chance: what costs alone do to an account."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from qframe_rl.agent import MarketSpec, State, View
from qframe_rl.config import Base
from qframe_rl.interface import rebalance
from qframe_rl.types import Float, Int, Orders


class Config(Base):
    """How often it trades."""

    trade_probability: float = Field(default=0.05, ge=0.0, le=1.0)
    """Chance per bar and instrument of choosing a new exposure."""


class Random:
    """Chooses exposures uniformly, within equity, from a generator that starts anew with every session."""

    window = 1
    band = 0.0

    def __init__(self, config: Config, spec: MarketSpec):
        self.config = config
        self.seed = spec.seed
        self.low = -1.0 if spec.shorting else 0.0
        self.rng = np.random.default_rng(self.seed)

    def decide(self, view: View) -> Orders:
        """Trade some instruments to a random share of equity."""
        if view.first:
            self.rng = np.random.default_rng(self.seed)
        return rebalance(view, self._drawn(self.rng, len(view.account.position)))

    def carried(self) -> State:
        """Where the generator is: the 128-bit state of PCG64."""
        place: int = self.rng.bit_generator.state["state"]["state"]
        return {"place": np.frombuffer(place.to_bytes(16, "little"), dtype=np.uint64).copy()}

    def carry(self, memory: State) -> None:
        """Take the generator over."""
        self.rng = np.random.default_rng(self.seed)
        state = self.rng.bit_generator.state
        state["state"]["state"] = int.from_bytes(memory["place"].astype("<u8").tobytes(), "little")
        self.rng.bit_generator.state = state

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """Draw what a session that begins at ``first`` would."""
        rng = np.random.default_rng(self.seed)
        return np.stack([self._drawn(rng, bars.shape[1]) for _ in range(first, len(bars))])

    def _drawn(self, rng: np.random.Generator, n: int) -> Float:
        target = rng.uniform(self.low, 1.0, n) / n
        return np.where(rng.random(n) < self.config.trade_probability, target, np.nan)


def make(config: Config, spec: MarketSpec) -> Random:
    """Make the agent."""
    return Random(config, spec)
