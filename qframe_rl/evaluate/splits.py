"""Splits of a history in time: which bars an agent learns on, is chosen on, and is judged on.

A split yields folds of row segments and copies no data. Nothing that a fold judges with can have been learned from:
purging drops training bars whose labels reach into a judged block, an embargo drops bars after it. Sources: López de
Prado, Advances in Financial Machine Learning (2018), chapters 7 (purged K-fold) and 12 (combinatorial purged CV).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from qframe_rl.config import Base, Ref, UserError, build, nearest
from qframe_rl.evaluate.folds import Fold, Split, refuse_empty, segments, span_of
from qframe_rl.evaluate.purged import Cpcv, PurgedKFold
from qframe_rl.types import History, Segment, Segments, parse_time

__all__ = ["SPLITS", "TAIL", "Cpcv", "Fold", "Holdout", "PurgedKFold", "Split", "WalkForward", "split", "tail"]

_DEFAULT_FOLDS = 5
TAIL = 0.2
"""Share of a fold's training bars, its last ones, that a learner stops and chooses by."""


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
    return segments(kept), segments(stopping)


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
        refuse_empty("holdout", history, fold, f"a gap of {self.gap} and an embargo of {self.embargo} bars")
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
            raise UserError(f"{span_of(history)} too few for walk_forward with {need}; take a longer period.")
        for fold in folds:
            refuse_empty("walk_forward", history, fold, what)
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
