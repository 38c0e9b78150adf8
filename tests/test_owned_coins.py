"""Coins and perpetuals in one account: the ledger, the margin of the short leg, and the delay of a transfer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qframe_rl.kernel.rules import rules_of
from qframe_rl.kernel.settle import settle
from qframe_rl.types import Account, Bar, Instrument, Orders
from qframe_rl.venues.simulated import SimulatedVenue

SPOT = Instrument("BTC/USDT", "spot", taker_fee=1e-3)
PERP = Instrument("BTC/USDT:USDT", "perpetual", taker_fee=5e-4, maintenance=0.004)
FREE = (Instrument("BTC/USDT", "spot"), Instrument("BTC/USDT:USDT", "perpetual", maintenance=0.004))


def bar(spot: float, perp: float, due: float = 0.0, high: float | None = None) -> Bar:
    values = np.array([[spot, spot, spot, spot, 1e9], [perp, high or perp, perp, perp, 1e9]])
    return Bar(0, values, np.array([0.0, due]), np.zeros(2, dtype=np.bool_))


def orders(spot: float, perp: float) -> Orders:
    return Orders.market(np.array([spot, perp]))


def test_the_ledger_of_card_4_5() -> None:
    """1 BTC long spot, short perpetual, three settlements, both legs closed: -205.74."""
    rules = rules_of((SPOT, PERP), leverage=3.0, shorting=True, owned=(True, False))
    account = Account(np.array(300_000.0), np.zeros(2), np.full(2, np.nan))
    account, _ = settle(account, orders(1.0, -1.0), bar(100_000.0, 100_050.0), rules)
    for mark, rate in ((101_000.0, 1e-4), (99_000.0, 2e-4), (100_500.0, -5e-5)):
        account, fills = settle(account, orders(0.0, 0.0), bar(mark, mark, due=mark * rate), rules)
        assert fills.funding[1] == pytest.approx(-mark * rate)
    account, _ = settle(account, orders(-1.0, 1.0), bar(100_400.0, 100_380.0), rules)
    assert float(account.equity) - 300_000.0 == pytest.approx(-205.74, abs=1e-9)
    assert not account.position.any()


def test_without_funding_and_fees_a_converging_basis_is_all_that_is_earned() -> None:
    rules = rules_of(FREE, leverage=3.0, shorting=True, owned=(True, False))
    account = Account(np.array(300.0), np.zeros(2), np.full(2, np.nan))
    account, _ = settle(account, orders(1.0, -1.0), bar(100.0, 101.0), rules)
    for price in (120.0, 80.0, 100.0):
        account, _ = settle(account, orders(0.0, 0.0), bar(price, price), rules)
        assert float(account.equity) == pytest.approx(301.0)


@pytest.mark.parametrize(
    ("leverage", "multiple"), [(1.0, 1.99203), (2.0, 1.49402), (3.0, 1.32802), (5.0, 1.19522), (10.0, 1.09562)]
)
def test_a_hedged_short_is_liquidated_where_the_card_says(leverage: float, multiple: float) -> None:
    """(1 + 1/L) / (1 + maintenance): the coin's gain is no margin, and it stays with its owner."""
    rules = rules_of(FREE, leverage=leverage, shorting=True, owned=(True, False))
    for factor, survives in ((1.0 - 1e-5, True), (1.0 + 1e-5, False)):
        venue = SimulatedVenue(rules, 100.0 + 100.0 / leverage * (1 + 1e-9))
        venue.advance(bar(100.0, 100.0))
        venue.submit(orders(1.0, -1.0))
        fills = venue.advance(bar(100.0, 100.0))
        assert fills.quantity == pytest.approx([1.0, -1.0], rel=1e-6)
        fills = venue.advance(bar(100.0 * multiple, 100.0, high=100.0 * multiple * factor))
        assert venue.terminated is not survives
        assert (venue.account.position[1] == 0.0) is not survives
        assert venue.account.position[0] > 0.99
        assert float(venue.account.equity) > 100.0


def test_a_coin_has_no_short_is_paid_in_full_and_is_no_collateral() -> None:
    rules = rules_of(FREE, leverage=3.0, shorting=True, owned=(True, False))
    venue = SimulatedVenue(rules, 100.0)
    venue.advance(bar(100.0, 100.0))
    venue.submit(orders(-1.0, 0.0))
    assert venue.advance(bar(100.0, 100.0)).quantity[0] == 0.0
    venue.submit(orders(2.0, 0.0))
    assert venue.advance(bar(100.0, 100.0)).quantity[0] == pytest.approx(1.0)
    venue.submit(orders(0.0, -1.0))
    assert venue.advance(bar(100.0, 100.0)).quantity[1] == pytest.approx(0.0, abs=1e-9)
    venue.submit(orders(-0.5, 0.0))
    venue.advance(bar(100.0, 100.0))
    venue.submit(orders(0.0, -2.0))
    assert venue.advance(bar(100.0, 100.0)).quantity[1] == pytest.approx(-1.5)


@pytest.mark.parametrize("bars", [0, 1, 3])
def test_what_a_coin_was_sold_for_takes_its_time(bars: int) -> None:
    rules = rules_of(FREE, leverage=1.0, shorting=True, owned=(True, False), transfer_bars=bars)
    venue = SimulatedVenue(rules, 100.0)
    venue.advance(bar(100.0, 100.0))
    venue.submit(orders(1.0, 0.0))
    venue.advance(bar(100.0, 100.0))
    venue.submit(orders(-1.0, 0.0))
    venue.advance(bar(100.0, 100.0))
    waited = 0
    while venue.account.position[1] > -0.99:
        venue.submit(orders(0.0, -1.0))
        venue.advance(bar(100.0, 100.0))
        waited += 1
    assert waited == max(1, bars)
    assert float(venue.account.equity) == pytest.approx(100.0)


def test_money_on_its_way_does_not_save_the_short_and_is_not_lost_with_it() -> None:
    for bars, survives in ((0, True), (2, False)):
        rules = rules_of(FREE, leverage=3.0, shorting=True, owned=(True, False), transfer_bars=bars)
        venue = SimulatedVenue(rules, 140.0)
        venue.advance(bar(100.0, 100.0))
        venue.submit(orders(1.0, -1.0))
        venue.advance(bar(100.0, 100.0))
        venue.submit(orders(-1.0, 0.0))
        venue.advance(bar(130.0, 130.0))
        assert not venue.terminated
        fills = venue.advance(bar(130.0, 130.0, high=145.0))
        assert venue.terminated is not survives
        assert float(venue.account.equity) >= 130.0
        assert float(fills.absorbed) == (0.0 if survives else pytest.approx(5.0))


def test_the_schedule_may_change_and_every_stamp_is_paid_once() -> None:
    """Eight-hourly stamps that become four-hourly: money per unit is what the data say, stamp by stamp."""
    rules = rules_of(FREE, leverage=3.0, shorting=True, owned=(True, False))
    venue = SimulatedVenue(rules, 300.0)
    venue.advance(bar(100.0, 100.0))
    venue.submit(orders(1.0, -1.0))
    venue.advance(bar(100.0, 100.0))
    stamps = [h for h in range(48) if h % (8 if h < 24 else 4) == 0]
    for hour in range(48):
        venue.advance(bar(100.0, 100.0, due=100.0 * 1e-4 if hour in stamps else 0.0))
    assert len(stamps) == 9
    assert float(venue.account.equity) - 300.0 == pytest.approx(9 * 0.01)


def test_one_account_and_many_give_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    rules = rules_of((SPOT, PERP), leverage=2.0, shorting=True, owned=(True, False), transfer_bars=2)
    n = 130
    single = [Account(np.array(1000.0), np.zeros(2), np.full(2, np.nan)) for _ in range(n)]
    batch = Account(np.full(n, 1000.0), np.zeros((n, 2)), np.full((n, 2), np.nan))
    for _ in range(20):
        price = 100.0 * math.exp(0.05 * rng.standard_normal())
        now, asked = bar(price, price * 1.001, due=0.01, high=price * 1.2), 8.0 * rng.standard_normal((n, 2))
        batch, _ = settle(batch, Orders.market(asked), now, rules)
        single = [settle(a, Orders.market(q), now, rules)[0] for a, q in zip(single, asked, strict=True)]
        assert np.array_equal(batch.cash, [a.cash for a in single])
        assert np.array_equal(batch.position, [a.position for a in single])
