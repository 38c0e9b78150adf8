"""A grid: where its orders are, noise that costs it its fees, and reversion that pays what theory says."""

from __future__ import annotations

import numpy as np
import pytest

from agents.grid import GridLevels
from qframe_rl.config import UserError
from qframe_rl.theory.bertram import BertramParams
from qframe_rl.theory.ladder import ladder_income, ladder_trips
from qframe_rl.types import HOUR, YEAR, History
from tests.agents.runs import FREE, made, market_of, trade
from tests.markets import history_of

STEP = 0.002
"""Deviation of a bar: a fifth of a step of the grids below."""


def continuous(n_bars: int, seed: int, pull: float = 0.0) -> History:
    """Bars of a price that moves continuously: the extremes of each are those of a Brownian bridge.

    The log price is pulled back to that of 100 by ``pull`` of its distance a bar; without a pull the price itself has
    no drift.
    """
    rng = np.random.default_rng([seed, 77])
    stay = np.exp(-pull)
    deviation = STEP * (np.sqrt((1.0 - stay**2) / (2.0 * pull)) if pull > 0.0 else 1.0)
    x = np.zeros(n_bars + 1)
    for t, move in enumerate(deviation * rng.standard_normal(n_bars)):
        x[t + 1] = stay * x[t] + move - (0.0 if pull > 0.0 else 0.5 * STEP**2)
    opening, close = x[:-1], x[1:]
    spread, draws = close - opening, -2.0 * STEP**2 * np.log(rng.random((2, n_bars)))
    high = 0.5 * (opening + close + np.sqrt(spread**2 + draws[0]))
    low = 0.5 * (opening + close - np.sqrt(spread**2 + draws[1]))
    prices = 100.0 * np.exp(np.stack([opening, high, low, close], axis=-1))
    values = np.concatenate([prices, np.full((n_bars, 1), 1e9)], axis=-1)[:, None]
    return history_of(values, kind="spot", lot=0.0, tick=0.0, min_notional=0.0)


@pytest.mark.parametrize("params", [{}, {"side": "neutral", "spacing": "arithmetic", "anchor": "once"}])
def test_on_noise_it_loses_exactly_its_costs(params: dict[str, str]) -> None:
    gains, shown = [], []
    for seed in range(60):
        history = continuous(600, seed)
        env = "perp" if params.get("side") else "spot"
        market = market_of(history, env, **{**FREE, "maker_fee_bps": 2.0, "taker_fee_bps": 4.0})
        record = trade(market, made("grid", market, history, levels=5, reach=0.05, **params), history, 1)
        gains.append(record.account.equity[-1] / record.account.equity[0] - 1.0 + record.fills.fee.sum() / 10_000.0)
        shown.append(0.01 * 0.1 * (record.fills.quantity < 0.0).sum())
    error = np.std(gains) / np.sqrt(len(gains))
    assert abs(np.mean(gains)) < 2.0 * error, "beside its costs it neither wins nor loses"
    assert np.mean(shown) > 3.0 * error, "what its sales are above the level below would be seen if it were a gain"


def test_on_reversion_it_earns_what_theory_says() -> None:
    """Within 2 standard errors over six paths, and the error is small."""
    pull, n_bars, fee, step = 0.005, 15_000, 2e-4, 5.0
    low, high = 100.0 * np.exp([-0.01 * step, 0.01 * step])
    years, shares, trips = n_bars / (YEAR / HOUR), [], []
    spread = BertramParams(pull * n_bars / years, STEP * np.sqrt(n_bars / years), 0.0)
    prices = 100.0 * np.exp(0.01 * np.arange(-step, step + 1.0))
    for seed in range(6):
        history = continuous(n_bars, seed, pull)
        market = market_of(history, "spot", **{**FREE, "maker_fee_bps": 1e4 * fee})
        record = trade(market, made("grid", market, history, levels=5, low=low, high=high), history, 1)
        equity, sold = record.account.equity, record.fills.quantity < 0.0
        unit = equity[0] / (10 * 100.0)
        shares.append((equity[-1] - equity[0]) / (ladder_income(spread, prices, 100.0, unit, fee) * years))
        trips.append(sold.sum() / (ladder_trips(spread, np.log(prices / 100.0)).sum() * years))
    for found in (shares, trips):
        error = np.std(found) / np.sqrt(len(found))
        assert abs(np.mean(found) - 1.0) < 2.0 * error < 0.06, found


def test_a_level_apart_on_either_side_of_the_last_one_traded() -> None:
    ladder = GridLevels(np.array([90.0, 95.0, 100.0, 105.0, 110.0]), 2.0, 0.0)
    assert list(ladder.wanted(4.0, 101.0)) == [(-2.0, 105.0), (2.0, 95.0)]
    assert list(ladder.wanted(4.0, 98.0)) == [(2.0, 95.0), (-2.0, 105.0)]
    assert next(ladder.wanted(4.3, 98.0)) == pytest.approx((1.7, 95.0)), "what filled in part is made whole"
    assert next(ladder.wanted(0.0, 100.0)) == (4.0, 105.0), "what is missing is bought at once"
    assert next(ladder.wanted(8.0, 107.0)) == (-6.0, 95.0), "levels that were leapt over go together"
    assert list(ladder.wanted(0.0, 120.0)) == [(2.0, 105.0)]
    neutral = GridLevels(ladder.prices, 2.0, 2.0)
    assert list(neutral.wanted(0.0, 101.0)) == [(-2.0, 105.0), (2.0, 95.0)]
    assert next(neutral.wanted(-2.0, 109.0)) == (-2.0, 110.0)


def test_it_is_drawn_anew_beyond_its_bounds_or_waits() -> None:
    close = np.concatenate([np.full(5, 100.0), np.full(5, 120.0), np.full(5, 100.0)])
    values = np.stack([*[close] * 4, np.full(15, 1e9)], axis=-1)[:, None]
    history = history_of(values, kind="spot", lot=0.0, tick=0.0, min_notional=0.0)
    market = market_of(history, "spot", **FREE)
    for anchor, centre in (("once", 100.0), ("beyond", 100.0)):
        agent = made("grid", market, history, reach=0.1, levels=4, anchor=anchor)
        trade(market, agent, history, 1, 8)
        assert agent.drawn[0, 0] == (centre if anchor == "once" else 120.0)  # type: ignore[attr-defined]


def test_what_contradicts_itself_is_refused() -> None:
    history = continuous(50, 0)
    market = market_of(history, "spot")
    for params, match in (
        ({"low": 90.0}, "both or none"),
        ({"low": 90.0, "high": 80.0}, "under high"),
        ({"side": "neutral"}, "env perp"),
        ({"share": 1.5}, "side=long comes to 1.5 of equity at a bound, more than this market allows, 1"),
        ({"spacing": "arithmetic", "reach": 1.0}, "reaches a price of zero"),
    ):
        with pytest.raises(UserError, match=match):
            made("grid", market, history, **params)
