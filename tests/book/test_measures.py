"""Formulas of books and trades, on numbers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from qframe_rl.book.measures import (
    effective_spread,
    hawkes_intensity,
    kyle_lambda,
    order_flow_imbalance,
    realised_spread,
    roll_spread,
    vpin,
)
from qframe_rl.config import UserError


def test_order_flow_needs_two_books() -> None:
    one = np.array([1])
    assert order_flow_imbalance(one, one, one, one).shape == (0,)


def test_vpin() -> None:
    assert vpin(np.array([6, 10, 5, 8]), np.array([4, 0, 5, 2])) == 0.45
    for bought, sold in (([], []), ([6, 5], [4, 4]), ([0], [0])):
        with pytest.raises(UserError, match="buckets of one volume"):
            vpin(np.array(bought), np.array(sold))


def test_spreads() -> None:
    side, tick, mid = np.array([0, 1]), np.array([102, 98]), np.array([100.0, 100.0])
    np.testing.assert_allclose(effective_spread(side, tick, mid), [0.02, 0.02])
    np.testing.assert_allclose(realised_spread(side, tick, mid, np.array([101.0, 101.0])), [0.01, 0.03])


@pytest.mark.parametrize("seed", range(5))
def test_the_planted_spread_is_found_in_the_bounce(seed: int) -> None:
    """G9: trades at bid or ask by a coin, .1 apart, round a price that walks."""
    rng = np.random.default_rng(seed)
    middle = 100.0 + np.cumsum(rng.normal(0.0, 0.02, 40_000))
    assert roll_spread(middle + 0.05 * rng.choice([-1.0, 1.0], 40_000)) == pytest.approx(0.1, rel=0.05)


def test_a_price_without_bounce_has_no_spread() -> None:
    assert np.isnan(roll_spread(np.array([1.0, 2.0, 3.0, 5.0, 8.0, 13.0])))
    with pytest.raises(UserError, match="needs three prices, not 2"):
        roll_spread(np.array([1.0, 2.0]))


def test_kyle_lambda_is_the_planted_slope() -> None:
    rng = np.random.default_rng(1)
    flow = rng.normal(0.0, 30.0, 5_000)
    move = 0.25 * flow + 3.0 + rng.normal(0.0, 1.0, 5_000)
    assert kyle_lambda(flow, move) == pytest.approx(0.25, abs=0.002)
    assert np.isnan(kyle_lambda(np.ones(4), np.arange(4.0)))


def test_an_intensity_is_the_sum_of_its_kernels() -> None:
    rng = np.random.default_rng(2)
    times, at = np.sort(rng.integers(0, 10**10, 200)), np.sort(rng.integers(0, 10**10, 50))
    at[7] = times[60]
    at = np.sort(at)
    passed = (at[:, None] - times[None, :]) / 1e9
    plain = 1.5 + 0.6 * np.where(passed >= 0, np.exp(-np.maximum(passed, 0) / 0.2) / 0.2, 0.0).sum(axis=1)
    np.testing.assert_allclose(hawkes_intensity(times, at, 1.5, 0.6, 0.2e9), plain, rtol=1e-12)
    assert hawkes_intensity(np.array([], np.int64), np.array([5]), 1.5, 0.6, 1e9).tolist() == [1.5]
