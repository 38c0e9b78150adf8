"""Mean reversion: one decision a bar, entries and exits where the card says."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from qframe_rl.evaluate.metrics import metrics
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import load
from qframe_rl.theory import ar1_flip
from qframe_rl.types import History, parse_time
from tests.agents.planted import bars_of
from tests.agents.runs import FREE, made, market_of, trade, trained

DATA = os.environ.get("QFRAME_DATA")


def test_it_enters_and_leaves_where_its_thresholds_say() -> None:
    rng = np.random.default_rng(2)
    price = 100.0 * (1.0 + 0.01 * np.sin(np.arange(900) / 9.0) + 0.0005 * rng.standard_normal(900))[:, None]
    history = bars_of(price)
    market = market_of(history, **FREE)
    plain = {"entry": 1.2, "exit": 0.3, "quiet": 1.0, "wild": 1.0, "regime_bars": 60}
    record = trade(market, made("mean_reversion", market, history, **plain), history, 300)
    side, moved = 0.0, 0
    for k in range(1, len(record)):
        t = 300 - 1 + k - 1  # the close that this bar's orders were decided at
        recent = price[t - 49 : t + 1, 0]
        z = (recent[-1] - recent.mean()) / recent.std()
        if side != 0.0 and (abs(z) < 0.3 or side * z > 0.0):
            side = 0.0
        elif side == 0.0 and abs(z) > 1.2:
            side = -np.sign(z)
        moved += np.sign(record.account.position[k, 0]) != np.sign(record.account.position[k - 1, 0])
        assert np.sign(record.account.position[k, 0]) == side
    assert moved > 20


def test_it_leaves_after_its_age_whatever_the_price() -> None:
    falling = 100.0 * 0.99 ** np.maximum(0, np.arange(700) - 400) * (1.0 + 0.0004 * np.cos(np.arange(700) * 2.1))
    history = bars_of(falling[:, None])
    market = market_of(history, **FREE)
    agent = made("mean_reversion", market, history, max_age_days=0.25, regime_bars=60)
    held = trade(market, agent, history, 395).account.position[:, 0] > 0.0
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], held, [0]]))))[::2]
    assert runs.size
    assert runs.max() == 6


PHI, SHOCK = 0.95, 0.004


def reverting(n: int, seed: int) -> History:
    rng = np.random.default_rng(seed)
    x = np.zeros(n)
    for t in range(1, n):
        x[t] = PHI * x[t - 1] + SHOCK * rng.standard_normal()
    return bars_of(100.0 * np.exp(x)[:, None], taker_fee=9e-4)


FOUND = {"entry": "fitted", "mean_bars": 400, "quiet": 1.0, "wild": 1.0, "regime_bars": 60, "max_age_days": 1e4}


def test_the_thresholds_that_it_finds_are_those_of_dynamic_programming() -> None:
    """Within a tenth, from prices alone (card 4.2); the mean of 400 bars stands for the true one."""
    deviation = SHOCK / np.sqrt(1.0 - PHI**2)
    truth = ar1_flip(PHI, 10e-4 / ((1.0 - PHI) * deviation)).threshold
    for seed in range(2):
        history = reverting(12_000, seed)
        market = market_of(history, half_spread_bps=1.0, impact=0.0)
        agent = trained(made("mean_reversion", market, history, **FOUND), market, history, 12_000)
        assert agent.entry == pytest.approx(truth, rel=0.1)  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.long
def test_what_it_finds_earns_more_than_other_thresholds() -> None:
    growth = dict.fromkeys((0.25, 1.0, 2.2), 0.0)
    for seed in range(4):
        history = reverting(20_000, seed)
        market = market_of(history, half_spread_bps=1.0, impact=0.0)
        agent: Any = trained(
            made("mean_reversion", market, history, **FOUND, volatility_target=9.0), market, history, 8_000
        )
        best = agent.entry
        for scale in growth:
            agent.restore({"thresholds": np.array([scale * best, -scale * best])})
            growth[scale] += np.log1p(metrics(trade(market, agent, history, 8_000)).total_return)
    assert growth[1.0] > growth[0.25]
    assert growth[1.0] > growth[2.2]
    assert growth[1.0] > 0.0


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="QFRAME_DATA names no folder of market data")
def test_it_trades_as_often_as_it_should_on_real_bars() -> None:
    """Card 4.2: 573 position changes a year from 2022-01 to 2025-05; the system it replaces made one a call."""
    history = load(DataConfig(data=str(DATA), symbols=("BTC/USDT",)))
    market = market_of(history, **FREE)
    agent = made("mean_reversion", market, history, entry=1.0, exit=0.2, quiet=1.0, wild=1.0)
    record = trade(market, agent, history, history.between(parse_time("2022-01-01"), None).start)
    changes = (np.diff(np.sign(record.account.position[:, 0])) != 0.0).sum()
    assert changes / metrics(record).years == pytest.approx(573.0, rel=0.02)


def test_what_has_no_volatility_yet_is_not_entered() -> None:
    """A bar is missing of those that volatility is of, and none of those that the score is of."""
    rng = np.random.default_rng(7)
    close = 100.0 * np.exp(1e-3 * rng.standard_normal(300))[:, None]
    close[200:] *= 0.98
    close[190] = np.nan
    history = bars_of(close)
    market = market_of(history, **FREE)
    params = {"mean_bars": 6, "entry": 1.5, "exit": 0.1, "regime_bars": 60, "max_age_days": 100.0}
    runs = made("mean_reversion", market, history, **params).runs(history.values, history.time, 100)  # type: ignore[attr-defined]
    blind = (runs.starts >= 96) & (runs.starts <= 110)
    assert blind.sum() > 3
    assert (runs.values[blind] == 0.0).all()
