"""Pairs: hold the spread of two cointegrated coins from one threshold to the other, at the thresholds of Bertram.

Cointegration is tested on training rows in both directions (Engle & Granger, 1987) at a rate of false discoveries
(Benjamini & Hochberg, 1995); the spread is an Ornstein-Uhlenbeck process, and the thresholds have the largest expected
return net of costs (Bertram, 2010). ALGORITHMS, card 7.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.agent import Log, MarketSpec, State, Task, View
from qframe_rl.config import Base, UserError
from qframe_rl.estimate.cointegration import Fit, discoveries, engle_granger
from qframe_rl.interface import rebalance
from qframe_rl.theory.bertram import BertramParams, best_return
from qframe_rl.types import CLOSE, Bool, Float, Int, Orders


class Config(Base):
    """Which pairs are taken, and how they are traded."""

    discovery_rate: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Share of the chosen pairs that may be false on average. Larger takes more pairs, and more that fall apart."""
    lags: int = Field(default=1, ge=0, le=20)
    """Lagged changes in the test regression; more where the spread's changes are autocorrelated."""
    max_pairs: int = Field(default=10, ge=1, le=100_000)
    """Most pairs held, those with the smallest p-values first."""
    half_life_low: float = Field(default=2.0, gt=0.0, le=1e6)
    """Least half-life of a spread, in bars: below, what returns is the bounce between bid and ask."""
    half_life_high: float = Field(default=500.0, gt=0.0, le=1e6)
    """Longest half-life of a spread, in bars."""
    threshold: float | None = Field(default=None, gt=0.0, le=1e6)
    """Enter beyond this many stationary deviations, and leave on the other side; none = Bertram's optimum at the cost
    of a round trip."""
    stop: float = Field(default=5.0, gt=0.0, le=1e6)
    """Beyond this many stationary deviations the pair counts as broken: it is closed until the spread is back within
    the threshold."""
    gross: float = Field(default=1.0, gt=0.0, le=1e6)
    """Sum of absolute exposures when every pair is held; each pair has an equal part."""


class Pairs:
    """A state for each pair: long the spread, short, or nothing."""

    window = 1

    def __init__(self, config: Config, spec: MarketSpec):
        if len(spec.instruments) < 2 or not spec.shorting:
            raise UserError("agent pairs holds one coin against another; give it two or more symbols and a market with "
                            "shorts, such as --env perp.")  # fmt: skip
        self.config = config
        self.n = len(spec.instruments)
        self.cost = spec.cost_rate
        self.legs: Int = np.empty((0, 2), dtype=np.int64)
        self.spreads: Float = np.empty((0, 4))
        self.side: Float = np.empty(0)
        self.broken: Bool = np.empty(0, dtype=np.bool_)
        self.fitted = False

    def fit(self, task: Task, log: Log) -> None:
        """Choose pairs on the longest stretch of training rows."""
        close = max(
            (history.values[s.start : s.stop, :, CLOSE] for history, segments in task.train for s in segments), key=len
        )
        found = [
            (a, b, engle_granger(*_logs(close, a, b), self.config.lags))
            for a in range(self.n)
            for b in range(self.n)
            if a != b and len(_logs(close, a, b)[0]) >= 100
        ]
        log.progress(1, 1, f"{len(found)} regressions")
        self._take(self._chosen(found))
        log.scalar("train/pairs", float(len(self.legs)), 0)

    def decide(self, view: View) -> Orders:
        """Enter, leave or turn round; instruments whose pairs all stay as they are are not traded."""
        if not self.fitted:
            raise RuntimeError("train or restore the agent before it decides")
        if view.first:
            self._forget()
        if len(self.legs) == 0:
            return Orders.market(np.zeros(self.n))
        before = self.side
        self.side = self._sides(np.log(view.close[-1]), before)
        changed = np.zeros(self.n, dtype=np.bool_)
        changed[self.legs[before != self.side]] = True
        return rebalance(view, np.where(changed, self.exposures(), np.nan))

    def state(self) -> State:
        """The pairs and their spreads: ratio, level, threshold, stop."""
        return {"legs": self.legs, "spreads": self.spreads} if self.fitted else {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take chosen pairs over."""
        self.legs, self.spreads = np.array(state["legs"]), np.array(state["spreads"])
        self._forget()
        self.fitted = True

    def carried(self) -> State:
        """The side of each pair, and which broke."""
        return {"side": self.side.copy(), "broken": self.broken.copy()}

    def carry(self, memory: State) -> None:
        """Take the states over."""
        self.side, self.broken = np.array(memory["side"]), np.array(memory["broken"])

    def _forget(self) -> None:
        self.side = np.zeros(len(self.legs))
        self.broken = np.zeros(len(self.legs), dtype=np.bool_)

    def exposures(self) -> Float:
        """(A,) net exposures of all pairs."""
        target = np.zeros(self.n)
        ratio = self.spreads[:, 0]
        size = self.side * self.config.gross / len(self.legs) / (1.0 + np.abs(ratio))
        np.add.at(target, self.legs[:, 0], size)
        np.add.at(target, self.legs[:, 1], -ratio * size)
        return target

    def _sides(self, price: Float, side: Float) -> Float:
        ratio, level, threshold, stop = self.spreads.T
        x = price[self.legs[:, 0]] - ratio * price[self.legs[:, 1]] - level
        far = np.abs(x)
        self.broken = (self.broken & ~(far <= threshold)) | (far > stop)
        # A spread that cannot be seen now (NaN) is left as it is.
        return np.where(self.broken, 0.0, np.where(far > threshold, -np.sign(x), side))

    def _chosen(self, found: list[tuple[int, int, Fit]]) -> list[tuple[int, int, Fit]]:
        """The direction with the smaller p-value of each pair, of those that pass."""
        if not found:
            return []
        config = self.config
        real = discoveries(np.array([fit.p_value for _, _, fit in found]), config.discovery_rate)
        chosen: dict[tuple[int, int], tuple[int, int, Fit]] = {}
        for passed, (a, b, fit) in sorted(zip(real, found, strict=True), key=lambda item: item[1][2].p_value):
            half_life = math.log(2.0) / fit.reversion if fit.reversion > 0.0 else math.inf
            # A negative ratio would be no spread but twice the market.
            if passed and fit.ratio > 0.0 and config.half_life_low <= half_life <= config.half_life_high:
                spread = self._spread(fit)
                if spread.cost < 4.0 * spread.deviation:
                    chosen.setdefault((min(a, b), max(a, b)), (a, b, fit))
        return list(chosen.values())[: config.max_pairs]

    def _take(self, chosen: list[tuple[int, int, Fit]]) -> None:
        rows = []
        for _, _, fit in chosen:
            spread, given = self._spread(fit), self.config.threshold
            deviation = spread.deviation
            threshold = best_return(spread).leave if given is None else given * deviation
            rows.append((fit.ratio, fit.level, threshold, max(self.config.stop * deviation, 1.5 * threshold)))
        self.legs = np.array([(a, b) for a, b, _ in chosen], dtype=np.int64).reshape(-1, 2)
        self.spreads = np.array(rows, dtype=np.float64).reshape(-1, 4)
        self._forget()
        self.fitted = True

    def _spread(self, fit: Fit) -> BertramParams:
        """The process per bar, with the cost of getting in and out of both legs."""
        return BertramParams(fit.reversion, fit.volatility, 2.0 * self.cost * (1.0 + fit.ratio))


def _logs(close: Float, a: int, b: int) -> tuple[Float, Float]:
    """Log prices of two instruments in the bars in which both traded."""
    both = ~np.isnan(close[:, a]) & ~np.isnan(close[:, b])
    return np.log(close[both, a]), np.log(close[both, b])


def make(config: Config, spec: MarketSpec) -> Pairs:
    """Make the agent."""
    return Pairs(config, spec)
