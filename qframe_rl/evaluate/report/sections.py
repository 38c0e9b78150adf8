"""What stands in a report: sections made of a run's facts and records; what the run did not look at is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qframe_rl.evaluate.metrics import drawdown, metrics
from qframe_rl.evaluate.montecarlo.trades import trades_of
from qframe_rl.evaluate.provenance import mark_of
from qframe_rl.evaluate.report.chart import POINTS, Chart, ChartSeries, Report, Section, Table, plain, seconds, thinned
from qframe_rl.evaluate.report.others import beneath
from qframe_rl.evaluate.report.through_time import drawdowns, through_time
from qframe_rl.evaluate.report.verdict import verdict
from qframe_rl.evaluate.table import AHEAD, unfilled
from qframe_rl.evaluate.tearsheet import BENCHMARK
from qframe_rl.types import DAY, Record

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
        Section(
            "Equity and drawdown", charts=tuple(curves(material.records)), tables=(drawdowns(facts["tear_sheet"]),)
        ),
        *through_time(facts["subject"], own, material.records.get(BENCHMARK), facts["tear_sheet"]),
        positions(facts["subject"], own, facts.get("dust", {}).get(facts["subject"], ())),
        costs(material.records),
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
    n, trained = luck["trials"], luck["trainings"]
    text = (
        f"{n} configuration{'s were' if n != 1 else ' was'} ever scored on these data ({trained} "
        f"training{'s' * (trained != 1)}{worth}). The deflated Sharpe ratio (DSR, form of 2012) is the probability "
        f"that the true ratio in excess of cash lies above what the best of so many shows by luck. {_cash(facts)}",
        AHEAD,
    )
    partly = unfilled([*facts["leaderboard"], *(facts.get("validation") or [])])
    return Section("Leaderboard", (*text, *partly), tuple(charts), tuple(tables), tables_first=True)


def _cash(facts: Mapping[str, Any]) -> str:
    rate = facts["significance"]["figures"]["cash_rate"]
    if rate == 0.0:
        return "Idle cash earns nothing here (rate 0): the excess Sharpe ratio is the Sharpe ratio."
    return f"Idle cash earned {rate:.2%} a year; the excess Sharpe ratio is of what was earned above it."


def _intervals(rows: Sequence[Mapping[str, Any]], title: str) -> Chart:
    ranked = sorted((row for row in rows if not _boundless(row)), key=lambda row: -row["excess_sharpe"])
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


def _boundless(row: Mapping[str, Any]) -> bool:
    """Whether a row earned interest without a risk, so that its Sharpe ratio means nothing."""
    return bool(row["trades"] == 0 and row["sharpe"] != 0.0)


def _ratios(row: Mapping[str, Any]) -> tuple[str, ...]:
    if _boundless(row):
        return "-", f"{row['excess_sharpe']:+.2f}", "-", "-"
    spans = (f"{row[f'{name}_low']:+.2f} to {row[f'{name}_high']:+.2f}" for name in ("sharpe", "next"))
    return f"{row['sharpe']:+.2f}", f"{row['excess_sharpe']:+.2f}", *spans


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
            row["agent"], f"{row['final_equity']:,.0f}", *_ratios(row), f"{row['psr']:.3f}", f"{row['dsr']:.3f}",
            f"{row['max_drawdown']:.1%}", f"{row['exposure']:.0%}",
            f"{row['filled']:.0%}",
            f"{row['turnover']:,.1f}", f"{row['costs']:,.0f}", f"{row['trades']:,}",
        )
        for row in rows
    )  # fmt: skip
    return Table(title, head, body)


def curves(records: Mapping[str, Record]) -> Iterator[Chart]:
    """Equity and drawdown of records over time."""
    lines, falls = [], []
    for k, (name, record) in enumerate(records.items()):
        equity = record.worth
        rows, values = thinned(equity, POINTS)
        lines.append(
            ChartSeries(name, seconds(record.time[rows]), plain(values), colour=k, width=2.0 if k == 0 else 1.3)
        )
        rows, values = thinned(drawdown(equity), POINTS, "low")
        falls.append(
            ChartSeries(name, seconds(record.time[rows]), plain(values), colour=k, width=1.4 if k == 0 else 1.0)
        )
    every = np.concatenate([record.worth for record in records.values()])
    log = bool(every.min() > 0.0 and every.max() / every.min() > 3.0)
    yield Chart(
        "Equity", tuple(lines), y="money", y_label=f"quote currency{', log' if log else ''}", log=log, height=1.3
    )
    yield Chart("Drawdown", tuple(falls), y="percent", y_label="below the highest equity", height=0.8)


def positions(name: str, record: Record, left: Sequence[str]) -> Section:
    """Lay out what a strategy held and traded.

    Parameters
    ----------
    name
        Of the strategy.
    record
        Of it.
    left
        What no order can sell at the end, in words.
    """
    charts = []
    if len(record.instruments) == 1:
        charts.append(_trades(record))
    exposure = record.account.exposure.sum(axis=1)
    rows, values = thinned(exposure, POINTS)
    charts.append(
        Chart(
            "Exposure", (ChartSeries(f"{name}, net", seconds(record.time[rows]), plain(values), "step"),), y="percent",
            y_label="of equity", height=0.7,
        )
    )  # fmt: skip
    said = (f"At the end {'; '.join(left)}.",) if left else ()
    return Section("Positions and trades", said, tuple(charts), (_trade_table(record),))


def _trades(record: Record) -> Chart:
    mark, quantity = record.account.mark[:, 0], record.fills.quantity[:, 0]
    rows, values = thinned(mark, POINTS)
    series = [
        ChartSeries(record.instruments[0].symbol, seconds(record.time[rows]), plain(values), colour=-2, width=1.0)
    ]
    for sign, kind, colour, label in ((1.0, "up", 2, "bought"), (-1.0, "down", 1, "sold")):
        at = np.flatnonzero(quantity * sign > 0.0)
        shown = at[:: max(1, -(-len(at) // _MOST_FILLS))]
        series.append(
            ChartSeries(
                f"{label} ({len(at):,})", seconds(record.time[shown] - record.bar_ns),
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


def costs(records: Mapping[str, Record]) -> Section:
    """What trading cost in records."""
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
            f"{m.costs / m.initial_equity:.1%}" if m.initial_equity > 0.0 else "-", f"{m.turnover:,.1f}",
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
