"""A report as one web page: its own script and styles within, nothing loaded from anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from qframe_rl.evaluate.plot import PALETTE
from qframe_rl.evaluate.provenance import MARK
from qframe_rl.evaluate.report.chart import Chart, Report, Section, Table

_HERE = Path(__file__).resolve().parent


def write_html(reports: Sequence[Report], path: Path) -> None:
    """Write the page, whole or not at all."""
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_text(page(reports), encoding="utf-8")
    fresh.replace(path)


def page(reports: Sequence[Report]) -> str:
    """The page's text."""
    charts: list[dict[str, Any]] = []
    body = "".join("".join(_report(report, k, charts)) for k, report in enumerate(reports))
    title = escape(" · ".join(report.title for report in reports))
    data = json.dumps({"palette": PALETTE, "charts": charts}, separators=(",", ":"), allow_nan=False)
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body>'
        f"{body}<script>const REPORT={data.replace('</', '<' + chr(92) + '/')};\n{script}</script></body></html>\n"
    )


def _report(report: Report, number: int, charts: list[dict[str, Any]]) -> Iterator[str]:
    names = [(f"r{number}s{k}", section.title) for k, section in enumerate(report.sections)]
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, title in names)
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in report.reasons)
    warned = " warned" if MARK in report.note else ""
    yield f'<main><header><h1>{escape(report.title)}</h1><p class="note{warned}">{escape(report.note)}</p></header>'
    yield f'<div class="verdict {report.colour}"><h2>{escape(report.headline)}</h2><ul>{reasons}</ul></div>'
    yield f"<nav>{links}</nav>"
    for (key, _), section in zip(names, report.sections, strict=True):
        yield f'<section id="{key}">'
        yield from _section(section, charts)
        yield "</section>"
    yield f'<footer class="note{warned}">{escape(report.note)}</footer></main>'


def _section(section: Section, charts: list[dict[str, Any]]) -> Iterator[str]:
    yield f"<h2>{escape(section.title)}</h2>"
    for text in section.text:
        yield f"<p>{escape(text)}</p>"
    if section.tables_first:
        yield from _tables(section)
    for chart in section.charts:
        yield f'<div class="chart" data-chart="{len(charts)}"></div>'
        charts.append(_plain(chart))
    if not section.tables_first:
        yield from _tables(section)


def _tables(section: Section) -> Iterator[str]:
    """Beside each other where there is room."""
    if section.tables:
        yield '<div class="tables">'
        for table in section.tables:
            yield from _table(table)
        yield "</div>"


def _plain(chart: Chart) -> dict[str, Any]:
    plain = asdict(chart)
    for one in plain["series"]:
        one["x"], one["y"] = list(one["x"]), list(one["y"])
    return plain


def _table(table: Table) -> Iterator[str]:
    yield f'<div class="table"><table><caption>{escape(table.title)}</caption>'
    if any(table.head):
        yield "<thead><tr>" + "".join(_cell("th", text, k < table.left, None) for k, text in enumerate(table.head))
        yield "</tr></thead>"
    yield "<tbody>"
    for r, row in enumerate(table.rows):
        heat = table.heat[r] if table.heat is not None else (None,) * len(row)
        cells = (_cell("td", text, k < table.left, heat[k]) for k, text in enumerate(row))
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"


def _cell(tag: str, text: str, left: bool, heat: float | None) -> str:
    style = ""
    if heat:
        colour = "0,158,115" if heat > 0.0 else "213,94,0"
        style = f' style="background:rgba({colour},{0.45 * abs(heat):.2f})"'
    return f"<{tag}{'' if not left else ' class=l'}{style}>{escape(text)}</{tag}>"
