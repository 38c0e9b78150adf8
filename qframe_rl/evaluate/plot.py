"""Pictures of records and leaderboards, drawn from them alone.

Figures are made with Matplotlib's object interface and no global state: show or save them with ``painted``, or hand
them to TensorBoard. Colours are Okabe and Ito's (2008), which stay apart for all common kinds of colour blindness.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from qframe_rl.evaluate.inference.bootstrap import LEVEL
from qframe_rl.evaluate.metrics import drawdown
from qframe_rl.evaluate.provenance import MARK
from qframe_rl.evaluate.table import ScoreRow
from qframe_rl.types import Float, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B4A8A", "#666666")
INK, FAINT, GRID, WARNING = "#222222", "#777777", "#E4E4E4", "#B00020"
BUY, SELL = PALETTE[2], PALETTE[1]
LOG_SPAN = 3.0
"""Equity is drawn on a log scale where its highest value is more than this many times the lowest."""
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
_MOST_MARKS = 4000
_MOST_STEPS = 800
_CHARACTERS = 15.5
_FLOOR = 1e-3
_PER_ROW = 3


def equity_figure(records: Mapping[str, Record], title: str = "", note: str = "") -> Figure:
    """Draw equity and drawdown of some agents, and how the first of them was placed.

    Parameters
    ----------
    records
        What each agent did, by name, at least one; legends keep this order. The first one's exposure is drawn, and its
        trades on the price where it traded a single instrument.
    title
        Heading.
    note
        Footer: where the data are from, such as `source_note`.

    Returns
    -------
    Figure
        Ready to save.

    Raises
    ------
    ValueError
        If there is no record.
    """
    if not records:
        raise ValueError("there is nothing to draw: give at least one record")
    name, first = next(iter(records.items()))
    single = len(first.instruments) == 1
    heights = [3.2, 1.3, 1.3, 2.2][: 4 if single else 3]
    figure = sheet(10.0, 1.5 + 1.05 * sum(heights))
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    _heading(figure, axes[0], title)
    for ax in axes:
        plain(ax)
    _draw_equity(axes[0], records)
    _draw_drawdown(axes[1], records)
    _draw_exposure(axes[2], name, first)
    if single:
        _draw_trades(axes[3], name, first)
    _draw_time(axes[-1], records)
    figure.align_ylabels(list(axes))
    footer(figure, note)
    return figure


def leaderboard_figure(rows: Sequence[ScoreRow], title: str = "", note: str = "", level: float = LEVEL) -> Figure:
    """Draw the Sharpe ratio of each agent with its interval, the highest on top.

    Parameters
    ----------
    rows
        A leaderboard; rows of several splits are told apart by name.
    title, note
        As in `equity_figure`.
    level
        Level of the rows' intervals, for the label.

    Raises
    ------
    ValueError
        If there is no row.
    """
    if not rows:
        raise ValueError("there is nothing to draw: give at least one row")
    ranked = sorted(rows, key=lambda row: (row["sharpe"], row["agent"]))
    several = len({row["split"] for row in rows}) > 1
    figure = sheet(8.0, 1.6 + 0.36 * len(ranked))
    ax = figure.subplots()
    plain(ax)
    _heading(figure, ax, title)
    ax.grid(axis="y", visible=False)
    ax.axvline(0.0, color=INK, linewidth=1.0, zorder=1)
    for y, row in enumerate(ranked):
        color = PALETTE[0] if row["sharpe_low"] > 0.0 else PALETTE[1] if row["sharpe_high"] < 0.0 else FAINT
        ax.plot([row["sharpe_low"], row["sharpe_high"]], [y, y], color=color, linewidth=2.2, solid_capstyle="round")
        ax.plot(row["sharpe"], y, "o", color=color, markersize=7.5, markeredgecolor="white", markeredgewidth=1.0)
        ax.annotate(f"{row['sharpe']:+.2f}", (1.0, y), xycoords=("axes fraction", "data"), xytext=(44, 0),
                    textcoords="offset points", ha="right", va="center", color=color, fontsize=9)  # fmt: skip
    names = [f"{row['agent']} ({row['split']})" if several else row["agent"] for row in ranked]
    ax.set_yticks(range(len(ranked)), names)
    ax.tick_params(axis="y", length=0, labelsize=10, labelcolor=INK)
    ax.set_ylim(-0.6, len(ranked) - 0.4)
    low, high = min(row["sharpe_low"] for row in rows), max(row["sharpe_high"] for row in rows)
    ax.set_xlim(min(low, -1.0) - 0.05 * (high - low), max(high, 1.0) + 0.05 * (high - low))
    ax.set_xlabel(f"Sharpe ratio, annual, net of costs, with its {level:.0%} interval (grey: zero lies inside)")
    footer(figure, note)
    return figure


def sheet(width: float, height: float) -> Figure:
    """Make an empty figure of this size, inches."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06, hspace=0.04)
    return Figure(figsize=(width, height), dpi=120, facecolor="white", layout=layout)


def panels(n: int, title: str, width: float, height: float, least: float, more: float) -> tuple[Figure, list[Axes]]:
    """Make plain panels of one size, at most three beside each other and four two by two, under a title.

    Parameters
    ----------
    n
        Number of panels.
    title
        Heading.
    width, height
        Of a panel, inches.
    least, more
        Least width of the figure; height besides the panels.

    Returns
    -------
    tuple
        The figure, and its ``n`` panels from left to right and from top to bottom.
    """
    wide = 2 if n == 4 else min(n, _PER_ROW)
    high = -(-n // wide)
    figure = sheet(max(width * wide, least), height * high + more)
    axes = list(figure.subplots(high, wide, squeeze=False).ravel())
    for ax in axes[n:]:
        ax.set_visible(False)
    for ax in axes[:n]:
        plain(ax)
    figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold", color=INK)
    return figure, axes[:n]


def plain(ax: Axes) -> None:
    """Take away what an axis does not need."""
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(FAINT)
    ax.grid(color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=FAINT, labelsize=9, length=3)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.label.set_color(INK)
    ax.yaxis.label.set_color(INK)


def _heading(figure: Figure, ax: Axes, title: str) -> None:
    if title:
        ax.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=12)


def footer(figure: Figure, note: str) -> None:
    """Write where data are from under a figure, in red where they are no record of performance."""
    if note:
        text = "\n".join(wrap(note, int(_CHARACTERS * figure.get_figwidth())))
        figure.supxlabel(text, x=0.012, ha="left", fontsize=8, color=WARNING if MARK in note else FAINT)


def _dates(record: Record) -> Any:
    return record.time.astype("datetime64[ns]")


def _style(k: int) -> dict[str, Any]:
    return {"color": PALETTE[k % len(PALETTE)], "linestyle": _DASHES[k // len(PALETTE) % len(_DASHES)]}


def _quote(record: Record) -> str:
    """Currency that a record is kept in."""
    return record.instruments[0].quote


def _draw_equity(ax: Axes, records: Mapping[str, Record]) -> None:
    curves = [record.worth for record in records.values()]
    for k, (name, record) in enumerate(records.items()):
        label = f"{name}  {_short(float(curves[k][-1]))}"
        width = 1.7 if k == 0 else 1.3
        marker = "o" if len(record) == 1 else None
        ax.plot(_dates(record), curves[k], linewidth=width, marker=marker, zorder=20 - k, label=label, **_style(k))
    logarithmic = _scale(ax, curves)
    ax.set_ylabel(f"Equity, {_quote(next(iter(records.values())))}{' (log)' if logarithmic else ''}")
    _legend(ax, "Final equity")


def _scale(ax: Axes, curves: Sequence[Float]) -> bool:
    """Choose a log scale for curves that span more than `LOG_SPAN`; below a thousandth of their start they are cut."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.yaxis.set_major_formatter(_thousands())
    highest = max(float(np.nanmax(curve, initial=0.0)) for curve in curves)
    lowest = min(float(np.nanmin(curve, initial=np.inf)) for curve in curves)
    if not highest > LOG_SPAN * lowest:
        return False
    ax.set_yscale("log", nonpositive="clip")
    floor = min(float(curve[np.flatnonzero(curve > 0.0)[0]]) for curve in curves if (curve > 0.0).any()) * _FLOOR
    ax.set_ylim(max(lowest * 0.9, floor), highest * 1.1)
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if highest < 300.0 * max(lowest, floor) else (1.0,)))
    ax.yaxis.set_major_formatter(_thousands())
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="y", which="minor", length=0)
    return True


def _thousands() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: _short(value))


def _short(value: float) -> str:
    """Four digits or so: 0.0123, 12.3, 9,870, 1.23M."""
    for size, unit in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:,.4g}{unit}"
    return f"{value:,.0f}" if abs(value) >= 1000.0 else f"{value:,.4g}"


def _draw_drawdown(ax: Axes, records: Mapping[str, Record]) -> None:
    from matplotlib.ticker import PercentFormatter

    for k, record in enumerate(records.values()):
        falls = drawdown(record.worth)
        ax.plot(_dates(record), falls, linewidth=1.0, zorder=20 - k, **_style(k))
        if k == 0:
            ax.fill_between(_dates(record), falls, 0.0, color=PALETTE[0], alpha=0.15, linewidth=0, zorder=2)
    lowest = min(ax.get_ylim()[0], -0.01)
    ax.set_ylim(lowest, -0.03 * lowest)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    ax.set_ylabel("Drawdown")


def _draw_exposure(ax: Axes, name: str, record: Record) -> None:
    from matplotlib.ticker import PercentFormatter

    exposure, dates = record.account.exposure, _dates(record)
    net = exposure.sum(axis=1)
    if exposure.shape[1] > 1:
        gross = np.abs(exposure).sum(axis=1)
        ax.fill_between(dates, gross, 0.0, step="pre", color=GRID, linewidth=0, zorder=1, label="gross")
    # An outline of more steps than the picture has columns would be one block of ink.
    outlined = np.count_nonzero(record.fills.quantity.any(axis=1)) <= _MOST_STEPS
    shade = 0.3 if outlined else 0.7
    ax.fill_between(dates, net, 0.0, step="pre", color=PALETTE[0], alpha=shade, linewidth=0, zorder=2, label="net")
    if outlined:
        ax.plot(dates, net, color=PALETTE[0], linewidth=0.7, drawstyle="steps-pre", zorder=3)
    ax.axhline(0.0, color=FAINT, linewidth=0.8, zorder=4)
    if not exposure.any():
        ax.set_ylim(-1.0, 1.0)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    ax.set_ylabel("Exposure")
    _legend(ax, f"{name}, of equity", entries=exposure.shape[1] > 1)


def _draw_trades(ax: Axes, name: str, record: Record) -> None:
    mark, quantity = record.account.mark[:, 0], record.fills.quantity[:, 0]
    ax.plot(_dates(record), mark, color=FAINT, linewidth=0.9, marker="o" if len(record) == 1 else None, zorder=2)
    opens = (record.time - record.bar_ns).astype("datetime64[ns]")
    size = 26.0 * math.sqrt(min(1.0, max(0.025, 150.0 / max(1, int(np.count_nonzero(quantity))))))
    for sign, shape, color, label in ((1.0, "^", BUY, "buy"), (-1.0, "v", SELL, "sell")):
        rows = np.flatnonzero(quantity * sign > 0.0)
        shown = rows[:: max(1, -(-len(rows) // _MOST_MARKS))]
        ax.scatter(opens[shown], record.fills.price[shown, 0], s=size, marker=shape, color=color, linewidths=0,
                   alpha=0.85, zorder=3, label=f"{label}  {len(rows):,}")  # fmt: skip
    closed = np.flatnonzero(record.fills.forced[:, 0])
    if len(closed):
        ax.scatter(_dates(record)[closed], record.fills.forced_price[closed, 0], s=45.0, marker="X", color=WARNING,
                   edgecolors="white", linewidths=0.6, zorder=4, label=f"forced  {len(closed)}")  # fmt: skip
    logarithmic = _scale(ax, [mark])
    ax.set_ylabel(f"{record.instruments[0].symbol}{' (log)' if logarithmic else ''}")
    _legend(ax, f"Fills of {name}")


def _legend(ax: Axes, title: str, *, entries: bool = True) -> None:
    """Put the legend to the right of the lines."""
    handles, labels = ax.get_legend_handles_labels() if entries else ([], [])
    legend = ax.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(1.005, 1.04),
        borderaxespad=0.0,
        frameon=False,
        fontsize=9,
        handlelength=1.5,
        labelcolor=INK,
        title=title,
        title_fontsize=9,
        alignment="left",
        markerscale=1.2,
    )
    legend.get_title().set_color(FAINT)


def _draw_time(ax: Axes, records: Mapping[str, Record]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    begin = min(int(record.time[0]) for record in records.values())
    end = max(int(record.time[-1]) for record in records.values())
    pad = max((end - begin) // 100, next(iter(records.values())).bar_ns // 2)
    limits: Any = np.array([begin - pad, end + pad]).astype("datetime64[ns]")
    ax.set_xlim(*limits)
    locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    offsets = ["", "%Y", "%Y", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d %H:%M"]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, offset_formats=offsets))  # type: ignore[no-untyped-call]
