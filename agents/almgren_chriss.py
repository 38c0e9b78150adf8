"""A block done along the schedule that weighs impact against risk (Almgren & Chriss, 2000)."""

from __future__ import annotations

import math

from pydantic import Field

from qframe_rl.config import Base, search
from qframe_rl.quoter import BookSpec, BookView, Wishes, towards_target
from qframe_rl.theory.execution import ExecutionParams, schedule


class Config(Base):
    """Terms of the schedule, in ticks, lots and seconds."""

    aversion: float = Field(default=1e-5, ge=0.0, le=1e6, json_schema_extra=search(low=1e-7, high=1e-2, log=True))
    """lambda: weight of the variance of the cost, per tick and lot."""
    impact: float = Field(default=0.05, gt=0.0, le=1e6)
    """eta: ticks that the price moves against for each lot a second."""
    volatility: float | None = Field(default=None, ge=0.0, le=1e9)
    """Of the mid price, ticks per root of a second; null = as it was on training rows."""
    patience: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of the block by which what is done may lag the schedule before the rest is taken."""
    collar: int = Field(default=50, ge=0, le=10**9)
    """Ticks beyond the other side's best price that are accepted by what takes."""


class AlmgrenChriss:
    """A schedule that is steep first.

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
        self._held: dict[int, tuple[float, ...]] = {}

    def quote(self, view: BookView) -> Wishes:
        """Rest, and take what is late."""
        steps = max(view.n_decisions, 1)
        at = min(view.done + 1, steps)
        left = self._schedule(steps, abs(view.target))[at]
        share = max(1.0 - left - self.config.patience * (at < steps), 0.0)
        return towards_target(view, self.spec, math.floor(abs(view.target) * share), self.config.collar)

    def _schedule(self, steps: int, lots: int) -> tuple[float, ...]:
        """Share of the block that is left after each step."""
        if steps not in self._held:
            c, seconds = self.config, max(self.spec.decide_ns, 1) * steps / 1e9
            sigma = self.spec.volatility if c.volatility is None else c.volatility
            terms = ExecutionParams(max(lots, 1), seconds, steps, sigma, c.impact, 0.0, 0.0, c.aversion)
            self._held[steps] = tuple(float(x) / max(lots, 1) for x in schedule(terms))
        return self._held[steps]


def make(config: Config, spec: BookSpec) -> AlmgrenChriss:
    """Make the agent."""
    return AlmgrenChriss(config, spec)
