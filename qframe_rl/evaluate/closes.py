"""Which data are the same market at the same time, told by their closes and not by what they are called.

The rule of overlap: two data sets overlap if an instrument of one is an instrument of the other, and it is if, at the
instants at which both have a close, at least `SHARE` of its moves from one such instant to the next are the same, and
at least `FEWEST_MOVES` are. Moves are ratios of closes: a constant factor changes none. Those of neither instrument
are not counted. Closes are kept at the instants of a grid, so that bars of other lengths have instants in common. Of
ticks they are mid prices at whole seconds of the exchange's clock; bars, which close at trades, overlap with none.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import numpy as np

from qframe_rl.book.tape import NO_ASK, NO_BID, tape_of
from qframe_rl.feeds.tick_load import TickHistory
from qframe_rl.types import CLOSE, DAY, HOUR, MINUTE, Bool, Float, History, Int

MarketData = History | TickHistory
"""What a strategy is scored on: bars, or ticks of a book."""

SHARE = 0.5
"""Of the moves in common: bars that were taken out, mended or made up do not make another market."""
FEWEST_MOVES = 3
"""Fewer could be chance."""
FEWEST_MARKS = 32
"""Instants that a grid must have; where even all minutes are fewer, every bar is kept."""
MOST_MOVES = 4096
"""Moves that are compared, evenly spread."""
_GRIDS = (DAY, HOUR, MINUTE)
_EVERY_BAR = 1
_SECOND = 1_000_000_000
_NEAR, _STILL = 1e-9, 1e-12
_HEAD = struct.Struct("<qqq")


class Closes(NamedTuple):
    """Closes of a data set at instants of a grid."""

    grid: int
    """All times are multiples of it, ns."""
    times: Int
    """(N,) ns UTC."""
    values: Float
    """(N, A); NaN where an instrument did not trade."""

    def packed(self) -> bytes:
        """As bytes."""
        head = _HEAD.pack(self.grid, *self.values.shape)
        return zlib.compress(head + self.times.tobytes() + np.ascontiguousarray(self.values).tobytes())

    @classmethod
    def unpacked(cls, data: bytes) -> Closes:
        """Read what `packed` returned."""
        plain = zlib.decompress(data)
        grid, n, width = _HEAD.unpack_from(plain)
        times = np.frombuffer(plain, dtype=np.int64, count=n, offset=_HEAD.size)
        values = np.frombuffer(plain, dtype=np.float64, offset=_HEAD.size + times.nbytes)
        return cls(grid, times, values.reshape(n, width))


def closes_of(history: MarketData) -> Closes:
    """Closes of a history on the coarsest grid that has `FEWEST_MARKS` of its instants: days, hours, or minutes.

    Of ticks they are mid prices at whole seconds, while the book was whole; of a second that several runs tell of, the
    first one's.
    """
    if isinstance(history, TickHistory):
        return _mids(history)
    for grid in (*_GRIDS, _EVERY_BAR):
        rows = np.flatnonzero(history.time % grid == 0)
        if len(rows) >= FEWEST_MARKS:
            break
    return Closes(grid, history.time[rows], history.values[rows, :, CLOSE])


def _mids(history: TickHistory) -> Closes:
    times, values = [], []
    for run in history.runs:
        tape = tape_of(run.events, run.clock_shift_ns)
        first = max(int(tape.exchange_ns[0]), run.ready_ns)
        at = np.arange(-(-first // _SECOND) * _SECOND, int(tape.exchange_ns[-1]) + 1, _SECOND)
        row = np.searchsorted(tape.exchange_ns, at, side="right") - 1
        bid, ask = tape.bid[row], tape.ask[row]
        whole = (bid != NO_BID) & (ask != NO_ASK)
        times.append(at[whole])
        values.append((0.5 * (bid + ask) * run.tick)[whole])
    once, row = np.unique(np.concatenate(times).astype(np.int64), return_index=True)
    return Closes(_SECOND, once, np.concatenate(values)[row, None])


def overlap(one: Closes, other: Closes) -> bool:
    """Whether two data sets overlap, see this module's docstring."""
    grid = max(one.grid, other.grid)
    times, rows, others = np.intersect1d(_on(grid, one.times), _on(grid, other.times), return_indices=True)
    if len(times) <= FEWEST_MOVES:
        return False
    mine = _moves(one.values[one.times % grid == 0][rows])
    theirs = _moves(other.values[other.times % grid == 0][others])
    return any(_shared(mine[:, a : a + 1], theirs) for a in range(mine.shape[1]))


def _on(grid: int, times: Int) -> Int:
    found: Int = times[times % grid == 0]
    return found


def _moves(values: Float) -> Float:
    """(M, A) ratios of successive (N, A) closes, at most `MOST_MOVES` of them."""
    later = 1 + np.unique(np.linspace(0, len(values) - 2, min(len(values) - 1, MOST_MOVES)).astype(np.int64))
    moves: Float = values[later] / values[later - 1]
    return moves


def _shared(move: Float, others: Float) -> bool:
    """Whether (M, 1) moves are those of one of (M, B)."""
    known: Bool = np.isfinite(move) & np.isfinite(others)
    known &= (np.abs(move - 1.0) > _STILL) | (np.abs(others - 1.0) > _STILL)
    same = (known & (np.abs(others / move - 1.0) < _NEAR)).sum(axis=0)
    return bool(((same >= FEWEST_MOVES) & (same >= SHARE * known.sum(axis=0))).any())
