"""Settling one bar for any batch of accounts, without touching what was handed in."""

from __future__ import annotations

import numpy as np

from qframe_rl.kernel.columns import ABSORBED, CASH, EARNED, MARK, N_FILLS, POSITION, bars_of
from qframe_rl.kernel.lanes import scratch
from qframe_rl.kernel.rows import settle_rows
from qframe_rl.kernel.rules import Rules
from qframe_rl.types import Account, Bar, Fills, Orders


def settle(account: Account, orders: Orders, bar: Bar, rules: Rules) -> tuple[Account, Fills]:
    """Settle one bar.

    Parameters
    ----------
    account
        Accounts (*B) before the bar.
    orders
        Orders (*B, A) decided after the bar before.
    bar
        One bar for all accounts (A, C) or one for each (*B, A, C).
    rules
        The market rules.

    Returns
    -------
    tuple[Account, Fills]
        The accounts after the bar, and what happened; the inputs are left as they were.
    """
    shape = account.position.shape
    lead, n = shape[:-1], shape[-1]
    count = int(np.prod(lead, dtype=np.int64))
    money, holding = np.zeros((count, rules.n_columns)), np.zeros((count, n, 2))
    money[:, CASH] = np.reshape(account.cash, count)
    holding[:, :, POSITION] = account.position.reshape(count, n)
    holding[:, :, MARK] = account.mark.reshape(count, n)
    values = bar.values.reshape(-1, n, bar.values.shape[-1])
    rate = np.full(len(values), bar.cash_rate)
    bars = bars_of(values, bar.funding.reshape(-1, n), bar.final.reshape(-1, n), rate)
    row = np.zeros(count, dtype=np.int64) if len(bars) == 1 else np.arange(count)
    asked = np.stack([np.broadcast_to(field, shape) for field in orders], axis=-1).reshape(count, n, 3)
    fills = np.empty((count, n, N_FILLS))
    active = np.ones(count, dtype=np.bool_)
    settle_rows(
        money, holding, asked, bars, row, active, rules.table, rules.leverage, rules.shorting, fills, scratch(n)
    )
    after = Account(
        money[:, CASH].reshape(lead), holding[:, :, POSITION].reshape(shape), holding[:, :, MARK].reshape(shape)
    )
    absorbed, interest = money[:, ABSORBED].reshape(lead), money[:, EARNED].reshape(lead)
    return after, Fills.of(fills.reshape(*shape, N_FILLS), absorbed, interest)
