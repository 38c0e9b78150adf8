"""Orders that stand in the slots of a batch of accounts, moved a bar on by the functions of a session."""

from __future__ import annotations

import numpy as np

from qframe_rl.interface import Scheme, SlotScheme
from qframe_rl.jit import compiled
from qframe_rl.kernel.columns import FLAGS, INSIDE, N_FILLS, N_SLOT, QUANTITY, STANDING
from qframe_rl.kernel.rules import Rules
from qframe_rl.kernel.slot_rows import parts_of, settle_slots, slot_scratch
from qframe_rl.kernel.slots import reduces
from qframe_rl.orders import REDUCE_ONLY
from qframe_rl.risk.columns import Watch
from qframe_rl.risk.slot_guard import watch_slots
from qframe_rl.risk.slots import judge_slots, market_rows
from qframe_rl.types import CLOSE, Bool, Finer, Float, Int


class SlotBoard:
    """What stands in the slots of B accounts.

    Parameters
    ----------
    n_accounts, n_instruments, n_slots
        B, A and K.
    """

    def __init__(self, n_accounts: int, n_instruments: int, n_slots: int):
        shape = (n_accounts, n_instruments)
        self.slots = np.zeros((*shape, N_SLOT, n_slots))
        self.parts = parts_of(n_accounts, n_instruments, n_slots)
        """(B, A, 3, K) what the last bar did to each order."""
        self._met, self._fresh = self.slots.copy(), np.zeros((*shape, n_slots), dtype=np.bool_)
        self._filled, self._ahead = np.zeros((*shape, N_FILLS)), np.zeros(n_accounts, dtype=np.int64)
        self._scratch = slot_scratch(n_instruments, n_slots)

    def advance(
        self, asked: Float, account: Float, holding: Float, bars: Float, time: Int, row: Int, active: Bool,
        rules: Rules, watch: Watch | None, fills: Float, finer: Finer,
    ) -> None:  # fmt: skip
        """Put orders into the slots after bar ``row[b]``, hold them to limits, and settle the next bar.

        Parameters
        ----------
        asked
            (B, A, 8, K) orders; a quantity of NaN leaves what stands in a slot.
        account, holding, bars, row, active, fills
            As in `qframe_rl.kernel.rows.advance_rows`; ``fills`` are overwritten.
        time
            (T,) closes of the bars, ns UTC.
        rules
            The market rules.
        watch
            Limits and what they remember; None without any.
        finer
            What the bars consist of.
        """
        _put(asked, self.slots, self._fresh, bars, row, active, self._ahead)
        if watch is not None:
            judge_slots(self.slots, self._fresh, account, holding, time, row, active, watch)
        _drop(self.slots, self._fresh, bars, row, active)
        if watch is not None:
            self._met[:] = self.slots
        settle_slots(
            account, holding, self.slots, bars, self._ahead, active, rules.table, rules.leverage, rules.shorting,
            fills, self.parts, self._scratch, finer,
        )  # fmt: skip
        row[active] += 1
        if watch is not None:
            market_rows(self._met, self.parts, active, watch.pending, self._filled)
            watch_slots(
                watch.pending, self._filled, self._met, self.parts, fills, account, holding, time, row, active, watch
            )  # fmt: skip


def board_of(scheme: Scheme, n_accounts: int, n_instruments: int) -> SlotBoard | None:
    """Make the slots that a scheme asks for; None for one that asks for one order per instrument.

    Parameters
    ----------
    scheme
        Of actions.
    n_accounts, n_instruments
        B and A.
    """
    return SlotBoard(n_accounts, n_instruments, scheme.n_slots) if isinstance(scheme, SlotScheme) else None


@compiled
def _put(asked: Float, slots: Float, fresh: Bool, bars: Float, row: Int, active: Bool, ahead: Int) -> None:
    """Write what is asked for; of an instrument that is outside the universe orders only reduce."""
    for b in range(len(slots)):
        ahead[b] = min(row[b] + 1, len(bars) - 1)
        if active[b]:
            for a in range(slots.shape[1]):
                for j in range(slots.shape[3]):
                    quantity = asked[b, a, QUANTITY, j]
                    fresh[b, a, j] = (quantity == quantity) & (quantity != 0.0)
                    if quantity == quantity:
                        for c in range(slots.shape[2]):
                            slots[b, a, c, j] = asked[b, a, c, j]
                    outside = bars[row[b], a, STANDING] < INSIDE and slots[b, a, QUANTITY, j] != 0.0
                    if outside and not reduces(slots[b, a], j):
                        slots[b, a, FLAGS, j] += REDUCE_ONLY
                        fresh[b, a, j] = True


@compiled
def _drop(slots: Float, fresh: Bool, bars: Float, row: Int, active: Bool) -> None:
    """What did not trade in the last bar cannot be ordered."""
    for b in range(len(slots)):
        for a in range(slots.shape[1]):
            close = bars[row[b], a, CLOSE]
            if active[b] and close != close:
                for j in range(slots.shape[3]):
                    slots[b, a, QUANTITY, j] = 0.0 if fresh[b, a, j] else slots[b, a, QUANTITY, j]
