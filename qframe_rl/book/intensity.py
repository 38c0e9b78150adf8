"""How often trades reach how far from the mid price: A exp(-k d), what quoting in a book stands on.

Source: Avellaneda & Stoikov, High-frequency trading in a limit order book, Quantitative Finance 8 (2008), section 2.5.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.book.state import BUY
from qframe_rl.book.tape import NO_ASK, NO_BID, Tape
from qframe_rl.types import Float

_FARTHEST = 200
_FEWEST = 10
"""Trades that a distance must have been reached by, to count."""


class Intensity(NamedTuple):
    """Trades of one side a second that reach a distance of d ticks or more from the mid price: A exp(-k d)."""

    intensity: float
    """A, a second; 0 where there were none."""
    decay: float
    """k, per tick."""


def fit_intensity(tape: Tape, start: int, stop: int) -> Intensity:
    """Fit both to the trades of a time, as `fit_reach` does.

    What one order took at several prices is one trade: prints of one moment and side count once, by the farthest.

    Parameters
    ----------
    tape
        The market.
    start, stop
        The time, exchange's clock, ns.
    """
    rows = tape.trades[(tape.exchange_ns[tape.trades] >= start) & (tape.exchange_ns[tape.trades] <= stop)]
    rows = rows[rows > 0]
    bid, ask = tape.bid[rows - 1], tape.ask[rows - 1]
    whole = (bid != NO_BID) & (ask != NO_ASK)
    rows, mid = rows[whole], 0.5 * (bid + ask)[whole]
    if not len(rows) or stop <= start:
        return Intensity(0.0, 1.0)
    reach = np.where(tape.side[rows] == BUY, tape.tick[rows] - mid, mid - tape.tick[rows])
    order = np.stack([tape.exchange_ns[rows], tape.side[rows]], axis=1)
    _, which = np.unique(order, axis=0, return_inverse=True)
    farthest = np.full(int(which.max()) + 1, -np.inf)
    np.maximum.at(farthest, which.reshape(-1), reach)
    return fit_reach(farthest, (stop - start) / 1e9)


def fit_reach(farthest: Float, seconds: float) -> Intensity:
    """Fit both to trades, by least squares of the logarithm, each distance weighted by the trades that reached it.

    Parameters
    ----------
    farthest
        (n,) how far from the mid price before it each trade of either side reached, ticks.
    seconds
        In which they were.
    """
    distance = np.arange(_FARTHEST) + 0.5
    count: Float = (farthest[None, :] >= distance[:, None]).sum(axis=1).astype(np.float64)
    kept = count >= _FEWEST
    if kept.sum() < 2:
        return Intensity(len(farthest) / (2.0 * seconds), 1.0)
    d, y, w = distance[kept], np.log(count[kept] / (2.0 * seconds)), count[kept]
    mean_d, mean_y = np.average(d, weights=w), np.average(y, weights=w)
    decay = -float((w * (d - mean_d) * (y - mean_y)).sum() / (w * (d - mean_d) ** 2).sum())
    decay = max(decay, 1e-6)
    return Intensity(float(np.exp(mean_y + decay * mean_d)), decay)
