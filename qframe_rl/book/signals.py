"""Signals of a book and its trades, row by row: only what had arrived by a moment counts at that moment.

`tell` takes a row, `look` writes what the signals are at a moment. A message counts once all its rows are known. The
same two functions walk a recorded tape and a live stream, so that both have the same bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.book import windows as w
from qframe_rl.book.events import TRADE
from qframe_rl.book.measures import decayed, flow_between, imbalance_of, kyle_lambda, spread_paid, weighted_mid_of
from qframe_rl.book.micro import lean_of
from qframe_rl.book.standing import StandingLevels, is_full, no_levels, nth, set_level, uncross
from qframe_rl.book.state import BUY, SELL
from qframe_rl.book.tape import NO_ASK, NO_BID
from qframe_rl.book.windows import AT, FIRST, SECOND, RecentSums, count, drop, expire, new_windows, put
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Float, Int

(
    SPREAD, IMBALANCE, WEIGHTED, MICRO, MID, OFI, LEVEL_OFI, FLOW, VOLUME, TRADES, VOLATILITY, MOVE, EFFECTIVE,
    REALISED, MARKOUT, KYLE, VPIN, HAWKES_BUY, HAWKES_SELL,
) = range(19)  # fmt: skip
"""Kinds of signals."""
KIND, SPAN, LEVELS, COUNT, HORIZON, BUCKET, LOOKBACK = range(7)
"""Columns of a signal: its kind; its window, interval or decay, ns; levels; buckets or intervals; horizon, ns; lots of
a bucket; from how long after the beginning on it is a number, ns."""
N_COLUMNS = 7
_UNIT = 1e15
"""Shares are added up as whole numbers of so small a part."""
_NO_MID = -(2**62)
ROWS, MESSAGE, TOLD_AT, PENDING, STARTED, MID2, LOOKED, BEGAN, READY = range(9)
"""Clock: rows told; number of the last message and when it arrived; whether its rows wait for the rest; whether a book
was known before; sum of the best prices, ticks; last look; from when on rows count; from when on they may."""
_FEWEST = 64


class SignalState(NamedTuple):
    """What F signals remember."""

    levels: StandingLevels
    windows: RecentSums
    """F windows."""
    waiting: RecentSums
    """F queues of trades whose horizon is not over."""
    top: Int
    """(2, 2, L, 2) before and now, bids and asks: tick and lots of the best levels."""
    clock: Int
    """(9,)."""
    whole: Int
    """(F, 3) whole numbers of a kind's own."""
    real: Float
    """(F, 2) and others: excitement, and a time."""
    scratch: Float
    """(2, N)."""


def new_signals(params: Int, ready_ns: int) -> SignalState:
    """Signals before any row.

    Parameters
    ----------
    params
        (F, 7) one signal a row.
    ready_ns
        From when on rows count: until then levels may not have been told.
    """
    n, most = len(params), int(params[:, COUNT].max(initial=1))
    timed = ~np.isin(params[:, KIND], (KYLE, VPIN, HAWKES_BUY, HAWKES_SELL))
    room = 1 << max(_FEWEST, 2 * most + 4).bit_length()
    depth = max(int(params[:, LEVELS].max(initial=1)), 1)
    clock = np.zeros(9, np.int64)
    clock[MID2], clock[LOOKED], clock[READY] = _NO_MID, _NO_MID, ready_ns
    return SignalState(
        no_levels(_FEWEST), new_windows(np.where(timed, params[:, SPAN], 0), room), new_windows(np.zeros(n, int), room),
        np.zeros((2, 2, depth, 2), np.int64), clock, np.zeros((n, 3), np.int64), np.zeros((n, 2)), np.zeros((2, most)),
    )  # fmt: skip


def roomier(state: SignalState) -> SignalState:
    """The same with twice the room for levels and for what happened."""
    side = [np.concatenate([column, np.zeros_like(column)], axis=1) for column in state.levels[:3]]
    levels = StandingLevels(side[0], side[1], side[2], state.levels.n)
    return state._replace(levels=levels, windows=w.larger(state.windows), waiting=w.larger(state.waiting))


@inlined
def _has_room(state: SignalState, params: Int, at: int) -> bool:
    """Whether a new message's first row can be taken, whatever it brings."""
    for f in range(len(params)):
        if state.windows.length[f] > 0:
            expire(state.windows, f, at)
        if count(state.windows, f) + count(state.waiting, f) + 2 > state.windows.came.shape[1]:
            return False
    return True


@compiled
def tell(
    state: SignalState, params: Int, at: int, kind: int, side: int, tick: int, lots: int, message: int
) -> bool:  # fmt: skip
    """Take a row; False if there is no room for it, and it was not taken.

    Parameters
    ----------
    state, params
        The signals.
    at
        When it arrived, ns; not before the row that was told last.
    kind, side, tick, lots, message
        As in `qframe_rl.book.events.Events`; but ``side`` is that of the level: of a trade, the one it took from.
    """
    clock = state.clock
    if is_full(state.levels):
        return False
    if clock[ROWS] == 0 or message != clock[MESSAGE] or at != clock[TOLD_AT]:
        if not _has_room(state, params, at):
            return False
        if clock[ROWS] == 0:
            _begin(state, params, at)
        _close(state, params)
        _settle(state, params, at - 1)
        clock[MESSAGE], clock[TOLD_AT] = message, at
    clock[ROWS] += 1
    if kind == TRADE:
        if at >= clock[BEGAN]:
            _trade(state, params, at, SELL if side == BUY else BUY, tick, lots)
    else:
        set_level(state.levels, side, tick, lots, clock[ROWS])
        clock[PENDING] = 1
    return True


@inlined
def _begin(state: SignalState, params: Int, at: int) -> None:
    state.clock[BEGAN] = max(at, state.clock[READY])
    for f in range(len(params)):
        if params[f, KIND] == KYLE:
            state.whole[f, 0], state.whole[f, 1] = (at - 1) // params[f, SPAN], _NO_MID


@compiled
def _close(state: SignalState, params: Int) -> None:
    """The message that was told last is whole."""
    clock, top = state.clock, state.top
    if clock[PENDING] == 0:
        return
    clock[PENDING] = 0
    uncross(state.levels)
    for k in range(top.shape[2]):
        for side in range(2):
            top[0, side, k, 0], top[0, side, k, 1] = top[1, side, k, 0], top[1, side, k, 1]
            tick, lots = nth(state.levels, side, k, NO_BID if side == BUY else NO_ASK)
            top[1, side, k, 0], top[1, side, k, 1] = tick, lots
    moved = 0
    if top[1, BUY, 0, 1] > 0 and top[1, SELL, 0, 1] > 0:
        mid2 = top[1, BUY, 0, 0] + top[1, SELL, 0, 0]
        moved = mid2 - clock[MID2] if clock[MID2] != _NO_MID else 0
        clock[MID2] = mid2
    if clock[STARTED] and clock[TOLD_AT] >= clock[BEGAN]:
        for f in range(len(params)):
            _changed(state, params, f, moved)
    clock[STARTED] = 1


@inlined
def _changed(state: SignalState, params: Int, f: int, moved: int) -> None:
    """The book is another one."""
    at, kind = state.clock[TOLD_AT], params[f, KIND]
    if kind == OFI:
        flow = _flow_at(state.top, 0)
        if flow != 0:
            put(state.windows, f, at, flow, 0)
    elif kind == LEVEL_OFI:
        n, depth = params[f, LEVELS], 0
        for k in range(n):
            depth += state.top[1, BUY, k, 1] + state.top[1, SELL, k, 1]
        put(state.windows, f, at, _flow_at(state.top, n - 1), depth)
    elif kind == VOLATILITY and moved != 0:
        put(state.windows, f, at, moved * moved, 0)
    elif kind == MOVE and moved != 0:
        put(state.windows, f, at, moved, 0)


@inlined
def _flow_at(top: Int, k: int) -> int:
    """Order flow imbalance of the k-th level between the last two books."""
    return flow_between(
        top[0, BUY, k, 0], top[0, BUY, k, 1], top[0, SELL, k, 0], top[0, SELL, k, 1],
        top[1, BUY, k, 0], top[1, BUY, k, 1], top[1, SELL, k, 0], top[1, SELL, k, 1],
    )  # fmt: skip


@compiled
def _trade(state: SignalState, params: Int, at: int, side: int, tick: int, lots: int) -> None:
    """Somebody took so many lots."""
    signed, mid2 = (lots if side == BUY else -lots), state.clock[MID2]
    for f in range(len(params)):
        kind = params[f, KIND]
        if kind == FLOW:
            put(state.windows, f, at, signed, 0)
        elif kind == VOLUME:
            put(state.windows, f, at, lots, 0)
        elif kind == TRADES:
            put(state.windows, f, at, 1, 0)
        elif kind == EFFECTIVE and mid2 != _NO_MID:
            put(state.windows, f, at, int(np.rint(_UNIT * spread_paid(side, 2.0 * tick, mid2))), 1)
        elif kind in (REALISED, MARKOUT) and mid2 != _NO_MID:
            put(state.waiting, f, at + params[f, HORIZON], 2 * tick + side, mid2)
        elif kind == KYLE:
            state.whole[f, 2] += signed
        elif kind == VPIN:
            _fill_bucket(state, params, f, at, side, lots)
        elif kind == HAWKES_BUY + side:
            state.real[f, 0] = decayed(state.real[f, 0], at - state.whole[f, 0], float(params[f, SPAN])) + 1.0
            state.whole[f, 0] = at


@inlined
def _fill_bucket(state: SignalState, params: Int, f: int, at: int, side: int, lots: int) -> None:
    """Add a trade to buckets of one volume, of which it may fill several."""
    bucket = params[f, BUCKET]
    while lots > 0:
        part = min(lots, bucket - state.whole[f, 0] - state.whole[f, 1])
        state.whole[f, side] += part
        lots -= part
        if state.whole[f, 0] + state.whole[f, 1] == bucket:
            put(state.windows, f, at, abs(state.whole[f, 0] - state.whole[f, 1]), 0)
            state.whole[f, 0] = state.whole[f, 1] = 0
            if count(state.windows, f) > params[f, COUNT]:
                drop(state.windows, f)


@compiled
def _settle(state: SignalState, params: Int, until: int) -> None:
    """What becomes known by the passing of time: horizons that are over, intervals that end."""
    for f in range(len(params)):
        kind = params[f, KIND]
        if kind in (REALISED, MARKOUT):
            _mark(state, f, kind, until)
        elif kind == KYLE:
            _end_intervals(state, params, f, until)


@inlined
def _mark(state: SignalState, f: int, kind: int, until: int) -> None:
    """Measure trades by the mid price at the end of their horizon."""
    room, later = state.waiting.came.shape[1] - 1, state.clock[MID2]
    while count(state.waiting, f) > 0:
        oldest = state.waiting.came[f, state.waiting.ends[f, 0] & room]
        if oldest[AT] > until:
            break
        side, tick2 = oldest[FIRST] & 1, 2 * (oldest[FIRST] >> 1)
        gone = later - tick2 if side == BUY else tick2 - later
        if kind == REALISED:
            gone = int(np.rint(_UNIT * (-float(gone) / oldest[SECOND])))
        put(state.windows, f, oldest[AT], gone, 1)
        drop(state.waiting, f)


@inlined
def _end_intervals(state: SignalState, params: Int, f: int, until: int) -> None:
    """Note the flow and the move of each interval that ended."""
    whole, span, mid2 = state.whole[f], params[f, SPAN], state.clock[MID2]
    while (whole[0] + 1) * span <= until:
        whole[0] += 1
        if whole[1] != _NO_MID:
            put(state.windows, f, whole[0] * span, whole[2], mid2 - whole[1])
            if count(state.windows, f) > params[f, COUNT]:
                drop(state.windows, f)
        whole[1], whole[2] = (mid2 if whole[0] * span >= state.clock[BEGAN] else _NO_MID), 0


@compiled
def look(state: SignalState, params: Int, lean: Float, at: int, out: Float) -> None:
    """Write what the signals are at a moment, once all rows that arrived by then were told.

    Parameters
    ----------
    state, params
        The signals.
    lean
        (S, I) of the micro-price.
    at
        The moment, ns.
    out
        (F,) written; NaN where it cannot be known yet, or is of nothing.
    """
    out[:] = math.nan
    clock = state.clock
    clock[LOOKED] = at
    if clock[ROWS] == 0:
        return
    _close(state, params)
    _settle(state, params, at)
    for f in range(len(params)):
        if state.windows.length[f] > 0:
            expire(state.windows, f, at)
        if at >= clock[BEGAN] + params[f, LOOKBACK]:
            kind = params[f, KIND]
            if kind <= MID:
                out[f] = _standing(state, params, f, lean)
            elif kind <= MOVE:
                out[f] = _summed(state, params, f)
            else:
                out[f] = _measured(state, params, f, at)


@inlined
def standing_best(state: SignalState, out: Int) -> None:
    """Write (2, 2) best bid and ask as of the last look: tick, lots; `NO_BID`, `NO_ASK` and 0 where there is none."""
    started = state.clock[STARTED] != 0
    for side in range(2):
        out[side, 0] = state.top[1, side, 0, 0] if started else (NO_BID if side == BUY else NO_ASK)
        out[side, 1] = state.top[1, side, 0, 1] if started else 0


@inlined
def _standing(state: SignalState, params: Int, f: int, lean: Float) -> float:
    """Signals of the book as it stands."""
    top, kind = state.top[1], params[f, KIND]
    bid, bid_lots, ask, ask_lots = top[BUY, 0, 0], top[BUY, 0, 1], top[SELL, 0, 0], top[SELL, 0, 1]
    if bid_lots == 0 or ask_lots == 0:
        return math.nan
    value = float(ask - bid)
    if kind == IMBALANCE:
        bids, asks = 0, 0
        for k in range(params[f, LEVELS]):
            bids += top[BUY, k, 1]
            asks += top[SELL, k, 1]
        value = imbalance_of(bids, asks)
    elif kind == WEIGHTED:
        value = weighted_mid_of(0.0, bid_lots, ask - bid, ask_lots) - 0.5 * (ask - bid)
    elif kind == MICRO:
        value = lean_of(lean, bid, bid_lots, ask, ask_lots)
    elif kind == MID:
        value = 0.5 * (bid + ask)
    return value


@inlined
def _summed(state: SignalState, params: Int, f: int) -> float:
    """Signals that are sums over a window."""
    first, second, kind = float(state.windows.sums[f, 0]), state.windows.sums[f, 1], params[f, KIND]
    if kind == LEVEL_OFI and count(state.windows, f) > 0:
        mean_depth = second / (2.0 * params[f, LEVELS] * count(state.windows, f))
        return first / mean_depth if mean_depth > 0.0 else math.nan
    if kind == VOLATILITY:
        return 0.5 * math.sqrt(first / (params[f, SPAN] * 1e-9))
    return 0.5 * first if kind == MOVE else first


@inlined
def _measured(state: SignalState, params: Int, f: int, at: int) -> float:
    """Signals that are means, slopes or decays."""
    kind, n = params[f, KIND], count(state.windows, f)
    if kind in (EFFECTIVE, REALISED):
        return state.windows.sums[f, 0] / (_UNIT * n) if n > 0 else math.nan
    if kind == MARKOUT:
        return 0.5 * state.windows.sums[f, 0] / n if n > 0 else math.nan
    if kind == VPIN:
        full = params[f, COUNT]
        return state.windows.sums[f, 0] / float(params[f, BUCKET] * full) if n == full else math.nan
    if kind == KYLE:
        if n < params[f, COUNT]:
            return math.nan
        room = state.windows.came.shape[1] - 1
        for k in range(n):
            ended = state.windows.came[f, (state.windows.ends[f, 0] + k) & room]
            state.scratch[0, k], state.scratch[1, k] = ended[FIRST], 0.5 * ended[SECOND]
        return kyle_lambda(state.scratch[0, :n], state.scratch[1, :n])
    excitement = decayed(state.real[f, 0], at - state.whole[f, 0], float(params[f, SPAN]))
    return excitement / float(params[f, SPAN] * 1e-9)
