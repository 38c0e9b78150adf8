"""The oracle that knows the future: against enumeration, and against what it must never fall below."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.theory.foresight import best_path, flat_to_flat, hindsight, proportional

SIDES = np.array([-1.0, 0.0, 1.0])
LONG = np.array([0.0, 1.0])
DATA = os.environ.get("QFRAME_DATA")


def enumerated(gains: np.ndarray, switch: np.ndarray, start: int) -> float:
    best = -np.inf
    for path in itertools.product(range(gains.shape[1]), repeat=len(gains)):
        total, at = 0.0, start
        for t, k in enumerate(path):
            total += gains[t, k] - switch[at, k]
            at = k
        best = max(best, total)
    return best


@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 3))
def test_it_equals_the_best_of_all_paths(seed: int, n_steps: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    gains, switch = rng.normal(size=(n_steps, n)), rng.random((n, n)) - 0.2
    start = int(rng.integers(n))
    path = best_path(gains, switch, start)
    assert path.value == pytest.approx(enumerated(gains, switch, start), abs=1e-12)
    before = np.concatenate([[start], path.choice[:-1]])
    earned = gains[np.arange(n_steps), path.choice] - switch[before, path.choice]
    assert path.value == pytest.approx(earned.sum(), abs=1e-12)


def test_without_cost_it_takes_every_move_and_with_a_great_one_it_never_trades() -> None:
    returns = np.random.default_rng(0).normal(size=1000)
    positions, value = hindsight(returns, SIDES, 0.0)
    assert np.array_equal(positions, np.sign(returns))
    assert value == pytest.approx(np.abs(returns).sum())
    positions, value = hindsight(returns, SIDES, 1e6)
    assert (positions == 0.0).all()
    assert value == 0.0


def test_it_trades_two_sides_only_where_a_swing_pays_for_itself() -> None:
    returns = np.array([1.0, -0.5, 1.0, -3.0, 0.5, -3.0])
    positions, value = hindsight(returns, np.array([-1.0, 1.0]), 1.0, start=1.0)
    assert positions.tolist() == [1.0, 1.0, 1.0, -1.0, -1.0, -1.0]
    assert value == pytest.approx(1.5 + 5.5 - 2.0)


def test_the_value_falls_with_cost_and_is_never_below_any_rule() -> None:
    rng = np.random.default_rng(4)
    returns = rng.normal(size=500)
    values = [hindsight(returns, SIDES, cost)[1] for cost in (0.0, 0.1, 0.5, 1.0, 3.0)]
    assert all(a > b for a, b in itertools.pairwise(values))
    rule = rng.choice(SIDES, 500)
    turnover = np.abs(np.diff(rule, prepend=0.0)).sum()
    assert (rule * returns).sum() - 0.5 * turnover < values[2]


def test_a_long_history_is_quick() -> None:
    returns = np.random.default_rng(1).normal(size=1_000_000)
    positions, value = hindsight(returns, SIDES, 1.0)
    assert len(positions) == 1_000_000
    assert value > 0.0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        best_path(np.zeros((3, 2)), np.zeros((3, 3)), 0)
    with pytest.raises(ValueError, match="do not fit"):
        best_path(np.zeros((3, 2)), np.zeros((2, 2)), 2)
    with pytest.raises(ValueError, match="finite"):
        best_path(np.array([[np.nan, 0.0]]), np.zeros((2, 2)), 0)
    with pytest.raises(ValueError, match=r"start 0\.5"):
        hindsight(np.zeros(3), SIDES, 1.0, start=0.5)
    assert hindsight(np.zeros(0), SIDES, 1.0)[1] == 0.0


@pytest.mark.parametrize(("fee", "long", "both"), [(0.0, 10.0, 15.0), (0.005, 6.965, 9.955), (0.02, 1.92, 1.92)])
def test_the_best_account_of_seven_prices(fee: float, long: float, both: float) -> None:
    prices = np.array([100.0, 101.0, 100.0, 103.0, 102.0, 99.0, 105.0])
    assert flat_to_flat(proportional(prices, LONG, fee), 0).value == pytest.approx(long, abs=1e-12)
    assert flat_to_flat(proportional(prices, SIDES, fee), 1).value == pytest.approx(both, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 3))
def test_the_best_account_is_that_of_all_sequences(seed: int, n_steps: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    flow = rng.normal(size=(n_steps, n, n))
    flow[rng.random(flow.shape) < 0.2] = -np.inf
    flat = int(rng.integers(n))
    paths = [(*path, flat) for path in itertools.product(range(n), repeat=n_steps - 1)]
    all_of_them = [sum(flow[t, i, j] for t, (i, j) in enumerate(itertools.pairwise((flat, *path)))) for path in paths]
    if np.isneginf(max(all_of_them)):
        with pytest.raises(ValueError, match="cannot be reached"):
            flat_to_flat(flow, flat)
        return
    found = flat_to_flat(flow, flat)
    assert found.value == pytest.approx(max(all_of_them), abs=1e-12)
    assert found.choice[-1] == flat
    steps = zip([flat, *found.choice[:-1]], found.choice, strict=True)
    assert sum(flow[t, i, j] for t, (i, j) in enumerate(steps)) == pytest.approx(found.value, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.05))
def test_no_rule_brings_in_more_than_the_best_account(seed: int, fee: float) -> None:
    rng = np.random.default_rng(seed)
    prices = 100.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(200)))
    flow = proportional(prices, SIDES, fee)
    rule = np.append(rng.integers(0, 3, 199), 1)
    earned = flow[np.arange(200), np.append(1, rule[:-1]), rule].sum()
    assert earned <= flat_to_flat(flow, 1).value + 1e-9


def walked(levels: np.ndarray, quantity: float) -> np.ndarray:
    """(T,) money for a quantity that walks (T, L, 2) levels of price and size; NaN where they are too thin."""
    before = np.cumsum(levels[:, :, 1], axis=1) - levels[:, :, 1]
    taken = np.clip(quantity - before, 0.0, levels[:, :, 1])
    money = (taken * levels[:, :, 0]).sum(axis=1)
    return np.where(taken.sum(axis=1) >= quantity - 1e-12, money, np.nan)


def book_flow(positions: np.ndarray, fee: float) -> tuple[np.ndarray, list[int]]:
    """Flows of a published order book of five levels, and the rows in which 1 and 2 units cannot be had."""
    import pandas as pd

    (path,) = Path(str(DATA), "ticks", "trademaster_lob5", "BTC").glob("*.parquet")
    table = pd.read_parquet(path)
    sides = [
        np.stack([table[[f"{side}{k}_price", f"{side}{k}_size"]].to_numpy() for k in range(1, 6)], axis=1)
        for side in ("ask", "bid")
    ]
    unit, thin = 0.01, []
    flow = np.zeros((len(table), len(positions), len(positions)))
    for n in (1, 2):
        buy, sell = (walked(side, n * unit) for side in sides)
        thin.append(int((np.isnan(buy) | np.isnan(sell)).sum()))
        for i, held in enumerate(positions):
            for j, wanted in enumerate(positions):
                if wanted - held == n:
                    flow[:, i, j] = -buy * (1.0 + fee)
                if wanted - held == -n:
                    flow[:, i, j] = sell * (1.0 - fee)
    return np.where(np.isnan(flow), -np.inf, flow), thin


@pytest.mark.skipif(DATA is None, reason="QFRAME_DATA names no folder of market data")
@pytest.mark.parametrize(
    ("fee_bps", "long", "trades", "both"),
    [
        (0.0, 45.666613, 1088, 88.072412),
        (0.5, 35.790990, 612, 68.639562),
        (1.5, 25.562332, 276, 48.408494),
        (10.0, 9.062055, 24, 15.596853),
    ],
)
def test_the_best_account_of_a_published_order_book(fee_bps: float, long: float, trades: int, both: float) -> None:
    flow, thin = book_flow(LONG, fee_bps / 1e4)
    found = flat_to_flat(flow, 0)
    assert found.value == pytest.approx(long, abs=1e-6)
    assert np.count_nonzero(np.diff(found.choice, prepend=0)) == trades
    flow, thin = book_flow(SIDES, fee_bps / 1e4)
    assert flat_to_flat(flow, 1).value == pytest.approx(both, abs=1e-6)
    assert thin == [11, 205]
