"""The micro-price: where the mid price is expected to be after many moves, given the best queues and the spread.

Source: Stoikov, The micro-price: a high-frequency estimator of future prices, Quantitative Finance 18 (2018). A state
is a bucket of the imbalance and a spread in ticks. States without a move of the mid between them are the transient ones
of an absorbing chain: Q are the chances of going on, R those of moving to a state, k the mean move. The mid is expected
to have moved by g1 = (1 - Q)^-1 k after one move, and by g = g1 + B g1 + B^2 g1 + ... after all, B = (1 - Q)^-1 R. What
is counted is counted a second time with the sides exchanged, without which the sum would have no end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.book.state import BUY, SELL
from qframe_rl.config import UserError
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Float, Int

_MOST_MOVES = 100_000
_SMALL = 1e-12


class MicroPrice(NamedTuple):
    """The fitted micro-price, as plain numbers."""

    lean: Float
    """(S, I) micro-price less mid price, ticks, by spread (from one tick; the last: and wider) and imbalance."""

    def of(self, quotes: Int) -> Float:
        """(N,) micro-prices in ticks of (N, 2, 2) best quotes: bid and ask, tick and lots."""
        out = np.empty(len(quotes))
        _prices(self.lean, np.ascontiguousarray(quotes), out)
        return out

    def state(self) -> dict[str, Float]:
        """What is stored."""
        return {"lean": self.lean}


def restored_micro(state: Mapping[str, Any]) -> MicroPrice:
    """The micro-price that was stored.

    Raises
    ------
    UserError
        If it is none.
    """
    lean = np.array(state["lean"], dtype=np.float64) if "lean" in state else np.zeros(0)
    if lean.ndim != 2 or not lean.size or lean.shape[1] % 2 == 0 or not np.isfinite(lean).all():
        raise UserError("a stored micro-price has 'lean', finite numbers by spread and by an odd number of imbalances.")
    return MicroPrice(lean)


def fit_micro(quotes: Int, n_imbalances: int = 9, n_spreads: int = 3) -> MicroPrice:
    """Fit the micro-price to best quotes, of training rows alone.

    Parameters
    ----------
    quotes
        (N, 2, 2) best quotes after each message in their order: bid and ask, tick and lots; a row without a bid or an
        ask ends a stretch, and another begins behind it.
    n_imbalances
        I, odd: a balanced book does not lean.
    n_spreads
        S.

    Raises
    ------
    UserError
        If a number is none of these, the mid price never moves, or its moves do not come to an end.
    """
    if n_imbalances < 1 or n_imbalances % 2 == 0 or n_spreads < 1:
        raise UserError(f"a micro-price has an odd number of imbalances, not {n_imbalances}, and a spread or more.")
    n = n_imbalances * n_spreads
    stays, moves, by = np.zeros((n, n)), np.zeros((n, n)), np.zeros(n)
    _counted(np.ascontiguousarray(quotes), n_spreads, n_imbalances, stays, moves, by)
    if not moves.any():
        raise UserError("the mid price never moves in the rows that the micro-price is fitted to.")
    table = _summed(stays, moves, by).reshape(n_spreads, n_imbalances)
    return MicroPrice(0.5 * (table - table[:, ::-1]))


def _summed(stays: Float, moves: Float, by: Float) -> Float:
    """(S * I,) the expected move after all moves."""
    n, seen = len(by), np.maximum((stays + moves).sum(axis=1), 1.0)
    try:
        solved = np.linalg.solve(np.eye(n) - stays / seen[:, None], np.column_stack([by / seen, moves / seen[:, None]]))
    except np.linalg.LinAlgError:
        solved = np.full((n, n + 1), np.nan)
    lean, onward = solved[:, 0], solved[:, 1:]
    term = lean.copy()
    for _ in range(_MOST_MOVES):
        term = onward @ term
        lean = lean + term
        if not np.abs(term).max() > _SMALL:
            break
    if not np.isfinite(lean).all() or np.abs(term).max() > _SMALL:
        raise UserError("the moves of the mid price do not come to an end; fit the micro-price to more rows.")
    return lean


@inlined
def _place(n_spreads: int, n_imbalances: int, spread: int, bid_lots: int, ask_lots: int) -> tuple[int, int]:
    return min(max(spread, 1), n_spreads) - 1, min(bid_lots * n_imbalances // (bid_lots + ask_lots), n_imbalances - 1)


@inlined
def lean_of(lean: Float, bid: int, bid_lots: int, ask: int, ask_lots: int) -> float:
    """Micro-price less mid price, ticks.

    Parameters
    ----------
    lean
        (S, I).
    bid, bid_lots, ask, ask_lots
        Best prices, and what stands there.
    """
    s, i = _place(lean.shape[0], lean.shape[1], ask - bid, bid_lots, ask_lots)
    return float(lean[s, i])


@compiled
def _prices(lean: Float, quotes: Int, out: Float) -> None:
    for k in range(len(quotes)):
        bid, bid_lots, ask, ask_lots = quotes[k, BUY, 0], quotes[k, BUY, 1], quotes[k, SELL, 0], quotes[k, SELL, 1]
        out[k] = np.nan
        if bid_lots > 0 and ask_lots > 0:
            out[k] = 0.5 * (bid + ask) + lean_of(lean, bid, bid_lots, ask, ask_lots)


@compiled
def _counted(quotes: Int, n_spreads: int, n_imbalances: int, stays: Float, moves: Float, by: Float) -> None:
    """Count what follows what; ``by`` sums moves in ticks."""
    before, mid2 = -1, 0
    for k in range(len(quotes)):
        bid, bid_lots, ask, ask_lots = quotes[k, BUY, 0], quotes[k, BUY, 1], quotes[k, SELL, 0], quotes[k, SELL, 1]
        if bid_lots == 0 or ask_lots == 0:
            before = -1
            continue
        s, i = _place(n_spreads, n_imbalances, ask - bid, bid_lots, ask_lots)
        now, step = s * n_imbalances + i, bid + ask - mid2
        if before >= 0:
            # Exchanging the sides turns bucket i into I - 1 - i.
            other_before = before + n_imbalances - 1 - 2 * (before % n_imbalances)
            other = now + n_imbalances - 1 - 2 * i
            if step == 0:
                stays[before, now] += 1.0
                stays[other_before, other] += 1.0
            else:
                moves[before, now] += 1.0
                moves[other_before, other] += 1.0
                by[before] += 0.5 * step
                by[other_before] -= 0.5 * step
        before, mid2 = now, bid + ask
