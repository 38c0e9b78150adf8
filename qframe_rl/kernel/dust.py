"""Dust: what an account holds and no order can sell, for it is below a lot or an exchange's minimum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qframe_rl.kernel.grid import down, step_of
from qframe_rl.types import Float, Instrument, Record


class Dust(NamedTuple):
    """The part of a position that stays."""

    symbol: str
    units: float
    """Signed base units."""
    value: float
    """Signed, quote currency, at the mark."""
    why: str
    """The rule that keeps it, in a few words."""

    def __str__(self) -> str:
        return f"{self.units:.10g} {self.symbol} worth {self.value:,.2f} cannot be sold: {self.why}"


def dust(instruments: Sequence[Instrument], position: Float, mark: Float) -> tuple[Dust, ...]:
    """List what no order could close now.

    A position that an order closes down to a rest below the lot leaves that rest; one below a minimum stays whole.

    Parameters
    ----------
    instruments
        The A instruments with their rules.
    position
        (A,) signed base units.
    mark
        (A,) prices that the positions are valued at, quote currency; may be NaN where there is none.
    """
    found = []
    for instrument, held, price in zip(instruments, position.tolist(), mark.tolist(), strict=True):
        size = abs(held)
        if size == 0.0:
            continue
        closed = down(size, *step_of(instrument.lot)) if instrument.lot else size
        rest, why = size - closed, f"less than the lot of {instrument.lot:g}"
        if closed and closed < instrument.min_amount:
            rest, why = size, f"the least amount of an order is {instrument.min_amount:g}"
        elif closed and instrument.kind == "spot" and closed * price < instrument.min_notional * (1.0 - 1e-12):
            rest, why = size, f"the least value of an order is {instrument.min_notional:g}"
        # What is left of adding and taking away whole lots is no dust.
        if rest > 1e-9 * size:
            found.append(Dust(instrument.symbol, np.sign(held) * rest, np.sign(held) * rest * price, why))
    return tuple(found)


def dust_of(record: Record) -> tuple[Dust, ...]:
    """List what no order could close at the end of a record that knows its instruments' rules."""
    return dust(record.instruments, record.account.position[-1], record.account.mark[-1])
