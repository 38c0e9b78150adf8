"""Recorded time cut into parts: earlier ticks to learn on, later ones to choose on, the last ones to judge on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from qframe_rl.config import Ref, UserError, build
from qframe_rl.evaluate.splits import Holdout
from qframe_rl.feeds.ticks import TickRun
from qframe_rl.gym.replay.packed import TickSpan, whole_run
from qframe_rl.types import iso

_TAIL = 0.15
"""Of the training part: its end, which a learner stops and chooses by."""
_SHARES = ("train", "validation", "test")


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
    spans = [whole_run(run) for run in runs]
    cuts = np.cumsum([shares.train * (1.0 - _TAIL), shares.train * _TAIL, shares.validation, shares.test])
    total = sum(span.stop - span.start for span in spans)
    edges = [0, *(round(total * share) for share in cuts[:-1]), total]
    parts = [_between(spans, first, last) for first, last in pairwise(edges)]
    for name, part in zip(BookFold._fields, parts, strict=True):
        if sum(span.stop - span.start for span in part) < 1_000_000_000:
            raise UserError(f"the {name} part has less than a second of ticks; take more data, or other shares.")
    return BookFold(*parts)


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
