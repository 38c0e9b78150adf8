"""Charts and tables as plain data: drawn once by Matplotlib and once by a browser, from the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from qframe_rl.types import SECOND, Float, Int

Kind = Literal["line", "band", "bars", "points", "step", "up", "down"]
Axis = Literal["time", "number", "category"]
Format = Literal["number", "percent", "money", "short"]
POINTS = 1200
"""Points of a line at most."""


@dataclass(frozen=True)
class ChartSeries:
    """One thing in a chart."""

    name: str
    """In the legend; empty = not in it."""
    x: Sequence[float | str]
    """Seconds since 1970 for a time axis, numbers, or names of categories."""
    y: Sequence[float]
    kind: Kind = "line"
    """``up`` and ``down`` are triangles; a ``band`` reaches from ``y`` to ``y2``."""
    y2: Sequence[float] | None = None
    colour: int = 0
    """Place in the palette; -1 = ink, -2 = faint."""
    width: float = 1.4
    opacity: float = 1.0
    right: bool = False
    """Whether it is read on the axis to the right."""


@dataclass(frozen=True)
class Chart:
    """One chart."""

    title: str
    series: tuple[ChartSeries, ...]
    x: Axis = "time"
    y: Format = "number"
    y_label: str = ""
    x_label: str = ""
    log: bool = False
    height: float = 1.0
    """Of the usual height."""
    note: str = ""
    lines: tuple[tuple[float, str], ...] = ()
    """Horizontal lines: where, and what they are."""
    marks: tuple[tuple[float, str], ...] = ()
    """Vertical lines: where, and what they are."""


@dataclass(frozen=True)
class Table:
    """One table; cells are text."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    heat: tuple[tuple[float | None, ...], ...] | None = None
    """A number from -1 (bad) to 1 (good) for the colour of each cell."""
    note: str = ""
    left: int = 1
    """Columns from the left that hold words."""

    def part(self, start: int, stop: int) -> Table:
        """Rows ``start`` to ``stop``, exclusive, as a table of their own."""
        heat = None if self.heat is None else self.heat[start:stop]
        return replace(self, title="(continued)" if start else self.title, rows=self.rows[start:stop], heat=heat)


@dataclass(frozen=True)
class Section:
    """One part of a report."""

    title: str
    text: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    tables_first: bool = False
    """Whether tables stand before charts."""


@dataclass(frozen=True)
class Report:
    """A report: the verdict first."""

    title: str
    headline: str
    colour: str
    reasons: tuple[str, ...]
    sections: tuple[Section, ...] = field(default=())
    note: str = ""
    """Where the data are from; at the foot of every page."""


def thinned(values: Float, points: int, keep: Literal["last", "low"] = "last") -> tuple[Int, Float]:
    """Leave at most some points of a curve.

    Parameters
    ----------
    values
        (N,) numbers.
    points
        Stretches that the curve is cut into; of one that has no more values than that all are left.
    keep
        Of each stretch: its last value (and the first of all besides), or its lowest.

    Returns
    -------
    tuple
        Rows of the points that are left, and their values. With ``low`` a row is the end of its stretch.
    """
    if len(values) <= points:
        return np.arange(len(values)), values
    edges = np.linspace(0, len(values), points + 1).round().astype(np.int64)
    if keep == "last":
        rows = np.unique(np.concatenate([[0], edges[1:] - 1]))
        return rows, values[rows]
    return edges[1:] - 1, np.minimum.reduceat(values, edges[:-1])


def plain(values: Float | Sequence[float]) -> list[float]:
    """Numbers with six digits, to keep a page small; what is not finite becomes 0."""
    return [float(f"{v:.6g}") if np.isfinite(v) else 0.0 for v in np.asarray(values, dtype=np.float64)]


def seconds(times: Int) -> list[float]:
    """Seconds since 1970 of times in ns, for a time axis."""
    return [float(t) for t in (times // SECOND).tolist()]
