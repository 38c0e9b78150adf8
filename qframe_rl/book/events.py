"""What a recorded market says, as whole numbers: one row an event, both clocks, prices in ticks, quantities in lots."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qframe_rl.book.state import MOST_LOTS, MOST_TICKS
from qframe_rl.config import UserError
from qframe_rl.types import Float, Int

SNAPSHOT, DEPTH, TRADE = range(3)
"""Kinds of events: a level of a whole book that begins here; a level's quantity from now on, 0 = none; a trade."""
OFF_GRID = 1e-6
"""Of a step: how far from the grid a number may lie and still mean the number on it."""


class Events(NamedTuple):
    """N events of one run without a gap, in the order in which they arrived."""

    exchange_ns: Int
    """(N,) when it happened by the exchange's clock, ns UTC."""
    local_ns: Int
    """(N,) when it arrived by the recorder's clock, as it was recorded."""
    kind: NDArray[np.int8]
    """(N,) `SNAPSHOT`, `DEPTH` or `TRADE`."""
    side: NDArray[np.int8]
    """(N,) 0 = bids, 1 = asks; of a trade, 0 = a buyer took."""
    tick: Int
    """(N,) price."""
    lots: Int
    """(N,) quantity: of a level what stands there, of a trade what changed hands."""
    message: Int
    """(N,) rows of one message have one number, which rises."""

    def where(self, mask: NDArray[np.bool_] | Int | slice) -> Events:
        """Some of them."""
        return Events._make(field[mask] for field in self)


def joined(parts: list[Events]) -> Events:
    """Several, one after the other."""
    return Events._make(np.concatenate(column) for column in zip(*parts, strict=True))


def grid_of(values: Float) -> float:
    """Largest of 1, 2 or 5 times a power of ten that all values are multiples of.

    Raises
    ------
    UserError
        If it would be smaller than 1e-12.
    """
    distinct = np.unique(values[np.isfinite(values) & (values != 0.0)])
    for exponent in range(6, -13, -1):
        for first in (5, 2, 1):
            step = first * 10.0**exponent if exponent >= 0 else first / 10.0**-exponent
            scaled = distinct / step
            whole = np.rint(scaled)
            if bool(
                np.all(
                    (whole != 0.0) & (np.abs(scaled - whole) <= np.maximum(OFF_GRID, 4 * np.spacing(np.abs(scaled))))
                )
            ):
                return step
    raise UserError("prices or quantities have more than twelve decimal places; give their smallest step.")


def on_grid(values: Float, step: float, what: str) -> Int:
    """Numbers as multiples of a step.

    Parameters
    ----------
    values
        (N,) prices or quantities.
    step
        Tick or lot.
    what
        Of which file and column they are, for the message.

    Returns
    -------
    Int
        (N,).

    Raises
    ------
    UserError
        If one lies farther off the grid than a millionth of a step, is no number, or is too large.
    """
    scaled = values / step
    whole = np.rint(scaled)
    most = min(MOST_LOTS, MOST_TICKS)
    bad = ~(np.abs(scaled - whole) <= np.maximum(OFF_GRID, 4 * np.spacing(np.abs(scaled)))) | (np.abs(whole) > most)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        if np.abs(whole[row]) > most:
            raise UserError(f"{what}: row {row} has {values[row]:.12g}, more than {most:,} steps of {step:g}.")
        raise UserError(f"{what}: row {row} has {values[row]:.12g}, which is no multiple of {step:g}.")
    return whole.astype(np.int64)
