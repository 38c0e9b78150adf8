"""The taker fee that falls with 30-day volume: each bar is that of a market with the fee that its tier says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import Planner, View
from qframe_rl.config import UserError, build
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.gym.market import Market, MarketConfig, market, whole
from qframe_rl.interface import rebalance
from qframe_rl.kernel.rules import DAY_BARS, N_RULES, rules_of
from qframe_rl.runner.backtest import backtest
from qframe_rl.runner.study.walks import run_all
from qframe_rl.types import DAY, HOUR, Bar, History, Instrument, Orders, Segment
from qframe_rl.venues.simulated import SimulatedVenue
from tests.markets import history_of, panel

FEES, OWN = (8e-4, 3e-4, 0.0), 1e-3


def tier(tiers: tuple[tuple[float, float], ...], traded: float) -> float:
    """The fee, read off the list from its end."""
    return next((fee for volume, fee in reversed(tiers) if traded >= volume), OWN)


@pytest.mark.parametrize(
    ("kind", "bar_hours", "volumes"),
    [
        ("spot", 24, (3e3, 6e3, 9e3)),
        ("perpetual", 8, (2e3, 1e4, 3e4)),
        ("perpetual", 168, (5e2, 2e3, 4e3)),
        ("mixed", 6, (2e3, 1e4, 3e4)),
    ],
)
def test_each_bar_is_that_of_a_market_with_the_fee_of_its_tier(
    kind: str, bar_hours: int, volumes: tuple[float, ...]
) -> None:
    tiers = tuple(zip(volumes, FEES, strict=True))
    history = panel(400, 3, seed=3, kind=kind, volatility=0.01)
    coins = tuple(replace(i, taker_fee=OWN, maker_fee=2e-4, maintenance=0.01) for i in history.instruments)
    owned = tuple(i.kind == "spot" for i in coins) if kind == "mixed" else ()
    more: dict[str, Any] = {"half_spread": 2e-4, "impact": 1e-3, "owned": owned}
    more |= {} if kind == "spot" else {"leverage": 3.0, "shorting": True, "liquidation_fee": 0.01}
    day = 24 / bar_hours
    venue = SimulatedVenue(rules_of(coins, fee_tiers=tiers, day_bars=day, **more), 1e4)
    days: dict[int, float] = {}
    rng, met, t = np.random.default_rng(5), set(), 0
    for bar in HistoryFeed(history, Segment(1, len(history)), 1):
        now = int(t // day)
        fee = tier(tiers, sum(days.get(d, 0.0) for d in range(now - 29, now + 1)))
        met.add(fee)
        plain = SimulatedVenue(rules_of(tuple(replace(i, taker_fee=fee) for i in coins), **more), 1e4)
        kept = venue.carried()
        plain.carry({**kept, "money": SimulatedVenue.carried(plain)["money"]})
        plain._money[0] = venue._money[0, : plain._money.shape[1]]
        orders = asked(rng, len(coins))
        for one in (venue, plain):
            one.submit(orders)
        fills, same = venue.advance(bar), plain.advance(bar)
        for name in fills._fields[:-1]:
            assert np.array_equal(getattr(fills, name), getattr(same, name), equal_nan=True), (t, name)
        assert float(venue.account.cash) == float(plain.account.cash)
        traded = np.abs(fills.quantity) * fills.price + np.abs(fills.forced) * fills.forced_price
        days[now] = days.get(now, 0.0) + float(traded.sum())
        t += 1 if any(days.values()) else 0
        if venue.terminated:
            break
    assert met == {OWN, *FEES}, "every tier must be met, or the test says nothing of it"


def asked(rng: np.random.Generator, n: int) -> Orders:
    """Orders of all kinds; some bars without."""
    quantity = np.where(rng.random(n) < 0.6, rng.normal(0.0, 12.0, n), 0.0) * (rng.random() < 0.5)
    near = 100.0 * np.exp(rng.normal(0.0, 0.05, n))
    kind = rng.integers(0, 3, n)
    return Orders(quantity, np.where(kind == 1, near, np.nan), np.where(kind == 2, near, np.nan))


class Now(Planner):
    """Trades back and forth for a while, then rests for weeks."""

    window, band = 1, 0.0

    def __init__(self, bars: int):
        self.bars = bars

    def targets(self, bars: Any, times: Any, first: int) -> Any:
        step = (times[first:] // HOUR) % self.bars
        out = np.where(step % 2 == 0, 0.9, 0.1)[:, None] * np.ones(bars.shape[1]) / bars.shape[1]
        return np.where((step < 12)[:, None], out, np.nan)

    def decide(self, view: View) -> Orders:
        return rebalance(view, self.targets(view.bars, view.times, len(view.bars) - 1)[-1], self.band)


def made(history: History, tiers: Any) -> Market:
    config = build(MarketConfig, {"features": ["log_return:1"], "taker_fee_bps": 10.0, "fee_tiers": tiers}, "test")
    one = market("test", config, history.instruments, history.columns, history.bar_ns)
    return one.fit([(history, whole(history))])


@pytest.mark.parametrize("n", [1, 2])
def test_backtests_of_many_settings_live_through_the_same_days_as_a_session(n: int) -> None:
    values = np.stack([np.full((2400, n), price) for price in (100.0, 101.0, 99.0, 100.0, 1e6)], axis=-1)
    history = history_of(values, kind="spot")
    one = made(history, "2e4:8,6e4:3")
    agents = [Now(bars) for bars in (300, 711, 1000)]
    part = Segment(1, len(history))
    found = run_all(one, [(agent, history, part) for agent in agents], 1)
    for agent, result in zip(agents, found, strict=True):
        record = backtest(one, agent, history, part, 1)
        assert np.array_equal(result.equity, record.account.equity)
        worth = (np.abs(record.fills.quantity) * record.fills.price).sum(axis=1)
        paid = record.fills.fee.sum(axis=1)[worth > 0.0] / worth[worth > 0.0]
        assert {round(fee, 6) for fee in paid.tolist()} == {1e-3, 8e-4, 3e-4}


def test_what_a_last_bar_closes_is_volume_too() -> None:
    coins = tuple(Instrument(f"{name}/USDT", taker_fee=OWN) for name in "AB")
    venue = SimulatedVenue(rules_of(coins, volume_share=1.0, fee_tiers=((1500.0, 2e-4),), day_bars=24.0), 1e4)
    paid = []
    for hour, quantity in enumerate(([0.0, 0.0], [10.0, 0.0], [0.0, 0.0], [0.0, 1.0])):
        venue.submit(Orders.market(np.array(quantity)))
        values = np.tile([100.0, 100.0, 100.0, 100.0, 1e6], (2, 1))
        fills = venue.advance(Bar(hour * HOUR, values, np.zeros(2), np.array([hour == 2, False])))
        paid.append(float(fills.fee.sum()))
    # Bought for 1,000 and closed for 1,000: each pays the coin's own fee, and what comes after them pays the tier's.
    assert paid == pytest.approx([0.0, 1.0, 1.0, 0.02])


def test_without_tiers_nothing_is_remembered() -> None:
    history = panel(50, 2, seed=1, kind="spot")
    assert made(history, ()).rules.n_columns == 8
    assert made(history, ()).rules.table.shape == (2, N_RULES)


@pytest.mark.parametrize("tiers", ["1e6", "2e6:3,1e6:2", "a:b", [[1.0, 2.0, 3.0]], [[5.0, 1.0], [6.0, 2.0]], "-1:2"])
def test_tiers_that_do_not_fall_are_refused_in_a_sentence(tiers: Any) -> None:
    with pytest.raises(UserError, match="fee_tiers"):
        build(MarketConfig, {"fee_tiers": tiers}, "env spot")


def test_a_bar_of_a_market_is_a_share_of_its_day() -> None:
    history = panel(50, 1, seed=1, kind="spot")
    assert made(history, "1e6:3").rules.table[0, DAY_BARS] == DAY / HOUR


def test_what_is_wrong_with_tiers_is_said_in_our_own_words() -> None:
    with pytest.raises(
        UserError, match=r"^env spot: fee_tiers: volumes must rise and fees fall from tier to tier \(got"
    ):
        build(MarketConfig, {"fee_tiers": "2e6:3,1e6:2"}, "env spot")
