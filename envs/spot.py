"""Spot coins: one or many, owned or not, bought with cash that is there."""

from __future__ import annotations

from qframe_rl.config import Ref
from qframe_rl.gym.market import Market, MarketConfig, market
from qframe_rl.types import Instrument

VERSION = 1
AUTO = "spot"


class Config(MarketConfig):
    """Long-only exposures, no leverage."""

    actions: Ref = Ref(name="levels", params={"levels": (0.0, 0.5, 1.0)})
    """Action scheme: levels (default: nothing, half or all of equity), exposure, simplex, delta, limit
    or bracket."""


def make(config: Config, instruments: tuple[Instrument, ...], columns: tuple[str, ...], bar_ns: int) -> Market:
    """Make the market for these instruments; with several, exposures beyond the cash are scaled down together."""
    return market("spot", config, instruments, columns, bar_ns)
