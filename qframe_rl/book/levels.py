"""Queues of a book's prices, the words that say which are occupied, the table of ids, and the window, compiled."""

from __future__ import annotations

import numpy as np

from qframe_rl.book.state import BUY, SELL, Books
from qframe_rl.jit import inlined

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
def enter(books: Books, book: int, place: int) -> None:
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
def link(books: Books, book: int, place: int, p: int) -> None:
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
def unlink(books: Books, book: int, place: int, p: int) -> None:
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
def remove(books: Books, book: int, place: int, p: int) -> None:
    """Let an order go."""
    unlink(books, book, place, p)
    _erase(books, book, place)
    books.free[book, books.n_free[book]] = place
    books.n_free[book] += 1


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
def room(books: Books, book: int, tick: int) -> int:
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
