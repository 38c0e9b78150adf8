"""What a collection of steps is, as configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from qframe_rl.config import Base, Ref
from qframe_rl.feeds.data import DataConfig
from qframe_rl.risk.limits import Limits


class Collection(Base):
    """Who walks where, for how long, and under which name it is kept."""

    env: Ref = Ref(name="auto")
    """Market or problem of the catalogue with its parameters; auto = perp for perpetuals, spot for coins."""
    data: DataConfig = DataConfig()
    """The bars of a market."""
    risk: Limits = Limits()
    """Limits of the risk engine, in a market."""
    mix: tuple[str, ...] = Field(default=("random",), max_length=100)
    """Who walks, each NAME[:PARAMETER:VALUE]...[=WEIGHT]: oracle (the known optimum), random (actions by chance), and
    in a market a strategy of the catalogue or a checkpoint (its folder, or the name of one that ships)."""
    by: Literal["episode", "step"] = "episode"
    """Whether who acts is drawn by weight for a whole episode, as mixtures of D4RL are made, or anew at each step."""
    share: float | None = Field(default=None, gt=0.0, lt=1.0)
    """On a problem: weigh the two who walk so that together they are worth this share of the optimum."""
    steps: int = Field(default=100_000, ge=1, le=1_000_000_000)
    """Steps in all; the last episode is cut off there."""
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    """Root of all randomness."""
    id: str | None = None
    """Minari's id of the dataset; none = qframe/ENV/MIX-v0."""
