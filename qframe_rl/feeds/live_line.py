"""One symbol of a live feed: where it is asked for, and what has been seen of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from qframe_rl.feeds.exchange import MarketDataClient
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.panel import Leg, settled
from qframe_rl.feeds.parquet import Series
from qframe_rl.types import HOUR, Instrument


@dataclass(eq=False)
class LiveLine:
    """One symbol: where it is asked for, and what has been seen of it."""

    exchange: MarketDataClient
    listing: Listing
    instrument: Instrument
    seen: Series = field(default_factory=lambda: Series.empty(5))
    """Candles since the last bar that was delivered."""
    ahead: bool = False
    """Whether the exchange lists a candle after the first of them, which it would mend no more."""
    rates: Series = field(default_factory=lambda: Series.empty(1))
    marks: Series = field(default_factory=lambda: Series.empty(5))
    paid: int = 0
    """Last settlement that was charged."""
    waived: int = 0
    """A settlement that was due by habit and did not come: not waited for again."""
    last: float = np.nan
    """Last close."""
    told: list[float] = field(default_factory=lambda: [0, np.nan])
    """Last settlement charged and last close as of the last bar that was taken."""

    @property
    def perpetual(self) -> bool:
        """Whether it pays funding."""
        return self.listing.kind == "perpetual"

    @property
    def leg(self) -> Leg:
        """What a panel of bars is made of."""
        rates = self.rates if self.perpetual else None
        return Leg(self.instrument, self.seen, rates, self.marks, HOUR, self.paid, self.last)

    @property
    def due(self) -> int:
        """When the next settlement comes, if the last interval repeats itself; far in the future if none is known."""
        stamps = settled(self.rates)
        return int(2 * stamps[-1] - stamps[-2]) if len(stamps) > 1 else int(np.iinfo(np.int64).max)
