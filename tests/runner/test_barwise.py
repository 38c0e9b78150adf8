"""A backtest of a strategy that decides bar by bar: to the bit what a session gives, and the same views."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import View
from qframe_rl.bench.reversion import BARS, ReversionByColumn, ReversionByWindow, scored
from qframe_rl.deploy import venue_of
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.gym.market import Market, MarketConfig, market
from qframe_rl.interface import market as interface
from qframe_rl.interface import rebalance
from qframe_rl.listeners import Journal
from qframe_rl.runner import looked
from qframe_rl.runner.backtest import backtest
from qframe_rl.session import Session, run
from qframe_rl.types import History, Orders, Record, Segment
from tests.markets import panel
from tests.test_members import universe

KINDS: dict[str, dict[str, Any]] = {
    "spot": {"leverage": 1.0, "shorting": False},
    "perpetual": {"leverage": 4.0, "shorting": True, "liquidation_fee": 0.01},
    "mixed": {"leverage": 3.0, "shorting": True},
}
WINDOW = 9


def made(history: History, kind: str, **more: Any) -> Market:
    config = MarketConfig(half_spread_bps=3.0, impact=0.02, features=("log_return:1",), n_rows=2, **more)
    coins: dict[str, Any] = {"owned": tuple(i.kind == "spot" for i in history.instruments)} if kind == "mixed" else {}
    return market("test", config, history.instruments, history.columns, history.bar_ns, **KINDS[kind], **coins)


class Wild:
    """Does all that can be done, by a seed, mostly nothing; and keeps what it was shown."""

    window = WINDOW

    def __init__(self, seed: int, *, slots: bool = False, size: float = 40.0):
        self.rng, self.slots, self.size = np.random.default_rng(seed), slots, size
        self.views: list[View] = []

    def decide(self, view: View) -> Orders:
        self.views.append(view)
        n, rng = len(view.account.position), self.rng
        kind = int(rng.integers(8))
        if kind == 0:
            return rebalance(view, rng.uniform(-1.5, 1.5, n), 0.1)
        quantity = np.where(rng.random(n) < 0.5, rng.normal(0.0, self.size, n), 0.0)
        none, near = np.full(n, np.nan), view.account.mark * rng.uniform(0.98, 1.02, n)
        if kind == 1:
            return Orders(quantity, near, none)
        if kind == 2:
            return Orders(quantity.astype(np.float32), none, near)
        if kind == 3 and self.slots:
            two = np.stack([quantity, np.full(n, np.nan)], axis=1)
            return Orders(two, np.stack([near, none], axis=1), np.full((n, 2), np.nan), good=np.full((n, 2), 5.0))
        return Orders.market(np.full(n, -0.0) if kind == 4 else np.zeros(n))


def by_session(market: Market, agent: Any, history: History, start: int) -> Record:
    journal = Journal(market.instruments, market.bar_ns)
    run(Session(HistoryFeed(history, Segment(start, len(history)), WINDOW), venue_of(market), WINDOW, journal), agent)
    return journal.record()


def numbers(thing: Any) -> Iterator[tuple[Any, ...]]:
    """All that it consists of, to the last bit."""
    if isinstance(thing, tuple):
        for part in thing:
            yield from numbers(part)
    elif isinstance(thing, np.ndarray):
        yield thing.shape, thing.dtype.str, thing.flags.writeable, thing.tobytes()
    else:
        yield type(thing), thing


def seen(views: list[View]) -> list[Any]:
    return [[list(numbers(getattr(view, field.name))) for field in fields(View)] for view in views]


@pytest.mark.parametrize("slots", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_records_and_views_are_those_of_a_session(kind: str, slots: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked, "_BLOCK", 64)
    for seed in range(3):
        history = panel(400, 3, seed=seed, kind=kind, volatility=0.01)
        rate = np.where(np.arange(400) % 50 < 25, 1e-5, 0.0) if seed else np.zeros(400)
        history = replace(history, cash_rate=rate)
        market = made(history, kind, fee_tiers=((3e5, 3.0), (2e6, 0.0)) if seed == 2 else ())
        one, two = Wild(seed, slots=slots), Wild(seed, slots=slots)
        record, other = backtest(market, one, history, Segment(100, 400), WINDOW), by_session(market, two, history, 100)
        assert record.digest == other.digest
        assert (record.fills.quantity != 0.0).any()
        for name in ("time", "account", "orders", "fills", "cash_rate", "slots"):
            assert list(numbers(getattr(record, name))) == list(numbers(getattr(other, name))), name
        assert seen(one.views) == seen(two.views)


def test_ruin_ends_it_as_a_session_ends() -> None:
    history = panel(400, 1, seed=4, volatility=0.2)
    market = made(history, "perpetual")
    one, two = Wild(1, size=1e6), Wild(1, size=1e6)
    record, other = backtest(market, one, history, Segment(20, 400), WINDOW), by_session(market, two, history, 20)
    assert len(record) < 350
    assert record.digest == other.digest
    assert len(one.views) == len(two.views)


def test_what_left_the_universe_is_only_closed() -> None:
    history = universe(400)
    market = made(history, "perpetual")
    one, two = Wild(3, slots=True), Wild(3, slots=True)
    record, other = backtest(market, one, history, Segment(20, 400), WINDOW), by_session(market, two, history, 20)
    assert record.digest == other.digest
    assert seen(one.views) == seen(two.views)


def test_a_view_can_be_kept_copied_and_changed_but_shows_no_bar_to_come() -> None:
    history = panel(300, 2, seed=1)
    agent = Wild(0)
    backtest(made(history, "perpetual"), agent, history, Segment(20, 300), WINDOW)
    view = agent.views[100]
    assert not np.shares_memory(view.bars, history.values)
    assert not np.shares_memory(view.times, history.time)
    with pytest.raises(ValueError, match="read-only"):
        view.bars[0] = 0.0
    with pytest.raises(AttributeError):
        view.time = 0  # type: ignore[misc]
    with pytest.raises(AttributeError, match="no 'future'"):
        view.future  # type: ignore[attr-defined]  # noqa: B018
    assert seen([pickle.loads(pickle.dumps(view))])[0][0] == seen([view])[0][0]
    other = replace(view, cash_rate=0.5)
    assert (other.cash_rate, other.time, other.first) == (0.5, view.time, False)


@pytest.mark.parametrize("wrong", [np.array([np.inf, 0.0]), np.zeros(3), np.array([0.0, np.nan])])
@pytest.mark.parametrize("last", [False, True])
def test_orders_that_are_none_are_refused_as_a_session_refuses_them(wrong: np.ndarray, last: bool) -> None:
    history = panel(40, 2, seed=1)

    class Odd(Wild):
        def decide(self, view: View) -> Orders:
            due = view.time == (history.time[-1] if last else history.time[30])
            return Orders.market(wrong if due else np.zeros(2))

    market = made(history, "perpetual")
    with pytest.raises(ValueError) as one:
        backtest(market, Odd(0), history, Segment(20, 40), WINDOW)
    with pytest.raises(ValueError) as two:
        by_session(market, Odd(0), history, 20)
    assert str(one.value) == str(two.value)


@pytest.mark.parametrize("n", [1, 3])
def test_targets_become_the_orders_that_the_kernel_writes(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    history = panel(300, n, seed=2)
    agent = Wild(5)
    backtest(made(history, "perpetual"), agent, history, Segment(20, 300), WINDOW)
    rng = np.random.default_rng(0)
    targets = [np.where(rng.random(n) < 0.2, rng.choice([np.nan, 0.0]), rng.normal(size=n)) for _ in agent.views]
    few = [rebalance(*each, 0.2) for each in zip(agent.views, targets, strict=True)]
    monkeypatch.setattr(interface, "_FEW", 0)
    compiled = [rebalance(*each, 0.2) for each in zip(agent.views, targets, strict=True)]
    assert [list(numbers(tuple(orders))) for orders in few] == [list(numbers(tuple(orders))) for orders in compiled]
    assert sum((orders.quantity != 0.0).any() for orders in few) > 100


def test_the_benchmark_s_strategy_is_one_whichever_way_it_reckons() -> None:
    history = scored(synthetic("ou", 2_000, seed=3))
    market = made(history, "spot")
    one, two = (
        backtest(market, agent, history, Segment(BARS, 2_000), BARS)
        for agent in (ReversionByColumn(), ReversionByWindow())
    )
    assert one.digest == two.digest
    assert (one.fills.quantity != 0.0).sum() > 20
