"""Cross-sectional momentum or carry: hold the better half of the coins against the worse half, by rank.

Rank weights are those of Asness, Moskowitz & Pedersen (2013, equation 1); momentum among coins is documented by Liu,
Tsyvinski & Wu (2022), carry by Koijen et al. (2018): a perpetual that pays little funding, or gets some, is held.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from qframe_rl.agent import MarketSpec, Memoryless, View
from qframe_rl.config import Base, UserError
from qframe_rl.interface import rebalance
from qframe_rl.types import Float, Orders

_RATE = "funding_rate"


class Config(Base):
    """What the coins are ranked by, and how much is held."""

    score: Literal["momentum", "carry"] = "momentum"
    """``momentum`` ranks by past return; ``carry`` by funding received: it needs perpetuals with funding rates."""
    lookback_bars: int = Field(default=168, ge=1, le=1_000_000)
    """Bars of the past return, or of the mean funding rate. The default is a week of hours; on days 21 to 63 are
    usual."""
    skip_bars: int = Field(default=0, ge=0, le=1_000_000)
    """Newest bars left out of the past return, because the last ones tend to be given back (``momentum``)."""
    scaled: bool = True
    """Whether a past return is divided by its own volatility, so that wild coins do not take all outer ranks."""
    hold_bars: int = Field(default=24, ge=1, le=1_000_000)
    """Ranks are taken anew each so many bars (counted from 1970). Longer trades less and follows less closely."""
    gross: float = Field(default=1.0, gt=0.0, le=1e6)
    """Sum of absolute exposures; half of it long and half short. Without shorting all of it is the long half."""
    band: float = Field(default=0.0, ge=0.0, le=1000.0)
    """No trade while an exposure is within this of its target."""


class CrossSectional(Memoryless):
    """Dollar-neutral where shorts are allowed, else the better half alone."""

    def __init__(self, config: Config, spec: MarketSpec):
        if len(spec.instruments) < 2:
            raise UserError("agent cross_sectional ranks coins against each other; give it at least two symbols.")
        if config.score == "carry" and _RATE not in spec.columns:
            raise UserError(
                "agent cross_sectional: score=carry needs perpetuals with funding rates; the data have none."
            )
        self.config = config
        self.shorting = spec.shorting
        self.bar_ns = spec.bar_ns
        self.channel = 5 + spec.columns.index(_RATE) if config.score == "carry" else 0
        self.window = config.lookback_bars + 1 + (config.skip_bars if config.score == "momentum" else 0)

    def decide(self, view: View) -> Orders:
        """Rank and trade when it is time to; otherwise let the positions run."""
        count = view.time // self.bar_ns
        if not view.first and count % self.config.hold_bars:
            return Orders.market(np.zeros(view.bars.shape[1]))
        return rebalance(view, self.weights(self._score(view)), self.config.band)

    def weights(self, score: Float) -> Float:
        """(A,) exposures from scores; NaN = not among the coins."""
        known = ~np.isnan(score)
        n = int(known.sum())
        weight = np.zeros(len(score))
        if n < 2:
            return weight
        # Equal scores share their ranks: what is alike is held alike.
        rank = (score[known][:, None] > score[known]).sum(axis=1) + 0.5 * (score[known][:, None] == score[known]).sum(
            axis=1
        )
        centred = rank - 0.5 * n
        weight[known] = centred if self.shorting else np.maximum(centred, 0.0)
        total = np.abs(weight).sum()
        return weight * (self.config.gross / total) if total > 0.0 else weight

    def _score(self, view: View) -> Float:
        config = self.config
        if config.score == "carry":
            rates = view.bars[-config.lookback_bars :, :, self.channel].mean(axis=0)
            return np.where(view.tradable, -rates, np.nan)
        end = len(view.close) - config.skip_bars
        price = np.log(view.close[end - config.lookback_bars - 1 : end])
        rise: Float = price[-1] - price[0]
        if config.scaled and config.lookback_bars > 1:
            rise = rise / np.maximum(np.diff(price, axis=0).std(axis=0), 1e-9)
        return np.where(view.tradable, rise, np.nan)


def make(config: Config, spec: MarketSpec) -> CrossSectional:
    """Make the agent."""
    return CrossSectional(config, spec)
