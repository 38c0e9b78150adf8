"""How mined formulas did on years that they had not seen, and how they stand to the same search on shuffled returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qframe_rl.evaluate.plot import FAINT, INK, PALETTE, panels
from qframe_rl.types import Float, Int

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def alpha_figure(
    courses: Mapping[str, tuple[Int, Float]], values: Mapping[int, float], nulls: Mapping[int, Sequence[float]],
    title: str,
) -> Figure:  # fmt: skip
    """Draw it.

    Parameters
    ----------
    courses
        Of each way of choosing formulas: closes (N,), ns UTC, and net returns per bar (N,).
    values
        J of the pool of each year, on the bars that it was mined on.
    nulls
        The same where returns were shuffled.
    title
        Of the sheet.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    figure, (left, right) = panels(2, title, 6.0, 3.8, 12.0, 0.6)
    for (name, (times, returns)), colour in zip(courses.items(), PALETTE, strict=False):
        at = times.astype("datetime64[ns]")
        left.plot(at, 100.0 * np.cumsum(returns), color=colour, linewidth=1.6 if name == "pool" else 1.0, label=name)
    dates = AutoDateLocator()  # type: ignore[no-untyped-call]
    left.xaxis.set_major_locator(dates)
    left.xaxis.set_major_formatter(ConciseDateFormatter(dates))  # type: ignore[no-untyped-call]
    left.axhline(0.0, color=FAINT, linewidth=0.8)
    left.set_ylabel("sum of net returns, % of the book")
    left.legend(loc="upper left", frameon=False)
    for k, (year, value) in enumerate(values.items()):
        right.plot([value], [k], "D", color=PALETTE[0], label="mined" if k == 0 else None)
        right.plot(nulls.get(year, ()), [k] * len(nulls.get(year, ())), "|", color=INK, markersize=12,
                   label="on shuffled returns" if k == 0 else None)  # fmt: skip
    right.set_yticks(range(len(values)), [f"before {year}" for year in values])
    right.set_xlabel("J on the bars that were mined")
    right.legend(loc="best", frameon=False)
    return figure
