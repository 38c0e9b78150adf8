"""A portfolio: target weights over many coins and cash."""

from __future__ import annotations

from qframe_rl.config import Ref
from qframe_rl.gym.market import Market, MarketConfig, market
from qframe_rl.types import Instrument

VERSION = 1


class Config(MarketConfig):
    """Long-only weights that sum to one with cash."""

    actions: Ref = Ref(name="weights")
    """Action scheme; weights: one number in [0, 1] for each coin and one for cash, divided by their sum."""


def make(config: Config, instruments: tuple[Instrument, ...], columns: tuple[str, ...], bar_ns: int) -> Market:
    """Make the market for these instruments."""
    return market("portfolio", config, instruments, columns, bar_ns)
