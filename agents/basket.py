"""A basket: fixed shares of equity, brought back by the calendar, or where one has drifted out of a band."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from qframe_rl.agent import MarketSpec, Memoryless, View
from qframe_rl.config import Base, UserError, search
from qframe_rl.interface import rebalance
from qframe_rl.types import CLOSE, Bool, Float, Int, Orders


class Config(Base):
    """What is held, and when it is brought back to that."""

    weights: tuple[Annotated[float, Field(ge=-100.0, le=100.0)], ...] = Field(default=(), max_length=10_000)
    """Share of equity to hold of each instrument, in their order; empty = equal parts of `gross`."""
    gross: float = Field(default=1.0, gt=0.0, le=100.0)
    """Sum of the equal parts, share of equity; what is beside it stays cash."""
    rebalance_bars: int = Field(default=168, ge=1, le=1_000_000, json_schema_extra=search(low=1, high=2160, log=True))
    """Shares are looked at each so many bars, counted from 1970: a week of hours. 1 = at every bar, for a `band`."""
    band: float = Field(default=0.0, ge=0.0, le=100.0, json_schema_extra=search(low=0.0, high=0.2))
    """Only what is off by more than this is traded, share of equity; 0 = all that is off by anything."""
    seen_bars: int = Field(default=24, ge=1, le=1_000_000)
    """An instrument has a part while it traded in one of so many last bars: a gap of one bar moves nobody's part."""


class Basket(Memoryless):
    """The same shares at all times, whatever prices do: what fell is bought and what rose is sold."""

    def __init__(self, config: Config, spec: MarketSpec):
        n = len(spec.instruments)
        if config.weights and len(config.weights) != n:
            raise UserError(f"agent basket: {len(config.weights)} weights for {n} instruments; give one each.")
        if not spec.shorting and any(weight < 0.0 for weight in config.weights):
            raise UserError("agent basket: weights below zero are shorts, which this market has not; take --env perp.")
        asked = sum(map(abs, config.weights)) if config.weights else config.gross
        if asked > spec.leverage * (1.0 + 1e-9):
            raise UserError(f"agent basket: {'weights come' if config.weights else 'gross comes'} to {asked:g} of "
                            f"equity, more than this market allows, {spec.leverage:g}; lower that, or raise "
                            "env.leverage on perpetuals.")  # fmt: skip
        self.config, self.bar_ns, self.band = config, spec.bar_ns, config.band
        self.window = config.seen_bars
        self.given = np.array(config.weights)
        self.member = spec.member

    def decide(self, view: View) -> Orders:
        """Bring the shares back when it is time to, and at the first decision."""
        due = view.first or view.time // self.bar_ns % self.config.rebalance_bars == 0
        shares = self._shares(view.close[None, -self.window :].swapaxes(1, 2), view.outside[None])[0]
        return rebalance(view, shares if due else np.full(len(shares), np.nan), self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """The same for every row."""
        close = sliding_window_view(bars[first - self.window + 1 :, :, CLOSE], self.window, axis=0)
        due = times[first:] // self.bar_ns % self.config.rebalance_bars == 0
        due[:1] = True
        outside = bars[first:, :, self.member] == 0.0 if self.member else np.zeros(close.shape[:2], dtype=np.bool_)
        return np.where(due[:, None], self._shares(close, outside), np.nan)

    def _shares(self, close: Float, outside: Bool) -> Float:
        """(T, A) target exposures from (T, A, W) closes and who is outside the universe; NaN = nothing is asked for.

        That is of who is not there. Who is outside has no part.
        """
        seen = np.asarray(~np.isnan(close).all(axis=-1))
        if len(self.given):
            return np.where(seen, np.where(outside, 0.0, self.given), np.nan)
        count = np.maximum((seen & ~outside).sum(axis=-1, keepdims=True), 1)
        return np.where(seen, np.where(outside, 0.0, self.config.gross / count), np.nan)


def make(config: Config, spec: MarketSpec) -> Basket:
    """Make the agent."""
    return Basket(config, spec)
