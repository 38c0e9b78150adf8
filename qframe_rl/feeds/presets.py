"""Rules of well-known markets, for stores and files that do not bring their own."""

from __future__ import annotations

from qframe_rl.feeds.listing import Listing
from qframe_rl.types import Instrument

_SPOT_FEE = 0.0010
_PERPETUAL_MAKER_FEE, _PERPETUAL_TAKER_FEE = 0.0002, 0.0005
_MIN_NOTIONAL = 5.0
_MIN_NOTIONAL_PERPETUAL = {"BTC": 100.0, "ETH": 20.0}
_MAINTENANCE = {"BTC": 0.004, "ETH": 0.004}
_MAINTENANCE_OTHER = 0.01

# Smallest steps of quantity and price on Binance at the end of 2024, USDT pairs. An exchange changes them over the
# years, and its own market data, stored by a download, go before them.
_SPOT = {
    "ADA": (0.1, 0.0001),
    "ALGO": (1.0, 0.0001),
    "ARB": (0.1, 0.0001),
    "ATOM": (0.01, 0.001),
    "AVAX": (0.01, 0.01),
    "BCH": (0.001, 0.1),
    "BNB": (0.001, 0.01),
    "BONK": (1.0, 1e-8),
    "BTC": (0.00001, 0.01),
    "CHZ": (1.0, 0.0001),
    "DOGE": (1.0, 0.00001),
    "DOT": (0.01, 0.001),
    "EGLD": (0.01, 0.01),
    "ENA": (0.01, 0.0001),
    "ETC": (0.01, 0.01),
    "ETH": (0.0001, 0.01),
    "FET": (0.1, 0.001),
    "FLOKI": (1.0, 1e-8),
    "FTM": (1.0, 0.0001),
    "GRT": (1.0, 0.0001),
    "HBAR": (1.0, 0.00001),
    "ICP": (0.01, 0.001),
    "IMX": (0.01, 0.001),
    "INJ": (0.01, 0.01),
    "LINK": (0.01, 0.01),
    "LTC": (0.001, 0.01),
    "MANA": (1.0, 0.0001),
    "MKR": (0.0001, 1.0),
    "OP": (0.01, 0.001),
    "PEPE": (1.0, 1e-8),
    "SAND": (1.0, 0.0001),
    "SOL": (0.001, 0.01),
    "STX": (0.1, 0.0001),
    "TIA": (0.01, 0.001),
    "TRX": (0.1, 0.0001),
    "VET": (0.1, 0.00001),
    "WLD": (0.1, 0.001),
    "XLM": (1.0, 0.0001),
    "XMR": (0.001, 0.1),
    "XRP": (1.0, 0.0001),
}
_PERPETUAL = {
    "ADA": (1.0, 0.0001),
    "ARB": (0.1, 0.0001),
    "ATOM": (0.01, 0.001),
    "AVAX": (1.0, 0.001),
    "BCH": (0.001, 0.01),
    "BNB": (0.01, 0.01),
    "BTC": (0.001, 0.1),
    "DOGE": (1.0, 0.00001),
    "ETH": (0.001, 0.01),
    "LINK": (0.01, 0.001),
    "LTC": (0.001, 0.01),
    "SOL": (1.0, 0.001),
    "XRP": (0.1, 0.0001),
}


def maintenance(listing: Listing) -> float:
    """Maintenance margin of a perpetual's lowest tier, fraction of notional; 0 for spot.

    Exchanges publish their tiers to account holders only, so market data do not carry it.
    """
    if listing.kind == "spot":
        return 0.0
    return _MAINTENANCE.get(listing.pair.partition("-")[0], _MAINTENANCE_OTHER)


def preset(listing: Listing) -> Instrument:
    """Rules of one market as Binance sets them for the lowest account tier.

    Fees are 10 bp on spot, 2 bp (maker) and 5 bp (taker) on perpetuals. The smallest steps are those of the usual USDT
    pairs; for every other symbol they are 0, which allows any quantity and price.
    """
    base, _, quote = listing.pair.partition("-")
    perpetual = listing.kind == "perpetual"
    known = (_PERPETUAL if perpetual else _SPOT) if quote == "USDT" and listing.exchange == "binance" else {}
    lot, tick = known.get(base, (0.0, 0.0))
    return Instrument(
        symbol=listing.symbol,
        kind=listing.kind,
        lot=lot,
        tick=tick,
        min_notional=_MIN_NOTIONAL_PERPETUAL.get(base, _MIN_NOTIONAL) if perpetual else _MIN_NOTIONAL,
        maker_fee=_PERPETUAL_MAKER_FEE if perpetual else _SPOT_FEE,
        taker_fee=_PERPETUAL_TAKER_FEE if perpetual else _SPOT_FEE,
        maintenance=maintenance(listing),
    )
