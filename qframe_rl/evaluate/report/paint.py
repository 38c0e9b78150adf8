"""A report on paper: every chart as a Matplotlib figure, every page of a PDF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from qframe_rl.evaluate.plot import FAINT, GRID, INK, PALETTE, WARNING
from qframe_rl.evaluate.provenance import MARK
from qframe_rl.evaluate.report.chart import Chart, ChartSeries, Format, Report, Section, Table
from qframe_rl.types import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 8.27, 11.69
"""A4, inches."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.09, 0.96, 0.93, 0.07
_CHART = 2.35
_ROW = 0.165
_COLOURS = {"good": PALETTE[2], "bad": WARNING, "open": PALETTE[4]}
_LINE = 0.19
_LETTER = 0.0073
"""Width of a letter of 7.5 points, as a share of the page's."""
_LONGEST = 60


def chart_figure(chart: Chart, width: float = 8.0) -> Figure:
    """One chart as a figure of its own, such as TensorBoard shows."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, 0.9 + _CHART * chart.height), dpi=110, facecolor="white")
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06))
    draw(figure.subplots(), chart)
    return figure


def pages(reports: Sequence[Report]) -> Iterator[Figure]:
    """Lay reports out on pages."""
    for report in reports:
        sheet = _Sheet(report)
        sheet.cover()
        for section in report.sections:
            sheet.section(section)
        yield from sheet.done()


def write_pdf(reports: Sequence[Report], path: Path) -> int:
    """Write a PDF, whole or not at all; return its number of pages."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_pdf import PdfPages

    fresh = path.with_name(f".{path.name}.part")
    count = 0
    with rc_context({"pdf.compression": 9}), PdfPages(fresh, metadata={"CreationDate": None}) as book:
        for figure in pages(reports):
            book.savefig(figure)
            count += 1
    fresh.replace(path)
    return count


class _Sheet:
    """Pages under way: things are put below each other, and a new page is begun where one does not fit."""

    def __init__(self, report: Report):
        self.report = report
        self._pages: list[Any] = []
        self._begin()

    def cover(self) -> None:
        """Title, verdict and reasons."""
        self._text(self.report.title, 20, "bold", INK, 52)
        self._y -= 0.1
        self._text(self.report.headline, 13, "bold", _COLOURS[self.report.colour], 64)
        self._y -= 0.05
        for reason in self.report.reasons:
            self._text(reason, 9.5, "normal", INK, 100, bullet=True)

    def section(self, section: Section) -> None:
        """One section: words, charts, tables."""
        first = 1.0 + (0.9 + _CHART * section.charts[0].height if section.charts else 1.2)
        if self._y - first < _BOTTOM * HEIGHT:
            self._begin()
        self._y -= 0.28
        self._text(section.title, 14, "bold", INK, 80)
        for text in section.text:
            self._text(text, 9.0, "normal", INK, 108)
        for chart in section.charts:
            self._chart(chart)
        for table in section.tables:
            self._table(table)

    def done(self) -> list[Figure]:
        """The pages, numbered."""
        for number, page in enumerate(self._pages):
            where = f"{self.report.title}, page {number + 1} of {len(self._pages)}"
            page.text(_RIGHT, 0.022, where, fontsize=7, color=FAINT, ha="right", va="bottom")
        return list(self._pages)

    def _begin(self) -> None:
        from matplotlib.figure import Figure

        page = Figure(figsize=(WIDTH, HEIGHT), dpi=110, facecolor="white")
        lines = wrap(self.report.note, 150)
        colour = WARNING if MARK in self.report.note else FAINT
        page.text(_LEFT, 0.038, "\n".join(lines), fontsize=7, color=colour, va="bottom")
        self._pages.append(page)
        self._y = _TOP * HEIGHT + 0.25

    def _text(self, text: str, size: float, weight: str, colour: str, width: int, *, bullet: bool = False) -> None:
        lines = wrap(text, width)
        step = _LINE * size / 9.5
        if self._y - step * len(lines) < _BOTTOM * HEIGHT:
            self._begin()
        for k, line in enumerate(lines):
            self._y -= step
            if bullet and k == 0:
                self._put(_LEFT, "•", size, weight, colour)
            self._put(_LEFT + 0.018 * bullet, line, size, weight, colour)
        self._y -= 0.05

    def _put(self, x: float, text: str, size: float, weight: str, colour: str) -> None:
        self._pages[-1].text(x, self._y / HEIGHT, text, fontsize=size, fontweight=weight, color=colour, va="bottom")

    def _chart(self, chart: Chart) -> None:
        legend = sum(1 for one in chart.series if one.name) > 1
        size = _CHART * chart.height
        below = 0.34 + 0.16 * bool(chart.x_label)
        if self._y - size - below - 0.5 < _BOTTOM * HEIGHT:
            self._begin()
        self._y -= 0.36 + 0.2 * legend
        bottom = self._y - size
        ax = self._pages[-1].add_axes((_LEFT + 0.02, bottom / HEIGHT, _RIGHT - _LEFT - 0.02, size / HEIGHT))
        draw(ax, chart)
        self._y = bottom - below

    def _table(self, table: Table) -> None:
        rows = list(table.rows)
        while True:
            room = int((self._y - _BOTTOM * HEIGHT - 0.75) / _ROW)
            if room < min(4, len(rows)):
                self._begin()
                continue
            part, at = rows[:room], len(table.rows) - len(rows)
            self._rows(table, part, at)
            rows = rows[room:]
            if not rows:
                return

    def _rows(self, table: Table, rows: Sequence[tuple[str, ...]], at: int) -> None:
        page = self._pages[-1]
        self._y -= 0.32
        self._put(_LEFT, table.title + (" (continued)" if at else ""), 9.5, "bold", INK)
        edges = _edges(table)
        if any(table.head):
            self._y -= _ROW + 0.02
            self._cells(table, table.head, edges, FAINT)
        line = (self._y - 0.02) / HEIGHT
        page.add_artist(_rule(line))
        for k, row in enumerate(rows):
            self._y -= _ROW
            if table.heat is not None:
                self._shade(table.heat[at + k], edges)
            self._cells(table, row, edges, INK)
        self._y -= 0.08

    def _cells(self, table: Table, row: tuple[str, ...], edges: Sequence[float], colour: str) -> None:
        size = 7.5 * min(1.0, (_RIGHT - _LEFT) / (_LETTER * float(_lengths(table).sum())))
        for k, text in enumerate(row):
            left = k < table.left
            x = edges[k] + 0.003 if left else edges[k + 1] - 0.004
            shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
            self._pages[-1].text(
                x, self._y / HEIGHT, shown, fontsize=size, color=colour, ha="left" if left else "right", va="bottom"
            )

    def _shade(self, heat: Sequence[float | None], edges: Sequence[float]) -> None:
        from matplotlib.patches import Rectangle

        for k, value in enumerate(heat):
            if value is not None and value != 0.0:
                box = Rectangle(
                    (edges[k], self._y / HEIGHT - 0.001), edges[k + 1] - edges[k], _ROW / HEIGHT, linewidth=0,
                    color=PALETTE[2] if value > 0.0 else PALETTE[1], alpha=0.45 * abs(value), zorder=0,
                    transform=self._pages[-1].transFigure,
                )  # fmt: skip
                self._pages[-1].add_artist(box)


def _edges(table: Table) -> list[float]:
    """Column edges as shares of the page's width, by the longest text of each column."""
    size = _lengths(table)
    width = min(_RIGHT - _LEFT, _LETTER * float(size.sum()))
    return [_LEFT, *(_LEFT + width * np.cumsum(size) / size.sum()).tolist()]


def _lengths(table: Table) -> Float:
    """Letters that each column needs."""
    longest = [max(len(text) for text in column) for column in zip(table.head, *table.rows, strict=True)]
    return np.array([max(3, min(n, _LONGEST)) + 2.5 for n in longest])


def _rule(y: float) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([_LEFT, _RIGHT], [y, y], color=GRID, linewidth=0.8)


def draw(ax: Axes, chart: Chart) -> None:
    """Draw one chart."""
    _plain(ax, chart)
    bars = [one for one in chart.series if one.kind == "bars"]
    for k, one in enumerate(chart.series):
        _series(ax, chart, one, bars, 20 - k)
    for y, text in chart.lines:
        ax.axhline(y, color=FAINT, linewidth=0.8, zorder=1, label=text or None)
    for x, text in chart.marks:
        ax.axvline(x, color=INK, linewidth=1.2, linestyle="--", zorder=30)
        ax.annotate(text, (x, 1.0), xycoords=("data", "axes fraction"), xytext=(4, -9), textcoords="offset points",
                    fontsize=7.5, color=INK)  # fmt: skip
    _scales(ax, chart)
    if sum(1 for one in chart.series if one.name) > 1:
        ax.legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=5, frameon=False, fontsize=7.5, handlelength=1.4,
            columnspacing=1.2, borderaxespad=0.1, labelcolor=INK,
        )  # fmt: skip
    above = 20 if sum(1 for one in chart.series if one.name) > 1 else 6
    ax.set_title(chart.title, loc="left", fontsize=9.5, fontweight="bold", color=INK, pad=above)


def _plain(ax: Axes, chart: Chart) -> None:
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(FAINT)
    ax.grid(color=GRID, linewidth=0.7, axis="y" if chart.x == "category" else "both")
    ax.set_axisbelow(True)
    ax.tick_params(colors=FAINT, labelsize=7.5, length=2)
    ax.tick_params(axis="y", length=0)
    ax.set_ylabel(chart.y_label, fontsize=8, color=INK)
    ax.set_xlabel(chart.x_label, fontsize=8, color=INK)


def colour_of(one: ChartSeries) -> str:
    """Colour of a series."""
    return {-1: INK, -2: FAINT}.get(one.colour, PALETTE[one.colour % len(PALETTE)])


def _series(ax: Axes, chart: Chart, one: ChartSeries, bars: Sequence[ChartSeries], order: int) -> None:
    x, y, colour = _places(chart, one), np.asarray(one.y), colour_of(one)
    label = one.name or None
    style: dict[str, Any] = {"color": colour, "alpha": one.opacity, "zorder": order, "label": label}
    if one.kind == "bars":
        n, k = len(bars), bars.index(one)
        together = chart.x != "category"
        step = float(np.min(np.diff(x))) if together and len(x) > 1 else 0.8
        width = step * 0.92 if together else step / n
        offset = 0.0 if together else (k - (n - 1) / 2.0) * width
        ax.bar(x + offset, y, width * 0.94, **style)
    elif one.kind == "band" and chart.x == "category":
        ax.vlines(x, y, np.asarray(one.y2), linewidth=5.0, color=colour, alpha=0.6, zorder=order, label=one.name)
    elif one.kind == "band":
        ax.fill_between(x, y, np.asarray(one.y2), linewidth=0.0, **style)
    elif one.kind in ("points", "up", "down"):
        shape = {"points": "o", "up": "^", "down": "v"}[one.kind]
        size = 34.0 if one.kind == "points" else max(3.0, min(16.0, 2400.0 / max(1, len(y))))
        ax.scatter(x, y, s=size, marker=shape, linewidths=0, **style)
    else:
        drawn = "steps-post" if one.kind == "step" else "default"
        ax.plot(x, y, linewidth=one.width, drawstyle=drawn, **style)


def _places(chart: Chart, one: ChartSeries) -> Any:
    if chart.x == "time":
        return np.asarray(one.x, dtype=np.int64).astype("datetime64[s]")
    if chart.x == "category":
        names = list(dict.fromkeys(name for series in chart.series for name in series.x))
        return np.array([names.index(name) for name in one.x], dtype=np.float64)
    return np.asarray(one.x, dtype=np.float64)


def _scales(ax: Axes, chart: Chart) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if chart.log:
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 300.0 * low else (1.0,)))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(axis="y", which="minor", length=0)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, chart.y)))
    if chart.x == "time":
        locator = AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        ax.margins(x=0.01)
    if chart.x == "category":
        names = list(dict.fromkeys(str(name) for series in chart.series for name in series.x))
        ax.set_xticks(range(len(names)), names, color=INK)
        ax.set_xlim(-0.6, len(names) - 0.4)


def shown(value: float, as_: Format) -> str:
    """A number on an axis."""
    if as_ == "percent":
        return f"{value:.0%}"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 10.0 * size or (abs(value) >= size and unit != "k"):
            return f"{value / size:g}{unit}"
    return f"{value:g}"
