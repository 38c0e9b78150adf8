"""A market with planted trends, and what can be made of it: the Bayes filter and the classical rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from qframe_rl.agent import Agent, View
from qframe_rl.config import Ref
from qframe_rl.deep.momentum import MomentumInputs
from qframe_rl.deploy import make_market
from qframe_rl.evaluate.metrics import returns, sharpe
from qframe_rl.evaluate.splits import Fold
from qframe_rl.gym.market import Market
from qframe_rl.interface import rebalance
from qframe_rl.runner.backtest import backtest
from qframe_rl.types import CLOSE, DAY, HOUR, Float, History, Instrument, Orders, Segment, Source

SIGMA, TARGET = 0.01, 0.15
DRIFT, STAY = 0.15, 0.99
"""Hidden drift of ±0.15 deviations a bar that stays with probability 0.99 (ALGORITHMS, 4.3)."""
FREE: dict[str, Any] = {"taker_fee_bps": 0.0, "half_spread_bps": 0.0, "impact": 0.0, "features": ("log_return:1",)}


def planted(n_bars: int, n: int, seed: int, drift: float = DRIFT, stay: float = STAY) -> History:
    """Daily perpetuals with independent hidden trends."""
    rng = np.random.default_rng(seed)
    turns = np.cumsum(rng.random((n_bars, n)) > stay, axis=0) + rng.integers(0, 2, n)
    rise = SIGMA * (drift * np.where(turns % 2 == 0, 1.0, -1.0) + rng.standard_normal((n_bars, n)))
    close = 100.0 * np.exp(np.cumsum(rise, axis=0))
    opening = np.concatenate([np.full((1, n), 100.0), close[:-1]])
    high, low = np.maximum(opening, close), np.minimum(opening, close)
    return History(
        tuple(Instrument(f"P{a}/USDT:USDT", "perpetual", maintenance=0.005) for a in range(n)),
        DAY,
        DAY * (18_000 + np.arange(n_bars, dtype=np.int64)),
        np.stack([opening, high, low, close, np.full_like(close, 1e30)], axis=-1),
        np.zeros((n_bars, n)),
        np.zeros((n_bars, n), dtype=np.bool_),
        Source("planted", "synthetic", "planted"),
    )


def published(n_bars: int, n: int, seed: int, edge: float, noise: float = 6e-3, half_life: float = 720.0) -> History:
    """Hourly coins whose next move is ``edge`` times a published signal of deviation 1, and noise."""
    rng, phi = np.random.default_rng(seed), 0.5 ** (1.0 / half_life)
    signal = rng.standard_normal((n_bars + 1, n))
    for t in range(1, len(signal)):
        signal[t] = phi * signal[t - 1] + math.sqrt(1.0 - phi * phi) * signal[t]
    close = 100.0 * np.exp(np.cumsum(edge * signal[:-1] + noise * rng.standard_normal((n_bars, n)), axis=0))
    opening = np.concatenate([np.full((1, n), 100.0), close[:-1]])
    high, low = np.maximum(opening, close), np.minimum(opening, close)
    return History(
        tuple(Instrument(f"P{a}/USDT") for a in range(n)),
        HOUR,
        HOUR * (438_000 + np.arange(n_bars, dtype=np.int64)),
        np.stack([opening, high, low, close, np.full_like(close, 1e30), signal[1:]], axis=-1),
        np.zeros((n_bars, n)),
        np.zeros((n_bars, n), dtype=np.bool_),
        Source("planted", "synthetic", "planted"),
        ("signal",),
    )


class Told:
    """Holds a share of each coin while its signal is high, and no longer than until it is low."""

    window = 200

    def __init__(self, share: float, above: float, below: float):
        self.share, self.above, self.below = share, above, below

    def decide(self, view: View) -> Orders:
        signal, held = view.bars[-1, :, -1], view.account.exposure > self.share / 2.0
        wanted = np.where(held, signal > -self.below, signal > self.above)
        return rebalance(view, np.where(wanted == held, np.nan, np.where(wanted, self.share, 0.0)))


def market_of(history: History, fold: Fold, **params: Any) -> Market:
    market = make_market(Ref(name="perp", params=FREE | params), history.instruments, history.columns, history.bar_ns)
    return market.fit([(history, fold.train)])


def score(market: Market, agent: Agent, history: History, segment: Segment) -> float:
    """Annual Sharpe ratio, every agent having seen the same 800 bars before."""
    record = backtest(market, agent, history, segment, 800)
    return sharpe(returns(record.account.equity), 365.0)


class Rule:
    """Holds a function of the bars, scaled to the volatility target."""

    window = 800

    def __init__(self, position: Callable[[Float], Float]):
        self.position = position

    def decide(self, view: View) -> Orders:
        sigma = np.diff(np.log(view.close[-61:]), axis=0).std(axis=0) * math.sqrt(365.0)
        position = self.position(view.bars)
        return rebalance(view, position * np.minimum(TARGET / sigma, 3.0) / len(position))


def trend(n: int) -> Rule:
    return Rule(lambda bars: np.sign(bars[-1, :, CLOSE] / bars[-1 - n, :, CLOSE] - 1.0))


def macd() -> Rule:
    """Baz et al. (2015): three MACDs, each squashed by y exp(-y²/4) / 0.89, averaged."""
    inputs = MomentumInputs((1,), ((8, 24), (16, 48), (32, 96)), 63, 252, 60, 252, 5.0)

    def position(bars: Float) -> Float:
        y = inputs.rows(bars, len(bars) - 1)[0][0, :, 1:]
        squashed: Float = (y * np.exp(-(y**2) / 4.0) / 0.89).mean(axis=1)
        return squashed

    return Rule(position)


class Filter:
    """The exact posterior of the hidden trend, held in proportion: nothing that sees prices alone does better."""

    window = 800

    def decide(self, view: View) -> Orders:
        rise = np.diff(np.log(view.close), axis=0) / SIGMA
        if view.first:
            self.odds = np.zeros(rise.shape[1])
        for row in rise if view.first else rise[-1:]:
            up = 1.0 / (1.0 + np.exp(-(self.odds + 2.0 * DRIFT * row)))
            ahead = STAY * up + (1.0 - STAY) * (1.0 - up)
            self.odds = np.log(ahead / (1.0 - ahead))
        size = TARGET / (SIGMA * math.sqrt(365.0))
        return rebalance(view, np.tanh(self.odds / 2.0) * size / len(self.odds))


class HiddenRegime:
    """Optimal with linear cost in a hidden two-state regime (ALGORITHMS, E5): flip as the belief passes 0.6985."""

    window = 100
    drift, stay, threshold, cost_bps = 0.5, 0.95, 0.6985, 50.0

    def decide(self, view: View) -> Orders:
        rise = np.diff(np.log(view.close), axis=0) / SIGMA
        if view.first:
            self.belief, self.held = np.full(rise.shape[1], 0.5), np.zeros(rise.shape[1])
        for row in rise if view.first else rise[-1:]:
            up = 1.0 / (1.0 + (1.0 / self.belief - 1.0) * np.exp(-2.0 * self.drift * row))
            self.belief = self.stay * up + (1.0 - self.stay) * (1.0 - up)
        limit = self.threshold
        side = np.where(self.belief > limit, 1.0, np.where(self.belief < 1.0 - limit, -1.0, self.held))
        target = np.where(side == self.held, np.nan, side)
        self.held = side
        return rebalance(view, target)
