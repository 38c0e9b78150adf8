"""Several orders per instrument in records: padded to as many slots as a session had, and as columns of a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from qframe_rl.orders import Orders, SlotFills
from qframe_rl.types import Float, Instrument, SlotRecord

_FIELDS = (*(f"order {name}" for name in Orders._fields), *(f"fill {name}" for name in SlotFills._fields))
_N_ORDER = len(Orders._fields)


def slots_stacked(rows: Sequence[SlotRecord | None], n_instruments: int) -> SlotRecord | None:
    """(N, ...) of N bars' slots, as many as the bar with most has; None where no bar has any.

    Parameters
    ----------
    rows
        (A, 8, K) and (A, 3, K) of each bar, with a K of its own; None for a bar without slots.
    n_instruments
        A.
    """
    given = [row for row in rows if row is not None]
    if not given:
        return None
    out = _empty(len(rows), n_instruments, max(row.orders.shape[-1] for row in given))
    for n, row in enumerate(rows):
        if row is not None:
            for whole, part in zip(out, row, strict=True):
                whole[n, :, :, : part.shape[-1]] = part
    return out


def slots_padded(slots: SlotRecord | None, n_rows: int, n_instruments: int, n_slots: int) -> SlotRecord:
    """A copy with so many slots; without any if there is nothing to copy."""
    out = _empty(n_rows, n_instruments, n_slots)
    if slots is not None:
        for whole, part in zip(out, slots, strict=True):
            whole[..., : part.shape[-1]] = part
    return out


def slot_columns(slots: SlotRecord | None, a: int) -> Iterator[tuple[str, Float]]:
    """Names and (N,) numbers of an instrument's slots, as a file has them."""
    if slots is None:
        return
    for k in range(slots.orders.shape[-1]):
        for c, name in enumerate(_FIELDS):
            part = slots.orders[:, a, c, k] if c < _N_ORDER else slots.fills[:, a, c - _N_ORDER, k]
            yield f"slot {k + 1} {name}", part


def slots_read(
    names: Sequence[str], instruments: Sequence[Instrument], column: Callable[[str], Float]
) -> SlotRecord | None:
    """What `slot_columns` wrote.

    Parameters
    ----------
    names
        Of the columns that there are.
    instruments
        Whose are read.
    column
        Reads one.
    """
    numbers = [re.search(r" slot (\d+) order quantity$", name) for name in names]
    n_slots = max((int(found[1]) for found in numbers if found), default=0)
    if n_slots == 0:
        return None
    each = np.array(
        [[[column(f"{i.symbol} slot {k + 1} {name}") for k in range(n_slots)] for name in _FIELDS] for i in instruments]
    )
    each = np.moveaxis(each, -1, 0)
    return SlotRecord(each[:, :, :_N_ORDER], each[:, :, _N_ORDER:])


def _empty(n_rows: int, n_instruments: int, n_slots: int) -> SlotRecord:
    orders = np.zeros((n_rows, n_instruments, _N_ORDER, n_slots))
    orders[:, :, 1:3] = np.nan
    return SlotRecord(orders, np.zeros((n_rows, n_instruments, len(SlotFills._fields), n_slots)))
