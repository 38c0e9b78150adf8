"""Quotes under exponential utility far from the end (Guéant, Lehalle & Fernandez-Tapia, 2013, proposition 3)."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from qframe_rl.config import Base, search
from qframe_rl.quoter import BookSpec, BookView, Wishes, around
from qframe_rl.theory.quoting import InventoryParams, asymptotic_quotes


class Config(Base):
    """Their terms, in ticks and whole quotes; what is null was measured on training rows."""

    aversion: float = Field(default=0.01, gt=0.0, le=1e6, json_schema_extra=search(low=1e-4, high=1.0, log=True))
    """gamma: absolute risk aversion, per tick and whole quote."""
    volatility: float | None = Field(default=None, ge=0.0, le=1e9)
    """Of the mid price, ticks per root of a second."""
    intensity: float | None = Field(default=None, gt=0.0, le=1e9)
    """A: trades of one side a second that would reach a quote at the mid price."""
    decay: float | None = Field(default=None, gt=0.0, le=1e9)
    """k: how fast they thin out with the distance, per tick."""


class Glft:
    """A maker.

    Parameters
    ----------
    config
        Its terms.
    spec
        The book. Where no trade was seen in training, nothing is quoted.
    """

    window = 1

    def __init__(self, config: Config, spec: BookSpec):
        self.spec = spec
        self._terms = InventoryParams(
            spec.intensity if config.intensity is None else config.intensity,
            spec.decay if config.decay is None else config.decay,
            config.aversion,
            spec.volatility if config.volatility is None else config.volatility,
            max(spec.limit // spec.size, 1),
        )

    def quote(self, view: BookView) -> Wishes:
        """Both sides, leaning against the inventory."""
        if self._terms.intensity <= 0.0:
            return around(view, self.spec, math.inf, math.inf)
        ask, bid = asymptotic_quotes(self._terms, np.array(view.position / self.spec.size))
        return around(view, self.spec, float(bid), float(ask))


def make(config: Config, spec: BookSpec) -> Glft:
    """Make the agent."""
    return Glft(config, spec)
