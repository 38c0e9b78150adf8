"""Own orders on a tape: what a recorded market does to them, row by row of those alone that can touch them.

The market is the recorded one, whatever an account does. A quote waits behind what stood there when it arrived
(`qframe_rl.book.queue`), fills as prints reach it, when a print goes through its price, and when after a whole message
the other side stands at or through it; each lot that was printed or displayed fills once. What takes walks the
displayed book at its arrival, less what the account took there already.

Everything travels: what is sent at t is at the exchange at t + e, and its answer is known at t + e + r. Whole numbers
throughout but for the queue: ticks, lots, and money in ticks times lots.
"""

from __future__ import annotations

import numpy as np

from qframe_rl.book.accounts import (
    AHEAD,
    ARRIVES,
    CANCELS,
    CROSSED,
    CROSSING,
    CURSOR,
    FALLS,
    KNOWN,
    LEFT,
    LEVEL,
    N_TAKEN,
    NEVER,
    NOW,
    PLACED,
    PRINT_AT,
    PRINT_THROUGH,
    PRINTED,
    REFUSED,
    RESTS,
    RISES,
    STATE,
    TAKE_KNOWN,
    TAKEN_LEVEL,
    TAKEN_LOTS,
    TAKEN_ROW,
    TAKES,
    TAKES_BOUND,
    TAKES_LOTS,
    TAKES_SIDE,
    TICK,
    TOOK,
    TRADES,
    UNTOLD,
    Walk,
    begin,
    book_fill,
    check_walk,
    end_quote,
    is_free,
    send_cancel,
    send_quote,
    send_take,
)
from qframe_rl.book.coming import is_crossed, next_cross, next_own, next_print, next_told
from qframe_rl.book.lookup import level_of, rows_until, shown, stood_apart
from qframe_rl.book.queue import ahead_after
from qframe_rl.book.state import BUY, SELL
from qframe_rl.book.tape import NO_ASK, NO_BID, NOT_TOLD, Tape
from qframe_rl.jit import apart, compiled, inlined
from qframe_rl.types import Int


@inlined
def _arrive(tape: Tape, walk: Walk, b: int, side: int, answer_ns: int) -> None:
    """A quote comes to the exchange: it waits behind what stands there, or is refused because it would take."""
    quote = walk.quotes[b, side]
    at = quote[ARRIVES]
    row = rows_until(tape.exchange_ns, at)
    quote[ARRIVES] = NEVER
    quote[PLACED], quote[KNOWN] = at, at + answer_ns
    bid = tape.bid[row - 1] if row > 0 else NO_BID
    ask = tape.ask[row - 1] if row > 0 else NO_ASK
    takes = quote[TICK] >= ask if side == BUY else quote[TICK] <= bid
    if takes or row == 0:
        walk.account[b, REFUSED] += 1
        end_quote(walk, b, side, at + answer_ns)
        return
    quote[STATE], quote[CROSSED] = RESTS, 0
    quote[LEVEL] = level_of(tape, side, quote[TICK])
    lots, cursor = NOT_TOLD, 0
    if quote[LEVEL] >= 0:
        lots, _, cursor = shown(tape, int(quote[LEVEL]), row)
    quote[CURSOR] = cursor
    inside = quote[TICK] > bid if side == BUY else quote[TICK] < ask
    if lots == NOT_TOLD and not inside:
        walk.account[b, UNTOLD] += 1
        walk.queue[b, side, AHEAD] = 1e18  # the first quantity that is told
    else:
        walk.queue[b, side, AHEAD] = max(lots, 0)
    walk.queue[b, side, PRINTED] = 0.0
    walk.cursors[b, TRADES] = rows_until(tape.trades, row - 1)
    if side == BUY:
        walk.cursors[b, FALLS] = rows_until(tape.ask_falls, row - 1)
    else:
        walk.cursors[b, RISES] = rows_until(tape.bid_rises, row - 1)


@inlined
def take(tape: Tape, walk: Walk, b: int, answer_ns: int) -> None:
    """An order that takes comes to the exchange."""
    account = walk.account[b]
    at, side, left, bound = account[TAKES], account[TAKES_SIDE], account[TAKES_LOTS], account[TAKES_BOUND]
    account[TAKES], account[TAKE_KNOWN] = NEVER, at + answer_ns
    row = rows_until(tape.exchange_ns, at)
    best = (tape.ask[row - 1] if side == BUY else tape.bid[row - 1]) if row > 0 else NO_ASK
    other = SELL if side == BUY else BUY
    k, step = level_of(tape, other, best), 1 if side == BUY else -1
    while k >= 0 and left > 0 and 0 <= k < len(tape.level_tick) and tape.level_side[k] == other:
        tick = tape.level_tick[k]
        if tick > bound if side == BUY else tick < bound:
            break
        lots, told, _ = shown(tape, k, row)
        # A level that nobody has told yet may be told by a later row, which must not cost a place now.
        place = _place(tape, walk, b, k, told, row) if lots > 0 else -1
        lots = min(max(lots - walk.taken[b, place, TAKEN_LOTS], 0), left) if place >= 0 else 0
        if lots > 0:
            walk.taken[b, place, TAKEN_LOTS] += lots
            left -= lots
            book_fill(walk, b, int(side), int(tick), int(lots), int(at), answer_ns, TOOK)
        k += step


@inlined
def _place(tape: Tape, walk: Walk, b: int, level: int, told: int, row: int) -> int:
    """Where is noted what was taken at a level since a row; -1 if all places hold what is still displayed."""
    found = -1
    for k in range(N_TAKEN):
        noted = walk.taken[b, k, TAKEN_LEVEL]
        if noted == level:
            found = k
            break
        if found < 0 and (noted < 0 or shown(tape, int(noted), row)[1] != walk.taken[b, k, TAKEN_ROW]):
            found = k
    if found >= 0 and (walk.taken[b, found, TAKEN_LEVEL] != level or walk.taken[b, found, TAKEN_ROW] != told):
        walk.taken[b, found, TAKEN_LEVEL], walk.taken[b, found, TAKEN_ROW] = level, told
        walk.taken[b, found, TAKEN_LOTS] = 0
    return found


@inlined
def _print(tape: Tape, walk: Walk, b: int, row: int, answer_ns: int) -> None:
    """A trade meets the quote of the side that it took from, at its price or through it."""
    side = int(tape.level_side[tape.level[row]])
    quote = walk.quotes[b, side]
    if quote[STATE] != RESTS:
        return
    price, lots, at = tape.tick[row], tape.lots[row], int(tape.exchange_ns[row])
    if price == quote[TICK]:
        walk.queue[b, side, PRINTED] += lots
        walk.queue[b, side, AHEAD] -= lots
        over = int(np.rint(-walk.queue[b, side, AHEAD]))
        if over > 0:
            walk.queue[b, side, AHEAD] = 0.0
            book_fill(walk, b, side, int(price), int(min(quote[LEFT], over)), at, answer_ns, PRINT_AT)
    elif price < quote[TICK] if side == BUY else price > quote[TICK]:
        walk.queue[b, side, AHEAD] = 0.0
        book_fill(walk, b, side, int(quote[TICK]), int(min(quote[LEFT], lots)), at, answer_ns, PRINT_THROUGH)


@inlined
def _told(tape: Tape, walk: Walk, b: int, side: int, row: int, power: float) -> None:
    """The quote's level is told anew."""
    queue = walk.queue[b, side]
    queue[AHEAD] = ahead_after(power, queue[AHEAD], tape.before[row], tape.lots[row], queue[PRINTED])
    queue[PRINTED] = 0.0
    walk.quotes[b, side, CURSOR] += 1


@inlined
def _cross(tape: Tape, walk: Walk, b: int, side: int, row: int, answer_ns: int) -> None:
    """After a whole message: the other side may stand at the quote or through it."""
    quote = walk.quotes[b, side]
    best = tape.ask[row] if side == BUY else tape.bid[row]
    if best > quote[TICK] if side == BUY else best < quote[TICK]:
        quote[CROSSED] = 0
        return
    if quote[CROSSED] > 0 and stood_apart(tape, row, side, int(quote[TICK])):
        quote[CROSSED] = 0
    other = SELL if side == BUY else BUY
    k, step, there = level_of(tape, other, int(best)), 1 if side == BUY else -1, 0
    while 0 <= k < len(tape.level_tick) and tape.level_side[k] == other:
        tick = tape.level_tick[k]
        if tick > quote[TICK] if side == BUY else tick < quote[TICK]:
            break
        lots, _, _ = shown(tape, k, row + 1)
        there += max(lots, 0)
        k += step
    already = min(int(quote[CROSSED]), there)
    lots = min(int(quote[LEFT]), there - already)
    quote[CROSSED] = already + lots
    walk.queue[b, side, AHEAD] = 0.0
    if lots > 0:
        book_fill(walk, b, side, int(quote[TICK]), lots, int(tape.exchange_ns[row]), answer_ns, CROSSING)


@inlined
def _own(tape: Tape, walk: Walk, b: int, at: int, answer_ns: int) -> None:
    """The next own message arrives: quotes first, then cancels, then what takes."""
    for side in range(2):
        if walk.quotes[b, side, ARRIVES] == at:
            _arrive(tape, walk, b, side, answer_ns)
            return
    for side in range(2):
        if walk.quotes[b, side, CANCELS] == at:
            end_quote(walk, b, side, at + answer_ns)
            return
    take(tape, walk, b, answer_ns)


@compiled
def advance(tape: Tape, walk: Walk, b: int, until: int, answer_ns: int, power: float) -> None:
    """Let an account live through the market.

    Rows of a moment come before own messages that arrive at it.

    Parameters
    ----------
    tape, walk
        The market, and accounts.
    b
        Which account.
    until
        To this moment and with it, exchange's clock, ns.
    answer_ns
        How long answers take now.
    power
        From `qframe_rl.book.queue.exponent`.
    """
    n, last, stale = len(tape.tick), -1, True
    bid_told = ask_told = bid_cross = ask_cross = n
    own = NEVER
    if is_crossed(walk, b):  # where the last row stands matters only then
        last = rows_until(tape.exchange_ns, walk.account[b, NOW]) - 1
    while True:
        if stale or is_crossed(walk, b):
            bid_told, ask_told = next_told(tape, walk, b, BUY), next_told(tape, walk, b, SELL)
            bid_cross, ask_cross = next_cross(tape, walk, b, BUY, last), next_cross(tape, walk, b, SELL, last)
            own = next_own(walk, b)
        trade = next_print(tape, walk, b, min(bid_cross, ask_cross), min(until, own))
        row = min(bid_told, ask_told, bid_cross, ask_cross, trade)
        at = int(tape.exchange_ns[row]) if row < n else NEVER
        if min(at, own) > until:
            break
        n_fills, stale = walk.n_fills[0], True
        if own < at:
            _own(tape, walk, b, own, answer_ns)
        elif row == trade:
            walk.cursors[b, TRADES] += 1
            _print(tape, walk, b, row, answer_ns)
            last, stale = row, walk.n_fills[0] != n_fills
        elif row == bid_told:
            _told(tape, walk, b, BUY, row, power)
            bid_told, last, stale = next_told(tape, walk, b, BUY), max(last, row - 1), False
        elif row == ask_told:
            _told(tape, walk, b, SELL, row, power)
            ask_told, last, stale = next_told(tape, walk, b, SELL), max(last, row - 1), False
        else:
            side = BUY if row == bid_cross else SELL
            _pass(tape, walk, b, side, row)
            _cross(tape, walk, b, side, row, answer_ns)
            last = row
    walk.account[b, NOW] = until


@inlined
def _pass(tape: Tape, walk: Walk, b: int, side: int, row: int) -> None:
    """Move the cursor of crossings beyond a row."""
    rows, which = (tape.ask_falls, FALLS) if side == BUY else (tape.bid_rises, RISES)
    if walk.cursors[b, which] < len(rows) and rows[walk.cursors[b, which]] == row:
        walk.cursors[b, which] += 1


QUOTE, TAKE, WITHDRAW = range(3)
S_TIME, S_KIND, S_SIDE, S_TICK, S_LOTS = range(5)
"""Columns of a script: when a message arrives at the exchange, what it is, its side, its price, its lots."""
N_SCRIPT = 5


def follow(tape: Tape, walk: Walk, script: Int, answer_ns: int, power: float, until: int) -> None:
    """Let the first account send messages that are written down, and live to a moment.

    A quote on a side that is not free yet is left out, as is what takes while another is on its way.

    Parameters
    ----------
    tape, walk
        The market, and accounts; the first is used, from where it is.
    script
        (N, 5) messages in the order in which they arrive.
    answer_ns, power, until
        As in `advance`.

    Raises
    ------
    ValueError
        For arrays of other shapes or types, or messages that do not rise in time.
    """
    check_walk(walk)
    if script.dtype != np.int64 or script.ndim != 2 or script.shape[1] != N_SCRIPT:
        raise ValueError(f"a script is int64 of shape (N, {N_SCRIPT}), not {script.dtype} of {script.shape}")
    if bool((np.diff(script[:, S_TIME]) < 0).any()) or not np.isin(script[:, S_SIDE], (BUY, SELL)).all():
        raise ValueError("messages of a script rise in time, and are of side 0 or 1")
    _follow(tape, walk, np.ascontiguousarray(script), answer_ns, power, until)


@apart
def _follow(tape: Tape, walk: Walk, script: Int, answer_ns: int, power: float, until: int) -> None:
    for k in range(len(script)):
        at, kind, side = int(script[k, S_TIME]), script[k, S_KIND], int(script[k, S_SIDE])
        advance(tape, walk, 0, at - 1, answer_ns, power)
        if kind == QUOTE:
            if is_free(walk, 0, side, at):
                send_quote(walk, 0, side, int(script[k, S_TICK]), int(script[k, S_LOTS]), at)
        elif kind == WITHDRAW:
            send_cancel(walk, 0, side, at)
        else:
            send_take(walk, 0, side, int(script[k, S_LOTS]), int(script[k, S_TICK]), at)
    advance(tape, walk, 0, until, answer_ns, power)


def place(tape: Tape, walk: Walk, at: Int) -> None:
    """Put every account at a moment of its own.

    Parameters
    ----------
    tape, walk
        The market, and B accounts.
    at
        (B,) exchange's clock, ns.

    Raises
    ------
    ValueError
        For arrays of other shapes or types.
    """
    check_walk(walk)
    if at.dtype != np.int64 or at.shape != (len(walk.account),):
        raise ValueError(f"moments are int64 of shape ({len(walk.account)},), not {at.dtype} of {at.shape}")
    _place_all(tape, walk, np.ascontiguousarray(at))


@apart
def _place_all(tape: Tape, walk: Walk, at: Int) -> None:
    for b in range(len(walk.account)):
        begin(tape, walk, b, at[b])
