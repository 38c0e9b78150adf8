"""Settling one bar for any batch of accounts, without touching what was handed in."""

from __future__ import annotations

import numpy as np

from qframe_rl.kernel.rows import ABSORBED, N_FILLS, N_WORK, settle_rows
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
    n = shape[-1]
    cash = np.array(account.cash, dtype=np.float64).reshape(-1)
    position = np.array(account.position, dtype=np.float64).reshape(-1, n)
    mark = np.array(account.mark, dtype=np.float64).reshape(-1, n)
    values = np.ascontiguousarray(bar.values).reshape(-1, n, bar.values.shape[-1])
    funding = np.ascontiguousarray(bar.funding).reshape(-1, n)
    final = np.ascontiguousarray(bar.final).reshape(-1, n)
    row = np.zeros(len(cash), dtype=np.int64) if len(values) == 1 else np.arange(len(cash))
    packed = np.stack([np.broadcast_to(field, shape) for field in orders], axis=-1).reshape(-1, n, 3)
    fills = np.empty((len(cash), n, N_FILLS))
    book = np.empty((len(cash), 3))
    active = np.ones(len(cash), dtype=np.bool_)
    settle_rows(
        cash, position, mark, packed, values, funding, final, row, active,
        rules.table, rules.leverage, rules.shorting, fills, book, np.empty((n, N_WORK)),
    )  # fmt: skip
    lead = shape[:-1]
    after = Account(cash.reshape(lead), position.reshape(shape), mark.reshape(shape))
    return after, Fills.of(fills.reshape(*shape, N_FILLS), book[:, ABSORBED].reshape(lead))
