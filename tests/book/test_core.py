"""The compiled core against plain dictionaries and queues, another engine's fills, and its own invariants."""

from __future__ import annotations

import bourse
import numpy as np
import pytest

from qframe_rl.book import state as s
from qframe_rl.book.core import levels, match, resting
from qframe_rl.book.state import Books, empty_books
from qframe_rl.config import UserError
from qframe_rl.types import Int
from tests.book.messages import drawn
from tests.oracle.books import PlainBook


def rests(books: Books, book: int = 0) -> list[tuple[int, ...]]:
    return [tuple(int(x) for x in one) for one in np.stack(resting(books, book), axis=1)]


def sound(books: Books, book: int = 0) -> None:
    """Depth is the sum of orders, bids are below asks, places and orders are all of the pool."""
    bids, asks = levels(books, book)
    assert not len(bids) or not len(asks) or bids[0, 0] < asks[0, 0]
    found = rests(books, book)
    for side, table in ((s.BUY, bids), (s.SELL, asks)):
        for tick, lots in table:
            assert lots == sum(one[2] for one in found if one[:2] == (side, tick)) > 0
    assert len(found) + books.n_free[book] == books.n_places
    assert (books.table[book] >= 0).sum() == len(found)
    assert len({int(p) for p in books.free[book, : books.n_free[book]]}) == books.n_free[book]


@pytest.mark.parametrize("seed", range(3))
def test_every_fill_is_the_oracles(seed: int) -> None:
    """200,000 messages; a window and a pool that are large enough for all of them refuse nothing."""
    messages = drawn(seed, 200_000, drift=0.2)
    books, plain = empty_books(1, 4096, 4096), PlainBook()
    done = match(books, messages)
    said = [plain.take(row, *map(int, one)) for row, one in enumerate(messages)]
    np.testing.assert_array_equal(np.array(plain.fills), done.fills)
    np.testing.assert_array_equal(np.array(said), np.stack([done.status, done.left], axis=1))
    assert rests(books) == plain.rests()
    assert books.counts[0].sum() == len(messages) and not books.counts[0, [s.OUTSIDE, s.FULL, s.ILL]].any()
    sound(books)
    assert all(books.counts[0, kind] > 100 for kind in (s.WOULD_TAKE, s.WOULD_NOT_FILL, s.UNKNOWN, s.DOUBLE))
    assert (done.fills[:, s.FILLED] < 0).sum() > 100, "own orders met"


@pytest.mark.parametrize("seed", range(4))
def test_a_small_window_and_pool_refuse_and_lose_nothing(seed: int) -> None:
    """The price walks far: the window follows it. What is refused is said, and nothing that rested is dropped."""
    messages = drawn(seed, 30_000, reach=40, drift=0.35)
    books, plain = empty_books(1, 64, 24), PlainBook()
    done = match(books, messages)
    for row, one in enumerate(messages):
        status, left = plain.take(row, *map(int, one))
        if done.status[row] in (s.OUTSIDE, s.FULL):
            assert left == done.left[row] > 0
            plain.leave(plain.known[int(one[s.ID])])
        else:
            assert (status, left) == (done.status[row], done.left[row]), row
    np.testing.assert_array_equal(np.array(plain.fills), done.fills)
    assert rests(books) == plain.rests()
    sound(books)
    assert books.counts[0, s.OUTSIDE] > 100 and books.counts[0, s.FULL] > 100
    assert np.ptp(done.fills[:, s.AT]) > 2 * 64, "it went farther than the window is wide"


def test_many_books_at_once_are_each_as_alone_and_a_call_may_be_cut_anywhere() -> None:
    parts = [drawn(seed, 500 + 37 * seed) for seed in range(8)]
    starts = np.cumsum([0, *(len(part) for part in parts)])
    books = empty_books(8)
    done = match(books, np.concatenate(parts), starts)
    sent = 0
    for k, part in enumerate(parts):
        alone = empty_books(1)
        cuts = np.sort(np.random.default_rng(k).integers(0, len(part), 3))
        some = [match(alone, piece) for piece in np.split(part, cuts)]
        np.testing.assert_array_equal(
            np.concatenate([one.status for one in some]), done.status[starts[k] : starts[k + 1]]
        )
        fills = np.concatenate([one.fills for one in some])[:, 1:]
        np.testing.assert_array_equal(fills, done.fills[sent : sent + len(fills), 1:])
        sent += len(fills)
        assert rests(alone) == rests(books, k)
    assert sent == len(done.fills)


def test_cash_and_stock_are_only_handed_on() -> None:
    fills = match(empty_books(1), drawn(5, 20_000)).fills
    fills = fills[fills[:, s.FILLED] > 0]
    cash, stock = np.zeros(6, np.int64), np.zeros(6, np.int64)
    for sign, owner in ((1, s.TAKER_OWNER), (-1, s.MAKER_OWNER)):
        bought = sign * np.where(fills[:, s.TAKER_SIDE] == s.BUY, 1, -1) * fills[:, s.FILLED]
        np.add.at(stock, fills[:, owner], bought)
        np.add.at(cash, fills[:, owner], -bought * fills[:, s.AT])
    assert stock.any() and stock.sum() == 0 and cash.sum() == 0


def said(*rows: tuple[int, ...]) -> Int:
    return np.array(rows, np.int64)


def test_a_buy_fills_both_prices_that_it_crosses() -> None:
    """JAX-LOB's fault (kangoapple/JAX-LOB issue 49): half of it rested, and the book stayed crossed."""
    books = empty_books(1)
    done = match(
        books,
        said((s.LIMIT, s.SELL, 100, 5, 1, 1), (s.LIMIT, s.SELL, 102, 5, 1, 2), (s.LIMIT, s.BUY, 105, 10, 2, 3)),
    )
    assert done.fills[:, [s.AT, s.FILLED]].tolist() == [[100, 5], [102, 5]] and not rests(books)


def test_a_cancel_of_a_filled_order_leaves_the_one_that_has_its_place() -> None:
    books = empty_books(1)
    rows = [(s.LIMIT, s.SELL, 100, 5, 1, 1), (s.IOC, s.BUY, 100, 5, 2, 2), (s.LIMIT, s.SELL, 101, 7, 3, 3)]
    done = match(books, said(*rows, (s.CANCEL, 0, 0, 0, 0, 1)))
    assert done.status.tolist() == [s.ACCEPTED] * 3 + [s.UNKNOWN]
    assert rests(books) == [(s.SELL, 101, 7, 3, 3)]


def test_first_come_first_served_after_cancels_and_what_grows_goes_to_the_end() -> None:
    books = empty_books(1)
    match(books, said(*((s.LIMIT, s.BUY, 100, 2, k, k) for k in range(1, 6))))
    match(books, said((s.CANCEL, 0, 0, 0, 0, 2), (s.RESIZE, 0, 0, 1, 0, 3), (s.RESIZE, 0, 0, 4, 0, 1)))
    assert [one[4] for one in rests(books)] == [3, 4, 5, 1], "fewer keep their place, more lose it"
    done = match(books, said((s.IOC, s.SELL, 100, 20, 9, 9)))
    assert done.fills[:, [s.MAKER, s.FILLED]].tolist() == [[3, 1], [4, 2], [5, 2], [1, 4]]
    assert done.left.tolist() == [11]


def test_an_own_order_expires_instead_of_trading() -> None:
    books = empty_books(1)
    rows = [(s.LIMIT, s.SELL, 100, 5, 1, 1), (s.LIMIT, s.SELL, 100, 3, 2, 2), (s.LIMIT, s.BUY, 100, 4, 1, 3)]
    done = match(books, said(*rows))
    assert done.fills[:, [s.MAKER, s.FILLED]].tolist() == [[1, -5], [2, 3]]
    assert rests(books) == [(s.BUY, 100, 1, 1, 3)]
    assert match(books, said((s.FOK, s.SELL, 100, 1, 1, 4))).status.tolist() == [s.WOULD_NOT_FILL]


@pytest.mark.parametrize(
    "ill",
    [
        (7, 0, 100, 1, 1, 1), (-1, 0, 100, 1, 1, 1), (s.LIMIT, 2, 100, 1, 1, 1), (s.LIMIT, -1, 100, 1, 1, 1),
        (s.LIMIT, 0, 2**62, 1, 1, 1), (s.LIMIT, 0, -(2**63), 1, 1, 1), (s.LIMIT, 0, 100, 0, 1, 1),
        (s.LIMIT, 0, 100, -5, 1, 1), (s.LIMIT, 0, 100, 2**62, 1, 1), (s.LIMIT, 0, 100, 1, -1, 1),
        (s.LIMIT, 0, 100, 1, 2**31, 1), (s.LIMIT, 0, 100, 1, 1, -1), (s.RESIZE, 0, 0, 0, 0, 1),
        (s.CANCEL, 0, 0, 0, 0, -9),
    ],
)  # fmt: skip
def test_numbers_that_no_message_has_change_nothing(ill: tuple[int, ...]) -> None:
    books = empty_books(1)
    match(books, said((s.LIMIT, s.BUY, 100, 5, 1, 1)))
    assert match(books, said(ill)).status.tolist() == [s.ILL]
    assert rests(books) == [(s.BUY, 100, 5, 1, 1)]


def test_wrong_shapes_are_refused() -> None:
    books, good = empty_books(2), said((s.LIMIT, s.BUY, 100, 5, 1, 1))
    for messages, starts, what in (
        (good.astype(np.float64), None, "messages are int64"),
        (good[:, :5], None, "messages are int64"),
        (good, np.array([0, 1]), r"\(3,\)"),
        (good, np.array([0, 2, 1]), "rise"),
        (good, np.array([0.0, 1.0, 1.0]), "starts are int64"),
    ):
        with pytest.raises(UserError, match=what):
            match(books, messages, starts)
    for sizes, what in (((0,), "at least one"), ((1, 100), "multiple of 64"), ((1, 64, 40_000), "32767")):
        with pytest.raises(UserError, match=what):
            empty_books(*sizes)


def test_bourse_fills_the_same() -> None:
    """bourse 0.4 (PyPI), an engine in Rust: limit orders, market orders, cancels; each owner is his own."""
    messages = drawn(7, 50_000)
    messages = messages[np.isin(messages[:, s.KIND], [s.LIMIT, s.MARKET, s.CANCEL])]
    messages[:, s.OWNER] = np.arange(len(messages))
    first = np.unique(messages[messages[:, s.KIND] != s.CANCEL, s.ID], return_index=True)[1]
    taken = np.isin(np.arange(len(messages)), np.flatnonzero(messages[:, s.KIND] != s.CANCEL)[first])
    messages = messages[taken | (messages[:, s.KIND] == s.CANCEL)]
    theirs, numbers = bourse.core.OrderBook(0, True), {}
    for row, (kind, side, tick, lots, owner, order_id) in enumerate(messages.tolist()):
        theirs.set_time(row)  # two orders of one time and price would be one to it
        if kind == s.CANCEL:
            if order_id in numbers:
                theirs.cancel_order(numbers[order_id])
        else:
            price = {"price": tick} if kind == s.LIMIT else {}
            numbers[order_id] = theirs.place_order(side == s.BUY, lots, owner, **price)
    books = empty_books(1, 4096, 4096)
    ours = match(books, messages).fills
    known = {number: order_id for order_id, number in numbers.items()}
    found = [(price, lots, known[active], known[passive]) for _, _, price, lots, active, passive in theirs.get_trades()]
    assert len(found) > 5_000
    assert found == [tuple(row) for row in ours[:, [s.AT, s.FILLED, s.TAKER, s.MAKER]].tolist()]


@pytest.mark.parametrize("name", Books._fields)
def test_books_whose_arrays_are_not_of_one_another_are_refused(name: str) -> None:
    books = empty_books(2)
    field = getattr(books, name)
    for wrong in (field[:1], field.astype(np.float32), np.repeat(field, 2, axis=0)[::2]):
        with pytest.raises(UserError, match=r"books: \w+ is "):
            match(books._replace(**{name: wrong}), np.zeros((0, 6), np.int64))
