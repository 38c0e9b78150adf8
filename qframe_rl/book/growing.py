"""A tape that grows as rows arrive, on which accounts live as on the finished one, to the lot and the bit.

What an account lives through is settled by the exchange's clock, and rows are known as they arrive: trades travel on a
connection of their own. A row that arrives more than the *hold-back* after it happened is settled as if it had happened
so long before it arrived (`settled`); so whatever had not arrived by t settles after t less the hold-back, and all
until then can be settled for good. A session that decides for moments that lie so far back decides as on the finished
tape. The rule is one function of the rows: who reads the same rows from a file later applies it and finds the same.

Only the last rows are kept, and what those before them told of the book.
"""

from __future__ import annotations

import numpy as np

from qframe_rl.book.accounts import (
    CURSOR,
    FALLS,
    LEVEL,
    N_TAKEN,
    NOW,
    PLACED,
    RISES,
    SENT,
    STATE,
    TAKEN_LEVEL,
    TAKEN_ROW,
    TICK,
    TRADES,
    Walk,
    is_free,
)
from qframe_rl.book.events import TRADE, Events, joined
from qframe_rl.book.known import AT, NEXT, OF, AccountKnowledge, heard
from qframe_rl.book.lookup import level_of, rows_until, shown
from qframe_rl.book.tape import Tape, ToldBook, check_rows, in_order, laid
from qframe_rl.jit import apart, inlined
from qframe_rl.types import Int

HOLD_NS = 1_000_000_000
"""Hold-back of paper trading, ns."""
_BEFORE = -(2**62)


def settled(events: Events, clock_shift_ns: int, hold_ns: int, after_ns: int = _BEFORE) -> Events:
    """Rows with the stamps by which they are settled.

    Parameters
    ----------
    events
        As they arrived.
    clock_shift_ns
        What is added to the recorder's clock, ns; no row arrives before it happened, whatever that says.
    hold_ns
        The hold-back.
    after_ns
        When the row before them arrived, by the clock of the answer.

    Returns
    -------
    Events
        The same rows; local stamps do not fall, and no exchange's stamp is further before the local one than the
        hold-back.
    """
    local = np.maximum(events.local_ns + clock_shift_ns, events.exchange_ns)
    local = np.maximum.accumulate(np.maximum(local, after_ns))
    return events._replace(local_ns=local, exchange_ns=np.maximum(events.exchange_ns, local - hold_ns))


class GrowingTape:
    """The tape of a run that has not ended.

    Parameters
    ----------
    clock_shift_ns, hold_ns
        As in `settled`.
    window_rows
        Rows that are kept at least, where there are so many.
    """

    def __init__(self, clock_shift_ns: int, hold_ns: int, window_rows: int = 20_000):
        self.clock_shift_ns, self.hold_ns, self._window = clock_shift_ns, hold_ns, window_rows
        self.tape: Tape | None = None
        self.heard: Int = np.zeros(0, np.int64)
        """From `qframe_rl.book.known.heard`."""
        self.last_ns = _BEFORE
        """When the last row arrived, by the clock that was put right."""
        self.first_ns = 2**62
        """When the first one did."""
        self.late = 0
        """Rows that came later than the hold-back."""
        self._rows: Events | None = None
        self._before: ToldBook | None = None
        self._before_ns = _BEFORE
        self._waiting: list[Events] = []

    @property
    def complete_ns(self) -> int:
        """Until when all is known that will ever settle by then."""
        return self.last_ns - self.hold_ns - 1

    def add(self, events: Events) -> None:
        """Take rows as they arrive.

        Raises
        ------
        UserError
            If a row is of no kind or side.
        """
        if not len(events.tick):
            return
        check_rows(events)
        came = settled(events, self.clock_shift_ns, self.hold_ns, self.last_ns)
        self.late += int((came.exchange_ns != events.exchange_ns).sum())
        self.first_ns, self.last_ns = min(self.first_ns, int(came.local_ns[0])), int(came.local_ns[-1])
        self._waiting.append(came)

    def grow(self, until: int, walk: Walk, known: AccountKnowledge) -> None:
        """Let the tape reach a moment, and accounts go on where they are.

        Parameters
        ----------
        until
            Not after `complete_ns`, unless the run has ended.
        walk, known
            Accounts on it.
        """
        if not self._waiting:
            return
        waiting = joined(self._waiting)
        ripe = waiting.exchange_ns <= until
        if not ripe.any():
            return
        self._waiting = [] if ripe.all() else [waiting.where(~ripe)]
        new = in_order(waiting.where(ripe))
        self._rows = new if self._rows is None else joined([self._rows, new])
        if len(self._rows.tick) > 2 * self._window and self.tape is not None:
            self._shorten(walk, known)
        tape, _ = laid(self._rows, self._before, self._before_ns)
        rows = heard(tape)
        if self.tape is not None:
            _move(self.tape, tape, rows, walk, known)
        self.tape, self.heard = tape, rows

    def _shorten(self, walk: Walk, known: AccountKnowledge) -> None:
        """Keep the last rows, and of those before them what they told, if no account needs more."""
        rows = self._rows
        assert rows is not None
        arrived = np.sort(rows.local_ns)
        cut = min(_needed(walk, known), int(arrived[-self._window])) - 1
        seen = np.searchsorted(arrived, int(walk.account[:, NOW].min()), side="right")
        # The last row that had arrived stays: how late it was may say how long messages travel.
        cut = min(cut, int(arrived[seen - 1]) - 1) if seen else _BEFORE
        gone = rows.local_ns <= cut
        if gone.any() and _apart(rows, gone):
            _, self._before = laid(rows.where(gone), self._before, self._before_ns)
            self._before_ns, self._rows = cut, rows.where(~gone)


def _apart(rows: Events, gone: np.ndarray) -> bool:
    """Whether of what is told of the book all that goes comes before all that stays."""
    told = gone[rows.kind != TRADE]
    return bool((np.diff(told.astype(np.int8)) <= 0).all())


@apart
def _needed(walk: Walk, known: AccountKnowledge) -> int:
    """From when on accounts must still see rows: they look at what stood as a quote was placed once they know it."""
    first = 2**62
    for b in range(len(walk.account)):
        now = walk.account[b, NOW]
        first = min(first, now)
        for side in range(2):
            quote = walk.quotes[b, side]
            followed = known.places[b, side, OF] == quote[PLACED]
            if quote[STATE] != SENT and not is_free(walk, b, side, now) and not followed:
                first = min(first, quote[PLACED])
    return first


@apart
def _move(old: Tape, new: Tape, rows: Int, walk: Walk, known: AccountKnowledge) -> None:
    """Let accounts point at the same rows and levels of another table.

    Parameters
    ----------
    old, new
        The tables; the second begins later, or ends later, or both.
    rows
        `heard` of the second.
    walk, known
        Accounts.
    """
    for b in range(len(walk.account)):
        now = walk.account[b, NOW]
        was, row = rows_until(old.exchange_ns, now), rows_until(new.exchange_ns, now)
        walk.cursors[b, TRADES] = rows_until(new.trades, row - 1)
        walk.cursors[b, FALLS] = rows_until(new.ask_falls, row - 1)
        walk.cursors[b, RISES] = rows_until(new.bid_rises, row - 1)
        for side in range(2):
            quote = walk.quotes[b, side]
            level = level_of(new, side, quote[TICK])
            quote[LEVEL], quote[CURSOR], known.places[b, side, NEXT] = level, 0, 0
            if level >= 0:
                quote[CURSOR] = shown(new, level, row)[2]
                known.places[b, side, NEXT] = _next_heard(new, rows, level, known.told[b, AT])
        for k in range(N_TAKEN):
            place = walk.taken[b, k]
            level = place[TAKEN_LEVEL]
            if level < 0:
                continue
            fresh = shown(old, level, was)[1] == place[TAKEN_ROW]
            level = level_of(new, old.level_side[level], old.level_tick[level])
            if fresh and level >= 0:
                place[TAKEN_LEVEL], place[TAKEN_ROW] = level, shown(new, level, row)[1]
            else:
                place[TAKEN_LEVEL] = -1


@inlined
def _next_heard(tape: Tape, rows: Int, level: int, now: int) -> int:
    """Of a level's rows in the order of arrival, the first that had not arrived."""
    low, high = tape.starts[level], tape.starts[level + 1]
    while low < high:
        middle = (low + high) >> 1
        if tape.local_ns[rows[middle]] <= now:
            low = middle + 1
        else:
            high = middle
    return int(low)
