"""Decisions on a knife's edge: which are, and that either outcome can be taken."""

from __future__ import annotations

from tests.oracle.bar import settle
from tests.oracle.cases import candle, d, listing, margin, order, run, spot
from tests.oracle.grids import ZERO
from tests.oracle.records import Outcome, State
from tests.oracle.work import Work

ONE, TWO = frozenset({0}), frozenset({1})


def work(flips: frozenset[int] = frozenset()) -> Work:
    return Work(spot(), State(d(1000), [], []), (), (), ZERO, flips)


def test_sums_that_differ_by_their_rounding_are_an_edge() -> None:
    w = work()
    assert w.below(d(1) - d("1e-14"), d(1), d(1), "near")
    assert not w.below(d(1), d(1), d(1), "equal")
    assert w.below(d(1) - d("1e-12"), d(1), d(1), "clear")
    assert w.edges == ["near", "equal"]


def test_a_flip_turns_the_edge_of_its_number_and_no_other() -> None:
    w = work(TWO)
    assert not w.below(d(1), d(1), d(1), "first")
    assert w.below(d(1), d(1), d(1), "second")
    assert not w.below(d(1), d(1), d(1), "third")


def test_whole_steps_are_an_edge_where_a_double_may_miss_them() -> None:
    for value, natural, flipped in (("3", 3, 2), ("2.99999999999999", 2, 3), ("3.00000000000001", 3, 2)):
        for flips, expected in ((frozenset[int](), natural), (ONE, flipped)):
            w = work(flips)
            assert w.down(d(value), d(1), d("1e-13"), "lots") == expected
            assert w.edges == ["lots"]
    w = work()
    assert w.down(d("2.999999999"), d(1), d("1e-13"), "lots") == 2
    assert w.down(d("0.5"), d(0), d("1e-13"), "lots") == d("0.5")
    assert w.edges == []


def same_share(flips: frozenset[int] = frozenset()) -> Outcome:
    """Two longs of 50 at 100 with 700 of equity, stops at half of the way; the fee of the first ruins."""
    book = margin(listing(taker_fee="0.05"), listing(taker_fee="0.05"), leverage="20")
    state = State(d(-9300), [d(50), d(50)], [d(100), d(100)])
    crash = candle("100 100 90 91")
    return settle(book, state, (order(-50, stop=95), order(-50, stop=95)), (crash, crash), ZERO, flips)


def test_orders_at_the_same_share_go_by_instrument_but_for_their_rounding() -> None:
    # At half of the way 200 are left, the fee of a close is 50 x 95 x 5 % = 237.5.
    out = same_share()
    assert out.edges == ("the same share",)
    assert [f.quantity for f in out.fills] == [-50, 0]
    assert [f.quantity for f in same_share(ONE).fills] == [0, -50]


def test_what_is_compared_in_steps_or_as_given_is_no_edge() -> None:
    touched = run(spot(listing(tick="0.1")), 1000, [order(1, limit="99")], [candle("100 101 99 100")])
    least = run(spot(listing(lot="0.1", min_amount="0.3")), 1000, [order("0.3")], [candle("100 101 99 100")])
    given = run(spot(listing(min_amount="0.3")), 1000, [order("0.3")], [candle("100 101 99 100")])
    at_open = run(spot(listing()), 1000, [order(1, limit=100)], [candle("100 101 99 100")])
    assert touched.edges == least.edges == given.edges == at_open.edges == ()
