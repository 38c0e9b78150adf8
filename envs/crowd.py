"""A market made by its traders: makers, takers and executions in one order book, among a population by rules."""

from __future__ import annotations

from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.game import GameConfig
from qframe_rl.arena.recorded import sight_of


class Config(CrowdConfig, GameConfig):
    """Who is there, what they may do, and what they are charged; docs/arena.md says more."""


def make(config: Config, n_markets: int) -> Crowd:
    """Make B markets."""
    return Crowd(config, n_markets, sight=sight_of(config) if config.maker_sees == "book" else None)
