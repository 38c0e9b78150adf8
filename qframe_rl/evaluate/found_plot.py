"""A search for features as a picture: how unlikely what was tried is, and what remains, part by part of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qframe_rl.alpha.select import FoundFeatures
from qframe_rl.evaluate.plot import FAINT, GRID, INK, PALETTE, sheet
from qframe_rl.evaluate.provenance import marked
from qframe_rl.types import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LETTERS = 44


def found_figure(found: FoundFeatures, source: Source) -> Figure:
    """Draw a search.

    Left: p of every valid formula in order, beside what chance alone gives and the line below which false ones are few
    enough; right: the mean IC of each that remains, in each part of the time.
    """
    figure = sheet(11.0, max(4.0, 1.6 + 0.28 * len(found.texts)))
    odds, parts = figure.subplots(1, 2, width_ratios=(2, 3))
    _odds(odds, found)
    _parts(parts, found)
    figure.suptitle(
        f"{marked(source)}{found.counts['found']} of {found.counts['tried']} formulas remain", color=INK, fontsize=11
    )
    return figure


def _odds(ax: Axes, found: FoundFeatures) -> None:
    p = np.sort([one.p for one in found.tests if not one.verdict.startswith(("invalid", "repeated"))])
    n = len(p)
    rank = np.arange(1, n + 1)
    ax.loglog(rank, rank / (n + 1.0), color=FAINT, linewidth=0.9, label="chance alone")
    share = found.rules.false_share
    ax.loglog(rank, share * rank / n, color=PALETTE[1], linewidth=0.9, label=f"a share of {share:g} false")
    ax.loglog(rank, p, color=PALETTE[0], linewidth=0, marker=".", markersize=4, label="formulas")
    ax.set_xlabel("formulas by p", color=INK)
    ax.set_ylabel("p", color=INK)
    ax.legend(frameon=False, fontsize=8)
    ax.grid(color=GRID, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(colors=FAINT, labelsize=8)


def _parts(ax: Axes, found: FoundFeatures) -> None:
    kept = [one for one in found.tests if one.verdict == "found"]
    ax.set_axis_off()
    if not kept:
        ax.text(0.5, 0.5, "Nothing remains.", ha="center", va="center", color=INK)
        return
    ax.set_axis_on()
    shown = np.array([one.periods for one in kept])
    most = float(np.abs(shown).max())
    drawn = ax.imshow(shown, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    ax.set_yticks(range(len(kept)), [_short(one.tree.text) for one in kept], fontsize=8)
    ax.set_xticks(range(shown.shape[1]), [f"part {k + 1}" for k in range(shown.shape[1])], fontsize=8)
    ax.tick_params(colors=FAINT, length=0)
    bar = ax.figure.colorbar(drawn, ax=ax)
    bar.set_label("mean IC", color=INK)


def _short(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 3]}..."
