"""Splits whose test blocks lie among the training bars: what could leak between the two is purged and embargoed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from qframe_rl.config import Base
from qframe_rl.evaluate.folds import Fold, refuse_empty, segments
from qframe_rl.types import Float, History, Int, Segment, Segments

_MOST_SPLITS = 10_000


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
        refuse_empty(name, history, fold, f"a horizon of {purge.horizon} and an embargo of {purge.embargo} bars")
    return iter(folds)


def _cross(n_bars: int, test: Segments, purge: _Purge) -> Fold:
    """Fold that trains on what is left beside ``test``."""
    free = np.ones(n_bars, dtype=np.bool_)
    for block in test:
        free[max(0, block.start - purge.horizon) : block.stop + purge.horizon + purge.embargo] = False
    if purge.validation == 0.0:
        return Fold(segments(free), (), test)
    rows = np.flatnonzero(free)
    cut = len(rows) - round(len(rows) * purge.validation)
    held_out = np.zeros_like(free)
    held_out[rows[cut:]] = True
    if cut < len(rows):
        free[max(0, int(rows[cut]) - purge.horizon) :] = False
    return Fold(segments(free), segments(held_out), test)
