"""Inputs of a deep momentum network, each computed from a finite window of bars.

Normalised returns and MACD as Lim, Zohren & Roberts (2019) define them, with the spans that the code of Wood et al.
(2021) uses. Exponential means begin at the window's first bar, so a row computed from a live window and the same row
of a matrix over a whole history are the same bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.features import frozen
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import CLOSE, Bool, Float, Int

CLIP = 10.0
"""Inputs lie in [-CLIP, CLIP]."""
_TAIL = 4
"""Time constants after which an exponential mean is cut: what is left out weighs e^-4."""
_LEAST = 20
"""MACD values that a standard deviation needs at least."""


class MomentumInputs(NamedTuple):
    """Which inputs."""

    horizons: tuple[int, ...]
    """Bars of each normalised return."""
    pairs: tuple[tuple[int, int], ...]
    """Short and long time scale of each MACD."""
    price_bars: int
    """Bars of the standard deviation of the price that a MACD is divided by."""
    macd_bars: int
    """Bars of the standard deviation of a MACD that it is divided by then."""
    volatility_bars: int
    """Span of the exponentially weighted volatility, and bars that it needs at least."""
    winsor_bars: int
    """Half-life of the exponential mean and deviation that the price is winsorised by."""
    winsor_deviations: float
    """Prices are moved to within this many deviations of that mean."""

    @property
    def lookback(self) -> int:
        """Bars that one row is computed from."""
        slowest = max((long for _, long in self.pairs), default=0)
        macd = self.macd_bars + max(self.price_bars, _TAIL * slowest) if self.pairs else 0
        return max(*self.horizons, macd, _TAIL * self.volatility_bars) + 1

    @property
    def n_inputs(self) -> int:
        """F: one for each horizon and each pair."""
        return len(self.horizons) + len(self.pairs)

    def rows(self, bars: Float, first: int = 0) -> tuple[Float, Float, Bool]:
        """Inputs, volatility and validity of rows ``first`` to the end.

        Parameters
        ----------
        bars
            (T, A, C) channels; what lies before the first bar counts as before the listing.
        first
            Row to begin with.

        Returns
        -------
        tuple[Float, Float, Bool]
            (T - first, A, F) inputs, 0 where the instrument is too young for one of them; (T - first, A) standard
            deviation of a bar's return, 0 where it is not known; and whether the row can be traded on: the instrument
            trades in it and its volatility is known and above zero.
        """
        n, n_instruments = len(bars) - first, bars.shape[1]
        inputs = np.zeros((n, n_instruments, self.n_inputs))
        volatility = np.zeros((n, n_instruments))
        _rows(
            frozen(bars), first, self.lookback, np.array(self.horizons), np.array(self.pairs).reshape(-1, 2),
            self.price_bars, self.macd_bars, self.volatility_bars, 0.5 ** (1.0 / self.winsor_bars),
            self.winsor_deviations, np.empty(self.lookback), np.empty((self.lookback, len(self.pairs))), inputs,
            volatility,
        )  # fmt: skip
        return inputs, volatility, ~np.isnan(bars[first:, :, CLOSE]) & (volatility > 0.0)


@compiled
def _rows(
    bars: Float,
    first: int,
    lookback: int,
    horizons: Int,
    pairs: Int,
    price_bars: int,
    macd_bars: int,
    span: int,
    keep: float,
    deviations: float,
    price: Float,
    macd: Float,
    inputs: Float,
    volatility: Float,
) -> None:
    n_horizons = len(horizons)
    for t in range(first, bars.shape[0]):
        begin = max(0, t - lookback + 1)
        for a in range(bars.shape[1]):
            n = winsorised(bars, begin, t, a, keep, deviations, price)
            sigma = _deviation_of_returns(price, n, span)
            volatility[t - first, a] = sigma
            if sigma == 0.0:
                continue
            for h in range(n_horizons):
                k = horizons[h]
                if n > k:
                    rise = price[n - 1] / price[n - 1 - k] - 1.0
                    inputs[t - first, a, h] = _clipped(rise / (sigma * math.sqrt(k)))
            for p in range(pairs.shape[0]):
                _fill_macd(price, n, pairs[p, 0], pairs[p, 1], price_bars, macd, p)
                value = _normalised(macd, n, pairs[p, 1], price_bars, macd_bars, p)
                inputs[t - first, a, n_horizons + p] = _clipped(value)


@inlined
def _clipped(value: float) -> float:
    return min(max(value, -CLIP), CLIP)


@inlined
def winsorised(bars: Float, begin: int, t: int, a: int, keep: float, deviations: float, price: Float) -> int:
    """Write the winsorised closes since the first one in the window, the last one kept over gaps; return how many.

    Parameters
    ----------
    bars
        (T, A, C) channels.
    begin, t
        First and last row of the window, both included.
    a
        Which instrument.
    keep
        Weight that exponentially weighted mean and variance of the closes keep from bar to bar, below 1.
    deviations
        A close is pulled in to so many of their standard deviations from their mean.
    price
        (window,) written: closes, divided by the first of them.

    Returns
    -------
    int
        How many were written; 0 where the instrument never traded in the window.
    """
    n = 0
    scale = weight = mean = square = 0.0
    for k in range(begin, t + 1):
        close = bars[k, a, CLOSE]
        if math.isnan(close):
            if n > 0:
                price[n] = price[n - 1]
                n += 1
            continue
        if n == 0:
            scale = close
        x = close / scale
        weight = weight * keep + 1.0
        mean = mean * keep + x
        square = square * keep + x * x
        centre = mean / weight
        variance = square / weight - centre * centre
        reach = deviations * math.sqrt(variance) if variance > 0.0 else 0.0
        price[n] = min(max(x, centre - reach), centre + reach) if variance > 0.0 else x
        n += 1
    return n


@inlined
def _deviation_of_returns(price: Float, n: int, span: int) -> float:
    """Exponentially weighted standard deviation of the returns, 0 where there are fewer than ``span``."""
    if n <= span:
        return 0.0
    keep = 1.0 - 2.0 / (span + 1.0)
    weight = total = square = 0.0
    for k in range(1, n):
        r = price[k] / price[k - 1] - 1.0
        weight = weight * keep + 1.0
        total = total * keep + r
        square = square * keep + r * r
    mean = total / weight
    variance = square / weight - mean * mean
    return math.sqrt(variance) if variance > 1e-16 else 0.0


@inlined
def _fill_macd(price: Float, n: int, short: int, long: int, bars: int, macd: Float, p: int) -> None:
    """Write the difference of two exponential means over the price's standard deviation, for each bar."""
    fast, slow = 1.0 - 1.0 / short, 1.0 - 1.0 / long
    quick = quick_weight = lazy = lazy_weight = total = square = 0.0
    for k in range(n):
        x = price[k] - price[0]
        quick, quick_weight = quick * fast + x, quick_weight * fast + 1.0
        lazy, lazy_weight = lazy * slow + x, lazy_weight * slow + 1.0
        total += x
        square += x * x
        if k >= bars:
            gone = price[k - bars] - price[0]
            total -= gone
            square -= gone * gone
        size = min(k + 1, bars)
        variance = square / size - (total / size) * (total / size)
        spread = math.sqrt(variance) if variance > 1e-12 else 1e-6
        macd[k, p] = (quick / quick_weight - lazy / lazy_weight) / spread


@inlined
def _normalised(macd: Float, n: int, long: int, price_bars: int, macd_bars: int, p: int) -> float:
    """The last MACD over the standard deviation of those before it, 0 where they are too few."""
    begin = max(n - macd_bars, min(long, price_bars))
    count = n - begin
    if count < _LEAST:
        return 0.0
    total = square = 0.0
    for k in range(begin, n):
        total += macd[k, p]
        square += macd[k, p] * macd[k, p]
    variance = square / count - (total / count) * (total / count)
    return macd[n - 1, p] / math.sqrt(variance) if variance > 1e-12 else 0.0
