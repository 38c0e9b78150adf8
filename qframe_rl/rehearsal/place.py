"""A market where it is traded."""

from __future__ import annotations

from qframe_rl.rehearsal import funding
from qframe_rl.rehearsal.book import BUY, SELL
from qframe_rl.rehearsal.config import RehearsalConfig
from qframe_rl.rehearsal.ladder import Change, Ladder, Sides
from qframe_rl.rehearsal.market import USDM, ListedMarket
from qframe_rl.rehearsal.matching import MatchingEngine
from qframe_rl.rehearsal.order import Register
from qframe_rl.rehearsal.tape import MarketTape


class Place:
    """A market told by its bars.

    Parameters
    ----------
    market
        The market.
    config
        Rules beside it.
    register
        Numbers and the log.
    """

    def __init__(self, market: ListedMarket, config: RehearsalConfig, register: Register):
        self.market = market
        self.engine = MatchingEngine(market, config, register)
        self.tape = MarketTape(market, config.prints)
        self.marks = funding.mark_tape(market, config.prints) if market.wire == USDM else None
        self.awake = False
        self.ended = False
        """Whether it was delisted before its last bar."""
        self.cursor = (-1, -1)
        self.ladder = Ladder()
        """The book as it was shown last."""

    def sides(self, limit: int | None = None) -> Sides:
        """The book now, or so many levels of each side."""
        return Sides(self.engine.offers(SELL)[:limit], self.engine.offers(BUY)[:limit])

    def step(self) -> Change | None:
        """What is different in the book since it was shown last."""
        return self.ladder.step(self.sides())

    def sync(self, now_ms: int) -> None:
        """Bring a market that nobody minded to the present."""
        engine, market = self.engine, self.market
        cursor = self.tape.last(now_ms)
        engine.row = market.row_at(now_ms)
        if cursor == self.cursor or cursor[0] < 0:
            return
        engine.renew()
        row, n = cursor
        engine.price = self.tape.prints(row)[n].price
        if market.wire == USDM:
            engine.ratio = funding.ratio(market, row)
        self.cursor = cursor
