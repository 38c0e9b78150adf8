"""Mean reversion that asks first whether the market reverts: z-scores of several windows, weighted by the regime.

Three regimes (reverting, trending, volatile) are told apart by returns, their size and the variance ratio of Lo &
MacKinlay (1988). Their probabilities are *filtered*: they know the bars up to now alone (ALGORITHMS, card 4.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from agents._measures import log_returns, volatilities, z_scores
from agents._regimes import Chained, Regimes, Thresholds
from qframe_rl.agent import Brief, Log, State, Task, View
from qframe_rl.config import Base, UserError, search
from qframe_rl.features import Remembered, frozen
from qframe_rl.interface import rebalance
from qframe_rl.jit import compiled
from qframe_rl.theory.kelly import coin
from qframe_rl.types import CLOSE, DAY, YEAR, Float, Int, Orders

_KELLY_SHARE, _KELLY_CAP = 0.5, 0.25
"""Half of Kelly's fraction is staked, and never more than a quarter of equity (ALGORITHMS, card 4.1)."""
_MEASURED = Remembered(16)


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
    sizing: Literal["volatility", "kelly"] = "volatility"
    """``volatility``: positions of equal risk, by the target above; ``kelly``: positions of equal size, half of Kelly's
    fraction of the odds that training rows show net of costs, at most 0.25 and 0 where they show none."""
    max_exposure: float = Field(default=1.0, gt=0.0)
    """Largest share of equity in all; each of A instruments gets at most 1 / A of it."""
    band: float = Field(default=0.1, ge=0.0, json_schema_extra=search(low=0.0, high=0.5))
    """No trade while an instrument's exposure is within this share of its part of the largest exposure. With linear
    cost a band is optimal: it grows as the cube root of the cost (de Lataillade et al., 2012)."""


QUICK = {"memory_days": 4.0, "ratio_bars": 60, "n_iterations": 5}
"""Parameters that need little history: for a first try, and for tests."""


class AdaptiveMeanReversion:
    """Sells what rose and buys what fell, as far as the regime is one of reversion."""

    def __init__(self, config: Config, brief: Brief):
        self.config = config
        self.n = len(brief.instruments)
        self.cut = 4 * config.volatility_span
        memory = max(20, round(config.memory_days * DAY / brief.bar_ns))
        self.tail = max(config.ratio_bars + 1, self.cut + 1, *config.windows)
        self.window = max(memory + max(config.ratio_bars, self.cut), *config.windows)
        self.regimes: Regimes
        if config.regime == "hmm":
            self.regimes = Chained(config, self.n)
        else:
            self.regimes = Thresholds(config, self.n, memory, self.cut)
        self.low = -1.0 if brief.shorting else 0.0
        self.aim = config.volatility_target / math.sqrt(YEAR / brief.bar_ns)
        self._stake(1.0)

    def _stake(self, fraction: float) -> None:
        """Set the largest exposure, as a share of `max_exposure`, and the band with it."""
        self.fraction = fraction
        self.cap = self.config.max_exposure * fraction / self.n
        self.band = self.config.band * self.cap

    def decide(self, view: View) -> Orders:
        """Go to the weighted signal, unless it is near enough."""
        close = frozen(view.close[-self.window if view.first else -self.tail :])
        states = self.regimes.next(view.first, close)
        return rebalance(view, self._sized(self._measured(close, len(close) - 1), states)[0], self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """The same for every row; the chain's filter begins where that of a session would."""
        return self._sized(*self._read(bars[first - self.window + 1 :, :, CLOSE], self.window - 1))

    def carried(self) -> State:
        """What the regimes are read from besides the bars to come."""
        return self.regimes.carried()

    def carry(self, memory: State) -> None:
        """Take it over."""
        self.regimes.carry(memory)

    def _read(self, close: Float, first: int) -> tuple[Float, Float]:
        """What rows ``first``.. of (T, A) closes show, and the probabilities of their states."""
        config = self.config
        key = (config.windows, config.volatility_span, first)
        return _MEASURED(key, [close], lambda: self._measured(close, first)), self.regimes.all(close, first)

    def _measured(self, close: Float, first: int) -> Float:
        """(T - first, A, W + 1) z-scores of each window, and volatility a bar."""
        config = self.config
        volatility = volatilities(close[first - self.cut :], self.cut, config.volatility_span, self.cut)
        return np.concatenate([z_scores(close, first, config.windows), volatility[..., None]], axis=-1)

    def _sized(self, measured: Float, states: Float) -> Float:
        """(T, A) target exposures; 0 where a bar is missing."""
        config, out = self.config, np.empty(measured.shape[:2])
        aim = self.aim if config.sizing == "volatility" else 0.0
        trust = self.regimes.roles @ np.array([config.reverting, config.trending, config.volatile])
        _size(frozen(measured), frozen(states), frozen(trust), config.z_scale, aim, self.low, self.cap, out)
        return out


class Fitted(AdaptiveMeanReversion):
    """The same with what is learned from training rows: the regimes' hidden Markov chain, the odds of bets, or both."""

    def __init__(self, config: Config, brief: Brief):
        super().__init__(config, brief)
        self.cost = brief.cost_rate
        self.fitted = False

    def fit(self, task: Task, log: Log) -> None:
        """Fit the chain to the training rows of all instruments, then bet on them to see how that goes.

        Raises
        ------
        UserError
            If no instrument has enough training bars on end.
        """
        if isinstance(self.regimes, Chained):
            self.regimes.fit(task, log)
        if self.config.sizing == "kelly":
            self._stake(1.0)
            self._stake(self._kelly(task, log))
        self.fitted = True

    def decide(self, view: View) -> Orders:
        """Go to the weighted signal, unless it is near enough."""
        self._require()
        return super().decide(view)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """The same for every row; the chain's filter begins where that of a session would."""
        self._require()
        return super().targets(bars, times, first)

    def _require(self) -> None:
        if not self.fitted:
            raise RuntimeError("train or restore the agent before it decides")

    def state(self) -> State:
        """The chain with the scales of what it observes, and the share of equity that is staked."""
        found: State = self.regimes.state() if isinstance(self.regimes, Chained) else {}
        if self.config.sizing == "kelly" and self.fitted:
            found["stake"] = np.array([self.fraction])
        return found

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what was fitted."""
        if isinstance(self.regimes, Chained):
            self.regimes.restore(state)
        if self.config.sizing == "kelly":
            self._stake(float(state["stake"][0]))
        self.fitted = True

    def _kelly(self, task: Task, log: Log) -> float:
        """Half of Kelly's fraction for the win rate and the mean win over the mean loss of bets on training rows."""
        gains = np.concatenate([np.empty(0), *self._bets(task)])
        won, lost = gains[gains > 0.0], gains[gains <= 0.0]
        fraction = 0.0
        if len(won):
            sure = float(lost.sum()) == 0.0
            fraction = 1.0 if sure else coin(len(won) / len(gains), float(-won.mean() / lost.mean())).fraction
        log.scalar("train/bets", len(gains), 0)
        log.scalar("train/win_rate", len(won) / max(len(gains), 1), 0)
        log.progress(1, 1, f"{len(gains)} bets, Kelly's fraction {fraction:.3f}")
        return min(_KELLY_CAP, _KELLY_SHARE * fraction)

    def _bets(self, task: Task) -> list[Float]:
        """Log returns of the bets of each stretch of training rows and each instrument, less a round trip's cost.

        A bet begins when the exposure asked for passes the band, and ends when it changes sign.
        """
        found = []
        for history, segments in task.train:
            for segment in segments:
                close = history.values[segment.start : segment.stop, :, CLOSE]
                if len(close) <= self.window:
                    continue
                asked = self._sized(*self._read(close, self.window - 1))
                moved = log_returns(close[self.window - 1 :])
                for a in range(self.n):
                    gains = np.empty(len(moved))
                    n = _bet(frozen(asked[:-1, a]), frozen(moved[:, a]), self.band, 2.0 * self.cost, gains)
                    found.append(gains[:n])
        return found


@compiled
def _size(
    measured: Float, states: Float, trust: Float, scale: float, aim: float, low: float, cap: float, out: Float
) -> None:
    """Write trust in reversion times the mean of -tanh(z / scale), sized; ``aim`` 0 = not by volatility."""
    n = measured.shape[2] - 1
    for t in range(len(out)):
        for a in range(out.shape[1]):
            target = signal = 0.0
            for w in range(n):
                signal -= math.tanh(measured[t, a, w] / scale)
            for s in range(len(trust)):
                target += states[t, a, s] * trust[s]
            target *= signal / n
            volatility = measured[t, a, n]
            if aim > 0.0:
                target *= aim / (1e-12 if volatility <= 1e-12 else volatility)
            target = low if target < low else (1.0 if target > 1.0 else target)
            out[t, a] = 0.0 if math.isnan(target) or math.isnan(volatility) else target * cap


@compiled
def _bet(asked: Float, moved: Float, band: float, cost: float, out: Float) -> int:
    """Write the log return of each bet, less ``cost``; return their number. A bar that is missing moves nothing."""
    n, side, gain = 0, 0.0, 0.0
    for t in range(len(asked)):
        if side != 0.0 and asked[t] * side <= 0.0:
            out[n] = gain - cost
            n, side = n + 1, 0.0
        if side == 0.0 and abs(asked[t]) > band:
            side, gain = math.copysign(1.0, asked[t]), 0.0
        if side != 0.0 and not math.isnan(moved[t]):
            gain += side * moved[t]
    return n


def make(config: Config, brief: Brief) -> AdaptiveMeanReversion:
    """Make the agent; it is trained only if there is something to fit."""
    if config.ratio_horizon >= config.ratio_bars:
        raise UserError(
            f"agent adaptive_mean_reversion: ratio_horizon {config.ratio_horizon} must be below ratio_bars "
            f"{config.ratio_bars}; lower it."
        )
    fitted = config.regime == "hmm" or config.sizing == "kelly"
    return (Fitted if fitted else AdaptiveMeanReversion)(config, brief)
