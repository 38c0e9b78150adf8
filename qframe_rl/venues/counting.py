"""What trades and funding of a reading come to, by instrument."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from qframe_rl.kernel.columns import FEE, FUNDING, N_FILLS, PRICE, QUANTITY
from qframe_rl.types import Float


def counted(
    said: Mapping[str, Any],
    ours: Collection[str],
    seen: dict[str, None],
    symbols: Sequence[str],
    tell: Callable[[int, str, float, float, float], None],
) -> tuple[Float, Float]:
    """Count new trades of our orders, each once, and what was paid as funding.

    Parameters
    ----------
    said
        The reading.
    ours
        Ids of our orders.
    seen
        Ids of what was counted; those that are counted now are added.
    symbols
        Of the A instruments.
    tell
        Told of each trade: instrument, order, base units that came in, price, and fee.

    Returns
    -------
    tuple[Float, Float]
        (A, 9) fills, and (A,) base units that the orders filled.
    """
    n = len(symbols)
    columns = np.zeros((n, N_FILLS))
    cost, gross = np.zeros(n), np.zeros(n)
    for one in said["trades"]:
        if one["id"] in seen or one["order"] not in ours:
            continue
        seen[one["id"]] = None
        a = symbols.index(one["symbol"])
        came = one["quantity"] - one["fee_base"]
        columns[a, QUANTITY] += came
        gross[a] += one["quantity"]
        # A fee in the coin is no part of the price: less of the coin came in.
        cost[a] += came * one["price"]
        columns[a, FEE] += one["fee"]
        tell(a, one["order"], came, one["price"], one["fee"])
    for number, (symbol, paid) in said["funding"].items():
        seen[number] = None
        columns[symbols.index(symbol), FUNDING] += paid
    filled = columns[:, QUANTITY]
    columns[:, PRICE] = np.divide(cost, filled, out=np.zeros(n), where=filled != 0.0)
    return columns, gross
