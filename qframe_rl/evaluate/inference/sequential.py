"""Whether a live session still earns what was forecast of it, asked after every bar: inside, below, or too early.

The null hypothesis is one law: that of the forecast (`qframe_rl.evaluate.inference.prediction`), a true Sharpe ratio
drawn from a normal distribution round the forecast's centre, and returns that have it. Against it stand lower ratios,
mixed with the weights of half a normal distribution. The ratio of the two likelihoods of what was earned so far is a
martingale under the null law that begins at 1, so by Ville's inequality it ever reaches `AGAINST` with a probability of
at most 1 / `AGAINST`, however often and however long one looks (an e-process: Robbins, Statistical methods related to
the law of the iterated logarithm, Annals of Mathematical Statistics 41, 1970; Howard, Ramdas, McAuliffe & Sekhon,
Time-uniform, nonparametric, nonasymptotic confidence sequences, Annals of Statistics 49, 2021; Grünwald, de Heide &
Koolen, Safe testing, JRSS B 86, 2024).

Returns are not normal and not independent. What counts is their running mean over their deviation, whose error is
asymptotically normal at all times at once when it is scaled by a variance that is estimated as one goes (Waudby-Smith,
Arbour, Sinha, Kennedy & Ramdas, Time-uniform central limit theory and asymptotic confidence sequences, Annals of
Statistics 52, 2024). The variance is the long-run one of the ratio's influence function, from sums over blocks of 1, 2,
4 and so on bars, the largest of them, so that autocorrelation of either sign and fat tails are within.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np

from qframe_rl.evaluate.inference.evidence import LEVELS, add_bar, judge
from qframe_rl.types import YEAR, Float

PromiseAnswer = Literal["inside", "below", "too early"]
AGAINST = 20.0
"""How much likelier than under the forecast what was earned has to be under lower ratios before it is below: in at most
one of so many sessions that keep the promise it ever is."""
FEWEST = 128
"""Bars below which nothing is said."""
_NORMAL = 1.959963984540054
_LOG_AGAINST = math.log(AGAINST)


class Promise(NamedTuple):
    """What a checkpoint's scores forecast of the Sharpe ratio, per year."""

    centre: float
    low: float
    """Ends of the interval in which the ratio of the next window lies, with the level of the scores."""
    high: float
    spread: float
    """Standard deviation of the true ratio round the centre: without the error of a window's own figure."""
    drawdown: float | None = None
    """Deepest loss since the highest equity over the bars that were judged, as a fraction of it."""

    @classmethod
    def of(cls, row: Mapping[str, Any], level: float) -> Promise | None:
        """That of a row of a leaderboard; None where there is no forecast, as of an agent that never traded.

        The forecast's variance is the past's error, the next window's own and what trainings differ by. The next window
        is as long as the past, so its own error is half of the first two: it is what the interval of the past's mean
        says, and at most half of all.

        Parameters
        ----------
        row
            The row.
        level
            Of its intervals.
        """
        low, high = row.get("next_low"), row.get("next_high")
        least, most = row.get("sharpe_low"), row.get("sharpe_high")
        if low is None or high is None or least is None or most is None or not low < high:
            return None
        reach = NormalDist().inv_cdf((1.0 + level) / 2.0)
        total, own = (((to - since) / 2.0 / reach) ** 2 for since, to in ((low, high), (least, most)))
        fall = row.get("max_drawdown")
        deep = None if fall is None else abs(fall)
        return cls((low + high) / 2.0, low, high, math.sqrt(total - min(own, total / 2.0)), deep)

    @property
    def lost(self) -> float:
        """The ratio by which is judged whether it is too early: nothing earned, or as far below its reach as that."""
        return min(0.0, self.centre - 2.0 * _NORMAL * self.spread)

    def plain(self) -> dict[str, float]:
        """As JSON."""
        return self._asdict()


class SequentialTest:
    """The test of B sessions, bar after bar.

    Parameters
    ----------
    promise
        What was forecast.
    bar_ns
        Length of a bar, ns.
    n_sessions
        B.
    """

    def __init__(self, promise: Promise, bar_ns: int, n_sessions: int = 1):
        b = n_sessions
        self.promise, self.per_year, self.n = promise, YEAR / bar_ns, 0
        self._sums = [np.zeros((2, b)), np.zeros((LEVELS, 2, b)), np.zeros((LEVELS, 2, b)), np.zeros((LEVELS, 3, b))]
        self.ratio, self.evidence, self._lost = np.zeros(b), np.zeros(b), np.zeros(b)
        """(B,) Sharpe ratio per bar, and the logarithm of how much likelier it is under lower true ratios."""
        self.known, self.is_below = np.zeros(b, dtype=np.bool_), np.zeros(b, dtype=np.bool_)
        self.is_early = np.ones(b, dtype=np.bool_)
        """(B,) whether a session that earns nothing could not have been told from the forecast yet."""

    def add(self, rate: Float) -> None:
        """Look at (B,) returns of the next bar.

        It is below from where the evidence reaches `AGAINST`, and until none of it is left.
        """
        self.n += 1
        add_bar(self.n, np.asarray(rate, dtype=np.float64), *self._sums)
        if self.n < FEWEST:
            return
        scale = math.sqrt(self.per_year)
        total, _, whole, square = self._sums
        judge(
            self.n, total, whole, square, self.promise.centre / scale, self.promise.lost / scale,
            self.promise.spread / scale, self.ratio, self.evidence, self._lost, self.known,
        )  # fmt: skip
        self.is_below = (self.evidence >= _LOG_AGAINST) | (self.is_below & (self.evidence > 0.0))
        self.is_early &= self._lost < _LOG_AGAINST

    @property
    def answer(self) -> PromiseAnswer:
        """Of the first session."""
        if self.is_below[0]:
            return "below"
        return "too early" if self.is_early[0] else "inside"

    def plain(self) -> dict[str, Any]:
        """How the first session stands, as JSON; its Sharpe ratio, per year, is None while nothing is said."""
        sharpe = float(self.ratio[0]) * math.sqrt(self.per_year) if self.known[0] else None
        evidence = float(self.evidence[0])
        return {
            "answer": self.answer, "bars": self.n, "sharpe": sharpe, "log_evidence": evidence, **self.promise._asdict(),
        }  # fmt: skip

    def carried(self) -> dict[str, Any]:
        """What it remembers, as JSON, to the bit."""
        used = max(1, self.n.bit_length())
        sums = [part.tolist() if part.ndim == 2 else part[:used].tolist() for part in self._sums]
        return {"n": self.n, "sums": sums, "below": self.is_below.tolist(), "early": self.is_early.tolist()}

    def carry(self, memory: Mapping[str, Any]) -> None:
        """Take over what `carried` returned."""
        self.n = int(memory["n"])
        self.is_below, self.is_early = (np.array(memory[name], dtype=np.bool_) for name in ("below", "early"))
        for own, told in zip(self._sums, memory["sums"], strict=True):
            part = np.array(told, dtype=np.float64)
            own[: len(part)] = part
