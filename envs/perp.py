"""Perpetual futures: long and short, leverage, funding, liquidation."""

from __future__ import annotations

from pydantic import Field

from qframe_rl.config import Ref
from qframe_rl.gym.market import Market, MarketConfig, market
from qframe_rl.types import Instrument

VERSION = 1
AUTO = "perpetual"


class Config(MarketConfig):
    """One cross-margined account."""

    actions: Ref = Ref(name="levels", params={"levels": (-1.0, 0.0, 1.0)})
    """Action scheme: levels (default: short, flat or long once equity), exposure, simplex, delta, limit
    or bracket."""
    leverage: float = Field(default=3.0, ge=1.0, le=125.0)
    """Cap on gross notional over equity when a position is opened."""
    liquidation_fee_bps: float = Field(default=50.0, ge=0.0, lt=1000.0)
    """Fee on a liquidated position, basis points of notional."""
    margin_earns: bool = False
    """Whether money that is locked as margin earns the cash rate as idle cash does; on most venues it does not."""


def make(config: Config, instruments: tuple[Instrument, ...], columns: tuple[str, ...], bar_ns: int) -> Market:
    """Make the market for these instruments; margin is shared among them."""
    return market(
        "perp",
        config,
        instruments,
        columns,
        bar_ns,
        leverage=config.leverage,
        shorting=True,
        liquidation_fee=config.liquidation_fee_bps / 1e4,
        margin_earns=config.margin_earns,
    )
