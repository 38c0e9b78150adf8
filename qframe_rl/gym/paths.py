"""The bars that a training walks: those that were measured, or paths that might have been, made as they are needed.

A path is rebuilt from blocks of measured moves, drawn alike for all instruments by the stationary bootstrap of Politis
and Romano (1994), see `qframe_rl.evaluate.montecarlo.prices`. What a strategy learns from thousands of them cannot be
where prices stood, nor what came after what further apart than a block; the hour and the day of a path are not those of
its moves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, overload

import numpy as np
from pydantic import Field

from qframe_rl.config import Base, Ref, UserError, build, nearest
from qframe_rl.evaluate.montecarlo.prices import BarMoves, moves_of, resampled, usual_block
from qframe_rl.gym.lanes import content
from qframe_rl.gym.packed import FIRST, LAST, PackedHistory
from qframe_rl.interface import Observer, Parts
from qframe_rl.kernel.columns import bars_of
from qframe_rl.types import History, Int, Segment, Segments

_N_BARS = 720
"""Bars of a path where episodes have no length of their own."""


class MeasuredPaths(Base):
    """The bars as they were."""


class BootstrapPaths(Base):
    """Paths rebuilt from jointly resampled moves."""

    paths: int = Field(default=1000, ge=1, le=1_000_000)
    """How many there are; an episode walks one of them."""
    block: float | None = Field(default=None, ge=1.0, le=1e6)
    """Expected length of a block of moves, bars; null = what the sizes of moves ask for, and the observation's window
    at least."""


KINDS: dict[str, type[Base]] = {"measured": MeasuredPaths, "bootstrap": BootstrapPaths}


def paths_named(ref: Ref) -> BootstrapPaths | None:
    """Look paths up: how they are made, None = the measured bars themselves.

    Raises
    ------
    UserError
        For an unknown name or parameter.
    """
    if ref.name not in KINDS:
        raise UserError(f"unknown paths {ref.name!r}{nearest(ref.name, KINDS)}")
    made = build(KINDS[ref.name], ref.params, f"paths {ref.name}")
    return made if isinstance(made, BootstrapPaths) else None


@dataclass(frozen=True, eq=False)
class ResampledPaths(Sequence[tuple[History, Segments]]):
    """Resampled paths as pieces of history, each made anew whenever it is asked for."""

    moves: BarMoves
    """Whose blocks are drawn."""
    n: int
    n_bars: int
    """Bars of each."""
    block: float
    """Expected length of a block of moves, bars."""
    seed: int

    def __len__(self) -> int:
        return self.n

    @overload
    def __getitem__(self, k: int) -> tuple[History, Segments]: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[tuple[History, Segments]]: ...
    def __getitem__(self, k: int | slice) -> Any:
        if isinstance(k, slice):
            return [self[i] for i in range(*k.indices(self.n))]
        if not -self.n <= k < self.n:
            raise IndexError(f"there are {self.n} paths, not {k}")
        path = resampled(self.moves, self.n_bars, self.block, self.seed, k % self.n)
        return path, (Segment(0, self.n_bars),)

    def __iter__(self) -> Iterator[tuple[History, Segments]]:
        return (self[k] for k in range(self.n))


def paths_of(parts: Parts, made_by: BootstrapPaths, window: int, episode_bars: int | None, seed: int) -> ResampledPaths:
    """Paths from the moves of the parts' segments alone.

    Parameters
    ----------
    parts
        Histories of the same instruments, and the rows of each whose moves are drawn.
    made_by
        How many paths, and of what.
    window
        Bars that a strategy looks back.
    episode_bars
        Bars of an episode, for which each path is just long enough; None = 720.
    seed
        Root of the randomness.

    Raises
    ------
    UserError
        If there are not more moves than bars that a strategy looks back.
    """
    moves = _joined(parts)
    if len(moves.logs) <= window:
        raise UserError(
            f"paths bootstrap: {len(moves.logs)} bars to draw moves from, but the observation needs {window} before "
            "the first decision; take a longer period or shorter features."
        )
    n_bars = window + (episode_bars or _N_BARS)
    block = usual_block(moves, window) if made_by.block is None else made_by.block
    return ResampledPaths(moves, made_by.paths, n_bars, block, seed)


@dataclass(frozen=True, eq=False)
class ResampledTape(PackedHistory):
    """A tape of which each path is written when the first episode on it begins, and never again."""

    paths: ResampledPaths
    observer: Observer
    written: list[bool]
    """Which paths are."""
    _under_way: dict[int, Future[None]] = field(default_factory=dict)
    _threads: list[ThreadPoolExecutor] = field(default_factory=list)

    growing = True

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of what the paths are made from, written or not."""
        paths, moves = self.paths, self.paths.moves
        past = moves.history
        return content(
            paths.n, paths.n_bars, float(paths.block), paths.seed, moves.logs, moves.due, moves.start, past.time,
            past.values, past.funding, past.cash_rate,
        )  # fmt: skip

    def expect(self, rows: Int) -> None:
        """Begin to write the paths of rows on which episodes will begin, on all cores."""
        for k in self._of(rows):
            self._begun(k)

    def ready(self, rows: Int) -> None:
        """Have the paths of rows written."""
        for k in self._of(rows):
            self._begun(k)
        for k in self._of(rows):
            if not self.written[k]:
                self._under_way.pop(k).result()
                self.written[k] = True

    def __getstate__(self) -> dict[str, Any]:
        """Without threads, which another process has its own of."""
        return vars(self) | {"_under_way": {}, "_threads": []}

    def _of(self, rows: Int) -> list[int]:
        """Numbers of the paths of rows."""
        return np.unique(rows // self.paths.n_bars).tolist()  # type: ignore[no-any-return]

    def _begun(self, k: int) -> None:
        if self.written[k] or k in self._under_way:
            return
        if not self._threads:
            self._threads.append(ThreadPoolExecutor(len(os.sched_getaffinity(0)), "paths"))
        self._under_way[k] = self._threads[0].submit(self._write, k)

    def _write(self, k: int) -> None:
        history, _ = self.paths[k]
        rows = slice(k * self.paths.n_bars, (k + 1) * self.paths.n_bars)
        self.time[rows] = history.time
        self.bars[rows] = bars_of(history.values, history.funding, history.final, history.cash_rate, history.columns)
        self.features[rows] = self.observer.matrix(history)


def tape_of_paths(paths: ResampledPaths, observer: Observer, n_instruments: int) -> ResampledTape:
    """Lay paths end to end, none of them written yet.

    Parameters
    ----------
    paths
        The paths.
    observer
        What a policy sees.
    n_instruments
        A.
    """
    n_rows, width = len(paths) * paths.n_bars, n_instruments * len(observer.features)
    history, _ = paths[0]
    shape = bars_of(history.values[:1], history.funding[:1], history.final[:1], history.cash_rate[:1]).shape
    runs = np.empty((len(paths), 2), dtype=np.int64)
    runs[:, FIRST] = np.arange(len(paths)) * paths.n_bars + observer.window - 1
    runs[:, LAST] = np.arange(1, len(paths) + 1) * paths.n_bars - 1
    # Zeros that nobody wrote take no memory yet.
    return ResampledTape(
        np.zeros(n_rows, dtype=np.int64), np.zeros((n_rows, *shape[1:])), np.zeros((n_rows, width), dtype=np.float32),
        runs, paths, observer, [False] * len(paths),
    )  # fmt: skip


def _joined(parts: Parts) -> BarMoves:
    """Moves of all segments, one after another."""
    taken: list[tuple[BarMoves, Int]] = []
    for history, segments in parts:
        rows = np.concatenate([np.arange(s.start, s.stop) for s in segments])
        taken.append((moves_of(history), rows))
    if len(taken) == 1 and len(taken[0][1]) == len(taken[0][0].logs):
        return taken[0][0]
    first = taken[0][0]

    def joined(pick: Callable[[BarMoves], Any]) -> Any:
        return np.concatenate([pick(moves)[rows] for moves, rows in taken])

    n = sum(len(rows) for _, rows in taken)
    history = replace(
        first.history,
        time=first.history.time[0] + first.history.bar_ns * np.arange(n, dtype=np.int64),
        values=joined(lambda moves: moves.history.values),
        funding=joined(lambda moves: moves.history.funding),
        final=np.zeros((n, first.logs.shape[1]), dtype=np.bool_),
        cash_rate=joined(lambda moves: moves.history.cash_rate),
        theory=None,
        finer=None,
        suspects=(),
    )
    return BarMoves(history, joined(lambda moves: moves.logs), joined(lambda moves: moves.due), first.start)
