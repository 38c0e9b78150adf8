"""Records and histories made by hand or by a session over generated bars."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from qframe_rl.agent import View
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.kernel.rules import Rules, rules_of
from qframe_rl.listeners import Journal
from qframe_rl.session import Session, run
from qframe_rl.types import (
    DAY,
    HOUR,
    Account,
    Fills,
    Float,
    History,
    Instrument,
    Orders,
    Record,
    Segment,
    Source,
)
from qframe_rl.venues.simulated import SimulatedVenue

START = 1_577_836_800_000_000_000  # 2020-01-01 UTC


def empty_history(n_bars: int, bar_ns: int = HOUR) -> History:
    """A history whose rows matter and whose prices do not."""
    values = np.ones((n_bars, 1, 5))
    time = START + bar_ns * np.arange(1, n_bars + 1)
    source = Source("test", "synthetic", "made")
    zero = np.zeros((n_bars, 1))
    return History((Instrument("BTC/USDT"),), bar_ns, time, values, zero, zero > 0.0, source)


def cash_record(equity: Float, bar_ns: int = DAY) -> Record:
    """A record whose equity is cash: the returns are given, nothing is traded."""
    equity = np.asarray(equity, dtype=np.float64)
    n = len(equity)
    none = np.zeros((n, 1))
    return Record(
        (Instrument("BTC/USDT"),),
        bar_ns,
        START + bar_ns * np.arange(n),
        Account(equity.copy(), none, np.full((n, 1), 100.0)),
        Orders.market(none),
        Fills.none(n, 1),
        np.zeros(n),
        "",
    )


def returns_record(rate: Float, bar_ns: int = DAY, start: float = 10_000.0) -> Record:
    """A record with the given returns per bar."""
    return cash_record(start * np.concatenate([[1.0], np.cumprod(1.0 + np.asarray(rate))]), bar_ns)


def with_cash_rate(record: Record, rate: Float) -> Record:
    """The record, with (N,) what idle cash would have earned beside it."""
    return replace(record, cash_rate=rate)


def market(
    n_bars: int, seed: int, *, n: int = 1, volatility: float = 0.01, drift: float = 0.0, perpetual: bool = False
) -> History:
    """Geometric Brownian motion with a range around each bar, volume, lots and fees."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(drift - volatility**2 / 2, volatility, (n_bars, n))
    close = 100.0 * np.exp(np.cumsum(moves, axis=0))
    opened = np.vstack([np.full((1, n), 100.0), close[:-1]])
    wide = 1.0 + np.abs(rng.normal(0.0, volatility / 2, (2, n_bars, n)))
    values = np.empty((n_bars, n, 5))
    values[..., 0], values[..., 3] = opened, close
    values[..., 1] = np.maximum(opened, close) * wide[0]
    values[..., 2] = np.minimum(opened, close) / wide[1]
    values[..., 4] = rng.uniform(1e4, 1e5, (n_bars, n))
    due = close * rng.normal(0.0, 1e-4, (n_bars, n)) * (np.arange(n_bars) % 8 == 0)[:, None]
    kind = "perpetual" if perpetual else "spot"
    coins = ["BTC", "ETH", "SOL", "XRP", "ADA", "DOT", "LTC", "UNI"]
    names = [f"{coin}/USDT:USDT" if perpetual else f"{coin}/USDT" for coin in coins]
    instruments = tuple(
        Instrument(names[a], kind, lot=1e-4, tick=0.01, maker_fee=2e-4, taker_fee=5e-4, maintenance=0.05)
        for a in range(n)
    )
    time = START + HOUR * np.arange(1, n_bars + 1)
    final = np.zeros((n_bars, n), dtype=np.bool_)
    source = Source("gbm", "synthetic", "synthetic:gbm")
    return History(instruments, HOUR, time, values, due * perpetual, final, source)


class Trader:
    """Trades what a function of the view says."""

    window = 2

    def __init__(self, decide: Callable[[View], Orders]):
        self.decide = decide


def random_target(seed: int, *, bound: float = 1.0, every: int = 1, short: bool = True) -> Trader:
    """Moves to a random exposure within ±bound, shared among the instruments, every so many bars."""
    rng = np.random.default_rng(seed)
    count = 0

    def decide(view: View) -> Orders:
        nonlocal count
        count += 1
        n = len(view.account.position)
        if count % every:
            return Orders.market(np.zeros(n))
        target = rng.uniform(-bound if short else 0.0, bound, n) / n
        return Orders.market(target * view.account.equity / view.account.mark - view.account.position)

    return Trader(decide)


def traded(history: History, agent: Trader, rules: Rules | None = None, cash: float = 10_000.0) -> Record:
    """Run an agent over a whole history through the session and return its journal."""
    rules = rules or rules_of(history.instruments, half_spread=2e-4, impact=1e-3, leverage=3.0, shorting=True)
    journal = Journal(history.instruments, history.bar_ns)
    feed = HistoryFeed(history, Segment(agent.window, len(history)), agent.window)
    run(Session(feed, SimulatedVenue(rules, cash), agent.window, journal), agent)
    return journal.record()
