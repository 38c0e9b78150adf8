"""Tests U1 to U9 over the catalogue: what must hold for every strategy, feature and market, whoever wrote it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from qframe_rl import catalog
from qframe_rl.agent import Agent, Planner, View
from qframe_rl.config import Ref, build
from qframe_rl.deploy import make_market, window_of
from qframe_rl.evaluate.inference.sharpe import moments
from qframe_rl.evaluate.metrics import drawdown, per_year, returns, sharpe, sortino, unexplained
from qframe_rl.evaluate.montecarlo.influence import standard_error
from qframe_rl.evaluate.provenance import MARK, source_note
from qframe_rl.evaluate.report.sections import note
from qframe_rl.features import features, known
from qframe_rl.feeds.quality import quarantine
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.market import Market
from qframe_rl.interface import rebalance
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.batch import batch, lane
from qframe_rl.runner.study.stress import with_costs
from qframe_rl.types import HOUR, VOLUME, Float, History, Orders, Record, Segment, Source
from tests.contracts import checks
from tests.contracts.test_agents import bars, cases, made, make, market_for
from tests.evaluate.made import Trader
from tests.markets import panel, prices

AGENTS = [name for name in catalog.bar_agents() if name != "external"]
# It follows a column of decisions, see tests/agents/test_external.py.
RULES = [n for n in AGENTS if not hasattr(catalog.load("agents", n), "QUICK") and n != "optimal"]
SINGLE = [n for n in RULES if len(cases(n)[0].instruments) == 1]
"""Rules that can trade one coin."""


@cache
def traded(name: str, case: int) -> tuple[Market, Agent, History, Record]:
    history = cases(name)[case]
    market, agent = made(name, case)
    return market, agent, history, checks.trade(market, agent, history)


def every() -> list[tuple[str, int]]:
    return [(name, case) for name in AGENTS for case in range(len(cases(name)))]


def test_u1_features_do_not_change_when_later_bars_are_cut_off() -> None:
    history = panel(400, 2, seed=3)
    names = [name for name in known() if name not in ("column:NAME", "alpha:FORMULA")]
    specs = [f"{name.split(':')[0]}:{arguments}" if ":" in name else name for name, arguments in (
        (name, ":".join(["5", "12"][-len(name.split(":")[1:]) :])) for name in names
    )]  # fmt: skip
    specs += ["alpha:corr(close, volume, 10) - tsz(med(ret1, 5), 20)"]
    rows = np.random.default_rng(1).choice(np.arange(120, 400), 50, replace=False)
    for feature in features(specs, history.columns, history.bar_ns):
        whole = feature.rows(history.values, history.time)
        for t in rows:
            cut = feature.rows(history.values[: t + 1], history.time[: t + 1])
            assert np.array_equal(cut, whole[: t + 1], equal_nan=True), (feature.name, t)


@pytest.mark.parametrize("name", AGENTS)
def test_u1_orders_do_not_change_when_later_bars_are_cut_off(name: str) -> None:
    market, agent, history, record = traded(name, 0)
    start, window = len(history) // 2, window_of(market, agent)
    stops = np.random.default_rng(2).choice(np.arange(start + 2, len(history)), 6, replace=False)
    for stop in stops.tolist():
        cut = backtest(market, agent, history.rows(0, stop), Segment(start, stop), window)
        n = len(cut)
        assert np.array_equal(cut.orders.quantity, record.orders.quantity[:n])
        assert np.array_equal(cut.account.equity, record.account.equity[:n])


def test_u2_a_decision_fills_at_the_next_open_and_knows_nothing_of_its_bar() -> None:
    """Holding the sign of the bar that just closed earns what the next bars bring, not what it saw."""
    rng = np.random.default_rng(0)
    rate = rng.normal(0.0, 0.01, 3000)
    history = prices(100.0 * np.exp(np.cumsum(rate)), lot=0.0, tick=0.0, min_notional=0.0, taker_fee=0.0)
    params = {"features": ("log_return:1",), "half_spread_bps": 0.0, "impact": 0.0, "volume_share": 1.0}
    market = make_market(Ref(name="perp", params=params), history.instruments, (), HOUR)

    def follow(view: View) -> Orders:
        return rebalance(view, np.sign(view.close[-1] - view.close[-2]))

    record = backtest(market, Trader(follow), history, Segment(10, 3000), 2)
    filled = np.flatnonzero(record.fills.quantity[:, 0])
    opens = history.values[np.searchsorted(history.time, record.time[filled]), 0, 0]
    assert np.array_equal(record.fills.price[filled, 0], opens)
    growth = np.log(record.account.equity[-1] / record.account.equity[0])
    foresight = np.abs(rate[10:]).sum()
    assert abs(growth) < 4.0 * 0.01 * math.sqrt(2990) < 0.2 * foresight


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in SINGLE if n != "flat"])
def test_u3_nothing_is_earned_where_nothing_can_be_known(name: str) -> None:
    """On driftless GBM the gross Sharpe ratio over Y years lies within 2 / sqrt(Y) for 95 % of 200 seeds, net below."""
    module = catalog.load("agents", name)
    n_bars, gross, net, n_seeds = 3000, [], [], 200
    free = {"taker_fee_bps": 0.0, "half_spread_bps": 0.0, "impact": 0.0}
    for seed in range(n_seeds):
        history = synthetic("gbm", n_bars, seed=seed, drift=-0.5 * 0.8**2)
        market = make_market(Ref(name="spot", params=free), history.instruments, (), HOUR)
        paid = with_costs(make_market(Ref(name="spot"), history.instruments, (), HOUR), 1.0)
        agent = module.make(module.Config(), market.spec((), seed))
        if not isinstance(agent, Planner):
            pytest.skip("it must be walked bar by bar, which takes minutes for 200 markets")
        window = max(window_of(market, agent), 400)
        one = lane(agent, history, Segment(window, n_bars), window)
        gross.append(sharpe(returns(batch(market, [one])[0].equity), 8760.0))
        net.append(sharpe(returns(batch(paid, [one])[0].equity), 8760.0))
    bound = 2.0 / math.sqrt((n_bars - window) / 8760.0)
    assert np.mean(np.abs(gross) <= bound) >= 0.95 - 2.0 * math.sqrt(0.95 * 0.05 / n_seeds)
    assert np.mean(net) <= np.mean(gross)
    assert np.mean(np.array(net) <= np.array(gross) + 1e-9) > 0.95


@pytest.mark.parametrize(("name", "case"), every())
def test_u4_every_change_of_equity_is_accounted_for(name: str, case: int) -> None:
    _, _, _, record = traded(name, case)
    account = record.account
    held = np.where(account.position == 0.0, 0.0, account.position * account.mark).sum(axis=1)
    assert np.allclose(account.cash + held, account.equity, rtol=1e-12, atol=1e-9)
    assert unexplained(record) < 1e-9


def replayed(quantity: Float) -> Trader:
    """Sends the same orders, whatever happens."""
    orders = iter(quantity)
    return Trader(lambda _: Orders.market(next(orders, np.zeros(quantity.shape[1]))))


@pytest.mark.parametrize("name", SINGLE)
def test_u5_pnl_is_affine_in_the_fee_for_the_same_trades(name: str) -> None:
    """Replay an agent's own orders at three fees: what is lost grows with the fee, in a straight line."""
    history = bars("perpetual", 1)
    quantity = checks.trade(market_for(history), make(name, history)[1], history).orders.quantity * 1e-3
    coins = tuple(replace(coin, min_notional=0.0, lot=0.0) for coin in history.instruments)
    free, ends = replace(history, instruments=coins), []
    for fee in (0.0, 10.0, 20.0):
        params = {"features": ("log_return:1",), "taker_fee_bps": fee, "leverage": 3.0}
        market = make_market(Ref(name="perp", params=params), coins, history.columns, HOUR)
        record = backtest(market, replayed(quantity[1:]), free, Segment(450, 900), 60)
        ends.append(record.account.equity[-1])
    assert ends[0] >= ends[1] >= ends[2]
    assert ends[0] - ends[1] == pytest.approx(ends[1] - ends[2], rel=1e-6, abs=1e-9)
    if np.any(record.fills.quantity):
        assert ends[0] > ends[2]


def test_u6_a_year_has_365_days() -> None:
    assert per_year(730, 2.0) == per_year(1, 1.0 / 365.0) == 365.0
    rate = np.array([0.01, -0.02, 0.03, 0.005, -0.01, 0.02, -0.005, 0.015])
    assert sharpe(rate, 365.0) == pytest.approx(6.485678, abs=5e-7)
    assert sortino(rate, 365.0) == pytest.approx(13.265826, abs=5e-7)
    assert drawdown(np.concatenate([[1.0], np.cumprod(1.0 + rate)])).min() == pytest.approx(-0.02, abs=1e-12)


@pytest.mark.parametrize("name", AGENTS)
def test_u7_the_same_seed_gives_the_same_trades_and_weights(name: str) -> None:
    _, agent, history, record = traded(name, 0)
    other_market, other = make(name, history)
    again = checks.trade(other_market, other, history)
    assert again.digest == record.digest
    if hasattr(agent, "state"):
        checks.weights_are_equal(agent, other)


@pytest.mark.parametrize("name", SINGLE)
def test_u8_a_bad_bar_is_taken_out_and_moves_nothing_by_more_than_its_error(name: str) -> None:
    rng = np.random.default_rng(4)
    clean = prices(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.003, 1000))), kind="spot", lot=1e-6)
    values = clean.values.copy()
    values[777, :, :4] *= 1.95
    values[777, :, VOLUME] = 0.0
    mended = quarantine(replace(clean, values=values))
    assert [s.time for s in mended.suspects if s.quarantined] == [clean.time[777]]
    figures = []
    for history in (clean, mended):
        market = make_market(Ref(name="spot", params={"features": ("log_return:1",)}), history.instruments, (), HOUR)
        module = catalog.load("agents", name)
        agent = module.make(module.Config(), market.spec((), 1))
        window = window_of(market, agent)
        record = backtest(market, agent, history, Segment(window, len(history)), window)
        rate = returns(record.account.equity)
        figures.append((sharpe(rate, 8760.0), math.log(record.account.equity[-1] / record.account.equity[0]), rate))
    error = standard_error(moments(figures[0][2])) * math.sqrt(8760.0)
    assert abs(figures[0][0] - figures[1][0]) <= error
    assert abs(figures[0][1] - figures[1][1]) <= figures[0][2].std() * math.sqrt(len(figures[0][2])) + 1e-12


@pytest.mark.parametrize("environment", ["testnet", "synthetic", "unknown", "production"])
def test_u9_no_report_passes_other_data_off_as_a_record(environment: Any) -> None:
    history = panel(50, 1)
    data = replace(history, source=Source("binance", environment, "somewhere"))
    facts = {"data": data.describe(), "id": "x"}
    for text in (source_note(data), note(facts)):
        assert (MARK in text) == (environment != "production")
        assert "binance" in text
    assert data.describe()["environment"] == environment
    for key in ("exchange", "first", "last", "bars"):
        assert key in data.describe()


def test_every_agent_and_market_of_the_catalogue_is_under_test() -> None:
    assert {name for name, _ in every()} == set(AGENTS)
    for name in AGENTS:
        module = catalog.load("agents", name)
        assert build(module.Config, getattr(module, "QUICK", {}), name)
