"""A record by year, by named crisis, and by regime of its market: where a result comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.evaluate.inference.sharpe import moments
from qframe_rl.evaluate.metrics import per_year, returns, sharpe
from qframe_rl.evaluate.montecarlo.influence import standard_error
from qframe_rl.types import DAY, YEAR, Bool, Float, History, Int, Record, iso, parse_time

CRISES = {
    "2020-03 corona crash": ("2020-03-07", "2020-03-21"),
    "2021-05 China ban": ("2021-05-10", "2021-05-27"),
    "2022-05 Terra / Luna": ("2022-05-05", "2022-05-20"),
    "2022-11 FTX": ("2022-11-05", "2022-11-20"),
    "2024-08 yen carry unwind": ("2024-08-01", "2024-08-09"),
    "2025-10 liquidation cascade": ("2025-10-09", "2025-10-17"),
}
"""Named windows, UTC, from and to."""
TREND_DAYS, VOLATILITY_DAYS = 200, 30
LEVEL = 0.05
"""Error rate over all cells together (Bonferroni)."""


class PeriodFigures(NamedTuple):
    """What a record did in some of its bars."""

    name: str
    bars: int
    total_return: float
    """Compound return over the cell's bars."""
    market_return: float
    """The same for holding an equal share of each instrument."""
    sharpe: float
    """Annual."""
    error: float
    """Standard error of it."""
    worst: float
    """Lowest return of a day (of a bar, for bars of a day or more)."""
    positive: float
    """Share of days with a gain among those with a gain or a loss."""
    stands_out: bool
    """Whether it differs from zero, all cells of its table considered (Bonferroni)."""


def by_year(record: Record) -> list[PeriodFigures]:
    """One cell per calendar year."""
    years = np.array([int(iso(int(t) - 1)[:4]) for t in record.time[1:]])
    return _table(record, [(str(year), years == year) for year in np.unique(years)])


def by_crisis(record: Record) -> list[PeriodFigures]:
    """One cell per named window that the record covers in full."""
    first, last = int(record.time[0]), int(record.time[-1])
    cells = []
    for name, (since, until) in CRISES.items():
        begin, end = parse_time(since), parse_time(until)
        if first <= begin and end <= last:
            cells.append((name, (record.time[1:] > begin) & (record.time[1:] <= end)))
    return _table(record, cells)


def by_regime(record: Record, history: History) -> list[PeriodFigures]:
    """Six cells: sign of the market's return over 200 days, by tercile of its volatility over 30 days.

    Both are known at the close before the bar. The terciles are those of the record's own bars: they describe, and no
    decision is made by them.
    """
    trend, turmoil = _state(history)
    rows = np.searchsorted(history.time, record.time[1:]) - 1
    known = np.flatnonzero((rows >= 0) & ~np.isnan(trend[rows]) & ~np.isnan(turmoil[rows]))
    if len(known) == 0:
        return []
    low, high = np.quantile(turmoil[rows[known]], (1.0 / 3.0, 2.0 / 3.0))
    here: Bool = np.isin(np.arange(len(rows)), known)
    wild = np.where(turmoil[rows] < low, 0, np.where(turmoil[rows] > high, 2, 1))
    cells = []
    for sign, way in ((1.0, "rising"), (-1.0, "falling")):
        for k, calm in enumerate(("calm", "middling", "wild")):
            cells.append((f"{way}, {calm}", here & (np.where(trend[rows] > 0.0, 1.0, -1.0) == sign) & (wild == k)))
    return _table(record, cells)


def describe(cells: Sequence[PeriodFigures]) -> list[dict[str, Any]]:
    """Plain data."""
    return [cell._asdict() for cell in cells]


def _state(history: History) -> tuple[Float, Float]:
    """(T,) return over `TREND_DAYS` and volatility over `VOLATILITY_DAYS` of an equal-weighted market; NaN at first."""
    move = _market(history.marks)
    level = np.cumsum(np.log1p(move))
    squares, usual = np.cumsum(move**2), VOLATILITY_DAYS * DAY // history.bar_ns
    trend = _over(level, history.time, TREND_DAYS)
    turmoil = np.sqrt(np.maximum(_over(squares, history.time, VOLATILITY_DAYS), 0.0) / usual)
    return trend, turmoil


def _over(sums: Float, time: Int, days: int) -> Float:
    """(T,) change of cumulative sums over the days before each row; NaN where the bars do not reach back so far."""
    before = np.searchsorted(time, time - days * DAY, side="right") - 1
    return np.where(before >= 0, sums - sums[np.maximum(before, 0)], np.nan)


def _market(mark: Float) -> Float:
    """(T,) mean over instruments of the simple return of each bar; 0 for the first and where there is no mark yet."""
    with np.errstate(invalid="ignore"):
        each = mark[1:] / mark[:-1] - 1.0
    known = ~np.isnan(each)
    mean = np.where(known, each, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.concatenate([[0.0], mean])


def _table(record: Record, cells: Sequence[tuple[str, Bool]]) -> list[PeriodFigures]:
    from statistics import NormalDist

    rate, held = returns(record.worth), _market(record.account.mark)[1:]
    bar = NormalDist().inv_cdf(1.0 - LEVEL / 2.0 / max(1, len(cells)))
    passed = np.diff(record.time)
    return [
        _cell(name, rate[mask], held[mask], record.time[1:][mask], float(passed[mask].sum()) / YEAR, bar)
        for name, mask in cells
    ]


def _cell(name: str, rate: Float, held: Float, time: Int, years: float, bar: float) -> PeriodFigures:
    frequency = per_year(len(rate), years)
    if len(rate) == 0:
        return PeriodFigures(name, len(rate), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, False)
    ratio, error = sharpe(rate, frequency), standard_error(moments(rate)) * math.sqrt(frequency)
    day = _days(rate, time)
    decided = int(np.count_nonzero(day))
    total, market = (float(np.expm1(np.log1p(np.maximum(x, -1.0 + 1e-12)).sum())) for x in (rate, held))
    share = float(np.mean(day[day != 0.0] > 0.0)) if decided else 0.0
    stands = ratio != 0.0 and abs(ratio) > bar * error
    return PeriodFigures(name, len(rate), total, market, ratio, error, float(day.min()), share, stands)


def _days(rate: Float, time: Int) -> Float:
    """Returns added up over UTC days."""
    day = (time - 1) // DAY
    starts = np.flatnonzero(np.concatenate([[True], np.diff(day) != 0]))
    return np.asarray(np.add.reduceat(rate, starts))
