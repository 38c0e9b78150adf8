"""Features found by themselves: many formulas are tested on training rows, and few remain.

A formula remains that has values wherever it should, whose mean IC is more than chance although many were tried, which
no better one resembles, and which says the same in most parts of the time. None of it looks at a row after the last
training row: such rows are not even handed to the evaluator.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from qframe_rl.alpha.alone import Courses, likeness
from qframe_rl.alpha.canonical import order_hash
from qframe_rl.alpha.cross import universe
from qframe_rl.alpha.ground import carried
from qframe_rl.alpha.operators import LEAST_MEMBERS
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.pool import mutual
from qframe_rl.alpha.score import AlphaScore, coefficients, dates_of, labels, score, standing
from qframe_rl.alpha.significance import LEAST_BLOCKS, block_means, bootstrap_p, discovery_rates
from qframe_rl.alpha.tree import Formula
from qframe_rl.config import UserError
from qframe_rl.types import DAY, Bool, Float, Int, Segments

_FEWEST, _MOST = 5_000, 40_000
"""Resamples at least and at most; between them 20 for each formula, so that the best of many can show that it is."""

_KEPT = 2**29
"""Bytes of what formulas say that are held at once, to see which others say the same."""


class SelectionRules(NamedTuple):
    """What a formula must show to remain."""

    n_ahead: int
    """Bars of the label."""
    false_share: float = 0.1
    """Share of false ones among those that pass as significant."""
    most_alike: float = 0.7
    """Size of a correlation above which two formulas are one cluster."""
    n_periods: int = 5
    """Parts of the time, of one length."""
    agreeing: int = 4
    """Parts in which the mean IC must have the sign of the whole."""
    most: int = 24
    """Formulas that remain at most: those with the least p."""


class FormulaTest(NamedTuple):
    """What became of one formula."""

    tree: Formula
    ic: float
    """Mean IC over the training dates."""
    rank_ic: float
    t: float
    """Newey-West."""
    p: float
    """By the bootstrap; 1 where it is not valid."""
    q: float
    """Share of false ones among all with as small a p."""
    periods: tuple[float, ...]
    """Mean IC in each part of the time."""
    cluster: int
    """Number of its cluster among those that are significant, from 1; 0 = not significant."""
    verdict: str
    """``found``, or the first thing that it lacks: ``invalid: ...``, ``repeated``, ``chance``, ``resembles TEXT``,
    ``unsteady``, ``surplus``."""

    @property
    def signs(self) -> str:
        """Sign of the mean IC in each part of the time, such as ``++-++``."""
        return "".join("+" if part > 0.0 else "-" if part < 0.0 else "0" for part in self.periods)


@dataclass(frozen=True)
class FoundFeatures:
    """What a search came to."""

    tests: tuple[FormulaTest, ...]
    """All formulas that were tried, by p."""
    n_dates: int
    """Training dates that they were tested on."""
    n_resamples: int
    rules: SelectionRules

    @property
    def texts(self) -> tuple[str, ...]:
        """Formulas that remain, the surest first."""
        return tuple(test.tree.text for test in self.tests if test.verdict == "found")

    @property
    def counts(self) -> dict[str, int]:
        """How many formulas came how far."""
        left = [test.verdict.partition(" ")[0].rstrip(":") for test in self.tests]
        n = len(left)
        found = {"tried": n, "valid": n - left.count("invalid") - left.count("repeated")}
        found["significant"] = found["valid"] - left.count("chance")
        found["clusters"] = found["significant"] - left.count("resembles")
        return found | {"steady": found["clusters"] - left.count("unsteady"), "found": left.count("found")}


class _Tried(NamedTuple):
    """A formula that was scored, and the means that its p is made of."""

    tree: Formula
    score: AlphaScore
    blocks: Float
    periods: Float
    said: str


def bars_ahead(bar_ns: int) -> int:
    """Bars that a label looks ahead where nothing else is said: five days, or one day of shorter bars, at most 24."""
    return 5 if bar_ns >= DAY else int(min(24, max(1, DAY // bar_ns)))


class TooFewDates(UserError):
    """Training dates are too few to tell anything by."""


class FormulaTrials:
    """Formulas on the training rows of a panel, tested one after the other.

    Parameters
    ----------
    bars
        (T, A, C) channels; rows after the last training row are not looked at.
    times
        (T,) closes, ns UTC.
    bar_ns
        Length of a bar, ns.
    columns
        Names of the channels after the first five.
    train
        Training rows.
    rules
        What is asked of a formula.
    most_lookback
        Rows that formulas look back at most: dates begin after as many, the same for all formulas.
    seed
        Of the bootstrap.
    funding
        (T, A) rates of perpetuals that fall due in each bar, taken off what followed; None = no funding.

    Raises
    ------
    TooFewDates
        If too few dates are left to tell anything by.
    """

    def __init__(
        self, bars: Float, times: Int, bar_ns: int, columns: Sequence[str], train: Segments, rules: SelectionRules,
        most_lookback: int, seed: int, funding: Float | None = None,
    ):  # fmt: skip
        stop = max(segment.stop for segment in train)
        self.rules, self.seed, self.tried = rules, seed, list[_Tried]()
        self.bars = bars[:stop]
        self.members = universe(self.bars)
        self.evaluator = Evaluator(self.bars, times[:stop], bar_ns, columns, self.members)
        self.label = np.full(self.members.shape, np.nan)
        for segment in train:
            part = labels(self.bars, rules.n_ahead, segment.start, segment.stop)
            self.label = np.where(np.isnan(part), self.label, part)
        if funding is not None:
            self.label -= carried(self.bars, funding[:stop], rules.n_ahead)
        self.label[: most_lookback - 1] = np.nan
        self.lookback = most_lookback
        self.label[~self.members] = np.nan
        self.dates: Bool = dates_of(~np.isnan(self.label))
        self.among = bars.shape[1] >= LEAST_MEMBERS
        n = int(self.dates.sum())
        self.length = max(5 * rules.n_ahead, round(n ** (1 / 3)))
        if n // self.length < LEAST_BLOCKS:
            raise TooFewDates(
                f"{n} training dates are too few to find features on: {LEAST_BLOCKS} blocks of {self.length} are "
                f"needed after the {most_lookback} bars that formulas look back; take more bars."
            )
        self.courses = None if self.among else Courses(self.label[self.dates], rules.n_ahead)
        self._seen: set[str] = set()

    def test(self, tree: Formula) -> None:
        """Test one more."""
        found, series, stand = self._scored(self.evaluator.value(tree))
        said = f"invalid: {found.invalid}" if found.invalid else ""
        if not said:
            name = order_hash(stand, ~np.isnan(stand))
            said = "repeated" if name in self._seen else ""
            self._seen.add(name)
        periods = np.array([part.mean() for part in np.array_split(series, self.rules.n_periods)])
        self.tried.append(_Tried(tree, found, block_means(series, self.length), periods, said))

    def _scored(self, values: Float) -> tuple[AlphaScore, Float, Float]:
        """Score of a formula, its ICs (N,) and what it says (N, A) on the dates."""
        if self.courses is not None:
            return self.courses.score(values[self.dates])
        found = score(values, self.members, self.label, self.lookback, self.rules.n_ahead)
        series = coefficients(values, self.members, self.label)[self.dates, 0]
        return found, series, standing(values[self.dates], self.members[self.dates])

    def outcome(self) -> FoundFeatures:
        """What remains of all that were tested so far."""
        valid = [k for k, one in enumerate(self.tried) if not one.said]
        n_resamples = int(min(_MOST, max(_FEWEST, 20 * len(valid))))
        p, q = np.ones(len(self.tried)), np.ones(len(self.tried))
        if valid:
            p[valid] = bootstrap_p(np.stack([self.tried[k].blocks for k in valid]), n_resamples, self.seed)
            q[valid] = discovery_rates(p[valid])
        order = sorted(
            range(len(self.tried)),
            key=lambda k: (bool(self.tried[k].said), p[k], -abs(self.tried[k].score.t), self.tried[k].tree.text),
        )
        clusters, leaders = self._clusters([k for k in order if q[k] <= self.rules.false_share])
        tests, n_found = [], 0
        for k in order:
            one = self.tried[k]
            verdict = one.said or self._lacks(one, k, clusters, leaders)
            if verdict == "found" and n_found == self.rules.most:
                verdict = "surplus"
            n_found += verdict == "found"
            tests.append(
                FormulaTest(one.tree, one.score.ic, one.score.rank_ic, one.score.t, float(p[k]), float(q[k]),
                            tuple(one.periods.tolist()), clusters.get(k, 0), verdict)
            )  # fmt: skip
        return FoundFeatures(tuple(tests), int(self.dates.sum()), n_resamples, self.rules)

    def _lacks(self, one: _Tried, k: int, clusters: dict[int, int], leaders: Sequence[int]) -> str:
        if k not in clusters:
            return "chance"
        if (leader := leaders[clusters[k] - 1]) != k:
            return f"resembles {self.tried[leader].tree.text}"
        sign = np.sign(one.score.ic)
        return "found" if (np.sign(one.periods) == sign).sum() >= self.rules.agreeing else "unsteady"

    def _clusters(self, ranked: Sequence[int]) -> tuple[dict[int, int], list[int]]:
        """Number of the cluster of each formula, from 1, and the first of each: the one that was ranked highest.

        What the first of as many clusters as memory holds say is kept; who is like none of them waits for the next.
        """
        leaders, found, left = list[int](), dict[int, int](), list(ranked)
        while left:
            before, stands, waiting = len(leaders), list[Float](), list[int]()
            for k in left:
                stand = self._scored(self.evaluator.value(self.tried[k].tree))[2]
                at = next((c for c, other in enumerate(stands) if self._alike(stand, other)), len(stands))
                if at == len(stands) and at >= max(1, _KEPT // stand.nbytes):
                    waiting.append(k)
                    continue
                if at == len(stands):
                    leaders.append(k)
                    stands.append(stand)
                found[k] = before + at + 1
            left = waiting
        return found, leaders

    def _alike(self, one: Float, other: Float) -> bool:
        return abs(mutual(one, other) if self.among else likeness(one, other)) > self.rules.most_alike


def found_features(trials: FormulaTrials, candidates: Iterable[Formula]) -> FoundFeatures:
    """Test all candidates, and say what remains."""
    for tree in candidates:
        trials.test(tree)
    return trials.outcome()
