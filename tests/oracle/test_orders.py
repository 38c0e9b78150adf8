"""Steps 1 to 5 and the grids in them: cases worked by hand."""

from __future__ import annotations

from tests.oracle.cases import CALM, NOTHING, PLAIN, candle, d, halted, listing, margin, order, rules, run, spot

# 1. Funding


def test_a_long_pays_funding_and_a_short_receives_it() -> None:
    # 2 x 0.5 = 1 is paid on the first, -3 x 0.2 = -0.6 on the second: 1000 - 1 + 0.6.
    book = margin(listing(perpetual=True), listing(perpetual=True))
    out = run(book, 1000, [NOTHING] * 2, [candle("100 101 99 100", due="0.5"), candle("100 101 99 100", due="0.2")],
              held=[2, -3])  # fmt: skip
    assert [f.funding for f in out.fills] == [d(1), d("-0.6")]
    assert out.state.cash == d("999.6")


def test_funding_is_paid_on_what_is_held_before_the_orders() -> None:
    # 2 are held and sold in the bar: 2 x 0.5 = 1 all the same; 1000 - 1 + 200.
    out = run(margin(PLAIN), 1000, [order(-2)], [candle("100 101 99 100", due="0.5")], held=[2])
    assert out.state.cash == d(1199)


def test_funding_falls_due_without_a_trade() -> None:
    assert run(margin(PLAIN), 1000, [NOTHING], [halted(due="0.5")], held=[2]).state.cash == d(999)


# 2. Interest


def test_cash_of_a_spot_account_earns_before_it_is_spent() -> None:
    # 1000 x 0.01 = 10, although 500 are spent in the bar: 1000 - 500 + 10.
    out = run(spot(PLAIN), 1000, [order(5)], [CALM], rate="0.01")
    assert out.interest == 10
    assert out.state.cash == d(510)


def test_interest_pays_for_nothing_in_its_bar() -> None:
    # 11 units cost 1100; there are 1050, and the 105 of interest come too late: 10 lots.
    assert run(spot(listing(lot="1")), 1050, [order(11)], [CALM], rate="0.1").fills[0].quantity == 10


def test_margin_is_locked_out_of_interest() -> None:
    # Long 2 at 100, cash 800, L = 5: idle is 800 + 200 - 200 / 5 = 960; at 1 % that is 9.6.
    assert run(margin(PLAIN, leverage="5"), 800, [NOTHING], [CALM], held=[2], rate="0.01").interest == d("9.6")
    # Short 2: 1200 - 200 - 40 = 960 as well.
    assert run(margin(PLAIN, leverage="5"), 1200, [NOTHING], [CALM], held=[-2], rate="0.01").interest == d("9.6")
    # Where margin earns, nothing is taken off: 800 + 200.
    book = margin(PLAIN, leverage="5", margin_earns=True)
    assert run(book, 800, [NOTHING], [CALM], held=[2], rate="0.01").interest == 10


def test_a_rate_below_nothing_is_paid_and_borrowed_money_earns_nothing() -> None:
    assert run(spot(PLAIN), 1000, [NOTHING], [CALM], rate="-0.01").state.cash == d(990)
    # Cash -1000, long 20 at 100, L = 2: idle is -1000 + 2000 - 1000 = 0. None.
    assert run(margin(PLAIN, leverage="2"), -1000, [NOTHING], [CALM], held=[20], rate="0.01").interest == 0


def test_idle_is_counted_after_funding_and_without_owned_coins() -> None:
    # Cash 1000, an owned coin of 100 (no part of it), funding 1 x 5: idle is 995.
    book = margin(listing(owned=True))
    assert run(book, 1000, [NOTHING], [candle("100 101 99 100", due=5)], held=[1], rate="0.01").interest == d("9.95")


# 3. Size


def test_an_order_is_capped_by_the_share_of_the_volume() -> None:
    # 10 % of 30 are 3.
    out = run(spot(PLAIN, volume_share="0.1"), 1000, [order(5)], [candle("100 101 99 100", volume=30)])
    assert out.fills[0].quantity == 3
    assert out.fills[0].cancelled == 2


def test_a_sale_in_a_spot_account_is_of_what_is_held() -> None:
    assert run(spot(PLAIN), 0, [order(-5)], [CALM], held=[2]).fills[0].quantity == -2
    assert run(spot(PLAIN), 0, [order(-5)], [CALM]).fills[0].quantity == 0


def test_a_margin_account_that_may_not_be_short_sells_what_it_holds() -> None:
    out = run(rules(PLAIN, leverage="3"), 1000, [order(-5)], [CALM], held=[2])
    assert out.fills[0].quantity == -2


def test_sizes_are_whole_lots_toward_zero() -> None:
    book = margin(listing(lot="0.1"))
    assert run(book, 1000, [order("0.59")], [CALM]).fills[0].quantity == d("0.5")
    assert run(book, 1000, [order("-0.59")], [CALM]).fills[0].quantity == d("-0.5")
    # Doubles make 0.6000000000000001 of 3 x 0.2, and 0.7999999999999999 of 0.1 + 0.7: six and eight lots.
    assert run(book, 1000, [order("0.6000000000000001")], [CALM]).fills[0].quantity == d("0.6")
    assert run(book, 1000, [order("0.7999999999999999")], [CALM]).fills[0].quantity == d("0.8")


def test_a_position_is_closed_without_a_remainder_of_doubles() -> None:
    # 0.30000000000000004 held, 0.3 sold in three lots: nothing is left, not 4e-17.
    out = run(spot(listing(lot="0.1")), 0, [order("-0.3")], [CALM], held=["0.30000000000000004"])
    assert out.state.position == [0]


def test_without_lots_a_size_within_a_billionth_of_the_position_is_the_position() -> None:
    # 2 - 1e-9 misses 2 by 5e-10 of it; 2 - 4e-9 misses it by 2e-9 and leaves 4e-9.
    assert run(spot(PLAIN), 0, [order("-1.999999999")], [CALM], held=[2]).state.position == [0]
    assert run(spot(PLAIN), 0, [order("-1.999999996")], [CALM], held=[2]).state.position == [d("4e-9")]
    # In a margin account an order just beyond it does not cross zero.
    assert run(margin(PLAIN), 1000, [order("-2.000000001")], [CALM], held=[2]).state.position == [0]


def test_nothing_happens_without_a_trade_or_without_volume() -> None:
    assert run(spot(PLAIN), 1000, [order(1)], [halted()]).fills[0].quantity == 0
    assert run(spot(PLAIN), 1000, [order(1)], [candle("100 101 99 100", volume=0)]).fills[0].quantity == 0


# 4. Price


def test_taking_costs_half_spread_and_impact() -> None:
    # Size 4 of volume 10000: sqrt = 0.02; x 0.5 = 0.01; half-spread 0.001. A purchase pays 100 x 1.011 = 101.1.
    book = spot(PLAIN, half_spread="0.001", impact="0.5")
    out = run(book, 1000, [order(4)], [CALM])
    assert out.fills[0].price == d("101.1")
    # 4 x 100 x 0.001 and 4 x 100 x 0.01.
    assert (out.fills[0].spread, out.fills[0].impact) == (d("0.4"), d(4))
    # A sale gets 98.9.
    assert run(book, 0, [order(-4)], [CALM], held=[4]).fills[0].price == d("98.9")


def test_a_stop_takes_from_its_price_when_the_bar_reaches_it() -> None:
    # Bought at 101 x 1.001 = 101.101 with the taker fee 1 %: 1000 - 101.101 - 1.01101.
    book = spot(listing(taker_fee="0.01", maker_fee="0.5"), half_spread="0.001")
    out = run(book, 1000, [order(1, stop="101")], [candle("100 101 99 100")])
    assert out.fills[0].price == d("101.101")
    assert out.state.cash == d("1000") - d("101.101") - d("1.01101")
    # One tick further is not reached.
    assert run(book, 1000, [order(1, stop="101.01")], [CALM]).fills[0].quantity == 0


def test_a_stop_is_rounded_away_from_the_open() -> None:
    tick = listing(tick="0.5")
    # 100.6 for a purchase is 101; a high of 100.9 does not reach it, 101 does.
    assert run(spot(tick), 1000, [order(1, stop="100.6")], [candle("100 100.9 99 100")]).fills[0].quantity == 0
    assert run(spot(tick), 1000, [order(1, stop="100.6")], [candle("100 101 99 100")]).fills[0].price == 101
    # 99.4 for a sale is 99.
    assert run(spot(tick), 0, [order(-1, stop="99.4")], [candle("100 101 99.1 100")], held=[1]).fills[0].quantity == 0
    assert run(spot(tick), 0, [order(-1, stop="99.4")], [candle("100 101 99 100")], held=[1]).fills[0].price == 99


def test_a_stop_that_the_open_is_at_or_past_is_an_order_at_the_open() -> None:
    for stop in ("100", "103"):
        assert run(spot(PLAIN), 0, [order(-1, stop=stop)], [CALM], held=[1]).fills[0].price == 100
    for stop in ("100", "98"):
        assert run(spot(PLAIN), 1000, [order(1, stop=stop)], [CALM]).fills[0].price == 100


def test_a_stop_at_the_open_pays_for_an_order_at_the_open() -> None:
    # It is an order at the open itself, so the 100 that it brings buy the other.
    out = run(spot(PLAIN, listing(lot="1")), 0, [order(-1, stop="100"), order(1)], [CALM, CALM], held=[1, 0])
    assert out.state.position == [0, 1]


def test_a_limit_fills_at_its_price_when_the_bar_trades_through() -> None:
    # Bought at 99.5 with the maker fee 1 %, no half-spread: 99.5 + 0.995.
    book = spot(listing(taker_fee="0.5", maker_fee="0.01"), half_spread="0.001")
    out = run(book, 1000, [order(1, limit="99.5")], [CALM])
    assert out.fills[0].price == d("99.5")
    assert out.state.cash == d("1000") - d("100.495")
    assert out.fills[0].spread == 0


def test_a_limit_that_is_only_touched_does_nothing() -> None:
    assert run(spot(PLAIN), 1000, [order(1, limit="99")], [CALM]).fills[0].quantity == 0
    assert run(spot(PLAIN), 0, [order(-1, limit="101")], [CALM], held=[1]).fills[0].quantity == 0
    assert run(spot(PLAIN), 0, [order(-1, limit="100.9")], [CALM], held=[1]).fills[0].quantity == -1
    # On a grid it is the tick that counts, not the double: 0.3 against a low of 0.30000000000000004 and its neighbour.
    tick = spot(listing(tick="0.1"))
    for low in ("0.30000000000000004", "0.29999999999999998"):
        assert run(tick, 10, [order(1, limit="0.3")], [candle(f"0.5 0.6 {low} 0.5")]).fills[0].quantity == 0


def test_a_limit_is_rounded_to_the_cautious_side() -> None:
    tick = listing(tick="0.5")
    # A purchase at 99.4 is one at 99; a sale at 100.6 one at 101.
    out = run(spot(tick), 1000, [order(1, limit="99.4")], [candle("100 101 98 100")])
    assert out.fills[0].price == 99
    out = run(spot(tick), 0, [order(-1, limit="100.6")], [candle("100 102 98 100")], held=[1])
    assert out.fills[0].price == 101


def test_a_limit_at_what_taking_would_pay_takes() -> None:
    # Taking pays 100 x 1.001 = 100.1. At 100.1 and beyond: an order at the open, taker fee 1 %.
    book = spot(listing(taker_fee="0.01"), half_spread="0.001")
    for limit in ("100.1", "150"):
        out = run(book, 1000, [order(1, limit=limit)], [CALM])
        assert (out.fills[0].price, out.fills[0].fee) == (d("100.1"), d("1.001"))


def test_what_taking_pays_is_compared_in_ticks_where_there_are_any() -> None:
    # 100.1 again, on a grid of 0.1 and without any costs but the fee at the open itself.
    book = spot(listing(tick="0.1", taker_fee="0.01"), half_spread="0.001")
    assert run(book, 1000, [order(1, limit="100.1")], [CALM]).fills[0].fee == d("1.001")
    for tick in ("0.1", "0"):
        book = spot(listing(tick=tick, taker_fee="0.01"))
        assert run(book, 1000, [order(1, limit="100")], [CALM]).fills[0].fee == 1


def test_a_limit_between_the_open_and_what_taking_pays_rests() -> None:
    # 100.05 is below 100.1; the bar trades below it: filled there, as a maker.
    book = spot(listing(taker_fee="0.01"), half_spread="0.001")
    out = run(book, 1000, [order(1, limit="100.05")], [CALM])
    assert (out.fills[0].price, out.fills[0].fee) == (d("100.05"), 0)


def test_an_order_with_limit_and_stop_does_nothing() -> None:
    assert run(spot(PLAIN), 1000, [order(1, limit="150", stop="50")], [CALM]).fills[0].quantity == 0


# 5. What is too small


def test_a_fill_below_the_minimum_amount_does_not_happen() -> None:
    book = spot(listing(lot="0.1", min_amount="0.3"))
    assert run(book, 1000, [order("0.2")], [CALM]).fills[0].quantity == 0
    # Without lots as well.
    assert run(spot(listing(min_amount="0.3")), 1000, [order("0.3")], [CALM]).fills[0].quantity == d("0.3")
    assert run(spot(listing(min_amount="0.3")), 1000, [order("0.29")], [CALM]).fills[0].quantity == 0
    # Three lots are the minimum, whatever their double.
    assert run(book, 1000, [order("0.30000000000000004")], [CALM]).fills[0].quantity == d("0.3")


def test_a_fill_worth_less_than_the_minimum_notional_does_not_happen() -> None:
    # 0.05 x 100 = 5 is enough, 0.049 is not; at 99 a limit for 0.05 is worth 4.95.
    book = spot(listing(min_notional="5"))
    assert run(book, 1000, [order("0.05")], [CALM]).fills[0].quantity == d("0.05")
    assert run(book, 1000, [order("0.049")], [CALM]).fills[0].quantity == 0
    # Short of it by 4e-13 of it is enough as well; by 4e-12 it is not.
    assert run(book, 1000, [order("0.04999999999998")], [CALM]).fills[0].quantity > 0
    assert run(book, 1000, [order("0.0499999999998")], [CALM]).fills[0].quantity == 0
    assert run(book, 1000, [order("0.05", limit="99")], [candle("100 101 98 100")]).fills[0].quantity == 0


def test_dust_of_a_coin_stays_and_is_marked() -> None:
    out = run(spot(listing(min_notional="5")), 0, [order("-0.04")], [candle("100 101 99 98")], held=["0.04"])
    assert out.state.position == [d("0.04")]
    assert out.state.equity == d("3.92")


def test_closing_a_perpetual_is_exempt_from_the_minimum_notional_alone() -> None:
    book = margin(listing(min_notional="5", min_amount="0.02", perpetual=True))
    assert run(book, 1000, [order("-0.04")], [CALM], held=["0.04"]).state.position == [0]
    # 0.01 is below the minimum amount: it stays.
    assert run(book, 1000, [order("-0.01")], [CALM], held=["0.01"]).state.position == [d("0.01")]


def test_of_a_perpetual_order_that_is_too_small_the_closing_part_fills() -> None:
    # -0.045 against a long of 0.04 is worth 4.5: not enough to cross, the 0.04 are closed.
    book = margin(listing(min_notional="5", perpetual=True))
    out = run(book, 1000, [order("-0.045")], [CALM], held=["0.04"])
    assert (out.fills[0].quantity, out.state.position) == (d("-0.04"), [0])
    # In a spot account a perpetual closes as well.
    book = spot(listing(min_notional="5", perpetual=True))
    assert run(book, 0, [order("-0.04")], [CALM], held=["0.04"]).state.position == [0]
    # Of another contract nothing fills.
    out = run(margin(listing(min_notional="5")), 1000, [order("-0.045")], [CALM], held=["0.04"])
    assert out.fills[0].quantity == 0


def test_what_is_too_small_after_scaling_does_not_happen() -> None:
    # 100 buy one coin; the minimum notional is 150: scaled to 100, dropped.
    assert run(spot(listing(min_notional="150")), 100, [order(2)], [CALM]).fills[0].quantity == 0


def test_a_remainder_below_a_lot_stays() -> None:
    # 0.25 in lots of 0.1: 0.2 are sold.
    out = run(spot(listing(lot="0.1")), 0, [order("-0.25")], [CALM], held=["0.25"])
    assert out.state.position == [d("0.05")]
