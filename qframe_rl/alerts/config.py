"""When alerts are raised, as configuration."""

from __future__ import annotations

from pydantic import Field

from qframe_rl.config import Base


class AlertConfig(Base):
    """When to speak."""

    drawdown: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Loss of equity since its highest, fraction, from which on it is said."""
    drift_bps: float = Field(default=20.0, gt=0.0)
    """How much more real books may cost than the rule for bars says, on average, basis points."""
    stale_s: float = Field(default=60.0, gt=0.0)
    """How late after its close a bar may arrive, seconds."""
    silent_bars: float = Field(default=3.0, gt=0.0)
    """Bars without a decision after which it is said that there is none."""
    repeat_s: float = Field(default=3600.0, ge=0.0)
    """The same rule speaks once in this time, seconds."""
    per_hour: int = Field(default=20, ge=1)
    """Alerts in an hour; more are counted and named with the next one."""
