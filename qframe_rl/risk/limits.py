"""Limits as configuration; a limit that is not given does not bind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qframe_rl.config import Base, UserError, build

MOST_BARS = 100_000
"""Bars that protections look back on, or lock for, at most."""
Window = Annotated[int, Field(ge=1, le=MOST_BARS)]
"""Bars that are looked back on, or that a lock lasts."""


class Limits(Base):
    """What the risk engine holds orders and the account to.

    From `cooldown_bars` on they are protections: what one of them locks may only be reduced until its lock ends.
    """

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
    """Consecutive orders of which nothing filled, or that the exchange refused, after which trading is HALTED; a
    FLATTEN goes on."""
    cooldown_bars: Window | None = None
    """Bars for which an instrument is locked after a position in it was closed (freqtrade: CooldownPeriod)."""
    stop_guard: int | None = Field(default=None, ge=1, le=1000)
    """Losing exits within `stop_guard_bars` that lock (freqtrade: StoplossGuard); an exit loses when what its position
    realised from flat to flat, fees included and funding not, is below zero."""
    stop_guard_bars: Window = 24
    """Bars in which losing exits are counted."""
    stop_guard_lock_bars: Window = 12
    """Bars for which they lock."""
    stop_guard_scope: Literal["account", "symbol", "side"] = "account"
    """What is counted together, and locked: all, the instrument, or the instrument's longs or shorts alone."""
    low_profit: float | None = Field(default=None, ge=-1.0, le=1.0)
    """Least profit, as a fraction of equity, that an instrument must have realised within `low_profit_bars` when a
    position in it is closed; below it is locked (freqtrade: LowProfitPairs). 0 = no loss; -0.02 = up to 2 % lost."""
    low_profit_bars: Window = 168
    """Bars whose realised profit counts."""
    low_profit_lock_bars: Window = 48
    """Bars for which an instrument that loses is locked."""
    drawdown_pause: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Loss of equity since its highest within `drawdown_pause_bars`, as a fraction, at which all is locked (freqtrade:
    MaxDrawdown); the window begins anew there. Unlike `max_drawdown` it ends by itself and closes nothing."""
    drawdown_pause_bars: Window = 168
    """Bars in which the highest equity is looked for."""
    drawdown_pause_lock_bars: Window = 24
    """Bars for which all is locked."""
    max_entries_per_day: int | None = Field(default=None, ge=1, le=1_000_000)
    """Positions that may be opened from 00:00 UTC on; then all is locked until the day is over."""
    volatility_halt: float | None = Field(default=None, gt=0.0, le=1000.0)
    """Move of an instrument's mark within `volatility_halt_bars`, either way and as a fraction, beyond which it is
    locked, as by the price bands of an exchange."""
    volatility_halt_bars: Window = 4
    """Bars of that move."""
    volatility_halt_lock_bars: Window = 12
    """Bars for which it is locked."""

    @property
    def binding(self) -> bool:
        """Whether any limit was given."""
        return self != Limits()

    def on_finer(self, bars: int) -> Limits:
        """The same limits on finer bars: locks last, and are looked back for, as long as they were.

        Parameters
        ----------
        bars
            Finer bars in one of those that the protections are counted in.

        Raises
        ------
        UserError
            For a protection that would look back on more than are kept.
        """
        given = [name for rule, names in _COUNTED.items() if getattr(self, rule) is not None for name in names]
        counted = {name: bars * getattr(self, name) for name in given}
        for name, count in counted.items():
            if count > MOST_BARS:
                raise UserError(
                    f"--{name.replace('_', '-')} {count // bars} are {count:,} of the finer bars that --execute asks "
                    f"for, and at most {MOST_BARS:,} are kept: take fewer, or longer finer bars by --timeframe."
                )
        return build(Limits, self.model_dump() | counted, "limits")


_COUNTED = {
    "cooldown_bars": ("cooldown_bars",),
    "stop_guard": ("stop_guard_bars", "stop_guard_lock_bars"),
    "low_profit": ("low_profit_bars", "low_profit_lock_bars"),
    "drawdown_pause": ("drawdown_pause_bars", "drawdown_pause_lock_bars"),
    "volatility_halt": ("volatility_halt_bars", "volatility_halt_lock_bars"),
}
"""Fields of each protection that count bars."""
