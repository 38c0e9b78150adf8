"""Strategies against markets: what several studies came to, as one table for each market and one picture of all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.evaluate.inference.bootstrap import LEVEL
from qframe_rl.evaluate.plot import FAINT, INK, PALETTE, footer, plain, sheet
from qframe_rl.evaluate.provenance import mark_of
from qframe_rl.evaluate.report.verdict import in_short
from qframe_rl.evaluate.table import AHEAD, ScoreRow, unfilled
from qframe_rl.evaluate.trials import Luck

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASELINES = ("buy_and_hold", "random", "flat")
"""Stand below the strategies."""
_TITLE = 24
"""Letters in a line above a panel."""
_PLACE = re.compile(r"(?P<head><!-- board(?:: (?P<name>[^>]+?))? -->).*?<!-- end -->", re.DOTALL)


@dataclass(frozen=True)
class Leaderboard:
    """All strategies that were judged on one market, on the same bars and at the same costs."""

    market: str
    """What was traded, in a word or two."""
    span: str
    """From the first judged bar to the last, and how many windows."""
    environment: str
    """Kind of data, as in `qframe_rl.types.Source`."""
    rows: tuple[ScoreRow, ...]
    """Highest excess Sharpe ratio first."""
    better: Mapping[str, float]
    """Probability that a strategy's mean return is above that of buying and holding, taken alone."""
    luck: Luck
    """What all trials ever made on the data set say about luck."""
    beats: Mapping[str, float]
    """p-values of the test of superior predictive ability for the best strategy: against ``cash`` and ``holding``."""
    bars_per_year: float
    n_bars: int
    """Judged bars."""
    cash_rate: float
    """What idle cash earned, compound, per year."""

    def verdict(self, row: ScoreRow) -> str:
        """Verdict on one row, in a few words."""
        return in_short(row, self.better.get(row["agent"]))


def order(boards: Sequence[Leaderboard]) -> list[str]:
    """Names of all rows: strategies by what their excess Sharpe ratio has over holding's, then `BASELINES`.

    It is the mean over the markets that a strategy was studied on: that one of them rose is no merit of its.
    """
    found: dict[str, list[float]] = {}
    for board in boards:
        held = next(row["excess_sharpe"] for row in board.rows if row["agent"] == "buy_and_hold")
        for row in board.rows:
            found.setdefault(row["agent"], []).append(row["excess_sharpe"] - held)
    ranked = sorted(found, key=lambda name: (-float(np.mean(found[name])), name))
    return [n for n in ranked if n not in BASELINES] + [n for n in BASELINES if n in found]


def markdown(boards: Sequence[Leaderboard], level: float = LEVEL) -> str:
    """Write the boards as Markdown: strategies against markets, then a table for each market.

    Parameters
    ----------
    boards
        At least one.
    level
        Level of the rows' intervals.
    """
    parts = [_overview(boards)]
    parts += [f"## {board.market}\n\n{_table(board, level)}" for board in boards]
    return "\n\n".join(parts) + "\n"


def written_into(text: str, boards: Sequence[Leaderboard], level: float = LEVEL) -> str:
    """Write the boards into a Markdown document, between the comments that mark their places.

    ``<!-- board -->`` begins the place of strategies against markets, ``<!-- board: BTC/USDT, 1h -->`` that of the
    table of one market, and ``<!-- end -->`` ends each; what stands outside of them is left alone.

    Parameters
    ----------
    text
        The document.
    boards
        One for each market, which give it their names.
    level
        Of the intervals that the tables show.

    Returns
    -------
    str
        The document with every place filled.

    Raises
    ------
    UserError
        If a place is missing, without an end, or for a market that there is no board of.
    """
    names = [board.market for board in boards]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two boards are called {twice[0]}, so a document cannot tell them apart.")
    made = {"": _overview(boards), **{board.market: _table(board, level) for board in boards}}
    found: list[str] = []

    def place(match: re.Match[str]) -> str:
        name = match["name"] or ""
        if name not in made:
            raise UserError(f"<!-- board: {name} -->: there is no board of that market, but of {', '.join(made)[2:]}.")
        found.append(name)
        return f"{match['head']}\n\n{made[name]}\n\n<!-- end -->"

    filled = _PLACE.sub(place, text)
    for name in made:
        if name not in found:
            mark = f"board: {name}" if name else "board"
            raise UserError(f"the document has no place for a table: put <!-- {mark} --> and <!-- end --> into it.")
    return filled


def _overview(boards: Sequence[Leaderboard]) -> str:
    lines = [f"| strategy | {' | '.join(board.market for board in boards)} |", "|---" * (1 + len(boards)) + "|"]
    lines += [f"| {name} | {' | '.join(_cell(board, name) for board in boards)} |" for name in order(boards)]
    return "\n".join([*lines, "", _wrapped(AHEAD)])


def _cell(board: Leaderboard, name: str) -> str:
    row = next((row for row in board.rows if row["agent"] == name), None)
    if row is None:
        return "-"
    text = _interval(row) if row["trades"] else "0"
    return f"{text}, {board.verdict(row)}"


def _interval(row: ScoreRow) -> str:
    return f"{row['sharpe']:+.2f} ({row['sharpe_low']:+.2f} to {row['sharpe_high']:+.2f})"


def _table(board: Leaderboard, level: float) -> str:
    mark = mark_of(board.environment)
    bar = board.luck.benchmark(board.n_bars) * np.sqrt(board.bars_per_year)
    effective = "" if board.luck.effective is None else f", worth {board.luck.effective:.1f} independent ones"
    heads = ["strategy", "final equity", f"Sharpe ({level:.0%})", "next window", "excess", "PSR", "DSR", "max drawdown",
             "exposure", "filled", "turnover / year", "better than holding", "verdict"]  # fmt: skip
    lines = [
        _wrapped(
            f"{mark + '. ' if mark else ''}{board.span}. {board.luck.trials} trials on the ledger{effective}: luck "
            f"alone is expected to show a Sharpe ratio of {bar:.2f}. That the best strategy beats cash: SPA "
            f"p = {board.beats['cash']:.3f}; that it beats holding: p = {board.beats['holding']:.3f}. Idle cash earned "
            f"{f'{board.cash_rate:.2%} a year' if board.cash_rate else 'nothing (rate 0)'}."
        ),
        "",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
    ]
    for row in board.rows:
        better = board.better.get(row["agent"])
        cells = [
            row["agent"],
            f"{row['final_equity']:,.0f}",
            _interval(row) if row["trades"] else "0",
            f"{row['next_low']:+.2f} to {row['next_high']:+.2f}" if row["trades"] else "0",
            f"{row['excess_sharpe']:+.2f}" if row["trades"] else "0",
            f"{row['psr']:.3f}",
            f"{row['dsr']:.3f}",
            f"{row['max_drawdown']:.0%}",
            f"{row['exposure']:.0%}",
            f"{row['filled']:.0%}",
            f"{row['turnover']:,.1f}" if row["turnover"] < 10.0 else f"{row['turnover']:,.0f}",
            "-" if better is None else f"{better:.3f}",
            board.verdict(row),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for line in unfilled(board.rows):
        lines += ["", _wrapped(line)]
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    """A paragraph in lines as long as those of the documents."""
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)


def board_figure(boards: Sequence[Leaderboard], title: str = "", note: str = "", level: float = LEVEL) -> Figure:
    """Draw the Sharpe ratio of every strategy on every market with its interval, a panel for each market.

    Parameters
    ----------
    boards
        At least one.
    title, note
        Heading and footer.
    level
        Level of the rows' intervals, for the label.

    Raises
    ------
    ValueError
        If there is no board.
    """
    if not boards:
        raise ValueError("there is nothing to draw: give at least one board")
    names = order(boards)
    figure = sheet(2.2 + 2.5 * len(boards), 1.7 + 0.3 * len(names))
    axes = figure.subplots(1, len(boards), sharex=True, sharey=True, squeeze=False)[0]
    for ax, board in zip(axes, boards, strict=True):
        _panel(ax, board, names)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].tick_params(axis="y", length=0, labelsize=10, labelcolor=INK)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    if title:
        figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold", color=INK)
    legend = (
        f"Sharpe ratio, annual, after costs, with its {level:.0%} interval. Blue: above zero, orange: below, grey: "
    )
    legend += "zero lies inside. Dashed: what luck alone shows after all trials. -: not studied."
    marks = [f"{board.market}: {mark_of(board.environment)}." for board in boards if mark_of(board.environment)]
    footer(figure, " ".join([legend, *marks, note]).strip())
    return figure


def _panel(ax: Axes, board: Leaderboard, names: Sequence[str]) -> None:
    plain(ax)
    ax.grid(axis="y", visible=False)
    ax.axvline(0.0, color=INK, linewidth=1.0, zorder=1)
    bar = board.luck.benchmark(board.n_bars) * np.sqrt(board.bars_per_year)
    ax.axvline(bar, color=FAINT, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    rows = {row["agent"]: row for row in board.rows}
    for y, name in enumerate(names):
        row = rows.get(name)
        if row is None:
            ax.annotate("-", (0.0, y), xytext=(7, 0), textcoords="offset points", va="center", color=FAINT)
            continue
        color = PALETTE[0] if row["sharpe_low"] > 0.0 else PALETTE[1] if row["sharpe_high"] < 0.0 else FAINT
        ax.plot([row["sharpe_low"], row["sharpe_high"]], [y, y], color=color, linewidth=2.0, solid_capstyle="round")
        ax.plot(row["sharpe"], y, "o", color=color, markersize=6.0, markeredgecolor="white", markeredgewidth=0.9)
    below = sum(name in BASELINES for name in names)
    ax.axhline(len(names) - below - 0.5, color=FAINT, linewidth=0.6, zorder=1)
    ax.set_title(fill(board.market, _TITLE), fontsize=10.5, color=INK, loc="left")
