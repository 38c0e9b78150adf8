"""The population: traders that follow a rule, each a few lines that write one message or none, compiled.

A member who is called has one side drawn. Who quotes takes its order of that side away if it has one, and else sends
one; so that orders last, on average, as long as it takes to be called again. Who follows the trend holds one whole
order its way, and no more: followers who bought at each call, up to their limit, pushed the price on for seconds.
"""

from __future__ import annotations

import math

from qframe_rl.arena.state import (
    INFORMED,
    LIVE,
    MID2,
    NOISE,
    SLOW,
    SLOW_UNIT,
    STOCK,
    TREND,
    UNBOUND,
    VALUE,
    CrowdRules,
    MarketState,
)  # fmt: skip
from qframe_rl.arena.trading import new_id, write
from qframe_rl.book.state import BUY, CANCEL, IOC, LIMIT, POST_ONLY, SELL, Books
from qframe_rl.book.wish import passive_tick, room_for
from qframe_rl.jit import inlined
from qframe_rl.types import Float, Int

N_CALL = 4
"""Uniform numbers of a call: member, side, price, lots."""


@inlined
def zero_tick(side: int, value: int, low: int, high: int, bound: bool, u: float) -> int:
    """Price that zero intelligence draws (Gode & Sunder, 1993): uniform among whole ticks, ends included.

    Parameters
    ----------
    side
        `BUY` or `SELL`.
    value
        What the unit is worth to a buyer, or costs a seller.
    low, high
        Lowest and highest price that there is.
    bound
        Whether a budget forbids a loss (ZI-C): a buyer bids at most its value, a seller asks at least its cost.
    u
        Uniform number in (0, 1).
    """
    if bound and side == BUY:
        high = max(min(high, value), low)
    elif bound:
        low = min(max(low, value), high)
    return min(low + int(u * (high - low + 1)), high)


@inlined
def _zero(state: MarketState, b: int, member: int, side: int, bound: bool, u: float, rules: CrowdRules) -> int:
    """Around the mid price; what it is worth to a member differs from it by what the member's number says."""
    mid = state.marks[b, MID2] >> 1
    own = mid + (member * 7) % (rules.reach + 1) - (rules.reach >> 1)
    return zero_tick(side, own, mid - rules.reach, mid + rules.reach, bound, u)


@inlined
def call(books: Books, state: MarketState, b: int, kinds: Int, draws: Float, first: int, rules: CrowdRules) -> bool:
    """Write the message of the member that is called; whether there is one.

    Parameters
    ----------
    books, state
        All markets.
    b
        Which one.
    kinds
        (K,) kind of each member.
    draws
        (B, D).
    first
        The first of the call's four numbers.
    rules
        Of all markets.
    """
    one = min(int(draws[b, first] * len(kinds)), len(kinds) - 1)
    member, kind = rules.n_agents + one, kinds[one]
    side = BUY if draws[b, first + 1] < 0.5 else SELL
    lots = 1 + min(int(draws[b, first + 3] * rules.lots), rules.lots - 1)
    marks, stock = state.marks[b], state.accounts[b, member, STOCK]
    quote, tick, sent = state.quotes[b, member, side], 0, LIMIT
    if kind in (NOISE, UNBOUND):
        tick = _zero(state, b, member, side, kind == NOISE, draws[b, first + 2], rules)
    elif kind == INFORMED:
        sent, tick = IOC, marks[VALUE] - 1 if side == BUY else marks[VALUE] + 1
    elif kind == TREND:
        drift = marks[MID2] - marks[SLOW] / SLOW_UNIT
        if abs(drift) < 2.0:
            return False
        side = BUY if drift > 0.0 else SELL
        lots = int(min(rules.lots - (stock if side == BUY else -stock), rules.lots))
        sent, tick = IOC, (marks[MID2] >> 1) + (rules.reach if side == BUY else -rules.reach)
    else:
        lean = rules.reach * stock / (2.0 * rules.limit)
        n = books.head.shape[1]
        best = int(books.best[b, SELL if side == BUY else BUY])
        other = books.base[b] + best if 0 <= best < n else (2 * rules.base if side == BUY else 0)
        away = 1.0 + math.floor(draws[b, first + 2] * (rules.reach / 4))
        sent, tick = POST_ONLY, passive_tick(side, 0.5 * marks[MID2] - lean, away, other)
    if sent != IOC and quote[LIVE] >= 0:
        write(state.message, CANCEL, side, 0, 0, member, quote[LIVE])
        return True
    lots = min(lots, int(room_for(side, stock, rules.limit)))
    if lots < 1 or tick < 1 or tick >= 2 * rules.base:
        return False
    write(state.message, sent, side, tick, lots, member, new_id(state, b))
    return True


@inlined
def take_excited(state: MarketState, b: int, member: int, side: int, u: float, rules: CrowdRules) -> bool:
    """Write the order of one who has come by a Hawkes arrival: at once, up to a bound; whether he has room for any.

    Parameters
    ----------
    state
        All markets.
    b, member, side
        Which market, who, and what he does.
    u
        Uniform number, of lots.
    rules
        Sizes, distances, limits.
    """
    lots = 1 + min(int(u * rules.lots), rules.lots - 1)
    lots = min(lots, int(room_for(side, state.accounts[b, member, STOCK], rules.limit)))
    tick = (state.marks[b, MID2] >> 1) + (rules.reach if side == BUY else -rules.reach)
    if lots < 1 or tick < 1 or tick >= 2 * rules.base:
        return False
    write(state.message, IOC, side, tick, lots, member, new_id(state, b))
    return True
