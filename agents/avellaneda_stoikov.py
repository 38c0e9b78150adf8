"""Quotes round a reservation price (Avellaneda & Stoikov, High-frequency trading in a limit order book, 2008)."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from qframe_rl.config import Base, search
from qframe_rl.quoter import BookSpec, BookView, Wishes, around
from qframe_rl.theory.quoting import avellaneda_stoikov


class Config(Base):
    """Terms of their equations 29 and 30, in ticks and whole quotes; what is null was measured on training rows."""

    aversion: float = Field(default=0.01, gt=0.0, le=1e6, json_schema_extra=search(low=1e-4, high=1.0, log=True))
    """gamma: absolute risk aversion, per tick and whole quote."""
    horizon_s: float = Field(default=10.0, gt=0.0, le=1e6)
    """Time that the inventory is thought to be held, seconds: a market without an end has none of its own."""
    volatility: float | None = Field(default=None, ge=0.0, le=1e9)
    """Of the mid price, ticks per root of a second."""
    decay: float | None = Field(default=None, gt=0.0, le=1e9)
    """k: how fast trades thin out with the distance from the mid price, per tick."""


class AvellanedaStoikov:
    """A maker.

    Parameters
    ----------
    config
        Its terms.
    spec
        The book.
    """

    window = 1

    def __init__(self, config: Config, spec: BookSpec):
        self.config, self.spec = config, spec
        self._volatility = spec.volatility if config.volatility is None else config.volatility
        self._decay = spec.decay if config.decay is None else config.decay

    def quote(self, view: BookView) -> Wishes:
        """Both sides, leaning against the inventory."""
        c = self.config
        held = np.array(view.position / self.spec.size)
        left = c.horizon_s * view.time_left if view.n_decisions else c.horizon_s
        ask, bid = avellaneda_stoikov(held, np.array(left), c.aversion, self._volatility, self._decay)
        return around(view, self.spec, float(bid), float(ask))


def make(config: Config, spec: BookSpec) -> AvellanedaStoikov:
    """Make the agent."""
    return AvellanedaStoikov(config, spec)
