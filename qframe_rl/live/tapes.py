"""Where the rows of a session on an order book come from: part by part, each of which can be read again."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Event
from typing import NamedTuple, Protocol

import numpy as np

from qframe_rl.book.events import Events
from qframe_rl.config import UserError
from qframe_rl.feeds.ticks import TickRun
from qframe_rl.gym.replay.packed import TickSpan
from qframe_rl.live.settled_rates import Due
from qframe_rl.types import SECOND

PART_ROWS = 5_000
"""Rows of a part where nobody waits for them."""
LOOK_S = 0.2
"""How often is looked whether rows are due, seconds."""


class StatedRun(NamedTuple):
    """A run of a tape as a session must know it."""

    name: str
    clock_shift_ns: int
    """What is added to the recorder's clock, ns."""
    ready_ns: int
    """From when on its book is whole."""
    start_ns: int
    """From when on is decided, by the clock that was put right."""
    stop_ns: int
    """Until when, with it."""


class TapePart(NamedTuple):
    """Rows that came since the part before."""

    run: StatedRun
    first: int
    """How many rows of the run came before."""
    events: Events
    ends: str | None
    """Why the run ends with them; None = it goes on."""
    dues: tuple[Due, ...] = ()
    """Funding that became known: when it falls due, its rate, and the mark price."""


class TapeSource(Protocol):
    """A tape that a session can go on with after it was interrupted."""

    stopped: Event
    """Set it to end the parts."""

    def rows(self, run: str, first: int, n: int) -> Events:
        """Rows of a part that came before; fewer where the tape has no more.

        Raises
        ------
        UserError
            If there is no such run.
        """

    def parts(self, run: StatedRun | None, n: int, *, ended: bool) -> Iterator[TapePart | None]:
        """What comes after the first ``n`` rows of a run; None now and then while nothing does.

        Parameters
        ----------
        run, n
            How far the session is; no run = it begins.
        ended
            Whether that run had ended.
        """


def digest_of(events: Events) -> str:
    """SHA-256 over rows."""
    digest = hashlib.sha256()
    for column in events:
        digest.update(np.ascontiguousarray(column, dtype=np.int64).tobytes())
    return digest.hexdigest()


class ReplayTape:
    """Spans of recorded runs, row by row.

    Parameters
    ----------
    spans
        In the order of time, of each run at most one.
    speed
        Times the clock; infinite = nobody waits.
    part_rows
        Most rows of a part.
    clock
        Time, seconds.

    Raises
    ------
    UserError
        If there is none, or two are of one run.
    """

    def __init__(
        self, spans: Sequence[TickSpan], speed: float = math.inf, part_rows: int = PART_ROWS,
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        self.stopped = Event()
        self._speed, self._part_rows, self._clock = speed, part_rows, clock
        self._spans = {span.run.name: span._replace(run=_as_it_came(span.run)) for span in spans}
        if not spans or len(self._spans) < len(spans):
            raise UserError("a tape is made of spans of runs, of each run one; there are none, or several of one.")

    def rows(self, run: str, first: int, n: int) -> Events:
        """Rows of a run."""
        if run not in self._spans:
            raise UserError(f"the tape has no run {run}; it has {', '.join(self._spans)}.")
        return self._spans[run].run.events.where(slice(first, first + n))

    def parts(self, run: StatedRun | None, n: int, *, ended: bool) -> Iterator[TapePart | None]:
        """As `TapeSource.parts`."""
        names = list(self._spans)
        start = 0 if run is None else names.index(run.name) + ended
        for k, name in enumerate(names[start:]):
            yield from self._span(self._spans[name], n if run is not None and not ended and k == 0 else 0)

    def _span(self, span: TickSpan, first: int) -> Iterator[TapePart | None]:
        run = span.run
        local = run.events.local_ns
        n = int(np.searchsorted(local, span.stop - run.clock_shift_ns, side="right"))
        stated = StatedRun(run.name, run.clock_shift_ns, run.ready_ns, span.start, span.stop)
        why = run.ends if n == len(local) else "the span ends"
        begun, since = self._clock(), int(local[min(first, n - 1)])
        while not self.stopped.is_set():
            stop = min(first + self._part_rows, n)
            if self._speed < math.inf:
                now = since + round((self._clock() - begun) * SECOND * self._speed)
                stop = min(stop, int(np.searchsorted(local, now, side="right")))
            if stop > first or first == n:
                dues = () if first else _told(run)
                yield TapePart(stated, first, run.events.where(slice(first, stop)), why if stop == n else None, dues)
                first = stop
                if stop == n:
                    return
            else:
                yield None
                self.stopped.wait(LOOK_S)


def _told(run: TickRun) -> tuple[Due, ...]:
    """All funding of a recorded run, known as it begins: what is paid then depends on nobody's being told."""
    rows = zip(run.dues.at.tolist(), run.dues.terms.tolist(), strict=True)
    return tuple((at, rate, None if math.isnan(mark) else mark) for at, (rate, mark) in rows)


def _as_it_came(run: TickRun) -> TickRun:
    """A run with its rows in the order of arrival; one that was recorded has it."""
    return run._replace(events=run.events.where(np.argsort(run.events.local_ns, kind="stable")))
