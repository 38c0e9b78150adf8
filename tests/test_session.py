"""The session: what an agent is shown, when, and what it cannot do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qframe_rl.agent import View
from qframe_rl.config import UserError
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.interface import rebalance
from qframe_rl.kernel.rules import rules_of
from qframe_rl.listeners import Journal
from qframe_rl.session import Session, run
from qframe_rl.types import History, Orders, Segment
from qframe_rl.venues.simulated import SimulatedVenue
from tests.markets import history_of, panel, prices


def session(history: History, window: int, start: int = 0, **more: float) -> tuple[Session, Journal]:
    rules = rules_of(history.instruments, **{"shorting": True, "leverage": 3.0, **more})  # type: ignore[arg-type]
    journal = Journal(history.instruments, history.bar_ns)
    feed = HistoryFeed(history, Segment(start, len(history)), window)
    return Session(feed, SimulatedVenue(rules, 10_000.0), window, journal), journal


def nothing(view: View) -> Orders:
    return Orders.market(np.zeros(len(view.account.position)))


def test_views_are_the_bars_up_to_now_and_never_change() -> None:
    history = panel(5_000, 2)
    made, _ = session(history, 7, 1_000)
    view = made.start()
    assert view.first
    assert view.time == history.time[999]
    kept = []
    for row in range(1_000, 5_000):
        kept.append((view, view.bars.copy()))
        view = made.step(nothing(view))
        assert not view.first
        assert view.time == history.time[row]
        assert np.array_equal(view.times, history.time[row - 6 : row + 1])
        assert np.array_equal(view.bars, history.values[row - 6 : row + 1], equal_nan=True)
    for old, bars in kept:
        assert np.array_equal(old.bars, bars, equal_nan=True)
        with pytest.raises(ValueError, match="read-only"):
            old.bars[0] = 0.0


def test_the_end_of_the_data_is_said_once_and_settles_nothing() -> None:
    history = panel(50, 1)
    made, journal = session(history, 5)
    view = run(made, Buyer())
    assert view.exhausted
    assert not view.terminated
    assert len(journal.record()) == 50 - 5 + 1
    assert view.time == history.time[-1]


class Buyer:
    window = 1

    def decide(self, view: View) -> Orders:
        return rebalance(view, np.ones(len(view.account.position)) / len(view.account.position))


def test_a_feed_shorter_than_the_window_is_refused() -> None:
    history = panel(20, 1)
    with pytest.raises(UserError, match="longer period"):
        session(history, 20)


def test_ruin_ends_the_session() -> None:
    history = prices(np.where(np.arange(100) < 50, 100.0, 400.0))

    class Short:
        window = 1

        def decide(self, view: View) -> Orders:
            return rebalance(view, np.array([-2.0]), band=0.5)

    made, journal = session(history, 1)
    view = run(made, Short())
    record = journal.record()
    assert view.terminated
    assert record.account.equity[-1] == 0.0
    assert len(record) < 60
    assert record.fills.absorbed[-1] > 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_orders_that_are_not_finite_are_refused(bad: float) -> None:
    made, _ = session(panel(20, 1), 2)
    made.start()
    with pytest.raises(ValueError, match="finite"):
        made.step(Orders.market(np.array([bad])))
    with pytest.raises(ValueError, match="1 finite"):
        made.step(Orders.market(np.zeros(2)))


def test_what_did_not_trade_cannot_be_ordered() -> None:
    values = panel(30, 1, ragged=False, column=False).values.copy()
    values[10] = np.nan
    values[20, 0, 0] = 1.0
    history = history_of(np.where(np.isnan(values), np.nan, np.clip(values, 50, 200)))
    made, journal = session(history, 2)
    view = made.start()
    while not view.over:
        view = made.step(Orders.market(np.array([1.0])))
    quantity = journal.record().fills.quantity[:, 0]
    rows = np.arange(30)[2:]
    filled = dict(zip(rows, quantity[1:], strict=True))
    assert filled[10] == 0.0  # no bar
    assert filled[11] == 0.0  # ordered in the gap
    assert filled[12] == 1.0


def test_a_decision_at_a_close_fills_at_the_next_open() -> None:
    """A strategy that follows the sign of the bar it saw does not earn that bar's move."""
    rng = np.random.default_rng(1)
    history = prices(100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(3_000))))

    class Follower:
        window = 2

        def decide(self, view: View) -> Orders:
            close = view.close[:, 0]
            return rebalance(view, np.sign(close[-1:] - close[-2:-1]))

    made, journal = session(history, 2)
    run(made, Follower())
    record = journal.record()
    moves = np.abs(np.diff(np.log(history.values[2:, 0, 3]))).sum()
    assert abs(math.log(record.account.equity[-1] / 10_000.0)) < 0.3 * moves
    opens = history.values[2:, 0, 0]
    filled = record.fills.quantity[1:, 0] != 0.0
    assert np.allclose(record.fills.price[1:, 0][filled], opens[filled], rtol=1e-12)


def test_the_journal_digest_sees_every_number() -> None:
    history = panel(60, 2, seed=1)
    digests = set()
    for change in (None, "price", "column", "volume"):
        values = history.values.copy()
        if change == "price":
            values[40, 0, 3] *= 1 + 1e-15 * 4
        made, journal = session(history_of(values, columns=history.columns, funding=history.funding.copy()), 3)
        run(made, Buyer())
        digests.add(journal.digest)
    assert len(digests) == 2
