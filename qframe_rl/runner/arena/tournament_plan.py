"""What a tournament is asked for; nothing heavy is imported here, since the command's help reads it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from qframe_rl.config import Base, Ref
from qframe_rl.runner.arena.experiment import GameRef, Roles


class TournamentPlan(Base):
    """Who meets whom, and how often."""

    env: GameRef = Ref(name="crowd")
    """Market of many agents of the catalogue, with its parameters."""
    role: str = "maker"
    """Whose seats they meet in."""
    agents: tuple[str, ...] = ()
    """Who is rated: strategies for order books, idle, noise, and folders of checkpoints of the role; none = all of the
    catalogue that can sit there."""
    checkpoints: tuple[str, ...] = ()
    """Folders of checkpoints of the role that are rated besides."""
    roles: Roles = Field(default={})
    """Who sits in the seats of other roles: taker=noise."""
    agent: dict[str, dict[str, Any]] = Field(default={})
    """Parameters of strategies, by name."""
    episodes: Annotated[int, Field(ge=2, le=1_000_000)] = 64
    """Markets in which each pair meets."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Of the markets and of the resamples."""
    level: float = Field(default=0.9, gt=0.0, lt=1.0)
    """Share of the bootstrap resamples inside the intervals."""
    resamples: int = Field(default=500, ge=100, le=1_000_000)
    """Number of bootstrap resamples."""
