"""Filling against order books: prices, depth, money, and what the other rule would have paid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.kernel.rules import rules_of
from qframe_rl.types import Orders
from qframe_rl.venues.book import Book, Drift, TwinVenue
from qframe_rl.venues.simulated import SimulatedVenue
from tests.markets import panel

SIDE = st.lists(st.tuples(st.floats(0.01, 5.0), st.floats(0.01, 50.0)), min_size=0, max_size=8)


def book(bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> Book:
    """Levels from steps away from 100, and sizes."""

    def side(steps: list[tuple[float, float]], sign: float) -> np.ndarray:
        prices = 100.0 + sign * np.cumsum([step for step, _ in steps])
        return np.stack([prices, [size for _, size in steps]], axis=1) if steps else np.empty((0, 2))

    return Book(1, side(bids, -1.0), side(asks, 1.0))


@given(SIDE, SIDE, st.floats(0.01, 500.0), st.sampled_from([1.0, -1.0]))
def test_a_walk_takes_the_best_levels_and_no_more_than_there_is(
    bids: list[tuple[float, float]], asks: list[tuple[float, float]], size: float, side: float
) -> None:
    made = book(bids, asks)
    levels = made.asks if side > 0 else made.bids
    price, depth = made.walk(side * size)
    assert depth == pytest.approx(min(size, levels[:, 1].sum()) if len(levels) else 0.0)
    if depth:
        assert side * (price - levels[0, 0]) >= -1e-9
        assert side * (levels[-1, 0] - price) >= -1e-9
        bounded, within = made.walk(side * size, float(levels[0, 0]))
        assert bounded == pytest.approx(levels[0, 0])
        assert within <= depth * (1 + 1e-12)


def test_orders_pay_the_book_or_the_bar_and_both_are_known() -> None:
    history = panel(60, 2, seed=5, ragged=False, column=False)
    rules = rules_of(history.instruments, shorting=True, leverage=3.0, half_spread=5e-4)
    by_bar, by_book = (TwinVenue(rules, 10_000.0, by_book=rule) for rule in (False, True))
    plain = SimulatedVenue(rules, 10_000.0)
    drift = Drift(2)
    rng = np.random.default_rng(0)
    for row in range(59):
        bar = history.bar(row)
        filled = [venue.advance(bar) for venue in (by_bar, by_book, plain)]
        assert all(np.array_equal(x, y) for x, y in zip(filled[0], filled[2], strict=True))
        for venue, fills in zip((by_bar, by_book), filled, strict=False):
            assert venue.other is not None
            paid, _ = venue.sides(fills)
            took = paid.quantity != 0.0
            worse = np.sign(paid.quantity) * (paid.price / bar.values[:, 0] - 1.0)
            assert worse[took] == pytest.approx(0.001)
        drift.add(*by_book.sides(filled[1]))
        orders = Orders.market(np.round(rng.uniform(-20.0, 20.0, 2), 3))
        opened = history.bar(row + 1).values[:, 0]
        books = [Book(1, np.array([[p * 0.999, 1e6]]), np.array([[p * 1.001, 1e6]])) for p in opened]
        for venue in (by_bar, by_book):
            venue.quote(books)
        for any_venue in (by_bar, by_book, plain):
            any_venue.submit(orders)
    assert drift.n_fills > 50
    assert drift.mean_bps == pytest.approx(5.0, abs=1.0)


def test_without_a_book_nothing_fills_and_a_shallow_one_fills_in_part() -> None:
    history = panel(10, 1, ragged=False, column=False)
    rules = rules_of(history.instruments, shorting=True, leverage=3.0)
    venue = TwinVenue(rules, 10_000.0, by_book=True)
    venue.advance(history.bar(0))
    venue.submit(Orders.market(np.array([5.0])))
    fills = venue.advance(history.bar(1))
    assert (fills.quantity[0], fills.cancelled[0]) == (0.0, 5.0)
    price = history.bar(2).values[0, 0]
    venue.quote([Book(1, np.empty((0, 2)), np.array([[price, 2.0]]))])
    venue.submit(Orders.market(np.array([5.0])))
    fills = venue.advance(history.bar(2))
    assert (fills.quantity[0], fills.cancelled[0]) == (2.0, 3.0)
    assert fills.price[0] == price


def test_a_limit_order_takes_what_the_book_has_within_it_or_rests() -> None:
    history = panel(10, 1, ragged=False, column=False)
    rules = rules_of(history.instruments, shorting=True, leverage=3.0)
    venue = TwinVenue(rules, 10_000.0, by_book=True)
    venue.advance(history.bar(0))
    bar = history.bar(1)
    low, opened = bar.values[0, 2], bar.values[0, 0]
    asks = np.array([[opened, 1.0], [opened * 1.01, 9.0]])
    venue.quote([Book(1, np.empty((0, 2)), asks)])
    venue.submit(Orders(np.array([5.0]), np.array([opened * 1.005]), np.array([np.nan])))
    assert venue.advance(bar).quantity[0] == 1.0
    bar = history.bar(2)
    low = bar.values[0, 2]
    venue.quote([Book(1, np.empty((0, 2)), np.array([[bar.values[0, 0], 9.0]]))])
    venue.submit(Orders(np.array([1.0]), np.array([low * 1.0005]), np.array([np.nan])))
    fills = venue.advance(bar)
    assert fills.quantity[0] == 1.0
    assert fills.price[0] == pytest.approx(low * 1.0005, abs=0.01)
