"""Settling one bar for any batch of accounts, without touching what was handed in."""

from __future__ import annotations

import numpy as np

from qframe_rl.kernel.columns import ABSORBED, CASH, EARNED, MARK, N_FILLS, N_SLOT, POSITION, bars_of
from qframe_rl.kernel.finer_rows import finer_of, finer_room, settle_finer
from qframe_rl.kernel.lanes import scratch
from qframe_rl.kernel.rules import Rules
from qframe_rl.kernel.slot_rows import parts_of, settle_slots, slot_scratch
from qframe_rl.types import Account, Bar, Fills, Float, Int, Orders, SlotFills


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
    money, holding, bars, row = _laid_out(account, bar, rules)
    count = len(money)
    asked = np.stack([np.broadcast_to(field, shape) for field in orders.terms], axis=-1).reshape(count, n, 3)
    fills = np.empty((count, n, N_FILLS))
    active = np.ones(count, dtype=np.bool_)
    finer = finer_of(bar, rules)
    settle_finer(
        money, holding, asked, bars, row, active, rules, fills, scratch(n), finer,
        finer_room(count, n, rules.n_columns, finer=rules.detail_ns > 0),
    )  # fmt: skip
    absorbed, interest = money[:, ABSORBED].reshape(lead), money[:, EARNED].reshape(lead)
    return _stated(money, holding, shape), Fills.of(fills.reshape(*shape, N_FILLS), absorbed, interest)


def settle_resting(account: Account, slots: Float, bar: Bar, rules: Rules) -> tuple[Account, Fills, Float]:
    """Settle one bar for accounts with several orders per instrument.

    Parameters
    ----------
    account, bar, rules
        As in `settle`.
    slots
        (*B, A, 8, K) what stands in the slots, as `qframe_rl.orders.slots_of` lays it out.

    Returns
    -------
    tuple[Account, Fills, Float]
        The accounts after the bar, what happened, and what stands then; the inputs are left as they were.
    """
    shape = account.position.shape
    lead, n, k = shape[:-1], shape[-1], slots.shape[-1]
    money, holding, bars, row = _laid_out(account, bar, rules)
    count = len(money)
    left = slots.reshape(count, n, N_SLOT, k).copy()
    fills, parts = np.empty((count, n, N_FILLS)), parts_of(count, n, k)
    active = np.ones(count, dtype=np.bool_)
    settle_slots(
        money, holding, left, bars, row, active, rules.table, rules.leverage, rules.shorting, fills, parts,
        slot_scratch(n, k), finer_of(bar, rules),
    )  # fmt: skip
    absorbed, interest = money[:, ABSORBED].reshape(lead), money[:, EARNED].reshape(lead)
    each = SlotFills(*(parts[:, :, part].reshape(*shape, k) for part in range(3)))
    told = Fills.of(fills.reshape(*shape, N_FILLS), absorbed, interest, each)
    return _stated(money, holding, shape), told, left.reshape(*shape, N_SLOT, k)


def _laid_out(account: Account, bar: Bar, rules: Rules) -> tuple[Float, Float, Float, Int]:
    """Accounts, holdings, bars, and which bar is whose, as the compiled functions read them."""
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
    return money, holding, bars, row


def _stated(money: Float, holding: Float, shape: tuple[int, ...]) -> Account:
    """Accounts of ``shape`` (*B, A) in their own arrays."""
    position, mark = holding[:, :, POSITION].reshape(shape), holding[:, :, MARK].reshape(shape)
    return Account(money[:, CASH].reshape(shape[:-1]), position, mark)
