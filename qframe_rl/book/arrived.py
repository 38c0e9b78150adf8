"""The book after each message, in the order of arrival; and what prices did after trades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qframe_rl.book.events import TRADE
from qframe_rl.book.standing import StandingLevels, is_full, no_levels, nth, set_level, uncross
from qframe_rl.book.state import BUY
from qframe_rl.book.tape import NO_ASK, NO_BID, Tape
from qframe_rl.config import UserError
from qframe_rl.jit import apart
from qframe_rl.types import Float, Int


class ArrivedQuotes(NamedTuple):
    """The book after each message of M, in the order of arrival."""

    at: Int
    """(M,) when it arrived, ns."""
    quotes: Int
    """(M, L, 2, 2) levels from the best on, bids and asks: tick and lots; 0 lots where there is none."""


def arrived_quotes(tape: Tape, n_levels: int = 1, until_ns: int | None = None) -> ArrivedQuotes:
    """Levels of the book as it is known where messages arrive, after each message of depth.

    Parameters
    ----------
    tape
        The market.
    n_levels
        L.
    until_ns
        Only what arrived by then, by the clock of ``tape.local_ns``: training rows.
    """
    until = int(tape.local_ns.max()) if until_ns is None else until_ns
    at, quotes = np.empty(len(tape.tick), np.int64), np.empty((len(tape.tick), n_levels, 2, 2), np.int64)
    levels = no_levels(len(tape.level_tick) + 1)
    n = _arrived(tape, levels, until, at, quotes)
    return ArrivedQuotes(at[:n], quotes[:n])


@apart
def _arrived(tape: Tape, levels: StandingLevels, until: int, at: Int, quotes: Int) -> int:
    n, m = len(tape.arrivals), 0
    for k in range(n):
        row = tape.arrivals[k]
        if tape.local_ns[row] > until:
            break
        if tape.kind[row] == TRADE or is_full(levels):
            continue
        set_level(levels, tape.level_side[tape.level[row]], tape.tick[row], tape.lots[row], k)
        if k + 1 < n:
            after = tape.arrivals[k + 1]
            if tape.message[after] == tape.message[row] and tape.local_ns[after] == tape.local_ns[row]:
                continue
        uncross(levels)
        at[m] = tape.local_ns[row]
        for j in range(quotes.shape[1]):
            for side in range(2):
                tick, lots = nth(levels, side, j, NO_BID if side == BUY else NO_ASK)
                quotes[m, j, side, 0], quotes[m, j, side, 1] = tick, lots
        m += 1
    return m


def markouts(tape: Tape, at: Int, side: Int, tick: Int, horizons: Sequence[int]) -> Float:
    """How far the mid price was beyond the price of fills some time later: what they had earned by then.

    Of a report, not of a decision: each is known once its horizon is over, and measured by the exchange's own book.

    Parameters
    ----------
    tape
        The market.
    at
        (N,) when they filled, exchange's clock, ns.
    side, tick
        (N,) of whom it is told, 0 = bought; and price.
    horizons
        H times after the fill, ns, 0 or more.

    Returns
    -------
    Float
        (N, H) ticks; NaN where the tape ends before, or its book lacks a side.

    Raises
    ------
    UserError
        If a horizon is below 0.
    """
    if any(h < 0 for h in horizons):
        raise UserError("markouts look forward: a horizon is not below 0.")
    later = np.asarray(at)[:, None] + np.asarray(horizons, np.int64)[None, :]
    row = np.searchsorted(tape.exchange_ns, later, side="right") - 1
    bid, ask = tape.bid[row], tape.ask[row]
    told = (row >= 0) & (later <= tape.exchange_ns[-1]) & (bid != NO_BID) & (ask != NO_ASK)
    gone = np.where(np.asarray(side) == BUY, 1.0, -1.0)[:, None] * (0.5 * (bid + ask) - np.asarray(tick)[:, None])
    return np.where(told, gone, np.nan)
