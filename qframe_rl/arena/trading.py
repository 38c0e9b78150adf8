"""One message into a market: matched by the core, and booked on the accounts of both sides, compiled."""

from __future__ import annotations

from qframe_rl.arena.state import (
    AT,
    CASH,
    CLOCK,
    FEES,
    FLOW,
    LEFT,
    LIVE,
    MADE,
    MID2,
    N_LOG,
    NEXT_ID,
    REFUSED,
    SENT,
    SINCE,
    STOCK,
    TAKEN,
    UNIT,
    VOLUME,
    CrowdRules,
    MarketState,
)  # fmt: skip
from qframe_rl.book.matching import apply
from qframe_rl.book.state import (
    ACCEPTED,
    BUY,
    CANCEL,
    FILLED,
    ID,
    KIND,
    LOTS,
    MAKER,
    MAKER_OWNER,
    OWNER,
    POST_ONLY,
    SELL,
    SIDE,
    TAKER_OWNER,
    TAKER_SIDE,
    TICK,
    Books,
)
from qframe_rl.book.state import AT as PRICE
from qframe_rl.jit import inlined
from qframe_rl.types import Int


@inlined
def write(message: Int, kind: int, side: int, tick: int, lots: int, owner: int, order_id: int) -> None:
    """Fill in a message's columns."""
    message[KIND], message[SIDE], message[TICK] = kind, side, tick
    message[LOTS], message[OWNER], message[ID] = lots, owner, order_id


@inlined
def _book(state: MarketState, b: int, owner: int, side: int, tick: int, lots: int, fee: int) -> None:
    """Change one side's account by one fill."""
    account = state.accounts[b, owner]
    signed = lots if side == BUY else -lots
    account[STOCK] += signed
    account[CASH] -= UNIT * tick * signed + fee * lots
    account[FEES] += fee * lots


@inlined
def _settle(state: MarketState, b: int, fill: Int, rules: CrowdRules) -> None:
    """Change both accounts, and the maker's quote; an own order that expired changes its quote alone."""
    maker, lots = fill[MAKER_OWNER], fill[FILLED]
    made = SELL if fill[TAKER_SIDE] == BUY else BUY
    quote = state.quotes[b, maker, made]
    if quote[LIVE] == fill[MAKER]:
        quote[LEFT] -= abs(lots)
        if quote[LEFT] == 0:
            quote[LIVE] = -1
    if lots > 0:
        taker = fill[TAKER_OWNER]
        _book(state, b, maker, made, fill[PRICE], lots, rules.maker_fee)
        _book(state, b, taker, fill[TAKER_SIDE], fill[PRICE], lots, rules.taker_fee)
        state.accounts[b, maker, MADE] += lots
        state.accounts[b, taker, TAKEN] += lots
        state.marks[b, VOLUME] += lots
        state.marks[b, FLOW] += lots if fill[TAKER_SIDE] == BUY else -lots


@inlined
def trade(books: Books, state: MarketState, b: int, rules: CrowdRules) -> None:
    """Let a market take the message that lies ready in ``state.message``; what comes of it is booked.

    Parameters
    ----------
    books, state
        All markets.
    b
        Which one.
    rules
        Fees.
    """
    message, marks = state.message, state.marks[b]
    if marks[N_LOG] < state.log.shape[1]:
        for column in range(len(message)):
            state.log[b, marks[N_LOG], column] = message[column]
    marks[N_LOG] += 1
    outcome, left, n = apply(books, b, 0, message, state.fills, 0)
    for k in range(n):
        _settle(state, b, state.fills[k], rules)
    account, quote = state.accounts[b, message[OWNER]], state.quotes[b, message[OWNER], message[SIDE]]
    account[SENT] += 1
    if outcome != ACCEPTED:
        account[REFUSED] += 1
    elif message[KIND] == CANCEL:
        quote[LIVE] = -1
    elif message[KIND] <= POST_ONLY and left > 0:
        quote[LIVE], quote[AT], quote[LEFT], quote[SINCE] = message[ID], message[TICK], left, marks[CLOCK]


@inlined
def new_id(state: MarketState, b: int) -> int:
    """The next order's id."""
    state.marks[b, NEXT_ID] += 1
    return int(state.marks[b, NEXT_ID])


@inlined
def mark(books: Books, state: MarketState, b: int) -> None:
    """Take the mid price down; while a side is empty, that of before holds."""
    n, bid, ask = books.head.shape[1], books.best[b, BUY], books.best[b, SELL]
    if bid >= 0 and ask < n:
        state.marks[b, MID2] = 2 * books.base[b] + bid + ask


@inlined
def look(books: Books, state: MarketState, b: int) -> None:
    """Take the best prices down as agents see them."""
    n = books.head.shape[1]
    for side in range(2):
        p = int(books.best[b, side])
        there = 0 <= p < n
        state.seen[b, side, 0] = books.base[b] + p if there else 0
        state.seen[b, side, 1] = books.depth[b, p] if there else 0


@inlined
def worth(state: MarketState, b: int, trader: int) -> int:
    """Money and stock at the mid price, 1/1000 tick times lot."""
    account = state.accounts[b, trader]
    return int(account[CASH] + account[STOCK] * state.marks[b, MID2] * (UNIT // 2))


@inlined
def is_last(state: MarketState, b: int, rules: CrowdRules) -> bool:
    """Whether the step that is being made is the episode's last one."""
    return bool(state.marks[b, CLOCK] == rules.n_steps - 1)
