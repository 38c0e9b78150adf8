"""Instruments that a human closed: they are sold off, and held flat until a human releases them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qframe_rl.kernel.dust import dust
from qframe_rl.orders import is_plain, orders_of, slots_of
from qframe_rl.types import Account, Bool, Float, Instrument, Orders


class InstrumentLocks:
    """Which of the A instruments of an account are locked.

    In every state of trading an order that closes what is held of them at the market takes the place of whatever was
    asked for, past every limit, as FLATTEN does it for all; once nothing is held that can be sold, none takes it.

    Parameters
    ----------
    n_instruments
        A.
    """

    def __init__(self, n_instruments: int):
        self.mask: Bool = np.zeros(n_instruments, dtype=np.bool_)
        """(A,) the locked ones."""

    def set(self, a: int, *, locked: bool) -> bool:
        """Lock or release one; return whether that changed anything."""
        changed = bool(self.mask[a]) != locked
        self.mask[a] = locked
        return changed

    def closing(self, instruments: Sequence[Instrument], account: Account) -> Float:
        """(A,) base units of the orders that close what is held of the locked ones; 0 for what no order can sell.

        Parameters
        ----------
        instruments, account
            Of (A,).
        """
        held = np.where(self.mask, account.position, 0.0)
        for one in dust(instruments, held, account.mark):
            a = [i.symbol for i in instruments].index(one.symbol)
            held[a] = 0.0 if one.units == held[a] else held[a]
        return np.where(held != 0.0, -held, 0.0)

    def instead(self, orders: Orders, closing: Float) -> Orders:
        """Orders with those for locked instruments replaced by market orders for ``closing``, (A,) base units.

        Where there are slots the order is in the first one, and all others are cancelled.
        """
        if not is_plain(orders):
            slots = slots_of(orders)
            slots[self.mask] = slots_of(Orders.market(np.zeros((1, slots.shape[-1]))))
            slots[self.mask, 0, 0] = closing[self.mask]
            return orders_of(slots)
        quantity, limit, stop = (field.copy() for field in orders.terms)
        quantity[self.mask] = closing[self.mask]
        limit[self.mask] = stop[self.mask] = np.nan
        return Orders(quantity, limit, stop)
