"""Lots first in, first out, against a count by fractions that knows nothing of them."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.evaluate.lots import Lots, share

QUANTITY = st.decimals("-1000", "1000", places=8).filter(bool)
PRICE = st.decimals("0.00000001", "100000", places=8)
FEE = st.decimals("-5", "50", places=17)


def d(text: str) -> Decimal:
    return Decimal(text)


def test_the_oldest_lot_goes_first_and_fees_are_part_of_the_basis() -> None:
    lots = Lots()
    lots.fill(1, d("2"), d("100"), d("2"))
    lots.fill(2, d("1"), d("130"), d("1"))
    done = lots.fill(3, d("-2.5"), d("120"), d("5"))
    assert (done.quantity, done.since) == (d("-2.5"), 1)
    assert done.basis == d("202") + d("65.5")
    assert done.proceeds == d("300") - d("5")
    assert done.realised == d("27.5")
    assert (done.open_quantity, done.open_basis) == (d("0.5"), d("65.5"))


def test_a_fill_through_zero_closes_shorts_and_opens_longs_each_with_its_share_of_the_fee() -> None:
    lots = Lots()
    lots.fill(1, d("-2"), d("100"), d("2"))
    assert lots.basis == d("198"), "what was received, without the fee"
    done = lots.fill(2, d("5"), d("90"), d("5"))
    assert (done.basis, done.proceeds, done.realised) == (d("198"), d("182"), d("16"))
    assert (done.open_quantity, done.open_basis) == (d("3"), d("273"))
    assert lots.open[0].time == 2


@given(st.lists(st.tuples(QUANTITY, PRICE, FEE), min_size=1, max_size=40), PRICE)
def test_nothing_is_lost_over_all_parts(fills: list[tuple[Decimal, Decimal, Decimal]], mark: Decimal) -> None:
    """Cash and holdings are counted apart from lots; what was realised and what is open come to both, exactly."""
    lots, cash, held, realised = Lots(), Fraction(0), Fraction(0), Fraction(0)
    for time, (quantity, price, fee) in enumerate(fills):
        done = lots.fill(time, quantity, price, fee)
        cash -= Fraction(quantity) * Fraction(price) + Fraction(fee)
        held += Fraction(quantity)
        realised += Fraction(done.realised)
        assert Fraction(done.open_quantity) == held == sum(Fraction(lot.quantity) for lot in lots.open)
        assert Fraction(done.open_basis) == sum(Fraction(lot.basis) for lot in lots.open)
        assert len({lot.quantity > 0 for lot in lots.open}) <= 1
    gained = sum(
        Fraction(lot.quantity) * (Fraction(mark) - Fraction(lot.price)) - Fraction(lot.fee) for lot in lots.open
    )
    assert realised + gained == cash + held * Fraction(mark)


@given(st.lists(st.tuples(QUANTITY, PRICE), min_size=1, max_size=30))
def test_what_is_closed_is_what_came_in_first(fills: list[tuple[Decimal, Decimal]]) -> None:
    """Without fees, by single units of a queue of prices."""
    lots, queue = Lots(), deque[tuple[Decimal, Decimal]]()
    for time, (quantity, price) in enumerate(fills):
        done, left, earned = lots.fill(time, quantity, price, Decimal(0)), Fraction(quantity), Fraction(0)
        while left and queue and (queue[0][0] > 0) != (left > 0):
            first, paid = queue.popleft()
            part = min(abs(left), abs(Fraction(first)))
            sign = 1 if first > 0 else -1
            earned += sign * part * (Fraction(price) - Fraction(paid))
            rest = abs(Fraction(first)) - part
            left += sign * part
            if rest:
                queue.appendleft((sign * rest, paid))
        if left:
            queue.append((left, price))
        assert Fraction(done.realised) == earned


@given(FEE, PRICE, PRICE)
def test_shares_of_a_fee_never_come_to_more_than_it(fee: Decimal, part: Decimal, rest: Decimal) -> None:
    one = share(fee, part, part + rest)
    assert abs(one) <= abs(fee)
    assert abs(Fraction(one) - Fraction(fee) * Fraction(part) / Fraction(part + rest)) < Fraction(1, 10**24)
