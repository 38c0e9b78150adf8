"""Orders that stand in the slots of one account, and how they meet a bar."""

from __future__ import annotations

import numpy as np

from qframe_rl.journal.codec import Plain, packed, unpacked
from qframe_rl.kernel.columns import ABSORBED, AFTER, EARNED, GOOD, GROUP, LIMIT, N_FILLS, N_SLOT, QUANTITY, STOP, TRAIL
from qframe_rl.kernel.rules import HALF_SPREAD, IMPACT, VOLUME_SHARE, Rules
from qframe_rl.kernel.slot_rows import SlotScratch, parts_of, settle_slots, slot_scratch
from qframe_rl.orders import merged, orders_of, slots_of
from qframe_rl.types import NO_FINER, Bool, Fills, Finer, Float, Orders, SlotFills

_ROW = np.zeros(1, dtype=np.int64)
_ACTIVE = np.ones(1, dtype=np.bool_)


class StandingOrders:
    """What stands in the slots of an account of A instruments.

    Parameters
    ----------
    n_instruments
        A.
    """

    def __init__(self, n_instruments: int):
        self._n = n_instruments
        self._slots = np.zeros((1, n_instruments, N_SLOT, 0))
        self._scratch: SlotScratch | None = None

    @property
    def any(self) -> bool:
        """Whether anything stands."""
        return bool(self._slots[0, :, QUANTITY].any())

    @property
    def orders(self) -> Orders | None:
        """(A, K) what stands; None where nothing does."""
        return orders_of(self._slots[0]) if self.any else None

    def carried(self) -> Plain:
        """What stands, as JSON."""
        return packed(self._slots)

    def carry(self, memory: Plain) -> None:
        """Take over what `carried` returned."""
        self._slots = unpacked(memory)

    def clear(self) -> None:
        """Cancel everything."""
        self._slots = np.zeros((1, self._n, N_SLOT, 0))

    def take(self, orders: Orders, tradable: Bool, rules: Rules) -> None:
        """Put orders into the slots.

        Parameters
        ----------
        orders
            What is asked for.
        tradable
            (A,) whether an instrument traded in the last bar: of others nothing is ordered anew.
        rules
            The market rules.

        Raises
        ------
        ValueError
            If they are no orders of A instruments, or rules under which the impact of several could take a price to
            zero.
        """
        asked = slots_of(orders)
        if len(asked) != self._n:
            raise ValueError(f"orders must be of {self._n} instruments, got {len(asked)}")
        table = rules.table
        if (table[:, HALF_SPREAD] + 1.5 * table[:, IMPACT] * np.sqrt(table[:, VOLUME_SHARE]) >= 1.0).any():
            raise ValueError("half_spread + 1.5 x impact x sqrt(volume_share) must stay below 1 for several orders")
        quantity = asked[:, QUANTITY]
        quantity[~tradable[:, None] & ~_stands(asked, self._slots[0])] = 0.0
        self._slots = merged(asked, self._slots[0])[None]

    def settle(self, money: Float, holding: Float, bar: Float, rules: Rules, finer: Finer = NO_FINER) -> Fills:
        """Let a bar pass.

        Parameters
        ----------
        money, holding
            (1, `Rules.n_columns`) and (1, A, 2), updated in place.
        bar
            (1, A, 8) as the kernel reads it.
        rules
            The market rules.
        finer
            What the bar consists of.
        """
        k = self._slots.shape[-1]
        if self._scratch is None or self._scratch.plan.shape[-1] != k:
            self._scratch = slot_scratch(self._n, k)
        fills, parts = np.empty((1, self._n, N_FILLS)), parts_of(1, self._n, k)
        self._slots = np.ascontiguousarray(self._slots)
        settle_slots(
            money, holding, self._slots, bar, _ROW, _ACTIVE, rules.table, rules.leverage, rules.shorting, fills, parts,
            self._scratch, finer,
        )  # fmt: skip
        each = SlotFills(parts[0, :, 0], parts[0, :, 1], parts[0, :, 2])
        return Fills.of(fills[0], np.array(money[0, ABSORBED]), np.array(money[0, EARNED]), each)


def _stands(asked: Float, resting: Float) -> Bool:
    """(A, K) which orders are left as they are, or made smaller: all that can be done where nothing trades."""
    k = min(asked.shape[-1], resting.shape[-1])
    new, old = asked[:, :, :k], resting[:, :, :k]
    same = ((new == old) | (np.isnan(new) & np.isnan(old)))[:, [LIMIT, STOP, GOOD, AFTER, TRAIL, GROUP]].all(axis=1)
    left = np.isnan(asked[:, QUANTITY])
    left[:, :k] |= same & (new[:, QUANTITY] * old[:, QUANTITY] >= 0.0) & (abs(new) <= abs(old))[:, QUANTITY]
    return left
