"""Where things stand on a tape: searches, compiled."""

from __future__ import annotations

from qframe_rl.book.events import TRADE
from qframe_rl.book.state import BUY
from qframe_rl.book.tape import NOT_TOLD, Tape
from qframe_rl.jit import inlined
from qframe_rl.types import Int


@inlined
def rows_until(values: Int, most: int) -> int:
    """How many of rising values are at most so large."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) >> 1
        if values[middle] <= most:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def level_of(tape: Tape, side: int, tick: int) -> int:
    """Number of a level; -1 if no row names it."""
    low, high = 0, len(tape.level_tick)
    while low < high:
        middle = (low + high) >> 1
        if tape.level_side[middle] < side or (tape.level_side[middle] == side and tape.level_tick[middle] < tick):
            low = middle + 1
        else:
            high = middle
    if low < len(tape.level_tick) and tape.level_side[low] == side and tape.level_tick[low] == tick:
        return low
    return -1


@inlined
def shown(tape: Tape, level: int, row: int) -> tuple[int, int, int]:
    """What stands at a level before a row.

    Returns
    -------
    tuple[int, int, int]
        Lots, `NOT_TOLD` if none were; the row that told them, -1 if none did; where the level's next row stands.
    """
    low, high = tape.starts[level], tape.starts[level + 1]
    first = low
    while low < high:
        middle = (low + high) >> 1
        if tape.rows[middle] < row:
            low = middle + 1
        else:
            high = middle
    k = low - 1
    while k >= first and tape.kind[tape.rows[k]] == TRADE:
        k -= 1
    if k < first:
        return NOT_TOLD, -1, int(low)
    return int(tape.lots[tape.rows[k]]), int(tape.rows[k]), int(low)


@inlined
def stood_apart(tape: Tape, row: int, side: int, tick: int) -> bool:
    """Whether before a row's message the other side did not stand at a price or through it."""
    message = tape.message[row]
    while row >= 0 and tape.message[row] == message:
        row -= 1
    if row < 0:
        return True
    return bool(tape.ask[row] > tick if side == BUY else tape.bid[row] < tick)


@inlined
def message_end(tape: Tape, row: int) -> int:
    """Last row of the message that a row belongs to."""
    while row + 1 < len(tape.message) and tape.message[row + 1] == tape.message[row]:
        row += 1
    return row
