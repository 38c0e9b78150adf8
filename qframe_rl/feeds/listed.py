"""Which of a session's markets an exchange lists by now: coins come and go while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qframe_rl.config import UserError
from qframe_rl.feeds.client import Kind
from qframe_rl.feeds.exchange import MarketDataClient, Note
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.presets import preset
from qframe_rl.types import HOUR, Instrument

EVERY_NS = HOUR
"""Least time between two looks, of the exchange's clock, ns."""


class ListedNow:
    """The markets of a session, and which of them are there.

    Parameters
    ----------
    exchanges
        A client for each kind of market.
    markets
        The markets.
    timeframe
        Length of a candle as the exchange spells it.
    sparse
        Whether some may be missing, as candidates of a universe may. Else they are never looked at again.
    note
        Told in one line of what was listed and what is listed no more.

    Raises
    ------
    UserError
        As in `MarketDataClient.check`, for a market that must be there, or if none is.
    """

    def __init__(
        self,
        exchanges: Mapping[Kind, MarketDataClient],
        markets: Sequence[Listing],
        timeframe: str,
        *,
        sparse: bool = False,
        note: Note | None = None,
    ):
        self._exchanges, self._markets, self._timeframe, self._sparse = exchanges, tuple(markets), timeframe, sparse
        self._note = note or (lambda text: None)
        self._looked: int | None = None
        self.there = frozenset(market for market in markets if self._is_there(market))
        """Those that can be traded now."""
        self.left: frozenset[Listing] = frozenset()
        """Those that were listed at the look before, and whose last candle can still be asked for."""
        if sparse and not self.there:
            raise UserError(f"{markets[0].exchange} lists none of the {len(markets)} candidates of the universe.")

    def instrument(self, market: Listing) -> Instrument:
        """Rules of a market as the exchange states them; presets until it lists it."""
        there = market in self.there
        return self._exchanges[market.kind].instrument(market) if there else preset(market)

    def look(self, now: int) -> bool:
        """Ask what is listed and by which rules, unless that was lately; return whether it was asked.

        Parameters
        ----------
        now
            Time of the exchange, ns UTC.
        """
        self.left = frozenset()
        if not self._sparse or (self._looked is not None and now - self._looked < EVERY_NS):
            return False
        self._looked = now
        for kind in dict.fromkeys(market.kind for market in self._markets):
            self._exchanges[kind].reload()
        before, self.there = self.there, frozenset(market for market in self._markets if self._is_there(market))
        known = {market for market in before if market.symbol in self._exchanges[market.kind].client.markets}
        self.left = frozenset(known - self.there)
        for market in self._markets:
            if (market in before) != (market in self.there):
                self._note(f"{market.symbol} is {'listed' if market in self.there else 'listed no more'}.")
        return True

    def _is_there(self, market: Listing) -> bool:
        exchange = self._exchanges[market.kind]
        if not self._sparse or market.symbol in exchange.client.markets:
            exchange.check(market, self._timeframe)
        known = exchange.client.markets.get(market.symbol)
        return known is not None and (not self._sparse or known.get("active") is not False)
