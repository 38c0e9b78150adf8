"""What a tear sheet shows of a record: worst drawdowns, years, daily risk, and all of it beside a benchmark.

Drawdowns are of equity after each bar, as `qframe_rl.evaluate.metrics` has them. Everything else is of daily returns:
the change of equity from the last close of one UTC day to the last close of the next that has bars, whatever length
bars have (a bar longer than a day counts as a day). They become annual by the calendar: days a year are the days with
bars over the years of the record, at most 365. The first and the last day of a record may be parts of one.

What cannot be said is None and never a number: all daily figures of fewer than `FEWEST` days; alpha, beta and
correlation beside a benchmark that does not move; the information ratio where nothing differs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.evaluate.metrics import ROUNDING, drawdown, per_year, returns, volatility
from qframe_rl.types import DAY, Float, Int, Record, iso

BENCHMARK = "buy_and_hold"
"""The record that others are put beside."""
LEVEL = 0.95
"""Of the value at risk: so many days of a hundred are no worse."""
FEWEST = 20
"""Days below which no daily figure is given: in fewer there is not one day for the worst 5 %."""
WORST = 5
"""Drawdowns that are listed."""


class Days(NamedTuple):
    """A record by UTC day."""

    date: Int
    """(D,) days since 1970 that have bars."""
    rate: Float
    """(D,) change of equity over that before the day; 0 from where equity was gone."""
    cash: Float
    """(D,) what idle cash earned, compound."""
    per_year: float
    """Days in a year, at most 365."""


class Drawdown(NamedTuple):
    """A fall of equity below its highest value so far, until it was back there."""

    peak: int
    """Close of the last bar at the highest value, ns UTC."""
    trough: int
    """Close of the lowest bar, ns UTC."""
    recovery: int | None
    """Close of the first bar that was back at the peak, ns UTC; None = not yet."""
    depth: float
    """Fraction of the peak, negative."""

    @property
    def days_down(self) -> float:
        """Days from the peak to the trough."""
        return (self.trough - self.peak) / DAY

    @property
    def days_to_recover(self) -> float | None:
        """Days from the trough to the recovery."""
        return None if self.recovery is None else (self.recovery - self.trough) / DAY


class Relative(NamedTuple):
    """Daily returns beside those of a benchmark."""

    alpha: float | None = None
    """Mean of what the regression on the benchmark leaves, both in excess of cash, times days a year; a fraction a
    year, not compound (Jensen, The performance of mutual funds in the period 1945-1964, Journal of Finance 23, 1968).
    """
    beta: float | None = None
    """Slope of that regression (least squares)."""
    correlation: float | None = None
    """Pearson's, of the same returns."""
    tracking_error: float | None = None
    """Standard deviation (n - 1) of the differences, annual, a fraction (Grinold & Kahn, Active Portfolio Management,
    1999)."""
    information_ratio: float | None = None
    """Mean of the differences over their standard deviation, annual (Goodwin, The information ratio, Financial Analysts
    Journal 54, 1998). The interval in the verdict is that of the differences bar by bar."""


class Tail(NamedTuple):
    """What the worst days lose: historical, horizon one UTC day, as returns (a loss is negative)."""

    value_at_risk: float | None = None
    """The 1 - `LEVEL` quantile of daily returns, between two days by linear interpolation (Hyndman & Fan's seventh)."""
    expected_shortfall: float | None = None
    """CVaR: mean of the worst 1 - `LEVEL` of the days, the last of them with the weight that is left (Rockafellar &
    Uryasev, Optimization of conditional value-at-risk, Journal of Risk 2, 2000, and for samples, Conditional
    value-at-risk for general loss distributions, Journal of Banking & Finance 26, 2002)."""


class YearReturn(NamedTuple):
    """A calendar year, UTC, or what part of it the record has; compound returns."""

    year: int
    rate: float
    benchmark: float | None
    """None without a benchmark."""
    cash: float


class Rolling(NamedTuple):
    """Daily figures over a moving window."""

    date: Int
    """(M,) last days of the windows, days since 1970."""
    volatility: Float
    """(M,) standard deviation (n - 1) of daily returns, annual."""
    beta: Float
    """(M,) to the benchmark; NaN where there is none, or where it did not move."""


def days_of(record: Record) -> Days:
    """Take daily returns of a record; empty where it has no bar."""
    day = (record.time[1:] - 1) // DAY
    if not len(day):
        return Days(day, np.zeros(0), np.zeros(0), 1.0)
    ends = np.flatnonzero(np.concatenate([np.diff(day) != 0, [True]]))
    rate = returns(record.worth[np.concatenate([[0], ends + 1])])
    starts = np.concatenate([[0], ends[:-1] + 1])
    cash = np.expm1(np.add.reduceat(np.log1p(record.cash_rate[1:]), starts))
    return Days(day[ends], rate, cash, min(365.0, per_year(len(ends), record.years)))


def worst_drawdowns(record: Record, most: int = WORST) -> list[Drawdown]:
    """Find the deepest drawdowns that do not overlap, the deepest first.

    Parameters
    ----------
    record
        N rows.
    most
        How many at most.
    """
    falls = drawdown(record.worth)
    below = np.concatenate([[False], falls < -ROUNDING, [False]])
    edges = np.flatnonzero(np.diff(below))
    found = [_episode(record, falls, int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return sorted(found, key=lambda one: (one.depth, one.peak))[:most]


def _episode(record: Record, falls: Float, start: int, stop: int) -> Drawdown:
    """The drawdown of rows ``start`` to ``stop``, exclusive."""
    time, trough = record.time, start + int(np.argmin(falls[start:stop]))
    back = int(time[stop]) if stop < len(time) else None
    return Drawdown(int(time[start - 1]), int(time[trough]), back, float(falls[trough]))


def by_year(days: Days, held: Days | None = None) -> list[YearReturn]:
    """Compound the days of each calendar year; ``held`` are the same days of the benchmark."""
    year = days.date.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    return [
        YearReturn(
            int(one), _compound(days.rate[year == one]), None if held is None else _compound(held.rate[year == one]),
            _compound(days.cash[year == one]),
        )
        for one in np.unique(year)
    ]  # fmt: skip


def relative(days: Days, held: Days) -> Relative:
    """Compare daily returns with those of a benchmark on the same days."""
    if len(days.rate) < FEWEST:
        return Relative()
    own, other, difference = days.rate - days.cash, held.rate - held.cash, days.rate - held.rate
    beta, apart = slope(own, other), volatility(difference)
    moved = volatility(own) > 0.0
    return Relative(
        None if beta is None else float(own.mean() - beta * other.mean()) * days.per_year,
        beta,
        float(np.corrcoef(own, other)[0, 1]) if beta is not None and moved else None,
        apart * math.sqrt(days.per_year),
        float(difference.mean()) / apart * math.sqrt(days.per_year) if apart > 0.0 else None,
    )


def slope(own: Float, other: Float) -> float | None:
    """Slope of (n,) returns on (n,) others by least squares; None where the others do not move."""
    if volatility(other) == 0.0:
        return None
    away = other - other.mean()
    return float(away @ (own - own.mean()) / (away @ away))


def tail(rate: Float) -> Tail:
    """Measure the worst of (D,) daily returns."""
    if len(rate) < FEWEST:
        return Tail()
    share = (1.0 - LEVEL) * len(rate)
    whole = int(share + 1e-9)
    ranked = np.sort(rate)
    worst = ranked[:whole].sum() + max(share - whole, 0.0) * ranked[whole]
    return Tail(float(np.quantile(rate, 1.0 - LEVEL)), float(worst / share))


def rolling(days: Days, held: Days | None, span: int) -> Rolling:
    """Move a window over the days, from where it is full.

    Parameters
    ----------
    days
        Of the strategy.
    held
        The same days of the benchmark; None = there is none.
    span
        Length of the window, calendar days; windows with bars on fewer than `FEWEST` of them are left out.
    """
    ends = np.flatnonzero(days.date >= days.date[0] + span - 1) if len(days.date) else np.zeros(0, dtype=np.int64)
    starts = np.searchsorted(days.date, days.date[ends] - span, side="right")
    full = ends - starts + 1 >= FEWEST
    windows = [slice(int(a), int(b) + 1) for a, b in zip(starts[full], ends[full], strict=True)]
    own = days.rate - days.cash
    other = None if held is None else held.rate - held.cash
    betas = [None if other is None else slope(own[one], other[one]) for one in windows]
    moved = np.array([volatility(days.rate[one]) for one in windows])
    return Rolling(
        days.date[ends[full]],
        moved * math.sqrt(days.per_year),
        np.array([np.nan if one is None else one for one in betas]),
    )


def tear_sheet(record: Record, held: Record | None = None) -> dict[str, Any]:
    """Say it as plain data.

    Parameters
    ----------
    record
        Of the strategy.
    held
        Of the benchmark; one of other bars counts as none.

    Returns
    -------
    dict
        ``days`` (how many), ``level``, ``drawdowns``, ``years``, ``tail``, ``relative`` and ``benchmark_tail``; the
        last two are None without a benchmark.
    """
    days, beside = days_of(record), beside_of(record, held)
    return {
        "days": len(days.rate),
        "level": LEVEL,
        "drawdowns": [_said(one) for one in worst_drawdowns(record)],
        "years": [one._asdict() for one in by_year(days, beside)],
        "relative": None if beside is None else relative(days, beside)._asdict(),
        "tail": tail(days.rate)._asdict(),
        "benchmark_tail": None if beside is None else tail(beside.rate)._asdict(),
    }


def beside_holding(name: str, records: Mapping[str, Record]) -> dict[str, Any]:
    """Say it of one of several records beside `BENCHMARK` if that is another of them."""
    return tear_sheet(records[name], None if name == BENCHMARK else records.get(BENCHMARK))


def beside_of(record: Record, held: Record | None) -> Days | None:
    """Days of a benchmark if it has the very bars of the record; None otherwise."""
    return days_of(held) if held is not None and np.array_equal(record.time, held.time) else None


def _said(one: Drawdown) -> dict[str, Any]:
    times = {"peak": iso(one.peak), "trough": iso(one.trough)}
    back = None if one.recovery is None else iso(one.recovery)
    spans = {"days_down": one.days_down, "days_to_recover": one.days_to_recover}
    return {**times, "recovery": back, "depth": one.depth, **spans}


def _compound(rate: Float) -> float:
    return float(np.prod(1.0 + rate) - 1.0)
