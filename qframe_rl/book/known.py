"""What an account knows at a moment: its quotes, its lots and the book, as answers and rows had come by then.

The exchange's truth (`qframe_rl.book.walk`) is ahead of it by what travels. Of the queue an account is told nothing; it
follows the rows of its level as they arrive, by the same rule as the truth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.book.accounts import (
    KNOWN,
    LEVEL,
    PLACED,
    TICK,
    WITHDRAWN,
    Walk,
    is_free,
    known_position,
    taking,
)
from qframe_rl.book.events import TRADE
from qframe_rl.book.queue import ahead_after
from qframe_rl.book.state import BUY
from qframe_rl.book.tape import Tape
from qframe_rl.book.wish import known_left
from qframe_rl.jit import inlined
from qframe_rl.types import Float, Int

AT, POSITION, DONE, N_DECISIONS, BID, BID_LOTS, ASK, ASK_LOTS, TAKING = range(9)
"""Columns of what is known: the moment; lots held; decisions made, and those of the episode; best prices and lots; lots
of an order that takes, whose end is not known."""
OWN = 9
"""From here on, for bid and ask: tick, lots left, whether a message about it is on its way, ns since it is known."""
N_OWN = 4
N_KNOWN = OWN + 2 * N_OWN
AHEAD, SHOWN, PRINTED = range(3)
NEXT, OF = range(2)
"""Columns of a place: next row of the level to arrive; when the quote that it is about was placed."""
_UNTOLD = 1e18


class AccountKnowledge(NamedTuple):
    """What B accounts know."""

    told: Int
    """(B, 17)."""
    queue: Float
    """(B, 2, 3) of each quote: lots ahead, displayed, and printed since the level's last row."""
    places: Int
    """(B, 2, 2) next row of the level to arrive, and when the quote that it is about was placed."""


def nothing_known(n_accounts: int) -> AccountKnowledge:
    """Accounts that know nothing yet."""
    return AccountKnowledge(
        np.zeros((n_accounts, N_KNOWN), np.int64), np.zeros((n_accounts, 2, 3)), np.zeros((n_accounts, 2, 2), np.int64)
    )


def heard(tape: Tape) -> Int:
    """(N,) rows by level, as ``tape.rows``, but there in the order of their arrival."""
    rank = np.empty(len(tape.tick), np.int64)
    rank[tape.arrivals] = np.arange(len(rank))
    return np.lexsort((rank, tape.level)).astype(np.int64)


@inlined
def forget(known: AccountKnowledge, b: int, n_decisions: int) -> None:
    """Begin an episode."""
    for column in range(N_KNOWN):
        known.told[b, column] = 0
    known.told[b, N_DECISIONS] = n_decisions
    for side in range(2):
        known.places[b, side, OF] = -1
        for column in range(3):
            known.queue[b, side, column] = 0.0


@inlined
def learn(
    tape: Tape, rows: Int, walk: Walk, known: AccountKnowledge, b: int, now: int, best: Int, power: float
) -> None:
    """Take in what had come by a moment.

    Parameters
    ----------
    tape, rows
        The market, and `heard` of it.
    walk, known, b
        Accounts, what they know, and which one.
    now
        The moment, ns; it rises.
    best
        (2, 2) best bid and ask as they had arrived: tick, lots.
    power
        From `qframe_rl.book.queue.exponent`.
    """
    told = known.told[b]
    told[AT], told[POSITION], told[TAKING] = now, known_position(walk, b, now), taking(walk, b, now)
    told[BID], told[BID_LOTS], told[ASK], told[ASK_LOTS] = best[0, 0], best[0, 1], best[1, 0], best[1, 1]
    for side in range(2):
        own, quote = told[OWN + side * N_OWN : OWN + (side + 1) * N_OWN], walk.quotes[b, side]
        own[0] = own[1] = own[2] = own[3] = 0
        if not is_free(walk, b, side, now):
            there = quote[KNOWN] <= now
            own[0], own[1] = quote[TICK], known_left(walk, b, side, now)
            own[2] = 1 if not there or quote[WITHDRAWN] != 0 else 0
            own[3] = now - quote[KNOWN] if there else 0
            if there:
                _follow_queue(tape, rows, quote, known, b, side, now, power)
                continue
        known.places[b, side, OF] = -1
        known.queue[b, side, AHEAD] = known.queue[b, side, SHOWN] = known.queue[b, side, PRINTED] = 0.0


@inlined
def _follow_queue(
    tape: Tape, rows: Int, quote: Int, known: AccountKnowledge, b: int, side: int, now: int, power: float
) -> None:  # fmt: skip
    """Take in the rows of the quote's level that arrived since the last time."""
    level, queue = quote[LEVEL], known.queue[b, side]
    if known.places[b, side, OF] != quote[PLACED]:
        known.places[b, side, OF] = quote[PLACED]
        known.places[b, side, NEXT] = _first(tape, rows, level, quote[PLACED], now) if level >= 0 else 0
        best = known.told[b, BID] if side == BUY else known.told[b, ASK]
        inside = quote[TICK] > best if side == BUY else quote[TICK] < best
        queue[AHEAD], queue[SHOWN], queue[PRINTED] = 0.0 if inside else _UNTOLD, 0.0, 0.0
    if level < 0:  # no row names it; whether a later one does is not known
        return
    cursor = known.places[b, side, NEXT]
    while cursor < tape.starts[level + 1] and tape.local_ns[rows[cursor]] <= now:
        row = rows[cursor]
        lots, later = float(tape.lots[row]), tape.exchange_ns[row] > quote[PLACED]
        if tape.kind[row] == TRADE:
            if later:
                queue[AHEAD] = max(queue[AHEAD] - lots, 0.0)
                queue[PRINTED] += lots
        else:
            if not later or queue[AHEAD] >= _UNTOLD:
                queue[AHEAD] = lots
            else:
                queue[AHEAD] = ahead_after(power, queue[AHEAD], queue[SHOWN], lots, queue[PRINTED])
            queue[SHOWN], queue[PRINTED] = lots, 0.0
        cursor += 1
    known.places[b, side, NEXT] = cursor


@inlined
def _first(tape: Tape, rows: Int, level: int, placed: int, now: int) -> int:
    """Of a level's rows, the last that arrived by now and told it by when the quote was placed; else the first."""
    low, high = tape.starts[level], tape.starts[level + 1]
    first = low
    while low < high:
        middle = (low + high) >> 1
        if tape.local_ns[rows[middle]] <= now:
            low = middle + 1
        else:
            high = middle
    k = low - 1
    while k >= first and (tape.kind[rows[k]] == TRADE or tape.exchange_ns[rows[k]] > placed):
        k -= 1
    return int(max(k, first))
