"""Pictures of markets of many agents: what roles earned, and one agent in an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qframe_rl.evaluate.plot import FAINT, INK, PALETTE, plain, sheet
from qframe_rl.types import Float

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SeatRecord(NamedTuple):
    """What one agent lived through, step by step; NaN where there is no price."""

    best: Float
    """(T, 2) best bid and ask, ticks."""
    quotes: Float
    """(T, 2) its own."""
    held: Float
    """(T,) lots."""
    worth: Float
    """(T,) at the mid price, fees paid, ticks times lots."""


def seat_figure(record: SeatRecord, title: str) -> Figure:
    """Draw the book's best prices and the agent's quotes, and below them what it held and was worth.

    Parameters
    ----------
    record
        Of an episode.
    title
        Heading.
    """
    figure = sheet(10.0, 7.6)
    grid = figure.add_gridspec(3, 1, height_ratios=(3, 1.2, 1.2))
    top = figure.add_subplot(grid[0])
    held, worth = (figure.add_subplot(grid[k], sharex=top) for k in (1, 2))
    for ax in (top, held, worth):
        plain(ax)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold")
    steps = np.arange(len(record.held))
    top.fill_between(
        steps, record.best[:, 0], record.best[:, 1], step="post", color=FAINT, alpha=0.35, label="best bid to ask"
    )
    for side, name in enumerate(("own bid", "own ask")):
        top.step(steps, record.quotes[:, side], where="post", color=PALETTE[side], linewidth=1.2, label=name)
    top.set_ylabel("price, ticks")
    top.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
    held.step(steps, record.held, where="post", color=PALETTE[2], linewidth=1.0)
    held.set_ylabel("lots held")
    worth.plot(steps, record.worth, color=PALETTE[3], linewidth=1.2)
    worth.set_ylabel("worth,\nticks x lots")
    worth.set_xlabel("step")
    for ax in (held, worth):
        ax.axhline(0.0, color=INK, linewidth=0.8)
    return figure


def returns_figure(rows: Sequence[Mapping[str, Any]], gains: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw what each role earned, and what a best reply would gain in its place.

    Parameters
    ----------
    rows
        ``role``, ``agent``, ``return``, ``low``, ``high`` of each.
    gains
        ``gain``, ``low``, ``high`` by role; may be empty.
    """
    figure = sheet(9.0, 1.6 + 0.6 * max(len(rows), 2))
    left, right = figure.subplots(1, 2)
    _bars(left, [f"{row['role']}: {row['agent'].rpartition('/')[2]}" for row in rows], rows, "return")
    left.set_xlabel("return of an episode")
    told = list(gains.items())
    _bars(right, [role for role, _ in told], [one for _, one in told], "gain")
    right.set_xlabel("gain of a best reply" if told else "no best reply was trained")
    return figure


def ratings_figure(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw ratings with their intervals.

    Parameters
    ----------
    rows
        ``agent``, ``elo``, ``low``, ``high`` of each, the best first.
    title
        Heading.
    """
    figure = sheet(8.0, 1.6 + 0.4 * max(len(rows), 2))
    ax = figure.subplots()
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold")
    _bars(ax, [row["agent"][-40:] for row in rows], rows, "elo", 1500.0)
    ax.set_xlabel("rating, points of Elo")
    return figure


def _bars(ax: Any, names: Sequence[str], rows: Sequence[Mapping[str, Any]], key: str, at_rest: float = 0.0) -> None:
    """Points with their intervals, the first on top."""
    plain(ax)
    at = np.arange(len(rows))[::-1]
    for y, row in zip(at, rows, strict=True):
        ax.plot([row["low"], row["high"]], [y, y], color=PALETTE[0], linewidth=2.0)
        ax.plot(row[key], y, "o", color=INK, markersize=5)
    ax.axvline(at_rest, color=INK, linewidth=0.8)
    ax.set_yticks(at, names, fontsize=9)
    ax.set_ylim(-0.6, len(rows) - 0.4)
