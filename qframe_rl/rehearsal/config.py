"""What can be set of a rehearsal exchange."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Literal

from pydantic import Field, model_validator

from qframe_rl.book.queue import QueueRule
from qframe_rl.config import Base, UserError
from qframe_rl.rehearsal.book import BookDepth
from qframe_rl.rehearsal.path import MIN_PRINTS


class RehearsalConfig(Base):
    """The exchange beside its markets."""

    protocol: Literal["binance", "bybit"] = "binance"
    """Whose wire protocol is spoken: binance keeps a wallet of coins and one of contracts, bybit one for both."""
    half_spread_bps: float = Field(default=1.0, ge=0.0, lt=1000.0)
    """Half of the spread between the best prices, basis points of the price."""
    impact: float = Field(default=0.01, ge=0.0)
    """Depth of the book: taking q costs impact * sqrt(q / the bar's volume) of the price beside the half-spread."""
    volume_share: float = Field(default=0.1, gt=0.0, le=1.0)
    """Quantity on offer on each side of the book, as a share of the open bar's volume."""
    levels: int = Field(default=20, ge=1, le=1000)
    """Price levels on each side of the book."""
    prints: int = Field(default=60, ge=MIN_PRINTS, le=3600)
    """Trades that tell one bar."""
    fills: str = Field(default="book", pattern="^(book|bar)$")
    """Where market orders fill: book walks the order book, bar fills at the open of the bar under way by the rule of
    the backtest's kernel, whenever in the bar they come."""
    touch_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of a trade at exactly a resting order's price that fills it; 0 = only trades through the price fill."""
    queue: QueueRule = "share"
    """On recorded ticks, where cancels of others happen in the queue of a resting order: share (ahead and behind
    alike), trades (never ahead, the other end of the band) or power."""
    cash: float = Field(default=10_000.0, ge=0.0)
    """Quote currency in each wallet at the start: one of spot, one of futures; or in the one for both."""
    leverage: int = Field(default=20, ge=1, le=125)
    """Leverage of each perpetual until it is changed."""
    liquidation_fee: float = Field(default=0.0125, ge=0.0, lt=1.0)
    """Fee on a liquidated position, fraction of notional."""
    api_key: str = Field(default="rehearsal", min_length=1)
    """API key of the first account."""
    secret: str = Field(default="rehearsal-secret", min_length=1)
    """Its secret."""
    weight_limit: int = Field(default=0, ge=0)
    """Request weight allowed in a wall-clock minute before 429 and then 418 are answered; 0 = any."""
    seed: int = Field(default=0, ge=0)
    """Root of all chance: faults, and the names that the exchange makes up."""

    @model_validator(mode="after")
    def _positive_prices(self) -> RehearsalConfig:
        if self.half_spread_bps / 1e4 + 1.5 * self.impact * math.sqrt(self.volume_share) >= 1.0:
            raise ValueError("half_spread_bps and impact together take a price to zero")
        return self

    @property
    def shape(self) -> BookDepth:
        """Shape of the order books."""
        return BookDepth(self.half_spread_bps / 1e4, self.impact, self.volume_share, self.levels)


def speed_of(text: str) -> float:
    """Times the clock of ``60x`` or ``60``; 0 for ``step``, infinite for ``max``.

    Raises
    ------
    UserError
        For anything else.
    """
    if text == "step":
        return 0.0
    if text == "max":
        return math.inf
    try:
        speed = float(Decimal(text.removesuffix("x")))
    except ArithmeticError:
        speed = math.nan
    if not 0.0 < speed < math.inf:
        raise UserError(f"speed {text!r} is neither step, max nor a number of times the clock, such as 3600x.")
    return speed
