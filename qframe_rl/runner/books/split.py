"""Recorded time cut into parts: earlier ticks to learn on, later ones to choose on, the last ones to judge on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from qframe_rl.config import Ref, UserError, build
from qframe_rl.evaluate.splits import Holdout
from qframe_rl.feeds.ticks import TickRun
from qframe_rl.gym.replay.packed import TickSpan, whole_runs
from qframe_rl.types import iso

_TAIL = 0.15
"""Of the training part: its end, which a learner stops and chooses by."""
_SHARES = ("train", "validation", "test")
_SECOND = 1_000_000_000
_TENTH_NS = 100_000_000


class BookFold(NamedTuple):
    """Spans of each part, in the order of time."""

    train: tuple[TickSpan, ...]
    """To learn on, without the tail."""
    stopping: tuple[TickSpan, ...]
    """The tail of the training part."""
    validation: tuple[TickSpan, ...]
    test: tuple[TickSpan, ...]

    def periods(self) -> dict[str, list[list[str]]]:
        """Beginning and end of every span, by part."""
        return {
            part: [[iso(span.start), iso(span.stop)] for span in getattr(self, part)] for part in self._fields
        }  # fmt: skip

    def spans(self) -> dict[str, list[tuple[str, int, int]]]:
        """Run, beginning and end (ns UTC) of every span, by part."""
        return {
            part: [(span.run.name, span.start, span.stop) for span in getattr(self, part)] for part in self._fields
        }  # fmt: skip


def book_fold(runs: Sequence[TickRun], asked: Ref) -> BookFold:
    """Cut runs by the time that was recorded.

    Parameters
    ----------
    runs
        In the order of time.
    asked
        ``holdout`` with the shares ``train``, ``validation`` and ``test``.

    Raises
    ------
    UserError
        For another split, or a part without a second.
    """
    if asked.name != "holdout" or set(asked.params) - set(_SHARES):
        raise UserError(
            f"split: order books are cut by holdout with its shares {', '.join(_SHARES)}, not by {asked.name} with "
            f"{', '.join(sorted(set(asked.params) - set(_SHARES))) or 'its own'}."
        )
    shares = build(Holdout, asked.params, "split holdout")
    spans = whole_runs(runs)
    cuts = np.cumsum([shares.train * (1.0 - _TAIL), shares.train * _TAIL, shares.validation, shares.test])
    total = sum(span.stop - span.start for span in spans)
    edges = [0, *(round(total * share) for share in cuts[:-1]), total]
    parts = [_between(spans, first, last) for first, last in pairwise(edges)]
    for name, part in zip(BookFold._fields, parts, strict=True):
        if sum(span.stop - span.start for span in part) < 1_000_000_000:
            raise UserError(f"the {name} part has less than a second of ticks; take more data, or other shares.")
    return BookFold(*parts)


class SearchWindow(NamedTuple):
    """A window of a search: spans to search on, and those that follow, on which its choice is judged."""

    fold: BookFold
    """All of it; nothing is validated beside the parts."""
    parts: tuple[BookFold, ...]
    """What to fit on, and what to score on as its test, in the order of time."""


def search_windows(
    runs: Sequence[TickRun], n: int, blocks: int, *, anchored: bool, gap: int, step_ns: int
) -> tuple[SearchWindow, ...]:
    """Cut runs into windows that walk through the recorded time, each into parts.

    The time is cut into n + 1 equal shares; each but the first is judged on, after what came before it. That is cut
    into ``blocks`` + 1 shares again; each but the first is scored on, after what came before it.

    Parameters
    ----------
    runs
        In the order of time.
    n, blocks
        Windows, and parts of each.
    anchored
        Whether what is searched on begins at the first tick; else it is the one share before.
    gap
        Tenths of a second that are left out at the end of what is fitted on.
    step_ns
        Time between two decisions, 0 where prints say: the rest of a run that is shorter than three of them, or than a
        second, is left out.

    Returns
    -------
    tuple of SearchWindow
        In the order of time.

    Raises
    ------
    UserError
        If a piece has no span that is long enough.
    """
    spans, least = whole_runs(runs), max(_SECOND, 3 * step_ns)
    total = sum(span.stop - span.start for span in spans)
    size, purged, windows = total // (n + 1), gap * _TENTH_NS, []
    for k in range(n):
        first, last = 0 if anchored else k * size, (k + 1) * size
        step = (last - first) // (blocks + 1)
        edges = [first + j * step for j in range(1, blocks + 1)] + [last]
        parts = tuple(_fold(spans, first, stop - purged, (stop, then), least) for stop, then in pairwise(edges))
        windows.append(SearchWindow(_fold(spans, first, last - purged, (last, (k + 2) * size), least), parts))
    return tuple(windows)


def _fold(spans: Sequence[TickSpan], first: int, stop: int, test: tuple[int, int], least: int) -> BookFold:
    tail = stop - round(_TAIL * (stop - first))
    pieces = [(first, tail), (tail, stop), test]
    train, stopping, judged = (
        tuple(one for one in _between(spans, *piece) if one.stop - one.start >= least) for piece in pieces
    )
    if not (train and judged):
        short = min(b - a for a, b in (pieces[0], test)) / _SECOND
        raise UserError(
            f"a part of {max(short, 0.0):.1f} s of ticks is too short to search on; take more data, fewer windows "
            "(--walk-forward), fewer --blocks or a shorter --gap, which is in tenths of a second here."
        )
    return BookFold(train, stopping, (), judged)


def _between(spans: Sequence[TickSpan], first: int, last: int) -> tuple[TickSpan, ...]:
    """What lies between two moments of the recorded time, ns since its beginning."""
    found, before = [], 0
    for span in spans:
        length = span.stop - span.start
        start, stop = max(first - before, 0), min(last - before, length)
        if stop > start:
            found.append(TickSpan(span.run, span.start + start, span.start + stop))
        before += length
    return tuple(found)
