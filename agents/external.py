"""Trades what was decided elsewhere: a column of target exposures, held until another comes."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from qframe_rl.agent import MarketSpec, Memoryless, View
from qframe_rl.config import Base, UserError
from qframe_rl.interface import rebalance
from qframe_rl.types import Float, Int, Orders, parse_time


class Config(Base):
    """Where the targets are, and how closely they are followed."""

    column: str = Field(default="target", pattern=r"^\w+$")
    """Column of the data with signed shares of equity, such as target=decisions:model.jsonl, or any that states when it
    was published. No value = hold what there is."""
    band: float = Field(default=0.0, ge=0.0, le=100.0)
    """No trade while exposure is within this of its target; 0 = every target is met at every bar that has it."""
    knows_until: str | None = None
    """Last moment of which whoever decides may have learned, ISO 8601 UTC, such as the cut-off of a language model:
    bars before it are in no verdict. None = nobody says so."""

    @field_validator("knows_until", mode="before")
    @classmethod
    def _a_moment(cls, said: Any) -> Any:
        """TOML has days and moments of its own."""
        text = said.isoformat() if isinstance(said, date) else said
        if isinstance(text, str):
            parse_time(text)
            if "." in text:  # a checkpoint's texts have no dots
                raise ValueError("is a moment to the second, such as 2024-06-01T12:00:00; leave the fraction out")
        return text


class External(Memoryless):
    """Goes to the targets, as far as the market lets it."""

    window = 1

    def __init__(self, config: Config, spec: MarketSpec):
        if config.column not in spec.columns:
            raise UserError(
                f"agent external follows the column {config.column!r}, which the data do not have; add it, such as "
                f"--columns {config.column}=decisions:FILE."
            )
        self.channel = 5 + spec.columns.index(config.column)
        self.band, self.least, self.most = config.band, 0.0 if not spec.shorting else -np.inf, spec.leverage

    def decide(self, view: View) -> Orders:
        """Go to the target that is known now."""
        return rebalance(view, self._within(view.bars[-1:])[0], self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """What is known at every row."""
        return self._within(bars[first:])

    def _within(self, bars: Float) -> Float:
        """(T, A) targets of (T, A, C) bars, never short where there are no shorts, scaled down to the leverage."""
        wanted = np.maximum(bars[:, :, self.channel], self.least)
        gross = np.nansum(np.abs(wanted), axis=1, keepdims=True)
        scale = np.where(gross > self.most, self.most / np.where(gross > 0.0, gross, 1.0), 1.0)
        within: Float = wanted * scale
        return within


def make(config: Config, spec: MarketSpec) -> External:
    """Make the agent."""
    return External(config, spec)
