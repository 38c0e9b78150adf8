"""Step 8, orders that rest: cases worked by hand."""

from __future__ import annotations

from tests.oracle.cases import (
    CALM,
    CRASH,
    LONG,
    NOTHING,
    OWNED,
    PLAIN,
    TWENTY,
    candle,
    d,
    listing,
    margin,
    order,
    run,
    spot,
)


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
