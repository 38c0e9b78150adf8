"""The venue of training, backtests and paper trading: one account, settled by the kernel."""

from __future__ import annotations

import numpy as np

from qframe_rl.kernel.rows import ABSORBED, N_FILLS, N_WORK, RUINED, settle_rows
from qframe_rl.kernel.rules import Rules
from qframe_rl.types import CLOSE, Account, Bar, Fills, Orders

_ROW = np.zeros(1, dtype=np.int64)
_ACTIVE = np.ones(1, dtype=np.bool_)


class SimulatedVenue:
    """One account that starts with cash.

    Parameters
    ----------
    rules
        The market rules.
    cash
        Quote currency at the start.
    """

    def __init__(self, rules: Rules, cash: float):
        n = len(rules.table)
        self.rules = rules
        self.account = Account(np.array(cash, dtype=np.float64), np.zeros(n), np.full(n, np.nan))
        self.terminated = False
        self._pending = np.zeros((1, n, 3))
        self._tradable = np.zeros(n, dtype=np.bool_)
        self._work = np.empty((n, N_WORK))

    def submit(self, orders: Orders) -> None:
        """Take the orders for the next bar; what did not trade in the last bar cannot be ordered.

        Raises
        ------
        ValueError
            If a quantity is not finite, or if the shapes do not fit the account.
        """
        quantity, limit, stop = (np.asarray(field, dtype=np.float64) for field in orders)
        if quantity.shape != self._tradable.shape or not np.isfinite(quantity).all():
            raise ValueError(f"orders must be {len(self._tradable)} finite quantities, got {quantity}")
        pending = np.empty_like(self._pending)
        pending[0, :, 0] = np.where(self._tradable, quantity, 0.0)
        pending[0, :, 1] = limit
        pending[0, :, 2] = stop
        self._pending = pending

    def advance(self, bar: Bar) -> Fills:
        """Settle one closed bar: the pending orders meet it, then they are gone."""
        n = len(self._tradable)
        cash = self.account.cash.reshape(1).copy()
        position = self.account.position.reshape(1, n).copy()
        mark = self.account.mark.reshape(1, n).copy()
        fills = np.empty((1, n, N_FILLS))
        book = np.empty((1, 3))
        values, funding, final = np.ascontiguousarray(bar.values)[None], bar.funding[None], bar.final[None]
        settle_rows(
            cash, position, mark, self._pending, values, funding, final, _ROW, _ACTIVE,
            self.rules.table, self.rules.leverage, self.rules.shorting, fills, book, self._work,
        )  # fmt: skip
        self._pending = np.zeros_like(self._pending)
        self._tradable = ~np.isnan(bar.values[:, CLOSE])
        self.terminated = self.terminated or bool(book[0, RUINED])
        self.account = Account(cash.reshape(()), position[0], mark[0])
        return Fills.of(fills[0], book[0, ABSORBED])
