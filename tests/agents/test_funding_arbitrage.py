"""Funding arbitrage: it earns what funding pays less what it costs, whatever the price does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qframe_rl.config import UserError
from qframe_rl.evaluate.metrics import metrics
from qframe_rl.types import HOUR, History
from tests.agents.runs import made, market_of, trade
from tests.markets import history_of

COSTS = {"spot_fee_bps": 5.0, "perp_fee_bps": 4.0, "half_spread_bps": 1.0, "impact": 0.0}


def carry(close: np.ndarray, rate: np.ndarray, hours: int = 8) -> History:
    """A coin and its perpetual at the same price; ``rate`` (T,) is settled every ``hours`` at the bar's open."""
    opening = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opening, close), np.minimum(opening, close)
    one = np.stack([opening, high, low, close, np.full(len(close), 1e9)], axis=-1)
    stamped = np.arange(len(close)) % hours == 0
    known = rate[np.maximum.accumulate(np.where(stamped, np.arange(len(close)), 0))]
    values = np.stack([np.column_stack([one, np.zeros(len(close))]), np.column_stack([one, known])], axis=1)
    funding = np.zeros((len(close), 2))
    funding[stamped, 1] = (rate * opening)[stamped]
    return history_of(values, funding=funding, kind="mixed", columns=("funding_rate",), lot=1e-5, min_notional=0.0)


def wandering(n: int, seed: int = 0, size: float = 0.01) -> np.ndarray:
    return 100.0 * np.exp(np.cumsum(size * np.random.default_rng(seed).standard_normal(n)))


def jittered(level: np.ndarray, seed: int = 1) -> np.ndarray:
    return level + 1e-6 * np.random.default_rng(seed).standard_normal(len(level))


def run(history: History, start: int = 200, **params: Any) -> Any:
    market = market_of(history, env="funding", **COSTS)
    return trade(market, made("funding_arbitrage", market, history, **params), history, start)


def test_it_earns_what_funding_pays_less_costs() -> None:
    n = 4_000
    record = run(carry(wandering(n, size=0.002), jittered(np.full(n, 1e-4))), drift=0.9)
    received = -record.fills.funding.sum()
    costs = record.fills.fee.sum() + record.fills.spread.sum()
    earned = record.account.equity[-1] - record.account.equity[0]
    assert earned == pytest.approx(received - costs, abs=0.5)  # both legs move alike; the rest is rounding to lots
    # 1 bp on 0.98 / (1 + 1/2) of equity, three times a day
    assert received == pytest.approx(10_000 * 0.653 * 3e-4 * (n - 200) / 24, rel=0.15)
    assert metrics(record).trades <= 2 * 3


def test_the_legs_are_equal_whatever_happens_and_the_short_survives_a_surge() -> None:
    n = 3_000
    surge = 100.0 * np.exp(np.linspace(0.0, 2.0, n)) * np.exp(0.01 * np.random.default_rng(3).standard_normal(n))
    record = run(carry(surge, jittered(np.full(n, 1e-4))))
    coin, short = record.account.position[:, 0], record.account.position[:, 1]
    held = coin > 0.0
    assert held[2:].all()
    assert (np.abs(coin + short)[held] <= 0.02 * coin[held]).all()
    assert (record.fills.forced == 0.0).all()
    assert record.account.equity[-1] > 10_000.0


def test_it_stands_aside_while_shorts_pay_and_always_does_not() -> None:
    n = 3_000
    rate = jittered(np.where(np.arange(n) < 1_500, 1e-4, -3e-4))
    careful, always = run(carry(wandering(n), rate)), run(carry(wandering(n), rate), predictor="always")
    assert (careful.account.position[1_000:1_250, 0] > 0.0).all()
    assert (careful.account.position[1_700:] == 0.0).all()
    assert (always.account.position[2:, 0] > 0.0).all()
    assert careful.account.equity[-1] > always.account.equity[-1]


@pytest.mark.parametrize("hours", [1, 4, 8])
def test_the_interval_is_read_off_the_rates(hours: int) -> None:
    history = carry(wandering(600), jittered(np.full(600, 1e-4), seed=5), hours)
    market = market_of(history, env="funding", **COSTS)
    agent: Any = made("funding_arbitrage", market, history)
    seen: list[float] = []
    decide = agent.decide

    def spy(view: Any) -> Any:
        seen.append(float(agent.expected(view)[0]))
        return decide(view)

    agent.decide = spy
    trade(market, agent, history, 300)
    assert np.mean(seen) == pytest.approx(24 / hours * 1e-4, rel=0.05)


def test_rates_that_do_not_pay_a_round_trip_are_left() -> None:
    history = carry(wandering(800), jittered(np.full(800, 1e-5)))
    assert metrics(run(history, hold_days=30)).trades == 0
    assert metrics(run(history, hold_days=120)).trades > 0


def test_what_cannot_be_hedged_is_refused() -> None:
    history = carry(wandering(300), np.full(300, 1e-4))
    with pytest.raises(UserError, match="take --env funding"):
        made("funding_arbitrage", market_of(history, env="spot"), history)
    bare = replace(history, values=history.values[:, :, :5].copy(), columns=())
    with pytest.raises(UserError, match="have no funding rates"):
        made("funding_arbitrage", market_of(bare, env="funding"), bare)


def test_rates_that_are_not_known_yet_are_no_change_of_rate() -> None:
    """Hours of no rate, then a rate every eight hours: one that was unknown an hour ago was not settled then."""
    history = carry(wandering(80), np.full(80, 1e-4))
    agent: Any = made("funding_arbitrage", market_of(history, env="funding", **COSTS), history)
    rates = np.repeat(1e-4 + 1e-6 * np.arange(9), 8)[:, None]
    rates[:3] = np.nan
    assert agent._interval(rates) == pytest.approx(8 * HOUR)
