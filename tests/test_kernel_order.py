"""Whole steps, minimums, and the order in which a bar meets what rests: figures worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.kernel.grid import down, passes, reaches, snapped, step_of, together, up
from qframe_rl.kernel.rules import rules_of
from qframe_rl.kernel.settle import settle
from qframe_rl.types import Account, Bar, Instrument, Orders
from tests.test_kernel import account, bar, order, rules

FREE = Instrument("C/USDT:USDT", "perpetual")
RISKY = Instrument("C/USDT:USDT", "perpetual", maintenance=0.005)


def twenty(equity: float = 10_000.0) -> Account:
    """Long 2,000 at 100: twenty times the equity."""
    return account(cash=equity - 200_000.0, position=2_000.0)


def two(state: tuple[float, float, float], asked: Orders, bars: list[tuple[float, ...]], **more: float | bool) -> tuple:
    """Cash and two positions, both marked at 100, meet a bar."""
    held = Account(np.array(state[0]), np.array(state[1:]), np.array([100.0, 100.0]))
    values = np.array([[*b, 1e9] for b in bars])
    kind = "perpetual" if more.get("shorting") else "spot"
    coins = tuple(Instrument(f"C{k}", kind, maintenance=0.01) for k in range(2))
    return settle(held, asked, Bar(0, values, np.zeros(2), np.zeros(2, dtype=bool)), rules_of(coins, **more))


NAN = math.nan


# Steps.


@pytest.mark.parametrize(
    ("size", "step"),
    [(0.1, (1.0, 10.0)), (0.25, (25.0, 100.0)), (5.0, (5.0, 1.0)), (1e-8, (1.0, 1e8)), (0.0, (0.0, 1.0))],
)
def test_a_step_is_a_whole_number_over_a_power_of_ten(size: float, step: tuple[float, float]) -> None:
    assert step_of(size) == step


@given(st.integers(0, 10**11), st.sampled_from([0.1, 0.01, 0.25, 0.5, 1e-5, 1e-8, 3.0]))
def test_whole_steps_are_the_doubles_nearest_to_their_decimals(n: int, size: float) -> None:
    from decimal import Decimal

    exact = float(n * Decimal(repr(size)))
    for found in (down(exact, *step_of(size)), up(exact, *step_of(size)), snapped(exact, exact, *step_of(size))):
        assert found == exact
    assert reaches(exact, exact, 1.0, *step_of(size))
    assert not passes(exact, exact, 1.0, *step_of(size))
    assert together(0.0, exact, *step_of(size)) <= exact
    assert together(exact, 1.5 * size, *step_of(size)) == float((n + 1) * Decimal(repr(size)))


def test_what_is_no_whole_step_stays_and_is_rounded_to_the_side_that_was_asked_for() -> None:
    assert snapped(0.37, 0.37, 1.0, 10.0) == 0.37
    assert (down(0.37, 1.0, 10.0), up(0.37, 1.0, 10.0)) == (0.3, 0.4)
    assert (down(3 * 0.1, 1.0, 10.0), up(3 * 0.1, 1.0, 10.0)) == (0.3, 0.3)


@pytest.mark.parametrize(("side", "low", "high"), [(1.0, 19.2, 21.0), (-1.0, 15.0, 19.2)])
def test_a_limit_that_is_touched_does_not_fill_in_any_decimal(side: float, low: float, high: float) -> None:
    coin = Instrument("C", "perpetual", tick=0.1)
    for limit in (19.2, 192 * 0.1):  # the second is 19.200000000000003
        opening = 20.0 if side > 0.0 else 18.0
        _, fills = settle(account(), order(side, limit), bar(opening, high, low, opening), rules(coin))
        assert fills.quantity[0] == 0.0
        low_, high_ = (low - 0.1, high) if side > 0.0 else (low, high + 0.1)
        _, fills = settle(account(), order(side, limit), bar(opening, high_, low_, opening), rules(coin))
        assert (fills.quantity[0], fills.price[0]) == (side, 19.2)


def test_stops_lie_on_ticks_away_from_the_open_and_are_triggered_when_touched() -> None:
    coin = Instrument("C", "perpetual", tick=0.1)
    _, fills = settle(account(), order(1.0, stop=19.15), bar(18, 19.2, 18, 19), rules(coin))
    assert (fills.quantity[0], fills.price[0]) == (1.0, 19.2)
    _, fills = settle(account(), order(1.0, stop=19.15), bar(18, 19.15, 18, 19), rules(coin))
    assert fills.quantity[0] == 0.0
    _, fills = settle(account(), order(-1.0, stop=17.25), bar(18, 18, 17.2, 18), rules(coin))
    assert (fills.quantity[0], fills.price[0]) == (-1.0, 17.2)


def test_positions_are_whole_lots_however_they_came_about() -> None:
    coin = Instrument("C", "perpetual", lot=0.1)
    state = account()
    for _ in range(3):
        state, _ = settle(state, order(0.1), bar(1, 1, 1, 1), rules(coin))
    assert state.position[0] == 0.3  # 0.1 + 0.1 + 0.1 is 0.30000000000000004
    state, _ = settle(state, order(-0.3), bar(1, 1, 1, 1), rules(coin))
    assert state.position[0] == 0.0


def test_a_hundred_million_lots_lose_none() -> None:
    coin = Instrument("C", "perpetual", lot=0.001)
    for lots in (12_345_679, 99_999_999, 123_456_789):
        _, fills = settle(
            account(cash=1e9), order(lots * 0.001), bar(1e-3, 1e-3, 1e-3, 1e-3, 1e12), rules(coin)
        )  # fmt: skip
        assert fills.quantity[0] == lots / 1000


def test_what_is_less_than_a_lot_stays_and_is_not_lost() -> None:
    coin = Instrument("C", "perpetual", lot=0.1)
    after, fills = settle(account(position=0.37), order(-0.37), bar(100, 100, 100, 100), rules(coin))
    assert fills.quantity[0] == pytest.approx(-0.3)
    assert after.position[0] == pytest.approx(0.07)
    after, fills = settle(after, order(-0.07), bar(100, 100, 100, 100), rules(coin))
    assert (fills.quantity[0], after.position[0]) == (0.0, pytest.approx(0.07))
    assert float(after.equity) == pytest.approx(1000 + 0.37 * 100)


# Minimums.


def test_an_amount_below_the_minimum_does_not_fill() -> None:
    doge = Instrument("DOGE", "spot", lot=1.0, min_amount=50.0)
    spot = rules_of((doge,), volume_share=1.0)
    for asked, filled in ((10.0, 0.0), (49.0, 0.0), (50.0, 50.0)):
        _, fills = settle(account(), order(asked), bar(0.1, 0.1, 0.1, 0.1), spot)
        assert fills.quantity[0] == filled
    after, fills = settle(account(position=40.0), order(-40.0), bar(0.1, 0.1, 0.1, 0.1), spot)
    assert (fills.quantity[0], after.position[0]) == (0.0, 40.0)


def test_closing_a_contract_is_exempt_from_the_minimum_notional_but_not_from_lot_and_amount() -> None:
    coin = Instrument("C", "perpetual", lot=0.01, min_amount=0.02, min_notional=100.0)
    after, fills = settle(account(position=0.9), order(-0.9), bar(100, 100, 100, 100), rules(coin))
    assert (fills.quantity[0], after.position[0]) == (-0.9, 0.0)
    after, fills = settle(account(position=0.9), order(-0.01), bar(100, 100, 100, 100), rules(coin))
    assert fills.quantity[0] == 0.0
    # Turning round for less than the minimum leaves what closes; for more, all of it fills.
    after, fills = settle(account(position=0.4), order(-0.9), bar(100, 100, 100, 100), rules(coin))
    assert (fills.quantity[0], after.position[0]) == (-0.4, 0.0)
    after, fills = settle(account(position=0.4), order(-1.4), bar(100, 100, 100, 100), rules(coin))
    assert (fills.quantity[0], after.position[0]) == (-1.4, -1.0)
    # Opening is not exempt, and neither is a coin.
    after, fills = settle(account(), order(0.9), bar(100, 100, 100, 100), rules(coin))
    assert fills.quantity[0] == 0.0
    spot = rules_of((replace(coin, kind="spot"),), volume_share=1.0)
    after, fills = settle(account(position=0.9), order(-0.9), bar(100, 100, 100, 100), spot)
    assert (fills.quantity[0], after.position[0]) == (0.0, 0.9)


def test_what_closes_alone_is_priced_as_what_it_is() -> None:
    coin = Instrument("C", "perpetual", min_notional=1e9)
    _, fills = settle(account(position=4.0), order(-16.0), bar(100, 100, 100, 100, 400.0), rules(coin, impact=0.1))
    assert fills.quantity[0] == -4.0
    assert fills.price[0] == pytest.approx(100 * (1 - 0.1 * math.sqrt(4 / 400)))


def test_a_value_of_exactly_the_minimum_is_enough() -> None:
    coin = Instrument("C", "spot", lot=0.1, min_notional=5.7)
    _, fills = settle(account(), order(0.3), bar(19, 19, 19, 19), rules_of((coin,), volume_share=1.0))
    assert fills.quantity[0] == 0.3  # 0.3 x 19 is 5.699999999999999


# The order of events.


def test_a_take_profit_does_not_come_before_the_liquidation() -> None:
    b, more = bar(100, 100.5, 90, 91), {"leverage": 20.0}
    ruined, _ = settle(twenty(), order(0.0), b, rules(RISKY, **more))
    assert float(ruined.equity) == 0.0
    after, fills = settle(twenty(), order(-2_000.0, 100.2), b, rules(RISKY, **more))
    assert (float(after.equity), fills.quantity[0], fills.forced[0]) == (0.0, 0.0, -2_000.0)
    assert fills.cancelled[0] == -2_000.0
    short = account(cash=210_000.0, position=-2_000.0)
    after, fills = settle(short, order(2_000.0, 99.8), bar(100, 110, 99.5, 109), rules(RISKY, **more))
    assert (float(after.equity), fills.quantity[0], fills.forced[0]) == (0.0, 0.0, 2_000.0)


def test_a_take_profit_fills_where_the_account_lives_through_the_bar() -> None:
    after, fills = settle(twenty(), order(-2_000.0, 100.2), bar(100, 100.5, 97, 98), rules(RISKY, leverage=20.0))
    assert fills.quantity[0] == -2_000.0
    assert float(after.equity) == pytest.approx(10_000 + 2_000 * 0.2)


@pytest.mark.parametrize(
    ("stop", "filled", "equity"),
    [
        (98.0, -2_000.0, 6_000.0),  # reached long before 95.48, where the margin would be short
        (95.6, -2_000.0, 1_200.0),
        (95.4, 0.0, 0.0),  # reached after it
    ],
)
def test_a_stop_saves_a_position_if_its_price_comes_first(stop: float, filled: float, equity: float) -> None:
    after, fills = settle(twenty(), order(-2_000.0, stop=stop), bar(100, 100.5, 90, 91), rules(RISKY, leverage=20.0))
    assert fills.quantity[0] == filled
    assert float(after.equity) == pytest.approx(equity, abs=1e-6)
    short = account(cash=210_000.0, position=-2_000.0)
    mirrored = order(2_000.0, stop=200.0 - stop)
    after, fills = settle(short, mirrored, bar(100, 110, 99.5, 109), rules(RISKY, leverage=20.0))
    assert fills.quantity[0] == -filled


def test_a_stop_for_a_part_leaves_the_rest_to_be_liquidated() -> None:
    after, fills = settle(twenty(), order(-1_000.0, stop=98.0), bar(100, 100.5, 90, 91), rules(RISKY, leverage=20.0))
    assert (fills.quantity[0], fills.forced[0], fills.forced_price[0]) == (-1_000.0, -1_000.0, 90.0)
    assert (float(after.equity), float(fills.absorbed)) == (0.0, 2_000.0)


def test_a_limit_that_adds_on_the_way_down_is_added_before_the_worst() -> None:
    state = account(cash=-8_000.0, position=100.0)  # equity 2,000
    safe, _ = settle(state, order(0.0), bar(100, 100, 85, 100), rules(RISKY, leverage=20.0))
    assert safe.position[0] == 100.0  # 500 left at 85
    after, fills = settle(state, order(100.0, 98.0), bar(100, 100, 85, 100), rules(RISKY, leverage=20.0))
    assert (fills.quantity[0], fills.forced[0]) == (100.0, -200.0)
    assert float(after.equity) == 0.0


def test_a_stop_that_opens_above_is_met_before_the_fall() -> None:
    after, fills = settle(
        account(), order(50.0, stop=105.0), bar(100, 106, 80, 100), rules(RISKY, leverage=20.0)
    )  # fmt: skip
    assert (fills.quantity[0], fills.forced[0], fills.forced_price[0]) == (50.0, -50.0, 80.0)
    assert float(after.equity) == 0.0


def test_turning_round_on_a_limit_is_tested_on_both_sides() -> None:
    state, more = account(cash=-8_000.0, position=100.0), {"leverage": 20.0}  # equity 2,000
    # Lives through the low as a long, turns at 105 into a short, and does not live through the high.
    after, fills = settle(state, order(-300.0, 105.0), bar(100, 120, 95, 100), rules(RISKY, **more))
    assert (fills.quantity[0], fills.forced[0], fills.forced_price[0]) == (-300.0, 200.0, 120.0)
    assert float(after.equity) == 0.0
    # Does not live through the low: the limit is never met.
    after, fills = settle(state, order(-300.0, 105.0), bar(100, 106, 78, 100), rules(RISKY, **more))
    assert (fills.quantity[0], fills.forced[0]) == (0.0, -100.0)


def test_the_stop_of_one_coin_saves_the_account_from_another() -> None:
    margin = {"shorting": True, "leverage": 20.0, "volume_share": 1.0}
    bars = [(100.0, 100.0, 90.0, 95.0), (100.0, 100.0, 90.0, 95.0)]
    held = (-18_000.0, 100.0, 100.0)  # equity 2,000, 1,000 is lost by each at the low
    ruined, _ = two(held, Orders.market(np.zeros(2)), bars, **margin)
    assert float(ruined.equity) == 0.0
    stop = Orders(np.array([-100.0, 0.0]), np.array([NAN, NAN]), np.array([97.0, NAN]))
    after, fills = two(held, stop, bars, **margin)
    assert (fills.forced == 0.0).all()
    assert float(after.equity) == pytest.approx(2_000 - 300 - 500)
    # At 97 the second has fallen by 3 as well, and 1,400 are left. At 90.5 both have fallen by 9.5: too late.
    late = stop._replace(stop=np.array([90.5, NAN]))
    after, fills = two(held, late, bars, **margin)
    assert fills.forced.tolist() == [-100.0, -100.0]


def test_a_sale_that_rests_pays_for_nothing_in_its_bar() -> None:
    bars = [(100.0, 111.0, 99.0, 110.0), (100.0, 111.0, 99.0, 110.0)]
    both = Orders(np.array([-10.0, 5.0]), np.array([110.0, NAN]), np.array([NAN, NAN]))
    after, fills = two((0.0, 10.0, 0.0), both, bars, volume_share=1.0)
    assert fills.quantity.tolist() == [-10.0, 0.0]
    assert float(after.cash) == pytest.approx(1_100.0)
    # Neither for another that rests.
    both = both._replace(limit=np.array([110.0, 99.5]))
    after, fills = two((0.0, 10.0, 0.0), both, bars, volume_share=1.0)
    assert fills.quantity.tolist() == [-10.0, 0.0]
    # A sale at the open does.
    both = both._replace(limit=np.array([NAN, 99.5]))
    after, fills = two((0.0, 10.0, 0.0), both, bars, volume_share=1.0)
    assert fills.quantity.tolist() == [-10.0, 5.0]


def test_what_fills_at_the_open_does_not_depend_on_what_comes_later_in_the_bar() -> None:
    quantity, limit, none = np.array([10.0, 10.0]), np.array([NAN, 95.0]), np.array([NAN, NAN])
    asked = Orders(quantity, limit, none)
    for margin in ({}, {"shorting": True, "leverage": 1.0}):
        found = [
            two((1_500.0, 0.0, 0.0), asked, [(100.0, 100.0, 90.0, 95.0), (100.0, 101.0, low, 99.0)], volume_share=1.0,
                **margin)[1].quantity
            for low in (96.0, 94.0)
        ]  # fmt: skip
        assert [q[0] for q in found] == [10.0, 10.0]
        assert found[0][1] == 0.0
        assert found[1][1] == pytest.approx(500.0 / (95.0 if not margin else 100.0))


def test_a_take_profit_frees_no_margin_for_the_open() -> None:
    bars = [(100.0, 111.0, 99.0, 110.0), (100.0, 111.0, 99.0, 110.0)]
    both = Orders(np.array([-10.0, 10.0]), np.array([110.0, NAN]), np.array([NAN, NAN]))
    _, fills = two((0.0, 10.0, 0.0), both, bars, volume_share=1.0, shorting=True, leverage=1.0)
    assert fills.quantity.tolist() == [-10.0, 0.0]
