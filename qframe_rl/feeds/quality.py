"""Bad prints: bars that no market can have traded, found and listed before anyone trains or is judged on them.

A price that leaps away between two bars and leaps back between two bars, while nothing traded, was a print and no
market: it is taken out. Everything else that looks odd is listed and kept, for a trade may explain it: crashes and
squeezes come back within bars as well. A judgement needs the bar that follows, so a live feed cannot make it; nothing
is won by that, for in a bar without a trade no order could have filled and no last price could have moved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.types import CLOSE, HIGH, LOW, OPEN, VOLUME, Bool, Float, History, Int, Suspect, iso

LEAP = 0.10
"""Smallest log move away and back between two bars that counts as a spike. In the 2,589,614 bars of 87 real series of
minutes, hours and days, crashes included, the largest is 0.029 (BNB on 2017-11-11)."""
THERE_AND_BACK = math.log(1.5)
"""The same for a move that the next bar trades its way back from. The largest that real hourly coins made, with the
same robust size, is 0.32 (ETC on 2021-05-19)."""
ROBUST = 10.0
"""A spike is also this many robust standard deviations of the bars around it."""
LONGEST = 3
"""Most bars in a row that one spike lasts."""
NEAR = 1.0 / 3.0
"""A spike is back where it was if what is left of it is below this share of it."""
AROUND = 50
"""Bars on each side from which the usual size of a move is measured."""
REPEATS = 3
"""Bars in a row, volume included, that are the same to the last digit: a feed that stood still."""
WICK = 1.0
"""Log distance of a high or low from the bar's body that is listed, and kept: such trades do happen."""
STRAY = 0.10
"""Log distance of a perpetual's high from its coin's high, or of the lows, that is listed, and kept: it was traded, but
the exchange's mark price, which follows the coin, was elsewhere. It names ten of 274,000 real hours of eleven coins."""
MOST = 0.05
"""Largest share of an instrument's bars that may look like bad prints; beyond it the file is refused."""
SPIKE, AFTER_SPIKE = "spike that reverts", "opens at a spike"
EDGE, SILENT, STALE = "lies apart at the edge", "moves without volume", "repeats the bar before"
PRINT = "leaps and back without a trade"
_BROKEN = (PRINT, SPIKE, AFTER_SPIKE, EDGE, SILENT, STALE)
"""What a file that is full of it must be mended for."""


class _Series(NamedTuple):
    """The traded bars of one instrument."""

    rows: Int
    """(N,) their rows in the history."""
    bars: Float
    """(N, 5)."""

    @property
    def close(self) -> Float:
        return self.bars[:, CLOSE]

    @property
    def untraded(self) -> Bool:
        """(N,) whether nothing traded in a bar; where volume is hardly ever stated it says nothing.

        No share of the usual volume tells that: the first hour of a real listing moved 15 % on a hundred-thousandth of
        what was usual later (the ether perpetual on 2019-11-27). And of the 54 real bars without volume none moved.
        """
        volume = self.bars[:, VOLUME]
        stated = np.count_nonzero(volume) > 0.5 * len(volume)
        none: Bool = (volume == 0.0) & stated
        return none


def suspects(history: History) -> tuple[Suspect, ...]:
    """Bars of a history that look wrong, in order of time.

    Parameters
    ----------
    history
        Checked bars.

    Returns
    -------
    tuple[Suspect, ...]
        Those with ``quarantined`` set no trade can explain, and they are to be taken out; the others are worth a look.
    """
    found: list[Suspect] = []
    for a, instrument in enumerate(history.instruments):
        rows = np.flatnonzero(~np.isnan(history.values[:, a, CLOSE]))
        if not len(rows):  # a candidate of a universe that did not trade in these bars
            continue
        series = _Series(rows, history.values[rows, a, :5])
        for k, rule, size, out in (
            *_spikes(series),
            *_edges(series),
            *_silent(series),
            *_stale(series),
            *_wicks(series),
        ):
            found.append(Suspect(instrument.symbol, int(history.time[rows[k]]), rule, size, out))
    found += _strays(history)
    # A bar that several rules name is listed once, by the first that takes it out.
    found.sort(key=lambda s: (s.time, s.symbol, not s.quarantined))
    once: dict[tuple[int, str], Suspect] = {}
    for suspect in found:
        once.setdefault((suspect.time, suspect.symbol), suspect)
    return tuple(once.values())


def quarantine(history: History) -> History:
    """Return the history without its bad prints, which it lists.

    An instrument whose bar is taken out did not trade in it: all its channels are NaN. A row in which nothing traded is
    left out, as for an outage; what funding fell due in it is due in the next row.

    Raises
    ------
    UserError
        If more than `MOST` of an instrument's bars look like bad prints, whether or not a trade may explain them.
    """
    found = suspects(history)
    values = history.values.copy()
    index = {symbol: a for a, symbol in enumerate(history.symbols)}
    for suspect in found:
        if suspect.quarantined:
            values[np.searchsorted(history.time, suspect.time), index[suspect.symbol]] = np.nan
    _refuse_many(history, found)
    clean = replace(history, values=values, quarantine="on", suspects=found)
    left, before = ~np.isnan(values[:, :, CLOSE]), ~np.isnan(history.values[:, :, CLOSE])
    empty: Bool = np.logical_and(before.any(axis=1), np.logical_not(left.any(axis=1)))
    return without(clean, empty) if empty.any() else clean


def without(history: History, gone: Bool) -> History:
    """Return the history without the rows of ``gone`` (T,): nothing traded in them.

    Funding that fell due in them is due in the next row, as is what cash earned, and an instrument's last bar is the
    last one that is left.
    """
    keep = np.flatnonzero(~gone)
    if len(keep) == 0:
        raise UserError(f"{history.source.origin}: no bar is left.")
    due = np.add.reduceat(history.funding, np.concatenate([[0], keep[:-1] + 1]), axis=0)
    final = np.zeros((len(keep), len(history.instruments)), dtype=np.bool_)
    for a in np.flatnonzero(history.final.any(axis=0)):
        traded = np.flatnonzero(~np.isnan(history.values[keep, a, CLOSE]))
        final[traded[-1:], a] = True
    earned = np.add.reduceat(history.cash_rate, np.concatenate([[0], keep[:-1] + 1]))
    return replace(
        history, time=history.time[keep], values=np.ascontiguousarray(history.values[keep]), funding=due, final=final,
        cash_rate=earned,
    )  # fmt: skip


def describe(found: Sequence[Suspect]) -> Iterator[str]:
    """One line for each suspect, for a screen."""
    for one in found:
        what = "taken out" if one.quarantined else "kept"
        yield f"{one.symbol} {iso(one.time)[:16]} (close): {one.rule}, {math.expm1(one.size):+.1%}; {what}"


def _refuse_many(history: History, found: Sequence[Suspect]) -> None:
    traded = (~np.isnan(history.values[:, :, CLOSE])).sum(axis=0)
    named = [suspect.symbol for suspect in found if suspect.rule in _BROKEN]
    odd = np.array([named.count(symbol) for symbol in history.symbols])
    worst = int(np.argmax(odd / np.maximum(traded, 1)))
    if odd[worst] > MOST * traded[worst]:
        raise UserError(
            f"{history.source.origin}: {odd[worst]} of {traded[worst]} bars of {history.symbols[worst]} look like bad "
            "prints; mend the data, or keep them with quarantine off."
        )


_Found = Iterator[tuple[int, str, float, bool]]


def _spikes(series: _Series) -> _Found:
    """Runs of bars that lie far from the close before them and from the price after them, which agree."""
    close, opening, untraded = np.log(series.close), np.log(series.bars[:, OPEN]), series.untraded
    n, k = len(close), 1
    step = np.abs(np.diff(close))
    while k < n - 1:
        # Every spike begins with a move; the dear checks are made for those bars alone.
        length, least = _spike(close, opening, step, k) if step[k - 1] > LEAP else (0, 0.0)
        after = k + length
        out = length > 0 and bool(untraded[k:after].all()) and _leaps(close, opening, k, after, least)
        for bar in range(k, after):
            yield bar, PRINT if out else SPIKE, float(close[bar] - close[k - 1]), out
        # Where the next bar opens at the spike and trades its way back, its open is a price that perhaps never was.
        if length and after < n and abs(opening[after] - close[k - 1]) > LEAP:
            yield after, AFTER_SPIKE, float(opening[after] - close[k - 1]), False
            after += 1
        k = after if length else k + 1


def _spike(close: Float, opening: Float, step: Float, k: int) -> tuple[int, float]:
    """Bars that a spike lasts which begins at bar k (0 = there is none), and the least size of a leap there."""
    usual = 1.4826 * float(np.median(np.concatenate([step[max(0, k - 1 - AROUND) : k - 1], step[k + 1 : k + AROUND]])))
    leap = max(LEAP, ROBUST * usual)
    for length in range(1, LONGEST + 1):
        end = k + length
        if end >= len(close):
            break
        for back, least in ((opening[end], leap), (close[end], max(THERE_AND_BACK, leap))):
            away = np.stack([close[k:end] - close[k - 1], close[k:end] - back])
            size = float(np.abs(away).min())
            one_way = bool((away > 0.0).all() or (away < 0.0).all())
            if one_way and size > least and abs(back - close[k - 1]) < NEAR * size:
                return length, leap
    return 0, leap


def _leaps(close: Float, opening: Float, k: int, end: int, least: float) -> bool:
    """Whether bars k to ``end`` opened away from the close before them, and the next one opened back there."""
    there, back = opening[k] - close[k - 1], close[end - 1] - opening[end]
    return bool(min(abs(there), abs(back)) > least and there * back > 0.0)


def _edges(series: _Series) -> _Found:
    """A first or last bar that lies apart from the two bars beside it, with no trade between."""
    close, opening = np.log(series.close), np.log(series.bars[:, OPEN])
    if len(close) < AROUND:
        return
    least = max(THERE_AND_BACK, ROBUST * 1.4826 * float(np.median(np.abs(np.diff(close)))))
    for bar, leap in ((0, close[0] - opening[1:3]), (len(close) - 1, opening[-1] - close[-3:-1])):
        if (leap > least).all() or (leap < -least).all():
            yield bar, EDGE, float(leap[np.argmin(np.abs(leap))]), False


def _silent(series: _Series) -> _Found:
    """Bars that moved although nothing traded."""
    close = series.close
    if len(close) < 2:
        return
    move = np.concatenate([[0.0], np.diff(np.log(close))])
    moved = (move != 0.0) | (series.bars[:, HIGH] > series.bars[:, LOW])
    for k in np.flatnonzero(series.untraded & moved):
        yield int(k), SILENT, float(move[k]), False


def _stale(series: _Series) -> _Found:
    """All but the first of `REPEATS` bars or more that are the same, with a range and a volume."""
    bars = series.bars
    same = np.concatenate([[False], (np.diff(bars, axis=0) == 0.0).all(axis=1)])
    same &= (bars[:, VOLUME] > 0.0) & (bars[:, HIGH] > bars[:, LOW])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8))).reshape(-1, 2)
    for start, stop in edges:
        if stop - start >= REPEATS - 1:
            for k in range(start, stop):
                yield int(k), STALE, 0.0, False


def _wicks(series: _Series) -> _Found:
    bars = np.log(series.bars[:, :4])
    up = bars[:, HIGH] - np.maximum(bars[:, OPEN], bars[:, CLOSE])
    down = np.minimum(bars[:, OPEN], bars[:, CLOSE]) - bars[:, LOW]
    for k in np.flatnonzero(np.maximum(up, down) > WICK):
        size = float(up[k] if up[k] > down[k] else -down[k])
        yield int(k), "extreme far from the body", size, False


def _strays(history: History) -> Iterator[Suspect]:
    """Bars of a perpetual whose extreme is far from that of the same coin, which trades beside it."""
    index = {instrument.symbol: a for a, instrument in enumerate(history.instruments)}
    for perpetual, a in index.items():
        coin = index.get(history.instruments[a].pair)
        if history.instruments[a].kind != "perpetual" or coin is None:
            continue
        rows = np.flatnonzero(~np.isnan(history.values[:, [a, coin], CLOSE]).any(axis=1))
        up, down = (np.log(history.values[rows, a, k] / history.values[rows, coin, k]) for k in (HIGH, LOW))
        size = np.where(up > -down, up, down)
        for k in np.flatnonzero((up > STRAY) | (down < -STRAY)):
            yield Suspect(perpetual, int(history.time[rows[k]]), "strays from its coin", float(size[k]), False)
