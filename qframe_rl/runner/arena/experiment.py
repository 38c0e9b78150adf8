"""What a training among many agents is made of, as configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from qframe_rl.config import Base, Ref, UserError
from qframe_rl.feeds.data import DataConfig

ROLES = {"maker": "ppo", "taker": "noise", "execution": "idle"}
"""Who sits where in an order book, unless it is said."""


def read_roles(given: str) -> dict[str, str]:
    """Read ``maker=ppo,taker=noise``; raises ValueError for what is none such."""
    parts = [part.partition("=") for part in given.split(",") if part.strip()]
    for role, equals, name in parts:
        if not (role.strip() and equals and name.strip()):
            raise ValueError(f"{given!r} is not ROLE=NAME,ROLE=NAME, such as maker=ppo,taker=noise")
    names = [role.strip() for role, _, _ in parts]
    if len(set(names)) < len(names):
        raise ValueError(f"{given!r} names a role twice")
    return {role.strip(): name.strip() for role, _, name in parts}


Roles = Annotated[dict[str, str], BeforeValidator(lambda given: read_roles(given) if isinstance(given, str) else given)]
"""Who sits in the seats of each role, as a table or as ``maker=ppo,taker=noise``."""


def _named(given: object) -> object:
    return {"name": "crowd", **given} if isinstance(given, Mapping) and "name" not in given else given


GameRef = Annotated[Ref, BeforeValidator(_named)]
"""A market of many agents; parameters without a name are meant for ``crowd``."""


def check_params(agent: Iterable[str], known: Iterable[str]) -> None:
    """Refuse parameters of nobody.

    Parameters
    ----------
    agent
        Whose parameters are given.
    known
        Who sits in seats.

    Raises
    ------
    UserError
        If somebody does not.
    """
    there = sorted(set(known))
    for name in agent:
        if name not in there:
            raise UserError(f"agent.{name}: nobody of that name sits in a seat; there are {', '.join(there)}.")


class ArenaExperiment(Base):
    """Everything that decides what a training among many agents does."""

    env: GameRef = Ref(name="crowd")
    """Market of many agents of the catalogue, with its parameters."""
    roles: Roles = Field(default={})
    """Who sits in the seats of each role: maker=ppo,taker=noise. A learner, a strategy for order books, idle, noise, or
    the folder of a role's checkpoint."""
    agent: dict[str, dict[str, Any]] = Field(default={})
    """Parameters of strategies, by name; those of one role alone by the role's."""
    data: DataConfig = DataConfig(data="synthetic:ticks")
    """Recorded order book that makers who see books are kept for: its ticks, lots and fees, and what its features are
    scaled by. Nothing is learned from it."""
    steps: int = Field(default=400_000, ge=1, le=10**12)
    """Market steps of the training, all markets together."""
    markets: int = Field(default=16, ge=1, le=100_000)
    """Markets in which all roles learn at once."""
    n_steps: int = Field(default=50, ge=2, le=100_000)
    """Steps of each market between two updates."""
    snapshots: float = Field(default=0.2, ge=0.0, le=0.9)
    """Share of each role's samples that is lived through among earlier selves."""
    league: int = Field(default=10, ge=0, le=1000)
    """Snapshots that a training takes of itself, at equal intervals, beside that of its beginning."""
    reply_steps: int = Field(default=100_000, ge=0, le=10**12)
    """Market steps for which a best reply to the others is trained, of each role that learns; 0 = none, and nothing is
    said of how far the policies are from an equilibrium."""
    episodes: Annotated[int, Field(ge=8, le=1_000_000)] = 256
    """Episodes that policies are measured on."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Root of all randomness."""
    level: float = Field(default=0.9, gt=0.0, lt=1.0)
    """Share of the bootstrap resamples inside the intervals."""
    resamples: int = Field(default=1000, ge=100, le=1_000_000)
    """Number of bootstrap resamples."""

    def params_of(self, role: str, name: str) -> dict[str, Any]:
        """Parameters of who sits in a role's seats."""
        return {**self.agent.get(name, {}), **self.agent.get(role, {})}
