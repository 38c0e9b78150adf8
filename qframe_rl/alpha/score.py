"""How good a formula is at telling returns apart: labels, information coefficients, and whether it counts at all.

A formula is scored by its ranks among the universe of each row. A row where it says nothing scores zero, it is not left
out: else a formula that is flat on nearly all dates would look best. One that is missing in many cells, or flat on many
dates, scores zero altogether, with the reason.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.alpha.cross import mid_ranks
from qframe_rl.alpha.operators import LEAST_MEMBERS
from qframe_rl.config import UserError
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import CLOSE, OPEN, Bool, Float

COVERED, TELLING = 0.95, 0.9
"""Least share of the universe's cells that a formula must have a value in, and of dates on which it is not flat."""
_FLAT = 1e-24


class AlphaScore(NamedTuple):
    """Scores of one formula on one stretch of rows."""

    ic: float
    """Mean over dates of the correlation of the formula's ranks with what followed."""
    rank_ic: float
    """The same with ranks of what followed."""
    icir: float
    """Mean IC per date over its standard deviation."""
    t: float
    """Newey-West t statistic of the mean IC, with as many lags as the label has bars."""
    n_dates: int
    """Rows with labels."""
    coverage: float
    """Share of the universe's cells, after the lookback, in which the formula has a value."""
    telling: float
    """Share of dates on which it is not flat; of one instrument 1 where it varies at all, else 0."""
    distinct: float
    """Distinct values on the median date, as a share of the instruments that have one; of one instrument, those of all
    dates as a share of these, to which no rule holds it."""
    invalid: str
    """Why it scores zero; empty if it is valid."""


def labels(bars: Float, n_ahead: int, start: int = 0, stop: int | None = None) -> Float:
    """What followed each decision: the return from the next open to the open ``n_ahead`` bars later.

    Parameters
    ----------
    bars
        (T, A, C) channels.
    n_ahead
        Bars held, h.
    start, stop
        Rows of the segment; its last h + 1 rows have no label, and no row outside it has one.

    Returns
    -------
    Float
        (T, A), fractions; NaN where there is no next open. What stops trading is sold at its last close.

    Raises
    ------
    ValueError
        If ``n_ahead`` is below 1.
    """
    if n_ahead < 1:
        raise ValueError(f"a label looks at least 1 bar ahead, not {n_ahead}")
    out = np.full(bars.shape[:2], np.nan)
    _labels(bars, n_ahead, start, len(bars) if stop is None else stop, out)
    return out


@compiled
def _labels(bars: Float, h: int, start: int, stop: int, out: Float) -> None:
    for t in range(start, stop - h - 1):
        for a in range(bars.shape[1]):
            bought, sold = bars[t + 1, a, OPEN], bars[t + 1 + h, a, OPEN]
            k = t + h
            while sold != sold and k > t:
                sold = bars[k, a, CLOSE]
                k -= 1
            value = sold / bought - 1.0
            out[t, a] = value if value - value == 0.0 else math.nan


def dates_of(labelled: Bool) -> Bool:
    """Rows that count as dates, whatever a formula says in them.

    Parameters
    ----------
    labelled
        (T, A) the cells of the universe with a label.

    Returns
    -------
    Bool
        (T,). Where there are `qframe_rl.alpha.operators.LEAST_MEMBERS` instruments or more, as many must have a label:
        of fewer nobody could rank any, and no formula is the worse for it. Of fewer instruments one label will do.
    """
    least = LEAST_MEMBERS if labelled.shape[1] >= LEAST_MEMBERS else 1
    enough: Bool = labelled.sum(axis=1) >= least
    return enough


def standing(values: Float, members: Bool) -> Float:
    """Z-scores of ranks among each row's universe: what a formula says, whatever its scale.

    Parameters
    ----------
    values
        (T, A) of the formula.
    members
        (T, A) the universe.

    Returns
    -------
    Float
        (T, A); NaN outside the universe and where there is no value, 0 in rows that are flat or have fewer than
        `qframe_rl.alpha.operators.LEAST_MEMBERS` values.
    """
    return standing_with_counts(values, members)[0]


def standing_with_counts(values: Float, members: Bool) -> tuple[Float, Float]:
    """`standing` (T, A), and of each row (T, 2) how many values the universe has, and how many distinct ones."""
    out, counts = np.empty(values.shape), np.empty((len(values), 2))
    _standing(values, members, np.empty((2, values.shape[1])), out, counts)
    return out, counts


@compiled
def _standing(values: Float, members: Bool, scratch: Float, out: Float, facts: Float) -> None:
    """Write `standing`; ``facts`` (T, 2): values in the universe, and how many of them are distinct."""
    for t in range(len(values)):
        n = 0
        for a in range(values.shape[1]):
            v = values[t, a]
            scratch[0, a] = v if members[t, a] and v - v == 0.0 else math.nan
            n += scratch[0, a] == scratch[0, a]
        mid_ranks(scratch[0], out[t])
        distinct = _distinct(scratch[0], out[t], n)
        flat = not _centre(out[t], out[t], n) or n < LEAST_MEMBERS
        if flat:
            for a in range(values.shape[1]):
                out[t, a] = 0.0 if out[t, a] == out[t, a] else math.nan
        facts[t, 0], facts[t, 1] = n, distinct


@inlined
def _distinct(x: Float, ranks: Float, n: int) -> int:
    """How many of the ``n`` numbers that are not NaN are distinct, by their `mid_ranks`."""
    squares = 0.0
    for a in range(len(x)):
        squares += ranks[a] * ranks[a] if ranks[a] == ranks[a] else 0.0
    if squares == n * (4.0 * n * n - 1.0) / 12.0:  # what ranks without ties come to, exactly
        return n
    distinct = 0
    for a in range(len(x)):
        first = 1 if x[a] == x[a] else 0
        for b in range(a):
            first = 0 if x[b] == x[a] else first
        distinct += first
    return distinct


@inlined
def _centre(x: Float, out: Float, n: int) -> bool:
    """Write the z-scores (population) of the ``n`` numbers that are not NaN; whether they differ at all."""
    total, squares = 0.0, 0.0
    for a in range(len(x)):
        total += x[a] if x[a] == x[a] else 0.0
    mean = total / n
    for a in range(len(x)):
        squares += (x[a] - mean) * (x[a] - mean) if x[a] == x[a] else 0.0
    spread = math.sqrt(squares / n)
    differ = n > 0 and spread > 1e-12 * abs(mean)
    for a in range(len(x)):
        out[a] = (x[a] - mean) / spread if differ else x[a]
    return differ


@compiled
def _coefficients(stand: Float, label: Float, members: Bool, scratch: Float, out: Float) -> None:
    """Write IC and rank IC of each row (T, 2); NaN where nobody of the universe has a label."""
    x, y, r, s = scratch[0], scratch[1], scratch[2], scratch[3]
    for t in range(len(stand)):
        labelled, n, ranked = 0, 0, 0
        for a in range(stand.shape[1]):
            there = members[t, a] and label[t, a] == label[t, a]
            says = stand[t, a] == stand[t, a]
            labelled += there
            ranked += says
            n += there and says
            x[a] = stand[t, a] if there else math.nan
            y[a] = label[t, a] if there and says else math.nan
        out[t, 0] = out[t, 1] = 0.0 if labelled > 0 else math.nan
        if n >= LEAST_MEMBERS:
            out[t, 0] = correlation(x, y, n)
            mid_ranks(y, r)
            if n < ranked:  # else x are ranks already, but for their scale
                mid_ranks(x, s)
                out[t, 1] = correlation(s, r, n)
            else:
                out[t, 1] = correlation(x, r, n)


@compiled
def ic_rows(stand: Float, label: Float, members: Bool, scratch: Float, out: Float) -> None:
    """Write the IC of each row, as `coefficients` has it.

    Parameters
    ----------
    stand
        (T, A) from `standing`.
    label
        (T, A) from `labels`.
    members
        (T, A) the universe.
    scratch
        (2, A) memory to work in.
    out
        (T,) written; NaN where nobody of the universe has a label.
    """
    x, y = scratch[0], scratch[1]
    for t in range(len(stand)):
        labelled, n = 0, 0
        for a in range(stand.shape[1]):
            there = members[t, a] and label[t, a] == label[t, a]
            says = stand[t, a] == stand[t, a]
            labelled += there
            n += there and says
            x[a] = stand[t, a] if there else math.nan
            y[a] = label[t, a] if there and says else math.nan
        out[t] = 0.0 if labelled > 0 else math.nan
        if n >= LEAST_MEMBERS:
            out[t] = correlation(x, y, n)


@compiled
def correlation(x: Float, y: Float, n: int) -> float:
    """Correlation over the ``n`` places that have both; 0 where one of them is flat."""
    total_x, total_y = 0.0, 0.0
    for a in range(len(x)):
        both = x[a] == x[a] and y[a] == y[a]
        total_x += x[a] if both else 0.0
        total_y += y[a] if both else 0.0
    mean_x, mean_y = total_x / n, total_y / n
    xx, yy, xy = 0.0, 0.0, 0.0
    for a in range(len(x)):
        both = x[a] == x[a] and y[a] == y[a]
        far_x, far_y = (x[a] - mean_x if both else 0.0), (y[a] - mean_y if both else 0.0)
        xx += far_x * far_x
        yy += far_y * far_y
        xy += far_x * far_y
    flat = xx <= _FLAT * n * mean_x * mean_x or yy <= _FLAT * n * mean_y * mean_y
    return 0.0 if flat else xy / (math.sqrt(xx) * math.sqrt(yy))


def coefficients(values: Float, members: Bool, label: Float) -> Float:
    """IC and rank IC of each row.

    Parameters
    ----------
    values
        (T, A) of the formula.
    members
        (T, A) the universe.
    label
        (T, A) from `labels`.

    Returns
    -------
    Float
        (T, 2): zero where the formula is flat or fewer than `qframe_rl.alpha.operators.LEAST_MEMBERS` cells have
        both; NaN in rows without labels, which are no dates. Of one instrument: products of its z-scores through time,
        whose mean is the correlation; NaN where either is missing.
    """
    if values.shape[1] == 1:
        return _through_time(values[:, 0], members[:, 0], label[:, 0])
    out = np.empty((len(values), 2))
    _coefficients(standing(values, members), label, members, np.empty((4, values.shape[1])), out)
    return out


def _through_time(values: Float, members: Bool, label: Float) -> Float:
    from scipy.stats import rankdata

    out = np.full((len(values), 2), np.nan)
    both = members & np.isfinite(values) & np.isfinite(label)
    if both.sum() < LEAST_MEMBERS:
        return out
    x, y = rankdata(values[both]), label[both]
    for k, other in enumerate((y, rankdata(y))):
        a, b = x - x.mean(), other - other.mean()
        size = math.sqrt(float(np.mean(a * a) * np.mean(b * b)))
        out[both, k] = a * b / size if size > 0.0 else 0.0
    return out


def newey_west(series: Float, n_lags: int) -> float:
    """T statistic of a mean whose errors hang together (Newey and West 1987, Bartlett weights).

    Parameters
    ----------
    series
        (N,) one number a date.
    n_lags
        Lags that are weighed in.

    Returns
    -------
    float
        0 where the series does not vary.
    """
    n = len(series)
    if n < 2:
        return 0.0
    x = series - series.mean()
    variance = float(x @ x) / n
    for lag in range(1, min(n_lags, n - 1) + 1):
        variance += 2.0 * (1.0 - lag / (n_lags + 1.0)) * float(x[lag:] @ x[:-lag]) / n
    return float(series.mean()) / math.sqrt(variance / n) if variance > 0.0 else 0.0


def score(values: Float, members: Bool, label: Float, lookback: int, n_ahead: int) -> AlphaScore:
    """Score a formula.

    Parameters
    ----------
    values
        (T, A) of the formula.
    members
        (T, A) the universe.
    label
        (T, A) from `labels`; rows without any are no dates.
    lookback
        Of the formula: its first rows can have no value, and are not held against it.
    n_ahead
        Bars of the label.

    Returns
    -------
    AlphaScore
        All zero where it is not valid; on one instrument, of its course through time.

    Raises
    ------
    UserError
        If there is no row with a label.
    """
    after = np.arange(len(values))[:, None] >= lookback - 1
    dates = dates_of(members & ~np.isnan(label)) & after[:, 0]
    if not dates.any():
        raise UserError("no row has a label after the formula's lookback; take a longer period.")
    found = coefficients(values, members, label)[dates]
    facts = standing_with_counts(values, members)[1]
    inside = members[dates]
    coverage = float(np.isfinite(values[dates])[inside].mean())
    if values.shape[1] == 1:
        seen = values[dates][inside & np.isfinite(values[dates])]
        telling = float(len(np.unique(seen)) > 1)
        distinct = len(np.unique(seen)) / max(1, len(seen))
        found = found[~np.isnan(found[:, 0])]
    else:
        n, different = facts[dates].T
        telling = float(np.mean((different > 1) & (n >= LEAST_MEMBERS)))
        distinct = float(np.median(different / np.maximum(n, 1)))
    said = _invalid(coverage, telling, distinct, alone=values.shape[1] == 1)
    if said or len(found) == 0:
        return AlphaScore(0.0, 0.0, 0.0, 0.0, int(dates.sum()), coverage, telling, distinct, said or "no date has both")
    ic = found[:, 0]
    spread = float(ic.std(ddof=1)) if len(ic) > 1 else 0.0
    icir = float(ic.mean()) / spread if spread > 0.0 else 0.0
    figures = (float(ic.mean()), float(found[:, 1].mean()), icir, newey_west(ic, n_ahead))
    return AlphaScore(*figures, int(dates.sum()), coverage, telling, distinct, "")


def _invalid(coverage: float, telling: float, distinct: float, *, alone: bool) -> str:
    if coverage < COVERED:
        return f"it has a value in {coverage:.0%} of the universe's cells, fewer than {COVERED:.0%}"
    if alone:
        return "" if telling else "it has the same value on every date"
    if telling < TELLING:
        return f"it differs among the instruments on {telling:.0%} of the dates, fewer than {TELLING:.0%}"
    return f"the median date has {distinct:.0%} distinct values, fewer than half" if distinct < 0.5 else ""
