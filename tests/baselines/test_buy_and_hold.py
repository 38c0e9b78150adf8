"""Holding the market: what a bar's volume does not let it buy it goes on buying, and then it never trades again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.config import Ref
from qframe_rl.deploy import make_market
from qframe_rl.evaluate.metrics import metrics
from qframe_rl.evaluate.table import leaderboard, unfilled
from qframe_rl.gym.market import Market
from qframe_rl.interface import rebalance
from qframe_rl.runner.backtest import backtest
from qframe_rl.types import VOLUME, Float, History, Record, Segment
from tests.evaluate.made import Trader
from tests.markets import panel, prices


def rising(n: int = 1000) -> Float:
    return 100.0 * np.exp(np.linspace(0.0, np.log(1.12), n))


def thinned(history: History, value: float, rows: slice = slice(None)) -> History:
    """The history with bars in which only ``value`` of quote currency was traded."""
    values = history.values.copy()
    values[rows, :, VOLUME] = value / values[rows, :, 3]
    return replace(history, values=values)


def market_of(history: History, name: str = "spot") -> Market:
    return make_market(Ref(name=name), history.instruments, history.columns, history.bar_ns)


def held(history: History, name: str = "spot") -> Record:
    module: Any = catalog.load("agents", "buy_and_hold")
    market = market_of(history, name)
    agent = module.make(module.Config(), market.spec(history.columns, 0))
    return backtest(market, agent, history, Segment(1, len(history)), 1)


@pytest.mark.parametrize("name", ["spot", "perp"])
def test_it_buys_until_it_holds(name: str) -> None:
    """T15: every second bar thin, the market rose by 12 %, and the baseline made .8 % with 8 % bought."""
    history = thinned(
        prices(rising(), kind="spot" if name == "spot" else "perpetual", volume=1e9), 1000.0, slice(0, None, 2)
    )
    figures = metrics(held(history, name))
    assert figures.total_return > 0.11 and figures.exposure > 0.95
    assert figures.filled > 0.98


def test_all_bars_thin_take_many_bars_and_are_one_purchase() -> None:
    history = thinned(prices(rising(), kind="spot"), 4000.0)
    record = held(history)
    bought = np.flatnonzero(record.fills.quantity[:, 0])
    assert 10 < len(bought) < 60 and np.array_equal(bought, np.arange(bought[0], bought[-1] + 1))
    assert (record.fills.quantity >= 0.0).all() and not record.orders.quantity[bought[-1] + 2 :].any()
    assert record.account.exposure[-1, 0] > 0.98
    assert metrics(record).filled > 0.98


def test_what_fills_at_once_is_bought_once() -> None:
    record = held(prices(rising(), kind="spot", volume=1e9))
    assert np.count_nonzero(record.orders.quantity) == 1 and metrics(record).trades == 1


def test_each_instrument_gets_its_share_and_no_more() -> None:
    history = panel(900, 3, seed=3, volatility=0.005, ragged=False)
    values = history.values.copy()
    values[:, 0, VOLUME] = 2000.0 / values[:, 0, 3]
    history = replace(history, values=values)
    record = held(history, "perp")
    spent = (record.fills.quantity * record.fills.price).sum(axis=0)
    assert spent == pytest.approx(np.full(3, record.account.equity[0] / 3), rel=0.02)


def test_one_that_is_filled_less_than_half_is_named() -> None:
    history = thinned(prices(rising(400), kind="spot"), 1000.0)

    def once(view: Any) -> Any:
        return rebalance(view, np.full(1, 1.0 if view.first else np.nan))

    market = market_of(history)
    records = {
        "once": backtest(market, Trader(once), history, Segment(2, len(history)), 2),
        "always": backtest(market, Trader(lambda view: rebalance(view, np.ones(1), 0.02)), history, Segment(2, 400), 2),
    }
    rows = {row["agent"]: row for row in leaderboard(records, "test")}
    assert rows["once"]["filled"] == pytest.approx(0.01, abs=0.003) and rows["always"]["filled"] > 0.9
    (line,) = unfilled(rows.values())
    assert line.startswith("once (test) was filled 1% of what it asked for")
