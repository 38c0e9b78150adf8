"""`qframe_rl.kernel.rows.settle_rows` with finer bars, for accounts with one order per instrument.

Bars are settled as a whole. An account of which an order may be met after the open, or which the bar ruined, is put
back, and goes through the finer bars with its orders in slots, which hold one order to the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.columns import (
    CANCELLED,
    GOOD,
    LIMIT,
    MARK,
    N_FILLS,
    N_ORDER,
    N_SLOT,
    POSITION,
    QUANTITY,
    RUINED,
    STOP,
    TRAIL,
)
from qframe_rl.kernel.rows import advance_rows, settle_rows, target_rows
from qframe_rl.kernel.rules import Rules
from qframe_rl.kernel.slot_rows import SlotScratch, parts_of, settle_slots, slot_scratch
from qframe_rl.types import HIGH, LOW, NO_FINER, Bar, Bool, Finer, Float, Int


class SlotRoom(NamedTuple):
    """Accounts with their orders in slots."""

    account: Float
    holding: Float
    slots: Float
    """(B, A, 8, 1)."""
    row: Int
    active: Bool
    fills: Float
    parts: Float
    scratch: SlotScratch


class FinerRoom(NamedTuple):
    """Scratch memory for B accounts."""

    account: Float
    """(B, ...) as they were before the bar."""
    holding: Float
    orders: Float
    """(B, A, 3)."""
    ahead: Int
    """(B,) row of the next bar."""
    whole: Bool
    """(B,) whose bar is settled as a whole."""
    closer: Bool
    """(B,) whose finer bars are gone through."""
    again: SlotRoom
    """Those accounts, side by side."""


def finer_room(n_accounts: int, n_instruments: int, n_columns: int, *, finer: bool) -> FinerRoom:
    """Scratch memory for B accounts of so many columns; next to none where there are no ``finer`` bars."""
    b, a = n_accounts if finer else 0, n_instruments
    again = SlotRoom(
        np.zeros((b, n_columns)), np.zeros((b, a, 2)), np.zeros((b, a, N_SLOT, 1)), np.zeros(b, dtype=np.int64),
        np.ones(b, dtype=np.bool_), np.zeros((b, a, N_FILLS)), parts_of(b, a, 1), slot_scratch(a, 1),
    )  # fmt: skip
    return FinerRoom(
        np.zeros((b, n_columns)), np.zeros((b, a, 2)), np.zeros((b, a, N_ORDER)), np.zeros(b, dtype=np.int64),
        np.zeros(b, dtype=np.bool_), np.zeros(b, dtype=np.bool_), again,
    )  # fmt: skip


def finer_of(bar: Bar, rules: Rules) -> Finer:
    """The finer bars of one bar of one account, where the rules ask for them."""
    if not rules.detail_ns or bar.finer is None:
        return NO_FINER
    return Finer(np.array([0, len(bar.finer)]), bar.finer, rules.detail_ns)


# Python, not compiled: it joins functions that are compiled by themselves, which takes minutes in one.
def settle_finer(
    account: Float,
    holding: Float,
    orders: Float,
    bars: Float,
    row: Int,
    active: Bool,
    rules: Rules,
    fills: Float,
    work: Float,
    finer: Finer,
    room: FinerRoom,
) -> None:
    """Settle bar ``row[b]`` for every active account; without finer bars as `settle_rows`.

    Parameters
    ----------
    account, holding, orders, bars, row, active, fills, work
        As in `settle_rows`.
    rules
        The market rules.
    finer
        What the bars consist of.
    room
        `finer_room`.
    """
    table, leverage, shorting = rules.table, rules.leverage, rules.shorting
    if len(finer.start) == 0:
        settle_rows(account, holding, orders, bars, row, active, table, leverage, shorting, fills, work)
        return
    _look(account, holding, orders, bars, row, active, finer.start, room.account, room.holding, room.whole, room.closer)
    settle_rows(account, holding, orders, bars, row, room.whole, table, leverage, shorting, fills, work)
    _take_again(account, holding, orders, bars, row, rules, fills, finer, room)


def _take_again(
    account: Float, holding: Float, orders: Float, bars: Float, row: Int, rules: Rules, fills: Float, finer: Finer,
    room: FinerRoom,
) -> None:  # fmt: skip
    """Put the accounts back that go through finer bars, those that the whole bar ruined among them, and do so."""
    at = room.again
    m = _put_aside(
        account, orders, row, finer.start, room.account, room.holding, room.whole, room.closer, at.account, at.holding,
        at.slots, at.row,
    )  # fmt: skip
    if m > 0:
        settle_slots(
            at.account[:m], at.holding[:m], at.slots[:m], bars, at.row[:m], at.active[:m], rules.table, rules.leverage,
            rules.shorting, at.fills[:m], at.parts[:m], at.scratch, finer,
        )  # fmt: skip
        _put_back(account, holding, orders, fills, room.closer, at.account, at.holding, at.fills)


def advance_finer(
    target: Float,
    offset: Float,
    band: float,
    account: Float,
    holding: Float,
    bars: Float,
    row: Int,
    active: Bool,
    rules: Rules,
    fills: Float,
    work: Float,
    finer: Finer,
    room: FinerRoom,
) -> None:
    """Do what `qframe_rl.kernel.rows.advance_rows` does, with finer bars.

    Parameters
    ----------
    target, offset, band, account, holding, bars, row, active, fills, work
        As there; ``fills`` are always written.
    rules, finer, room
        As in `settle_finer`.
    """
    if len(offset) == 0 and len(finer.start) > 0:
        _advance_market(target, offset, band, account, holding, bars, row, active, rules, fills, work, finer, room)
        return
    target_rows(target, offset, band, account, holding, bars, row, room.orders, work)
    np.minimum(row + 1, len(bars) - 1, out=room.ahead)
    settle_finer(account, holding, room.orders, bars, room.ahead, active, rules, fills, work, finer, room)
    row[active] += 1


def _advance_market(
    target: Float, offset: Float, band: float, account: Float, holding: Float, bars: Float, row: Int, active: Bool,
    rules: Rules, fills: Float, work: Float, finer: Finer, room: FinerRoom,
) -> None:  # fmt: skip
    """Advance where no order rests: bars as a whole, and only whom they ruin again with the orders that these were."""
    _remember(account, holding, row, room.account, room.holding, room.ahead)
    advance_rows(
        target, offset if rules.tiered else None, band, account, holding, bars, row, active, rules.table,
        rules.leverage, rules.shorting, True, fills, work,
    )  # fmt: skip
    if _ruined(account, row, active, finer.start, room.whole, room.closer):
        target_rows(target, offset, band, room.account, room.holding, bars, room.ahead, room.orders, work)
        _take_again(account, holding, room.orders, bars, row, rules, fills, finer, room)


@compiled
def _remember(account: Float, holding: Float, row: Int, was: Float, held: Float, before: Int) -> None:
    for b in range(len(account)):
        _copy(account[b], holding[b], was[b], held[b])
        before[b] = row[b]


@compiled
def _ruined(account: Float, row: Int, active: Bool, start: Int, whole: Bool, closer: Bool) -> bool:
    """Whether a bar of which there is more to see ruined anybody; say that all bars were settled as a whole."""
    found = False
    for b in range(len(account)):
        whole[b], closer[b] = active[b], False
        found = found or (active[b] and account[b, RUINED] != 0.0 and _several(start, row[b]))
    return bool(found)


@compiled
def _look(
    account: Float, holding: Float, orders: Float, bars: Float, row: Int, active: Bool, start: Int, was: Float,
    held: Float, whole: Bool, closer: Bool,
) -> None:  # fmt: skip
    """Say whose finer bars are to be gone through at once, and remember all accounts."""
    for b in range(len(account)):
        closer[b] = active[b] and _several(start, row[b]) and _near(orders[b], bars[row[b]])
        whole[b] = active[b] and not closer[b]
        _copy(account[b], holding[b], was[b], held[b])


@inlined
def _copy(account: Float, holding: Float, to_account: Float, to_holding: Float) -> None:
    for c in range(len(account)):
        to_account[c] = account[c]
    for a in range(len(holding)):
        to_holding[a, POSITION], to_holding[a, MARK] = holding[a, POSITION], holding[a, MARK]


@inlined
def _several(start: Int, t: int) -> bool:
    return bool(start[t + 1] - start[t] > 1)


@inlined
def _near(orders: Float, bar: Float) -> bool:
    """Whether the bar may meet an order after its open; see `qframe_rl.kernel.finer.near_inside`."""
    near = False
    for a in range(len(orders)):
        limit, stop, q = orders[a, LIMIT], orders[a, STOP], orders[a, QUANTITY]
        level = limit if stop != stop else stop
        inside = (bar[a, LOW] <= level * 1.000001) & (bar[a, HIGH] >= level * 0.999999)
        near = near or ((q != 0.0) & (q == q) & inside)
    return near


@compiled
def _put_aside(
    account: Float, orders: Float, row: Int, start: Int, was: Float, held: Float, whole: Bool, closer: Bool,
    to_account: Float, to_holding: Float, slots: Float, to_row: Int,
) -> int:  # fmt: skip
    """Lay the accounts that go through finer bars side by side, those that the bar ruined among them; count them."""
    m = 0
    for b in range(len(account)):
        closer[b] = closer[b] or (whole[b] and account[b, RUINED] != 0.0 and _several(start, row[b]))
        if closer[b]:
            _copy(was[b], held[b], to_account[m], to_holding[m])
            to_row[m] = row[b]
            for a in range(orders.shape[1]):
                q = orders[b, a, QUANTITY]
                slots[m, a, :, 0] = 0.0
                slots[m, a, QUANTITY, 0] = q if q == q else 0.0
                slots[m, a, LIMIT, 0], slots[m, a, STOP, 0] = orders[b, a, LIMIT], orders[b, a, STOP]
                slots[m, a, GOOD, 0], slots[m, a, TRAIL, 0] = 1.0, np.nan
            m += 1
    return m


@compiled
def _put_back(
    account: Float, holding: Float, orders: Float, fills: Float, closer: Bool, from_account: Float, from_holding: Float,
    filled: Float,
) -> None:  # fmt: skip
    """Write the accounts back that went through finer bars; what is cancelled is told as for one order."""
    m = 0
    for b in range(len(account)):
        if closer[b]:
            _copy(from_account[m], from_holding[m], account[b], holding[b])
            for a in range(orders.shape[1]):
                for c in range(fills.shape[2]):
                    fills[b, a, c] = filled[m, a, c]
                q = orders[b, a, QUANTITY]
                fills[b, a, CANCELLED] = q - fills[b, a, QUANTITY] if q == q else 0.0
            m += 1
