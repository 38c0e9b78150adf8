"""Transfers into and out of accounts: exact to the unit, never below what positions need, refused without a trace."""

from __future__ import annotations

import math
from decimal import Context, Decimal
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.amounts import UNITS, money, units_of
from qframe_rl.kernel.rules import Rules, rules_of
from qframe_rl.types import Account, Bar, Instrument, Orders
from qframe_rl.venues.ccxt import ExchangeVenue
from qframe_rl.venues.funding import Allotted
from qframe_rl.venues.simulated import SimulatedVenue

EXACT = Context(prec=400)
"""Decimals wide enough for every binary fraction there is here: the rules a second time, by other arithmetic."""
units = st.one_of(
    st.integers(-(10**12), 10**12), st.integers(-(10**15), 10**15), st.integers(-5, 5).map(lambda n: n * UNITS * 1000)
).filter(bool)


def rules(kind: str) -> Rules:
    coins = tuple(
        Instrument(f"C{a}", "spot" if kind == "spot" or (kind == "mixed" and a == 0) else "perpetual", taker_fee=0.001,
                   maintenance=0.0 if kind == "spot" else 0.05)
        for a in range(2)
    )  # fmt: skip
    if kind == "spot":
        return rules_of(coins)
    owned = (True, False) if kind == "mixed" else ()
    return rules_of(coins, leverage=3.0, shorting=True, owned=owned, transfer_bars=2 if owned else 0)


def bar(n: int, price: float) -> Bar:
    row = np.array([[price, price * 1.01, price * 0.99, price, 1e9], [2.0 * price, 2.02 * price, 1.98 * price,
                    2.0 * price, 1e9]])  # fmt: skip
    return Bar(n, row, np.zeros(2), np.zeros(2, dtype=np.bool_))


@st.composite
def walks(draw: st.DrawFn) -> tuple[str, float, list[tuple[Any, ...]]]:
    kind = draw(st.sampled_from(["spot", "perpetual", "mixed"]))
    steps: list[tuple[Any, ...]] = []
    for _ in range(draw(st.integers(1, 12))):
        if draw(st.booleans()):
            steps.append(("transfer", draw(units)))
        else:
            shares = [draw(st.floats(-2.5, 2.5)), draw(st.floats(-2.5, 2.5))]
            steps.append(("bar", shares, draw(st.floats(0.97, 1.03))))
    return kind, draw(st.floats(10.0, 1e6)), steps


@settings(max_examples=300, deadline=None)
@given(walks())
def test_an_account_is_paid_into_to_the_unit_or_left_as_it_is(case: tuple[str, float, list[tuple[Any, ...]]]) -> None:
    kind, cash, steps = case
    one = rules(kind)
    venue, price = SimulatedVenue(one, cash), 100.0
    venue.advance(bar(0, price))
    for n, (what, *more) in enumerate(steps, start=1):
        before = venue.account
        if what == "bar":
            shares, ratio = more
            price *= ratio
            venue.submit(Orders.market(np.array(shares) * float(before.equity) / np.array([price, 2 * price])))
            venue.advance(bar(n, price))
            continue
        carried, why = venue.carried(), venue.transfer(more[0])
        if why:
            assert venue.carried() == carried, "a refusal leaves every bit"
            assert more[0] < 0 or venue.terminated
            continue
        exact = EXACT.add(Decimal(float(before.cash)), EXACT.divide(Decimal(more[0]), Decimal(UNITS)))
        assert float(venue.account.cash) == float(exact), "the exact sum, rounded once"
        assert np.array_equal(venue.account.position, before.position)
        _holds(kind, one, venue, more[0])


def _holds(kind: str, one: Rules, venue: SimulatedVenue, moved: int) -> None:
    """What is left after a withdrawal carries what is held."""
    if moved > 0:
        return
    account = venue.account
    assert float(account.equity) > 0.0
    if kind == "spot":
        assert float(account.cash) >= 0.0
        return
    first = 1 if kind == "mixed" else 0
    value = np.where(account.position != 0.0, account.position * account.mark, 0.0)[first:]
    room, gross = float(account.cash) + float(value.sum()), float(np.abs(value).sum())
    assert room * one.leverage >= gross * (1.0 - 1e-9)
    assert room >= 0.05 * gross * (1.0 - 1e-9)


@settings(max_examples=200, deadline=None)
@given(st.lists(units, max_size=8), st.floats(0.0, 1e6))
def test_a_session_on_an_exchange_uses_more_only_of_what_it_left(moves: list[int], cash: float) -> None:
    coins = (Instrument("BTC/USDT"),)
    allotted, account, kept = Allotted(), Account(np.array(cash), np.zeros(1), np.full(1, np.nan)), 0
    for move in moves:
        why, after = allotted.transfer(move, account, coins)
        if why:
            assert after is account
            assert move > kept or (move < 0 and -move >= units_of(float(account.equity)) - 1)
        else:
            kept -= move
            account = after
        assert kept >= 0
        assert allotted.carried() == kept
    assert math.isclose(allotted.of(cash), cash - kept / UNITS, rel_tol=1e-12, abs_tol=1e-9)


def test_the_exchanges_venue_shows_what_it_may_use_and_hands_it_on() -> None:
    class Nothing:
        def carried(self) -> list[Any]:
            return []

        def carry(self, memory: Any) -> None:
            """Nothing."""

    def venue() -> ExchangeVenue:
        return ExchangeVenue(None, Nothing(), None, (Instrument("BTC/USDT"),), 60 * 10**9, lambda: 0)  # type: ignore[arg-type]

    one = venue()
    one.account = one.account._replace(cash=np.array(1_000.0))
    assert "pay in at the exchange" in one.transfer(UNITS)
    assert one.transfer(-300 * UNITS) == ""
    assert float(one.account.cash) == 700.0
    other = venue()
    other.carry(one.carried())
    assert other.transfer(300 * UNITS) == ""
    assert float(other.account.cash) == 1_000.0
    assert "free cash" in other.transfer(-2_000 * UNITS)


def test_money_in_words() -> None:
    assert [money(n) for n in (0, 1, -1, 100_000_000, 123_456_789_012_345_678, 150_000_000)] == [
        "0.00", "0.00000001", "-0.00000001", "1.00", "1,234,567,890.12345678", "1.50",
    ]  # fmt: skip
