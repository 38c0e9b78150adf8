"""Limits of a portfolio as configuration; a limit that is not given does not bind."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from qframe_rl.config import Base


class PortfolioLimits(Base):
    """What a warden holds all members together to."""

    max_drawdown: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Loss of the portfolio's equity since its highest, as a fraction, at which `on_loss` follows."""
    daily_loss: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Loss of its equity since 00:00 UTC, as a fraction, at which `on_loss` follows."""
    max_gross: float | None = Field(default=None, gt=0.0, le=1e15)
    """Largest value of all positions of all members together, quote currency; beyond it REDUCE_ONLY follows."""
    max_leverage: float | None = Field(default=None, gt=0.0, le=1e6)
    """The same as a multiple of the portfolio's equity."""
    max_net: float | None = Field(default=None, gt=0.0, le=1e15)
    """Largest net value in one pair over all members, long or short, quote currency; beyond it REDUCE_ONLY follows. A
    coin and its perpetual are one pair."""
    on_loss: Literal["REDUCE_ONLY", "FLATTEN", "HALTED"] = "FLATTEN"
    """What a loss leads to: only closing orders, all positions closed, or nothing more goes out."""
    silent_s: float = Field(default=120.0, ge=10.0, le=86_400.0)
    """Time without a sign of life after which a member that should run counts as silent, seconds."""
