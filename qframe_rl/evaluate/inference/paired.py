"""Whether one session earns more than another on the same bars, asked after every bar: ahead, behind, or open.

What is looked at is the difference of their log growth in each bar. The null hypothesis is that its mean is 0; against
it stand gaps of one sign, mixed with the weights of half a normal distribution. As in
`qframe_rl.evaluate.inference.sequential`, the ratio of the two likelihoods is a martingale under the null that begins
at 1, so it ever reaches `AGAINST` with a probability of at most 1 / `AGAINST`, however often one looks; and the gaps
that are not told from it at that level are a confidence sequence, an interval that covers the true gap at all bars at
once (Howard, Ramdas, McAuliffe & Sekhon, Time-uniform, nonparametric, nonasymptotic confidence sequences, Annals of
Statistics 49, 2021, sections 2 and 3). Its scale is the long-run variance from sums over blocks, the largest of them,
so it is asymptotic, and autocorrelation of either sign and fat tails are within (Waudby-Smith, Arbour, Sinha, Kennedy &
Ramdas, Time-uniform central limit theory and asymptotic confidence sequences, Annals of Statistics 52, 2024).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.evaluate.inference.evidence import LEVELS, add_bar, compare, told
from qframe_rl.types import YEAR, Float

PairAnswer = Literal["ahead", "behind", "open"]
AGAINST = 20.0
"""How much likelier than without a gap what was seen has to be with one: without any, at most one pair in so many is
ever called ahead, and as few behind."""
FEWEST = 128
"""Bars below which nothing is said."""
GAP = 2.0
"""Gaps that are looked for, as the Sharpe ratio of the difference per year: the deviation of their weights."""


class PairedTest:
    """The test of B pairs, bar after bar.

    Parameters
    ----------
    bar_ns
        Length of a bar, ns.
    n_pairs
        B.
    at_once
        Pairs among which one is looked for: the level of each is divided by it.
    """

    def __init__(self, bar_ns: int, n_pairs: int = 1, at_once: int = 1):
        b = n_pairs
        self.n, self.at_once = 0, at_once
        self._width, self._least = width(bar_ns), math.log(AGAINST * at_once)
        self._sums = [np.zeros((2, b)), np.zeros((LEVELS, 2, b)), np.zeros((LEVELS, 2, b)), np.zeros((LEVELS, 3, b))]
        self.mean, self.error = np.zeros(b), np.zeros(b)
        """(B,) mean difference of a bar, and its deviation times the root of the bars; 0 while nothing is said."""
        self.ahead, self.behind = np.zeros(b), np.zeros(b)
        """(B,) logarithms of how much likelier this is with a gap, above 0 or below, than without."""
        self.is_ahead, self.is_behind = np.zeros(b, dtype=np.bool_), np.zeros(b, dtype=np.bool_)
        """(B,) whether the confidence sequence lies above 0, or below, as it stands now."""

    def add(self, difference: Float) -> None:
        """Look at (B,) differences of the log growth of the next bar, first less second."""
        self.n += 1
        total, _, whole, square = self._sums
        add_bar(self.n, np.asarray(difference, dtype=np.float64), *self._sums)
        if self.n < FEWEST:
            return
        compare(self.n, total, whole, square, self._width, self.mean, self.error, self.ahead, self.behind)
        self.is_ahead, self.is_behind = self.ahead >= self._least, self.behind >= self._least

    @property
    def reach(self) -> Float:
        """(B,) how far from the mean the ends of the confidence sequence lie; infinite while nothing is said."""
        reach = np.full(len(self.error), math.inf)
        if self.n >= FEWEST:
            varied = self.error > 0.0
            reach[varied] = _reach(self.n, self._width, self._least) * self.error[varied]
        return reach

    def answer(self, pair: int = 0) -> PairAnswer:
        """Whether the first of a pair earns more."""
        if self.is_ahead[pair]:
            return "ahead"
        return "behind" if self.is_behind[pair] else "open"

    def plain(self, pair: int = 0) -> dict[str, Any]:
        """How a pair stands, as JSON: log growth per bar; three of its figures are None while nothing is said."""
        mean, reach = float(self.mean[pair]), float(self.reach[pair])
        said = reach < math.inf
        return {
            "answer": self.answer(pair), "bars": self.n, "mean": mean if said else None,
            "low": mean - reach if said else None, "high": mean + reach if said else None,
            "log_evidence": float(self.ahead[pair]), "at_once": self.at_once,
        }  # fmt: skip


def width(bar_ns: int) -> float:
    """Standard deviation of the weights of gaps, in deviations of a bar."""
    return GAP / math.sqrt(YEAR / bar_ns)


def bars_until(gap: float, deviation: float, bar_ns: int, at_once: int = 1) -> int:
    """Bars after which a gap is told where the mean is at it: about the median over sessions.

    It is the first n, at least `FEWEST`, at which the evidence of a mean of ``gap`` reaches `AGAINST` times
    ``at_once``. Of 200 pairs the median was within 20 % of it (``pytest tests/evaluate/test_paired.py``).

    Parameters
    ----------
    gap
        True mean difference of log growth of a bar, above 0.
    deviation
        Root of the variance of sums of bars, divided by the bars: the largest over sums of 1, 2, 4 and so on bars. Of
        independent bars it is their standard deviation.
    bar_ns
        Length of a bar, ns.
    at_once
        As in `PairedTest`.

    Raises
    ------
    UserError
        If gap or deviation are not above 0.
    """
    if not (gap > 0.0 and deviation > 0.0 and math.isfinite(gap / deviation)):
        raise UserError(f"a gap of {gap:g} and a deviation of {deviation:g}: both must be above 0.")
    ratio, wide, least = gap / deviation, width(bar_ns), math.log(AGAINST * at_once)
    few, many = FEWEST - 1, FEWEST
    while told(ratio, many, wide) < least:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if told(ratio, middle, wide) >= least else (middle, many)
    return many


def _reach(n: int, wide: float, least: float) -> float:
    """Deviations of a bar by which the mean of ``n`` bars must be off for the evidence to reach ``least``."""
    low, high = 0.0, 1.0
    while told(high, n, wide) < least:
        low, high = high, 2.0 * high
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if told(middle, n, wide) >= least else (middle, high)
    return high
