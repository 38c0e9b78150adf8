"""How likely it is that a trend broke within the last bars, and where: two inputs for each look-back.

Wood, Roberts & Zohren, "Slow momentum with fast reversion" (2021): the returns of a look-back, standardised, are
explained by one Gaussian process with a Matérn 3/2 kernel and white noise, and by one whose kernel changes from one
such kernel to another after bar c. Severity is ``1 - 1 / (1 + exp(-(nlml_C - nlml_M)))`` of their negative log marginal
likelihoods, location ``(c - (t - l)) / l``.

Two things differ from the authors' code, to be quick and to give the same bits everywhere. Hyper-parameters are the
best of a fixed grid instead of where a descent ends; and the change is a step, the limit of their sigmoid. Then both
parts are independent given the noise, a likelihood is the sum of its parts', and a Matérn 3/2 process seen at even
times is a Markov chain of value and slope (Hartikainen & Särkkä, 2010) whose likelihood a Kalman filter gives exactly:
for each beginning of the look-back in one pass, for each end in another. What does not depend on the returns stands in
a table.

Nothing is charged for the freedom to change, as in the paper: severity is seldom below a half. On white noise its
median is 0.80 at 21 bars and 0.89 at 252; where the mean falls by three deviations in the middle, 0.97 and 1.00. The
grid's likelihood is 0.15 nats above that of free parameters on average of 12 series of 63 returns, 0.53 at most:
``pytest -s tests/deep/test_changepoint.py``.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from qframe_rl.deep.momentum import MomentumInputs, winsorised
from qframe_rl.features import frozen
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Bool, Float, Int

NOISE = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)
"""Variances of the white noise, of returns whose variance is 1."""
SIGNAL = (0.1, 0.3, 1.0, 3.0)
"""Variances of the process; it may also be nothing."""
SCALE = (0.5, 2.0, 5.0, 12.0, 30.0, 75.0)
"""Its length scales, bars."""
LEAST = 3
"""Bars on each side of a change."""


class Filters(NamedTuple):
    """Kalman filters over the grid: J noises, H = 1 + len(SIGNAL) len(SCALE) processes each."""

    gains: Float
    """(J, H, N, 4) at each step one over the variance of the surprise, the log of 2 pi times it, and what the surprise
    adds to the value and the slope foretold for the next step."""
    moves: Float
    """(J, H, 4) the transition of value and slope, by rows."""


class Changepoints(NamedTuple):
    """Momentum inputs, and severity and location of a change for each look-back after them."""

    momentum: MomentumInputs
    looks: tuple[int, ...]
    """Returns of each look-back, at least 2 `LEAST`."""

    @property
    def lookback(self) -> int:
        """Bars that one row is computed from."""
        return max(self.momentum.lookback, *(look + 1 for look in self.looks))

    @property
    def n_inputs(self) -> int:
        """F."""
        return self.momentum.n_inputs + 2 * len(self.looks)

    def rows(self, bars: Float, first: int = 0) -> tuple[Float, Float, Bool]:
        """Inputs, volatility and validity of rows ``first`` to the end, as of `MomentumInputs.rows`.

        Both numbers of a look-back are 0 where the instrument is too young for it, or did not move in it.
        """
        inputs, volatility, valid = self.momentum.rows(bars, first)
        longest = max(self.looks)
        filters, out = kalman(longest), np.zeros((*valid.shape, 2 * len(self.looks)))
        _rows(
            frozen(bars), first, self.lookback, valid, np.array(self.looks), *filters,
            0.5 ** (1.0 / self.momentum.winsor_bars), self.momentum.winsor_deviations, np.empty(self.lookback),
            np.empty((3, longest + 1)), out,
        )  # fmt: skip
        return np.concatenate([inputs, out], axis=2), volatility, valid


@lru_cache(maxsize=4)
def kalman(n: int) -> Filters:
    """Filters of the grid over ``n`` steps."""
    variance = np.array([0.0, *(s for s in SIGNAL for _ in SCALE)])
    speed = math.sqrt(3.0) / np.array([1.0, *(scale for _ in SIGNAL for scale in SCALE)])
    move = np.array([[1.0 + speed, np.ones_like(speed)], [-(speed**2), 1.0 - speed]]) * np.exp(-speed)
    still = np.array([[variance, 0.0 * speed], [0.0 * speed, speed**2 * variance]])
    fresh = still - np.einsum("abh,bch,dch->adh", move, still, move)
    gains = np.empty((len(NOISE), len(speed), n, 4))
    for noise, gain in zip(NOISE, gains, strict=True):
        covariance = still
        for k in range(n):
            surprise = covariance[0, 0] + noise
            gain[:, k, 0], gain[:, k, 1] = 1.0 / surprise, np.log(2.0 * math.pi * surprise)
            gain[:, k, 2:] = np.einsum("abh,bh->ha", move, covariance[0] / surprise)
            left = covariance - np.einsum("ah,bh->abh", covariance[0], covariance[0]) / surprise
            covariance = np.einsum("abh,bch,dch->adh", move, left, move) + fresh
    moves = np.broadcast_to(np.moveaxis(move, 2, 0).reshape(1, -1, 4), (len(NOISE), len(speed), 4))
    return Filters(frozen(gains), frozen(np.ascontiguousarray(moves)))


@compiled
def _rows(
    bars: Float,
    first: int,
    lookback: int,
    valid: Bool,
    looks: Int,
    gains: Float,
    moves: Float,
    keep: float,
    deviations: float,
    price: Float,
    work: Float,
    out: Float,
) -> None:
    for t in range(first, bars.shape[0]):
        for a in range(bars.shape[1]):
            if valid[t - first, a]:
                n = winsorised(bars, max(0, t - lookback + 1), t, a, keep, deviations, price)
                for p in range(len(looks)):
                    _write(price, n, looks[p], gains, moves, work, out[t - first, a, 2 * p : 2 * p + 2])


@inlined
def _write(price: Float, n: int, look: int, gains: Float, moves: Float, work: Float, out: Float) -> None:
    """Severity and location over the last ``look`` returns; left alone where there are not so many."""
    if n <= look or not _standardised(price, n, look, work[0]):
        return
    alone, changing, at = likelihoods(work[0], look, gains, moves, work[1], work[2])
    out[0] = 1.0 - 1.0 / (1.0 + math.exp(min(alone - changing, 700.0)))
    out[1] = at / look


@inlined
def _standardised(price: Float, n: int, look: int, y: Float) -> bool:
    """Write the last returns with mean 0 and variance 1; False where they do not vary."""
    total = square = 0.0
    for k in range(look):
        y[k] = price[n - look + k] / price[n - look + k - 1] - 1.0
        total += y[k]
    mean = total / look
    for k in range(look):
        y[k] -= mean
        square += y[k] * y[k]
    if square / look <= 1e-16:
        return False
    deviation = math.sqrt(square / look)
    for k in range(look):
        y[k] /= deviation
    return True


@compiled
def likelihoods(y: Float, n: int, gains: Float, moves: Float, begun: Float, ended: Float) -> tuple[float, float, int]:
    """Least negative log marginal likelihood of one process and of a change, and the first step after the change.

    Parameters
    ----------
    y
        (N,) standardised returns, of which the first ``n`` count.
    n
        Steps.
    gains, moves
        `Filters` over at least ``n`` steps.
    begun, ended
        (N + 1,) to be written into: the best over the processes of each beginning and each end.

    Returns
    -------
    tuple
        Negative log marginal likelihood of one process over all steps; of two, the best over where the first ends, each
        at least `LEAST` steps long (infinite where ``n`` is too short for that); the first step of the second.
    """
    alone, changing, at = math.inf, math.inf, 0
    for j in range(gains.shape[0]):
        _best(y, n, gains[j], moves[j], False, begun)
        _best(y, n, gains[j], moves[j], True, ended)
        alone = min(alone, begun[n])
        for k in range(LEAST, n - LEAST + 1):
            if begun[k] + ended[n - k] < changing:
                changing, at = begun[k] + ended[n - k], k
    return alone, changing, at


@inlined
def _best(y: Float, n: int, gains: Float, moves: Float, back: bool, best: Float) -> None:
    """Write the best likelihood of the first k steps, or with ``back`` of the last k: reversed it is the same chain."""
    best[: n + 1] = math.inf
    for h in range(gains.shape[0]):
        value = slope = total = 0.0
        for k in range(n):
            surprise = (y[n - 1 - k] if back else y[k]) - value
            total += 0.5 * (surprise * surprise * gains[h, k, 0] + gains[h, k, 1])
            ahead = moves[h, 0] * value + moves[h, 1] * slope + gains[h, k, 2] * surprise
            slope = moves[h, 2] * value + moves[h, 3] * slope + gains[h, k, 3] * surprise
            value = ahead
            best[k + 1] = min(best[k + 1], total)
