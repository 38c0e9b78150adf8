"""Which of two queues at the best prices is empty first: the direction of the next move of the price.

Source: Cont & de Larrard, Price dynamics in a Markovian limit order market, SIAM Journal on Financial Mathematics 4
(2013), proposition 2: orders of one lot, and on each side joins that are as frequent as cancels and market orders
together.
"""

from __future__ import annotations

import numpy as np

from qframe_rl.config import UserError

_NODES = 128
"""Points of the quadrature, and as many again for each two lots: the integrand waves as often as there are lots."""


def rise_probability(n_bid: int, n_ask: int) -> float:
    """Probability that the ask's queue is empty before the bid's.

    Parameters
    ----------
    n_bid, n_ask
        Lots at the best bid and at the best ask, at least one.

    Raises
    ------
    UserError
        If a queue is empty.
    """
    if min(n_bid, n_ask) < 1:
        raise UserError(f"a queue race needs a lot in each queue, not {n_bid} and {n_ask}.")
    nodes, weights = np.polynomial.legendre.leggauss(_NODES + (n_bid + n_ask) // 2)
    t = 0.5 * np.pi * (nodes + 1.0)
    c = 2.0 - np.cos(t)
    root = c - np.sqrt((c - 1.0) * (c + 1.0))
    values = root**n_ask * np.sin(n_bid * t) * np.cos(0.5 * t) / np.sin(0.5 * t)
    return float(0.5 * weights @ values)
