"""Spot coins and their perpetuals in one account: what funding pays for, and what margin it takes.

A coin that is owned cannot be short, is paid in full and is no collateral. The rest of the cash is the margin of the
perpetuals: it gains and loses with them alone, and where it falls under their maintenance margin at a bar's worst
price, they are closed and the episode ends. So a hedged short can be liquidated although the account as a whole lost
nothing, as on an exchange where the two lie in different wallets (ALGORITHMS, card 4.5).
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from qframe_rl.config import Ref, UserError
from qframe_rl.gym.market import Market, MarketConfig, market
from qframe_rl.types import Instrument

VERSION = 1


class Config(MarketConfig):
    """One account with two wallets."""

    actions: Ref = Ref(name="levels", params={"levels": (-0.4, 0.0, 0.4)})
    """Action scheme over all instruments, coins and perpetuals alike. The default holds nothing or 0.4 of equity of
    each, long or short; a coin has no short, so that level sells it."""
    leverage: float = Field(default=3.0, ge=1.0, le=125.0)
    """Cap on the perpetuals' gross notional over their margin when a position is opened."""
    liquidation_fee_bps: float = Field(default=50.0, ge=0.0, lt=1000.0)
    """Fee on a liquidated perpetual, basis points of notional."""
    margin_earns: bool = False
    """Whether money that is locked as margin earns the cash rate as idle cash does; on most venues it does not."""
    transfer_bars: int = Field(default=1, ge=0, le=1_000_000)
    """Bars until what a coin was sold for can serve as margin; a further sale makes all of it wait anew."""
    spot_fee_bps: float | None = Field(default=None, ge=0.0, lt=1000.0)
    """Taker fee on coins, basis points of notional; null = the instrument's own. ``taker_fee_bps`` overrules it."""
    perp_fee_bps: float | None = Field(default=None, ge=0.0, lt=1000.0)
    """Taker fee on perpetuals, likewise."""


def make(config: Config, instruments: tuple[Instrument, ...], columns: tuple[str, ...], bar_ns: int) -> Market:
    """Make the market for coins and perpetuals.

    Raises
    ------
    UserError
        If there is no perpetual.
    """
    if not any(i.kind == "perpetual" for i in instruments):
        raise UserError(
            "env funding trades coins beside their perpetuals; add one, such as --symbols BTC/USDT,BTC/USDT:USDT."
        )
    return market(
        "funding",
        config,
        tuple(_priced(instrument, config) for instrument in instruments),
        columns,
        bar_ns,
        leverage=config.leverage,
        shorting=True,
        liquidation_fee=config.liquidation_fee_bps / 1e4,
        owned=tuple(i.kind == "spot" for i in instruments),
        transfer_bars=config.transfer_bars,
        margin_earns=config.margin_earns,
    )


def _priced(instrument: Instrument, config: Config) -> Instrument:
    own = config.spot_fee_bps if instrument.kind == "spot" else config.perp_fee_bps
    return instrument if own is None else replace(instrument, taker_fee=own / 1e4)
