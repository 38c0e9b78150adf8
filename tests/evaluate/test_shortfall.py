"""Shortfall against the price of the decision, by pairs, with an interval that holds the truth as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.evaluate.shortfall import mean_interval, shortfall, shortfall_bps
from qframe_rl.execution import ParentOrder
from qframe_rl.types import MINUTE, Account, Fills, Orders, Record
from tests.markets import panel


def parent(time: int, quantity: float, price: float, *, filled: float | None = None, end: float = 100.0) -> ParentOrder:
    done = quantity if filled is None else filled
    return ParentOrder(time, 0, quantity, 100.0, done, price, 0.05 * abs(done), end)


def test_what_was_paid_and_what_was_missed() -> None:
    assert shortfall_bps(parent(0, 4.0, 101.0)) == pytest.approx(105.0)
    assert shortfall_bps(parent(0, -4.0, 101.0)) == pytest.approx(-95.0), "a sale above is a gain"
    assert shortfall_bps(parent(0, 4.0, 101.0, filled=1.0, end=102.0)) == pytest.approx(105.0 / 4 + 150.0)
    assert shortfall_bps(parent(0, -4.0, 0.0, filled=0.0, end=99.0)) == pytest.approx(100.0), "missed"


def record(equity: list[float]) -> Record:
    instruments, n = panel(4, 1, ragged=False).instruments, len(equity)
    account = Account(np.array(equity), np.zeros((n, 1)), np.full((n, 1), 100.0))
    orders = Orders.market(np.zeros((n, 1)))
    return Record(instruments, MINUTE, MINUTE * np.arange(n), account, orders, Fills.none(n, 1), np.zeros(n), "")


def test_only_parents_of_the_same_time_and_side_are_compared() -> None:
    one, other = record([100.0, 101.0]), record([100.0, 100.0])
    these = [parent(1, 4.0, 101.0), parent(2, 4.0, 99.0), parent(3, -1.0, 99.0), parent(4, 2.0, 100.0, filled=1.0)]
    others = [parent(1, 8.0, 100.0), parent(2, -4.0, 99.0), parent(4, 2.0, 100.0)]
    found = shortfall(these, others, one, other, n_resamples=100)
    assert found is not None
    assert (found.trades, found.parents, found.filled) == (2, 4, 0.875)
    assert found.other == pytest.approx(5.0)
    assert found.difference.estimate == pytest.approx((100.0 + (2.5 - 5.0)) / 2)
    assert found.growth.estimate == pytest.approx(np.log(1.01) * 525_960, rel=1e-3)
    assert shortfall(these, [], one, other) is None
    gone = record([100.0, 101.0, 0.0])
    for lived, ended, sign in ((record([100.0] * 5), gone, 1.0), (gone, record([100.0] * 5), -1.0)):
        found = shortfall(these, others, lived, ended, n_resamples=100)
        assert found is not None
        assert found.growth.estimate == pytest.approx(sign * -np.log(1.01 * 1e-9) * 525_960 / 4, rel=1e-3)


def test_the_interval_of_a_mean_holds_it_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(1), 0
    for k in range(300):
        noise = rng.standard_t(4, 121)
        values = 1.0 + noise[1:] + 0.5 * noise[:-1]
        found = mean_interval(values, level=0.9, n_resamples=200, seed=k)
        held += found.low <= 1.0 <= found.high
    assert 0.84 <= held / 300 <= 0.95
