"""Rules of well-known markets, for stores and files that do not bring their own, and what an account begins with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qframe_rl.config import UserError
from qframe_rl.exchanges import conventions
from qframe_rl.feeds.listing import Listing
from qframe_rl.types import Instrument

_SPOT_FEE = 0.0010
_PERPETUAL_MAKER_FEE, _PERPETUAL_TAKER_FEE = 0.0002, 0.0005
# Smallest value of an order by quote currency, on Binance's spot markets at the end of 2024; a minimum belongs to the
# currency that it is counted in.
_DOLLARS = ("USD", "USDT", "USDC", "FDUSD", "TUSD", "BUSD")
_MIN_NOTIONAL = {**dict.fromkeys((*_DOLLARS, "EUR"), 5.0), "BTC": 0.0001, "ETH": 0.001, "BNB": 0.01}
# What an account begins with: round sums, each of them thousands to tens of thousands of dollars over the years.
_CASH = {**dict.fromkeys((*_DOLLARS, "DAI", "EUR", "GBP"), 10_000.0), "BTC": 1.0, "ETH": 10.0, "BNB": 100.0}
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

    Fees are 10 bp on spot, 2 bp (maker) and 5 bp (taker) on perpetuals. The smallest steps, and with them the smallest
    quantity, which is one step there, are those of the usual USDT pairs; for every other symbol they are 0, which
    allows any quantity and price. The smallest value of an order is that of its quote currency; 0 where none is known.
    """
    base, _, quote = listing.pair.partition("-")
    perpetual = listing.kind == "perpetual"
    known = (_PERPETUAL if perpetual else _SPOT) if quote == "USDT" and conventions(listing.exchange).steps else {}
    lot, tick = known.get(base, (0.0, 0.0))
    least = _MIN_NOTIONAL.get(quote, 0.0)
    return Instrument(
        symbol=listing.symbol,
        kind=listing.kind,
        lot=lot,
        tick=tick,
        min_amount=lot,
        min_notional=_MIN_NOTIONAL_PERPETUAL.get(base, least) if perpetual and quote in _DOLLARS else least,
        maker_fee=_PERPETUAL_MAKER_FEE if perpetual else _SPOT_FEE,
        taker_fee=_PERPETUAL_TAKER_FEE if perpetual else _SPOT_FEE,
        maintenance=maintenance(listing),
    )


def unknown_minimums(instruments: Sequence[Instrument]) -> Iterator[str]:
    """One line for each quote currency in which nothing is known of the smallest order."""
    bare = [i for i in instruments if i.lot == i.min_amount == i.min_notional == 0.0 and i.quote not in _MIN_NOTIONAL]
    for quote in dict.fromkeys(i.quote for i in bare):
        symbols = ", ".join(i.symbol for i in bare if i.quote == quote)
        yield f"no smallest order is known {f'in {quote}' if quote else 'without a quote currency'}: none for {symbols}"


def opening_cash(instruments: Sequence[Instrument]) -> float:
    """Cash that an account over these instruments begins with, quote currency.

    Raises
    ------
    UserError
        If they are priced in several currencies, or in one whose worth is not known.
    """
    quote = one_quote(instruments)
    if quote not in _CASH:
        what = f"{instruments[0].symbol} is priced in {quote}" if quote else f"{instruments[0].symbol} names no quote"
        raise UserError(
            f"{what}, so how much to begin with is not known; state it in that currency (cash, such as --set "
            f"env.cash=10000){'' if quote else ', or name the symbol (--symbols BTC/USDT)'}."
        )
    return _CASH[quote]


def one_quote(instruments: Sequence[Instrument]) -> str:
    """The currency that an account over these instruments is kept in; dollars and their coins count as one.

    Raises
    ------
    UserError
        If they are priced in several.
    """
    quotes = dict.fromkeys(i.quote for i in instruments)
    if len({"USD" if quote in _DOLLARS else quote for quote in quotes}) > 1:
        symbols, priced = ", ".join(i.symbol for i in instruments), ", ".join(q or "no currency" for q in quotes)
        raise UserError(
            f"{symbols} are priced in {priced}, and one account is kept in one currency; take symbols of one quote."
        )
    return next(iter(quotes))
