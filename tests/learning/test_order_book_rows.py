"""A published order book, traded in the row of the decision, as published, and in the next: docs/papers.md.

4,997 rows of five levels of Bitcoin that TradeMaster ships, 60/20/20; 0.01 BTC, long or flat, at the touch.
``QFRAME_DATA=... python -m tests.learning.test_order_book_rows`` prints the figures; numbers of seeds may follow.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from qframe_rl.deep.fitted_q import Drawn, QNet, QSchedule, fit_q, greedy, walk
from qframe_rl.deep.training import own_randomness
from qframe_rl.theory.foresight import flat_to_flat
from qframe_rl.types import Float, Int
from tests.contracts.checks import Quiet

DATA = os.environ.get("QFRAME_DATA")
UNIT = 0.01
FEES = (0.0, 0.5, 1.5, 10.0)
"""Basis points."""
needs_data = pytest.mark.skipif(DATA is None, reason="QFRAME_DATA names no folder of market data")


class Book(NamedTuple):
    """Rows of the book."""

    bid: Float
    """(T,) best price, as `ask`."""
    ask: Float
    imbalance: Float
    """(T,) bid sizes less ask sizes over their sum, of five levels."""
    seen: Float
    """(T, F) what a learner sees."""
    validation: slice
    test: slice


@cache
def book() -> Book:
    """Read it."""
    import pandas as pd

    (path,) = Path(str(DATA), "ticks", "trademaster_lob5", "BTC").glob("*.parquet")
    table = pd.read_parquet(path)
    bids, asks = (table[[f"{side}{k}_size" for k in range(1, 6)]].to_numpy() for side in ("bid", "ask"))
    bid, ask = table["bid1_price"].to_numpy(), table["ask1_price"].to_numpy()
    deep = (bids.sum(axis=1) - asks.sum(axis=1)) / (bids.sum(axis=1) + asks.sum(axis=1))
    touch = (bids[:, 0] - asks[:, 0]) / (bids[:, 0] + asks[:, 0])
    mid = 0.5 * (bid + ask)
    moves = [mid - np.concatenate([np.full(n, mid[0]), mid[:-n]]) for n in (1, 5, 20, 100)]
    seen = np.stack([deep, touch, np.diff(deep, prepend=deep[0]), ask - bid, *moves], axis=1)
    a, b = int(0.6 * len(mid)), int(0.8 * len(mid))
    seen = (seen - seen[:a].mean(axis=0)) / seen[:a].std(axis=0)
    return Book(bid, ask, deep, np.clip(seen, -10.0, 10.0), slice(a, b), slice(b, len(mid)))


def earned(rows: slice, wanted: Int, fee: float, delay: int) -> float:
    """Dollars of wanting 0 or 1 unit at each row of all, filled ``delay`` rows later, flat at the end of ``rows``."""
    one, cash, held = book(), 0.0, 0
    for t in range(rows.start + delay, rows.stop):
        want = int(wanted[t - delay]) if t < rows.stop - 1 else 0
        if want > held:
            cash -= UNIT * one.ask[t] * (1.0 + fee)
        if want < held:
            cash += UNIT * one.bid[t] * (1.0 - fee)
        held = want
    return cash


def rule(fee: float, delay: int) -> float:
    """Dollars in the test of being long from an imbalance above a threshold to one below minus it.

    The threshold is what earned most in the validation rows.
    """
    one = book()

    def wanted(threshold: float) -> Int:
        side = np.where(one.imbalance > threshold, 1, np.where(one.imbalance < -threshold, 0, -1))
        side[0] = max(side[0], 0)
        last = np.maximum.accumulate(np.where(side >= 0, np.arange(len(side)), 0))
        return np.asarray(side[last])

    best = max(np.arange(0.0, 1.0, 0.05), key=lambda x: earned(one.validation, wanted(x), fee, delay))
    return earned(one.test, wanted(best), fee, delay)


def holding(fee: float) -> float:
    """Dollars of holding through the test."""
    return earned(book().test, np.ones(len(book().bid), dtype=np.int64), fee, 0)


def bound(fee: float) -> float:
    """The most there was to be earned in the test at the touch."""
    one, flow = book(), np.zeros((len(book().bid), 2, 2))
    flow[:, 0, 1], flow[:, 1, 0] = -UNIT * one.ask * (1.0 + fee), UNIT * one.bid * (1.0 - fee)
    return flat_to_flat(flow[one.test], 0).value


class Fills:
    """What every choice pays from its fill to the next row, by what was held."""

    def __init__(self, stop: int, fee: float, delay: int):
        one = book()
        mid, half = 0.5 * (one.bid + one.ask), 0.5 * (one.ask - one.bid)
        at = np.arange(stop - delay - 2) + delay
        gain, cost = mid[at + 1] - mid[at], half[at] + fee * mid[at]
        change = np.abs(np.array([[0.0, 1.0], [1.0, 0.0]]))
        reward = np.array([0.0, 1.0]) * gain[:, None, None] - cost[:, None, None] * change
        self.reward = torch.from_numpy((reward / (gain.std() + cost.mean())).astype(np.float32))
        self.seen = torch.from_numpy(one.seen.astype(np.float32))

    def __len__(self) -> int:
        return len(self.reward)

    def draw(self, at: Int) -> Drawn:
        rows = torch.from_numpy(at)
        return Drawn(self.seen[rows], self.reward[rows], self.seen[rows + 1])


def learned(fee: float, delay: int, seed: int) -> float:
    """Dollars in the test of fitted Q on the first 60 %, its weights chosen by the validation rows."""
    one = book()

    def wanted() -> Int:
        with torch.inference_mode():
            best = greedy(net(torch.from_numpy(one.seen.astype(np.float32))))
        chosen = np.empty((len(best), 1), dtype=np.int64)
        walk(np.ascontiguousarray(best[:, None]), np.zeros(1, dtype=np.int64), chosen)
        return chosen[:, 0]

    with own_randomness(seed):
        net = QNet(one.seen.shape[1], (64, 64), 2, 2)
        how = QSchedule(0.99, 2000, 10, 512, 1e-3, 5e-5, 0.01, 10.0, seed)
        rows = Fills(one.validation.start, fee, delay)
        fit_q(net, rows, how, None, Quiet(), lambda: earned(one.validation, wanted(), fee, delay))  # type: ignore[arg-type]
    return earned(one.test, wanted(), fee, delay)


@needs_data
@pytest.mark.parametrize(
    ("fee", "same", "following", "hold", "most"),
    [
        (0.0, 3.75, 1.44, -1.16, 8.10),
        (0.5, 1.26, -0.35, -1.18, 5.90),
        (1.5, -1.64, -2.41, -1.23, 3.92),
        (10.0, -19.12, -19.89, -1.63, 0.88),
    ],
)
def test_a_rule_earns_by_the_row_that_it_saw_filled(
    fee: float, same: float, following: float, hold: float, most: float
) -> None:
    found = rule(fee / 1e4, 0), rule(fee / 1e4, 1), holding(fee / 1e4), bound(fee / 1e4)
    assert found == pytest.approx((same, following, hold, most), abs=6e-3)


@needs_data
@pytest.mark.long
def test_a_learner_too_earns_less_where_it_fills_a_row_later() -> None:
    same, following = learned(0.0, 0, 1), learned(0.0, 1, 1)
    assert following < same < bound(0.0)


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for fee in FEES:
        f = fee / 1e4
        print(f"fee {fee} bp: holding {holding(f):.2f}, bound {bound(f):.2f}", flush=True)
        for delay in (0, 1):
            all_of_them = np.array([learned(f, delay, seed) for seed in range(n)])
            low, high = all_of_them.min(), all_of_them.max()
            figures = f"fitted_q {all_of_them.mean():.2f} ({low:.2f} to {high:.2f})"
            print(f"  filled {delay} rows later: rule {rule(f, delay):.2f}, {figures}", flush=True)
