"""Mean reversion that must have paid lately: z-scores of several windows, bet on while bets on them earn.

Whether a market reverts just now is asked of the bets themselves. The same bets are kept on paper, long and short, and
charged what trading costs; real ones are made while the paper ones of the last bars earned, by a t-statistic.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from pydantic import Field

from qframe_rl.agent import MarketSpec, Memoryless, View
from qframe_rl.config import Base, search
from qframe_rl.estimate.zscores import TOGETHER, measure_scores
from qframe_rl.features import Remembered, frozen
from qframe_rl.interface import rebalance
from qframe_rl.jit import compiled
from qframe_rl.types import CLOSE, YEAR, Float, Int, Orders

_MEASURED = Remembered(4)
"""A tuner goes round the parts of its training bars."""


class Config(Base):
    """What is measured, what must have been earned, and how large a position is."""

    windows: tuple[Annotated[int, Field(ge=2, le=1_000_000)], ...] = Field(
        default=(10, 20, 50), min_length=1, max_length=100
    )
    """Bars of the means that the price is measured by; each counts alike. Longer ones trade less."""
    z_scale: float = Field(default=1.8, gt=0.0, le=1000.0, json_schema_extra=search(low=0.5, high=4.0, log=True))
    """Standard deviations at which a signal saturates (tanh of 1). Smaller bets more on small deviations."""
    paper_bars: int = Field(default=200, ge=20, le=1_000_000, json_schema_extra=search(low=50, high=1000, log=True))
    """Bars over which bets on paper must have earned. More tell luck from reversion better, and both turns later."""
    least_t: float = Field(default=1.0, ge=-100.0, le=100.0, json_schema_extra=search(low=0.0, high=3.0))
    """t-statistic of what they earned a bar, net of costs, above which bets are made. Larger trades less on noise."""
    volatility_span: int = Field(default=60, ge=2, le=1_000_000)
    """Span of the exponential mean of squared returns, in bars."""
    volatility_target: float = Field(default=0.15, gt=0.0, le=1000.0)
    """Standard deviation a year that a signal of one aims at."""
    max_exposure: float = Field(default=1.0, gt=0.0, le=1e6)
    """Largest share of equity in all; each of A instruments gets at most 1 / A of it."""
    band: float = Field(default=0.1, ge=0.0, le=1000.0, json_schema_extra=search(low=0.0, high=0.5))
    """No trade while an instrument's exposure is within this share of its part of the largest exposure. With linear
    cost a band is optimal: it grows as the cube root of the cost (de Lataillade et al., 2012)."""


QUICK = {"paper_bars": 60, "volatility_span": 20}
"""Parameters that need little history: for a first try, and for tests."""


class AdaptiveMeanReversion(Memoryless):
    """Sells what rose and buys what fell, while that pays."""

    def __init__(self, config: Config, spec: MarketSpec):
        self.config = config
        self.cut = 4 * config.volatility_span
        self.window = config.paper_bars + 2 + max(self.cut, max(config.windows) - 1)
        self.cost = spec.cost_rate
        self.low = -1.0 if spec.shorting else 0.0
        self.aim = config.volatility_target / math.sqrt(YEAR / spec.bar_ns)
        self.cap = config.max_exposure / len(spec.instruments)
        self.band = config.band * self.cap

    def decide(self, view: View) -> Orders:
        """Go to the signal where it pays, to nothing where it does not."""
        return rebalance(view, self.targets(view.bars, view.times, len(view.bars) - 1)[0], self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """The same for every row: each looks at its own last bars alone."""
        config, close = self.config, bars[first - self.window + 1 :, :, CLOSE]
        key = (config.windows, config.volatility_span, self.window)
        scores, volatility = _MEASURED(key, [close], lambda: self._measured(close))
        out = np.empty((len(close) - self.window + 1, close.shape[1]))
        for a, row in enumerate(frozen(close[-len(out) - config.paper_bars - 1 :].T)):
            bets, earned = np.empty(len(row)), np.empty(len(row))
            _bet(scores[a], volatility[a], config.z_scale, self.aim, bets)
            _earn(bets, row, self.cost, earned)
            _stake(bets, earned, config.paper_bars, config.least_t, self.low, self.cap, out[:, a])
        return out

    def _measured(self, close: Float) -> tuple[Float, Float]:
        """(A, N, W) z-scores of each window and (A, N) volatilities a bar, from the first row of bets on paper on."""
        config = self.config
        n = len(close) - self.window + config.paper_bars + 2
        scores, volatility = np.empty((close.shape[1], len(config.windows), n)), np.empty((close.shape[1], n))
        decay = (1.0 - 2.0 / (config.volatility_span + 1.0)) ** np.arange(self.cut - 1.0, -1.0, -1.0)
        weight: Float = frozen(decay / decay.sum())
        sums = np.empty((5, TOGETHER))
        for a, row in enumerate(np.ascontiguousarray(close.T)):
            for w, bars in enumerate(config.windows):
                measure_scores(row[len(row) - n - bars + 1 :], bars, sums, scores[a, w])
            _volatilities(row[len(row) - n - self.cut :], weight, np.empty(n + self.cut), volatility[a])
        return frozen(scores), frozen(volatility)


@compiled
def _volatilities(close: Float, weight: Float, work: Float, out: Float) -> None:
    """Write roots of exponential means of squared log returns, each of as many as there are weights."""
    n = len(weight)
    work[0] = math.nan
    for t in range(1, len(close)):
        move = math.log(close[t]) - math.log(close[t - 1])
        work[t] = move * move
    for t in range(len(out)):
        one = two = three = four = 0.0  # four strands: one alone would wait for each addition
        for k in range(0, n, 4):
            one += work[t + 1 + k] * weight[k]
            two += work[t + 2 + k] * weight[k + 1]
            three += work[t + 3 + k] * weight[k + 2]
            four += work[t + 4 + k] * weight[k + 3]
        out[t] = math.sqrt((one + two) + (three + four))


@compiled
def _bet(scores: Float, volatility: Float, scale: float, aim: float, out: Float) -> None:
    """Write the exposures that (W, T) z-scores ask for, no limits regarded: the mean of -tanh(z / scale), sized."""
    for t in range(len(out)):
        signal = 0.0
        for w in range(len(scores)):
            signal -= math.tanh(scores[w, t] / scale)
        out[t] = signal / len(scores) * aim / (1e-12 if volatility[t] <= 1e-12 else volatility[t])


@compiled
def _earn(bets: Float, close: Float, cost: float, out: Float) -> None:
    """Write what each bar brought the bet before it, less the cost of going to it; 0 where either is not known."""
    out[:2] = 0.0
    for t in range(2, len(out)):
        earned = bets[t - 1] * (close[t] / close[t - 1] - 1.0) - cost * abs(bets[t - 1] - bets[t - 2])
        out[t] = 0.0 if math.isnan(earned) else earned


@compiled
def _stake(bets: Float, earned: Float, n: int, least: float, low: float, cap: float, out: Float) -> None:
    """Write the last of the bets, within limits, where the ``n`` newest bars had earned enough by then, else 0."""
    for t in range(len(out)):
        bet, recent = bets[t + n + 1], earned[t + 2 : t + n + 2]
        mean = squares = 0.0
        for k in range(n):
            mean += recent[k]
        mean /= n
        for k in range(n):
            squares += (recent[k] - mean) ** 2
        pays = mean > least * math.sqrt(squares / (n * (n - 1.0)))
        bet = low if bet < low else (1.0 if bet > 1.0 else bet)
        out[t] = bet * cap if pays and not math.isnan(bet) else 0.0


def make(config: Config, spec: MarketSpec) -> AdaptiveMeanReversion:
    """Make the agent."""
    return AdaptiveMeanReversion(config, spec)
