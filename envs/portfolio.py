"""A portfolio: shares of equity in many coins and in cash."""

from __future__ import annotations

from qframe_rl.config import Ref
from qframe_rl.gym.market import Market, MarketConfig, market
from qframe_rl.types import Instrument

VERSION = 2


class Config(MarketConfig):
    """Long-only shares that sum to one with cash."""

    actions: Ref = Ref(name="simplex")
    """Action scheme; simplex: logits of the coins and of cash, towards whose softmax a bar trades a part of the way."""


def make(config: Config, instruments: tuple[Instrument, ...], columns: tuple[str, ...], bar_ns: int) -> Market:
    """Make the market for these instruments."""
    return market("portfolio", config, instruments, columns, bar_ns)
