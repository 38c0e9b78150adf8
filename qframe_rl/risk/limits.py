"""Limits as configuration; a limit that is not given does not bind."""

from __future__ import annotations

from pydantic import Field

from qframe_rl.config import Base


class Limits(Base):
    """What the risk engine holds orders and the account to."""

    filters: bool = False
    """Round to the exchange's lots and ticks and drop what is under its minimum notional before an order leaves. The
    simulated venue does so by itself when it fills."""
    collar: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Largest distance of a limit or stop price, or of the quoted mid for a market order, from the mark, as a
    fraction of it; what is beyond is refused."""
    max_order: float | None = Field(default=None, gt=0.0, le=1e15)
    """Largest value of one order, quote currency; larger ones are cut."""
    max_position: float | None = Field(default=None, gt=0.0, le=1e15)
    """Largest value of one position, quote currency; orders are cut to it."""
    max_gross: float | None = Field(default=None, gt=0.0, le=1e15)
    """Largest value of all positions together, quote currency; opening parts are cut in proportion."""
    max_leverage: float | None = Field(default=None, gt=0.0, le=1e6)
    """Largest value of all positions together, as a multiple of equity; opening parts are cut in proportion."""
    max_orders_per_hour: int | None = Field(default=None, ge=1, le=1_000_000_000)
    """Orders in any hour of session time; opening orders beyond it are refused."""
    daily_loss: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Loss of equity, unrealised included, since 00:00 UTC, as a fraction, at which `on_loss` follows."""
    max_drawdown: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Loss of equity, unrealised included, since its highest, as a fraction, at which `on_loss` follows."""
    on_loss: str = Field(default="FLATTEN", pattern="^(REDUCE_ONLY|FLATTEN|HALTED)$")
    """What a loss limit leads to: REDUCE_ONLY, FLATTEN (then HALTED) or HALTED."""
    stale_s: float | None = Field(default=None, gt=0.0, le=1e9)
    """Opening orders are refused on a bar that arrived later than this after its close, seconds."""
    max_skew_s: float | None = Field(default=None, gt=0.0, le=1e9)
    """Opening orders are refused while the local clock and the exchange's differ by more, seconds."""
    max_rejects: int | None = Field(default=None, ge=1, le=1_000_000_000)
    """Consecutive orders of which nothing filled, or that the exchange refused, after which trading is HALTED."""

    @property
    def binding(self) -> bool:
        """Whether any limit was given."""
        return self != Limits()
