"""What a policy is shown of accounts, where it is asked for, besides exposures and flags."""

from __future__ import annotations

import numpy as np

from qframe_rl.gym.slots import SlotBoard
from qframe_rl.interface import Observer, see_locks, see_resting, see_use
from qframe_rl.risk.columns import Watch
from qframe_rl.risk.protections import lock_rows
from qframe_rl.risk.rows import use_rows
from qframe_rl.types import Bool, Float, Single


class AccountPanels:
    """Writes the panels that an observer wants of B accounts: locks, limits that are used up, orders that rest.

    Parameters
    ----------
    observer
        Says which.
    n_accounts
        B.
    """

    def __init__(self, observer: Observer, n_accounts: int):
        self._observer, n = observer, observer.n_instruments
        self._left, self._used = np.zeros((n_accounts, n, 2), dtype=np.int64), np.zeros((n_accounts, 3))
        self._none = np.zeros((n_accounts, n, 0, 0))

    def write(
        self, account: Float, holding: Float, watch: Watch | None, board: SlotBoard | None, mask: Bool, first: int,
        out: Single,
    ) -> None:  # fmt: skip
        """Write them behind exposures and flags, which begin in column ``first`` of (B, ...) rows.

        Parameters
        ----------
        account, holding
            As in `qframe_rl.kernel.rows.advance_rows`.
        watch, board
            Limits and what they remember, and what rests in slots; None without any.
        mask
            (B,) whose.
        first, out
            Where.
        """
        shown = self._observer
        if "locks" in shown.panels:
            if watch is not None:
                lock_rows(watch.guard, self._left)
            see_locks(self._left, mask, first + shown.place("locks"), out)
        if "limits" in shown.panels:
            if watch is not None:
                use_rows(account, watch, self._used)
            see_use(self._used, mask, shown.n_instruments, first + shown.place("limits"), out)
        if "resting" in shown.panels:
            slots = self._none if board is None else board.slots
            see_resting(slots, holding, mask, first + shown.place("resting"), out)
