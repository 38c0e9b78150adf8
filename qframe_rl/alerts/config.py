"""When alerts are raised, as configuration."""

from __future__ import annotations

from pydantic import Field

from qframe_rl.config import Base


class AlertConfig(Base):
    """When to speak."""

    drawdown: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Loss of equity since its highest, fraction, from which on it is said."""
    drift_bps: float = Field(default=20.0, gt=0.0, le=1e9)
    """How much more real books may cost than the rule for bars says, on average, basis points."""
    stale_s: float = Field(default=60.0, gt=0.0, le=1e9)
    """How late after its close a bar may arrive, seconds."""
    late_s: float = Field(default=180.0, gt=0.0, le=1e9)
    """How late the decision on the bar that closed last may be, seconds of the wall's clock, before the session counts
    as ill: alert, /healthz 503, no heartbeat."""
    beat_s: float = Field(default=60.0, gt=0.0, le=1e9)
    """How long a feed that polls an exchange may not be heard from, seconds, before the session counts as ill."""
    gone_bars: int = Field(default=3, ge=1, le=1_000_000)
    """Bars that a market, or a column a value, may lack before it is said that there are none."""
    delisted_days: float = Field(default=30.0, ge=0.0, le=1e6)
    """How far ahead a delisting is said, days."""
    test: bool = True
    """Whether a message is sent at the start of each process, so that a way that does not work is known at once."""
    repeat_s: float = Field(default=3600.0, ge=0.0, le=1e9)
    """The same rule speaks once in this time, seconds."""
    per_hour: int = Field(default=20, ge=1, le=1_000_000_000)
    """Alerts in an hour; more are counted and named with the next one."""
