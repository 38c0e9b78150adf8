"""What comes next for an account on a tape: of all rows those alone that can touch its quotes, and its own messages."""

from __future__ import annotations

from qframe_rl.book.accounts import (
    ARRIVES,
    CANCELS,
    CROSSED,
    CURSOR,
    FALLS,
    LEVEL,
    RESTS,
    RISES,
    STATE,
    TAKES,
    TICK,
    TRADES,
    Walk,
)
from qframe_rl.book.events import TRADE
from qframe_rl.book.lookup import message_end
from qframe_rl.book.state import BUY, SELL
from qframe_rl.book.tape import Tape
from qframe_rl.jit import inlined


@inlined
def next_told(tape: Tape, walk: Walk, b: int, side: int) -> int:
    """Next row that tells the quote's level anew; N if there is none."""
    quote = walk.quotes[b, side]
    if quote[STATE] != RESTS or quote[LEVEL] < 0:
        return len(tape.tick)
    end = tape.starts[quote[LEVEL] + 1]
    while quote[CURSOR] < end and tape.kind[tape.rows[quote[CURSOR]]] == TRADE:
        quote[CURSOR] += 1
    return int(tape.rows[quote[CURSOR]]) if quote[CURSOR] < end else len(tape.tick)


@inlined
def next_print(tape: Tape, walk: Walk, b: int, before: int, until: int) -> int:
    """Next trade while a quote rests; N if there is none.

    Those that meet no quote are passed over: before a row, and until a moment, from which on quotes may be others.
    """
    if walk.quotes[b, BUY, STATE] != RESTS and walk.quotes[b, SELL, STATE] != RESTS:
        return len(tape.tick)
    cursor, crossed = walk.cursors[b, TRADES], is_crossed(walk, b)
    while cursor < len(tape.trades):
        row = int(tape.trades[cursor])
        if crossed or row > before or tape.exchange_ns[row] > until or _meets(tape, walk, b, row):
            break
        cursor += 1
    walk.cursors[b, TRADES] = cursor
    return int(tape.trades[cursor]) if cursor < len(tape.trades) else len(tape.tick)


@inlined
def _meets(tape: Tape, walk: Walk, b: int, row: int) -> bool:
    """Whether a trade is at the price of the quote that it could fill, or through it."""
    side = int(tape.level_side[tape.level[row]])
    quote, price = walk.quotes[b, side], tape.tick[row]
    return bool(quote[STATE] == RESTS and (price <= quote[TICK] if side == BUY else price >= quote[TICK]))


@inlined
def is_crossed(walk: Walk, b: int) -> bool:
    """Whether a quote filled against a book that stood through it, and may stand there still."""
    return bool(walk.quotes[b, BUY, CROSSED] > 0 or walk.quotes[b, SELL, CROSSED] > 0)


@inlined
def next_cross(tape: Tape, walk: Walk, b: int, side: int, last: int) -> int:
    """Next row after which the other side may stand at the quote or through it; N if there is none."""
    n, quote = len(tape.tick), walk.quotes[b, side]
    if quote[STATE] != RESTS:
        return n
    rows, which = (tape.ask_falls, FALLS) if side == BUY else (tape.bid_rises, RISES)
    cursor = walk.cursors[b, which]
    found = int(rows[cursor]) if cursor < len(rows) else n
    if quote[CROSSED] > 0 and last + 1 < n:
        found = min(found, message_end(tape, last + 1))
    return found


@inlined
def next_own(walk: Walk, b: int) -> int:
    """When the next of an account's own messages arrives."""
    at = walk.account[b, TAKES]
    for side in range(2):
        at = min(at, walk.quotes[b, side, ARRIVES], walk.quotes[b, side, CANCELS])
    return int(at)
