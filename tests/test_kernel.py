"""The market rules one by one, against figures worked out by hand."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest

from qframe_rl.kernel.rules import Rules, rules_of
from qframe_rl.kernel.settle import settle
from qframe_rl.types import Account, Bar, Instrument, Orders
from tests.markets import panel

COIN = Instrument("C/USDT", "perpetual", lot=0.1, tick=0.5, min_notional=10.0, maker_fee=0.001, taker_fee=0.002)
FREE = Instrument("C/USDT", "perpetual")


def account(cash: float = 1000.0, position: float = 0.0, mark: float = 100.0) -> Account:
    return Account(np.array(cash), np.array([position]), np.array([mark]))


def bar(o: float, h: float, low: float, c: float, v: float = 1e6, funding: float = 0.0, final: bool = False) -> Bar:
    return Bar(0, np.array([[o, h, low, c, v]]), np.array([funding]), np.array([final]))


def order(quantity: float, limit: float = math.nan, stop: float = math.nan) -> Orders:
    return Orders(np.array([quantity]), np.array([limit]), np.array([stop]))


def rules(coin: Instrument = FREE, **more: float | bool) -> Rules:
    return rules_of((coin,), **{"shorting": True, "leverage": 5.0, "volume_share": 1.0, **more})  # type: ignore[arg-type]


def test_market_order_fills_at_the_open_with_spread_and_impact() -> None:
    after, fills = settle(account(), order(4.0), bar(100, 110, 90, 105, 400.0), rules(half_spread=0.01, impact=0.1))
    price = 100 * (1 + 0.01 + 0.1 * math.sqrt(4 / 400))
    assert fills.price[0] == pytest.approx(price, rel=1e-15)
    assert fills.spread[0] == pytest.approx(4 * 100 * 0.01, rel=1e-15)
    assert fills.impact[0] == pytest.approx(4 * 100 * 0.1 * math.sqrt(4 / 400), rel=1e-12)
    assert fills.slippage[0] == pytest.approx(4 * (price - 100), rel=1e-12)
    assert after.cash == pytest.approx(1000 - 4 * price, rel=1e-15)
    assert after.equity == pytest.approx(1000 - 4 * price + 4 * 105, rel=1e-15)


def test_selling_is_symmetric() -> None:
    after, fills = settle(account(), order(-4.0), bar(100, 110, 90, 95), rules(half_spread=0.01))
    assert fills.price[0] == pytest.approx(99.0)
    assert after.equity == pytest.approx(1000 + 4 * (99 - 95))


def test_short_profits_from_a_fall_and_loses_from_a_rise() -> None:
    for close, gain in ((80.0, 20.0), (120.0, -20.0)):
        after, _ = settle(account(), order(-1.0), bar(100, max(close, 100), min(close, 100), close), rules())
        assert after.equity - 1000 == pytest.approx(gain)


def test_opening_at_the_mark_without_costs_changes_no_value() -> None:
    for side in (1.0, -1.0):
        after, _ = settle(account(), order(3.0 * side), bar(100, 100, 100, 100), rules())
        assert after.equity == 1000.0


def test_quantity_is_rounded_toward_zero_to_the_lot() -> None:
    for asked, filled in ((1.29, 1.2), (-1.29, -1.2), (0.3, 0.3), (0.7, 0.7)):
        _, fills = settle(account(), order(asked), bar(100, 100, 100, 100), rules(COIN))
        assert fills.quantity[0] == pytest.approx(filled, rel=1e-12)
        assert fills.cancelled[0] == pytest.approx(asked - filled, abs=1e-12)


def test_orders_below_the_minimum_notional_are_dropped() -> None:
    tiny = Instrument("C/USDT", "perpetual", lot=0.01, min_notional=10.0)
    _, fills = settle(account(), order(0.09), bar(100, 100, 100, 100), rules(tiny))
    assert fills.quantity[0] == 0.0
    assert fills.cancelled[0] == 0.09
    assert fills.fee[0] == fills.slippage[0] == 0.0
    _, fills = settle(account(), order(0.1), bar(100, 100, 100, 100), rules(tiny))
    assert fills.quantity[0] == 0.1


def test_volume_share_caps_the_fill_and_the_rest_is_cancelled() -> None:
    _, fills = settle(account(), order(9.0), bar(100, 100, 100, 100, 20.0), rules(volume_share=0.1))
    assert fills.quantity[0] == 2.0
    assert fills.cancelled[0] == 7.0


def test_nothing_fills_without_volume_or_without_a_bar() -> None:
    for b in (bar(100, 100, 100, 100, 0.0), bar(math.nan, math.nan, math.nan, math.nan, math.nan)):
        after, fills = settle(account(position=2.0), order(1.0), b, rules())
        assert fills.quantity[0] == 0.0
        assert fills.cancelled[0] == 1.0
        assert after.position[0] == 2.0
        assert after.mark[0] == 100.0


@pytest.mark.parametrize(
    ("quantity", "limit", "low", "high", "price", "fee_rate"),
    [
        (1.0, 95.0, 94.0, 101.0, 95.0, 0.001),  # traded through: rests, maker
        (1.0, 95.0, 95.0, 101.0, 0.0, 0.0),  # touched only: no fill
        (1.0, 95.3, 94.0, 101.0, 95.0, 0.001),  # rounded down to the tick
        (1.0, 120.0, 94.0, 121.0, 101.0, 0.002),  # marketable at the open: takes, with the spread
        (1.0, 100.5, 94.0, 121.0, 100.5, 0.001),  # inside the spread: rests
        (-1.0, 105.0, 99.0, 106.0, 105.0, 0.001),
        (-1.0, 105.0, 99.0, 105.0, 0.0, 0.0),
        (-1.0, 104.7, 99.0, 106.0, 105.0, 0.001),  # rounded up to the tick
        (-1.0, 90.0, 89.0, 101.0, 99.0, 0.002),
    ],
)
def test_limit_orders(quantity: float, limit: float, low: float, high: float, price: float, fee_rate: float) -> None:
    after, fills = settle(account(), order(quantity, limit), bar(100, high, low, 100), rules(COIN, half_spread=0.01))
    assert fills.price[0] == pytest.approx(price)
    assert fills.fee[0] == pytest.approx(price * fee_rate)
    assert after.position[0] == (quantity if price else 0.0)
    assert fills.slippage[0] == pytest.approx(1.0 if fee_rate == 0.002 else 0.0)


@pytest.mark.parametrize(
    ("quantity", "stop", "opening", "low", "high", "price"),
    [
        (1.0, 110.0, 100.0, 99.0, 112.0, 111.1),  # triggered inside the bar
        (1.0, 110.0, 115.0, 99.0, 116.0, 116.15),  # gapped over: the worse of open and stop
        (1.0, 110.0, 100.0, 99.0, 109.0, 0.0),
        (-1.0, 90.0, 100.0, 88.0, 101.0, 89.1),
        (-1.0, 90.0, 85.0, 84.0, 101.0, 84.15),
        (-1.0, 90.0, 100.0, 91.0, 101.0, 0.0),
    ],
)
def test_stop_orders(quantity: float, stop: float, opening: float, low: float, high: float, price: float) -> None:
    b = bar(opening, high, low, 100)
    _, fills = settle(account(), order(quantity, stop=stop), b, rules(COIN, half_spread=0.01))
    assert fills.price[0] == pytest.approx(price)
    assert fills.fee[0] == pytest.approx(0.002 * price)


def test_an_order_with_limit_and_stop_is_refused() -> None:
    _, fills = settle(account(), order(1.0, 120.0, 90.0), bar(100, 121, 80, 100), rules())
    assert fills.quantity[0] == 0.0
    assert fills.cancelled[0] == 1.0


def test_funding_is_paid_on_the_position_held_before_the_orders() -> None:
    after, fills = settle(account(position=2.0), order(-2.0), bar(100, 100, 100, 100, funding=0.5), rules())
    assert fills.funding[0] == 1.0
    assert after.cash == pytest.approx(1000 - 1.0 + 200)
    after, fills = settle(account(position=-2.0), order(0.0), bar(100, 100, 100, 100, funding=0.5), rules())
    assert fills.funding[0] == -1.0
    after, fills = settle(account(), order(2.0), bar(100, 100, 100, 100, funding=0.5), rules())
    assert fills.funding[0] == 0.0


def test_carry_is_paid_every_bar_without_a_trade() -> None:
    state = account(position=-1.0)
    for _ in range(100):
        state, _ = settle(state, order(0.0), bar(100, 100, 100, 100, funding=-0.1), rules())
    assert state.equity == pytest.approx(1000 - 100 - 100 * 0.1)


def test_spot_cannot_go_short_nor_below_zero_cash() -> None:
    spot = rules_of((COIN,), volume_share=1.0)
    after, fills = settle(account(), order(-1.0), bar(100, 100, 100, 100), spot)
    assert fills.quantity[0] == 0.0
    after, fills = settle(account(), order(50.0), bar(100, 100, 100, 100), spot)
    assert fills.quantity[0] == pytest.approx(9.9)  # 10 cost 1002 with the fee
    assert 0.0 <= after.cash < 10.1
    after, fills = settle(account(position=3.0), order(-50.0), bar(100, 100, 100, 100), spot)
    assert fills.quantity[0] == -3.0
    assert after.position[0] == 0.0


def test_opening_is_scaled_to_the_leverage_cap() -> None:
    after, fills = settle(account(), order(80.0), bar(100, 100, 100, 100), rules(leverage=5.0))
    assert fills.quantity[0] == pytest.approx(50.0)
    costly = Instrument("C", "perpetual", taker_fee=0.01)
    after, fills = settle(account(), order(80.0), bar(100, 100, 100, 100), rules(costly, leverage=5.0))
    assert fills.quantity[0] * 100 == pytest.approx(5.0 * float(after.equity))


def test_closing_always_fits_and_only_the_opening_part_is_scaled() -> None:
    state = account(cash=-3900.0, position=50.0)  # equity 1100, leverage 4.5
    after, fills = settle(state, order(-50.0), bar(100, 100, 100, 100), rules(leverage=1.0))
    assert fills.quantity[0] == -50.0
    after, fills = settle(state, order(-80.0), bar(100, 100, 100, 100), rules(leverage=1.0))
    assert after.position[0] == pytest.approx(-11.0)


def test_two_instruments_share_the_cash() -> None:
    two = rules_of((FREE, FREE), volume_share=1.0)
    state = Account(np.array(1000.0), np.array([5.0, 0.0]), np.array([100.0, 50.0]))
    b = Bar(0, np.array([[100, 100, 100, 100, 1e6], [50, 50, 50, 50, 1e6]]), np.zeros(2), np.zeros(2, dtype=bool))
    after, fills = settle(state, Orders.market(np.array([-5.0, 40.0])), b, two)
    assert fills.quantity == pytest.approx([-5.0, 30.0])  # the sale is spent as well
    assert after.cash == pytest.approx(0.0, abs=1e-6)
    assert after.cash >= 0.0


def test_liquidation_at_the_worst_price_with_its_fee() -> None:
    risky = Instrument("C", "perpetual", maintenance=0.05)
    state = account(cash=-900.0, position=10.0)  # equity 100 on notional 1000
    safe, _ = settle(state, order(0.0), bar(100, 101, 95, 96), rules(risky, liquidation_fee=0.01))
    assert safe.position[0] == 10.0  # equity at 95: 50 >= 47.5
    after, fills = settle(state, order(0.0), bar(100, 101, 94, 100), rules(risky, liquidation_fee=0.01))
    assert after.position[0] == 0.0
    assert fills.forced[0] == -10.0
    assert fills.forced_price[0] == 94.0
    assert fills.fee[0] == pytest.approx(9.4)
    assert after.cash == pytest.approx(-900 + 940 - 9.4)
    assert fills.absorbed == 0.0


def test_equity_never_goes_below_zero() -> None:
    after, fills = settle(account(cash=-900.0, position=10.0), order(0.0), bar(100, 101, 50, 60), rules())
    assert after.cash == 0.0
    assert after.equity == 0.0
    assert fills.absorbed == 400.0
    after, fills = settle(account(cash=1100.0, position=-10.0), order(0.0), bar(100, 250, 100, 100), rules())
    assert after.equity == 0.0
    assert fills.absorbed == 1400.0


def test_the_last_bar_of_an_instrument_pays_out_at_its_close() -> None:
    after, fills = settle(account(position=2.0), order(0.0), bar(100, 120, 90, 110, final=True), rules(COIN))
    assert after.position[0] == 0.0
    assert fills.forced[0] == -2.0
    assert fills.forced_price[0] == 110.0
    assert after.equity == pytest.approx(1000 + 220 * (1 - 0.002))


def test_a_fee_of_the_last_bar_beyond_all_that_is_left_is_borne_by_the_venue() -> None:
    coin = Instrument("C", "perpetual", taker_fee=0.01, maintenance=0.0)
    state = account(cash=-999.0, position=10.0)  # equity 1, and the fee is 10
    after, fills = settle(state, order(0.0), bar(100, 100, 100, 100, final=True), rules(coin))
    assert (after.cash, after.position[0], fills.fee[0], fills.absorbed) == (0.0, 0.0, 10.0, 9.0)
    two = rules_of((coin, coin), shorting=True, leverage=5.0)
    state = Account(np.array(-1049.0), np.array([10.0, 0.5]), np.array([100.0, 100.0]))
    b = Bar(0, np.full((2, 5), 100.0), np.zeros(2), np.array([True, False]))
    after, fills = settle(state, Orders.market(np.zeros(2)), b, two)
    assert fills.forced.tolist() == [-10.0, -0.5]  # what is left has no equity behind it
    assert (after.cash, fills.absorbed) == (0.0, 9.0)
    assert fills.fee.tolist() == [10.0, 0.0]


def test_inputs_are_left_as_they_were() -> None:
    state, orders, b = account(position=1.0), order(2.0), bar(100, 110, 90, 105, funding=0.1)
    settle(state, orders, b, rules())
    assert state.cash == 1000.0
    assert state.position[0] == 1.0
    assert state.mark[0] == 100.0
    assert orders.quantity[0] == 2.0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "pickle"])
def test_a_copy_is_as_read_only_as_what_was_copied_and_nothing_is_compiled_for_it(copied: Any) -> None:
    history = panel(50, 2, kind="perpetual")
    tables = rules().table, copied(rules()).table
    arrays = [(one.values, one.funding, one.final, one.time, one.cash_rate) for one in (history, copied(history))]
    assert not any(array.flags.writeable for array in (*tables, *arrays[0], *arrays[1]))
    assert all(np.array_equal(*pair, equal_nan=True) for pair in zip(*arrays, strict=True))
    assert copied(history).fingerprint == history.fingerprint and np.array_equal(*tables)


def test_each_action_changes_the_outcome() -> None:
    cash = {
        float(settle(account(position=5.0), order(q), bar(100, 110, 90, 105), rules(COIN))[0].cash) for q in (-1, 0, 1)
    }
    assert len(cash) == 3


def test_impossible_rules_are_refused() -> None:
    for wrong in ({"half_spread": 1.0}, {"leverage": 0.5}, {"volume_share": 0.0}, {"impact": -1.0}):
        with pytest.raises(ValueError, match="must"):
            rules(**wrong)  # type: ignore[arg-type]


def test_a_sale_too_small_to_happen_pays_for_nothing() -> None:
    """Its proceeds must not be counted on: spot cash stays at or above zero."""
    coins = tuple(Instrument(f"C{k}/USDT", min_notional=5.0) for k in range(2))
    held = Account(np.array(100.0), np.array([0.04, 0.0]), np.array([100.0, 100.0]))
    both = Bar(0, np.array([[100.0, 100.0, 100.0, 100.0, 1e6]] * 2), np.zeros(2), np.zeros(2, dtype=np.bool_))
    after, fills = settle(held, Orders.market(np.array([-0.04, 1.04])), both, rules_of(coins, volume_share=1.0))
    assert fills.quantity == pytest.approx([0.0, 1.0])
    assert after.cash >= 0.0
