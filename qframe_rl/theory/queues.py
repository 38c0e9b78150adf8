"""Which of two queues at the best prices is empty first: the direction of the next move of the price.

Source: Cont & de Larrard, Price dynamics in a Markovian limit order market, SIAM Journal on Financial Mathematics 4
(2013), proposition 2: orders of one lot, and on each side joins that are as frequent as cancels and market orders
together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.config import UserError
from qframe_rl.types import Float

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


class Race(NamedTuple):
    """Two queues of at most n lots as a Markov chain, one event a step; state ``(bid - 1) n + ask - 1``."""

    move: Float
    """(n², n²) transition probabilities; a queue that empties has both begin anew."""
    drift: Float
    """(n²,) ticks by which the price is expected to move in a step."""
    fresh: Float
    """(n²,) probabilities of the states that queues begin with."""


def race(longest: int, fresh: int) -> Race:
    """The chain: a lot joins a queue or leaves it, each of the four with even chances.

    Parameters
    ----------
    longest
        n, lots beyond which nobody joins.
    fresh
        Longest queue to begin with; all up to it are as likely.

    Raises
    ------
    UserError
        If queues would begin with no lot, or with more than there can be.
    """
    if not 1 <= fresh <= longest:
        raise UserError(f"queues begin with 1 to {fresh} lots, and have {longest} at the most.")
    n = longest
    bid, ask = (part.ravel() for part in np.meshgrid(np.arange(1, n + 1), np.arange(1, n + 1), indexing="ij"))
    begun = np.where((bid <= fresh) & (ask <= fresh), 1.0 / fresh**2, 0.0)
    move, here = np.zeros((n * n, n * n)), np.arange(n * n)
    for d_bid, d_ask in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        to_bid, to_ask = np.minimum(bid + d_bid, n), np.minimum(ask + d_ask, n)
        empty = (to_bid == 0) | (to_ask == 0)
        np.add.at(move, (here[~empty], ((to_bid - 1) * n + to_ask - 1)[~empty]), 0.25)
        move[empty] += 0.25 * begun
    return Race(move, 0.25 * ((ask == 1) * 1.0 - (bid == 1) * 1.0), begun)
