"""Implementation shortfall: what working an order cost against the price at which it was decided.

Of a parent of Q units that was decided at price A, of which q filled at the average price P for a fee F, while the
price stood at E when the strategy decided anew, it is ``q (P - A) + F + (Q - q)(E - A)``, Q and q signed (Perold, The
implementation shortfall, 1988): what was paid beyond the price that was seen, and what was missed on the rest. It is
counted in basis points of ``|Q| A``. Two ways to work orders are compared by pairs: parents of the same instrument, at
the same time, to the same side.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.evaluate.inference.bootstrap import (
    LEVEL,
    RESAMPLES,
    Interval,
    block_length,
    blocks,
    bootstrap,
    widening,
)
from qframe_rl.evaluate.metrics import bars_per_year, beside
from qframe_rl.execution import ParentOrder
from qframe_rl.types import Float, Record


class Shortfall(NamedTuple):
    """How a way to work orders stands to another."""

    trades: int
    """Pairs of parents."""
    parents: int
    """Parents that were worked; those without a partner are in no pair."""
    filled: float
    """Share that filled, mean over parents."""
    other: float
    """Shortfall of the other way, mean over the pairs, basis points."""
    difference: Interval
    """Shortfall of this way less that of the other, mean over pairs, basis points: below 0 it is cheaper."""
    growth: Interval
    """Log growth of equity a year, less that of the other way: what trades leave out is in it."""

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return self._asdict() | {"difference": self.difference._asdict(), "growth": self.growth._asdict()}


def shortfall_bps(one: ParentOrder) -> float:
    """Shortfall of a parent, basis points of its value when it was ordered."""
    paid = one.filled * (one.price - one.arrival) + one.fee + (one.quantity - one.filled) * (one.end - one.arrival)
    return float(1e4 * paid / (abs(one.quantity) * one.arrival))


def shortfall(
    these: Iterable[ParentOrder], others: Iterable[ParentOrder], record: Record, other: Record,
    *, level: float = LEVEL, n_resamples: int = RESAMPLES,
) -> Shortfall | None:  # fmt: skip
    """Compare two ways to work the orders of one strategy on the same bars.

    Parameters
    ----------
    these, others
        Parents of this way and of the other.
    record, other
        What came of the accounts.
    level, n_resamples
        Of the intervals.

    Returns
    -------
    Shortfall or None
        None where there is no pair.
    """
    these = list(these)
    by = {(o.time, o.instrument, o.quantity > 0.0): o for o in others}
    pairs = [(o, by[o.time, o.instrument, o.quantity > 0.0]) for o in these
             if (o.time, o.instrument, o.quantity > 0.0) in by]  # fmt: skip
    if not pairs:
        return None
    costs = np.array([[shortfall_bps(one) for one in pair] for pair in pairs])
    longer = max(record, other, key=len)
    return Shortfall(
        len(pairs),
        len(these),
        float(np.mean([o.filled / o.quantity for o in these])),
        float(costs[:, 1].mean()),
        mean_interval(costs[:, 0] - costs[:, 1], level=level, n_resamples=n_resamples),
        bootstrap(beside(record, other), bars_per_year(longer), level=level, n_resamples=n_resamples).growth,
    )


def mean_interval(
    values: Float, *, level: float = LEVEL, n_resamples: int = RESAMPLES, seed: int = 0
) -> Interval:  # fmt: skip
    """Percentile interval of a mean by the stationary bootstrap, widened as in `bootstrap`.

    Parameters
    ----------
    values
        (n,) in the order of time, at least one.
    level, n_resamples, seed
        As in `bootstrap`.
    """
    n, block, mean = len(values), block_length(values), float(values.mean())
    drawn = np.array([values[blocks(n, n, block, seed, path)].mean() for path in range(n_resamples)])
    ends = mean + (np.quantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0]) - mean) * widening(n, block)
    return Interval(mean, float(ends[0]), float(ends[1]), level)
