"""Wishes become messages only where they differ from what lives."""

from __future__ import annotations

import numpy as np

from qframe_rl.book import accounts as a
from qframe_rl.book import walk as w
from qframe_rl.book.accounts import Walk
from qframe_rl.book.events import TRADE
from qframe_rl.book.tape import Tape
from qframe_rl.book.wish import known_left, pursue
from tests.book.tapes import MS
from tests.book.test_walk import at, still

ENTRY, ANSWER = MS // 4, MS // 4
NONE = np.zeros(3, np.int64)


def account(tape: Tape) -> Walk:
    walk = a.new_walk(1, 10)
    w.place(tape, walk, np.array([at(1.1)]))
    return walk


def wish(walk: Walk, tape: Tape, ms: float, bid: tuple[int, int] = (0, 0), ask: tuple[int, int] = (0, 0)) -> int:
    """Live to a moment, wish, and say how many messages that sent."""
    w.follow(tape, walk, np.zeros((0, 5), np.int64), ANSWER, 1.0, at(ms))
    before = walk.account[0, a.N_SENT]
    pursue(walk, 0, np.array([bid, ask]), NONE, at(ms), ENTRY)
    return int(walk.account[0, a.N_SENT] - before)


def test_equal_wishes_send_nothing() -> None:
    """C10."""
    tape = still()
    walk = account(tape)
    sent = [wish(walk, tape, 1.5 + k, (100, 5), (101, 5)) for k in range(5)]
    assert sent == [2, 0, 0, 0, 0]


def test_another_price_is_a_cancel_and_the_new_one_waits_until_it_is_known() -> None:
    tape = still()
    walk = account(tape)
    assert wish(walk, tape, 1.5, (100, 5)) == 1
    assert wish(walk, tape, 1.6, (99, 5)) == 0, "its place is not known yet"
    assert wish(walk, tape, 2.1, (99, 5)) == 1
    assert wish(walk, tape, 2.3, (99, 5)) == 0, "the cancel is on its way"
    assert wish(walk, tape, 2.7, (99, 5)) == 1
    assert walk.quotes[0, 0, a.TICK] == 99 and walk.quotes[0, 0, a.STATE] == a.SENT
    assert wish(walk, tape, 3.5) == 1 and wish(walk, tape, 4.5) == 0, "no wish is a cancel"
    assert walk.quotes[0, 0, a.STATE] == a.EMPTY


def test_a_smaller_rest_stays_and_a_larger_one_goes() -> None:
    tape = still((2, TRADE, 1, 100, 12))
    walk = account(tape)
    assert wish(walk, tape, 1.5, (100, 5)) == 1
    assert wish(walk, tape, 3.0, (100, 5)) == 0 and walk.quotes[0, 0, a.LEFT] == 3, "the rest keeps its place"
    assert wish(walk, tape, 3.5, (100, 2)) == 1, "3 are more than 2"


def test_what_is_not_heard_of_is_not_known() -> None:
    """A fill whose answer travels leaves the quote as large as it was to the eye."""
    tape = still((2, TRADE, 1, 100, 12))
    walk = account(tape)
    wish(walk, tape, 1.2, (100, 5))
    w.follow(tape, walk, np.zeros((0, 5), np.int64), ANSWER, 1.0, at(2))
    assert walk.quotes[0, 0, a.LEFT] == 3
    assert wish(walk, tape, 2.1, (100, 4)) == 1, "as far as is known 5 are left"


def test_fills_of_both_sides_that_are_not_known_do_not_hide_each_other() -> None:
    """A bid and an ask that filled within the same answer's way are both believed to be there still."""
    tape = still((2, TRADE, 1, 100, 12), (2, TRADE, 0, 101, 12))
    walk = account(tape)
    wish(walk, tape, 1.5, (100, 5), (101, 5))
    w.follow(tape, walk, np.zeros((0, 5), np.int64), ANSWER, 1.0, at(2.1))
    assert [known_left(walk, 0, side, at(2.1)) for side in (0, 1)] == [5, 5]
    assert [known_left(walk, 0, side, at(2.3)) for side in (0, 1)] == [3, 3]
