"""Steps 7 and 9 to 12, and money on its way: cases worked by hand."""

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
    halted,
    listing,
    margin,
    order,
    run,
    spot,
)


def test_interest_is_there_for_the_debts() -> None:
    # Cash -19000, long 200 at 100, low 90, L = 20, margin earns: idle 1000, 50 % of it are 500. Ruined, and
    # closed at 90 with 180 of fee: -1180 + 500.
    book = margin(PLAIN, leverage="20", liquidation_fee="0.01", margin_earns=True)
    out = run(book, -19000, [NOTHING], [CRASH], rate="0.5", **LONG)
    assert out.terminated
    assert out.interest == 500
    assert out.absorbed == 680


def test_interest_comes_in_time_for_the_margin() -> None:
    # At 94.9 equity is -20; margin earns, idle 1000 at 5 % are 50, credited before the way is gone.
    book = margin(PLAIN, leverage="20", margin_earns=True)
    dip = candle("100 100.5 94.9 96")
    assert not run(book, -19000, [NOTHING], [dip], rate="0.05", **LONG).terminated
    assert not run(book, -19000, [order(-200, limit="100.2")], [dip], rate="0.05", **LONG).terminated
    assert run(book, -19000, [order(-200, limit="100.2")], [dip], **LONG).terminated


def test_nothing_spends_the_interest_in_its_bar() -> None:
    # 100 of cash earn 50. A limit for 150 at 1 that is met buys what 100 pay for.
    out = run(spot(PLAIN), 100, [order(150, limit="1")], [candle("2 2 0.5 1")], rate="0.5")
    assert abs(out.fills[0].quantity - 100) < d("1e-9")
    assert out.interest == 50


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


def test_what_a_contract_is_sold_for_is_not_on_its_way() -> None:
    out = run(margin(OWNED, PLAIN, transfer_bars=2), 500, [NOTHING, order(-2)], [CALM, CALM], held=[0, 2])
    assert (out.state.cash, out.state.on_way) == (700, 0)


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
