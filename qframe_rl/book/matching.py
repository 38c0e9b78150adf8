"""Price, then time: how one message changes a book, compiled.

An order that comes meets the best price of the other side first, and there the oldest order; it trades at the price
that rests. An own resting order expires instead of trading. Whole numbers throughout: prices are ticks, quantities
lots.
"""

from __future__ import annotations

import numpy as np

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
    MOST_LOTS,
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
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Odd number near 2^64 over the golden ratio (Knuth, The Art of Computer Programming, volume 3, 6.4)."""
_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
"""Leiserson, Prokop & Randall (1998): the number of a lone bit from a product and a table."""
_ONE, _ALL = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)


def _bits() -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    found = np.zeros(64, np.int8)
    for k in range(64):
        found[(int(_BRUIJN) << k & 0xFFFFFFFFFFFFFFFF) >> 58] = k
    return found


_BIT = _bits()


@inlined
def lowest(word: np.uint64) -> int:
    """Number of the lowest bit of a word that has one."""
    return int(np.int64(_BIT[((word & (~word + _ONE)) * _BRUIJN) >> np.uint64(58)]))


@inlined
def highest(word: np.uint64) -> int:
    """Number of the highest bit of a word that has one."""
    word |= word >> np.uint64(1)
    word |= word >> np.uint64(2)
    word |= word >> np.uint64(4)
    word |= word >> np.uint64(8)
    word |= word >> np.uint64(16)
    word |= word >> np.uint64(32)
    return int(np.int64(_BIT[((word ^ (word >> _ONE)) * _BRUIJN) >> np.uint64(58)]))


@inlined
def next_below(books: Books, book: int, side: int, p: int) -> int:
    """Highest occupied price of a side at or below p; -1 if there is none."""
    if p < 0:
        return -1
    w = p >> 6
    word = books.words[book, side, w] & (_ALL >> np.uint64(63 - (p & 63)))
    while word == 0:
        w -= 1
        if w < 0:
            return -1
        word = books.words[book, side, w]
    return (w << 6) + highest(word)


@inlined
def next_above(books: Books, book: int, side: int, p: int) -> int:
    """Lowest occupied price of a side at or above p; P if there is none."""
    n = int(books.words.shape[2])
    w = p >> 6
    if w >= n:
        return n << 6
    word = books.words[book, side, w] & (_ALL << np.uint64(p & 63))
    while word == 0:
        w += 1
        if w >= n:
            return n << 6
        word = books.words[book, side, w]
    return (w << 6) + lowest(word)


@inlined
def _home(books: Books, order_id: int) -> int:
    """Where the search for an id begins in the table."""
    n = books.table.shape[1]
    return int(np.int64(((np.uint64(order_id) * _GOLDEN) >> np.uint64(32)) & np.uint64(n - 1)))


@inlined
def find(books: Books, book: int, order_id: int) -> int:
    """Place of the order with an id; -1 if none rests."""
    last = books.table.shape[1] - 1
    h = _home(books, order_id)
    while True:
        place = int(books.table[book, h])
        if place < 0 or books.order_id[book, place] == order_id:
            return place
        h = (h + 1) & last


@inlined
def _enter(books: Books, book: int, place: int) -> None:
    """Put an order's place into the table, which is at most half full."""
    last = books.table.shape[1] - 1
    h = _home(books, books.order_id[book, place])
    while books.table[book, h] >= 0:
        h = (h + 1) & last
    books.table[book, h] = place


@inlined
def _erase(books: Books, book: int, place: int) -> None:
    """Take a place out of the table, and move up those that were put aside for it."""
    last = books.table.shape[1] - 1
    h = _home(books, books.order_id[book, place])
    while books.table[book, h] != place:
        h = (h + 1) & last
    gap = h
    while True:
        h = (h + 1) & last
        other = int(books.table[book, h])
        if other < 0:
            break
        if ((h - _home(books, books.order_id[book, other])) & last) >= ((h - gap) & last):
            books.table[book, gap] = other
            gap = h
    books.table[book, gap] = -1


@inlined
def _link(books: Books, book: int, place: int, p: int) -> None:
    """Put an order at the end of a price's queue."""
    youngest = int(books.tail[book, p])
    books.before[book, place] = youngest
    books.after[book, place] = -1
    if youngest < 0:
        side = int(books.side[book, place])
        books.head[book, p] = place
        books.words[book, side, p >> 6] |= _ONE << np.uint64(p & 63)
        if side == BUY:
            books.best[book, BUY] = max(books.best[book, BUY], p)
        else:
            books.best[book, SELL] = min(books.best[book, SELL], p)
    else:
        books.after[book, youngest] = place
    books.tail[book, p] = place
    books.depth[book, p] += books.lots[book, place]


@inlined
def _unlink(books: Books, book: int, place: int, p: int) -> None:
    """Take an order out of its price's queue."""
    older, younger = int(books.before[book, place]), int(books.after[book, place])
    books.depth[book, p] -= books.lots[book, place]
    if older < 0:
        books.head[book, p] = younger
    else:
        books.after[book, older] = younger
    if younger < 0:
        books.tail[book, p] = older
    else:
        books.before[book, younger] = older
    if older < 0 and younger < 0:
        side = int(books.side[book, place])
        books.words[book, side, p >> 6] &= ~(_ONE << np.uint64(p & 63))
        if books.best[book, side] == p:
            if side == BUY:
                books.best[book, BUY] = next_below(books, book, BUY, p - 1)
            else:
                books.best[book, SELL] = next_above(books, book, SELL, p + 1)


@inlined
def _remove(books: Books, book: int, place: int, p: int) -> None:
    """Let an order go."""
    _unlink(books, book, place, p)
    _erase(books, book, place)
    books.free[book, books.n_free[book]] = place
    books.n_free[book] += 1


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
            _remove(books, book, place, p)
        lots -= max(traded, 0)
    return lots, n


@inlined
def _shift(books: Books, book: int, by: int) -> None:
    """Move the window up by so many ticks; nothing may rest at a price that leaves it."""
    n = books.head.shape[1]
    steps = range(n) if by > 0 else range(n - 1, -1, -1)
    for p in steps:
        source = p + by
        inside = 0 <= source < n
        books.head[book, p] = books.head[book, source] if inside else -1
        books.tail[book, p] = books.tail[book, source] if inside else -1
        books.depth[book, p] = books.depth[book, source] if inside else 0
    for side in range(2):
        for w in range(books.words.shape[2]):
            books.words[book, side, w] = 0
    for p in range(n):
        place = int(books.head[book, p])
        if place >= 0:
            books.words[book, int(books.side[book, place]), p >> 6] |= _ONE << np.uint64(p & 63)
    books.base[book] += by
    books.best[book, BUY] = next_below(books, book, BUY, n - 1)
    books.best[book, SELL] = next_above(books, book, SELL, 0)


@inlined
def _lowest_of(books: Books, book: int) -> int:
    """Lowest occupied price; P if there is none."""
    return min(next_above(books, book, BUY, 0), next_above(books, book, SELL, 0))


@inlined
def _highest_of(books: Books, book: int) -> int:
    """Highest occupied price; -1 if there is none."""
    n = int(books.head.shape[1])
    return max(next_below(books, book, BUY, n - 1), next_below(books, book, SELL, n - 1))


@inlined
def _room(books: Books, book: int, tick: int) -> int:
    """Window's price of a tick, once the window was moved for it where that is possible; -1 if it is not.

    It is moved where the price is outside of it or within an eighth of its edges: so that the middle of the best prices
    is in its own, as far as all that rests stays inside.
    """
    n = int(books.head.shape[1])
    p = int(tick - books.base[book])
    edge = n >> 3
    if edge <= p < n - edge:
        return p
    low, high = _lowest_of(books, book), _highest_of(books, book)
    if high < 0:
        books.base[book] = tick - (n >> 1)
        return n >> 1
    bid, ask = int(books.best[book, BUY]), int(books.best[book, SELL])
    middle = bid if ask == n else (ask if bid < 0 else (bid + ask) >> 1)
    low, high = min(low, p), max(high, p)
    if high - low >= n:
        return p if 0 <= p < n else -1
    by = min(max(middle - (n >> 1), high - n + 1), low)
    if by != 0:
        _shift(books, book, by)
    return p - by


@inlined
def _rest(books: Books, book: int, side: int, tick: int, lots: int, owner: int, order_id: int) -> int:
    """Let an order wait in its queue; the outcome."""
    if books.n_free[book] == 0:
        return FULL
    p = _room(books, book, tick)
    if p < 0:
        return OUTSIDE
    books.n_free[book] -= 1
    place = int(books.free[book, books.n_free[book]])
    books.side[book, place] = side
    books.owner[book, place] = owner
    books.tick[book, place] = tick
    books.lots[book, place] = lots
    books.order_id[book, place] = order_id
    _link(books, book, place, p)
    _enter(books, book, place)
    return ACCEPTED


@inlined
def _resize(books: Books, book: int, place: int, lots: int) -> None:
    """Give an order so many lots that are still to fill."""
    p = int(books.tick[book, place] - books.base[book])
    if lots <= books.lots[book, place]:
        books.depth[book, p] -= books.lots[book, place] - lots
        books.lots[book, place] = lots
    else:
        _unlink(books, book, place, p)
        books.lots[book, place] = lots
        _link(books, book, place, p)


@inlined
def _is_ill(message: Int) -> bool:
    kind, lots, tick = message[KIND], message[LOTS], message[TICK]
    if kind < LIMIT or kind > RESIZE or message[ID] < 0:
        return True
    if kind == CANCEL:
        return False
    if lots < 1 or lots > MOST_LOTS:
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
            _remove(books, book, place, int(books.tick[book, place] - books.base[book]))
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
