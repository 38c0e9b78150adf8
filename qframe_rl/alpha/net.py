"""What a formula earns as a book of long and short positions, after costs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.alpha.operators import LEAST_MEMBERS
from qframe_rl.config import UserError
from qframe_rl.jit import compiled
from qframe_rl.types import CLOSE, OPEN, YEAR, Float


class NetBook(NamedTuple):
    """A book through time; row t is decided at close t, made at the next open and held to the open after that."""

    returns: Float
    """(T,) of the book per bar, costs taken off, fractions of its size; 0 in rows that are not held."""
    turnover: Float
    """(T,) traded at the next open, fraction of its size."""
    weights: Float
    """(T, A) held, signed fractions of its size; sizes sum to at most 1."""

    def sharpe(self, bar_ns: int) -> float:
        """Sharpe ratio a year of bars of ``bar_ns``; 0 where the returns do not vary."""
        spread = float(self.returns.std(ddof=1)) if len(self.returns) > 1 else 0.0
        return float(self.returns.mean()) / spread * math.sqrt(YEAR / bar_ns) if spread > 0.0 else 0.0


def net_book(stand: Float, bars: Float, n_ahead: int, cost: float) -> NetBook:
    """Trade a formula's ranks.

    The weights of one decision are its z-scored ranks over the sum of their sizes; held is the mean of the last
    ``n_ahead`` decisions, so that each is held as long as the label looks ahead. Between bars weights drift with
    prices. An instrument without an open is valued at its last close.

    Parameters
    ----------
    stand
        (T, A) from `qframe_rl.alpha.score.standing`; NaN is no position.
    bars
        (T, A, C) channels.
    n_ahead
        Decisions that are averaged, h.
    cost
        Fee and half-spread, as a fraction of what is traded.

    Returns
    -------
    NetBook
        The last two rows hold nothing: the opens that they need are not there.

    Raises
    ------
    UserError
        For fewer instruments than are ranked, where ranks make no book.
    """
    if stand.shape[1] < LEAST_MEMBERS:
        raise UserError(f"a book of ranks needs {LEAST_MEMBERS} instruments or more, not {stand.shape[1]}.")
    shape = stand.shape
    book = NetBook(np.zeros(shape[0]), np.zeros(shape[0]), np.zeros(shape))
    _trade(stand, bars, n_ahead, cost, np.zeros((4, shape[1])), *book)
    return book


@compiled
def _trade(
    stand: Float, bars: Float, h: int, cost: float, scratch: Float, returns: Float, turnover: Float, weights: Float
) -> None:
    now, after, held, size = scratch[0], scratch[1], scratch[2], scratch[3]
    n = stand.shape[1]
    for a in range(n):
        now[a] = math.nan
    for t in range(len(stand) - 2):
        for k in range(max(0, t - h + 1), t + 1):
            total = 0.0
            for a in range(n):
                total += abs(stand[k, a]) if stand[k, a] == stand[k, a] else 0.0
            for a in range(n):
                weights[t, a] += stand[k, a] / total / h if total > 0.0 and stand[k, a] == stand[k, a] else 0.0
        gain, traded = 0.0, 0.0
        for a in range(n):
            now[a] = _price(bars[t + 1, a, OPEN], bars[t, a, CLOSE], now[a])
            after[a] = _price(bars[t + 2, a, OPEN], bars[t + 1, a, CLOSE], now[a])
            size[a] = after[a] / now[a]
            size[a] = size[a] if size[a] - size[a] == 0.0 else 1.0  # not listed yet
            traded += abs(weights[t, a] - held[a])
            gain += weights[t, a] * (size[a] - 1.0)
        for a in range(n):
            held[a] = weights[t, a] * size[a] / (1.0 + gain)
        returns[t], turnover[t] = gain - cost * traded, traded


@compiled
def _price(opening: float, close: float, before: float) -> float:
    """The open, else the close before it, else what was known before."""
    if opening == opening:
        return opening
    return close if close == close else before
