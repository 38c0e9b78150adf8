"""A recorded market as one table that no account changes: what each row found, and which rows touch which price.

Rows stand in the order of the exchange's clock; of one millisecond trades come before depth, which contains them
already. Each knows the lots at its level before it, and the best prices once its whole message is known.

Where the sides meet after a message, the level that was told earlier is gone. A row of its own says so, added to that
message: whoever reads the rows reads a book that is not crossed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qframe_rl.book.events import DEPTH, SNAPSHOT, TRADE, Events, joined
from qframe_rl.config import UserError
from qframe_rl.jit import apart, inlined
from qframe_rl.types import Bool, Int

NO_BID, NO_ASK = -(2**41), 2**41
"""Ticks of best prices that are not there."""
NOT_TOLD = -1
"""Lots of a level that no row has told yet."""
_SIDE_BIT = 43


class Tape(NamedTuple):
    """N rows of a run, and K levels that they name."""

    exchange_ns: Int
    """(N,) by the exchange's clock."""
    local_ns: Int
    """(N,) when it arrives, by the same clock: what the recorder's was behind is put right."""
    kind: NDArray[np.int8]
    """(N,) as in `qframe_rl.book.events`."""
    side: NDArray[np.int8]
    """(N,)."""
    tick: Int
    """(N,)."""
    lots: Int
    """(N,)."""
    before: Int
    """(N,) lots at the row's level before it; -1 where none were ever told. Of a trade, those it took from."""
    bid: Int
    """(N,) best bid once the row's message is known; `NO_BID` = none."""
    ask: Int
    """(N,) best ask; `NO_ASK` = none."""
    message: Int
    """(N,) rows of one message have one number."""
    level: NDArray[np.int32]
    """(N,) number of the level that the row names: of a trade, the level it took from."""
    level_side: NDArray[np.int8]
    """(K,) 0 = bids, 1 = asks."""
    level_tick: Int
    """(K,) levels are sorted by side, then tick."""
    starts: Int
    """(K + 1,) where each level's rows begin in ``rows``."""
    rows: Int
    """(N,) rows by level, and there in their order."""
    trades: Int
    """(T,) rows of trades."""
    bid_rises: Int
    """Rows of messages after which the best bid is higher than before: these alone can meet a resting ask."""
    ask_falls: Int
    """Rows of messages after which the best ask is lower."""
    arrivals: Int
    """(N,) rows by the time at which they arrive."""
    uncrossed: int
    """Levels that ended because the other side had come to stand at or beyond them, each with a row that was added."""

    @property
    def nbytes(self) -> int:
        """Bytes of all."""
        return sum(field.nbytes for field in self if isinstance(field, np.ndarray))


def tape_of(events: Events, clock_shift_ns: int = 0) -> Tape:
    """Make the table of a run.

    Parameters
    ----------
    events
        As they arrived.
    clock_shift_ns
        What is added to the recorder's clock, ns.

    Raises
    ------
    UserError
        If there is none, or a row is of no kind or side.
    """
    if not len(events.tick):
        raise UserError("a tape needs events; there is none.")
    check_rows(events)
    return laid(in_order(events._replace(local_ns=events.local_ns + clock_shift_ns)))[0]


def check_rows(events: Events) -> None:
    """Refuse rows of no kind or side; raises UserError."""
    if not (np.isin(events.kind, (SNAPSHOT, DEPTH, TRADE)).all() and np.isin(events.side, (0, 1)).all()):
        raise UserError("events are snapshots, depth or trades, of side 0 or 1.")


def in_order(events: Events) -> Events:
    """Rows by the exchange's clock; of one moment trades first, then in the order of arrival."""
    return events.where(np.lexsort((np.arange(len(events.tick)), events.kind != TRADE, events.exchange_ns)))


class ToldBook(NamedTuple):
    """What rows told of a book: L levels in the order in which they were told last."""

    side: NDArray[np.int8]
    """(L,)."""
    tick: Int
    """(L,)."""
    lots: Int
    """(L,) that stand; 0 = none."""


def laid(of: Events, before: ToldBook | None = None, at: int = 0) -> tuple[Tape, ToldBook]:
    """Make the table of rows, and what they left.

    Parameters
    ----------
    of
        From `in_order`, with a local clock that was put right.
    before
        What rows before them had told: the tape begins with a message that tells it again.
    at
        When that had arrived, ns: not after any of the rows did.
    """
    n_before = 0 if before is None else len(before.tick)
    if before is not None and n_before:
        of = joined([_again(before, of, at), of])
    found = _found(of, n_before)
    uncrossed = int((found.ended >= 0).sum())
    if uncrossed:
        of = _with_ends(of, found.ended)
        found = _found(of, n_before)
    level, told = found.level, found.told
    rows = np.argsort(level, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(level, minlength=len(told)))])
    last = np.append(of.message[1:] != of.message[:-1], True)
    tape = Tape(
        of.exchange_ns, of.local_ns, of.kind, of.side, of.tick, of.lots, found.before, found.bid, found.ask,
        of.message, level, found.level_side, found.level_tick, starts.astype(np.int64), rows,
        np.flatnonzero(of.kind == TRADE), _moved(found.bid, last, up=True), _moved(found.ask, last, up=False),
        np.argsort(of.local_ns, kind="stable"), uncrossed,
    )  # fmt: skip
    known = np.flatnonzero(told >= 0)
    known = known[np.argsort(told[known])]
    return tape, ToldBook(found.level_side[known], found.level_tick[known], of.lots[told[known]])


class _Found(NamedTuple):
    """What N rows found, as in `Tape`, and what became of K levels."""

    level: NDArray[np.int32]
    level_side: NDArray[np.int8]
    level_tick: Int
    before: Int
    bid: Int
    ask: Int
    told: Int
    """(K,) the row that told a level last; -1 = none did."""
    ended: Int
    """(N,) the row that told a level of the other side at or beyond the row's own, which ended by it; -1 = none."""


def _found(of: Events, start: int) -> _Found:
    """Walk the rows; those before ``start`` are what was told before them."""
    n = len(of.tick)
    side = np.where(of.kind == TRADE, 1 - of.side, of.side).astype(np.int8)
    named, number = np.unique((side.astype(np.int64) << _SIDE_BIT) + of.tick + NO_ASK, return_inverse=True)
    level: NDArray[np.int32] = number.reshape(-1).astype(np.int32)
    level_side = (named >> _SIDE_BIT).astype(np.int8)
    level_tick = (named & ((1 << _SIDE_BIT) - 1)) - NO_ASK
    n_bids = int(np.searchsorted(level_side, 1))
    found, bid, ask, ended = (np.full(n, NOT_TOLD, np.int64) for _ in range(4))
    table, told = np.full(len(named), NOT_TOLD, np.int64), np.full(len(named), -1, np.int64)
    table[level[:start]], told[level[:start]] = of.lots[:start], np.arange(start)
    _filled(start, of.kind, level, of.lots, of.message, level_tick, n_bids, table, told, found, bid, ask, ended)
    ticks = np.concatenate([level_tick, [NO_ASK, NO_BID]])
    bid, ask = ticks[np.where(bid < 0, len(ticks) - 1, bid)], ticks[ask]
    return _Found(level, level_side, level_tick, found, bid, ask, told, ended)


def _with_ends(of: Events, ended: Int) -> Events:
    """Rows, and after each that ended levels of the other side one for each of them, with its stamps: 0 lots."""
    gone = np.flatnonzero(ended >= 0)
    by = ended[gone]
    ends = of.where(by)._replace(
        kind=np.full(len(by), DEPTH, np.int8), side=of.side[gone], tick=of.tick[gone], lots=np.zeros(len(by), np.int64)
    )
    return joined([of, ends]).where(np.argsort(np.concatenate([np.arange(len(of.tick)), by]), kind="stable"))


def _again(before: ToldBook, of: Events, at: int) -> Events:
    """What was told, as one message before all rows."""
    n = len(before.tick)
    first, message = (int(of.exchange_ns[0]), int(of.message.min())) if len(of.tick) else (at, 0)
    return Events(
        np.full(n, min(first, at)), np.full(n, at), np.full(n, SNAPSHOT, np.int8), before.side, before.tick,
        before.lots, np.full(n, message - 1),
    )  # fmt: skip


def _moved(best: Int, last: Bool, *, up: bool) -> Int:
    """Last rows of messages by which a best price moved towards the other side."""
    at = np.flatnonzero(last)
    step = np.diff(best[at], prepend=best[at[:1]])
    return at[step > 0 if up else step < 0]


@apart
def _filled(
    start: int, kind: NDArray[np.int8], level: NDArray[np.int32], lots: Int, message: Int, tick: Int, n_bids: int,
    table: Int, told: Int, before: Int, bid: Int, ask: Int, ended: Int,
) -> None:  # fmt: skip
    """Walk the rows once.

    Parameters
    ----------
    start
        The first row; those before it are one message, of which ``table`` and ``told`` know already.
    kind, level, lots, message
        (N,) of each row.
    tick
        (K,) of each level, bids first.
    n_bids
        Levels of bids.
    table, told
        (K,) lots of each level, and the row that told them; written.
    before, bid, ask
        (N,) written: lots before each row; levels of the best prices after its message, -1 and K for none.
    ended
        (N,) as in `_Found`; written where a level ended.
    """
    n, first = len(level), start
    best_bid, best_ask = _below(table, n_bids - 1), _above(table, n_bids)
    for row in range(start):
        bid[row], ask[row] = best_bid, best_ask
    for row in range(start, n):
        k = int(level[row])
        before[row] = table[k]
        if kind[row] != TRADE:
            table[k], told[k] = lots[row], row
            if k < n_bids:
                best_bid = max(best_bid, k) if lots[row] > 0 else _below(table, best_bid)
            else:
                best_ask = min(best_ask, k) if lots[row] > 0 else _above(table, best_ask)
        if row + 1 == n or message[row + 1] != message[row]:
            while best_bid >= 0 and best_ask < len(tick) and tick[best_bid] >= tick[best_ask]:
                if told[best_bid] < told[best_ask]:
                    ended[told[best_bid]] = told[best_ask]
                    table[best_bid] = 0
                    best_bid = _below(table, best_bid)
                else:
                    ended[told[best_ask]] = told[best_bid]
                    table[best_ask] = 0
                    best_ask = _above(table, best_ask)
            for j in range(first, row + 1):
                bid[j], ask[j] = best_bid, best_ask
            first = row + 1


@inlined
def _below(table: Int, k: int) -> int:
    """Highest level at or below k that has lots; -1 if there is none."""
    while k >= 0 and table[k] <= 0:
        k -= 1
    return k


@inlined
def _above(table: Int, k: int) -> int:
    """Lowest level at or above k that has lots; K if there is none."""
    while k < len(table) and table[k] <= 0:
        k += 1
    return k
