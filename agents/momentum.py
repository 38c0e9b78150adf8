"""Time-series momentum: follow the sign of the past return, or a blend of moving-average crossovers.

Rules: ``sign`` is Moskowitz, Ooi & Pedersen (2012); with a second lookback it is the baseline of Lim, Zohren & Roberts
(2019, section 4), ``w sgn(r_fast) + (1 - w) sgn(r_slow)``; ``macd`` is Baz et al. (2015) as Wood et al. (2021) use it.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from qframe_rl.agent import MarketSpec, Memoryless, View
from qframe_rl.config import Base, UserError, search
from qframe_rl.features import frozen
from qframe_rl.interface import rebalance
from qframe_rl.jit import compiled
from qframe_rl.types import CLOSE, YEAR, Float, Int, Orders

_MEMORY = 5
"""Slow half-lives of bars after which an exponential mean is cut: what lies before weighs 0.7 %."""


Bars = Annotated[int, Field(ge=1, le=1_000_000)]


class Config(Base):
    """What is followed, and how large."""

    rule: Literal["sign", "macd"] = "sign"
    """``sign`` follows the direction of past returns, ``macd`` the distance between fast and slow means, which also
    shrinks when a trend has gone very far. On daily bars of futures the two are alike (Wood et al., table 1)."""
    lookback_bars: int = Field(
        default=168, ge=2, le=1_000_000, json_schema_extra=search(24, 72, 168, 336, 720, low=6, high=1440, log=True)
    )
    """Bars whose return is followed; the default is a week of hours, Moskowitz et al. take a year of days (252).
    Shorter reacts sooner and trades more."""
    fast_bars: int = Field(default=21, ge=2, le=1_000_000)
    """Bars of a second, faster return (Lim et al.: a month of days); it counts only with a weight."""
    fast_weight: float = Field(default=0.0, ge=0.0, le=1.0, json_schema_extra=search(low=0.0, high=1.0))
    """Weight of the faster sign; 0 = the slow one alone, 0.5 and 1 are the other two baselines of Lim et al."""
    speeds: tuple[tuple[Bars, Bars], ...] = Field(default=((8, 24), (16, 48), (32, 96)), max_length=100)
    """Pairs of time scales of ``macd``, in bars: means with decay 1 - 1 / S; the crossovers are averaged."""
    price_bars: int = Field(default=63, ge=3, le=1_000_000)
    """Bars of the price's standard deviation that a crossover is measured in (``macd``)."""
    signal_bars: int = Field(default=252, ge=3, le=1_000_000)
    """Bars of the crossover's own standard deviation that it is then divided by (``macd``)."""
    volatility_bars: int = Field(default=72, ge=2, le=1_000_000, json_schema_extra=search(low=12, high=336, log=True))
    """Bars from which volatility is estimated."""
    volatility_target: float = Field(
        default=0.4, gt=0.0, le=1000.0, json_schema_extra=search(low=0.1, high=1.0, log=True)
    )
    """Standard deviation a year that each position aims at; exposure is capped at one share of equity in all."""
    band: float = Field(default=0.1, ge=0.0, le=1000.0, json_schema_extra=search(0.1, 0.3, low=0.0, high=0.6))
    """No trade while exposure is within this of its target, as a share of an instrument's part: of A instruments each
    has 1 / A of equity at most. Wider costs less and follows less closely."""


class Momentum(Memoryless):
    """Long what rose, short (where that is allowed) what fell (ALGORITHMS, card 4.3, baselines)."""

    def __init__(self, config: Config, spec: MarketSpec):
        self.config = config
        self.band = config.band / len(spec.instruments)
        bars = max(config.lookback_bars, config.volatility_bars, config.fast_bars if config.fast_weight > 0.0 else 0)
        if config.rule == "macd":
            if any(not 1 <= fast < slow for fast, slow in config.speeds) or not config.speeds:
                raise UserError(f"agent momentum: speeds {config.speeds} must be pairs FAST < SLOW; mend them.")
            slowest = max(slow for _, slow in config.speeds)
            bars = max(config.volatility_bars, _MEMORY * slowest + config.price_bars + config.signal_bars)
        self.window = bars + 1
        self.low = -1.0 if spec.shorting else 0.0
        self.bars_per_year = YEAR / spec.bar_ns

    def decide(self, view: View) -> Orders:
        """Target the trend times target over current volatility."""
        return rebalance(view, self.targets(view.bars, view.times, len(view.bars) - 1)[-1], self.band)

    def targets(self, bars: Float, times: Int, first: int) -> Float:
        """The same for every row: each looks at its own last bars alone."""
        config = self.config
        close = frozen(bars[first - self.window + 1 :, :, CLOSE])
        out = np.empty((len(bars) - first, close.shape[1], 3))
        _measure(close, self.window - 1, config.lookback_bars, config.fast_bars, config.volatility_bars,
                 np.empty(close.shape), out)  # fmt: skip
        if config.rule == "macd":
            trend = self._macd(close)
        else:
            trend = config.fast_weight * out[..., 1] + (1.0 - config.fast_weight) * out[..., 0]
            trend = out[..., 0] if config.fast_weight == 0.0 else trend
        volatility = out[..., 2] * math.sqrt(self.bars_per_year)
        size = np.minimum(1.0, config.volatility_target / np.maximum(volatility, 1e-9)) / close.shape[1]
        return np.where(np.isnan(volatility) | np.isnan(trend), 0.0, np.maximum(self.low, trend * size))

    def _macd(self, close: Float) -> Float:
        """(T - window + 1, A) mean response to the crossovers, in about [-1, 1]; NaN where the window is not full."""
        config = self.config
        out = np.empty((len(close) - self.window + 1, close.shape[1]))
        signal, scratch = np.zeros(out.shape), np.empty((2, config.signal_bars))
        for fast, slow in config.speeds:
            _crossovers(close, self.window, fast, slow, config.price_bars, scratch, out)
            signal += out * np.exp(-0.25 * out * out) / 0.89
        return signal / len(config.speeds)


@compiled
def _measure(close: Float, first: int, slow: int, fast: int, n: int, logs: Float, out: Float) -> None:
    """Write signs of the returns over ``slow`` and ``fast`` bars and the deviation of the last ``n`` returns."""
    for a in range(close.shape[1]):
        for t in range(close.shape[0]):
            logs[t, a] = math.log(close[t, a])
        for t in range(first, close.shape[0]):
            out[t - first, a, 0] = np.sign(logs[t, a] - logs[t - slow, a]) if slow <= first else 0.0
            out[t - first, a, 1] = np.sign(logs[t, a] - logs[t - fast, a]) if fast <= first else 0.0
            mean = (logs[t, a] - logs[t - n, a]) / n
            squares = 0.0
            for k in range(t - n + 1, t + 1):
                squares += (logs[k, a] - logs[k - 1, a] - mean) ** 2
            out[t - first, a, 2] = math.sqrt(squares / n)


@compiled
def _crossovers(close: Float, window: int, fast: int, slow: int, price_bars: int, scratch: Float, out: Float) -> None:
    """`crossover` of every window of closes, (T - window + 1, A)."""
    for k in range(len(out)):
        crossover(close[k : k + window], fast, slow, price_bars, scratch, out[k])


@compiled
def crossover(close: Float, fast: int, slow: int, price_bars: int, scratch: Float, out: Float) -> None:
    """Write MACD(fast, slow) of the last bar, in its own standard deviations.

    Parameters
    ----------
    close
        (W, A); a missing bar counts as the last known price.
    fast, slow
        Time scales in bars.
    price_bars
        Bars of the price's standard deviation.
    scratch
        (2, n) n = bars of the crossover's standard deviation; overwritten.
    out
        (A,) NaN where the first bar is missing or nothing moved.
    """
    n_bars, n_signal = close.shape[0], scratch.shape[1]
    quick, long = 1.0 - 1.0 / fast, 1.0 - 1.0 / slow
    for a in range(close.shape[1]):
        last = close[0, a]
        near = far = weight_near = weight_far = 0.0
        for t in range(n_bars):
            last = last if math.isnan(close[t, a]) else close[t, a]
            near, weight_near = near * quick + last, weight_near * quick + 1.0
            far, weight_far = far * long + last, weight_far * long + 1.0
            k = t - (n_bars - n_signal)
            if k >= 0:
                total = squares = 0.0
                for u in range(t - price_bars + 1, t + 1):
                    move = (last if math.isnan(close[u, a]) else close[u, a]) / last - 1.0
                    total += move
                    squares += move * move
                variance = (squares - total * total / price_bars) / (price_bars - 1)
                scratch[0, k] = (near / weight_near - far / weight_far) / last
                scratch[1, k] = math.sqrt(max(variance, 0.0))
        total = squares = 0.0
        for k in range(n_signal):
            q = scratch[0, k] / scratch[1, k] if scratch[1, k] > 0.0 else 0.0
            total += q
            squares += q * q
        spread = math.sqrt(max((squares - total * total / n_signal) / (n_signal - 1), 0.0))
        out[a] = q / spread if spread > 0.0 else math.nan


def make(config: Config, spec: MarketSpec) -> Momentum:
    """Make the agent."""
    return Momentum(config, spec)
