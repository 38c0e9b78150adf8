"""The end of an episode: quotes are gone, and what must not be held is taken from the book as it stands."""

from __future__ import annotations

from qframe_rl.book.accounts import (
    NEVER,
    POSITION,
    TAKES,
    TAKES_BOUND,
    TAKES_LOTS,
    TAKES_SIDE,
    TOOK,
    Walk,
    book_fill,
    end_quote,
)
from qframe_rl.book.lookup import rows_until, shown
from qframe_rl.book.state import BUY, SELL
from qframe_rl.book.tape import NO_ASK, NO_BID, Tape
from qframe_rl.book.walk import take
from qframe_rl.jit import inlined


@inlined
def close(tape: Tape, walk: Walk, b: int, at: int, target: int) -> int:
    """Hold so many lots from now on, at what it costs to take them at once.

    Lots that the book does not display are paid like its worst displayed level.

    Parameters
    ----------
    tape, walk, b
        The market, accounts, and which one.
    at
        When, exchange's clock, ns.
    target
        Lots.

    Returns
    -------
    int
        Lots that were not displayed.
    """
    for side in range(2):
        end_quote(walk, b, side, at)
    account = walk.account[b]
    lacks = target - account[POSITION]
    if lacks == 0:
        account[TAKES] = NEVER
        return 0
    side = BUY if lacks > 0 else SELL
    account[TAKES], account[TAKES_SIDE], account[TAKES_LOTS] = at, side, abs(lacks)
    account[TAKES_BOUND] = NO_ASK if side == BUY else NO_BID
    take(tape, walk, b, 0)
    left = abs(target - account[POSITION])
    if left > 0:
        book_fill(walk, b, side, _worst(tape, side, rows_until(tape.exchange_ns, at)), left, at, 0, TOOK)
    return int(left)


@inlined
def _worst(tape: Tape, side: int, row: int) -> int:
    """Tick of the level that a side reaches last when it takes all."""
    other, n = SELL if side == BUY else BUY, len(tape.level_tick)
    for j in range(n):
        k = n - 1 - j if other == SELL else j
        if tape.level_side[k] == other and shown(tape, k, row)[0] > 0:
            return int(tape.level_tick[k])
    return int(tape.ask[row - 1] if side == BUY else tape.bid[row - 1])
