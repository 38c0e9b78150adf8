"""What stands in a report: sections made of a run's facts and records; what the run did not look at is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qframe_rl.evaluate.metrics import drawdown, metrics, returns
from qframe_rl.evaluate.montecarlo.trades import trades_of
from qframe_rl.evaluate.provenance import mark_of
from qframe_rl.evaluate.report.chart import Chart, ChartSeries, Report, Section, Table, plain, thinned
from qframe_rl.evaluate.report.others import beneath
from qframe_rl.evaluate.report.verdict import verdict
from qframe_rl.evaluate.table import AHEAD, unfilled
from qframe_rl.types import DAY, SECOND, YEAR, Float, Int, Record, iso

POINTS = 1200
ROLLING_DAYS = 90
_MOST_FILLS = 1500


@dataclass(frozen=True)
class Material:
    """What a report is made of."""

    facts: Mapping[str, Any]
    """As in ``study.json``."""
    records: Mapping[str, Record]
    """Journals by name, the subject's first."""


def report(material: Material) -> Report:
    """Lay out the report of one run."""
    facts = material.facts
    found = verdict(facts)
    title = f"{facts['subject']} on {', '.join(facts['data']['symbols'][:4])}"
    own = next(iter(material.records.values()))
    sections = [
        _leaderboard(facts),
        Section("Equity and drawdown", charts=tuple(_curves(material.records))),
        _positions(facts["subject"], own, facts.get("dust", {}).get(facts["subject"], ())),
        _returns(facts["subject"], own),
        _costs(material.records),
        *beneath(facts),
        _provenance(facts),
    ]
    return Report(title, found.headline, found.colour, found.reasons, tuple(sections), note(facts))


def note(facts: Mapping[str, Any]) -> str:
    """Write where the data are from."""
    data = facts["data"]
    mark = mark_of(data["environment"])
    symbols = ", ".join(data["symbols"][:4]) + (
        f" and {len(data['symbols']) - 4} more" if len(data["symbols"]) > 4 else ""
    )
    out = sum(one["quarantined"] for one in data["suspects"])
    return (
        f"{mark + '. ' if mark else ''}Source: {data['exchange']} ({data['environment']}), {symbols}, "
        f"{data['timeframe']} bars, {data['first'][:16]} to {data['last'][:16]} UTC, {data['bars']:,} bars, "
        f"{out} bad prints taken out. Run {facts['id']}."
    )


def _leaderboard(facts: Mapping[str, Any]) -> Section:
    charts, tables = [], []
    for rows, what in (
        (facts["leaderboard"], facts.get("judged_on", "Test bars")),
        (facts.get("validation"), "Validation bars"),
    ):
        if rows:
            charts.append(_intervals(rows, f"{what}: Sharpe ratio a year, net of costs, with its interval"))
            tables.append(_rows(rows, what))
    luck = facts["luck"]
    worth = "" if luck["effective"] is None else f", worth {luck['effective']:.1f} independent ones"
    text = (
        f"{luck['trials']} configurations were ever scored on these data ({luck['trainings']} trainings{worth}). The "
        "deflated Sharpe ratio (DSR, form of 2012) is the probability that the true ratio in excess of cash lies above "
        f"what the best of so many shows by luck. {_cash(facts)}",
        AHEAD,
    )
    partly = unfilled([*facts["leaderboard"], *(facts.get("validation") or [])])
    return Section("Leaderboard", (*text, *partly), tuple(charts), tuple(tables))


def _cash(facts: Mapping[str, Any]) -> str:
    rate = facts["significance"]["figures"]["cash_rate"]
    if rate == 0.0:
        return "Idle cash earns nothing here (rate 0): the excess Sharpe ratio is the Sharpe ratio."
    return f"Idle cash earned {rate:.2%} a year; the excess Sharpe ratio is of what was earned above it."


def _intervals(rows: Sequence[Mapping[str, Any]], title: str) -> Chart:
    ranked = sorted(rows, key=lambda row: -row["excess_sharpe"])
    names = [row["agent"] for row in ranked]
    low, high, middle = (plain([row[k] for row in ranked]) for k in ("sharpe_low", "sharpe_high", "sharpe"))
    return Chart(
        title,
        (
            ChartSeries("Sharpe ratio", names, middle, "points", colour=0),
            ChartSeries("interval", names, low, "band", high, 5),
        ),
        x="category", y_label="Sharpe ratio", height=0.8, lines=((0.0, ""),),
    )  # fmt: skip


def _rows(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    head = (
        "strategy",
        "final equity",
        "Sharpe",
        "excess",
        "interval",
        "next window",
        "PSR",
        "DSR",
        "max drawdown",
        "exposure",
        "filled",
        "turnover / year",
        "costs",
        "fills",
    )
    body = tuple(
        (
            row["agent"], f"{row['final_equity']:,.0f}", f"{row['sharpe']:+.2f}",
            f"{row['excess_sharpe']:+.2f}", f"{row['sharpe_low']:+.2f} to {row['sharpe_high']:+.2f}",
            f"{row['next_low']:+.2f} to {row['next_high']:+.2f}", f"{row['psr']:.3f}", f"{row['dsr']:.3f}",
            f"{row['max_drawdown']:.1%}", f"{row['exposure']:.0%}",
            f"{row['filled']:.0%}",
            f"{row['turnover']:,.1f}", f"{row['costs']:,.0f}", f"{row['trades']:,}",
        )
        for row in rows
    )  # fmt: skip
    return Table(title, head, body)


def _seconds(times: Int) -> list[float]:
    return [float(t) for t in (times // SECOND).tolist()]


def _curves(records: Mapping[str, Record]) -> Iterator[Chart]:
    lines, falls = [], []
    for k, (name, record) in enumerate(records.items()):
        equity = record.account.equity
        rows, values = thinned(equity, POINTS)
        lines.append(
            ChartSeries(name, _seconds(record.time[rows]), plain(values), colour=k, width=2.0 if k == 0 else 1.3)
        )
        rows, values = thinned(drawdown(equity), POINTS, "low")
        falls.append(
            ChartSeries(name, _seconds(record.time[rows]), plain(values), colour=k, width=1.4 if k == 0 else 1.0)
        )
    every = np.concatenate([record.account.equity for record in records.values()])
    log = bool(every.min() > 0.0 and every.max() / every.min() > 3.0)
    yield Chart(
        "Equity", tuple(lines), y="money", y_label=f"quote currency{', log' if log else ''}", log=log, height=1.3
    )
    yield Chart("Drawdown", tuple(falls), y="percent", y_label="below the highest equity", height=0.8)


def _positions(name: str, record: Record, left: Sequence[str]) -> Section:
    charts = []
    if len(record.instruments) == 1:
        charts.append(_trades(record))
    exposure = record.account.exposure.sum(axis=1)
    rows, values = thinned(exposure, POINTS)
    charts.append(
        Chart(
            "Exposure", (ChartSeries(f"{name}, net", _seconds(record.time[rows]), plain(values), "step"),), y="percent",
            y_label="of equity", height=0.7,
        )
    )  # fmt: skip
    said = (f"At the end {'; '.join(left)}.",) if left else ()
    return Section("Positions and trades", said, tuple(charts), (_trade_table(record),))


def _trades(record: Record) -> Chart:
    mark, quantity = record.account.mark[:, 0], record.fills.quantity[:, 0]
    rows, values = thinned(mark, POINTS)
    series = [
        ChartSeries(record.instruments[0].symbol, _seconds(record.time[rows]), plain(values), colour=-2, width=1.0)
    ]
    for sign, kind, colour, label in ((1.0, "up", 2, "bought"), (-1.0, "down", 1, "sold")):
        at = np.flatnonzero(quantity * sign > 0.0)
        shown = at[:: max(1, -(-len(at) // _MOST_FILLS))]
        series.append(
            ChartSeries(
                f"{label} ({len(at):,})", _seconds(record.time[shown] - record.bar_ns),
                plain(record.fills.price[shown, 0]), kind, colour=colour, opacity=0.8,  # type: ignore[arg-type]
            )
        )  # fmt: skip
    seen = mark[np.isfinite(mark)]
    log = bool(len(seen) and seen.max() / seen.min() > 3.0)
    return Chart(
        "Price and fills", tuple(series), y="money", y_label=f"quote currency{', log' if log else ''}", log=log
    )


def _trade_table(record: Record) -> Table:
    parts = trades_of(record)
    rate, held = parts.rate, parts.held.astype(bool)
    won, lost = rate[held & (rate > 0.0)], rate[held & (rate < 0.0)]
    days = (record.time[parts.stop] - record.time[parts.start])[held] / DAY
    rows = [("trades", f"{held.sum():,}")]
    if held.any():
        profit = float(won.sum()) / -float(lost.sum()) if len(lost) else math.inf
        rows += [
            ("share that gained", f"{len(won) / held.sum():.1%}"),
            ("mean gain", f"{won.mean():+.2%}" if len(won) else "-"),
            ("mean loss", f"{lost.mean():+.2%}" if len(lost) else "-"),
            ("gains over losses", f"{profit:.2f}" if math.isfinite(profit) else "-"),
            ("mean length, days", f"{days.mean():,.2f}"),
            ("best, worst", f"{rate[held].max():+.1%}, {rate[held].min():+.1%}"),
        ]
    return Table("Round trips, net of costs", ("", ""), tuple(rows))


def _returns(name: str, record: Record) -> Section:
    day, dates = _daily(record)
    charts = [_rolling(record), _histogram(day)]
    return Section("Returns through time", charts=tuple(charts), tables=(_months(name, day, dates), _figures(record)))


def _daily(record: Record) -> tuple[Float, Int]:
    """Compound returns by UTC day, and the days as days since 1970."""
    growth = np.log(np.maximum(1.0 + returns(record.account.equity), 1e-12))
    day = (record.time[1:] - 1) // DAY
    starts = np.flatnonzero(np.concatenate([[True], np.diff(day) != 0]))
    return np.expm1(np.add.reduceat(growth, starts)), day[starts]


def _rolling(record: Record) -> Chart:
    rate, time = returns(record.account.equity), record.time
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
        f"Rolling Sharpe ratio over {days:,.0f} days", (ChartSeries("", _seconds(time[stop][rows]), plain(values)),),
        y_label="a year", height=0.8, lines=((0.0, ""),),
    )  # fmt: skip


def _histogram(day: Float) -> Chart:
    moved = day[day != 0.0]
    if len(moved) < 10:
        return Chart("Returns of a day", (ChartSeries("days", [0.0], [float(len(day))], "bars"),), x="number")
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


def _months(name: str, day: Float, dates: Int) -> Table:
    sums: dict[tuple[int, int], float] = {}
    for rate, date in zip(day.tolist(), dates.tolist(), strict=True):
        text = iso(date * DAY)
        key = int(text[:4]), int(text[5:7])
        sums[key] = (1.0 + sums.get(key, 0.0)) * (1.0 + rate) - 1.0
    rows, heat = [], []
    for year in sorted({year for year, _ in sums}):
        values = [sums.get((year, month)) for month in range(1, 13)]
        total = math.prod(1.0 + value for value in values if value is not None) - 1.0
        shown = [*values, total]
        rows.append((str(year), *("" if value is None else f"{value:+.1%}" for value in shown)))
        heat.append((None, *(None if value is None else max(-1.0, min(1.0, value / 0.15)) for value in shown)))
    head = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "year")
    return Table(f"Returns of {name} by month, net of costs", head, tuple(rows), tuple(heat))


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


def _costs(records: Mapping[str, Record]) -> Section:
    kinds = ("fees", "spread", "impact", "funding")
    names = list(records)
    of = {name: metrics(record) for name, record in records.items()}
    series = tuple(
        ChartSeries(kind, names, plain([getattr(of[name], kind) for name in names]), "bars", colour=k)
        for k, kind in enumerate(kinds)
    )
    rows = tuple(
        (
            name, *(f"{getattr(m, kind):,.2f}" for kind in kinds), f"{m.costs:,.2f}",
            f"{m.costs / m.initial_equity:.1%}", f"{m.turnover:,.1f}",
        )
        for name, m in of.items()
    )  # fmt: skip
    head = ("strategy", *kinds, "together", "of initial equity", "turnover / year")
    chart = Chart("What trading cost", series, x="category", y="money", y_label="quote currency", height=0.8)
    return Section("Costs", charts=(chart,), tables=(Table("Costs; negative funding was received", head, rows),))


def _provenance(facts: Mapping[str, Any]) -> Section:
    data = facts["data"]
    rows = [
        (key, str(data[key])) for key in ("exchange", "environment", "origin", "timeframe", "first", "last", "bars")
    ]
    rows += [
        ("symbols", ", ".join(data["symbols"])),
        ("fingerprint", data["fingerprint"]),
        ("data checks", data["quarantine"]),
    ]
    rows += [(name, version) for name, version in facts["versions"].items()]
    tables = [Table("Data and versions", ("", ""), tuple(rows), left=2)]
    if data["suspects"]:
        body = tuple(
            (
                s["symbol"],
                s["time"],
                s["rule"],
                f"{math.expm1(s['size']):+.1%}",
                "taken out" if s["quarantined"] else "kept",
            )
            for s in data["suspects"][:40]
        )
        tables.append(Table("Bars that look like bad prints", ("symbol", "close", "rule", "size", ""), body, left=3))
    return Section("Where the data are from", tables=tuple(tables))
