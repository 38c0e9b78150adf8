"""What a formula earns as a book of long and short positions, after costs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qframe_rl.alpha.operators import LEAST_MEMBERS, MOST_SAID
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


def net_book(stand: Float, bars: Float, n_ahead: int, cost: float, funding: Float | None = None) -> NetBook:
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
    funding
        (T, A) rates of perpetuals that fall due in each bar; longs pay what is above zero. None = no funding.

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
    return held_book(stand, moves(bars, funding), n_ahead, cost)


def moves(bars: Float, funding: Float | None = None) -> Float:
    """What a unit of money decided on at each close makes of one bar.

    Parameters
    ----------
    bars
        (T, A, C) channels.
    funding
        (T, A) rates that fall due in each bar, on what was held before it; None = no funding.

    Returns
    -------
    Float
        (T, A): from the next open to the open after that, fractions, less the funding that fell due in between; 0
        where there is no price. The last two rows are NaN.
    """
    out = np.full(bars.shape[:2], np.nan)
    _moves(bars, np.empty((2, bars.shape[1])), out)
    if funding is not None:
        due = np.nan_to_num(funding[2:] * bars[1:-1, :, CLOSE] / bars[1:-1, :, OPEN], posinf=0.0, neginf=0.0)
        out[:-2] -= due
    return out


def held_book(stand: Float, moves: Float, n_ahead: int, cost: float) -> NetBook:
    """Trade what a formula or a pool says, as `net_book` does, on given moves of the instruments.

    Parameters
    ----------
    stand
        (T, A) from `qframe_rl.alpha.said.said`, or a weighted sum of such; NaN is no position.
    moves
        (T, A) from `moves`; rows of NaN are not traded.
    n_ahead, cost
        As `net_book` has them.

    Returns
    -------
    NetBook
        Of fewer than `qframe_rl.alpha.operators.LEAST_MEMBERS` instruments each decision holds its share of a full
        position in each: what it says over the most that it can say, over the number of instruments.
    """
    weights = positions(stand, n_ahead)
    weights[np.isnan(moves).any(axis=1)] = 0.0
    book = NetBook(np.zeros(len(stand)), np.zeros(len(stand)), weights)
    _trade(moves, cost, np.zeros(stand.shape[1]), *book)
    return book


def positions(stand: Float, n_ahead: int, *, shorting: bool = True) -> Float:
    """Hold what a formula or a pool says: the mean of the last decisions.

    Parameters
    ----------
    stand
        (T, A) from `qframe_rl.alpha.said`; NaN is no position.
    n_ahead
        Decisions that are averaged, h; before the first row there were none.
    shorting
        Whether what is said to fall is sold short; else it is not held, and what is said to rise is held in its place.

    Returns
    -------
    Float
        (T, A) signed fractions of the book, whose sizes sum to at most 1.
    """
    n = stand.shape[1]
    few = n * MOST_SAID if n < LEAST_MEMBERS else 0.0
    out = np.zeros(stand.shape)
    _hold(np.where(np.isnan(stand) | (not shorting) & (stand < 0.0), 0.0, stand), n_ahead, few, out)
    return out


@compiled
def _hold(wanted: Float, h: int, few: float, out: Float) -> None:
    """Write means of decisions; ``wanted`` (T, A) is scaled in place to sizes that sum to 1, or by ``few``."""
    for t in range(len(wanted)):
        total = few
        for a in range(wanted.shape[1]):
            total += abs(wanted[t, a]) if few == 0.0 else 0.0
        for a in range(wanted.shape[1]):
            wanted[t, a] = wanted[t, a] / total if total > 0.0 else 0.0
        for k in range(max(0, t - h + 1), t + 1):
            for a in range(wanted.shape[1]):
                out[t, a] += wanted[k, a]
        for a in range(wanted.shape[1]):
            out[t, a] /= h


@compiled
def _trade(moves: Float, cost: float, held: Float, returns: Float, turnover: Float, weights: Float) -> None:
    n = moves.shape[1]
    for t in range(len(moves)):
        if moves[t, 0] == moves[t, 0]:
            gain, traded = 0.0, 0.0
            for a in range(n):
                traded += abs(weights[t, a] - held[a])
                gain += weights[t, a] * moves[t, a]
            for a in range(n):
                held[a] = weights[t, a] * (1.0 + moves[t, a]) / (1.0 + gain)
            returns[t], turnover[t] = gain - cost * traded, traded


@compiled
def _moves(bars: Float, scratch: Float, out: Float) -> None:
    now, after = scratch[0], scratch[1]
    for a in range(bars.shape[1]):
        now[a] = math.nan
    for t in range(len(bars) - 2):
        for a in range(bars.shape[1]):
            now[a] = _price(bars[t + 1, a, OPEN], bars[t, a, CLOSE], now[a])
            after[a] = _price(bars[t + 2, a, OPEN], bars[t + 1, a, CLOSE], now[a])
            move = after[a] / now[a] - 1.0
            out[t, a] = move if move - move == 0.0 else 0.0  # not listed yet


@compiled
def _price(opening: float, close: float, before: float) -> float:
    """The open, else the close before it, else what was known before."""
    if opening == opening:
        return opening
    return close if close == close else before
