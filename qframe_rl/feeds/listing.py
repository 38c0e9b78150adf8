"""Names of markets: which exchange, folder and unified symbol a user's words mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from qframe_rl.config import UserError
from qframe_rl.exchanges import conventions, owner_of
from qframe_rl.types import RELISTED

_SYMBOL = re.compile(r"(?P<base>[^/:\s-]+)/(?P<quote>[^/:\s-]+)(:(?P<settle>[^/:\s-]+))?(?P<dated>-\S+)?")
_USD_MARGINED = "_um"


class Listing(NamedTuple):
    """One symbol of one exchange."""

    exchange: str
    """Exchange id, without a suffix for its derivatives: ``binance``."""
    symbol: str
    """Unified symbol: ``BTC/USDT`` for spot, ``BTC/USDT:USDT`` for a perpetual."""

    @property
    def kind(self) -> Literal["spot", "perpetual"]:
        """What is traded."""
        return "perpetual" if ":" in self.symbol else "spot"

    @property
    def folder(self) -> str:
        """Folder of the exchange in a store: ``binance``, or ``binance_um`` for perpetuals."""
        return self.exchange + (_USD_MARGINED if self.kind == "perpetual" else "")

    @property
    def pair(self) -> str:
        """Name of the symbol in a store: ``BTC-USDT``."""
        return self.symbol.partition(":")[0].replace("/", "-")

    @property
    def client(self) -> str:
        """CCXT class that serves it: some exchanges have one of its own for contracts."""
        return conventions(self.exchange).contracts or self.exchange if self.kind == "perpetual" else self.exchange


def base_exchange(exchange: str) -> tuple[str, bool]:
    """Exchange id without its suffix, and whether the name as given means perpetuals only.

    ``binanceusdm`` is an alias of ``binance_um``.
    """
    owner = owner_of(exchange)
    if owner is not None:
        return owner, True
    return exchange.removesuffix(_USD_MARGINED), exchange.endswith(_USD_MARGINED)


def listing(exchange: str, symbol: str) -> Listing:
    """Market that an exchange's name and a symbol mean.

    Parameters
    ----------
    exchange
        Exchange id as CCXT spells it, or with ``_um`` for its USD-margined perpetuals.
    symbol
        ``BTC/USDT``, or ``BTC/USDT:USDT`` for a perpetual; with an ``_um`` exchange the first means the second.

    Raises
    ------
    UserError
        For another spelling, an inverse contract, or a dated future or option.
    """
    name, perpetuals = base_exchange(exchange)
    if RELISTED in symbol:
        ticker = symbol.partition(RELISTED)[0]
        raise UserError(
            f"{symbol} is one of several coins that {name} listed as {ticker}; ask for {ticker} and bars of its time."
        )
    match = _SYMBOL.fullmatch(symbol)
    if match is None:
        raise UserError(
            f"symbol {symbol!r} is not BASE/QUOTE (such as BTC/USDT) or BASE/QUOTE:QUOTE (such as BTC/USDT:USDT)."
        )
    base, quote, settle = match["base"], match["quote"], match["settle"]
    if match["dated"]:
        raise UserError(f"{symbol} expires; only spot and perpetual contracts are supported.")
    if settle is None and perpetuals:
        settle = quote
    if settle is not None and settle != quote:
        raise UserError(
            f"{symbol} is settled in {settle}; only contracts settled in their quote currency are supported."
        )
    return Listing(name, f"{base}/{quote}" + (f":{settle}" if settle else ""))


def listings(exchange: str, symbols: Sequence[str]) -> tuple[Listing, ...]:
    """Markets of several symbols, in their order.

    Raises
    ------
    UserError
        If there is none, one is given twice, or `listing` refuses one.
    """
    if not symbols:
        raise UserError("no symbols; name them with --symbols, such as BTC/USDT.")
    found = tuple(listing(exchange, symbol) for symbol in symbols)
    for n, one in enumerate(found):
        if one in found[:n]:
            raise UserError(f"{one.symbol} of {one.exchange} is named twice.")
    return found
