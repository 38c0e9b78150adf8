"""Recorded books as a batch walks them: tapes, the moments of decisions, and what can be seen at each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from qframe_rl.book.features import BookFeature, sampled
from qframe_rl.book.funding import FundingDues
from qframe_rl.book.known import heard
from qframe_rl.book.micro import MicroPrice
from qframe_rl.book.moments import DecisionClock, Latency, moments, seen
from qframe_rl.book.tape import Tape, tape_of
from qframe_rl.config import UserError
from qframe_rl.feeds.ticks import TickRun
from qframe_rl.gym.lanes import content
from qframe_rl.interface import Scaler
from qframe_rl.types import Float, Int, Single


class TickSpan(NamedTuple):
    """A time of a run: decisions are made within it alone."""

    run: TickRun
    start: int
    """By the clock of what arrives, put right, ns UTC."""
    stop: int
    """With it. No row that arrives later is kept."""


def whole_run(run: TickRun) -> TickSpan:
    """All of a run, from when its book is whole."""
    local = run.events.local_ns + run.clock_shift_ns
    return TickSpan(run, max(int(local.min()), run.ready_ns), int(local.max()))


def whole_runs(runs: Iterable[TickRun]) -> list[TickSpan]:
    """All of several runs; those that end before their book is whole are left out, for nobody decides there."""
    return [span for span in map(whole_run, runs) if span.stop > span.start]


class TooShort(UserError):
    """A span in which nobody decides twice."""


class SpanMoments(NamedTuple):
    """A span as it is walked: T moments on a tape."""

    tape: Tape
    heard: Int
    """(N,) from `qframe_rl.book.known.heard`."""
    at: Int
    """(T,) ns UTC."""
    best: Int
    """(T, 2, 2) bid and ask as they had arrived: tick, lots."""
    mid2: Int
    """(T,) twice the true mid price, ticks."""
    entry_ns: Int
    """(T,)."""
    answer_ns: Int
    """(T,)."""
    features: Float
    """(T, F) NaN what cannot be known yet."""
    dues: FundingDues
    """Funding that falls due while it lasts."""


def span_moments(
    span: TickSpan, often: DecisionClock, latency: Latency, features: Sequence[BookFeature], micro: MicroPrice | None
) -> SpanMoments:
    """Lay a span out.

    Parameters
    ----------
    span
        The rows.
    often, latency
        When is decided, and what travels how long.
    features, micro
        What is seen.

    Raises
    ------
    TooShort
        If there are not two moments at which both sides of the book are there.
    """
    events = span.run.events
    tape = tape_of(events.where(events.local_ns + span.run.clock_shift_ns <= span.stop), span.run.clock_shift_ns)
    at = moments(tape, often, span.start, span.stop)
    book = seen(tape, at)
    at = at[book.whole]
    if len(at) < 2:
        raise TooShort(
            f"{span.run.name}: {len(at)} moments of decisions between its book's being whole and its end; take a "
            "longer recording, or decide more often (env.every)."
        )
    entry, answer = latency.at(tape, at)
    known = sampled(tape, features, at, micro, span.run.ready_ns)
    dues = span.run.dues.between(int(at[0]), int(at[-1]))
    return SpanMoments(tape, heard(tape), at, book.best[book.whole], book.mid2[book.whole], entry, answer, known, dues)


@dataclass(frozen=True)
class PackedTicks:
    """Spans end to end: T moments of all, of which each episode walks some within one span."""

    spans: tuple[SpanMoments, ...]
    starts: Int
    """(K + 1,) first moment of each span, and T."""
    at: Int
    """(T,)."""
    best: Int
    """(T, 2, 2)."""
    mid2: Int
    """(T,)."""
    entry_ns: Int
    answer_ns: Int
    raw: Float
    """(T, F) features."""
    features: Single
    """(T, F) the same, scaled as training rows were."""

    @property
    def n(self) -> int:
        """T."""
        return len(self.at)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of all of it."""
        return content(self.spans, self.starts, self.features)


def packed_ticks(spans: Sequence[SpanMoments], scaler: Scaler) -> PackedTicks:
    """Lay spans end to end."""
    starts = np.concatenate([[0], np.cumsum([len(span.at) for span in spans])]).astype(np.int64)
    raw = np.concatenate([span.features for span in spans])
    at, mid2, entry, answer = (
        np.concatenate([getattr(span, name) for span in spans]) for name in ("at", "mid2", "entry_ns", "answer_ns")
    )
    best = np.concatenate([span.best for span in spans])
    return PackedTicks(tuple(spans), starts, at, best, mid2, entry, answer, raw, scaler(raw))
