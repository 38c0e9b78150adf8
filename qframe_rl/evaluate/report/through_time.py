"""Sections of a report that tell of time and risk: drawdowns, years, months, days, and what moves over time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from qframe_rl.evaluate.metrics import metrics, returns
from qframe_rl.evaluate.report.chart import POINTS, Chart, ChartSeries, Section, Table, plain, seconds, thinned
from qframe_rl.evaluate.tearsheet import BENCHMARK, FEWEST, Days, beside_of, days_of, rolling
from qframe_rl.types import DAY, YEAR, Record

ROLLING_DAYS = 90
_DAY_S = 86_400
_IDLE = 1e-9
"""A day that earned what cash did, so nearly, had no position."""
_NONE = "-"


def through_time(name: str, record: Record, held: Record | None, sheet: Mapping[str, Any]) -> Iterator[Section]:
    """Lay out what a strategy returned and risked.

    Parameters
    ----------
    name
        Of the strategy.
    record
        Of it.
    held
        Of the benchmark; None = there is none.
    sheet
        As from `qframe_rl.evaluate.tearsheet.tear_sheet`.
    """
    days, beside = days_of(record), None if name == BENCHMARK else beside_of(record, held)
    tables = [_years(name, sheet["years"]), _months(name, days)]
    parts = ("Years and months are UTC; the first and the last are as long as the record has them.",)
    yield Section("Returns through time", parts, (_histogram(days),), tuple(tables))
    tail = f"{1.0 - sheet['level']:.0%}"
    said = (
        f"Daily figures are of returns from the last close of one UTC day to that of the next ({sheet['days']:,} days "
        f"here; of fewer than {FEWEST} there are none). VaR and CVaR are historical: the return that {tail} of the "
        "days fall below, and the mean of those days. Alpha, beta and what follows are beside the benchmark; alpha "
        "and beta are of returns in excess of cash.",
    )
    charts = (_rolling(record), *_moving(name, days, beside))
    yield Section("Risk", said, charts, (_figures(record), _daily(name, sheet)))


def drawdowns(sheet: Mapping[str, Any]) -> Table:
    """The worst drawdowns."""
    rows = [
        (
            str(k + 1), one["peak"][:16], one["trough"][:16], (one["recovery"] or "not yet")[:16],
            f"{one['depth']:.1%}", f"{one['days_down']:,.1f}", _known(one["days_to_recover"], ",.1f"),
        )
        for k, one in enumerate(sheet["drawdowns"])
    ]  # fmt: skip
    head = ("", "peak", "trough", "back at the peak", "depth", "days down", "days to recover")
    if not rows:
        rows = [("", "equity never fell", *("",) * 5)]
    return Table("Worst drawdowns, bar by bar", head, tuple(rows), left=4)


def _years(name: str, years: list[Mapping[str, Any]]) -> Table:
    beside, idle = any(one["benchmark"] is not None for one in years), any(one["cash"] != 0.0 for one in years)
    head = ["year", name, *([BENCHMARK, "more than that"] if beside else []), *(["cash"] if idle else [])]
    rows, heat = [], []
    for one in years:
        more = one["rate"] - one["benchmark"] if beside else 0.0
        held = [f"{one['benchmark']:+.1%}", f"{more:+.1%}"] if beside else []
        rows.append((str(one["year"]), f"{one['rate']:+.1%}", *held, *([f"{one['cash']:+.1%}"] if idle else [])))
        heat.append((None, _shade(one["rate"], 0.5), *([None, _shade(more, 0.5)] if beside else []), *([None] * idle)))
    return Table("Returns by calendar year, net of costs", tuple(head), tuple(rows), tuple(heat))


def _months(name: str, days: Days) -> Table:
    sums: dict[tuple[int, int], float] = {}
    months = days.date.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    for rate, month in zip(days.rate.tolist(), months.tolist(), strict=True):
        key = 1970 + month // 12, month % 12 + 1
        sums[key] = (1.0 + sums.get(key, 0.0)) * (1.0 + rate) - 1.0
    rows, heat = [], []
    for year in sorted({year for year, _ in sums}):
        values = [sums.get((year, month)) for month in range(1, 13)]
        total = math.prod(1.0 + value for value in values if value is not None) - 1.0
        shown = [*values, total]
        rows.append((str(year), *("" if value is None else f"{value:+.1%}" for value in shown)))
        heat.append((None, *(None if value is None else _shade(value, 0.15) for value in shown)))
    head = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "year")
    return Table(f"Returns of {name} by month, net of costs", head, tuple(rows), tuple(heat))


def _shade(rate: float, full: float) -> float:
    return max(-1.0, min(1.0, rate / full))


def _known(value: float | None, form: str) -> str:
    return _NONE if value is None else format(value, form)


def _daily(name: str, sheet: Mapping[str, Any]) -> Table:
    """Tails, and figures beside the benchmark."""
    beside, level = sheet["relative"], f"{sheet['level']:.0%}"
    tails = [sheet["tail"], *([] if beside is None else [sheet["benchmark_tail"]])]
    rows = [
        (f"VaR {level} of one day", *(_known(one["value_at_risk"], "+.2%") for one in tails)),
        (f"CVaR {level} of one day", *(_known(one["expected_shortfall"], "+.2%") for one in tails)),
    ]
    if beside is not None:
        forms = {
            "alpha": ("alpha a year", "+.1%"), "beta": ("beta", "+.2f"),
            "correlation": ("correlation", "+.2f"), "tracking_error": ("tracking error a year", ".1%"),
            "information_ratio": ("information ratio", "+.2f"),
        }  # fmt: skip
        rows += [(text, _known(beside[key], form), "") for key, (text, form) in forms.items()]
    head = ("", name, *([] if beside is None else [BENCHMARK]))
    return Table("Daily returns", head, tuple(rows))


def _moving(name: str, days: Days, held: Days | None) -> Iterator[Chart]:
    """Rolling volatility and beta, where the record is long enough."""
    span = min(ROLLING_DAYS, len(days.date) // 2)
    own = rolling(days, held, span)
    if not len(own.date):
        return
    over, at = f"over {span} days, daily returns", [float(one * _DAY_S + _DAY_S) for one in own.date.tolist()]
    lines = [ChartSeries(name, at, plain(own.volatility))]
    if held is not None:
        lines.append(ChartSeries(BENCHMARK, at, plain(rolling(held, None, span).volatility), colour=1, width=1.1))
    yield Chart(f"Rolling volatility {over}", tuple(lines), y="percent", y_label="a year", height=0.8)
    known = np.isfinite(own.beta)
    if known.any():
        line = ChartSeries(
            "", [one for one, is_known in zip(at, known, strict=True) if is_known], plain(own.beta[known])
        )
        yield Chart(
            f"Rolling beta to {BENCHMARK} {over}", (line,), y_label="beta", height=0.7, lines=((0.0, ""), (1.0, ""))
        )


def _rolling(record: Record) -> Chart:
    rate, time = returns(record.worth), record.time
    span = min(ROLLING_DAYS * DAY, int(time[-1] - time[0]) // 2)
    stop = np.arange(int(np.searchsorted(time, time[0] + span)), len(time))
    start = np.searchsorted(time, time[stop] - span)
    total, squares = (np.concatenate([[0.0], np.cumsum(x)]) for x in (rate, rate**2))
    n = np.maximum(stop - start, 1)
    mean = (total[stop] - total[start]) / n
    variance = np.maximum((squares[stop] - squares[start]) / n - mean**2, 0.0)
    ratio = np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 1e-20)
    ratio *= np.sqrt(n / (np.maximum(time[stop] - time[start], 1) / YEAR))
    rows, values = thinned(ratio, POINTS)
    days = span / DAY
    return Chart(
        f"Rolling Sharpe ratio over {days:,.0f} days", (ChartSeries("", seconds(time[stop][rows]), plain(values)),),
        y_label="a year", height=0.8, lines=((0.0, ""),),
    )  # fmt: skip


def _histogram(days: Days) -> Chart:
    moved = days.rate[np.abs(days.rate - days.cash) > _IDLE]
    if len(moved) < 10:
        return Chart("Returns of a day", (ChartSeries("days", [0.0], [float(len(days.rate))], "bars"),), x="number")
    reach = float(np.quantile(np.abs(moved), 0.995))
    counts, edges = np.histogram(np.clip(moved, -reach, reach), bins=61, range=(-reach, reach))
    middle = (edges[1:] + edges[:-1]) / 2.0
    spread = float(moved.std()) or 1.0
    normal = len(moved) * (edges[1] - edges[0]) / (spread * math.sqrt(2.0 * math.pi))
    bell = normal * np.exp(-0.5 * ((middle - moved.mean()) / spread) ** 2)
    return Chart(
        "Returns of a day, days without a position left out",
        (
            ChartSeries("days", plain(middle), plain(counts), "bars", colour=5),
            ChartSeries("normal with the same mean and deviation", plain(middle), plain(bell), colour=1),
        ),
        x="number", x_label="return (the outermost bars hold all beyond them)", y_label="days", height=0.9,
    )  # fmt: skip


def _figures(record: Record) -> Table:
    of = metrics(record)
    rows = (
        ("total return", f"{of.total_return:+.1%}", "hit rate (bars)", f"{of.hit_rate:.1%}"),
        ("return a year", f"{of.annual_return:+.1%}", "time in market", f"{of.time_in_market:.1%}"),
        ("volatility a year", f"{of.volatility:.1%}", "mean exposure", f"{of.exposure:.1%}"),
        ("Sortino", f"{of.sortino:+.2f}", "skew", f"{of.skew:+.2f}"),
        ("Calmar", f"{of.calmar:+.2f}", "kurtosis", f"{of.kurtosis:.1f}"),
        (
            "longest drawdown, days",
            f"{of.max_drawdown_days:,.0f}",
            "best bar",
            f"{of.best_bar:+.2%}",
        ),
        ("forced closes", f"{of.forced_closes:,}", "worst bar", f"{of.worst_bar:+.2%}"),
    )
    return Table("Figures", ("", "", "", ""), rows, left=1)
