"""The bars that another session records, as a feed: who follows decides on the same bars, with an account of its own.

The session that is followed knows nothing of it: its journal is read, as everybody may. The feed ends where nobody
writes that journal any more and all of its bars were taken.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from qframe_rl.config import UserError, canonical
from qframe_rl.instruments import instrument_of
from qframe_rl.journal.codec import Plain, bar_in, bar_out
from qframe_rl.journal.lock import corrupt, writer_of
from qframe_rl.journal.shapes import check_bar, parsed
from qframe_rl.journal.store import JournalEvent, last_events, read
from qframe_rl.live.spec import SessionSpec, terms_of
from qframe_rl.types import Bar, Instrument

BEFORE = "before.json"
"""Beside a journal: the bars before its first one, for who follows it with a longer memory."""
FOLDER = "shadows"
"""Folder of a session in which those that follow it, its shadows, have theirs."""
MOST = 8
"""Shadows of a session."""
_LOOK_S = 0.2


class FollowedFeed:
    """Bars of a session's journal, as they are written.

    Parameters
    ----------
    path
        The journal.
    window
        Bars that are shown at the first decision.
    begin
        When that is: ``start``, the first decision of the session that is followed; ``now``, its last bar, so that
        what is already past is not traded in hindsight. The bars up to then are the warm-up, with those of `BEFORE`
        where it is there; where they are too few, the first decision comes later.

    Raises
    ------
    UserError
        If there is no journal, nothing in it, or if it is corrupt.
    """

    def __init__(self, path: Path, window: int, begin: Literal["start", "now"]):
        self.terms = followed_terms(path)
        self.instruments, self.columns, self.bar_ns = self.terms.instruments, self.terms.columns, self.terms.bar_ns
        self.stopped = threading.Event()
        self.idle: Callable[[], None] = lambda: None
        """Called several times a second while a bar is waited for."""
        self.hear: Callable[[], None] = lambda: None
        self._path, self._window, self._begin = path, window, begin
        self._stated = self.instruments
        self._seq, self._after = 0, -1
        self._moment: Plain = {}

    def resume(self, time: int, memory: Plain) -> None:
        """Begin with the bar after the one that closed at ``time``, which event ``memory["seq"]`` is.

        Raises
        ------
        UserError
            If the journal has another event there, or the record has no bar of it yet.
        """
        if "seq" not in memory:
            raise UserError(f"the record ends before the first bar of {self._path}; begin anew with another --out.")
        self._seq, self._after = int(memory["seq"]), time
        bar = last_events(self._path, "bar", self._seq, 1)
        if not bar or bar[0].seq != self._seq or json.loads(bar[0].payload)["time"] != time:
            raise UserError(f"{self._path} is not the journal that was followed before; follow it with another --out.")
        for event in last_events(self._path, "rules", self._seq, 1):
            self._rule(event)

    def rules(self) -> tuple[Instrument, ...]:
        """What the exchange stated of the instruments, as far as it is on record."""
        return self._stated

    def moment(self, bar: Bar) -> Plain:
        """How late the bar came to the session that is followed, and where it stands in its journal."""
        return self._moment

    def __iter__(self) -> Iterator[Bar]:
        if self._after < 0:
            yield from self._warm_up()
        for event in self._coming():
            if event.kind == "bar":
                yield self._bar(event)

    def _warm_up(self) -> Iterator[Bar]:
        """Yield the last bars up to the one after which is first decided."""
        needed = max(self.terms.window, self._recorded() if self._begin == "now" else 0)
        seen: list[tuple[Bar, Plain]] = []
        for n, event in enumerate((event for event in self._coming() if event.kind == "bar"), start=1):
            bar = self._bar(event)
            if n == 1:
                seen = [(one, {}) for one in bars_before(self._path, self.terms) if one.time < bar.time]
            seen = [*seen[-self._window :], (bar, self._moment)]
            if n == needed:
                break
        for bar, moment in seen[-self._window :]:
            self._moment = moment
            yield bar

    def _recorded(self) -> int:
        return sum(event.kind == "bar" for event in read(self._path))

    def _coming(self) -> Iterator[JournalEvent]:
        """Events from where it stands, waiting for more until nobody writes them."""
        while not self.stopped.is_set():
            written = writer_of(self._path) is not None
            for event in read(self._path, self._seq):
                self._seq = event.seq
                if event.kind == "rules":
                    self._rule(event)
                yield event
                if self.stopped.is_set():
                    return
            if not written:
                return
            self.stopped.wait(_LOOK_S)
            self.idle()

    def _bar(self, event: JournalEvent) -> Bar:
        plain = parsed(self._path, event.seq, event.kind, event.payload)
        check_bar(self._path, plain, len(self.instruments), 5 + len(self.columns))
        bar = bar_in(plain)
        if bar.time <= self._after:
            raise corrupt(self._path, "its bars are not in the order of time")
        self._after = bar.time
        self._moment = {key: plain[key] for key in ("late_ns", "skew_ns") if key in plain} | {
            "memory": {"seq": event.seq}
        }
        return bar

    def _rule(self, event: JournalEvent) -> None:
        plain = parsed(self._path, event.seq, event.kind, event.payload)
        self._stated = tuple(instrument_of(one, "its rules") for one in plain["instruments"])


def followed_terms(path: Path) -> SessionSpec:
    """What the session is that is followed.

    Raises
    ------
    UserError
        If there is no journal, nothing in it, if it is corrupt, or not that of a session on bars.
    """
    terms = terms_of(path)
    if terms is None:
        raise UserError(f"{path} is not there, or nothing is in it yet; name the folder of a session on bars.")
    return terms


def keep_before(path: Path, bars: Sequence[Bar]) -> None:
    """Write the bars before a journal's first one beside it; they are there whole or not at all."""
    place = path.with_name(BEFORE)
    fresh = place.with_suffix(".part")
    fresh.write_text(canonical({"bars": [bar_out(bar) for bar in bars]}))
    fresh.rename(place)


def bars_before(path: Path, terms: SessionSpec) -> list[Bar]:
    """The bars that `keep_before` wrote; none where it did not.

    Raises
    ------
    UserError
        If the file is not what it writes.
    """
    place = path.with_name(BEFORE)
    if not place.exists():
        return []
    try:
        found = json.loads(place.read_text())["bars"]
        for plain in found:
            check_bar(place, plain, len(terms.instruments), 5 + len(terms.columns))
    except (ValueError, TypeError, LookupError, RecursionError):
        raise corrupt(place, "it is not a list of bars; delete it") from None
    return [bar_in(plain) for plain in found]
