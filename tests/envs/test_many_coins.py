"""Wide panels: twenty coins and more, listed one after the other, some delisted."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import load
from qframe_rl.gym.env import TradingEnv
from qframe_rl.gym.market import whole
from qframe_rl.types import CLOSE, History
from tests.agents.runs import made, market_of, trade
from tests.contracts import checks
from tests.markets import panel

DATA = os.environ.get("QFRAME_DATA")
N, T = 24, 480


def staggered(kind: str) -> History:
    """Coin k is listed in row 10 k; every fourth is delisted 200 rows later."""
    plain = panel(T, N, seed=17, kind=kind, volatility=0.01, ragged=False)
    values, funding, final = plain.values.copy(), plain.funding.copy(), plain.final.copy()
    for k in range(N):
        values[: 10 * k, k] = np.nan
        funding[: 10 * k, k] = 0.0
        if k % 4 == 3:
            gone = 10 * k + 200
            if gone < T - 1:
                final[gone, k] = True
                values[gone + 1 :, k] = np.nan
                funding[gone + 1 :, k] = 0.0
    return replace(plain, values=values, funding=funding, final=final)


def maker(name: str) -> checks.MakeEnv:
    def make(history: History) -> TradingEnv:
        module = catalog.load("envs", name)
        config = module.Config(features=("log_return:1", "volatility:12"), episode_bars=150)
        market = module.make(config, history.instruments, history.columns, history.bar_ns)
        market = market.fit([(history, whole(history.rows(0, 60)))])
        return market.env(market.tape([(history, whole(history))]))

    return make


@pytest.mark.parametrize("name", ["perp", "portfolio", "spot"])
@pytest.mark.parametrize(
    "check", [checks.env_conserves_money, checks.env_is_deterministic, checks.env_is_blind, checks.env_snapshots]
)
def test_wide_markets_keep_the_contract(name: str, check) -> None:  # type: ignore[no-untyped-def]
    check(maker(name), staggered("perpetual" if name == "perp" else "spot"))


@pytest.mark.parametrize("name", ["perp", "portfolio"])
def test_what_is_not_listed_is_not_held_and_what_is_delisted_is_paid_out(name: str) -> None:
    history = staggered("perpetual" if name == "perp" else "spot")
    market = market_of(history, env=name, episode_bars=None)
    market = market.fit([(history, whole(history))])
    env = market.env(market.tape([(history, whole(history))]))
    row, _ = env.reset(seed=0)
    n_paid, start = 0, int(env.engine.row[0])
    action = np.full(N, 2) if name == "perp" else np.full(N + 1, 1.0, dtype=np.float32)
    for t in range(start + 1, T):
        traded = ~np.isnan(history.values[t - 1, :, CLOSE])
        assert np.array_equal(row[-N:] == 1.0, traded)
        assert not env.engine.position[0][~traded].any()
        held = env.engine.position[0].copy()
        row, _, terminated, truncated, _ = env.step(action)
        last = history.final[t]
        n_paid += int((last & (held != 0.0)).sum())
        assert not env.engine.position[0][last].any()
        if terminated or truncated:
            break
    assert t == T - 1
    assert n_paid >= 4


def test_strategies_take_new_coins_up_and_give_gone_ones_back() -> None:
    history = staggered("perpetual")
    market = market_of(history)
    for name in ("momentum", "cross_sectional"):
        agent = made(name, market, history, lookback_bars=24, **({"volatility_bars": 24} if name == "momentum" else {}))
        position = trade(market, agent, history, 60).account.position
        early, late = (position[k] != 0.0 for k in (5, -1))
        assert early.sum() < late.sum()
        assert not early[7:].any()
        gone = history.final.any(axis=0)
        assert gone.sum() >= 4
        assert not late[gone].any()


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="QFRAME_DATA names no folder of market data")
def test_the_real_daily_panel_is_traded_whole() -> None:
    folder = Path(str(DATA)) / "ohlcv" / "binance"
    symbols = tuple(sorted(p.parent.name.replace("-", "/") for p in folder.glob("*/1d.parquet")))
    history = load(DataConfig(data=str(DATA), symbols=symbols, timeframe="1d"))
    assert len(history.instruments) >= 40
    assert history.final.any(axis=0).sum() >= 5
    market = market_of(history, env="portfolio")
    record = trade(market, made("cross_sectional", market, history, lookback_bars=63, hold_bars=7), history, 400)
    held = record.account.position != 0.0
    assert held.any(axis=0).sum() >= 30
    assert (record.account.cash >= 0.0).all()
    assert held.sum(axis=1)[-1] >= 5
