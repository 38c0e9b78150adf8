"""Baskets, cost averaging and constant leverage: arithmetic that is known beforehand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.deploy import window_of
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.batch import lane, records
from qframe_rl.theory.kelly import leverage_growth
from qframe_rl.types import YEAR, History, Segment
from tests.agents.planted import bars_of
from tests.agents.runs import FREE, made, market_of, trade
from tests.markets import START


def walks(n_bars: int, n: int, seed: int = 0, volatility: float = 0.01, drift: float = 0.0) -> History:
    """Random walks; the first close is 100."""
    rng = np.random.default_rng([seed, 5])
    moves = drift + volatility * rng.standard_normal((n_bars, n))
    moves[0] = 0.0
    return bars_of(100.0 * np.exp(np.cumsum(moves, axis=0)))


def test_a_basket_is_rebalancing_arithmetic() -> None:
    """Between two dates each part grows alone; at each date all of them are put together again."""
    history = walks(400, 3)
    market = market_of(history, **FREE)
    weights = np.array([0.5, 0.3, 0.1])
    agent = made("basket", market, history, weights=tuple(weights), rebalance_bars=24, seen_bars=1)
    record = trade(market, agent, history, 2)
    close = history.values[:, :, 3]
    dates = [1, *(t for t in range(2, 399) if history.time[t] // history.bar_ns % 24 == 0), 399]
    grown = [1.0 - weights.sum() + weights @ (close[b] / close[a]) for a, b in pairwise(dates)]
    assert record.account.equity[-1] == pytest.approx(record.account.equity[0] * np.prod(grown), rel=1e-9)


def test_a_basket_with_a_band_trades_what_is_out_of_it_alone() -> None:
    history = walks(600, 2, volatility=0.02)
    market = market_of(history, **FREE)
    record = trade(market, made("basket", market, history, rebalance_bars=1, band=0.05, seen_bars=1), history, 1)
    exposure, traded = record.account.exposure[1:-1], record.orders.quantity[2:] != 0.0
    off = np.abs(exposure - 0.5)
    assert (traded == (off > 0.05)).all()
    assert 3 < traded.sum() < 100


def test_a_basket_divides_among_who_is_in_the_universe_and_sells_who_left() -> None:
    history = walks(300, 3)
    inside = np.ones((300, 3, 1))
    inside[150:, 2] = 0.0
    values = np.concatenate([history.values, inside], axis=2)
    history = History(**{**vars(history), "values": values, "columns": ("in_universe",)})
    market = market_of(history, "portfolio", **FREE)
    agent = made("basket", market, history, rebalance_bars=24)
    record = trade(market, agent, history, 1)
    at = int(np.searchsorted(record.time, history.time[149]))
    assert record.account.exposure[at] == pytest.approx([1 / 3] * 3, abs=0.1)
    assert record.account.exposure[at + 30] == pytest.approx([0.5, 0.5, 0.0], abs=0.1)
    segment = Segment(0, 300)
    window = window_of(market, agent)
    assert (
        records(market, [lane(agent, history, segment, window)])[0].digest
        == backtest(market, agent, history, segment, window).digest
    )


def test_a_basket_divides_among_what_is_there() -> None:
    history = walks(300, 3)
    values = history.values.copy()
    values[:150, 2] = np.nan
    history = History(**{**vars(history), "values": values})
    market = market_of(history, "portfolio", **FREE)
    record = trade(market, made("basket", market, history, rebalance_bars=24), history, 1)
    exposure = record.account.exposure
    assert exposure[2, :2] == pytest.approx([0.5, 0.5], abs=0.02)
    assert exposure[-1] == pytest.approx([1 / 3] * 3, abs=0.1)
    with pytest.raises(UserError, match="give one each"):
        made("basket", market, history, weights=(0.5, 0.5))
    for more in ({"gross": 1.1}, {"weights": (0.5, 0.3, 0.3)}):
        with pytest.raises(UserError, match=r"comes? to 1\.1 of equity, more than this market allows, 1"):
            made("basket", market, history, **more)


@pytest.mark.parametrize("leverage", [-1.0, 0.5, 3.0])
def test_constant_leverage_grows_as_its_formula_says(leverage: float) -> None:
    """Within 2 standard errors over 20 paths, costs included, at the drift and volatility that each path had."""
    cost, n_bars, volatility = 5e-4, 1500, 0.005
    gaps = []
    for seed in range(20):
        history = walks(n_bars, 1, seed, volatility)
        market = market_of(history, leverage=5.0, **{**FREE, "taker_fee_bps": 1e4 * cost})
        record = trade(market, made("constant_leverage", market, history, leverage=leverage, band=0.0), history, 2)
        years, steps = (n_bars - 2) * history.bar_ns / YEAR, YEAR / history.bar_ns
        moves = np.diff(np.log(history.values[1:, 0, 3]))
        sigma = np.sqrt((moves**2).mean() * steps)
        expected = years * leverage_growth(moves.sum() / years + 0.5 * sigma**2, sigma, leverage, cost, steps)
        gaps.append(np.log(record.account.equity[-1] / record.account.equity[0]) - expected + cost * abs(leverage))
    error = np.std(gaps) / np.sqrt(len(gaps))
    paid = years * (leverage_growth(0.0, sigma, leverage) - leverage_growth(0.0, sigma, leverage, cost, steps))
    assert abs(np.mean(gaps)) < 2.0 * error + 0.002 * paid, "a first order in the moves leaves out as much of the costs"
    assert paid > 20.0 * error, "the costs are no rounding"


def test_constant_leverage_stays_in_its_band_and_its_market() -> None:
    history = walks(1000, 2)
    market = market_of(history, leverage=3.0, **FREE)
    record = trade(market, made("constant_leverage", market, history, leverage=-1.0, band=0.1), history, 1)
    assert np.abs(record.account.exposure[3:] + 0.5).max() < 0.09
    assert (record.orders.quantity[2:] != 0.0).mean() < 0.5
    with pytest.raises(UserError, match="more than this market allows"):
        made("constant_leverage", market, history, leverage=4.0)
    with pytest.raises(UserError, match="short"):
        made("constant_leverage", market_of(history, "portfolio"), history, leverage=-0.5)


def test_cost_averaging_buys_to_the_coin() -> None:
    history = walks(500, 1)
    market = market_of(history, "spot", **FREE)
    record = trade(market, made("dca", market, history, amount=0.02, every_bars=24), history, 1)
    dates = [t for t in range(500 - 1) if history.time[t] // history.bar_ns % 24 == 0]
    assert dates[0] == (-START // history.bar_ns) % 24
    coins = sum(200.0 / history.values[t, 0, 3] for t in dates)
    assert len(dates) == 21
    assert record.account.position[-1, 0] == pytest.approx(coins, rel=1e-12)
    money = 10_000.0 - sum(200.0 * history.values[t + 1, 0, 0] / history.values[t, 0, 3] for t in dates)
    assert record.account.cash[-1] == pytest.approx(money, rel=1e-9)


def test_cost_averaging_buys_each_dip_once_and_stops_when_its_money_is_spent() -> None:
    fall = np.repeat([0.94, 0.88, 0.94, 0.88, 1.0], 5)
    close = 100.0 * np.concatenate([np.ones(40), fall, fall])
    history = bars_of(close[:, None])
    market = market_of(history, "spot", **FREE)
    params = {"amount": 1e-6, "every_bars": 1_000_000, "dips": (0.05, 0.1), "dip_amount": 0.3, "dip_bars": 40}
    record = trade(market, made("dca", market, history, **params), history, 40)
    bought = np.flatnonzero(record.orders.quantity[:, 0])
    assert len(bought) == 4, "two falls of two dips each; the last finds less than it asks for"
    assert record.account.cash[-1] == pytest.approx(0.0, abs=1.0)
    with pytest.raises(UserError, match="put them in order"):
        made("dca", market, history, dips=(0.1, 0.05))


def test_a_dip_outside_the_universe_is_bought_once_the_coin_is_inside() -> None:
    close = np.concatenate([np.full(40, 100.0), np.full(20, 90.0)])
    inside = np.ones(60)
    inside[38:50] = 0.0
    history = bars_of(close[:, None], columns={"in_universe": inside})
    market = market_of(history, "spot", **FREE)
    params = {"amount": 1e-6, "every_bars": 1_000_000, "dips": (0.05,), "dip_amount": 0.3, "dip_bars": 40}
    record = trade(market, made("dca", market, history, **params), history, 36)
    held = record.account.position[:, 0] * 90.0
    assert held[-1] == pytest.approx(3_000.0, rel=1e-6)
    assert (held > 0.0).sum() == 60 - 51
