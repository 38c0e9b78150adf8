"""Money is neither made nor lost by several orders at once, and one order in a slot is one order."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qframe_rl.kernel.rules import HALF_SPREAD, IMPACT, LOT_SCALE, LOT_STEP, VOLUME_SHARE, Rules
from qframe_rl.kernel.settle import settle, settle_resting
from qframe_rl.orders import slots_of
from qframe_rl.types import Account, Bar, Float, Orders
from tests.properties.test_money import cases, signed, worth

CASES = 200


@st.composite
def several(draw: st.DrawFn, *, spot: bool | None = None) -> tuple[Account, Float, Bar, Rules]:
    """The cases of one order per instrument, with up to four more of every kind and attribute."""
    account, orders, bar, rules = draw(cases(spot=spot))
    table = rules.table
    assume((table[:, HALF_SPREAD] + 1.5 * table[:, IMPACT] * np.sqrt(table[:, VOLUME_SHARE]) < 1.0).all())
    k = draw(st.integers(1, 5))
    slots = np.repeat(slots_of(orders), k, axis=-1)
    for a in range(len(slots)):
        for j in range(k):
            if j > 0:
                slots[a, 0, j] = draw(st.one_of(st.just(0.0), st.just(-account.position[a]), signed)) / account.mark[a]
                kind = draw(st.integers(0, 2))
                near = account.mark[a] * draw(st.floats(0.7, 1.4))
                slots[a, 1:3, j] = (np.nan, np.nan) if kind == 0 else (near, np.nan) if kind == 1 else (np.nan, near)
            slots[a, 3, j] = draw(st.sampled_from([1.0, 2.0, np.inf]))
            slots[a, 4, j] = draw(st.sampled_from([0.0, 0.0, 0.0, 1.0]))
            slots[a, 5, j] = draw(st.sampled_from([np.nan, 0.01])) if slots[a, 2, j] == slots[a, 2, j] else np.nan
            slots[a, 6, j] = draw(st.sampled_from([0.0, 2.0])) + (slots[a, 1, j] == slots[a, 1, j]) * draw(
                st.sampled_from([0.0, 1.0])
            )
            slots[a, 7, j] = draw(st.sampled_from([0.0, 0.0, 1.0, 2.0]))
    return account, slots, bar, rules


@settings(max_examples=CASES)
@given(several())
def test_money_and_positions_are_what_the_fills_say(case: tuple[Account, Float, Bar, Rules]) -> None:
    account, slots, bar, rules = case
    after, fills, left = settle_resting(account, slots, bar, rules)
    assert fills.slots is not None
    size, price = fills.slots.quantity, fills.slots.price
    lots = rules.table[:, LOT_STEP] / rules.table[:, LOT_SCALE]
    units = np.abs(account.position) + np.abs(size).sum(axis=-1) + np.abs(fills.forced)
    position = account.position + size.sum(axis=-1) + fills.forced
    assert (np.abs(after.position - position) <= 2e-9 * lots * (1 + size.shape[-1]) + 1e-12 * units).all()
    paid = (size * price).sum() + (fills.forced * fills.forced_price).sum() + fills.fee.sum() + fills.funding.sum()
    scale = abs(float(account.cash)) + (np.abs(size) * price).sum() + np.abs(account.position * account.mark).sum()
    change = float(after.cash - account.cash)
    assert abs(change - (float(fills.absorbed) + float(fills.interest) - paid)) <= 1e-9 * (scale + 1.0)
    moved = (account.position * (after.mark - account.mark))[account.position != 0.0].sum()
    gained = np.where(size != 0.0, size * (after.mark[:, None] - price), 0.0).sum()
    forced = np.where(fills.forced != 0.0, fills.forced * (after.mark - fills.forced_price), 0.0).sum()
    costs = fills.fee.sum() + fills.funding.sum() - float(fills.absorbed) - float(fills.interest)
    equity = float(after.equity) - worth(account, account.mark)
    assert abs(equity - (moved + gained + forced - costs)) <= 1e-9 * (scale + 1.0)
    asked = slots[:, 0].sum(axis=-1)
    unexplained = np.abs(asked - (size.sum(axis=-1) + fills.cancelled + left[:, 0].sum(axis=-1)))
    assert (unexplained <= 1e-9 * np.abs(slots[:, 0]).sum(axis=-1) + 1e-12).all()


@settings(max_examples=CASES)
@given(several())
def test_no_order_does_what_it_may_not(case: tuple[Account, Float, Bar, Rules]) -> None:
    account, slots, bar, rules = case
    after, fills, left = settle_resting(account, slots, bar, rules)
    assert fills.slots is not None
    size, quantity = fills.slots.quantity, slots[:, 0]
    assert (size * quantity >= 0.0).all()
    assert (np.abs(size) <= np.abs(quantity) * (1 + 1e-9) + 1e-9 * np.abs(account.position)[:, None]).all()
    assert (size[slots[:, 4] > 0.0] == 0.0).all(), "what waits does nothing"
    volume = np.nan_to_num(bar.values[:, 4]) * rules.table[:, VOLUME_SHARE]
    assert (np.abs(size).sum(axis=-1) <= volume * (1 + 1e-9) + 1e-9 * np.abs(account.position)).all()
    only = slots[:, 6] >= 2.0
    for a in np.flatnonzero((quantity != 0.0).all(axis=-1) & only.all(axis=-1)):
        assert abs(after.position[a]) <= abs(account.position[a]) * (1 + 1e-9), "those that only reduce never open"
        assert after.position[a] * account.position[a] >= 0.0
    posted = (slots[:, 6] % 2.0 == 1.0) & (size != 0.0)
    price = fills.slots.price[posted]
    tick = 1e-3 * np.nan_to_num(bar.values[:, 0])[:, None] * np.ones_like(size)
    assert (np.abs(price - slots[:, 1][posted]) <= tick[posted]).all(), "what is post-only fills at its limit"
    assert (left[:, 3][left[:, 0] != 0.0] >= 1.0).all()


@settings(max_examples=CASES)
@given(several(spot=True))
def test_spot_pays_with_what_it_has(case: tuple[Account, Float, Bar, Rules]) -> None:
    account, slots, bar, rules = case
    after, fills, _ = settle_resting(account, slots, bar, rules)
    assert float(after.cash) >= -1e-9 * (abs(float(account.cash)) + (fills.traded).sum())
    assert (after.position >= 0.0).all()


@settings(max_examples=CASES)
@given(cases())
def test_one_order_in_a_slot_has_the_bits_of_one_order(case: tuple[Account, Orders, Bar, Rules]) -> None:
    account, orders, bar, rules = case
    one, fills = settle(account, orders, bar, rules)
    two, told, left = settle_resting(account, slots_of(orders), bar, rules)
    # What was cancelled is a difference, of which the two may keep another last digit; it moves no money.
    for a, b in zip((*one, *fills.sums), (*two, *told.sums), strict=True):
        if a is fills.cancelled:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * float(np.abs(orders.quantity).max()))
        else:
            np.testing.assert_array_equal(a, b)
    assert not left[:, 0].any()
