"""The memory of a market that its traders make: arrays for compiled loops, whole numbers but excitement."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qframe_rl.book.state import N_FILL, N_MESSAGE, Books, empty_books
from qframe_rl.types import Float, Int

UNIT = 1000
"""Money is counted in so many parts of a tick times a lot: fees are whole ones of them."""
CASH, STOCK, FEES, MADE, TAKEN, SENT, REFUSED = range(7)
"""Columns of an account: money less fees, 1/1000 tick times lot; lots held; fees paid; lots filled as maker and as
taker; messages sent, and how many of them the book refused."""
N_ACCOUNT = 7
LIVE, AT, LEFT, SINCE = range(4)
"""Columns of a quote: its order's id, -1 = none; tick; lots that are left; the step in which it was placed."""
N_QUOTE = 4
MID2, MID2_BEFORE, SLOW, VALUE, FLOW, VOLUME, NEXT_ID, N_LOG, CLOCK, ARRIVAL2 = range(10)
"""Columns of a market: twice the mid price, now and a step ago (while a side is empty, that of before); its slow mean
times 256; the hidden value, ticks; lots bought less lots sold by who took in the last step, and lots traded; the next
order's id; messages so far; steps since the episode began, below 0 while the book fills; twice the mid price then."""
N_MARK = 10
SLOW_UNIT = 256
MAKER_ROLE, TAKER_ROLE, EXECUTION_ROLE = range(3)
ROLES = ("maker", "taker", "execution")
N_ROLES = 3
NOISE, UNBOUND, INFORMED, TREND, QUOTER = range(5)
"""Kinds of members of the population: zero intelligence with a budget (ZI-C) and without (ZI-U), informed, trend,
makers."""


class CrowdRules(NamedTuple):
    """What holds in every market; whole numbers all."""

    n_agents: int
    n_messages: int
    """Of the population in a step."""
    base: int
    """Price at which markets begin, ticks; prices are above 0 and below twice that."""
    reach: int
    """How far from the mid price is quoted, and how much worse than the best price is taken, ticks."""
    lots: int
    """Of the largest order."""
    limit: int
    """Lots that a trader may hold, either side of 0."""
    target: int
    """Lots that an execution has to trade."""
    maker_fee: int
    """Of a lot, 1/1000 tick; below 0 it is paid out."""
    taker_fee: int
    jump: int
    """Largest jump of the hidden value, ticks."""
    n_steps: int
    """Of an episode."""


class MarketState(NamedTuple):
    """B markets of N agents and a population, A traders in all; agents are the first of them."""

    accounts: Int
    """(B, A, 7)."""
    quotes: Int
    """(B, A, 2, 4) bid and ask of each trader."""
    marks: Int
    """(B, 10)."""
    targets: Int
    """(B, N) lots that an agent has to hold in the end; 0 for who has no such task."""
    seen: Int
    """(B, 2, 2) best bid and ask when agents last looked: tick, lots, 0 = none."""
    excitement: Float
    """(B, 2) of buyers and of sellers that come as Hawkes arrivals, above the base rate."""
    recent: Int
    """(B, R, 3) what happened in each of the last steps, for who sees books as recorded ones are seen; R 0 = nobody
    does, see `qframe_rl.arena.sight`."""
    told: Int
    """(B, 10) the book after the last message, and what came of the step under way."""
    log: Int
    """(B, L, 6) messages of the episode, for whoever wants to read them again."""
    fills: Int
    """(M + 1, 8) room for those of a message."""
    message: Int
    """(6,) room for one."""
    turns: Int
    """(N,) room for the order in which agents come."""


STATE = ("accounts", "quotes", "marks", "targets", "seen", "excitement", "recent", "told", "log")
"""Fields that a snapshot has; the others are room."""


def empty_markets(
    n_markets: int, n_traders: int, n_agents: int, n_log: int, n_recent: int = 0
) -> tuple[Books, MarketState]:
    """Books and arrays of markets in which nothing has happened.

    Parameters
    ----------
    n_markets
        B.
    n_traders
        A; the pool has room for two orders of each.
    n_agents
        N.
    n_log
        L.
    n_recent
        R.
    """
    books = empty_books(n_markets, 512, 2 * n_traders)
    quotes = np.zeros((n_markets, n_traders, 2, N_QUOTE), np.int64)
    quotes[..., LIVE] = -1
    return books, MarketState(
        np.zeros((n_markets, n_traders, N_ACCOUNT), np.int64), quotes, np.zeros((n_markets, N_MARK), np.int64),
        np.zeros((n_markets, n_agents), np.int64), np.zeros((n_markets, 2, 2), np.int64),
        np.zeros((n_markets, 2)), np.zeros((n_markets, n_recent, 3), np.int64), np.zeros((n_markets, 10), np.int64),
        np.zeros((n_markets, n_log, N_MESSAGE), np.int64),
        np.zeros((2 * n_traders + 1, N_FILL), np.int64),
        np.zeros(N_MESSAGE, np.int64), np.zeros(n_agents, np.int64),
    )  # fmt: skip


def fields_of(books: Books, state: MarketState) -> dict[str, NDArray[Any]]:
    """Every array that says where markets stand, by name."""
    found: dict[str, NDArray[Any]] = {f"books_{name}": field for name, field in books._asdict().items()}
    return found | {name: getattr(state, name) for name in STATE}
