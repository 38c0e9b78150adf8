"""A fold, and what all splits need to make one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.types import Bool, History, Segment, Segments, iso


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


def segments(chosen: Bool) -> Segments:
    """List the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return tuple(Segment(int(a), int(b)) for a, b in edges.reshape(-1, 2))


def span_of(history: History) -> str:
    """Where bars came from, how many they are and from when to when: the beginning of a refusal."""
    span = f" ({iso(int(history.time[0]) - history.bar_ns)} to {iso(int(history.time[-1]))})" if len(history) else ""
    return f"{history.source.origin}: {len(history)} bars{span} are"


def refuse_empty(name: str, history: History, fold: Fold, what: str) -> None:
    """Refuse a fold that has nothing to learn from or to judge on.

    Parameters
    ----------
    name
        Of the split, as a configuration has it.
    history
        The bars.
    fold
        What the split made of them; validation alone may be empty.
    what
        Settings that made it so, for the message.

    Raises
    ------
    UserError
        If a part has no bar.
    """
    for part, rows in fold._asdict().items():
        wanted = part != "validation" or rows
        if any(segment.n_bars <= 0 for segment in rows) or (wanted and not rows):
            raise UserError(
                f"{span_of(history)} too few for {name}: with {what}, {part} has none; "
                "take a longer period, fewer parts or a smaller gap."
            )
