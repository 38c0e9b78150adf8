"""Step 6, orders at the open: cases worked by hand."""

from __future__ import annotations

from tests.oracle.cases import CALM, NOTHING, OWNED, PLAIN, d, halted, listing, margin, near, order, rules, run, spot


def test_purchases_are_scaled_to_the_cash() -> None:
    # 1000 for 15 + 5 at 100: half of each, in whole lots of 1: 7.5 and 2.5 become 7 and 2.
    lots = listing(lot="1")
    out = run(spot(lots, lots), 1000, [order(15), order(5)], [CALM, CALM])
    assert out.state.position == [7, 2]
    assert out.state.cash == 100
    # Without lots it is half of each, but for 1e-12 of it.
    out = run(spot(PLAIN, PLAIN), 1000, [order(15), order(5)], [CALM, CALM])
    assert near(out.state.position[0], "7.5")
    assert 0 < out.state.cash < d("1e-8")


def test_what_just_fits_is_not_scaled() -> None:
    assert run(spot(listing(lot="1")), 1000, [order(10)], [CALM]).state.cash == 0


def test_what_would_just_fit_after_scaling_does_not() -> None:
    # 15 are asked for, 10 would take all of 1000: room is taken for 1 - 1e-12 of itself, which is 9.99999999999 lots.
    assert run(spot(listing(lot="1")), 1000, [order(15)], [CALM]).state.position == [9]
    # A millionth more is enough.
    assert run(spot(listing(lot="1")), "1000.000001", [order(15)], [CALM]).state.position == [10]


def test_the_fee_needs_room_too() -> None:
    # 10 % fee: 1101 / 110 = 10.01 lots, 1099 / 110 = 9.99.
    book = spot(listing(lot="1", taker_fee="0.1"))
    assert run(book, 1101, [order(20)], [CALM]).state.position == [10]
    assert run(book, 1099, [order(20)], [CALM]).state.position == [9]


def test_the_impact_of_need_is_that_of_the_size_asked_for() -> None:
    # 100 of 10000: sqrt = 0.1, x 1 = 10 %: need is 100 x 110 = 11000; room 5500: half, 50 (less 1e-12). The fill's
    # own impact is sqrt(0.005) = 0.0707106781: it pays 107.07106781, not 110.
    out = run(spot(PLAIN, impact="1"), 5500, [order(100)], [CALM])
    assert near(out.fills[0].quantity, 50)
    assert near(out.fills[0].price, "107.0710678118")


def test_a_sale_at_the_open_pays_for_a_purchase_at_the_open() -> None:
    # Sale of 5 brings 500 less 10 % = 450: 4 lots of 100.
    book = spot(listing(taker_fee="0.1"), listing(lot="1"))
    out = run(book, 0, [order(-5), order(5)], [CALM, CALM], held=[5, 0])
    assert out.state.position == [0, 4]
    assert out.state.cash == 50


def test_a_sale_that_is_too_small_pays_for_nothing() -> None:
    # The sale of 0.04 is below the minimum notional: no cash, no purchase.
    book = spot(listing(min_notional="5"), PLAIN)
    out = run(book, 0, [order("-0.04"), order("0.04")], [CALM, CALM], held=["0.04", 0])
    assert out.state.position == [d("0.04"), 0]


def test_leverage_bounds_what_is_opened() -> None:
    # L = 10, equity 1001: 10010 / 100 = 100.1 lots; asked are 300.
    lots = listing(lot="1")
    assert run(margin(lots), 1001, [order(300)], [CALM]).state.position == [100]
    assert run(margin(lots), 1001, [order(-300)], [CALM]).state.position == [-100]


def test_costs_of_opening_count_times_leverage() -> None:
    # Each lot needs 100 + 10 x (fee 1.001 + 0.1 of spread) = 111.01; 10000 / 111.01 = 90.08: 90 lots.
    book = margin(listing(lot="1", taker_fee="0.01"), half_spread="0.001")
    assert run(book, 1000, [order(300)], [CALM]).state.position == [90]


def test_a_closing_part_always_fits_and_frees_its_gross() -> None:
    # Equity -8999 + 10000 = 1001, gross 10000: hardly any room. Selling 250 closes 100; then gross is 0 and room 10010:
    # 100 short.
    out = run(margin(listing(lot="1")), -8999, [order(-250)], [CALM], held=[100])
    assert out.state.position == [-100]
    # With room for 0.1 of a lot a purchase of another does nothing; closing 5 in the same bar makes room for 5.1.
    book = margin(listing(lot="1"), listing(lot="1"))
    assert run(book, -8999, [NOTHING, order(5)], [CALM, CALM], held=[100, 0]).state.position == [100, 0]
    assert run(book, -8999, [order(-5), order(9)], [CALM, CALM], held=[100, 0]).state.position == [95, 5]


def test_costs_of_closing_come_off_equity() -> None:
    # 10 lots closed at 100 x 0.99 = 99 with 1 % of fee: 10 x (1 + 0.99) = 19.9 off equity 1000 (0 cash, 10 at 100).
    # Room 10 x 980.1 = 9801; the other needs 100 + 10 x 1 (its price is 101) = 110 a lot: 89.1.
    book = margin(listing(lot="1", taker_fee="0.01"), listing(lot="1"), half_spread="0.01")
    assert run(book, 0, [order(-10), order(500)], [CALM, CALM], held=[10, 0]).state.position == [0, 89]


def test_a_close_that_may_not_happen_frees_nothing() -> None:
    # Closing 0.04 is below the minimum amount: gross stays 4 + what is opened. Equity 996 + 4 = 1000, L = 1 and short:
    # room is 1000 - 4 = 996, for the other 9 lots of 100.
    book = margin(listing(min_amount="1"), listing(lot="1"), leverage="1")
    out = run(book, 996, [order("-0.04"), order(20)], [CALM, CALM], held=["0.04", 0])
    assert out.state.position == [d("0.04"), 9]


def test_a_close_that_fills_with_the_whole_order_is_sure() -> None:
    # 0.04 are held, the minimum amount is 1; a sale of 5.04 passes it. Equity 496.5 + 4 = 500.5, L = 1: with the 0.04
    # closed room is 500.5, enough for the 5; with gross 4 it would be 496.5.
    book = margin(listing(min_amount="1"), leverage="1")
    assert run(book, "496.5", [order("-5.04")], [CALM], held=["0.04"]).state.position == [-5]


def test_a_closing_part_fits_in_full_and_the_opening_part_in_whole_lots() -> None:
    # 0.25 are held, no whole number of lots of 0.1. A sale of 0.6 closes them; 0.35 would open and need 35 of 29.5
    # (4.5 + 25, L = 1): 0.295, two lots.
    out = run(margin(listing(lot="0.1"), leverage="1"), "4.5", [order("-0.6")], [CALM], held=["0.25"])
    assert out.fills[0].quantity == d("-0.45")
    assert out.state.position == [d("-0.2")]


def test_worth_is_the_mark_where_an_instrument_does_not_trade() -> None:
    # 10 halted at mark 120: equity -999 + 1200 = 201, L = 10: room 2010 - 1200 = 810, 8 lots.
    book = margin(PLAIN, listing(lot="1"))
    out = run(book, -999, [NOTHING, order(50)], [halted(), CALM], held=[10, 0], marks=[120, 100])
    assert out.state.position == [10, 8]


def test_an_owned_coin_is_paid_in_full_from_what_margin_leaves() -> None:
    # Equity of contracts 1000 (800 cash, 2 at 100), gross 200, L = 10: room 10000 - 200 = 9800; a coin needs 10 x 100.
    # 9.8: 9 lots.
    book = margin(listing(owned=True, lot="1"), PLAIN)
    out = run(book, 800, [order(50), NOTHING], [CALM, CALM], held=[0, 2])
    assert out.state.position == [9, 2]


def test_the_fee_of_an_owned_coin_counts_times_leverage() -> None:
    # A coin needs 10 x (100 + 1): room 10 x 1000 = 10000, 9.9: 9 lots.
    book = margin(listing(owned=True, lot="1", taker_fee="0.01"))
    assert run(book, 1000, [order(50)], [CALM]).state.position == [9]


def test_an_owned_coin_is_no_collateral_and_cannot_be_short() -> None:
    # 100 coins worth 10000 give no room: equity is the cash of 11, room 110, one lot.
    out = run(margin(OWNED, listing(lot="1")), 11, [NOTHING, order(5)], [CALM, CALM], held=[100, 0])
    assert out.state.position == [100, 1]
    assert run(margin(OWNED), 10, [order(-5)], [CALM], held=[2]).state.position == [0]


def test_what_an_owned_coin_is_sold_for_pays_for_nothing_in_the_bar() -> None:
    # Without any wait: 10 coins bring 1000, but the contract finds room for the 11 of cash only.
    book = margin(OWNED, listing(lot="1"))
    out = run(book, 11, [order(-10), order(5)], [CALM, CALM], held=[10, 0])
    assert out.state.position == [0, 1]
    # Neither for what rests: a limit at 99.5 is better than the open and needs 100: room 110, one lot.
    out = run(book, 11, [order(-10), order(5, limit="99.5")], [CALM, CALM], held=[10, 0])
    assert out.state.position == [0, 1]


def test_a_margin_account_of_leverage_one_that_may_be_short() -> None:
    # Not a spot account: it shorts 10 lots of 100 with 1001.
    assert run(rules(listing(lot="1"), short=True), 1001, [order(-20)], [CALM]).state.position == [-10]
