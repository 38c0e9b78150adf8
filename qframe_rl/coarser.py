"""Features of coarser bars: ``4h:rsi:14`` is the RSI of fourteen bars of four hours, of the last one that has closed.

Coarser bars end where whole multiples of their length end (weeks on Mondays, UTC). They are made of the bars that there
are: where an instrument did not trade in one of them it has no coarser bar either, and a stretch without any bar has
none. A value is a function of the last ``lookback`` bars alone, so it is the same bits live as over a history.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from qframe_rl.config import UserError, shortened
from qframe_rl.jit import compiled
from qframe_rl.times import DAY, WEEK, timeframe_name, timeframe_ns
from qframe_rl.types import CLOSE, HIGH, LOW, VOLUME, Float, Int

_PREFIX = re.compile(r"([1-9]\d{0,5}[smhdw]):(.+)", re.DOTALL)
_MONDAY = 4 * DAY
"""From the beginning of 1970, a Thursday, to a Monday."""


class Coarser(NamedTuple):
    """A name of a feature, taken apart."""

    length_ns: int
    """Of the coarser bars."""
    inner: str
    """The feature of these."""


def apart(spec: str) -> Coarser | None:
    """Timeframe and feature of a name such as ``4h:rsi:14``; None for one without a timeframe."""
    match = _PREFIX.fullmatch(spec)
    return None if match is None else Coarser(timeframe_ns(match[1]), match[2])


def ratio(spec: str, length_ns: int, bar_ns: int) -> int:
    """How many bars a coarser one has.

    Parameters
    ----------
    spec
        Name of the feature, for a refusal.
    length_ns
        Of the coarser bars.
    bar_ns
        Of the bars.

    Raises
    ------
    UserError
        If it is no whole number above 1.
    """
    if bar_ns <= 0 or length_ns % bar_ns or length_ns == bar_ns:
        raise UserError(
            f"feature {shortened(spec)}: its bars must be several whole ones of the data, which have "
            f"{timeframe_name(bar_ns) if bar_ns > 0 else 'no length'}."
        )
    return length_ns // bar_ns


def rows_of(
    values: Callable[[Float, Int], Float], bars: Float, times: Int, length_ns: int, first: int, out: Float
) -> None:
    """Write a feature of coarser bars.

    Parameters
    ----------
    values
        From coarser bars (P, A, C) and their ends (P,) to the feature (P, A).
    bars, times
        (T, A, C) channels and (T,) closes.
    length_ns
        Of the coarser bars.
    first
        Row to begin with.
    out
        (T - first, A) written: at each row, the value of the last coarser bar that has closed by then.
    """
    coarse, ends = coarse_bars(bars, times, length_ns)
    last = np.searchsorted(ends, times[first:], side="right") - 1
    found = values(coarse, ends)[np.maximum(last, 0)]
    found[last < 0] = np.nan
    out[:] = found


def offset_of(length_ns: int) -> int:
    """Where the first of the coarser bars begins, ns since the beginning of 1970."""
    return _MONDAY if length_ns % WEEK == 0 else 0


def coarse_bars(bars: Float, times: Int, length_ns: int) -> tuple[Float, Int]:
    """Make coarser bars of all bars; the first and the last may lack some.

    Parameters
    ----------
    bars, times, length_ns
        As in `rows_of`.

    Returns
    -------
    tuple
        (P, A, C) channels as `merge` makes them, and (P,) when each ends.
    """
    offset = offset_of(length_ns)
    period = -((offset - times) // length_ns)  # the number of the coarser bar that a close belongs to, rounded up
    begins = np.flatnonzero(np.diff(period, prepend=period[0] - 1))
    coarse = np.empty((len(begins), *bars.shape[1:]))
    merge(bars, np.append(begins, len(bars)), coarse)
    return coarse, period[begins] * length_ns + offset


@compiled
def merge(bars: Float, begins: Int, out: Float) -> None:
    """Make one bar of several.

    Parameters
    ----------
    bars
        (T, A, C) channels.
    begins
        (P + 1,) rows that each begins with, and T.
    out
        (P, A, C) written: first open, highest high, lowest low, last close, all volume, and of further channels what
        the last bar has in which the instrument traded; NaN where it has a bar in none of them.
    """
    for p in range(len(begins) - 1):
        for a in range(bars.shape[1]):
            seen, last = False, begins[p + 1] - 1
            for c in range(bars.shape[2]):
                out[p, a, c] = np.nan
            for t in range(begins[p], begins[p + 1]):
                if bars[t, a, CLOSE] == bars[t, a, CLOSE]:
                    last = t
                    if not seen:
                        for c in range(VOLUME + 1):
                            out[p, a, c] = bars[t, a, c]
                        seen = True
                    else:
                        out[p, a, HIGH] = max(out[p, a, HIGH], bars[t, a, HIGH])
                        out[p, a, LOW] = min(out[p, a, LOW], bars[t, a, LOW])
                        out[p, a, CLOSE] = bars[t, a, CLOSE]
                        out[p, a, VOLUME] += bars[t, a, VOLUME]
            for c in range(VOLUME + 1, bars.shape[2]):
                out[p, a, c] = bars[last, a, c]
