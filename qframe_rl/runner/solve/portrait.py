"""Learned policies drawn over the optimal one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qframe_rl.evaluate.plot import FAINT, GRID, INK, PALETTE, panels
from qframe_rl.gym.problem import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 4.3, 3.3


def policy_figure(
    title: str, optimal: Sequence[Curve], learned: Mapping[str, Sequence[Sequence[Curve]]], note: str = ""
) -> Figure:
    """Draw policies panel by panel: the optimal one dashed and black, each seed of each agent a line of its colour.

    Parameters
    ----------
    title
        Heading.
    optimal
        Portrait of the optimal policy.
    learned
        By agent, the portraits of all of its seeds.
    note
        Line under the picture.
    """
    names = list(dict.fromkeys(curve.panel for curve in optimal))
    figure, axes = panels(len(names), title, _WIDTH, _HEIGHT, least=6.0, more=1.2)
    for ax, panel in zip(axes, names, strict=True):
        _draw(ax, panel, optimal, learned)
    _legend(figure, learned)
    if note:
        figure.supxlabel(note, x=0.012, ha="left", fontsize=8, color=FAINT)
    return figure


def _draw(ax: Axes, panel: str, optimal: Sequence[Curve], learned: Mapping[str, Sequence[Sequence[Curve]]]) -> None:
    ax.set_title(panel, loc="left", fontsize=10, color=INK)
    for k, portraits in enumerate(learned.values()):
        for curves in portraits:
            for curve in curves:
                if curve.panel == panel and not curve.given:
                    ax.plot(curve.x, curve.y, color=PALETTE[k % len(PALETTE)], linewidth=1.6, alpha=0.55)
    shown = [curve for curve in optimal if curve.panel == panel]
    for curve in shown:
        if curve.given:
            ax.plot(curve.x, curve.y, color=GRID, linewidth=7.0, zorder=0.5)
        else:
            ax.plot(curve.x, curve.y, color=INK, linewidth=1.3, linestyle=(0, (4, 2)))
        if curve.label:
            ax.annotate(curve.label, (curve.x[-1], curve.y[-1]), xytext=(4, 0), textcoords="offset points",
                        va="center", fontsize=8, color=INK, annotation_clip=False)  # fmt: skip
    level = float(shown[0].y[0])
    if level > 0.0 and all((curve.y == level).all() for curve in shown):
        # Around a constant, an axis of its own choice would make a mountain of every molehill.
        ax.set_ylim(0.0, max(2.0 * level, 1.05 * ax.get_ylim()[1]))
    ax.set_xlabel(shown[0].x_label, fontsize=9, color=INK)
    ax.set_ylabel(shown[0].y_label, fontsize=9, color=INK)


def _legend(figure: Figure, learned: Mapping[str, Any]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=INK, linewidth=1.3, linestyle=(0, (4, 2)), label="optimal")]
    for k, (agent, portraits) in enumerate(learned.items()):
        seeds = f"{len(portraits)} seeds" if len(portraits) > 1 else "1 seed"
        handles.append(Line2D([], [], color=PALETTE[k % len(PALETTE)], linewidth=1.6, label=f"{agent}, {seeds}"))
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False, fontsize=9)
