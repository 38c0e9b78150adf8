"""Charts of a report drawn by Matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qframe_rl.evaluate.plot import FAINT, GRID, INK, PALETTE
from qframe_rl.evaluate.report.chart import Chart, ChartSeries, Format

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHART = 2.35
"""Usual height of a chart, inches."""
_LEGEND_LETTERS = 105
"""Letters of a legend that fit into one line."""


def chart_figure(chart: Chart, width: float = 8.0) -> Figure:
    """One chart as a figure of its own, such as TensorBoard shows."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, 0.9 + CHART * chart.height), dpi=110, facecolor="white")
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06))
    draw(figure.subplots(), chart)
    return figure


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
    lines = legend_lines(chart)
    if lines:
        named = sum(1 for one in chart.series if one.name)
        ax.legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=-(-named // lines), frameon=False, fontsize=7.5,
            handlelength=1.4, columnspacing=1.2, borderaxespad=0.1, labelcolor=INK,
        )  # fmt: skip
    ax.set_title(chart.title, loc="left", fontsize=9.5, fontweight="bold", color=INK, pad=6 + 14 * lines)


def legend_lines(chart: Chart) -> int:
    """Lines of a chart's legend; 0 = it has none, for a single thing needs none."""
    names = [len(one.name) + 7 for one in chart.series if one.name]
    return max(-(-len(names) // 5), -(-sum(names) // _LEGEND_LETTERS)) if len(names) > 1 else 0


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
        ax.xaxis.get_offset_text().set(fontsize=7.5, color=FAINT)
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
