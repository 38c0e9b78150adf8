"""What fills came to, where a bar may have had several of one instrument."""

from __future__ import annotations

import numpy as np

from qframe_rl.types import Float, Record

_SIZE, _PRICE = 0, 1
"""Of `SlotRecord.fills`."""


def traded(record: Record) -> Float:
    """(N, A) notional that orders traded in each bar, quote currency."""
    value: Float = np.abs(record.fills.quantity) * record.fills.price
    if record.slots is None:
        return value
    size, paid = record.slots.fills[:, :, _SIZE], record.slots.fills[:, :, _PRICE]
    return np.where((size != 0.0).any(axis=-1), (np.abs(size) * paid).sum(axis=-1), value)


def gained(record: Record, mark: Float) -> Float:
    """(N - 1, A) what fills were worth at the bar's mark beyond their price, slippage taken out."""
    quantity, price, slippage = (x[1:] for x in (record.fills.quantity, record.fills.price, record.fills.slippage))
    if record.slots is None:
        return np.where(quantity != 0.0, quantity * (mark - price) + slippage, 0.0)
    size, paid = record.slots.fills[1:, :, _SIZE], record.slots.fills[1:, :, _PRICE]
    alone = (size == 0.0).all(axis=-1)
    several = np.where(size != 0.0, size * (mark[..., None] - paid), 0.0).sum(axis=-1)
    gain = np.where(alone, np.where(quantity != 0.0, quantity * (mark - price), 0.0), several)
    return np.asarray(gain + np.where(alone & (quantity == 0.0), 0.0, slippage))


def trades(record: Record) -> int:
    """How many orders filled, in whole or in part."""
    if record.slots is None:
        return int(np.count_nonzero(record.fills.quantity[1:]))
    each = np.count_nonzero(record.slots.fills[1:, :, _SIZE], axis=-1)
    return int(np.where(each > 0, each, record.fills.quantity[1:] != 0.0).sum())
