"""Pictures of quoting: worth and inventory over time, where fills went, and scores with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qframe_rl.evaluate.plot import FAINT, INK, PALETTE, footer, plain, sheet
from qframe_rl.evaluate.quoting import HORIZONS_S, QuotingRecord, QuotingRow, causes, mean_markouts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def quoting_figure(records: Mapping[str, Sequence[QuotingRecord]], unit: str, title: str, note: str = "") -> Figure:
    """Draw worth and inventory over time, and below them markouts and fills by cause.

    Parameters
    ----------
    records
        Of each agent, by name, at least one; stretches are laid end to end.
    unit
        Quote currency.
    title, note
        Heading and footer.

    Raises
    ------
    ValueError
        If there is no record.
    """
    if not records:
        raise ValueError("there is nothing to draw: give at least one record")
    figure = sheet(10.0, 8.4)
    grid = figure.add_gridspec(3, 2, height_ratios=(3, 1.6, 2.2))
    top = figure.add_subplot(grid[0, :])
    held = figure.add_subplot(grid[1, :], sharex=top)
    later, why = figure.add_subplot(grid[2, 0]), figure.add_subplot(grid[2, 1])
    for ax in (top, held, later, why):
        plain(ax)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold")
    for k, (name, stretches) in enumerate(records.items()):
        color, begun, worth = PALETTE[k % len(PALETTE)], 0.0, 0.0
        for j, r in enumerate(stretches):
            minutes = begun + (r.at - r.at[0]) / 60e9
            label = name if j == 0 else None
            top.plot(minutes, worth + r.unit * (r.worth - r.worth[0]), color=color, linewidth=1.3, label=label)
            held.step(minutes, r.held / r.size, where="post", color=color, linewidth=0.8, alpha=0.8)
            begun, worth = float(minutes[-1]), worth + r.unit * float(r.worth[-1] - r.worth[0])
        marks = [mean_markouts(stretches)[h] for h in HORIZONS_S]
        later.plot(
            HORIZONS_S, [np.nan if m is None else m for m in marks], "o-", color=color, linewidth=1.2, markersize=4
        )
    top.axhline(0.0, color=INK, linewidth=0.8)
    later.axhline(0.0, color=INK, linewidth=0.8)
    top.set_ylabel(f"worth at mid, fees paid, {unit}")
    top.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=5)
    held.set_ylabel("whole quotes held")
    held.set_xlabel("minutes recorded")
    later.set_xlim(HORIZONS_S[0] / 1.5, HORIZONS_S[-1] * 1.5)  # also where nothing filled
    later.set_xscale("log")
    later.set_xlabel("seconds after a maker's fill")
    later.set_ylabel("mid beyond fill, ticks")
    _causes(why, records)
    footer(figure, note)
    return figure


def _causes(ax: Axes, records: Mapping[str, Sequence[QuotingRecord]]) -> None:
    """Lots by cause, a bar an agent."""
    names = list(records)[::-1]
    left = np.zeros(len(names))
    for k, cause in enumerate(causes(next(iter(records.values())))):
        lots = np.array([causes(records[name])[cause] for name in names], float)
        ax.barh(range(len(names)), lots, left=left, color=PALETTE[k], label=cause, height=0.6)
        left += lots
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set_xlabel("lots filled, by cause")
    ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, columnspacing=1.0)


def quoting_leaderboard_figure(rows: Sequence[QuotingRow], label: str, title: str, note: str = "") -> Figure:
    """Draw each agent's score with its interval, and the other end of the band of fill rules.

    Parameters
    ----------
    rows
        The leaderboard.
    label
        What the score is.
    title, note
        Heading and footer.

    Raises
    ------
    ValueError
        If there is no row.
    """
    if not rows:
        raise ValueError("there is nothing to draw: give at least one row")
    ranked = sorted(rows, key=lambda row: (row["score"], row["agent"]))
    figure = sheet(8.0, 1.7 + 0.4 * len(ranked))
    ax = figure.subplots()
    plain(ax)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold")
    ax.axvline(0.0, color=INK, linewidth=1.0, zorder=1)
    for y, row in enumerate(ranked):
        color = PALETTE[0] if row["low"] > 0.0 else PALETTE[1] if row["high"] < 0.0 else FAINT
        ax.plot([row["low"], row["high"]], [y, y], color=color, linewidth=2.2, solid_capstyle="round")
        ax.plot(row["score"], y, "o", color=color, markersize=7.5, markeredgecolor="white")
        ax.plot(row["score_trades"], y, "|", color=INK, markersize=11, markeredgewidth=1.4)
    ax.set_yticks(range(len(ranked)), [row["agent"] for row in ranked])
    ax.set_xlabel(f"{label}, with its interval (grey: zero lies inside; |: cancels never ahead)")
    footer(figure, note)
    return figure
