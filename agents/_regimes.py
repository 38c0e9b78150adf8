"""Which regime the market is in: by two thresholds, or by a hidden Markov chain that is fitted on training rows.

Both tell three regimes apart: prices that revert, that trend, and that are wild.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from agents._hidden_markov import Chain, filtered, fit
from agents._measures import log_returns, logs, ranks, variance_ratios, volatilities
from qframe_rl.agent import Log, State, Task
from qframe_rl.config import UserError
from qframe_rl.features import Remembered
from qframe_rl.types import CLOSE, Bool, Float

if TYPE_CHECKING:
    from agents.adaptive_mean_reversion import Config

N = 3
"""Regimes, and hidden states: reverting, trending, volatile."""
_RECENT = 16
"""Results that are kept for settings in a row that share them: a tuner goes round the parts of its training bars."""
_READ, _FITTED = Remembered(_RECENT), Remembered(_RECENT)


class Regimes(Protocol):
    """A reading of the market."""

    roles: Float
    """(S, 3) which regime each of S states is."""

    def all(self, close: Float, first: int) -> Float:
        """Probabilities of the states at rows ``first``.. of (T, A) closes, (T - first, A, S)."""

    def next(self, begin: bool, close: Float) -> Float:
        """The same for the last of (W, A) closes alone, (1, A, S). ``begin`` forgets what came before them."""

    def carried(self) -> State:
        """What `next` remembers."""

    def carry(self, memory: State) -> None:
        """Take over what `carried` returned."""


class Thresholds:
    """Two thresholds: wild where volatility is high among its recent past, else reverting by the variance ratio."""

    def __init__(self, config: Config, n: int, memory: int, cut: int):
        self.config, self.memory, self.cut = config, memory, cut
        self.roles = np.eye(N)
        self.past: Float = np.empty((0, n))

    def all(self, close: Float, first: int) -> Float:
        """Regimes, each with probability 0 or 1."""
        config = self.config
        key = ("thresholds", config.ratio_horizon, config.ratio_bars, config.volatility_span, self.memory, first)
        ratio, rank = _READ(key, [close], lambda: self._measured(close, first))
        return self._told(ratio, rank)

    def next(self, begin: bool, close: Float) -> Float:
        """The last row's regimes; volatilities of the past are remembered and not measured again."""
        config, span = self.config, self.config.volatility_span
        if begin:
            self.past = volatilities(close, self.cut, span, self.cut)[-self.memory :]
        else:
            newest = volatilities(close[-self.cut - 1 :], self.cut, span, self.cut)
            self.past = np.concatenate([self.past[1:], newest])
        ratio = variance_ratios(close[-config.ratio_bars - 1 :], config.ratio_horizon, config.ratio_bars)
        return self._told(ratio, ranks(self.past, self.memory))

    def carried(self) -> State:
        """The volatilities of the recent past."""
        return {"past": self.past.copy()}

    def carry(self, memory: State) -> None:
        """Take the past over."""
        self.past = np.array(memory["past"])

    def _measured(self, close: Float, first: int) -> tuple[Float, Float]:
        """(T - first, A) variance ratios, and how high volatility is among the recent past."""
        config = self.config
        past = volatilities(close, first - self.memory + 1, config.volatility_span, self.cut)
        ratio = variance_ratios(close[first - config.ratio_bars :], config.ratio_horizon, config.ratio_bars)
        return ratio, ranks(past, self.memory)

    def _told(self, ratio: Float, rank: Float) -> Float:
        wild, reverting = rank > self.config.wild_quantile, ratio < self.config.ratio_threshold
        return np.stack([reverting & ~wild, ~reverting & ~wild, wild], axis=-1).astype(np.float64)


class Fit(NamedTuple):
    """What is learned from training rows."""

    chain: Chain
    unit: Float
    """(A,) standard deviations of the instruments' log returns."""
    centre: Float
    """(3,) means of what is observed."""
    spread: Float
    """(3,) its standard deviations."""
    path: Float
    """Log likelihood a row before each step of the fit."""


class Chained:
    """A hidden Markov chain over returns, their size and the variance ratio, filtered: it never knows a later bar."""

    def __init__(self, config: Config, n: int):
        self.config, self.n = config, n
        self.fitted: Fit | None = None
        self.roles = np.eye(N)
        self.believed: Float = np.empty((n, N))

    def fit(self, task: Task, log: Log) -> None:
        """Fit one chain to the training rows of all instruments.

        Raises
        ------
        UserError
            If no instrument has enough training bars on end.
        """
        config = self.config
        key = (config.ratio_horizon, config.ratio_bars, config.n_iterations, *(part for _, part in task.train))
        bars = [history.values for history, _ in task.train]
        found = _FITTED(key, bars, lambda: self._fit(task))
        for step, value in enumerate(found.path):
            log.scalar("train/log_likelihood", float(value), step)
        log.progress(len(found.path), len(found.path), f"log likelihood {found.path[-1]:.4f} a bar")
        self._take(found)

    def state(self) -> State:
        """The chain and the scales of what it observes."""
        if self.fitted is None:
            return {}
        fitted = self.fitted
        return {**fitted.chain._asdict(), "unit": fitted.unit, "centre": fitted.centre, "spread": fitted.spread}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take a fitted chain over."""
        chain = Chain(*(np.array(state[name]) for name in Chain._fields))
        unit, centre, spread = (np.array(state[name]) for name in ("unit", "centre", "spread"))
        self._take(Fit(chain, unit, centre, spread, np.empty(0)))

    def all(self, close: Float, first: int) -> Float:
        """Filtered probabilities; the filter begins with the first row that can be observed."""
        config, fitted = self.config, self._known()
        numbers = b"".join(array.tobytes() for array in (*fitted.chain, *fitted[1:4]))
        key = ("chain", config.ratio_horizon, config.ratio_bars, numbers, first)
        return _READ(key, [close], lambda: self._filtered(close)[first - config.ratio_bars :])

    def next(self, begin: bool, close: Float) -> Float:
        """Filtered probabilities of the last row, gone on from those of the row before."""
        if begin:
            self.believed = self._filtered(close)[-1]
        else:
            self.believed = self._filtered(close[-self.config.ratio_bars - 1 :], self.believed)[-1]
        return self.believed[None]

    def carried(self) -> State:
        """The belief in each state."""
        return {"believed": self.believed.copy()}

    def carry(self, memory: State) -> None:
        """Take the belief over."""
        self.believed = np.array(memory["believed"])

    def _known(self) -> Fit:
        if self.fitted is None:
            raise RuntimeError("train or restore the agent before it decides")
        return self.fitted

    def _filtered(self, close: Float, before: Float | None = None) -> Float:
        """(T - ratio_bars, A, 3)."""
        fitted = self._known()
        seen = (self._observed(close, fitted.unit) - fitted.centre) / fitted.spread
        each = [
            filtered(fitted.chain, np.ascontiguousarray(seen[:, a]), None if before is None else before[a])
            for a in range(self.n)
        ]
        return np.stack(each, axis=1)

    def _take(self, found: Fit) -> None:
        """Use what was learned.

        Roles go by what a state looks like, not by its rank: where the training rows show two regimes only, two states
        share one. Volatile is told by its returns' size, else reverting or trending by its variance ratio.
        """
        self.fitted = found
        mean = found.chain.mean * found.spread + found.centre
        wild = mean[:, 1] > self.config.wild_size * found.centre[1]
        reverting = np.exp(mean[:, 2]) < self.config.ratio_threshold
        self.roles = np.stack([reverting & ~wild, ~reverting & ~wild, wild], axis=-1).astype(np.float64)

    def _observed(self, close: Float, unit: Float) -> Float:
        """(T - ratio_bars, A, 3) log return and its size in units of the training rows', and log variance ratio."""
        config = self.config
        now = log_returns(close[config.ratio_bars - 1 :]) / unit
        ratio = variance_ratios(close, config.ratio_horizon, config.ratio_bars)
        return np.stack([now, np.abs(now), logs(np.maximum(ratio, 1e-3))], axis=-1)

    def _fit(self, task: Task) -> Fit:
        unit = _unit(task, self.n)
        rows, begins = self._training(task, unit)
        centre, spread = rows.mean(axis=0), rows.std(axis=0)
        spread = np.where(spread > 1e-12, spread, 1.0)
        chain, path = fit(_FIRST_GUESS, (rows - centre) / spread, begins, self.config.n_iterations)
        return Fit(chain, unit, centre, spread, path)

    def _training(self, task: Task, unit: Float) -> tuple[Float, Bool]:
        """(N, 3) observations of all instruments end to end, and where each stretch without a gap begins."""
        rows, begins = [], []
        for history, segments in task.train:
            for segment in segments:
                close = history.values[segment.start : segment.stop, :, CLOSE]
                if len(close) <= self.config.ratio_bars:
                    continue
                seen = self._observed(close, unit)
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
        starts = np.cumsum([0, *(len(part) for part in begins)])[:-1]
        joined[starts[[len(part) > 0 for part in begins]]] = True
        return np.concatenate(rows), joined


_FIRST_GUESS = Chain(
    np.full(N, 1.0 / N),
    np.full((N, N), 0.005) + 0.985 * np.eye(N),
    np.array([[0.0, -0.3, -1.0], [0.0, -0.3, 1.0], [0.0, 1.5, 0.0]]),
    np.ones((N, N)),
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
