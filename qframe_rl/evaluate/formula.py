"""What a formula is and looks like: words, lookback, units, its last year, and which known factor it resembles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from qframe_rl.alpha.canonical import canonical, identity
from qframe_rl.alpha.cross import universe
from qframe_rl.alpha.operators import LEAST_MEMBERS
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.parser import parse
from qframe_rl.alpha.tree import Formula
from qframe_rl.config import UserError
from qframe_rl.evaluate.plot import FAINT, GRID, INK, PALETTE, sheet
from qframe_rl.evaluate.provenance import marked
from qframe_rl.times import DAY, YEAR
from qframe_rl.types import CLOSE, VOLUME, Bool, Float, History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FACTORS = {
    "momentum": "ret(close, 40)",
    "reversal": "neg(ret(close, 5))",
    "volatility": "std(ret1, 20)",
    "size": "log(mean(money, 20))",
}
"""Known factors, as formulas; size is what is traded, since what is outstanding does not stand in bars."""
_LEAST_CELLS = 30
_MOST_LINES = 8


class FormulaFacts(NamedTuple):
    """What is to be said of a formula over some bars."""

    tree: Formula
    canonical: str
    """The same formula as it is known to a cache, a ledger and a pool."""
    identity: str
    """What is left of it that orders instruments."""
    history: History
    """Bars of the last year, the formula's lookback before them not included."""
    members: Bool
    """(T, A) instruments that are ranked."""
    values: Float
    """(T, A) of that year."""
    correlations: dict[str, float]
    """Mean rank correlation with each known factor: among instruments where there are enough, else through time; NaN
    where too few rows have both."""
    among: bool
    """Whether correlations are among instruments."""

    @property
    def coverage(self) -> float:
        """Share of traded cells of the last year in which it has a value."""
        traded = ~np.isnan(self.history.values[:, :, CLOSE])
        return float(np.isfinite(self.values)[traded].mean()) if traded.any() else 0.0

    def quantiles(self) -> dict[str, float]:
        """Least, lower quartile, median, upper quartile and greatest value of the last year; empty without any."""
        seen = self.values[np.isfinite(self.values)]
        if not len(seen):
            return {}
        names, power = ("least", "lower", "median", "upper", "greatest"), _power(seen)
        found = np.quantile(seen / 10.0**power, [0, 0.25, 0.5, 0.75, 1]) * 10.0**power
        return dict(zip(names, found.tolist(), strict=True))


def explain(text: str, history: History) -> FormulaFacts:
    """Read a formula and look at it over the last year of some bars.

    Parameters
    ----------
    text
        The formula, with or without ``alpha:`` before it.
    history
        Bars; what lies before the last 365 days counts as its lookback alone.

    Raises
    ------
    UserError
        Where the text is no formula of these bars, where it compares more instruments than there are, or where they
        are fewer than it looks back.
    """
    tree, n = parse(text.removeprefix("alpha:"), history.columns), len(history.instruments)
    if n < tree.least:
        raise UserError(
            f"formula {tree.text!r} compares instruments and needs {tree.least} or more, but the data have {n}; take "
            "more, or a formula without rank, zscore and leader."
        )
    if tree.lookback > len(history):
        raise UserError(f"formula {tree.text!r} looks back {tree.lookback:,} bars; the data have {len(history):,}.")
    evaluator = Evaluator(history.values, history.time, history.bar_ns, history.columns)
    first = max(tree.lookback - 1, int(np.searchsorted(history.time, int(history.time[-1]) - YEAR, side="right")))
    year = slice(first, len(history))
    members = universe(history.values)[year]
    values = evaluator.value(tree)[year]
    factors = {name: evaluator.value(parse(factor))[year] for name, factor in FACTORS.items()}
    among = n >= LEAST_MEMBERS
    found = {name: _resemblance(values, other, members, among=among) for name, other in factors.items()}
    part = history.rows(first, len(history))
    return FormulaFacts(tree, canonical(tree).text, identity(tree).text, part, members, values, found, among)


def _resemblance(one: Float, other: Float, members: Bool, *, among: bool) -> float:
    """Mean rank correlation: of each row among the members, or of each instrument through time."""
    both = np.isfinite(one) & np.isfinite(other)
    if among:
        both &= members
    else:
        one, other, both = one.T, other.T, both.T
    least, found = LEAST_MEMBERS if among else _LEAST_CELLS, []
    for x, y, there in zip(one, other, both, strict=True):
        if there.sum() >= least:
            a, b = rankdata(x[there]), rankdata(y[there])
            spread = float(a.std() * b.std())
            found.append(float(np.mean((a - a.mean()) * (b - b.mean()))) / spread if spread > 0.0 else 0.0)
    return float(np.mean(found)) if found else float("nan")


def formula_figure(facts: FormulaFacts) -> Figure:
    """Draw a formula's last year: its values, and below them how they are spread.

    A line for each of at most eight instruments; of more, the median, the middle half and four fifths of all, and the
    one that trades most.
    """
    history, power = facts.history, _power(facts.values[np.isfinite(facts.values)])
    facts = facts._replace(values=facts.values / 10.0**power)
    figure = sheet(10.0, 5.6)
    values, spread = figure.subplots(1, 2, width_ratios=(4, 1), sharey=True)
    when = history.time.astype("datetime64[ns]")
    if len(history.instruments) <= _MOST_LINES:
        _lines(values, when, facts)
    else:
        _bands(values, when, facts)
    seen = facts.values[np.isfinite(facts.values)]
    spread.hist(seen, bins=60, range=_ends(seen), orientation="horizontal", color=PALETTE[0], alpha=0.75)
    spread.set_xlabel("cells", color=INK)
    for ax in (values, spread):
        ax.grid(color=GRID, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=FAINT, labelsize=8)
    if len(seen):
        low, high = _ends(np.quantile(seen, [0.001, 0.999]))
        room = 0.05 * (high - low)
        values.set_ylim(low - room, high + room)
    values.set_ylabel(f"{facts.tree.unit}{f', in 1e{power}' if power else ''}", color=INK)
    values.set_title(f"{marked(history.source)}{facts.tree.text}", loc="left", color=INK, fontsize=11, wrap=True)
    return figure


def _power(seen: Float) -> int:
    """Power of ten to draw numbers in: 0 unless they are so large or small that their differences are no numbers."""
    largest = float(np.abs(seen).max(initial=0.0))
    return 0 if largest == 0.0 or 1e-100 < largest < 1e100 else max(-300, math.floor(math.log10(largest)))


def _ends(seen: Float) -> tuple[float, float]:
    """What an axis spans: from least to greatest, or where they are one but for rounding, as much as they measure."""
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 0.0)
    size = max(abs(low), abs(high))
    if high - low > 1e-9 * size:
        return low, high
    room = 0.5 * size or 0.5
    return low - room, high + room


def _lines(ax: Axes, when: NDArray[np.datetime64], facts: FormulaFacts) -> None:
    for k, symbol in enumerate(facts.history.symbols):
        ax.plot(when, facts.values[:, k], color=PALETTE[k % len(PALETTE)], linewidth=0.7, label=symbol)
    ax.legend(frameon=False, fontsize=8, ncols=4, loc="upper left")


def _bands(ax: Axes, when: NDArray[np.datetime64], facts: FormulaFacts) -> None:
    rows = np.isfinite(facts.values).any(axis=1)
    if not rows.any():
        return
    lowest, low, middle, high, highest = np.nanquantile(facts.values[rows], [0.1, 0.25, 0.5, 0.75, 0.9], axis=1)
    ax.fill_between(when[rows], lowest, highest, color=PALETTE[0], alpha=0.15, linewidth=0, label="four fifths")
    ax.fill_between(when[rows], low, high, color=PALETTE[0], alpha=0.3, linewidth=0, label="half")
    ax.plot(when[rows], middle, color=PALETTE[1], linewidth=0.9, label="median of instruments")
    bars = facts.history.values
    largest = int(np.nanargmax(np.nansum(bars[:, :, CLOSE] * bars[:, :, VOLUME], axis=0)))
    name = facts.history.symbols[largest]
    ax.plot(when, facts.values[:, largest], color=INK, linewidth=0.5, label=f"{name}, which trades most")
    ax.legend(frameon=False, fontsize=8, ncols=4, loc="upper left")


def span(n_bars: int, bar_ns: int) -> str:
    """A number of bars as time: hours below two days, else days."""
    hours = n_bars * bar_ns / (DAY / 24)
    return f"{hours:.3g} h" if hours < 48 else f"{hours / 24:.3g} d"
