"""The report of a run on order books: what quoting came to, where it filled, and what the price did then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qframe_rl.evaluate.quoting import HORIZONS_S, QuotingRecord, QuotingRow, causes, mean_markouts
from qframe_rl.evaluate.quoting_table import SMALL
from qframe_rl.evaluate.report.chart import POINTS, Chart, ChartSeries, Report, Section, Table, plain, thinned

_MARKOUT = "A markout is how far the mid price is beyond a maker's fill some time later: below zero, it was run over."
_GOOD, _NEUTRAL, _BAD = "good", "open", "bad"


@dataclass(frozen=True)
class QuotingMaterial:
    """What such a report is made of."""

    title: str
    rows: Sequence[QuotingRow]
    """Of validation and test."""
    records: Mapping[str, Sequence[QuotingRecord]]
    """Of the test ticks, by agent."""
    chosen: str
    reason: str
    unit: str
    """Quote currency."""
    note: str
    """Where the data are from."""
    facts: Mapping[str, float]
    """Volatility, intensity and decay that were measured on training ticks."""
    spans: Mapping[str, Any]
    """Runs and times of each part."""


def quoting_report(material: QuotingMaterial) -> Report:
    """Lay out the report of one run."""
    test = [row for row in material.rows if row["split"] == "test"]
    own = next(row for row in test if row["agent"] == material.chosen or row["agent"].startswith(material.chosen))
    block = bool(next(iter(material.records.values()))[0].block)
    what = f"saved {own['score']:+.3g} basis points a block" if block else f"{own['score']:+.4g} {material.unit}"
    colour = _GOOD if own["low"] > 0.0 else _BAD if own["high"] < 0.0 else _NEUTRAL
    headline = f"{material.chosen}: {what} on {own['minutes']:.1f} minutes that nothing was learned or chosen on"
    reasons = (
        f"Interval {own['low']:+.4g} to {own['high']:+.4g}; where cancels of others are never ahead: "
        f"{own['score_trades']:+.4g}.",
        f"Chosen: {material.reason}.",
        SMALL,
    )
    sections: tuple[Section, ...] = (
        Section("What it came to", tables=(_scores(material.rows, block, material.unit),), tables_first=True),
        Section("Worth and inventory over the test ticks", charts=_curves(material)),
        Section(
            "Fills",
            (_MARKOUT,),
            charts=(_markouts(material.records),),
            tables=(_quoted(test), _caused(material.records)),
        ),
        Section("What was measured on training ticks, and which ticks", tables=(_measured(material),)),
    )
    return Report(material.title, headline, colour, reasons, sections, material.note)


def _scores(rows: Sequence[QuotingRow], block: bool, unit: str) -> Table:
    score = "saved, bp" if block else f"profit, {unit}"
    head = (
        "agent", "part", "minutes", score, "from", "to", "trades only", "DSR", "of turnover, bp", f"fees, {unit}",
    )  # fmt: skip
    cells = tuple(
        (
            row["agent"], row["split"], f"{row['minutes']:.1f}", f"{row['score']:+.4g}", f"{row['low']:+.4g}",
            f"{row['high']:+.4g}", f"{row['score_trades']:+.4g}", _told(row.get("dsr"), ".3f"),
            _told(row["bps"], "+.2f"), f"{row['fees']:.4g}",
        )
        for row in rows
    )  # fmt: skip
    note = "from, to: the interval; trades only: the other end of the queue band; DSR: after all trials on these ticks."
    return Table("", head, cells, left=2, note=note)


def _quoted(rows: Sequence[QuotingRow]) -> Table:
    head = (
        "agent", "fills", "fill rate", "messages a fill", "half-spread, bp", "1 s later, ticks", "mean inventory",
        "most", "ahead in queue",
    )  # fmt: skip
    cells = tuple(
        (
            row["agent"], f"{row['fills']:,}", _told(row["fill_rate"], ".1%"), _told(row["order_to_trade"], ".1f"),
            _told(row["spread_bps"], "+.3f"), _told(row["markout_1s"], "+.1f"), f"{row['mean_inventory']:.2f}",
            f"{row['most_inventory']:.2f}", _told(row["ahead"], ".0%"),
        )
        for row in rows
    )  # fmt: skip
    return Table("How it quoted", head, cells, note="Inventory in whole quotes; fills on the test ticks.")


def _caused(records: Mapping[str, Sequence[QuotingRecord]]) -> Table:
    names = list(causes(next(iter(records.values()))))
    rows = tuple((name, *(f"{lots:,}" for lots in causes(own).values())) for name, own in records.items())
    return Table("Lots by cause", ("agent", *names), rows)


def _curves(material: QuotingMaterial) -> tuple[Chart, Chart]:
    worth: list[ChartSeries] = []
    held: list[ChartSeries] = []
    for k, (name, records) in enumerate(material.records.items()):
        minutes, value, lots, begun, base = [], [], [], 0.0, 0.0
        for r in records:
            minutes.append(begun + (r.at - r.at[0]) / 60e9)
            value.append(base + r.unit * (r.worth - r.worth[0]))
            lots.append(r.held / r.size)
            begun, base = float(minutes[-1][-1]), float(value[-1][-1])
        x = np.concatenate(minutes)
        for series, y, kind in ((worth, np.concatenate(value), "line"), (held, np.concatenate(lots), "step")):
            rows, kept = thinned(y, POINTS)
            series.append(ChartSeries(name, plain(x[rows]), plain(kept), kind=kind, colour=k))  # type: ignore[arg-type]
    return (
        Chart(
            f"Worth at the mid price, fees paid, {material.unit}", tuple(worth), x="number", y_label=material.unit,
            x_label="minutes recorded", lines=((0.0, ""),),
        ),
        Chart(
            "Inventory", tuple(held), x="number", y_label="whole quotes", x_label="minutes recorded", height=0.6,
            lines=((0.0, ""),),
        ),
    )  # fmt: skip


def _markouts(records: Mapping[str, Sequence[QuotingRecord]]) -> Chart:
    series = []
    for k, (name, own) in enumerate(records.items()):
        told = {h: m for h, m in mean_markouts(own).items() if m is not None}
        if told:
            x = [f"{h:g} s" for h in told]
            series.append(ChartSeries(name, x, plain(list(told.values())), kind="points", colour=k))
    if not series:
        series = [ChartSeries("no maker's fill", [f"{HORIZONS_S[0]:g} s"], [0.0], kind="points")]
    return Chart(
        "Mid price beyond the fill", tuple(series), x="category", y_label="ticks", x_label="after a maker's fill",
        height=0.7, lines=((0.0, ""),),
    )  # fmt: skip


def _measured(material: QuotingMaterial) -> Table:
    names = {
        "volatility": "volatility of the mid price, ticks a root of a second",
        "intensity": "trades of one side a second that reach the mid price (A)",
        "decay": "how fast they thin out with the distance, a tick (k)",
    }
    rows = [(text, f"{material.facts[name]:.4g}") for name, text in names.items()]
    for part in ("train", "stopping", "validation", "test"):
        spans = material.spans[part]
        minutes = sum(stop - start for _, start, stop in spans) / 60e9
        rows.append((f"{part}: {', '.join(dict.fromkeys(name for name, *_ in spans))}", f"{minutes:.1f} minutes"))
    return Table("", ("what", ""), tuple(rows))


def _told(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
