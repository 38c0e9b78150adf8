"""An equal part of a block in each step of time, resting first, taken when it is late."""

from __future__ import annotations

import math

from pydantic import Field

from qframe_rl.config import Base
from qframe_rl.quoter import BookSpec, BookView, Wishes, towards_target


class Config(Base):
    """How late is late."""

    patience: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of the block by which what is done may lag the schedule before the rest is taken."""
    collar: int = Field(default=50, ge=0, le=10**9)
    """Ticks beyond the other side's best price that are accepted by what takes."""


class Twap:
    """A schedule that is a straight line.

    Parameters
    ----------
    config
        How late is late.
    spec
        The book.
    """

    window = 1

    def __init__(self, config: Config, spec: BookSpec):
        self.config, self.spec = config, spec

    def quote(self, view: BookView) -> Wishes:
        """Rest, and take what is late."""
        steps = max(view.n_decisions, 1)
        done = min((view.done + 1) / steps, 1.0)
        due = math.floor(abs(view.target) * max(done - self.config.patience * (done < 1.0), 0.0))
        return towards_target(view, self.spec, due, self.config.collar)


def make(config: Config, spec: BookSpec) -> Twap:
    """Make the agent."""
    return Twap(config, spec)
