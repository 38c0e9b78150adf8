"""Mean reversion that asks first whether the market reverts: z-scores of several windows, weighted by the regime.

Three regimes (reverting, trending, volatile) are told apart by returns, their size and the variance ratio of Lo &
MacKinlay (1988). Their probabilities are *filtered*: they know the bars up to now alone (ALGORITHMS, card 4.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field

from agents._hidden_markov import Chain, filtered, fit
from qframe_rl.agent import Brief, Log, State, Task, View
from qframe_rl.config import Base, UserError, search
from qframe_rl.interface import rebalance
from qframe_rl.types import CLOSE, DAY, YEAR, Bool, Float, Orders

_N = 3
"""Regimes, and hidden states: reverting, trending, volatile."""


class Config(Base):
    """What is measured, how much each regime is trusted, and how large a position is."""

    windows: tuple[int, ...] = (10, 20, 50)
    """Bars of the means that the price is measured by; each counts alike. Longer ones trade less."""
    z_scale: float = Field(default=1.8, gt=0.0, json_schema_extra=search(low=0.5, high=4.0, log=True))
    """Standard deviations at which a signal saturates (tanh of 1). Smaller bets more on small deviations."""
    regime: Literal["hmm", "variance_ratio"] = "hmm"
    """``hmm``: a hidden Markov chain fitted on training rows; ``variance_ratio``: two thresholds, nothing is fitted."""
    reverting: float = Field(default=1.2, ge=-2.0, le=2.0, json_schema_extra=search(low=0.0, high=2.0))
    """Multiplier of the signal while prices revert."""
    trending: float = Field(default=0.0, ge=-2.0, le=2.0, json_schema_extra=search(low=-1.0, high=1.0))
    """Multiplier while they trend: 0 stands aside, below 0 follows."""
    volatile: float = Field(default=0.4, ge=-2.0, le=2.0, json_schema_extra=search(low=-1.0, high=1.0))
    """Multiplier while they are wild."""
    ratio_horizon: int = Field(default=10, ge=2)
    """Bars of the longer return of the variance ratio: its variance over that of as many single returns."""
    ratio_bars: int = Field(default=150, ge=20)
    """Bars from which the variance ratio is measured. More tell the regimes apart better and later."""
    ratio_threshold: float = Field(default=0.75, gt=0.0, json_schema_extra=search(low=0.5, high=1.1))
    """Variance ratio below which prices are held to revert, measured or as the mean of a hidden state."""
    wild_quantile: float = Field(default=0.8, gt=0.0, lt=1.0)
    """Volatility above this quantile of its recent past counts as wild (``variance_ratio``)."""
    wild_size: float = Field(default=1.5, gt=1.0)
    """A hidden state is wild if its returns are this many times as large as those of all training rows (``hmm``)."""
    memory_days: float = Field(default=90.0, gt=0.0)
    """Length of that recent past."""
    n_iterations: int = Field(default=50, ge=1)
    """Most steps of expectation-maximisation."""
    volatility_span: int = Field(default=60, ge=2)
    """Span of the exponential mean of squared returns, in bars."""
    volatility_target: float = Field(default=0.15, gt=0.0)
    """Standard deviation a year that a signal of one aims at."""
    max_exposure: float = Field(default=1.0, gt=0.0)
    """Largest share of equity in all; each of A instruments gets at most 1 / A of it."""
    band: float = Field(default=0.1, ge=0.0, json_schema_extra=search(low=0.0, high=0.5))
    """No trade while an instrument's exposure is within this share of its part of the largest exposure. With linear
    cost a band is optimal: it grows as the cube root of the cost (de Lataillade et al., 2012)."""


QUICK = {"memory_days": 4.0, "ratio_bars": 60, "n_iterations": 5}
"""Parameters that need little history: for a first try, and for tests."""


class AdaptiveMeanReversion:
    """Sells what rose and buys what fell, as far as the regime is one of reversion; regimes by two thresholds."""

    def __init__(self, config: Config, brief: Brief):
        self.config = config
        self.n = len(brief.instruments)
        self.memory = max(20, round(config.memory_days * DAY / brief.bar_ns))
        self.decay = 1.0 - 2.0 / (config.volatility_span + 1.0)
        self.cut = 4 * config.volatility_span
        measured = max(config.ratio_bars, self.cut)
        self.window = max(self.memory + measured, *config.windows)
        self.low = -1.0 if brief.shorting else 0.0
        self.bars_per_year = YEAR / brief.bar_ns
        self.past: Float = np.empty((0, self.n))

    def decide(self, view: View) -> Orders:
        """Go to the weighted signal, unless it is near enough."""
        config, close = self.config, view.close[-self.window :]
        volatility = self._remember(view.first, close)
        trust = self.regimes(view.first, close) @ np.array([config.reverting, config.trending, config.volatile])
        size = config.volatility_target / np.maximum(volatility * math.sqrt(self.bars_per_year), 1e-9)
        target = np.clip(trust * self._signal(close) * size, self.low, 1.0) * (config.max_exposure / self.n)
        band = config.band * config.max_exposure / self.n
        return rebalance(view, np.where(np.isnan(target), 0.0, target), band)

    def carried(self) -> State:
        """The volatilities of the recent past."""
        return {"past": self.past.copy()}

    def carry(self, memory: State) -> None:
        """Take the past over."""
        self.past = np.array(memory["past"])

    def regimes(self, first: bool, close: Float) -> Float:
        """(A, 3) probabilities that prices revert, trend or are wild, from (W, A) closes; here they are 0 or 1."""
        config = self.config
        ratio = variance_ratios(close[-config.ratio_bars - 1 :], config.ratio_horizon, config.ratio_bars)[-1]
        calmer = (self.past <= self.past[-1]).sum(axis=0) / np.maximum((~np.isnan(self.past)).sum(axis=0), 1)
        wild, reverting = calmer > config.wild_quantile, ratio < config.ratio_threshold
        return np.stack([reverting & ~wild, ~reverting & ~wild, wild], axis=-1).astype(np.float64)

    def _signal(self, close: Float) -> Float:
        """(A,) mean of -tanh(z / scale), in (-1, 1)."""
        signal = np.zeros(self.n)
        for bars in self.config.windows:
            part = close[-bars:]
            z = (close[-1] - part.mean(axis=0)) / np.maximum(part.std(axis=0), 1e-12)
            signal -= np.tanh(z / self.config.z_scale) / len(self.config.windows)
        return signal

    def _remember(self, first: bool, close: Float) -> Float:
        """Keep the volatilities of the recent past, and return the newest, (A,) per bar."""
        if first:
            self.past = self._volatilities(close)[-self.memory :]
        else:
            self.past = np.concatenate([self.past[1:], self._volatilities(close[-self.cut - 1 :])])
        now: Float = self.past[-1]
        return now

    def _volatilities(self, close: Float) -> Float:
        """(W - cut, A) roots of the exponential means of squared log returns, each cut at as many bars."""
        squares = np.diff(np.log(close), axis=0) ** 2
        weight = self.decay ** np.arange(self.cut - 1, -1, -1)
        means: Float = np.sqrt(sliding_window_view(squares, self.cut, axis=0) @ (weight / weight.sum()))
        return means


class Fitted(AdaptiveMeanReversion):
    """The same with the regimes of a hidden Markov chain, fitted on training rows and filtered ever after."""

    def __init__(self, config: Config, brief: Brief):
        super().__init__(config, brief)
        self.chain: Chain | None = None
        self.unit: Float = np.ones(self.n)
        self.centre: Float = np.zeros(_N)
        self.spread: Float = np.ones(_N)
        self.role: Float = np.eye(_N)
        self.believed: Float = np.empty((self.n, _N))

    def fit(self, task: Task, log: Log) -> None:
        """Fit one chain to the training rows of all instruments.

        Raises
        ------
        UserError
            If no instrument has enough training bars on end.
        """
        self.unit = _unit(task, self.n)
        rows, begins = self._training(task)
        spread = rows.std(axis=0)
        self.centre, self.spread = rows.mean(axis=0), np.where(spread > 1e-12, spread, 1.0)
        scaled = (rows - self.centre) / self.spread
        chain, path = fit(_FIRST_GUESS, scaled, begins, self.config.n_iterations)
        for step, value in enumerate(path):
            log.scalar("train/log_likelihood", float(value), step)
        log.progress(len(path), len(path), f"log likelihood {path[-1]:.4f} a bar")
        self.chain, self.role = chain, self._roles(chain)

    def state(self) -> State:
        """The chain and the scales of what it observes."""
        if self.chain is None:
            return {}
        return {**self.chain._asdict(), "unit": self.unit, "centre": self.centre, "spread": self.spread}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take a fitted chain over."""
        self.unit, self.centre, self.spread = (np.array(state[name]) for name in ("unit", "centre", "spread"))
        self.chain = Chain(*(np.array(state[name]) for name in Chain._fields))
        self.role = self._roles(self.chain)

    def carried(self) -> State:
        """The recent past, and the belief in each regime."""
        return {**super().carried(), "believed": self.believed.copy()}

    def carry(self, memory: State) -> None:
        """Take past and belief over."""
        super().carry(memory)
        self.believed = np.array(memory["believed"])

    def regimes(self, first: bool, close: Float) -> Float:
        """(A, 3) filtered probabilities."""
        if self.chain is None:
            raise RuntimeError("train or restore the agent before it decides")
        seen = self._observed(close if first else close[-self.config.ratio_bars - 1 :])
        for a in range(self.n):
            rows = (seen[:, a] - self.centre) / self.spread
            self.believed[a] = filtered(self.chain, rows, None if first else self.believed[a].copy())[-1]
        return self.believed @ self.role

    def _roles(self, chain: Chain) -> Float:
        """(K, 3) which regime each state is: volatile by its returns' size, else by its variance ratio.

        Roles go by what a state looks like, not by its rank: where the training rows show two regimes only, two states
        share one.
        """
        mean = chain.mean * self.spread + self.centre
        wild = mean[:, 1] > self.config.wild_size * self.centre[1]
        reverting = np.exp(mean[:, 2]) < self.config.ratio_threshold
        return np.stack([reverting & ~wild, ~reverting & ~wild, wild], axis=-1).astype(np.float64)

    def _observed(self, close: Float) -> Float:
        """(W - ratio_bars, A, 3) log return and its size in units of the training rows', and log variance ratio."""
        config = self.config
        now = np.diff(np.log(close[config.ratio_bars - 1 :]), axis=0) / self.unit
        ratio = variance_ratios(close, config.ratio_horizon, config.ratio_bars)
        return np.stack([now, np.abs(now), np.log(np.maximum(ratio, 1e-3))], axis=-1)

    def _training(self, task: Task) -> tuple[Float, Bool]:
        """(N, 3) observations of all instruments end to end, and where each stretch without a gap begins."""
        rows, begins = [], []
        for history, segments in task.train:
            for segment in segments:
                close = history.values[segment.start : segment.stop, :, CLOSE]
                if len(close) <= self.config.ratio_bars:
                    continue
                seen = self._observed(close)
                for a in range(self.n):
                    known: Bool = ~np.isnan(seen[:, a].sum(axis=1))
                    rows.append(seen[known, a])
                    begins.append(np.insert(~known[:-1], 0, True)[known])
        if not any(len(part) for part in rows):
            raise UserError(
                f"agent adaptive_mean_reversion: no instrument has more than ratio_bars = {self.config.ratio_bars} "
                "training bars on end; take a longer period or fewer ratio_bars."
            )
        joined = np.concatenate(begins)
        joined[np.cumsum([0, *(len(part) for part in begins)])[:-1]] = True
        return np.concatenate(rows), joined


_FIRST_GUESS = Chain(
    np.full(_N, 1.0 / _N),
    np.full((_N, _N), 0.005) + 0.985 * np.eye(_N),
    np.array([[0.0, -0.3, -1.0], [0.0, -0.3, 1.0], [0.0, 1.5, 0.0]]),
    np.ones((_N, _N)),
)
"""Reverting: a low variance ratio; trending: a high one; volatile: large returns. In standard deviations."""


def _unit(task: Task, n: int) -> Float:
    """(A,) standard deviations of the training rows' log returns; the others' mean for one that has none."""
    total, count = np.zeros(n), np.zeros(n)
    for history, segments in task.train:
        for segment in segments:
            returns = np.diff(np.log(history.values[segment.start : segment.stop, :, CLOSE]), axis=0)
            total += np.nansum(returns**2, axis=0)
            count += (~np.isnan(returns)).sum(axis=0)
    unit = np.sqrt(total / np.maximum(count, 1.0))
    seen = unit > 0.0
    return np.where(seen, unit, float(unit[seen].mean()) if seen.any() else 1.0)


def variance_ratios(close: Float, horizon: int, bars: int) -> Float:
    """Variance ratios of Lo & MacKinlay (1988, equations 12-13): below 1 returns revert, above 1 they go on.

    Parameters
    ----------
    close
        (W, A).
    horizon
        Bars of the longer return.
    bars
        Returns that each ratio is measured from.

    Returns
    -------
    Float
        (W - bars, A); NaN where a bar is missing, 1 where nothing moved.
    """
    returns = sliding_window_view(np.diff(np.log(close), axis=0), bars, axis=0)
    mean = returns.mean(axis=-1, keepdims=True)
    sums = np.cumsum(returns - mean, axis=-1)
    longer = sums[..., horizon - 1 :].copy()
    longer[..., 1:] -= sums[..., :-horizon]
    free = horizon * (bars - horizon + 1) * (1.0 - horizon / bars)
    single = ((returns - mean) ** 2).sum(axis=-1) / (bars - 1)
    ratio: Float = np.ones_like(single)
    np.divide((longer**2).sum(axis=-1) / free, single, out=ratio, where=~(single <= 1e-20))
    return ratio


def make(config: Config, brief: Brief) -> AdaptiveMeanReversion:
    """Make the agent; only the one with a hidden Markov chain is trained."""
    if config.ratio_horizon >= config.ratio_bars:
        raise UserError(
            f"agent adaptive_mean_reversion: ratio_horizon {config.ratio_horizon} must be below ratio_bars "
            f"{config.ratio_bars}; lower it."
        )
    return (Fitted if config.regime == "hmm" else AdaptiveMeanReversion)(config, brief)
