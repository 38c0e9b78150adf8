"""The bars of histories laid end to end, with what a policy may see of them: read-only, shared by environments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.interface import Observer, Parts
from qframe_rl.kernel.columns import bars_of
from qframe_rl.types import Float, Int, Single

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

    @property
    def n_bytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in vars(self).values())


def tape_of(parts: Parts, observer: Observer) -> PackedHistory:
    """Lay histories end to end.

    Parameters
    ----------
    parts
        Histories of the same instruments and columns, and the segments of each in which orders may settle.
    observer
        What a policy sees.

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
        np.concatenate([bars_of(h.values, h.funding, h.final, h.cash_rate) for h, _ in parts]),
        np.concatenate([observer.matrix(history) for history, _ in parts]),
        np.array(runs, dtype=np.int64),
    )
