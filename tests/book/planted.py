"""A market whose optimal quotes are known, as a tape, and the strategy that follows them."""

from __future__ import annotations

from typing import Any

from qframe_rl.config import Ref
from qframe_rl.evaluate.quoting import QuotingRecord
from qframe_rl.feeds.synthetic_ticks import poisson_ticks
from qframe_rl.gym.make import make_book
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.gym.replay.packed import TickSpan, whole_run
from qframe_rl.quoter import QUOTE_LEFT, QUOTE_TICK, BookView, Quoter, Wishes, wishes
from qframe_rl.runner.books.replay import replay, stretches
from qframe_rl.theory.grid_quoting import GridQuotes, GridQuotingParams
from qframe_rl.types import Instrument

DISTANCES = (1.0, 2.0, 4.0, 8.0)
TERMS = GridQuotingParams(5.0, 0.3, 0.1, 0.5, 5, DISTANCES)
COIN = Instrument("MADE/USDT:USDT", "perpetual", lot=0.001, tick=0.1)
SETTINGS: dict[str, Any] = {
    "actions": "table", "distances": DISTANCES, "size": 1, "limit": TERMS.limit, "inventory_penalty": TERMS.running,
    "entry_ms": 0.0, "answer_ms": 0.0, "every": "100ms", "features": ("spread",), "cash": 1e9, "episode_steps": 200,
}  # fmt: skip


class GridQuoter:
    """Follows the optimum."""

    window = 1

    def __init__(self, solved: GridQuotes, terms: GridQuotingParams):
        self.solved, self.terms = solved, terms

    def quote(self, view: BookView) -> Wishes:
        """Look the quotes up."""
        live = [0, 0]
        for side in (0, 1):
            if view.quotes[side, QUOTE_LEFT] > 0:
                live[side] = 1 + self.terms.distances.index(abs(view.mid - view.quotes[side, QUOTE_TICK]))
        at = view.position + self.terms.limit
        bid, ask = self.solved.bid[at, live[0], live[1]], self.solved.ask[at, live[0], live[1]]
        away = (0.0, *self.terms.distances)
        return wishes(
            bid=(int(view.mid - away[bid]), 1) if bid else (0, 0), ask=(int(view.mid + away[ask]), 1) if ask else (0, 0)
        )


def span(seed: int, seconds: int) -> TickSpan:
    """A stretch of the market."""
    return whole_run(poisson_ticks(seed, seconds, TERMS.intensity, TERMS.decay))


def book(fitted_on: TickSpan) -> BookMarket:
    """The environment on it."""
    return make_book(Ref(name="book_making", params=SETTINGS), COIN).fit([fitted_on])


def planted(seed: int, seconds: int, quoter: Quoter) -> tuple[BookMarket, QuotingRecord]:
    """Walk a strategy over a stretch."""
    walked = span(seed, seconds)
    market = book(walked)
    return market, replay(market, quoter, stretches(market, [walked]))[0]
