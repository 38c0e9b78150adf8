"""Between money and policies: orders from target exposures, and what a policy sees of an account; compiled."""

from __future__ import annotations

import math

import numpy as np

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.rows import LIMIT, QUANTITY, STOP
from qframe_rl.types import Bool, Float, Int, Single


@compiled
def target_rows(
    target: Float,
    offset: Float,
    equity: Float,
    position: Float,
    mark: Float,
    tradable: Bool,
    row: Int,
    band: float,
    orders: Float,
) -> None:
    """Write the orders that take each account to its target exposures.

    Parameters
    ----------
    target
        (B, A) signed share of equity to hold of each instrument; NaN = leave as it is.
    offset
        (B, A) distance of the limit price from the mark on the passive side, fraction of it; NaN = market order.
    equity, position, mark
        (B,), (B, A), (B, A) the accounts.
    tradable
        (T, A) whether an instrument traded in a bar: where it did not, nothing can be ordered.
    row
        (B,) the bar that just closed, for each account.
    band
        No order where target and exposure differ by no more than this, unless the target is exactly 0.
    orders
        (B, A, 3) overwritten.
    """
    for b in range(len(equity)):
        for a in range(position.shape[1]):
            orders[b, a, LIMIT] = orders[b, a, STOP] = np.nan
            quantity = 0.0
            if tradable[row[b], a] and equity[b] > 0.0 and not math.isnan(target[b, a]):
                quantity = _to_target(target[b, a], position[b, a], mark[b, a], equity[b], band)
            orders[b, a, QUANTITY] = quantity
            if quantity != 0.0 and not math.isnan(offset[b, a]):
                side = 1.0 if quantity > 0.0 else -1.0
                orders[b, a, LIMIT] = mark[b, a] * (1.0 - side * offset[b, a])


@inlined
def _to_target(target: float, held: float, mark: float, equity: float, band: float) -> float:
    if target == 0.0:
        return -held
    if abs(target - held * mark / equity) <= band:
        return 0.0
    return target * equity / mark - held


@compiled
def account_rows(
    equity: Float, position: Float, mark: Float, tradable: Bool, row: Int, bound: float, first: int, out: Single
) -> None:
    """Write what a policy sees of each account: A exposures clipped to ±bound, then A flags of what trades now.

    ``tradable`` (T, A) and ``row`` (B,) are as in `target_rows`; the numbers go to columns ``first``.. of ``out``.
    """
    n = position.shape[1]
    for b in range(len(equity)):
        for a in range(n):
            share = 0.0
            if position[b, a] != 0.0 and equity[b] > 0.0:
                share = min(max(position[b, a] * mark[b, a] / equity[b], -bound), bound)
            out[b, first + a] = share
            out[b, first + n + a] = 1.0 if tradable[row[b], a] else 0.0
