"""Steps 6 to 12: cases worked by hand."""

from __future__ import annotations

from tests.oracle.cases import NOTHING, candle, d, halted, listing, margin, near, order, rules, run, spot

PLAIN = listing()
CALM = candle("100 101 99 100")
OWNED = listing(owned=True)


# 6. Orders at the open


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


# 7. Orders that rest


def test_a_resting_sale_pays_for_no_purchase_in_a_spot_account() -> None:
    # The limit sale fills at 100.5, but the market order and the resting purchase had no cash.
    book = spot(PLAIN, PLAIN, PLAIN)
    orders = [order(-10, limit="100.5"), order(1), order(1, limit="99.5")]
    out = run(book, 0, orders, [CALM] * 3, held=[10, 0, 0])
    assert out.state.position == [0, 0, 0]
    assert out.state.cash == 1005


def test_resting_orders_share_what_the_open_left() -> None:
    # 1001: the market order takes 400; two limits at 50 and 20 need 20 x 50 + 10 x 20 = 1200 of 601: a little more than
    # half, 10 and 5 lots of 1.
    lot = listing(lot="1")
    candles = [CALM, candle("51 52 49 50"), candle("21 22 19 20")]
    orders = [order(4), order(20, limit="50"), order(10, limit="20")]
    assert run(spot(lot, lot, lot), 1001, orders, candles).state.position == [4, 10, 5]


def test_an_order_that_rests_takes_no_room_from_the_open() -> None:
    # The stop would be reached, but only what is left is for it: nothing.
    lot = listing(lot="1")
    out = run(spot(lot, lot), 1000, [order(10), order(5, stop="100.5")], [CALM, CALM])
    assert out.state.position == [10, 0]


def test_a_limit_better_than_the_open_earns_no_credit() -> None:
    # A sale at 100.5 opens a short: it needs the dearer of price and worth, 100.5: 1006 / 100.5 = 10.01.
    book = margin(listing(lot="1"), leverage="1")
    assert run(book, 1006, [order(-20, limit="100.5")], [CALM]).state.position == [-10]
    assert run(book, 1004, [order(-20, limit="100.5")], [CALM]).state.position == [-9]
    # A purchase at 99.5 needs 100, what it is worth: 995 / 100.
    assert run(book, 995, [order(20, limit="99.5")], [CALM]).state.position == [9]


def test_a_resting_close_takes_nothing_off_gross_and_its_costs_off_equity() -> None:
    # Long 50 at 100, cash -4000: equity 1000, gross 5000, L = 10: room 5000. The stop sale at 99.5 (half-spread 0)
    # loses 0.5 x 50 = 25 and 1 % of 4975 = 49.75: equity 925.25, room 9252.5 - 5000 = 4252.5: 42 lots at 100 of the
    # other (worth 100, bought by a limit at 99.5).
    book = margin(listing(lot="1", taker_fee="0.01"), listing(lot="1"))
    orders = [order(-50, stop="99.5"), order(80, limit="99.5")]
    out = run(book, -4000, orders, [CALM, CALM], held=[50, 0])
    assert out.state.position == [0, 42]


LONG = {"held": [200], "marks": [100]}
"""200 at 100 with 1000 of equity: cash -19000, leverage 20. At 95 all is lost, less than that before it."""
CRASH = candle("100 100.5 90 91")
TWENTY = margin(PLAIN, leverage="20", liquidation_fee="0.01")


def test_a_long_at_twenty_is_ruined_by_a_fall_of_ten_percent() -> None:
    # Closed at 90: 18000 less 180 of fee, cash -19000: -1180 are the venue's, nothing is left.
    out = run(TWENTY, -19000, [NOTHING], [CRASH], **LONG)
    assert out.terminated
    assert (out.fills[0].forced, out.fills[0].forced_price, out.fills[0].fee) == (-200, 90, 180)
    assert out.absorbed == 1180
    assert out.state.cash == 0


def test_a_take_profit_does_not_save_it() -> None:
    out = run(TWENTY, -19000, [order(-200, limit="100.2")], [CRASH], **LONG)
    assert out.terminated
    assert out.fills[0].quantity == 0
    assert out.absorbed == 1180


def test_a_stop_before_the_liquidation_saves_it() -> None:
    # Sold at 97: 19400 - 19000 = 400 are left.
    out = run(TWENTY, -19000, [order(-200, stop="97")], [CRASH], **LONG)
    assert not out.terminated
    assert out.state.cash == 400


def test_a_stop_behind_the_liquidation_saves_nothing() -> None:
    # At 94 equity is -19000 + 18800 < 0: the test before the fill fails, and it is closed at 90.
    out = run(TWENTY, -19000, [order(-200, stop="94")], [CRASH], **LONG)
    assert out.terminated
    assert out.fills[0].quantity == 0
    assert out.fills[0].forced_price == 90


def test_maintenance_margin_moves_the_liquidation() -> None:
    # 4 % of maintenance: at p equity 200 p - 19000 against 8 p: fails below 98.958. A stop at 98 is too late, at 99
    # in time.
    book = margin(listing(maintenance="0.04"), leverage="20")
    assert run(book, -19000, [order(-200, stop="98")], [CRASH], **LONG).terminated
    assert not run(book, -19000, [order(-200, stop="99")], [CRASH], **LONG).terminated


def test_an_order_that_opens_on_the_way_can_be_what_ruins() -> None:
    # Long 100 at 100, cash -9000, equity 1000, no maintenance; alone it survives a low of 91 with 100. A limit buys 50
    # more at 96 (s = 4/9): at 91 they have lost 250: ruined.
    fall = candle("100 100.5 91 92")
    assert not run(TWENTY, -9000, [NOTHING], [fall], held=[100]).terminated
    out = run(TWENTY, -9000, [order(50, limit="96")], [fall], held=[100])
    assert out.fills[0].quantity == 50
    assert out.fills[0].forced == -150
    assert out.terminated


def test_what_was_opened_on_the_way_is_liquidated_with_the_rest() -> None:
    # At 89 the 100 alone are lost (1000 - 1100). The limit at 96 is met before (s = 4/11), so all 150 are closed at 89.
    out = run(TWENTY, -9000, [order(50, limit="96")], [candle("100 100.5 89 92")], held=[100])
    assert (out.fills[0].quantity, out.fills[0].forced, out.fills[0].forced_price) == (50, -150, 89)


def test_what_is_not_held_walks_to_where_it_is_bought() -> None:
    # The second has lost 1000 at s = 0.8 of its way from 100 to 87.5. The limit of the first at 91 lies at s = 0.9 of
    # its way to 90: it is cancelled. One at 93 (s = 0.7, 125 are left) is met.
    book = margin(PLAIN, PLAIN, leverage="20")
    candles = [CRASH, candle("100 100 87.5 90")]
    for limit, filled in (("91", 0), ("93", 1)):
        out = run(book, -9000, [order(1, limit=limit), NOTHING], candles, held=[0, 100])
        assert out.terminated
        assert out.fills[0].quantity == filled


def test_a_stop_on_the_other_side_is_met_first() -> None:
    # Not held, bought by a stop at 101 (the other side of the open from the low): s = 0, then it falls to 90. 1000 of
    # equity, 150 lots at 101 need 150 x 100 + 20 x 150 x 1 = 18000 of room 20000. At 90: 1000 - 150 x 11 < 0.
    out = run(TWENTY, 1000, [order(150, stop="101")], [candle("100 101 90 91")])
    assert out.fills[0].price == 101
    assert out.terminated


def test_a_short_walks_to_the_high() -> None:
    # Short 200 at 100, cash 21000: at 105 nothing is left. A stop at 103 saves 400; a limit at 95 saves nothing.
    rise = candle("100 110 90 95")
    out = run(TWENTY, 21000, [order(200, stop="103")], [rise], held=[-200])
    assert out.state.cash == 400
    assert run(TWENTY, 21000, [order(200, limit="95")], [rise], held=[-200]).terminated


def test_a_gain_is_taken_when_the_way_was_survived() -> None:
    # Long 50 at 100, cash -4000; at 90: 500 are left. Then the limit sells at 100.2: 1010.
    out = run(TWENTY, -4000, [order(-50, limit="100.2")], [CRASH], held=[50])
    assert not out.terminated
    assert out.state.cash == 1010


def test_a_limit_that_crosses_zero_waits_and_is_then_tested_at_its_own_worst_price() -> None:
    # Long 50 at 100, cash -4000 (equity 1000). 150 are sold at 100.2 after the way: cash -4000 + 15030 = 11030, short
    # 100. The high is 112: 11030 - 11200 < 0, liquidated there. (Room: equity 1000, gross 5000: 15000 for 100 x 100.2.)
    out = run(TWENTY, -4000, [order(-150, limit="100.2")], [candle("100 112 99 100")], held=[50])
    assert out.fills[0].quantity == -150
    assert (out.fills[0].forced, out.fills[0].forced_price) == (100, 112)
    assert out.absorbed == d("170") + d("112")


def test_all_contracts_walk_together() -> None:
    # Two longs of 100 at 100, cash -19000, equity 1000. The first walks to 90, the second to 94. The stop of the first
    # at 96 is met at s = 0.4: it has lost 400, the second 240. The second loses 360 more to its end: equity 0 is not
    # below 0. With an end at 89 it has lost 440 at s = 0.4 (160 are left), and 660 follow.
    book = margin(PLAIN, PLAIN, leverage="20")
    orders = [order(-100, stop="96"), NOTHING]
    out = run(book, -19000, orders, [CRASH, candle("100 100 94 95")], held=[100, 100])
    assert not out.terminated
    assert out.state.cash == -19000 + 9600
    out = run(book, -19000, orders, [CRASH, candle("100 100 89 95")], held=[100, 100])
    assert out.terminated
    # The stop had filled before; the rest is closed at the low.
    assert (out.fills[0].quantity, out.fills[1].forced_price) == (-100, 89)


def test_what_was_not_yet_met_is_cancelled() -> None:
    # At s = 0.4 the first stop sells; the stop of the second at 91 (s = 0.9) comes after the ruin at
    # 1000 - 400 - 100 x 10 s' < 0, s' = 0.6.
    book = margin(PLAIN, PLAIN, leverage="20")
    out = run(book, -19000, [order(-100, stop="96"), order(-100, stop="91")], [CRASH, CRASH], held=[100, 100])
    assert [f.quantity for f in out.fills] == [-100, 0]
    assert out.fills[1].forced == -100


def test_a_resting_purchase_of_an_owned_coin_comes_first() -> None:
    # Cash -8000 and 100 contracts at 100: equity 2000; gross 10000, room 30000; 10 coins at 99 need 20 x 990 = 19800.
    # They are paid at s = 0: 1010 of margin. At 89: 10 x 100 = 1100 are lost: ruined; the coins stay.
    book = margin(OWNED, PLAIN, leverage="20")
    orders = [order(10, limit="99"), NOTHING]
    out = run(book, -8000, orders, [candle("100 101 98 100"), candle("100 100 89 90")], held=[0, 100])
    assert out.terminated
    assert out.state.position == [10, 0]
    assert out.absorbed == 90


def test_a_sale_of_an_owned_coin_comes_too_late() -> None:
    # A stop sells 50 coins at 98: it waits for the end of the way, and the contracts are lost before.
    book = margin(OWNED, PLAIN, leverage="20")
    orders = [order(-50, stop="98"), NOTHING]
    out = run(book, -9000, orders, [candle("100 101 97 98"), candle("100 100 89 90")], held=[50, 100])
    assert out.terminated
    assert out.state.position == [50, 0]


# 8., 9. Interest and liquidation


def test_interest_comes_too_late_on_the_way_and_in_time_for_the_debts() -> None:
    # Cash -19000, long 200 at 100, low 90, L = 20, margin earns: idle 1000, 50 % of it are 500. Ruined on the way;
    # closed at 90 with 180 of fee: -1180 + 500.
    book = margin(PLAIN, leverage="20", liquidation_fee="0.01", margin_earns=True)
    out = run(book, -19000, [NOTHING], [CRASH], rate="0.5", **LONG)
    assert out.terminated
    assert out.interest == 500
    assert out.absorbed == 680


def test_interest_comes_in_time_where_no_order_was_met() -> None:
    # At 94.9 equity is -20; margin earns, idle 1000 at 5 % are 50, credited before the test. With an order that is met
    # there is a way, and a test at its end, before them.
    book = margin(PLAIN, leverage="20", margin_earns=True)
    dip = candle("100 100.5 94.9 96")
    assert not run(book, -19000, [NOTHING], [dip], rate="0.05", **LONG).terminated
    assert run(book, -19000, [order(-200, limit="100.2")], [dip], rate="0.05", **LONG).terminated


def test_a_close_at_the_open_can_leave_a_debt() -> None:
    # Opens at 90: 200 are sold for 18000, cash -1000. There is no contract left: -1000 is below nothing.
    out = run(TWENTY, -19000, [order(-200)], [candle("90 91 89 90")], **LONG)
    assert out.terminated
    assert (out.fills[0].quantity, out.fills[0].forced) == (-200, 0)
    assert (out.absorbed, out.state.cash) == (1000, 0)


def test_an_account_of_coins_is_liquidated_when_its_cash_is_below_nothing() -> None:
    # Funding of 6 leaves -1 and no contract: the account is over, its coins stay.
    out = run(margin(OWNED), 5, [NOTHING], [candle("100 101 99 100", due=6)], held=[1])
    assert out.terminated
    assert (out.absorbed, out.state.cash, out.state.position) == (1, 0, [1])


def test_debts_of_contracts_are_not_paid_by_a_coin_in_its_last_bar() -> None:
    # The contracts leave -19000 + 18000 = -1000, which the venue bears; then the coin pays 100.
    book = margin(OWNED, PLAIN, leverage="20")
    out = run(book, -19000, [NOTHING] * 2, [candle("100 101 99 100", last=True), CRASH], held=[1, 200])
    assert (out.absorbed, out.state.cash) == (1000, 100)


def test_what_does_not_trade_is_liquidated_at_its_mark() -> None:
    # The second is halted at mark 50: it is sold there. 100 at 90 = 9000 and 100 at 50 = 5000, cash -14001.
    book = margin(PLAIN, PLAIN, leverage="20")
    out = run(book, -14001, [NOTHING] * 2, [CRASH, halted()], held=[100, 100], marks=[100, 50])
    assert out.terminated
    assert [f.forced_price for f in out.fills] == [90, 50]
    assert out.absorbed == 1


def test_a_spot_account_is_never_liquidated() -> None:
    out = run(spot(listing(maintenance="0.5")), 0, [NOTHING], [candle("100 100 1 2")], held=[1])
    assert not out.terminated
    assert out.state.equity == 2


# 11., 12. Last bars and debts


def test_a_position_is_paid_out_in_the_last_bar() -> None:
    # 2 at the close of 98 less 1 %: 196 - 1.96.
    out = run(spot(listing(taker_fee="0.01")), 0, [NOTHING], [candle("100 101 97 98", last=True)], held=[2])
    assert (out.state.cash, out.state.position) == (d("194.04"), [0])
    assert (out.fills[0].forced, out.fills[0].forced_price, out.fills[0].fee) == (-2, 98, d("1.96"))


def test_what_is_halted_in_its_last_bar_is_paid_out_at_its_mark() -> None:
    assert run(spot(PLAIN), 0, [NOTHING], [halted(last=True)], held=[2], marks=[97]).state.cash == 194


def test_what_is_bought_in_the_last_bar_is_paid_out_as_well() -> None:
    assert run(spot(PLAIN), 1000, [order(2)], [candle("100 101 97 98", last=True)]).state.cash == 996


def test_fees_of_the_last_bar_can_ruin() -> None:
    # Long 200 at 100, cash -19900: equity 100. Closing at 100 with 1 % costs 200: -100. The other contract (1 at 50,
    # not counted into the ruin: -100 + 50 < 0) is closed at its mark without fee: 50 are missing.
    book = margin(listing(taker_fee="0.01"), listing(taker_fee="0.01"), leverage="125")
    candles = [candle("100 100 100 100", last=True), candle("50 50 50 50")]
    out = run(book, -19900, [NOTHING] * 2, candles, held=[200, 1], marks=[100, 50])
    assert out.terminated
    assert out.state.position == [0, 0]
    assert (out.fills[1].forced, out.fills[1].forced_price, out.fills[1].fee) == (-1, 50, 0)
    assert out.absorbed == 50
    assert out.state.cash == 0


def test_an_account_whose_equity_is_nothing_is_over() -> None:
    assert run(spot(PLAIN), 0, [NOTHING], [CALM]).terminated
    assert not run(spot(PLAIN), "0.01", [NOTHING], [CALM]).terminated


# Money on its way


def test_money_on_its_way_waits_and_arrives() -> None:
    # Sold for 1000 with two bars to wait: on its way after the bar, with one bar to wait after the next (no room), and
    # arrived at the start of the one after that: 10 lots at leverage 1.
    book = margin(OWNED, listing(lot="1"), leverage="1", transfer_bars=2)
    first = run(book, 0, [order(-10), NOTHING], [CALM, CALM], held=[10, 0])
    assert (first.state.cash, first.state.on_way, first.state.wait) == (1000, 1000, 2)
    second = run(book, 1000, [NOTHING, order(10)], [CALM, CALM], on_way=1000, wait=2)
    assert (second.state.position, second.state.on_way, second.state.wait) == ([0, 0], 1000, 1)
    third = run(book, 1000, [NOTHING, order(10)], [CALM, CALM], on_way=1000, wait=1)
    assert (third.state.position, third.state.on_way) == ([0, 10], 0)


def test_what_is_paid_out_in_a_last_bar_is_not_on_its_way() -> None:
    out = run(margin(OWNED, transfer_bars=3), 500, [NOTHING], [candle("100 101 99 100", last=True)], held=[5])
    assert (out.state.cash, out.state.on_way) == (1000, 0)


def test_money_on_its_way_is_what_was_left_after_the_fee() -> None:
    # 2 at 100 less 1 %.
    book = margin(listing(owned=True, taker_fee="0.01"), transfer_bars=1)
    assert run(book, 500, [order(-2)], [CALM], held=[5]).state.on_way == 198


def test_a_further_sale_makes_all_of_it_wait_anew() -> None:
    book = margin(OWNED, transfer_bars=3)
    out = run(book, 500, [order(-1)], [CALM], held=[5], on_way=500, wait=2)
    assert (out.state.on_way, out.state.wait) == (600, 3)


def test_money_on_its_way_neither_earns_nor_serves_as_margin() -> None:
    # Cash -8000, of which 1000 on the way: idle is -9000 + 10000 - 10000 / 20 = 500, 10 % of it are 50. Margin is
    # -9000 + 100 x 100 = 1000; at 89 it is -100: liquidated. Cash is -8000 + 50 + 8900 = 950, 50 less than the 1000
    # that are on their way and stay there.
    book = margin(OWNED, PLAIN, leverage="20", transfer_bars=3)
    fall = candle("100 100 89 90")
    out = run(book, -8000, [NOTHING] * 2, [CALM, fall], held=[0, 100], on_way=1000, wait=3, rate="0.1")
    assert out.terminated
    assert (out.absorbed, out.state.cash, out.state.on_way) == (50, 1000, 1000)


def test_a_margin_account_of_leverage_one_that_may_be_short() -> None:
    # Not a spot account: it shorts 10 lots of 100 with 1001.
    assert run(rules(listing(lot="1"), short=True), 1001, [order(-20)], [CALM]).state.position == [-10]
