"""Money is neither made nor lost: properties of the kernel over random accounts, orders and bars."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.kernel.rules import LOT_SCALE, LOT_STEP, MAKER, MIN_NOTIONAL, TAKER, VOLUME_SHARE, rules_of
from qframe_rl.kernel.settle import settle
from qframe_rl.types import Account, Bar, Fills, Instrument, Orders

price = st.floats(1e-3, 1e5)
ratio = st.floats(0.5, 2.0)
signed = st.floats(-1e4, 1e4)
rate = st.floats(0.0, 0.01)


@st.composite
def cases(draw: st.DrawFn, *, spot: bool | None = None) -> tuple[Account, Orders, Bar, object]:
    """An account of up to four instruments, orders of every kind, a bar with gaps, and rules."""
    n = draw(st.integers(1, 4))
    spot = draw(st.booleans()) if spot is None else spot
    rows = np.empty((n, 5))
    for a in range(n):
        o = draw(price)
        c = o * draw(ratio)
        high = max(o, c) * draw(st.floats(1.0, 1.5))
        low = min(o, c) * draw(st.floats(0.6, 1.0))
        rows[a] = (o, high, low, c, draw(st.sampled_from([0.0, 1.0, 1e3, 1e9])))
        if draw(st.integers(0, 9)) == 0:
            rows[a] = np.nan
    known = np.where(np.isnan(rows[:, 0]), 100.0, rows[:, 0])
    mark = known * np.array([draw(ratio) for _ in range(n)])
    notional = np.array([draw(st.one_of(st.just(0.0), st.floats(-2e3, 2e3))) for _ in range(n)])
    position = (np.abs(notional) if spot else notional) / mark
    cash = draw(st.floats(0.0, 1e4)) if spot else draw(st.floats(0.0, 1e4)) - float(min(0.0, notional.sum()))
    quantity = np.array([draw(st.one_of(st.just(0.0), signed)) for _ in range(n)]) / mark
    kind = [draw(st.sampled_from(["market", "limit", "stop", "both"])) for _ in range(n)]
    limit = np.array([known[a] * draw(ratio) if kind[a] in ("limit", "both") else math.nan for a in range(n)])
    stop = np.array([known[a] * draw(ratio) if kind[a] in ("stop", "both") else math.nan for a in range(n)])
    coins = tuple(
        Instrument(
            f"C{a}",
            "spot" if spot else "perpetual",
            lot=draw(st.sampled_from([0.0, 1e-5, 1e-3, 0.1])) / mark[a] * 100,
            tick=draw(st.sampled_from([0.0, 1e-3])) * known[a],
            min_amount=draw(st.sampled_from([0.0, 1.0])) / mark[a],
            min_notional=draw(st.sampled_from([0.0, 5.0])),
            maker_fee=draw(rate),
            taker_fee=draw(rate),
            maintenance=0.0 if spot else draw(st.floats(0.0, 0.05)),
        )
        for a in range(n)
    )
    rules = rules_of(
        coins,
        half_spread=draw(rate),
        impact=draw(st.floats(0.0, 0.1)),
        volume_share=draw(st.floats(0.01, 1.0)),
        liquidation_fee=0.0 if spot else draw(rate),
        leverage=1.0 if spot else draw(st.floats(1.0, 20.0)),
        shorting=not spot,
    )
    funding = np.zeros(n) if spot else known * np.array([draw(st.floats(-0.003, 0.003)) for _ in range(n)])
    final = np.array([draw(st.integers(0, 9)) == 0 for _ in range(n)])
    bar = Bar(0, rows, funding, final)
    return Account(np.array(cash), position, mark), Orders(quantity, limit, stop), bar, rules


def worth(account: Account, mark: np.ndarray) -> float:
    return float(account.cash + (account.position * mark).sum())


@settings(max_examples=600)
@given(cases())
def test_change_in_equity_is_price_moves_less_costs(case: tuple[Account, Orders, Bar, object]) -> None:
    account, orders, bar, rules = case
    after, fills = settle(account, orders, bar, rules)
    reference = np.divide(
        fills.price * fills.quantity - fills.slippage,
        fills.quantity,
        out=np.zeros_like(fills.price),
        where=fills.quantity != 0,
    )
    moves = account.position * (after.mark - account.mark)
    moves += fills.quantity * (after.mark - reference) + fills.forced * (after.mark - fills.forced_price)
    explained = moves.sum() - fills.fee.sum() - fills.slippage.sum() - fills.funding.sum() + float(fills.absorbed)
    change = float(after.equity) - worth(account, account.mark)
    scale = (
        abs(float(account.cash))
        + np.abs(account.position * account.mark).sum()
        + np.abs(fills.quantity * fills.price).sum()
    )
    assert abs(change - explained) <= 1e-9 * (scale + 1.0)


@settings(max_examples=600)
@given(cases())
def test_position_is_the_sum_of_fills(case: tuple[Account, Orders, Bar, object]) -> None:
    account, orders, bar, rules = case
    after, fills = settle(account, orders, bar, rules)
    expected = account.position + fills.quantity + fills.forced
    # What counts as whole lots becomes them; beyond that rounding nothing appears or vanishes.
    lots = rules.table[:, LOT_STEP] / rules.table[:, LOT_SCALE]
    sizes = np.abs(account.position) + np.abs(fills.quantity) + np.abs(fills.forced)
    assert (np.abs(after.position - expected) <= 2e-9 * lots + 1e-13 * sizes).all()
    asked = np.where(orders.quantity == 0, 0, orders.quantity)
    assert (np.abs(fills.quantity + fills.cancelled - asked) <= 1e-12 * np.abs(asked)).all()


@settings(max_examples=600)
@given(cases())
def test_costs_are_costs(case: tuple[Account, Orders, Bar, object]) -> None:
    account, orders, bar, rules = case
    _, fills = settle(account, orders, bar, rules)
    assert (fills.fee >= 0.0).all()
    assert (fills.slippage >= -1e-9).all()
    assert (np.abs(fills.quantity) <= np.abs(orders.quantity) * (1 + 1e-9)).all()
    assert float(fills.absorbed) >= 0.0
    volume = np.nan_to_num(bar.values[:, 4])
    assert (np.abs(fills.quantity) <= rules.table[:, VOLUME_SHARE] * volume * (1 + 1e-9)).all()


@settings(max_examples=600)
@given(cases(spot=True))
def test_spot_owns_what_it_sells_and_pays_with_what_it_has(case: tuple[Account, Orders, Bar, object]) -> None:
    account, orders, bar, rules = case
    after, _ = settle(account, orders, bar, rules)
    assert after.cash >= -1e-300  # a share of a subnormal amount is rounded to a whole one
    assert (after.position >= 0.0).all()


@settings(max_examples=600)
@given(cases(spot=False))
def test_leverage_is_capped_and_equity_is_not_negative(case: tuple[Account, Orders, Bar, object]) -> None:
    account, orders, bar, rules = case
    after, fills = settle(account, orders, bar, rules)
    opened = np.abs(account.position + fills.quantity) > np.abs(account.position) * (1 + 1e-9)
    if fills.forced.any():
        assert float(after.equity) >= 0.0
    elif opened.any():
        worth_at = np.where(np.isnan(bar.values[:, 0]), account.mark, bar.values[:, 0])
        equity = float(after.cash + (after.position * worth_at).sum())
        gross = np.abs(after.position * worth_at).sum()
        assert gross <= rules.leverage * equity * (1 + 1e-6) + 1e-6


@settings(max_examples=200)
@given(cases(), st.integers(2, 5))
def test_a_batch_gives_the_bits_of_one(case: tuple[Account, Orders, Bar, object], copies: int) -> None:
    account, orders, bar, rules = case
    one_after, one_fills = settle(account, orders, bar, rules)
    many = Account(*(np.stack([field] * copies) for field in account))
    asked = Orders(*(np.stack([field] * copies) for field in orders[:3]))
    after, fills = settle(many, asked, bar, rules)
    for single, batch in zip((*one_after, *one_fills[:-1]), (*after, *fills[:-1]), strict=True):
        for b in range(copies):
            assert np.array_equal(np.asarray(single), batch[b], equal_nan=True)
    assert isinstance(fills, Fills)


@settings(max_examples=200)
@given(cases(), st.floats(1.0, 3.0))
def test_higher_fees_never_pay(case: tuple[Account, Orders, Bar, object], factor: float) -> None:
    account, orders, bar, rules = case
    table = rules.table.copy()
    # Lots and minima could turn a smaller fill into a luckier one.
    table[:, [LOT_STEP, MIN_NOTIONAL]] = 0.0
    cheap = type(rules)(table, rules.leverage, rules.shorting)
    table = table.copy()
    table[:, [MAKER, TAKER]] *= factor
    dear = type(rules)(table, rules.leverage, rules.shorting)
    a, fills_a = settle(account, orders, bar, cheap)
    b, fills_b = settle(account, orders, bar, dear)
    if np.allclose(fills_a.quantity, fills_b.quantity, rtol=1e-15, atol=0.0) and not (
        fills_a.forced.any() or fills_b.forced.any()
    ):
        assert float(b.cash) <= float(a.cash) + 1e-9
