"""Coins that came back as others: a price whose level shifts between two bars beyond all that the instrument ever did.

An exchange that delists a coin, or exchanges it for another one at a stated ratio, lists the new one under the old
ticker. Held through that, a position would be worth what it never was. So the old instrument ends at its last bar,
where what is held is paid out, and another one begins; whoever knows the ratio may state it and have one series.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.feeds.quality import AROUND, ROBUST, SPIKE, suspects
from qframe_rl.types import CLOSE, OPEN, RELISTED, VOLUME, Bool, Float, History, Instrument, Int, Suspect, iso

SHIFT = math.log(3.0)
"""Smallest log distance from a close to the next bar's open that is another level. In 87 real series the largest is
0.66 between bars that follow each other (the spike of ether on 2017-08-22) and 0.58 across a gap (ENA, 25 days)."""


@dataclass(frozen=True)
class _Shift:
    """Where the level of an instrument shifts."""

    row: int
    """First bar at the new level."""
    size: float
    """Log distance from the close before to that bar's open."""


def relisted(history: History, ratios: Sequence[str] = ()) -> History:
    """End an instrument where its level shifts and begin another one there, or join the two by a stated ratio.

    Parameters
    ----------
    history
        Bars whose bad prints are taken out or listed.
    ratios
        ``SYMBOL:RATIO`` each, for the shifts of a symbol in the order of time: how many units before the shift one unit
        after it stands for. Prices and funding before it are multiplied by the ratio, volumes divided.

    Returns
    -------
    History
        With ``SYMBOL#2``, ``SYMBOL#3``, ... beside the symbols that came back as others, by the same rules of trading.
        Every shift is a suspect, at the close of the first bar behind it.

    Raises
    ------
    UserError
        For another spelling, a symbol that has fewer shifts than ratios, or a ratio that leaves a shift.
    """
    stated = _stated(ratios, history)
    found = {a: _shifts(history, a) for a in range(len(history.instruments))}
    for symbol, factors in stated.items():
        shifts = found[history.symbols.index(symbol)]
        if len(shifts) < len(factors):
            raise UserError(
                f"relist {symbol}: {len(factors)} ratio{'s' if len(factors) > 1 else ''} stated, but the level shifts "
                f"{f'only {len(shifts)} times' if shifts else 'nowhere'} in these bars; leave out what is not needed."
            )
    if not any(found.values()):
        return history
    return _split(_joined(history, found, stated), found, stated)


def _stated(ratios: Sequence[str], history: History) -> dict[str, tuple[float, ...]]:
    """Ratios of each symbol, in their order."""
    stated: dict[str, tuple[float, ...]] = {}
    for text in ratios:
        symbol, _, number = text.rpartition(":")
        try:
            ratio = float(number)
        except ValueError:
            ratio = math.nan
        if not symbol or not 0.0 < ratio < math.inf:
            raise UserError(f"relist {text!r} is not SYMBOL:RATIO (such as COIN/USDT:1000, a number above zero).")
        if symbol not in history.symbols:
            raise UserError(f"relist {text!r}: {symbol} is not among the symbols {', '.join(history.symbols)}.")
        stated[symbol] = (*stated.get(symbol, ()), ratio)
    return stated


def _shifts(history: History, a: int) -> list[_Shift]:
    """Shifts of one instrument, in order of time."""
    rows = _traded(history, a)
    if len(rows) < 3:
        return []
    bars = history.values[rows, a, :5]
    close, between = np.log(bars[:, CLOSE]), np.log(bars[1:, OPEN] / bars[:-1, CLOSE])
    wide = np.flatnonzero(np.abs(between) > SHIFT)
    if len(wide) == 0:
        return []
    step, n_bars = np.diff(close), np.diff(history.time[rows]) / history.bar_ns
    spikes = {s.time for s in suspects(history) if s.symbol == history.symbols[a] and s.rule == SPIKE}
    other: Bool = np.ones(len(step), dtype=np.bool_)
    found = []
    for k in wide.tolist():
        reverts = {int(history.time[rows[k]]), int(history.time[rows[k + 1]])} & spikes
        # The past counts, where there is enough of it; else all that there is. A level shift is no move.
        moves = step[other & (np.arange(len(step)) < (k if k >= AROUND else len(step))) & (np.arange(len(step)) != k)]
        if not reverts and abs(between[k]) > _limit(moves, n_bars[k], between[k]):
            found.append(_Shift(int(rows[k + 1]), float(between[k])))
            other[k] = False
    return found


def _traded(history: History, a: int) -> Int:
    """Rows in which an instrument traded: without those that say so by their volume, where volume is stated.

    Some exchanges list flat candles for the time of a halt.
    """
    rows = np.flatnonzero(~np.isnan(history.values[:, a, CLOSE]))
    volume = history.values[rows, a, VOLUME]
    return rows[volume > 0.0] if np.count_nonzero(volume) > 0.5 * len(volume) else rows


def _limit(step: Float, n_bars: float, size: float) -> float:
    """What an instrument with moves ``step`` of one bar may do in ``n_bars`` bars: a log distance.

    Its largest move of one bar in that direction (a fall to nothing says nothing about a rise), and a random walk of so
    many bars by the median move.
    """
    usual = 1.4826 * float(np.median(np.abs(step)))
    return max(SHIFT, float((step * np.sign(size)).max()), ROBUST * usual * math.sqrt(n_bars))


def _joined(history: History, found: Mapping[int, list[_Shift]], stated: Mapping[str, Sequence[float]]) -> History:
    """Bring the bars before a shift whose ratio is stated to the level after it."""
    values, funding = history.values.copy(), history.funding.copy()
    for a, symbol in enumerate(history.symbols):
        for shift, ratio in zip(found[a], stated.get(symbol, ()), strict=False):
            left = shift.size - math.log(ratio)
            if abs(left) > SHIFT:
                raise UserError(
                    f"relist {symbol}:{ratio:g}: the level of {iso(int(history.time[shift.row]))} is "
                    f"{math.exp(shift.size):g} times the one before, so a shift of {math.exp(left):g} is left; "
                    "state the ratio at which the exchange listed it anew."
                )
            values[: shift.row, a, :VOLUME] *= ratio
            values[: shift.row, a, VOLUME] /= ratio
            funding[: shift.row, a] *= ratio
    return replace(history, values=values, funding=funding)


def _split(history: History, found: Mapping[int, list[_Shift]], stated: Mapping[str, Sequence[float]]) -> History:
    """End and begin instruments at the shifts whose ratio is not stated, and list them all."""
    instruments: list[Instrument] = []
    parts: list[tuple[Float, Float, Bool]] = []
    listed = list(history.suspects)
    for a, one in enumerate(history.instruments):
        n_joined = len(stated.get(one.symbol, ()))
        edges = [0, *(shift.row for shift in found[a][n_joined:]), len(history)]
        names = [one.symbol, *(f"{one.symbol}{RELISTED}{n}" for n in range(2, len(edges)))]
        instruments += [replace(one, symbol=name) for name in names]
        parts += [_part(history, a, start, stop) for start, stop in itertools.pairwise(edges)]
        for n, shift in enumerate(found[a]):
            rule = "level shift, joined by the stated ratio" if n < n_joined else "level shift, goes on as another"
            name = one.symbol if n < n_joined else names[n - n_joined + 1]
            listed.append(Suspect(name, int(history.time[shift.row]), rule, shift.size, False))
    values, funding, final = (np.stack(field, axis=1) for field in zip(*parts, strict=True))
    return replace(
        history, instruments=tuple(instruments), values=values, funding=funding, final=final,
        suspects=tuple(sorted(listed, key=lambda s: (s.time, s.symbol))),
    )  # fmt: skip


def _part(history: History, a: int, start: int, stop: int) -> tuple[Float, Float, Bool]:
    """(T, C) values, (T,) funding and (T,) final of the bars ``start`` to ``stop`` of an instrument, alone."""
    inside: Bool = np.zeros(len(history), dtype=np.bool_)
    inside[start:stop] = True
    values = np.where(inside[:, None], history.values[:, a], np.nan)
    final = inside & history.final[:, a]
    traded = np.flatnonzero(~np.isnan(values[:, CLOSE]))
    if stop < len(history):
        final[traded[-1]] = True
    return values, np.where(inside, history.funding[:, a], 0.0), final
