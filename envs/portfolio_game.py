"""Several traders of one coin whose orders move its price, for good and for a while; fills are the kernel's."""

from __future__ import annotations

from qframe_rl.arena.coin import CoinConfig, CoinMarket
from qframe_rl.arena.game import GameConfig


class Config(CoinConfig, GameConfig):
    """Who trades what, and how far that moves the price; docs/arena.md says more."""


def make(config: Config, n_markets: int) -> CoinMarket:
    """Make B markets."""
    return CoinMarket(config, n_markets)
