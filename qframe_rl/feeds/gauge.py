"""The leak gauge: whether a joined column knows the bar that is still to come.

What people write and measure echoes the bar that was; it hardly knows the next one. A column that does was most often
joined before it was known: stamped by the day it speaks of, or with a delay that is too short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.types import CLOSE, Float, History

LEAST_PAIRS, MOST_ROWS = 30, 200_000
"""Bars with a value and a return, below which nothing is said; and bars beyond which every second, third ... counts."""
SURE, GREAT, NOTABLE = 3.0, 0.1, 0.02
"""A column knows too much if what it says of the next bar is more than 3 standard errors from nothing, and at least
.1, or at least .02 and more than it says of the same bar and of the one before: published signals reach .03 to .1."""


class Echo(NamedTuple):
    """Rank correlations (Spearman) of a column with the returns around it, close to close."""

    before: float
    """With the bar before that at whose close it is shown."""
    same: float
    """With that bar."""
    next: float
    """With the bar after it, which is not known yet."""
    error: float
    """Standard error of each if nothing is known: 1 / sqrt(n), n bars of one instrument, as if all instruments were
    one."""

    @property
    def too_good(self) -> bool:
        """Whether it knows more of the next bar than can be true, by the rule of `SURE`."""
        size, seen = abs(self.next), max(abs(self.same), abs(self.before))
        return size > SURE * self.error and (size >= GREAT or (size >= NOTABLE and size > seen))


class Gauge(NamedTuple):
    """What a joined column knows."""

    column: str
    n: int
    """Bars of an instrument with a value and a next bar, on average."""
    blank: float
    """Share of the bars that were traded in which it has no value, before its first one or beyond its age."""
    level: Echo
    """Of its values."""
    change: Echo
    """Of their changes from bar to bar: a price of tomorrow is seen here, in its values it is lost among all others."""

    @property
    def knows_tomorrow(self) -> bool:
        """Whether values or changes know the next bar too well."""
        return self.level.too_good or self.change.too_good

    def lines(self) -> list[str]:
        """In words: what it resembles, and a warning where it knows tomorrow."""
        if self.n < LEAST_PAIRS:
            return [
                f"column {self.column}: it has values in {self.n} bars{self._lacks}, too few to see whether it knows "
                "the next."
            ]
        level = self.level
        said = [
            f"column {self.column}: rank correlation with the return of the bar before {level.before:+.3f}, "
            f"of the same bar {level.same:+.3f}, of the next {level.next:+.3f} \u00b1 {level.error:.3f}; "
            f"of its changes with the next {self.change.next:+.3f} ({self.n:,} bars{self._lacks})"
        ]
        if self.knows_tomorrow:
            said.append(
                f"column {self.column} knows tomorrow: that is too good to be true. Most often its values are stamped "
                "before they were known; look when they were published, and state a longer delay."
            )
        return said

    @property
    def _lacks(self) -> str:
        return f"; none in {self.blank:.1%} of all" if self.blank else ""

    def plain(self) -> dict[str, object]:
        """As JSON has it: null where there are too few bars, or nothing varies."""
        return {
            "column": self.column,
            "bars": self.n,
            "blank": self.blank,
            "level": _plain(self.level),
            "change": _plain(self.change),
            "knows_tomorrow": self.knows_tomorrow,
        }


def gauges(history: History, names: Sequence[str]) -> list[Gauge]:
    """Gauge columns that were joined to bars.

    Parameters
    ----------
    history
        (T, A, C) bars with the columns.
    names
        Those to look at.

    Returns
    -------
    list[Gauge]
        One each. Correlations are those of each instrument over time, averaged by its bars. All bars count, whatever
        period they are in: nothing is chosen by them.

    Raises
    ------
    UserError
        For a name that is no column.
    """
    return [_gauge(history, name) for name in names]


def _gauge(history: History, name: str) -> Gauge:
    if name not in history.columns:
        raise UserError(f"there is no column {name!r}.")
    shown = history.values[:, :, 5 + history.columns.index(name)]
    close = history.values[:, :, CLOSE]
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = np.log(close[1:] / close[:-1])
    blank = np.full((1, close.shape[1]), np.nan)
    returns = np.concatenate([blank, moved])
    n = int((np.isfinite(shown[:-1]) & np.isfinite(returns[1:])).sum(axis=0).mean())
    traded = np.isfinite(close)
    blank_share = float((traded & ~np.isfinite(shown)).sum() / max(1, traded.sum()))
    return Gauge(
        name, n, blank_share, _echo(shown, returns), _echo(np.concatenate([blank, np.diff(shown, axis=0)]), returns)
    )


def _echo(shown: Float, returns: Float) -> Echo:
    """Of (T, A) values and returns of the same rows."""
    blank = np.full((1, shown.shape[1]), np.nan)
    around = (
        np.concatenate([blank, returns[:-1]]),
        returns,
        np.concatenate([returns[1:], blank]),
    )
    found = [_correlation(shown, other) for other in around]
    n = found[2][1]
    return Echo(found[0][0], found[1][0], found[2][0], 1.0 / math.sqrt(n) if n else math.nan)


def _correlation(x: Float, y: Float) -> tuple[float, float]:
    """Mean over instruments of their rank correlations, and how many bars each has on average."""
    weights, found = [], []
    step = -(-len(x) // MOST_ROWS)
    x, y = x[::step], y[::step]
    for a in range(x.shape[1]):
        both = np.isfinite(x[:, a]) & np.isfinite(y[:, a])
        if both.sum() >= LEAST_PAIRS:
            value = _spearman(x[both, a], y[both, a])
            if math.isfinite(value):
                weights.append(int(both.sum()))
                found.append(value)
    if not found:
        return math.nan, 0.0
    return float(np.average(found, weights=weights)), float(np.mean(weights))


def _spearman(x: Float, y: Float) -> float:
    """Correlation of ranks, equal values sharing theirs; NaN where one of the two does not vary."""
    a, b = (_ranks(v) - (len(v) - 1) / 2.0 for v in (x, y))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0.0 else math.nan


def _ranks(x: Float) -> Float:
    """(N,) ranks from 0; equal values have the mean of theirs."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Float = (ends - 1 - (counts - 1) / 2.0)[place]
    return ranks


def _plain(echo: Echo) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in echo._asdict().items()}
