"""Who belongs to a universe: a column of bars like any other, and the rule that goes with it.

The column says after each bar who may be bought. Who may not, because the universe left it, is held until it is sold:
what is ordered of it can only reduce its position. `qframe_rl.feeds.universe` makes the column.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qframe_rl.orders import REDUCE_ONLY, is_plain, merged, orders_of, slots_of
from qframe_rl.types import OHLCV, Bool, Float, Orders

_QUANTITY, _FLAGS = Orders._fields.index("quantity"), Orders._fields.index("flags")
MEMBER = "in_universe"
"""Name of the column: 1 = in the universe, 0 = outside, NaN where an instrument did not trade."""


def member_channel(columns: Sequence[str]) -> int:
    """Channel of bars that is the column, by the names of the channels after volume; 0 = there is none: all are in."""
    return len(OHLCV) + columns.index(MEMBER) if MEMBER in columns else 0


def outsiders(values: Float, channel: int) -> Bool:
    """(..., A) whether an instrument is outside, from (..., A, C) channels of bars."""
    if channel == 0:
        return np.zeros(values.shape[:-1], dtype=np.bool_)
    return np.asarray(values[..., channel] == 0.0)


def reducing(orders: Orders, position: Float, outside: Bool, resting: Orders | None = None) -> Orders:
    """Orders of which those for instruments that are outside have no more than their closing part left.

    Parameters
    ----------
    orders
        (A,) quantities and prices; or (A, K): there they become reduce-only, and so does what rests.
    position
        (A,) signed base units.
    outside
        (A,).
    resting
        (A, K) what stands in slots.
    """
    if not outside.any():
        return orders
    if not is_plain(orders):
        asked = slots_of(orders)
        whole = merged(asked, asked[..., :0] if resting is None else slots_of(resting))
        free = outside[:, None] & (whole[:, _QUANTITY] != 0.0) & (whole[:, _FLAGS] < REDUCE_ONLY)
        whole[:, _FLAGS][free] += REDUCE_ONLY
        return orders_of(np.where(free[:, None], whole, asked))
    quantity = np.asarray(orders.quantity, dtype=np.float64)
    opposite = np.where(quantity > 0.0, -position, position)
    least = np.minimum(np.abs(quantity), np.maximum(opposite, 0.0))
    closing = np.where(quantity > 0.0, least, -least)
    closing = np.where(closing == 0.0, 0.0, closing)
    return orders._replace(quantity=np.where(outside, closing, quantity))
