"""Price, then time: how one message changes a book, compiled.

An order that comes meets the best price of the other side first, and there the oldest order; it trades at the price
that rests. An own resting order expires instead of trading. Whole numbers throughout: prices are ticks, quantities
lots.
"""

from __future__ import annotations

from qframe_rl.book.levels import enter, find, link, next_above, next_below, remove, room, unlink
from qframe_rl.book.state import (
    ACCEPTED,
    BUY,
    CANCEL,
    DOUBLE,
    FOK,
    FULL,
    ID,
    ILL,
    KIND,
    LIMIT,
    LOTS,
    MARKET,
    MOST_ORDER_LOTS,
    MOST_TICKS,
    OUTSIDE,
    OWNER,
    POST_ONLY,
    RESIZE,
    SELL,
    SIDE,
    TICK,
    UNKNOWN,
    WOULD_NOT_FILL,
    WOULD_TAKE,
    Books,
)  # fmt: skip
from qframe_rl.jit import inlined
from qframe_rl.types import Int

_MOST_OWNER = 2**31 - 1


@inlined
def _beyond(side: int, p: int, bound: int) -> bool:
    """Whether a price of the other side is worse than an order of ``side`` accepts; where there is none, it is."""
    return p > bound if side == BUY else p < bound


@inlined
def _fillable(books: Books, book: int, side: int, bound: int, lots: int, owner: int) -> bool:
    """Whether so many lots of others rest at the bound or better."""
    other = SELL if side == BUY else BUY
    p = int(books.best[book, other])
    while not _beyond(side, p, bound):
        place = int(books.head[book, p])
        while place >= 0:
            if books.owner[book, place] != owner:
                lots -= books.lots[book, place]
                if lots <= 0:
                    return True
            place = int(books.after[book, place])
        p = next_above(books, book, SELL, p + 1) if side == BUY else next_below(books, book, BUY, p - 1)
    return False


@inlined
def _take(
    books: Books, book: int, row: int, side: int, bound: int, lots: int, owner: int, taker: int, fills: Int, n: int
) -> tuple[int, int]:  # fmt: skip
    """Trade against what rests: lots that are left, and fills so far."""
    other = SELL if side == BUY else BUY
    while lots > 0:
        p = int(books.best[book, other])
        if _beyond(side, p, bound):
            break
        place = int(books.head[book, p])
        rests, maker = books.lots[book, place], int(books.owner[book, place])
        traded = min(lots, rests) if maker != owner else -rests
        fills[n, 0] = row
        fills[n, 1] = books.order_id[book, place]
        fills[n, 2] = maker
        fills[n, 3] = taker
        fills[n, 4] = owner
        fills[n, 5] = side
        fills[n, 6] = books.base[book] + p
        fills[n, 7] = traded
        n += 1
        if 0 < traded < rests:
            books.lots[book, place] = rests - traded
            books.depth[book, p] -= traded
        else:
            remove(books, book, place, p)
        lots -= max(traded, 0)
    return lots, n


@inlined
def _rest(books: Books, book: int, side: int, tick: int, lots: int, owner: int, order_id: int) -> int:
    """Let an order wait in its queue; the outcome."""
    if books.n_free[book] == 0:
        return FULL
    p = room(books, book, tick)
    if p < 0:
        return OUTSIDE
    books.n_free[book] -= 1
    place = int(books.free[book, books.n_free[book]])
    books.side[book, place] = side
    books.owner[book, place] = owner
    books.tick[book, place] = tick
    books.lots[book, place] = lots
    books.order_id[book, place] = order_id
    link(books, book, place, p)
    enter(books, book, place)
    return ACCEPTED


@inlined
def _resize(books: Books, book: int, place: int, lots: int) -> None:
    """Give an order so many lots that are still to fill."""
    p = int(books.tick[book, place] - books.base[book])
    if lots <= books.lots[book, place]:
        books.depth[book, p] -= books.lots[book, place] - lots
        books.lots[book, place] = lots
    else:
        unlink(books, book, place, p)
        books.lots[book, place] = lots
        link(books, book, place, p)


@inlined
def _is_ill(message: Int) -> bool:
    kind, lots, tick = message[KIND], message[LOTS], message[TICK]
    if kind < LIMIT or kind > RESIZE or message[ID] < 0:
        return True
    if kind == CANCEL:
        return False
    if lots < 1 or lots > MOST_ORDER_LOTS:
        return True
    if kind == RESIZE:
        return False
    return bool(
        message[SIDE] < BUY or message[SIDE] > SELL or tick < -MOST_TICKS or tick > MOST_TICKS
        or message[OWNER] < 0 or message[OWNER] > _MOST_OWNER
    )  # fmt: skip


@inlined
def apply(books: Books, book: int, row: int, message: Int, fills: Int, n: int) -> tuple[int, int, int]:
    """Let a book take one message.

    Parameters
    ----------
    books
        All of them.
    book
        Which one.
    row
        Number of the message, for its fills.
    message
        (6,) kind, side, tick, lots, owner, id.
    fills
        (F, 8), with room for as many more as orders rest in the book.
    n
        Fills so far.

    Returns
    -------
    tuple[int, int, int]
        Outcome; lots that rest, or for what does not rest those that were not filled; fills so far.
    """
    outcome, left = ACCEPTED, 0
    kind, order_id = message[KIND], message[ID]
    if _is_ill(message):
        outcome = ILL
    elif kind >= CANCEL:
        place = find(books, book, order_id)
        if place < 0:
            outcome = UNKNOWN
        elif kind == CANCEL:
            left = books.lots[book, place]
            remove(books, book, place, int(books.tick[book, place] - books.base[book]))
        else:
            left = message[LOTS]
            _resize(books, book, place, left)
    else:
        outcome, left, n = _order(books, book, row, message, fills, n)
    books.counts[book, outcome] += 1
    return outcome, left, n


@inlined
def _order(books: Books, book: int, row: int, message: Int, fills: Int, n: int) -> tuple[int, int, int]:
    """An order that comes."""
    kind, side, tick, left = message[KIND], int(message[SIDE]), message[TICK], message[LOTS]
    owner, order_id = int(message[OWNER]), message[ID]
    top = books.head.shape[1] - 1
    bound = min(max(tick - books.base[book], -1), top + 1)
    if kind == MARKET or (bound > top and side == BUY):
        bound = top if side == BUY else 0
    elif bound < 0 and side == SELL:
        bound = 0
    other = SELL if side == BUY else BUY
    takes = not _beyond(side, int(books.best[book, other]), bound)
    if kind <= POST_ONLY and find(books, book, order_id) >= 0:
        return DOUBLE, left, n
    if kind == POST_ONLY and takes:
        return WOULD_TAKE, left, n
    if kind == FOK and not _fillable(books, book, side, bound, left, owner):
        return WOULD_NOT_FILL, left, n
    if takes:
        left, n = _take(books, book, row, side, bound, left, owner, order_id, fills, n)
    if left > 0 and kind <= POST_ONLY:
        return _rest(books, book, side, tick, left, owner, order_id), left, n
    return ACCEPTED, left, n
