"""Quotes that step aside where the book leans against them (Cartea, Donnelly & Jaimungal, 2018).

Source: Enhancing trading strategies with order book signals, Applied Mathematical Finance 25 (2018): the imbalance of
the best queues says on which side the next trades come, and a maker posts where he would not be run over.
"""

from __future__ import annotations

import math

from pydantic import Field

from qframe_rl.book.state import BUY, SELL
from qframe_rl.config import Base, search
from qframe_rl.quoter import BEST_LOTS, BookSpec, BookView, Wishes, around


class Config(Base):
    """When is quoted."""

    threshold: float = Field(default=0.3, ge=0.0, le=1.0, json_schema_extra=search(low=0.0, high=0.9))
    """Imbalance of the best queues, -1 to 1, from which on the side that it leans against is not quoted."""
    distance: float = Field(default=0.0, ge=0.0, le=1e6, json_schema_extra=search(low=0.0, high=10.0))
    """Behind the best price, ticks."""
    skew: float = Field(default=1.0, ge=0.0, le=1e6, json_schema_extra=search(low=0.0, high=5.0))
    """Ticks by which both quotes move against each whole quote that is held."""


class Imbalance:
    """A maker.

    Parameters
    ----------
    config
        When is quoted.
    spec
        The book.
    """

    window = 1

    def __init__(self, config: Config, spec: BookSpec):
        self.config, self.spec = config, spec

    def quote(self, view: BookView) -> Wishes:
        """The sides that the book does not lean against."""
        c, bids, asks = self.config, float(view.best[BUY, BEST_LOTS]), float(view.best[SELL, BEST_LOTS])
        lean = (bids - asks) / (bids + asks) if bids + asks > 0.0 else 0.0
        away, shift = 0.5 * view.spread + c.distance, c.skew * view.position / self.spec.size
        bid = away + shift if lean > -c.threshold or view.position < 0 else math.inf
        ask = away - shift if lean < c.threshold or view.position > 0 else math.inf
        return around(view, self.spec, bid, ask)


def make(config: Config, spec: BookSpec) -> Imbalance:
    """Make the agent."""
    return Imbalance(config, spec)
