"""What makers of a crowd see where they see it as makers of recorded books do: the same numbers in the same order.

The features are those of `qframe_rl.gym.replay.market.MAKER_FEATURES`, as `qframe_rl.book.features` has them of a
recorded tape, with ten steps as a second: what happened in a step is added up message by message, and a window is so
many steps. Then comes what the maker knows of itself, as ``book_making`` shows it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.arena import state as s
from qframe_rl.arena.state import CrowdRules, MarketState
from qframe_rl.book.known import AHEAD, N_KNOWN, N_OWN, OWN, SHOWN
from qframe_rl.book.levels import next_above, next_below
from qframe_rl.book.measures import flow_between, imbalance_of
from qframe_rl.book.micro import MicroPrice, lean_of
from qframe_rl.book.state import BUY, SELL, Books
from qframe_rl.book.tape import NO_ASK, NO_BID
from qframe_rl.gym.replay.market import MAKER_FEATURES
from qframe_rl.interface import Scaler
from qframe_rl.interface.quoting import N_QUOTE_SEEN, bounded, see_quote
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Bool, Float, Int, Single

STEP_NS = 100_000_000
"""A step of a market, as recorded books have time."""
N_RECENT = 101
"""Steps that are remembered: the longest window, and the one that is being made."""
N_FEATURES = len(MAKER_FEATURES)
N_OWN_SEEN = 1 + 2 * N_QUOTE_SEEN
N_BOOK_SEEN = N_FEATURES + N_OWN_SEEN
OFI, FLOW, MOVES = range(3)
"""Columns of a step: order flow imbalance and signed lots that were taken; moves of twice the mid price, squared."""
_OFI, _MOVES, _MID2, _STARTED, _FIRST, _STEP, _BID, _BID_LOTS, _ASK, _ASK_LOTS = range(10)
"""Columns of what is told: of the step under way; twice the last mid price; whether a book began, and in which step;
steps so far; best prices and their lots after the last message."""
_LEVELS = 5
_SHORT, _MIDDLE, _LONG = 10, 30, 100
"""Windows of one, three and ten seconds, steps."""


class BookSight(NamedTuple):
    """How makers see: measured on the population alone, as an environment of recorded books is on training rows."""

    scaler: Scaler
    micro: MicroPrice

    def features(self, books: Books, state: MarketState) -> Float:
        """(B, 11) of the books as they are after a step, unscaled."""
        out = np.empty((len(state.marks), N_FEATURES))
        look_at_books(books, state, self.micro.lean, out)
        return out

    def shown(self, books: Books, state: MarketState, rules: CrowdRules, makers: Bool, seats: Single) -> Single:
        """(B, N, 22) what all see, those who see the book and those who do not.

        Parameters
        ----------
        books, state, rules
            All markets.
        makers
            (N,) who sees the book.
        seats
            (B, N, n) what all would see without; what others are shown, with zeros behind it.
        """
        own = np.empty((*seats.shape[:2], N_OWN_SEEN), np.float32)
        look_at_oneself(books, state, rules, np.zeros(N_KNOWN, np.int64), np.zeros((2, 3)), own)
        out = np.zeros((*seats.shape[:2], N_BOOK_SEEN), np.float32)
        out[:, ~makers, : seats.shape[2]] = seats[:, ~makers]
        out[:, makers, :N_FEATURES] = self.scaler(self.features(books, state))[:, None]
        out[:, makers, N_FEATURES:] = own[:, makers]
        return out


@inlined
def watch(books: Books, state: MarketState, b: int) -> None:
    """Take in what a message changed.

    Parameters
    ----------
    books, state
        All markets.
    b
        Which one.
    """
    told, n = state.told[b], books.head.shape[1]
    p, q = int(books.best[b, BUY]), int(books.best[b, SELL])
    bid, bid_lots = (books.base[b] + p, books.depth[b, p]) if p >= 0 else (NO_BID, 0)
    ask, ask_lots = (books.base[b] + q, books.depth[b, q]) if q < n else (NO_ASK, 0)
    if told[_STARTED] == 0:
        if bid_lots == 0 and ask_lots == 0:
            return
        told[_STARTED], told[_FIRST] = 1, told[_STEP]
    else:
        told[_OFI] += flow_between(
            told[_BID], told[_BID_LOTS], told[_ASK], told[_ASK_LOTS], bid, bid_lots, ask, ask_lots
        )  # fmt: skip
        if bid_lots > 0 and ask_lots > 0 and told[_MID2] != 0:
            told[_MOVES] += (bid + ask - told[_MID2]) ** 2
    if bid_lots > 0 and ask_lots > 0:
        told[_MID2] = bid + ask
    told[_BID], told[_BID_LOTS], told[_ASK], told[_ASK_LOTS] = bid, bid_lots, ask, ask_lots


@inlined
def end_step(state: MarketState, b: int) -> None:
    """Put the step that was made among the recent ones."""
    told = state.told[b]
    row = state.recent[b, told[_STEP] % N_RECENT]
    row[OFI], row[FLOW], row[MOVES] = told[_OFI], state.marks[b, s.FLOW], told[_MOVES]
    told[_OFI] = told[_MOVES] = 0
    told[_STEP] += 1


@inlined
def _within(state: MarketState, b: int, column: int, n_steps: int) -> float:
    """Sum over the last steps; NaN while there are not so many since the book began."""
    step = state.told[b, _STEP]
    if state.told[b, _STARTED] == 0 or step - state.told[b, _FIRST] <= n_steps:
        return math.nan
    total = 0
    for k in range(n_steps):
        total += state.recent[b, (step - 1 - k) % N_RECENT, column]
    return float(total)


@compiled
def look_at_books(books: Books, state: MarketState, lean: Float, out: Float) -> None:
    """Write the features as they are after a step.

    Parameters
    ----------
    books, state
        All markets.
    lean
        (S, I) of the micro-price.
    out
        (B, 11), written: `MAKER_FEATURES`; NaN what cannot be known yet, or is of an empty side.
    """
    for b in range(len(out)):
        row, told, n = out[b], state.told[b], books.head.shape[1]
        row[0] = row[1] = row[2] = row[3] = math.nan
        if told[_BID_LOTS] > 0 and told[_ASK_LOTS] > 0:
            row[0] = float(told[_ASK] - told[_BID])
            row[1] = lean_of(lean, told[_BID], told[_BID_LOTS], told[_ASK], told[_ASK_LOTS])
            row[2] = imbalance_of(told[_BID_LOTS], told[_ASK_LOTS])
            bids, asks, p, q = 0, 0, int(books.best[b, BUY]), int(books.best[b, SELL])
            for _ in range(_LEVELS):
                if p >= 0:
                    bids += books.depth[b, p]
                    p = next_below(books, b, BUY, p - 1)
                if q < n:
                    asks += books.depth[b, q]
                    q = next_above(books, b, SELL, q + 1)
            row[3] = imbalance_of(bids, asks)
        row[4], row[7] = _within(state, b, OFI, _SHORT), _within(state, b, FLOW, _SHORT)
        row[5], row[8] = _within(state, b, OFI, _MIDDLE), _within(state, b, FLOW, _MIDDLE)
        row[6], row[9] = _within(state, b, OFI, _LONG), _within(state, b, FLOW, _LONG)
        row[10] = 0.5 * math.sqrt(_within(state, b, MOVES, _LONG) / (_LONG * STEP_NS * 1e-9))


@compiled
def look_at_oneself(
    books: Books, state: MarketState, rules: CrowdRules, known: Int, queue: Float, out: Single
) -> None:  # fmt: skip
    """Write what agents know of their own quotes and lots, as ``book_making`` has it.

    Parameters
    ----------
    books, state
        All markets.
    rules
        Lots of a whole quote, how many may be held, how far is quoted.
    known, queue
        (17,) and (2, 3) room for what `qframe_rl.interface.quoting.see_quote` is told.
    out
        (B, N, 11), written: share of the limit held; of bid and ask lots left, share of the level's other lots that is
        ahead, age, whether a message is on its way (never: a cancel is known at once), distance from the mid price.
    """
    for b in range(out.shape[0]):
        marks = state.marks[b]
        for i in range(out.shape[1]):
            row = out[b, i]
            row[0] = bounded(state.accounts[b, i, s.STOCK] / float(rules.limit))
            for side in range(2):
                quote, own = state.quotes[b, i, side], OWN + side * N_OWN
                known[own] = known[own + 1] = known[own + 2] = known[own + 3] = 0
                queue[side, AHEAD] = queue[side, SHOWN] = 0.0
                if quote[s.LIVE] >= 0:
                    known[own], known[own + 1] = quote[s.AT], quote[s.LEFT]
                    known[own + 3] = (marks[s.CLOCK] - quote[s.SINCE]) * STEP_NS
                    p = int(quote[s.AT] - books.base[b])
                    queue[side, AHEAD] = _ahead(books, b, p, quote[s.LIVE])
                    queue[side, SHOWN] = float(books.depth[b, p] - quote[s.LEFT])
                mid, span = 0.5 * marks[s.MID2], float(rules.reach) - 0.5
                see_quote(known, queue, side, mid, float(rules.lots), span, row, 1 + side * N_QUOTE_SEEN)


@inlined
def _ahead(books: Books, b: int, price: int, order_id: int) -> float:
    """Lots that stand before an order at its price."""
    place, lots = int(books.head[b, price]), 0
    while place >= 0 and books.order_id[b, place] != order_id:
        lots += books.lots[b, place]
        place = int(books.after[b, place])
    return float(lots)
