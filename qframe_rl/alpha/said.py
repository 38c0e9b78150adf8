"""What a formula says, and what several say together: one place for scores, searches and agents.

Among `qframe_rl.alpha.operators.LEAST_MEMBERS` instruments and more a formula says how they stand to one another; of
fewer, how each stands to its own past.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qframe_rl.alpha.operators import LEAST_MEMBERS, MOST_SAID, TRAILING
from qframe_rl.alpha.ordered import rank_of_newest
from qframe_rl.alpha.pool import combined
from qframe_rl.alpha.score import standing
from qframe_rl.alpha.tree import Formula
from qframe_rl.types import Bool, Float


def said(values: Float, members: Bool) -> Float:
    """What a formula says of each instrument, whatever its scale; no row knows a later one.

    Parameters
    ----------
    values
        (T, A) of the formula.
    members
        (T, A) the universe.

    Returns
    -------
    Float
        (T, A), NaN outside the universe and where there is no value. Of eight instruments and more
        `qframe_rl.alpha.score.standing`. Of fewer the rank through trailing time, (tsrank over the last 250 rows of the
        same instrument - 1/2) * sqrt(12): between about -sqrt(3) and sqrt(3), with a deviation of 1 if all ranks are
        as likely.
    """
    if values.shape[1] >= LEAST_MEMBERS:
        return standing(values, members)
    out = np.empty(values.shape)
    rank_of_newest(values, TRAILING, out)
    return np.where(members, (out - 0.5) * (2.0 * MOST_SAID), np.nan)


def rows_needed(tree: Formula, n_instruments: int) -> int:
    """Rows that one row of what a formula says is made of, its own included."""
    return tree.lookback + (0 if n_instruments >= LEAST_MEMBERS else TRAILING - 1)


def said_together(stands: Sequence[Float], weight: Float, members: Bool) -> Float:
    """What a weighted pool says.

    Parameters
    ----------
    stands
        (T, A) each, from `said`.
    weight
        (K,) from `qframe_rl.alpha.pool.weights`.
    members
        (T, A) the universe.

    Returns
    -------
    Float
        (T, A): of eight instruments and more how their weighted sums stand to one another; of fewer the weighted mean,
        by the sizes of the weights. NaN where no formula says anything.
    """
    return spoken(combined(stands, weight), weight, members)


def spoken(total: Float, weight: Float, members: Bool) -> Float:
    """What a pool says, of the weighted sum (T, A) of what its formulas say; see `said_together`."""
    if total.shape[1] >= LEAST_MEMBERS:
        return standing(total, members)
    size = float(np.abs(weight).sum())
    return total / size if size > 0.0 else np.where(np.isnan(total), np.nan, 0.0)
