"""Splits of a history in time: which bars an agent learns on, is chosen on, and is judged on.

A split yields folds of row segments and copies no data. Nothing that a fold judges with can have been learned from:
purging drops training bars whose labels reach into a judged block, an embargo drops bars after it. Sources: López de
Prado, Advances in Financial Machine Learning (2018), chapters 7 (purged K-fold) and 12 (combinatorial purged CV).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple, Protocol, Self

import numpy as np
from pydantic import Field, model_validator

from qframe_rl.config import Base, Ref, UserError, build, nearest
from qframe_rl.types import Bool, Float, History, Int, Segment, Segments, iso, parse_time

_MOST_SPLITS = 10_000
_DEFAULT_FOLDS = 5
TAIL = 0.2
"""Share of a fold's training bars, its last ones, that a learner stops and chooses by."""


class Fold(NamedTuple):
    """One way to learn, choose and judge; every part is rows of the same history, in time order."""

    train: Segments
    """Bars to learn on."""
    validation: Segments
    """Bars to choose on; empty where the split was asked for none."""
    test: Segments
    """Bars to judge on, once."""


class Split(Protocol):
    """A way to cut a history into folds."""

    def split(self, history: History) -> Iterator[Fold]:
        """Folds of ``history``; `UserError` where it is too short."""


def tail(fold: Fold) -> tuple[Segments, Segments]:
    """Cut a fold's training bars into those to learn on and, later, those to stop and choose by.

    No bar that judges the fold is among either. The two are as far apart as the split keeps training bars from those
    that judge: what it purges, and its embargo.

    Raises
    ------
    UserError
        If one of the two would have no bar.
    """
    rows = np.concatenate([np.arange(*segment) for segment in fold.train])
    cut = len(rows) - math.floor(len(rows) * TAIL)
    kept, apart = np.zeros(rows[-1] + 1, dtype=np.bool_), _apart(fold)
    kept[rows] = True
    if cut == len(rows) or not kept[: max(0, rows[cut] - apart)].any():
        raise UserError(
            f"a training part of {len(rows)} bars is too short: its last {len(rows) - cut} are to stop by and {apart} "
            "before them are left out; take more bars, fewer parts or a smaller gap."
        )
    stopping = kept.copy()
    kept[max(0, rows[cut] - apart) :] = False
    stopping[: rows[cut]] = False
    return _segments(kept), _segments(stopping)


def _apart(fold: Fold) -> int:
    """Fewest bars between a training part and a later one that judges it; earlier ones count where there is none."""
    judged = (*fold.validation, *fold.test)
    after = [j.start - t.stop for t in fold.train for j in judged if j.start >= t.stop]
    before = [t.start - j.stop for t in fold.train for j in judged if t.start >= j.stop]
    return min(after or before, default=0)


class Holdout(Base):
    """One fold in time order: train, then validation, then test."""

    train: float = Field(default=0.6, gt=0.0, lt=1.0)
    """Share of the bars to learn on."""
    validation: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the bars to choose on."""
    test: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the bars to judge on."""
    validation_from: str | None = None
    """Start of the validation period, ISO 8601 UTC; with test_from, in place of the shares."""
    test_from: str | None = None
    """Start of the test period, ISO 8601 UTC."""
    test_to: str | None = None
    """End of the test period, ISO 8601 UTC; null = the end of the data."""
    gap: int = Field(default=24, ge=0, le=10**9)
    """Bars purged from the end of train and of validation, whose labels reach into the part that follows."""
    embargo: int = Field(default=0, ge=0, le=10**9)
    """Further bars dropped from the start of validation and of test, whose features reach back."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.validation_from is None and self.test_from is None and self.test_to is None:
            if abs(self.train + self.validation + self.test - 1.0) > 1e-9:
                raise ValueError("train, validation and test must add up to 1")
            return self
        if self.validation_from is None or self.test_from is None:
            raise ValueError("validation_from and test_from must be given together")
        if {"train", "validation", "test"} & self.model_fields_set:
            raise ValueError("give shares (train, validation, test) or dates, not both")
        dates = [parse_time(d) for d in (self.validation_from, self.test_from, self.test_to) if d is not None]
        if dates != sorted(set(dates)):
            raise ValueError("validation_from, test_from and test_to must follow each other in time")
        return self

    def split(self, history: History) -> Iterator[Fold]:
        """Yield the one fold.

        Raises
        ------
        UserError
            If a part would have no bar.
        """
        chosen, judged, end = self._cuts(history)
        fold = Fold(
            (Segment(0, chosen - self.gap),),
            (Segment(chosen + self.embargo, judged - self.gap),),
            (Segment(judged + self.embargo, end),),
        )
        _refuse_empty("holdout", history, fold, f"a gap of {self.gap} and an embargo of {self.embargo} bars")
        return iter((fold,))

    def _cuts(self, history: History) -> tuple[int, int, int]:
        """First rows of validation and of test, and the row after the last."""
        if self.validation_from is None or self.test_from is None:
            n = len(history)
            return round(n * self.train), round(n * (self.train + self.validation)), n
        end = len(history) if self.test_to is None else history.between(None, parse_time(self.test_to)).stop
        chosen = history.between(parse_time(self.validation_from), None).start
        return chosen, history.between(parse_time(self.test_from), None).start, end


class WalkForward(Base):
    """Folds that walk through time: re-fit and re-tune on each training part, judge on the bars that follow it.

    Without an embargo the test blocks touch each other, so that the tests of all folds are one unbroken record; they
    reach the end of the data.
    Given ``train`` and ``test`` in bars, as many folds as fit are made from the first bar on, and a remainder shorter
    than ``test`` is left over at the end.
    """

    n_folds: int | None = Field(default=None, ge=1, le=100_000)
    """Number of equal test blocks, the first training part being about as long as one; null = 5, or, with train and
    test, as many as fit."""
    train: int | None = Field(default=None, ge=1, le=10**9)
    """Bars of the first training part, its validation included; needs test."""
    validation: int | None = Field(default=None, ge=0, le=10**9)
    """Bars at the end of each training part that are its validation; 0 = none, null = a fifth of the part."""
    test: int | None = Field(default=None, ge=1, le=10**9)
    """Bars of a test block; needs train."""
    anchored: bool = True
    """Whether each training part starts at the first bar; else all are as long as the first and roll along."""
    gap: int = Field(default=24, ge=0, le=10**9)
    """Bars purged between train, validation and test, at the end of the earlier part."""
    embargo: int = Field(default=0, ge=0, le=10**9)
    """Further bars dropped from the start of each validation and test block."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.train is None) != (self.test is None):
            raise ValueError("train and test (bars) must be given together")
        if self.train is not None and self.n_folds is not None:
            raise ValueError("give n_folds or train and test in bars, not both")
        return self

    def split(self, history: History) -> Iterator[Fold]:
        """Yield the folds in time order.

        Raises
        ------
        UserError
            If there is room for no fold, or if a part would have no bar.
        """
        n, first, size = self._sizes(len(history))
        folds = [self._fold(first, size, first + self.gap + k * size) for k in range(n)]
        what = f"a gap of {self.gap} and an embargo of {self.embargo} bars"
        if not folds:
            need = f"{first} bars of train, {self.gap} of gap and {size} of test"
            raise UserError(f"{_span(history)} too few for walk_forward with {need}; take a longer period.")
        for fold in folds:
            _refuse_empty("walk_forward", history, fold, what)
        return iter(folds)

    def _sizes(self, n_bars: int) -> tuple[int, int, int]:
        """Return the number of folds, bars of the first training part, bars of a test block."""
        if self.train is not None and self.test is not None:
            return max(0, (n_bars - self.train - self.gap) // self.test), self.train, self.test
        n = self.n_folds or _DEFAULT_FOLDS
        size = n_bars // (n + 1)
        return n, n_bars - n * size - self.gap, size

    def _fold(self, first: int, size: int, start: int) -> Fold:
        end = start - self.gap
        begin = 0 if self.anchored else end - first
        held_out = (end - begin) // 5 if self.validation is None else self.validation
        test = (Segment(start + self.embargo, start + size),)
        if self.validation == 0:
            return Fold((Segment(begin, end),), (), test)
        validation = Segment(end - held_out + self.embargo, end)
        return Fold((Segment(begin, end - held_out - self.gap),), (validation,), test)


class PurgedKFold(Base):
    """K folds, each judged on one block of time and trained on the rest, purged and embargoed.

    A bar's label is what happens in it and the ``horizon`` bars after it. A training bar is dropped if its label shares
    a bar with the label of any test bar, on either side; then ``embargo`` bars more after each test block.
    """

    n_folds: int = Field(default=5, ge=2, le=100_000)
    """Number of blocks, of equal length up to one bar."""
    horizon: int = Field(default=24, ge=0, le=10**9)
    """Bars that a label reaches past its own bar."""
    embargo: int = Field(default=24, ge=0, le=10**9)
    """Bars dropped from train after each test block, once its labels have ended."""
    validation: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of each fold's training bars, its last ones, to choose on; 0 = none."""

    def split(self, history: History) -> Iterator[Fold]:
        """Yield the folds in the order of their test blocks.

        Raises
        ------
        UserError
            If a part would have no bar.
        """
        purge = _Purge(self.horizon, self.embargo, self.validation)
        return _combinatorial("purged_kfold", history, self.n_folds, 1, purge)


class Cpcv(Base):
    """Combinatorial purged cross-validation: every choice of ``n_test`` of ``n_groups`` blocks is a test once.

    The C(N, k) splits test each block C(N-1, k-1) times, so that as many full paths through time can be put together
    from them: C(N, k) k / N. Purging and embargo are those of `PurgedKFold`.
    """

    n_groups: int = Field(default=6, ge=2, le=100_000)
    """Number N of blocks, of equal length up to one bar."""
    n_test: int = Field(default=2, ge=1, le=100_000)
    """Number k of blocks that each split tests."""
    horizon: int = Field(default=24, ge=0, le=10**9)
    """Bars that a label reaches past its own bar."""
    embargo: int = Field(default=24, ge=0, le=10**9)
    """Bars dropped from train after each test block, once its labels have ended."""
    validation: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of each split's training bars, its last ones, to choose on; 0 = none."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.n_test >= self.n_groups:
            raise ValueError("n_test must be less than n_groups")
        if self.n_splits > _MOST_SPLITS:
            raise ValueError(f"{self.n_splits} splits are more than {_MOST_SPLITS}; take fewer groups")
        return self

    @property
    def n_splits(self) -> int:
        """Number of splits, C(N, k)."""
        return math.comb(self.n_groups, self.n_test)

    @property
    def n_paths(self) -> int:
        """Number of paths, C(N, k) k / N."""
        return math.comb(self.n_groups - 1, self.n_test - 1)

    def split(self, history: History) -> Iterator[Fold]:
        """Yield the splits in lexicographic order of their test blocks; each block is a segment of its own.

        Raises
        ------
        UserError
            If a part would have no bar.
        """
        purge = _Purge(self.horizon, self.embargo, self.validation)
        return _combinatorial("cpcv", history, self.n_groups, self.n_test, purge)

    def paths(self) -> Int:
        """Which split judges which block on which path.

        Returns
        -------
        Int
            (P, N) index of the split that supplies block g of path p: the p-th of those that test g. Every test block
            of every split is used exactly once.
        """
        chosen = list(combinations(range(self.n_groups), self.n_test))
        by_group = [[s for s, groups in enumerate(chosen) if g in groups] for g in range(self.n_groups)]
        return np.array(by_group, dtype=np.int64).T

    def reconstruct(self, pieces: Sequence[Sequence[Float]]) -> list[Float]:
        """Put the paths together.

        Parameters
        ----------
        pieces
            ``pieces[s][j]`` is what split s gave on its j-th test segment, bar by bar (returns, for example).

        Returns
        -------
        list[Float]
            P series, each over all blocks in time order.

        Raises
        ------
        ValueError
            If the pieces are not those of this split.
        """
        chosen = list(combinations(range(self.n_groups), self.n_test))
        if [len(piece) for piece in pieces] != [self.n_test] * len(chosen):
            raise ValueError(f"expected {len(chosen)} splits with {self.n_test} pieces each")
        return [
            np.concatenate([pieces[s][chosen[s].index(group)] for group, s in enumerate(path)])
            for path in self.paths().tolist()
        ]


SPLITS: dict[str, type[Holdout | WalkForward | PurgedKFold | Cpcv]] = {
    "holdout": Holdout,
    "walk_forward": WalkForward,
    "purged_kfold": PurgedKFold,
    "cpcv": Cpcv,
}


def split(ref: str | Ref) -> Split:
    """Look a split up by name.

    Parameters
    ----------
    ref
        A name of `SPLITS`, alone or with the parameters that differ from the defaults.

    Raises
    ------
    UserError
        If there is none of that name, or if a parameter is unknown or does not fit.
    """
    ref = Ref(name=ref) if isinstance(ref, str) else ref
    if ref.name not in SPLITS:
        raise UserError(f"unknown split {ref.name!r}{nearest(ref.name, SPLITS)}")
    return build(SPLITS[ref.name], ref.params, f"split {ref.name!r}")


class _Purge(NamedTuple):
    horizon: int
    embargo: int
    validation: float


def _combinatorial(name: str, history: History, n_groups: int, n_test: int, purge: _Purge) -> Iterator[Fold]:
    n = len(history)
    edges = [n * g // n_groups for g in range(n_groups + 1)]
    groups = [Segment(a, b) for a, b in pairwise(edges)]
    folds = [_cross(n, test, purge) for test in combinations(groups, n_test)]
    for fold in folds:
        _refuse_empty(name, history, fold, f"a horizon of {purge.horizon} and an embargo of {purge.embargo} bars")
    return iter(folds)


def _cross(n_bars: int, test: Segments, purge: _Purge) -> Fold:
    """Fold that trains on what is left beside ``test``."""
    free = np.ones(n_bars, dtype=np.bool_)
    for block in test:
        free[max(0, block.start - purge.horizon) : block.stop + purge.horizon + purge.embargo] = False
    if purge.validation == 0.0:
        return Fold(_segments(free), (), test)
    rows = np.flatnonzero(free)
    cut = len(rows) - round(len(rows) * purge.validation)
    held_out = np.zeros_like(free)
    held_out[rows[cut:]] = True
    if cut < len(rows):
        free[max(0, int(rows[cut]) - purge.horizon) :] = False
    return Fold(_segments(free), _segments(held_out), test)


def _segments(chosen: Bool) -> Segments:
    """List the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return tuple(Segment(int(a), int(b)) for a, b in edges.reshape(-1, 2))


def _span(history: History) -> str:
    span = f" ({iso(int(history.time[0]) - history.bar_ns)} to {iso(int(history.time[-1]))})" if len(history) else ""
    return f"{history.source.origin}: {len(history)} bars{span} are"


def _refuse_empty(name: str, history: History, fold: Fold, what: str) -> None:
    for part, segments in fold._asdict().items():
        wanted = part != "validation" or segments
        if any(segment.n_bars <= 0 for segment in segments) or (wanted and not segments):
            raise UserError(
                f"{_span(history)} too few for {name}: with {what}, {part} has none; "
                "take a longer period, fewer parts or a smaller gap."
            )
