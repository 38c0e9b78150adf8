"""The differentiable book agrees with the kernel that settles everything else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.agent import View
from qframe_rl.config import Ref
from qframe_rl.deep.book import differential_sharpe, moves, net_returns, remainder, sharpe
from qframe_rl.deploy import make_market
from qframe_rl.interface import rebalance
from qframe_rl.runner.backtest import backtest
from qframe_rl.types import Orders, Segment
from tests.markets import panel


class Script:
    """Holds written exposures, one row for each decision."""

    window = 1

    def __init__(self, exposures: np.ndarray):
        self.exposures = exposures

    def decide(self, view: View) -> Orders:
        self.row = 0 if view.first else self.row + 1
        return rebalance(view, self.exposures[self.row])


def test_it_earns_what_the_kernel_settles_to_first_order() -> None:
    history = panel(300, 2, seed=5, kind="perpetual", volatility=0.003, ragged=False)
    params = {"taker_fee_bps": 5.0, "half_spread_bps": 1.0, "impact": 0.0, "leverage": 5.0, "features": ("rsi:3",)}
    market = make_market(Ref(name="perp", params=params), history.instruments, history.columns, history.bar_ns)
    exposures = np.random.default_rng(0).uniform(-0.5, 0.5, (300, 2))
    record = backtest(market, Script(exposures), history, Segment(1, 300), 1)
    settled = np.diff(record.account.equity) / record.account.equity[:-1]
    gap, body, traded = moves(history)
    before = np.concatenate([np.zeros((1, 2)), exposures[:-2]])
    tensors = [torch.from_numpy(x) for x in (exposures[:-1], before, gap[1:], body[1:])]
    earned = net_returns(*tensors, 6e-4).sum(1).numpy()
    assert traded.all()
    assert np.abs(earned - settled).max() < 0.02 * np.abs(settled).max()
    assert np.log1p(earned).sum() == pytest.approx(np.log1p(settled).sum(), rel=0.01)


def test_missing_bars_earn_nothing() -> None:
    gap, body, traded = moves(panel(300, 3, seed=5))
    assert not traded.all()
    assert (body[~traded] == 0.0).all()
    assert np.isfinite(gap).all()


def test_the_sharpe_ratio_is_the_annual_one() -> None:
    returns = torch.tensor([0.01, -0.02, 0.03, 0.005, -0.01, 0.02, -0.005, 0.015], dtype=torch.float64)
    unbiased = float(sharpe(returns, 365.0)) * (7 / 8) ** 0.5
    assert unbiased == pytest.approx(6.485678, abs=1e-4)  # ALGORITHMS, U6


def test_the_differential_sharpe_ratio_is_the_published_one() -> None:
    one = torch.tensor([0.01], dtype=torch.float64)
    moments = (torch.tensor(0.001, dtype=torch.float64), torch.tensor(0.0002, dtype=torch.float64))
    assert float(differential_sharpe(one, *moments, 0.01)) == pytest.approx(0.65901017, abs=5e-9)  # ALGORITHMS, 5


def test_differential_sharpe_ratios_add_up_to_the_change_of_the_moving_one() -> None:
    rng, eta = np.random.default_rng(0), 1e-4
    rows = torch.from_numpy(0.001 + 0.01 * rng.standard_normal((4, 500)))
    mean, square = torch.full((4,), 0.0005, dtype=torch.float64), torch.full((4,), 1.2e-4, dtype=torch.float64)
    total = eta * differential_sharpe(rows, mean, square, eta).sum(-1)
    first = mean / (square - mean**2).sqrt()
    for r in rows.unbind(-1):
        mean, square = mean + eta * (r - mean), square + eta * (r * r - square)
    change = mean / (square - mean**2).sqrt() - first
    assert torch.allclose(total, change, rtol=0.05, atol=1e-4)


def test_its_gradient_is_that_of_the_formula() -> None:
    r = torch.tensor([0.01, -0.02], dtype=torch.float64, requires_grad=True)
    mean, square = torch.tensor(0.001, dtype=torch.float64), torch.tensor(2e-4, dtype=torch.float64)
    differential_sharpe(r, mean, square, 0.01)[0].backward()
    assert r.grad is not None
    expected = (square - mean * 0.01) / (square - mean**2) ** 1.5
    assert float(r.grad[0]) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        ((1.0, 0.0, 0.0), (0.0, 0.4, 0.6), 0.9975),
        ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), 0.99500625),
        ((0.2, 0.5, 0.3), (0.1, 0.3, 0.6), 0.9987490632),
    ],
)
def test_the_remainder_of_a_change_of_weights_is_the_published_one(
    before: tuple[float, ...], after: tuple[float, ...], left: float
) -> None:
    tensors = (torch.tensor(weights, dtype=torch.float64) for weights in (before, after))
    assert float(remainder(*tensors, 0.0025)) == pytest.approx(left, abs=5e-11)  # ALGORITHMS, 4.7


@given(weights=st.lists(st.floats(0.01, 1.0), min_size=6, max_size=6), cost=st.floats(0.0, 0.02))
def test_the_remainder_is_what_selling_and_buying_leave(weights: list[float], cost: float) -> None:
    before, after = (torch.tensor(w, dtype=torch.float64) for w in (weights[:3], weights[3:]))
    before, after = before / before.sum(), after / after.sum()
    left = float(remainder(before, after, cost))
    change = before[1:] - left * after[1:]
    sold, bought = float(change.clamp(min=0).sum()), float((-change).clamp(min=0).sum())
    cash = float(before[0]) + (1.0 - cost) * sold - bought / (1.0 - cost)
    assert cash == pytest.approx(left * float(after[0]), abs=1e-10)
    assert 1.0 - 2.2 * cost - 1e-12 <= left <= 1.0 + 1e-12
