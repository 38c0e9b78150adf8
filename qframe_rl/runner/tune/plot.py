"""Pictures of a search: what mattered, how it went, where it looked, what it had to trade off, and whether it lasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING

import numpy as np

from qframe_rl.evaluate.plot import FAINT, INK, PALETTE, WARNING, equity_figure, panels
from qframe_rl.evaluate.provenance import MARK
from qframe_rl.runner.tune.found import Searched, WindowSearched
from qframe_rl.runner.tune.plan import AIMS, Objective
from qframe_rl.runner.tune.search import front
from qframe_rl.types import History, Record, iso

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


def pictures(
    agent: str,
    searched: Sequence[Searched],
    objective: Objective,
    logarithmic: Set[str],
    records: Mapping[str, Record],
    history: History,
    note: str,
) -> dict[str, Figure]:
    """Draw a search.

    Parameters
    ----------
    agent
        Name of the strategy.
    searched
        What came of each window.
    objective
        Figure that was looked for.
    logarithmic
        Parameters that are drawn on a logarithmic scale.
    records
        Test records by name, that of the choices first.
    history
        The bars.
    note
        Footer: where the data are from.

    Returns
    -------
    dict[str, Figure]
        Figures by name, ready to save; ``importance`` is left out where no window had enough settings for it.
    """
    drawn = {
        "equity": equity_figure(records, f"{agent}: what each window chose, on the bars after it", note),
        "pareto": _pareto(agent, searched, objective),
        "stability": _stability(agent, searched, history, logarithmic),
    }
    for name, figure in drawn.items():
        if name != "equity":
            _noted(figure, note)
    return drawn | search_pictures(agent, searched, objective, logarithmic, note, "annual")


def search_pictures(
    agent: str, searched: Sequence[WindowSearched], objective: Objective, logarithmic: Set[str], note: str, unit: str
) -> dict[str, Figure]:
    """Draw a search alone: settings as they were tried, over each parameter, and what mattered.

    Parameters
    ----------
    agent, searched, objective, logarithmic, note
        As in `pictures`.
    unit
        What the objective is of, for its axis.

    Returns
    -------
    dict[str, Figure]
        Figures by name, ready to save; ``importance`` is left out where no window had enough settings for it.
    """
    drawn = {
        "history": _history(agent, searched, objective, unit),
        "slice": _slice(agent, searched, objective, logarithmic),
    }
    if any(one.importance for one in searched):
        drawn["importance"] = _importance(agent, searched)
    for figure in drawn.values():
        _noted(figure, note)
    return drawn


def _noted(figure: Figure, note: str) -> None:
    figure.supxlabel(note, x=0.012, ha="left", fontsize=8, color=WARNING if MARK in note else FAINT)


def _importance(agent: str, searched: Sequence[WindowSearched]) -> Figure:
    """Bars of the mean over windows, and a dot for each."""
    known = [one.importance for one in searched if one.importance]
    mean = {name: float(np.mean([one[name] for one in known])) for name in known[0]}
    names = sorted(mean, key=lambda name: mean[name])
    figure, (ax,) = _axes(1, f"{agent}: importance of the parameters", 7.5, 1.7 + 0.4 * len(mean))
    ax.barh(range(len(names)), [mean[name] for name in names], color=PALETTE[0], alpha=0.35, height=0.6)
    for k, name in enumerate(names):
        ax.plot([one[name] for one in known], [k] * len(known), "o", color=PALETTE[0], markersize=4.5)
    ax.set_yticks(range(len(names)), names, color=INK)
    ax.grid(axis="y", visible=False)
    ax.set_xlim(left=0.0)
    ax.set_xlabel(f"PED-ANOVA importance; bar: mean of {len(known)} windows, dots: each of them", color=INK)
    return figure


def _history(agent: str, searched: Sequence[WindowSearched], aim: Objective, unit: str) -> Figure:
    """Score of each setting, and the best so far, in every window."""
    figure, (ax,) = _axes(1, f"{agent}: settings as they were tried", 9.0, 4.6)
    for k, one in enumerate(searched):
        color = PALETTE[k % len(PALETTE)]
        number = np.array([tried.number for tried in one.tried])
        score = np.array([tried.figures[aim] for tried in one.tried])
        ax.plot(number, score, "o", color=color, markersize=3.5, alpha=0.5, markeredgewidth=0)
        ax.step(number, np.maximum.accumulate(score), where="post", color=color, linewidth=1.7, label=f"window {k + 1}")
    _legend(ax)
    ax.set_xlabel("Setting (those given up are not drawn)", color=INK)
    ax.set_ylabel(f"{AIMS[aim]}, {unit}", color=INK)
    _upper(ax, [tried.figures[aim] for one in searched for tried in one.tried])
    return figure


def _slice(agent: str, searched: Sequence[WindowSearched], aim: Objective, logarithmic: Set[str]) -> Figure:
    """Score over each parameter, window by window in its colour; a cross marks what was chosen."""
    names = list(searched[0].best.params)
    figure, axes = _axes(len(names), f"{agent}: {AIMS[aim]} on training bars over each parameter", 4.0, 3.1)
    for ax, name in zip(axes, names, strict=False):
        for k, one in enumerate(searched):
            color = PALETTE[k % len(PALETTE)]
            value = [tried.params[name] for tried in one.tried]
            score = [tried.figures[aim] for tried in one.tried]
            ax.plot(value, score, "o", color=color, markersize=3.5, alpha=0.5, markeredgewidth=0)
            ax.plot([one.best.params[name]], [one.best.figures[aim]], "X", color=color, markersize=9,
                    markeredgecolor="white", zorder=5, label=f"window {k + 1}")  # fmt: skip
        if name in logarithmic:
            ax.set_xscale("log")
            _plain(ax.xaxis)
        _upper(ax, [tried.figures[aim] for one in searched for tried in one.tried])
        ax.set_xlabel(name, color=INK)
    _outside(figure, axes[0])
    return figure


def _pareto(agent: str, searched: Sequence[Searched], aim: Objective) -> Figure:
    """Return over drawdown in the last window, coloured by turnover; the front of the three is ringed."""
    figure, (ax,) = _axes(1, f"{agent}: return, drawdown and turnover in window {len(searched)}", 8.0, 5.0)
    tried = searched[-1].tried
    best = front(tried)
    shown = ax.scatter([-100.0 * t.figures["max_drawdown"] for t in tried],
                       [100.0 * t.figures["annual_return"] for t in tried],
                       c=[max(t.figures["turnover"], 0.1) for t in tried], cmap="viridis", s=16, norm="log",
                       linewidths=0)  # fmt: skip
    ax.scatter([-100.0 * t.figures["max_drawdown"] for t in best], [100.0 * t.figures["annual_return"] for t in best],
               s=46, facecolors="none", edgecolors=WARNING, linewidths=1.2,
               label=f"not beaten in all three: {len(best)} of {len(tried)}")  # fmt: skip
    chosen = searched[-1].best.figures
    ax.plot([-100.0 * chosen["max_drawdown"]], [100.0 * chosen["annual_return"]], "X", color=INK, markersize=10,
            markeredgecolor="white", label=f"chosen: highest {AIMS[aim]}")  # fmt: skip
    figure.colorbar(shown, ax=ax, label="Turnover, times equity a year")
    _legend(ax)
    ax.set_xlabel("Deepest drawdown on training bars, %", color=INK)
    ax.set_ylabel("Annual return on training bars, %", color=INK)
    return figure


def _plain(axis: Axis) -> None:
    """Write the numbers of a logarithmic axis out, at 1, 2 and 5 of each power: powers would run into one another."""
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")


def _stability(agent: str, searched: Sequence[Searched], history: History, logarithmic: Set[str]) -> Figure:
    """What was chosen in each window, and the Sharpe ratio before and after the choice."""
    names, at = list(searched[0].best.params), range(1, len(searched) + 1)
    figure, axes = _axes(len(names) + 1, f"{agent}: the choice of each window", 4.0, 2.9)
    axes[0].axhline(0.0, color=INK, linewidth=0.8)
    axes[0].plot(at, [one.best.figures["sharpe"] for one in searched], "o-", color=FAINT, label="on its training bars")
    axes[0].plot(at, [one.ratio for one in searched], "o-", color=PALETTE[0],
                 label="on the bars after")  # fmt: skip
    axes[0].set_ylabel("Sharpe ratio in excess of cash, annual", color=INK)
    _outside(figure, axes[0])
    for ax, name in zip(axes[1:], names, strict=False):
        ax.plot(at, [one.best.params[name] for one in searched], "o-", color=PALETTE[1], linewidth=1.4)
        everywhere = [tried.params[name] for one in searched for tried in one.tried]
        if all(isinstance(value, int | float) for value in everywhere):
            ax.set_ylim(min(everywhere), max(everywhere) if max(everywhere) > min(everywhere) else None)
            if name in logarithmic:
                ax.set_yscale("log")
                _plain(ax.yaxis)
        ax.set_ylabel(name, color=INK)
    first = iso(int(history.time[searched[0].fold.test[0].start]))[:10]
    for ax in axes:
        ax.set_xticks(list(at))
        ax.set_xlabel(f"Window (the first is judged from {first})" if ax is axes[0] else "Window", color=INK)
    return figure


def _axes(n: int, title: str, width: float, height: float) -> tuple[Figure, list[Axes]]:
    return panels(n, title, width, height, least=7.0, more=0.9 if n > 1 else 0.0)


def _upper(ax: Axes, scores: Sequence[float]) -> None:
    """Show what is good: settings far below the rest are cut off."""
    low, high = np.quantile(scores, 0.05), max(scores)
    ax.set_ylim(float(low) - 0.05 * (high - low) - 0.05, high + 0.08 * (high - low) + 0.05)


def _legend(ax: Axes) -> None:
    ax.legend(loc="best", frameon=False, fontsize=9, labelcolor=INK)


def _outside(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=min(len(labels), 8), frameon=False, fontsize=9)
