"""Finer bars within bars: joined from a history of them, checked to add up, or made up within bars that are made up.

A bar that lacks finer ones, or of which some are missing so that they do not add up to it, is its own only finer bar;
how many are is said. Where none is missing and they do not add up, one of the two is wrong, and nothing is loaded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.types import (
    CLOSE,
    HIGH,
    LOW,
    OHLCV,
    OPEN,
    RELISTED,
    VOLUME,
    Bool,
    Finer,
    Float,
    History,
    Int,
    iso,
    timeframe_name,
)

_NEAR = 1e-6
"""Share by which a sum of volumes may miss the volume: exchanges round."""


class _Cut(NamedTuple):
    """Finer bars cut at the ends of bars; a bar without any has a row of its own, of NaN."""

    start: Int
    """(T + 1,)."""
    bars: Float
    """(F, A, 5)."""


def check_length(ns: int, bar_ns: int) -> None:
    """Refuse finer bars that are no finer, or of which bars are no whole multiples."""
    if ns >= bar_ns or bar_ns % ns:
        raise UserError(
            f"detail {timeframe_name(ns)} must be shorter than a bar, and bars of {timeframe_name(bar_ns)} whole "
            "multiples of it; take another one, or none."
        )


def check_finer(history: History, detail_ns: int) -> None:
    """Refuse bars that do not come with the finer ones that a market looks at; 0 = it looks at none."""
    if detail_ns and (history.finer is None or history.finer.ns != detail_ns):
        name = timeframe_name(detail_ns)
        raise UserError(
            f"env.detail is {name}, but the bars of {history.source.origin} come without finer ones of {name}: load "
            f"them with data.detail={name}, or join them by qframe_rl.feeds.finer.with_finer."
        )


def with_finer(history: History, finer: History) -> History:
    """The same bars with the finer ones that they consist of.

    Parameters
    ----------
    history
        The bars; where one of an instrument was taken out, so are its finer ones.
    finer
        Bars of the same instruments, over the same time.

    Returns
    -------
    History
        With a note of how many bars are their own only finer bar.

    Raises
    ------
    UserError
        If bars are no whole multiples of the finer ones, if those begin after an instrument's first bar or end before
        its last, or if they do not add up though none is missing.
    """
    found = join(history, finer, strict=True)
    notes = tuple(
        f"{symbol}: {found.alone[:, a].sum():,} of {there:,} bars have not all of their finer ones, and are looked at "
        "as a whole"
        for a, symbol in enumerate(history.symbols)
        if found.alone[:, a].any() and (there := int((~np.isnan(history.values[:, a, CLOSE])).sum()))
    )
    return replace(found.history, notes=(*history.notes, *notes))


class Joined(NamedTuple):
    """Bars with their finer ones."""

    history: History
    alone: Bool
    """(T, A) which bars are their own only finer one."""


def join(history: History, finer: History, *, strict: bool = False) -> Joined:
    """What `with_finer` does, without its notes.

    Parameters
    ----------
    history, finer
        As there.
    strict
        Whether finer bars are refused that do not reach as far as the bars, or do not add up; else such bars are their
        own only finer one.

    Raises
    ------
    UserError
        As there, and for an instrument that has no finer bars.
    """
    check_length(finer.bar_ns, history.bar_ns)
    tickers = [symbol.partition(RELISTED)[0] for symbol in history.symbols]
    if lacking := sorted(set(tickers) - set(finer.symbols)):
        raise UserError(
            f"detail: there are no finer bars of {', '.join(lacking)}; hand over those of every instrument."
        )
    columns = [finer.symbols.index(ticker) for ticker in tickers]
    cut = _cut(history, finer, columns)
    kept, alone = _that_add_up(history, cut, history.bar_ns // finer.bar_ns, strict)
    return Joined(replace(history, finer=Finer(cut.start, kept, finer.bar_ns)), alone)


def _cut(history: History, finer: History, columns: list[int]) -> _Cut:
    opens = history.time - history.bar_ns
    row = np.searchsorted(history.time, finer.time, side="left")
    inside = (row < len(history)) & (finer.time > opens[np.minimum(row, len(history) - 1)])
    row, values = row[inside], finer.values[inside][:, columns, : VOLUME + 1]
    bare = np.setdiff1d(np.arange(len(history)), row)
    order = np.argsort(np.concatenate([row, bare]), kind="stable")
    values = np.concatenate([values, np.full((len(bare), *values.shape[1:]), np.nan)])[order]
    counts = np.bincount(np.concatenate([row, bare]), minlength=len(history))
    return _Cut(np.concatenate([[0], np.cumsum(counts)]), values)


def _that_add_up(history: History, cut: _Cut, ratio: int, strict: bool) -> tuple[Float, Bool]:
    """(F, A, 4) finer bars, and (T, A) which bars are their own only one."""
    lacking = np.zeros(history.funding.shape, dtype=np.bool_)
    kept = np.empty((len(cut.bars), len(history.symbols), 4))
    whole = np.repeat(np.arange(len(history)), np.diff(cut.start))
    for a, symbol in enumerate(history.symbols):
        bar, bars = history.values[:, a, : VOLUME + 1], cut.bars[:, a]
        there, traded = ~np.isnan(bar[:, CLOSE]), ~np.isnan(bars[:, CLOSE])
        n = np.add.reduceat(traded.astype(np.int64), cut.start[:-1])
        if strict and there.any():
            _reach(history, there & (n > 0), there, symbol)
        wrong = _differ(bar, _summed(bars, traded, cut.start[:-1])) & there[:, None]
        if strict:
            _refuse(history, bar, wrong & (n == ratio)[:, None], symbol)
        lacking[:, a] = there & ((n == 0) | wrong.any(axis=1))
        kept[:, a] = np.where((there & ~lacking[:, a])[whole][:, None], bars[:, :4], np.nan)
        kept[cut.start[:-1][lacking[:, a]], a] = bar[lacking[:, a], :4]
    return kept, lacking


def _summed(bars: Float, traded: Bool, begins: Int) -> Float:
    """(T, 5) what finer bars add up to; NaN where there are none."""
    index = np.arange(len(bars))
    first = np.minimum.reduceat(np.where(traded, index, len(bars) - 1), begins)
    last = np.maximum.reduceat(np.where(traded, index, 0), begins)
    out = np.empty((len(begins), VOLUME + 1))
    out[:, OPEN], out[:, CLOSE] = bars[first, OPEN], bars[last, CLOSE]
    out[:, HIGH], out[:, LOW] = np.fmax.reduceat(bars[:, HIGH], begins), np.fmin.reduceat(bars[:, LOW], begins)
    out[:, VOLUME] = np.add.reduceat(np.where(traded, bars[:, VOLUME], 0.0), begins)
    return out


def _differ(bar: Float, summed: Float) -> Bool:
    """(T, 5) which fields of bars finer ones do not add up to."""
    wrong: Bool = bar != summed
    wrong[:, VOLUME] = ~(abs(bar[:, VOLUME] - summed[:, VOLUME]) <= _NEAR * abs(bar[:, VOLUME]))
    return wrong


def _reach(history: History, known: Bool, there: Bool, symbol: str) -> None:
    """Refuse finer bars that cover no more than a part of the time."""
    first, last = np.flatnonzero(there)[[0, -1]]
    rows = np.flatnonzero(known)
    if len(rows) == 0 or rows[0] > first or rows[-1] < last:
        spans = [
            "nothing"
            if len(at) == 0
            else f"{iso(int(history.time[at[0]]) - history.bar_ns)[:16]} to {iso(int(history.time[at[-1]]))[:16]}"
            for at in (rows, np.array([first, last]))
        ]
        raise UserError(
            f"detail: the finer bars of {symbol} cover {spans[0]}, but its bars {spans[1]}; download the rest, or set "
            "since and until."
        )


def _refuse(history: History, bar: Float, wrong: Bool, symbol: str) -> None:
    if wrong.any():
        t, field = np.argwhere(wrong)[0].tolist()
        raise UserError(
            f"detail: the finer bars of {symbol} do not add up to its bar of "
            f"{iso(int(history.time[t]) - history.bar_ns)[:16]}, of which the {OHLCV[field]} is {bar[t, field]:.10g}: "
            "they are of different sources, or one of them is damaged; download both again."
        )


def with_made_up(history: History, ns: int, seed: int) -> History:
    """The same bars, which are made up, with finer ones made up within them: a walk that touches high and low.

    Parameters
    ----------
    history
        The bars.
    ns
        Length of a finer bar, ns.
    seed
        Root of the randomness.
    """
    check_length(ns, history.bar_ns)
    n, (t, a) = history.bar_ns // ns, history.funding.shape
    rng = np.random.default_rng((seed, 32))
    steps = np.cumsum(rng.standard_normal((t, a, n)), axis=2)
    bar = history.values[:, :, : CLOSE + 1]
    share = np.arange(1, n + 1) / n
    # A bridge from open to close, in between kept within the bar, of which two random finer bars touch the ends.
    line = bar[..., OPEN, None] + share * (bar[..., CLOSE] - bar[..., OPEN])[..., None]
    wide = (bar[..., HIGH] - bar[..., LOW])[..., None] / np.sqrt(n)
    low, high = bar[..., LOW, None], bar[..., HIGH, None]
    closes = np.clip(line + wide * (steps - share * steps[..., -1:]), low, high)
    closes[..., -1] = bar[..., CLOSE]
    opens = np.concatenate([bar[..., OPEN, None], closes[..., :-1]], axis=2)
    highs, lows = np.maximum(opens, closes), np.minimum(opens, closes)
    for edge, to in ((highs, high), (lows, low)):
        np.put_along_axis(edge, rng.integers(0, n, (t, a, 1)), to, axis=2)
    bars = np.moveaxis(np.stack([opens, highs, lows, closes], axis=-1), 1, 2).reshape(t * n, a, 4)
    return replace(history, finer=Finer(np.arange(t + 1) * n, np.ascontiguousarray(bars), ns))
