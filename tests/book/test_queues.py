"""Time to fill behind others, where it is known in closed form (gate G1).

Market orders of one lot come at rate mu, each other order is cancelled at rate theta, others join behind: the time
until an order with n ahead fills has the mean sum_{j=1..n} 1 / (mu + j theta) + 1 / mu.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from qframe_rl.book import accounts as a
from qframe_rl.book import state as s
from qframe_rl.book import walk as w
from qframe_rl.book.core import match
from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE
from qframe_rl.book.queue import ahead_after, exponent
from qframe_rl.book.tape import tape_of
from qframe_rl.config import UserError
from tests.book.tapes import START, events

AHEAD, MU, THETA, JOINS = 10, 1.0, 0.2, 2.0
KNOWN = sum(1.0 / (MU + j * THETA) for j in range(1, AHEAD + 1)) + 1.0 / MU
MARKET, CANCELLED, JOINED = range(3)
SECOND = 10**9


def episode(rng: np.random.Generator) -> list[tuple[float, int, int]]:
    """What happens until a market order finds nobody ahead: when, what, and which place of the queue leaves."""
    ahead, behind, now, found = AHEAD, 0, 0.0, []
    while True:
        total = MU + JOINS + THETA * (ahead + behind)
        now += rng.exponential(1.0 / total)
        what = rng.random() * total
        if what < MU:
            found.append((now, MARKET, 0))
            if ahead == 0:
                return found
            ahead -= 1
        elif what < MU + JOINS:
            found.append((now, JOINED, 0))
            behind += 1
        else:
            place = int(rng.integers(ahead + behind))
            found.append((now, CANCELLED, place))
            ahead, behind = (ahead - 1, behind) if place < ahead else (ahead, behind - 1)


@pytest.fixture(scope="module")
def episodes() -> list[list[tuple[float, int, int]]]:
    rng = np.random.default_rng(5)
    return [episode(rng) for _ in range(12_000)]


def test_the_formula() -> None:
    assert math.isclose(KNOWN, 6.1745, abs_tol=1e-4)


def test_a_true_queue_has_it(episodes: list[list[tuple[float, int, int]]]) -> None:
    """Every order is an order of the core; within 1 %."""
    me, messages, starts = 10**9, [], [0]
    for happened in episodes:
        others = list(range(AHEAD))
        messages += [(s.LIMIT, s.BUY, 100, 1, 1, k) for k in others] + [(s.LIMIT, s.BUY, 100, 1, 2, me)]
        fresh = AHEAD
        for _, what, place in happened:
            if what == MARKET:
                messages.append((s.MARKET, s.SELL, 0, 1, 3, me + 1))
                others = others[1:]
            elif what == JOINED:
                messages.append((s.LIMIT, s.BUY, 100, 1, 1, fresh))
                others.append(fresh)
                fresh += 1
            else:
                messages.append((s.CANCEL, 0, 0, 0, 0, others.pop(place)))
        starts.append(len(messages))
    books = s.empty_books(len(episodes), 64, 128)
    fills = match(books, np.array(messages, np.int64), np.array(starts)).fills
    mine = fills[fills[:, s.MAKER] == me, s.ROW]
    assert len(mine) == len(episodes), "each is filled, by the last of its messages"
    np.testing.assert_array_equal(mine, np.array(starts[1:]) - 1)
    times = np.array([happened[-1][0] for happened in episodes])
    assert abs(times.mean() / KNOWN - 1.0) < 0.01


@pytest.mark.parametrize(
    ("rule", "near"),
    [
        pytest.param("share", 0.03, marks=pytest.mark.long),
        pytest.param("power", 0.09, marks=pytest.mark.long),
        ("trades", None),
    ],
)
def test_what_is_guessed_from_depth_and_trades_comes_near(
    episodes: list[list[tuple[float, int, int]]], rule: str, near: float | None
) -> None:
    """`share` within 3 %; `trades` alone, which no cancel moves, is half as long again."""
    rows, said, begun = [(START, START, SNAPSHOT, 1, 10**6, 1, 0)], [], []
    at, message = START, 0
    for k, happened in enumerate(episodes[:6_000]):
        at = at + SECOND
        begun.append(at)
        tick, shown = 1000 + k, AHEAD
        rows.append((at, at, DEPTH, 0, tick, shown, message := message + 1))
        said.append((at + 1, w.QUOTE, 0, tick, 1))
        for when, what, _ in happened:
            now = at + 1 + max(int(when * SECOND), 1)
            if what == MARKET:
                rows.append((now, now, TRADE, 1, tick, 1, message := message + 1))
            shown = max(shown + (1 if what == JOINED else -1), 0)
            rows.append((now, now, DEPTH, 0, tick, shown, message := message + 1))
        for later in range(400):  # who guesses too long a queue waits for more of the same market
            now += SECOND
            rows.append((now, now, TRADE, 1, tick, 1, message := message + 1))
            rows.append((now, now, DEPTH, 0, tick, shown, message := message + 1))
            if later > AHEAD + 2:
                break
        at = now + SECOND
        said.append((at, w.WITHDRAW, 0, 0, 0))
        rows.append((at + 2, at + 2, DEPTH, 0, tick, 0, message := message + 1))
    tape = tape_of(events(rows))
    walk = a.new_walk(1, len(begun) + 10)
    w.place(tape, walk, np.array([START]))
    power = exponent(rule)  # type: ignore[arg-type]
    w.follow(tape, walk, np.array(said), 0, power, at + 10 * SECOND)
    assert walk.n_fills[0] == len(begun)
    times = (walk.fills[: len(begun), a.F_TIME] - np.array(begun)) / SECOND
    if near is None:
        assert times.mean() > 1.15 * KNOWN
    else:
        assert abs(times.mean() / KNOWN - 1.0) < near


def test_rules_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'share'"):
        exponent("shar")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="above 0"):
        exponent("power", 0.0)


def test_a_queue_is_never_longer_than_what_is_displayed_nor_below_nothing() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5_000):
        shown, then, printed = rng.integers(0, 50, 3)
        ahead = rng.random() * shown
        after = ahead_after(float(rng.choice([0.0, 1.0, 3.0])), ahead, shown, then, printed)
        assert 0.0 <= after <= then
