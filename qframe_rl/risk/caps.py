"""Cutting orders down to size: batch-first and without memory, so that training can ask for it as well."""

from __future__ import annotations

import numpy as np

from qframe_rl.risk.limits import Limits
from qframe_rl.types import Account, Float, Instrument, Orders

_ULP = 1e-9
"""Share of a lot that a product such as 3 x 0.1 may miss by; as in the kernel."""


def closing_part(quantity: Float, position: Float) -> Float:
    """(*B, A) the part of each order that reduces its position, signed."""
    against = np.sign(quantity) * np.sign(position) < 0.0
    return np.where(against, np.sign(quantity) * np.minimum(np.abs(quantity), np.abs(position)), 0.0)


def capped(orders: Orders, account: Account, limits: Limits) -> Orders:
    """Cut orders to the order, position, gross and leverage limits.

    Parameters
    ----------
    orders, account
        Of (*B, A) and (*B,) accounts; values are counted at the marks.
    limits
        Those that are None do not bind.

    Returns
    -------
    Orders
        No order is larger than before, and none changes its side. A closing order is cut by `max_order` alone.
    """
    quantity, position = orders.quantity, account.position
    price = np.where(np.isnan(account.mark), np.inf, account.mark)
    if limits.max_order is not None:
        most = limits.max_order / price
        quantity = np.where(np.abs(quantity) > most, np.sign(quantity) * most, quantity)
    closing = closing_part(quantity, position)
    asked = opening = quantity - closing
    if limits.max_position is not None:
        room = np.maximum(0.0, limits.max_position / price - np.abs(position + closing))
        opening = np.where(np.abs(opening) > room, np.sign(opening) * room, opening)
    if limits.max_gross is not None or limits.max_leverage is not None:
        opening = opening * _share_of_gross(opening, closing, account, limits)[..., None]
    # What is not cut keeps its bits.
    return orders._replace(quantity=np.where(opening == asked, quantity, closing + opening))


def _share_of_gross(opening: Float, closing: Float, account: Account, limits: Limits) -> Float:
    """(*B,) share of the opening parts that the gross and leverage limits have room for."""
    most = np.full(account.cash.shape, np.inf)
    if limits.max_gross is not None:
        most = np.minimum(most, limits.max_gross)
    if limits.max_leverage is not None:
        most = np.minimum(most, limits.max_leverage * np.maximum(account.equity, 0.0))
    mark = np.nan_to_num(account.mark)
    held = (np.abs(account.position + closing) * mark).sum(axis=-1)
    asked = (np.abs(opening) * mark).sum(axis=-1)
    # Rounding must not push the sum over the bound.
    room = np.maximum(0.0, most - held) * (1.0 - 1e-12)
    share: Float = np.ones_like(asked)
    np.divide(room, asked, out=share, where=asked > room)
    return share


def filtered(orders: Orders, account: Account, instruments: tuple[Instrument, ...]) -> Orders:
    """Round to lots and ticks, toward less, and drop what is under the minimum notional.

    An order that closes a position to the last unit keeps its size, as in the kernel.
    """
    lot, tick, least = (np.array([getattr(i, name) for i in instruments]) for name in ("lot", "tick", "min_notional"))
    size, side = np.abs(orders.quantity), np.sign(orders.quantity)
    whole = np.abs(orders.quantity + account.position) <= _ULP * np.abs(account.position)
    step = np.where(lot > 0.0, lot, 1.0)
    size = np.where((lot > 0.0) & ~whole, np.floor(size / step + _ULP) * step, size)
    grid = np.where(tick > 0.0, tick, 1.0)
    down, up = np.floor(orders.limit / grid + _ULP) * grid, np.ceil(orders.limit / grid - _ULP) * grid
    limit = np.where(tick > 0.0, np.where(side > 0.0, down, up), orders.limit)
    price = np.where(np.isnan(limit), np.nan_to_num(account.mark), limit)
    return orders._replace(quantity=np.where(size * price < least, 0.0, side * size), limit=limit)
