"""The market of Gode & Sunder (1993): buyers with values and sellers with costs who draw their prices at random.

Each buyer may buy one unit, each seller sell one. Who is called takes its order away if it has one, and else sends one
at a price that it draws: at most its value or at least its cost (ZI-C), or any at all (ZI-U). What such traders realise
of the possible surplus is the allocative efficiency of the market's rules, not of anybody's intelligence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.arena.population import zero_tick
from qframe_rl.arena.trading import write
from qframe_rl.book.matching import apply
from qframe_rl.book.state import (
    BUY,
    CANCEL,
    LIMIT,
    MAKER_OWNER,
    N_FILL,
    N_MESSAGE,
    SELL,
    TAKER_OWNER,
    Books,
    empty_books,
)
from qframe_rl.config import UserError
from qframe_rl.gym.chance import draw
from qframe_rl.gym.lanes import seeds_of
from qframe_rl.jit import apart
from qframe_rl.types import Bool, Float, Int

HIGHEST = 200
"""Values, costs and prices are 1 to this."""


class AuctionOutcome(NamedTuple):
    """What came of B sessions."""

    values: Int
    """(B, n) of the buyers."""
    costs: Int
    """(B, n) of the sellers."""
    traded: Bool
    """(B, 2n) who traded, buyers first."""

    @property
    def gained(self) -> Int:
        """(B,) values of who bought less costs of who sold."""
        n = self.values.shape[1]
        found: Int = np.where(self.traded[:, :n], self.values, 0).sum(1) - np.where(
            self.traded[:, n:], self.costs, 0
        ).sum(1)
        return found

    @property
    def possible(self) -> Int:
        """(B,) the most that could be gained: highest values with lowest costs, as long as that pays."""
        found: Int = np.maximum(np.sort(self.values, 1)[:, ::-1] - np.sort(self.costs, 1), 0).sum(1)
        return found

    @property
    def efficiency(self) -> Float:
        """(B,) gained / possible; NaN where nothing is possible."""
        possible = self.possible
        found: Float = np.divide(self.gained, possible, out=np.full(len(possible), np.nan), where=possible > 0)
        return found


def zero_intelligence(
    n_sessions: int, bound: bool, n_pairs: int = 12, calls: int = 2_000, seed: int = 0
) -> AuctionOutcome:  # fmt: skip
    """Let traders without intelligence trade; values and costs are uniform.

    Parameters
    ----------
    n_sessions
        B; session b has the seed ``seed + b``.
    bound
        Whether a budget forbids a loss (ZI-C).
    n_pairs
        Buyers, and sellers.
    calls
        How often one of all is called; who has traded says nothing any more.
    seed
        Of the first session.

    Raises
    ------
    UserError
        For fewer than one of anything, or more than 10,000 pairs.
    """
    if min(n_sessions, n_pairs, calls) < 1 or n_pairs > 10_000:
        raise UserError(f"{n_sessions} sessions, {n_pairs} pairs, {calls} calls: at least 1, and at most 10,000 pairs.")
    everyone, one = np.ones(n_sessions, np.bool_), np.ones(n_sessions, np.uint64)
    draws = np.empty((n_sessions, 2 * n_pairs + 2 * calls))
    draw(everyone, seeds_of(seed, n_sessions), one, np.zeros(n_sessions, np.int64), draws)
    worth = 1 + np.minimum((draws[:, : 2 * n_pairs] * HIGHEST).astype(np.int64), HIGHEST - 1)
    traded, live = np.zeros((n_sessions, 2 * n_pairs), np.bool_), np.full((n_sessions, 2 * n_pairs), -1, np.int64)
    books = empty_books(n_sessions, 256, 2 * n_pairs)
    room = np.zeros(N_MESSAGE, np.int64), np.zeros((2 * n_pairs + 1, N_FILL), np.int64)
    _trade(books, worth, draws, calls, bound, traded, live, *room)
    return AuctionOutcome(worth[:, :n_pairs], worth[:, n_pairs:], traded)


@apart
def _trade(
    books: Books, worth: Int, draws: Float, calls: int, bound: bool, traded: Bool, live: Int, message: Int, fills: Int
) -> None:  # fmt: skip
    """Call traders.

    Parameters
    ----------
    books
        B.
    worth
        (B, 2n) values, then costs.
    draws
        (B, 2n + 2 calls).
    calls
        How many.
    bound
        Whether budgets bind.
    traded, live
        (B, 2n) who is done, and ids of live orders, -1 = none; written.
    message, fills
        Room for one, and for those of one.
    """
    n = worth.shape[1]
    for b in range(worth.shape[0]):
        for k in range(calls):
            u, v = draws[b, n + 2 * k], draws[b, n + 2 * k + 1]
            who = min(int(u * n), n - 1)
            if traded[b, who]:
                continue
            side = BUY if 2 * who < n else SELL
            kind, tick, order_id = LIMIT, zero_tick(side, worth[b, who], 1, HIGHEST, bound, v), k
            if live[b, who] >= 0:
                kind, order_id = CANCEL, live[b, who]
            write(message, kind, side, tick, 1, who, order_id)
            _, left, found = apply(books, b, k, message, fills, 0)
            live[b, who] = order_id if kind == LIMIT and left > 0 else -1
            for f in range(found):
                traded[b, fills[f, MAKER_OWNER]] = traded[b, fills[f, TAKER_OWNER]] = True
