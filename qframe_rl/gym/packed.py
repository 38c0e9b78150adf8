"""The bars of histories laid end to end, with what a policy may see of them: read-only, shared by environments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.gym.lanes import content
from qframe_rl.interface import Observer, Parts
from qframe_rl.kernel.columns import bars_of
from qframe_rl.kernel.finer_reach import extremes_of
from qframe_rl.types import CLOSE, NO_FINER, Finer, Float, History, Int, Single, iso, parse_time

_FIRST_NS = 10**12
"""Whole numbers from here on are times."""
FIRST, LAST = range(2)
"""Columns of `PackedHistory.runs`."""


@dataclass(frozen=True, eq=False)
class PackedHistory:
    """T rows of bars; an episode walks along one run of them."""

    time: Int
    """(T,) closes, ns UTC."""
    bars: Float
    """(T, A, 8) as named in `qframe_rl.kernel.columns`."""
    features: Single
    """(T, A x F) scaled features."""
    runs: Int
    """(R, 2) first and last decision row of each run; orders decided on the last never settle."""
    finer: Finer = field(default=NO_FINER, kw_only=True)
    """What the bars consist of, where the market looks at it."""

    @property
    def n_bytes(self) -> int:
        """Memory of the arrays."""
        finer = self.finer.start.nbytes + self.finer.bars.nbytes + self.finer.extremes.nbytes
        return self.time.nbytes + self.bars.nbytes + self.features.nbytes + self.runs.nbytes + finer

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of what episodes walk."""
        finer = self.finer[:2] if len(self.finer.start) else ()
        return content(self.time, self.bars, self.features, self.runs, *finer)

    growing = False
    """Whether rows are written while episodes walk others."""

    def ready(self, rows: Int) -> None:
        """Have what episodes that begin on ``rows`` walk along written; here it always is."""

    def expect(self, rows: Int) -> None:
        """Hear on which rows episodes will begin next."""

    def row_of(self, start: object) -> int:
        """Row on which an episode from ``start`` on begins.

        Parameters
        ----------
        start
            A time (text as ISO 8601, a datetime, or a whole number of ns UTC): the first bar that closes at or after it
            is the last one shown at the first decision. A whole number below 10^12 is the row itself.

        Raises
        ------
        UserError
            If no episode can begin there.
        """
        if isinstance(start, int | np.integer) and start < _FIRST_NS:
            row = int(start)
        else:
            row = self._at(int(start) if isinstance(start, int | np.integer) else parse_time(str(start)))
        if not ((self.runs[:, FIRST] <= row) & (row < self.runs[:, LAST])).any():
            raise UserError(
                f"no episode can begin at {start}: the first decision is at {iso(int(self.time[self.runs[0, FIRST]]))} "
                f"(row {self.runs[0, FIRST]}) and the last bar closes at {iso(int(self.time[self.runs[-1, LAST]]))} "
                f"(row {self.runs[-1, LAST]})."
            )
        return row

    def _at(self, time: int) -> int:
        """First decision row that closes at or after a time; -1 where no run reaches so far, or all begin later."""
        for first, last in self.runs:
            if self.time[first] - (self.time[first + 1] - self.time[first]) < time <= self.time[last - 1]:
                return int(first + np.searchsorted(self.time[first:last], time))
        return -1


def tape_of(parts: Parts, observer: Observer, *, finer: bool = False) -> PackedHistory:
    """Lay histories end to end.

    Parameters
    ----------
    parts
        Histories of the same instruments and columns, and the segments of each in which orders may settle.
    observer
        What a policy sees.
    finer
        Whether the finer bars of the histories come along, which all must have.

    Raises
    ------
    UserError
        If no segment is long enough for the observer's window and one bar.
    """
    runs: list[tuple[int, int]] = []
    offset = 0
    for history, segments in parts:
        for segment in segments:
            first = max(segment.start, observer.window) - 1
            if segment.stop - 1 > first:
                runs.append((offset + first, offset + segment.stop - 1))
        offset += len(history)
    if not runs:
        longest = max((s.n_bars for _, segments in parts for s in segments), default=0)
        raise UserError(
            f"no segment is long enough: the longest has {longest} bars, but the observation needs {observer.window} "
            "before the first decision; take a longer period or shorter features."
        )
    return PackedHistory(
        np.concatenate([history.time for history, _ in parts]),
        np.concatenate([bars_of(h.values, h.funding, h.final, h.cash_rate, h.columns) for h, _ in parts]),
        np.concatenate([observer.matrix(history) for history, _ in parts]),
        np.array(runs, dtype=np.int64),
        finer=joined([history for history, _ in parts]) if finer else NO_FINER,
    )


def joined(histories: Sequence[History]) -> Finer:
    """Finer bars of histories end to end; of one that comes without, such as rebuilt paths, each bar is one step."""
    bars: list[Float] = []
    start, ns = [np.zeros(1, dtype=np.int64)], 0
    for one in histories:
        part = one.finer or Finer(np.arange(len(one) + 1), one.values[:, :, : CLOSE + 1], 0)
        begins, inside = part.of_rows
        start.append(begins[1:] + start[-1][-1])
        bars.append(inside)
        ns = max(ns, part.ns)
    together = np.ascontiguousarray(np.concatenate(bars))
    return Finer(np.concatenate(start), together, ns, extremes_of(together))
