"""`qframe_rl.kernel.rows.settle_rows` for several orders per instrument, which may rest in their slots.

It is a path of its own beside that for one order per instrument and shares its stages: accounts, funding, interest,
liquidation, marks and last bars are laid out and settled in lanes by the same functions. What orders come to is
reckoned for one lane at a time, and only where one of them may act in the bar.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel import fee_tiers, forced, lanes, room, slots
from qframe_rl.kernel.blocks import take_bars, take_holding
from qframe_rl.kernel.columns import (
    FEE,
    FORCED,
    FORCED_PRICE,
    FUNDING,
    LAST,
    LAST_OUTSIDE,
    N_PARTS,
    RUINED,
)
from qframe_rl.kernel.finer import go_through, look_ahead, near_inside, several
from qframe_rl.kernel.finer_reach import N_OWN_INSIDE, expect
from qframe_rl.kernel.lanes import ACCOUNT, INSTRUMENT, LANES
from qframe_rl.kernel.rows import begin, finish, liquidate, pay_out
from qframe_rl.kernel.rules import DAY_BARS, OWNED
from qframe_rl.kernel.slots_resting import rest
from qframe_rl.types import Bool, Finer, Float, Int


class SlotScratch(NamedTuple):
    """Scratch memory for orders in slots."""

    lanes: Float
    """As `qframe_rl.kernel.lanes.scratch`."""
    plan: Float
    """(LANES, A, N_PLAN, K) what each order comes to in the bar."""
    own: Float
    """(LANES, A, N_OWN_INSIDE) each instrument's own numbers."""
    busy: Bool
    """(LANES,) whether an order may act in the bar."""
    closer: Bool
    """(LANES,) whether the bar is gone through by its finer ones."""
    ahead: Int
    """(LANES,) what `qframe_rl.kernel.finer.look_ahead` says of them."""


def slot_scratch(n_instruments: int, n_slots: int) -> SlotScratch:
    """Scratch memory for accounts of A instruments with K slots each."""
    shape = (LANES, n_instruments)
    return SlotScratch(
        lanes.scratch(n_instruments), np.zeros((*shape, slots.N_PLAN, n_slots)), np.zeros((*shape, N_OWN_INSIDE)),
        np.zeros(LANES, dtype=np.bool_), np.zeros(LANES, dtype=np.bool_), np.zeros(LANES, dtype=np.int64),
    )  # fmt: skip


def parts_of(n_accounts: int, n_instruments: int, n_slots: int) -> Float:
    """(B, A, 3, K) room for what becomes of each order."""
    return np.zeros((n_accounts, n_instruments, N_PARTS, n_slots))


@compiled
def settle_slots(
    account: Float,
    holding: Float,
    orders: Float,
    bars: Float,
    row: Int,
    active: Bool,
    table: Float,
    leverage: float,
    shorting: bool,
    fills: Float,
    parts: Float,
    scratch: SlotScratch,
    finer: Finer,
) -> None:
    """Settle bar ``row[b]`` for every active account.

    Parameters
    ----------
    account, holding, bars, row, active, table, leverage, shorting, fills
        As in `qframe_rl.kernel.rows.settle_rows`.
    orders
        (B, A, 8, K) what stands in the slots; what is left after the bar is written back.
    parts
        (B, A, 3, K) overwritten: what became of each order.
    scratch
        `slot_scratch`.
    finer
        What the bars consist of; `qframe_rl.types.NO_FINER` where each is one step.
    """
    n, w = holding.shape[1], scratch.lanes
    spot, tiered = not shorting and leverage == 1.0, table[0, DAY_BARS] > 0.0
    for first in range(0, len(account), LANES):
        count = min(LANES, len(account) - first)
        begin(first, count, w, account, tiered)
        last = earning = bool(0)  # see `settle_rows`
        for k in range(LANES):
            scratch.busy[k] = scratch.closer[k] = False
        for a in range(n):
            v = w[ACCOUNT + a * INSTRUMENT :]
            take_holding(a, first, count, v, holding)
            ends, earns = take_bars(a, first, count, v, bars, row, 0)
            last, earning = last or ends, earning or earns
            _look(a, first, count, v, orders, row, active, fills, parts, finer, scratch)
        for a in range(n):
            v = w[ACCOUNT + a * INSTRUMENT :]
            lanes.price(v, w, table[a], shorting)
            if tiered:
                fee_tiers.discount(v, w, table[a])
            _plan(a, first, count, v, w, orders, table[a], leverage, shorting, spot, scratch)
        _meet(
            n, first, count, w, orders, bars, row, active, table, leverage, shorting, spot, last, earning, tiered,
            fills, parts, scratch, finer,
        )  # fmt: skip
        finish(n, first, count, w, account, holding, active, table, tiered)
        _pass(n, first, count, w, account, orders, active, fills, parts, scratch)


@inlined
def _look(
    a: int, first: int, count: int, v: Float, orders: Float, row: Int, active: Bool, fills: Float, parts: Float,
    finer: Finer, scratch: SlotScratch,
) -> None:  # fmt: skip
    """Say which lanes have an order that may act, and which one that finer bars may meet.

    Clear what is reported of the instrument, and order nothing else.
    """
    detailed = len(finer.start) > 0
    for k in range(LANES):
        v[lanes.ASKED + k] = v[lanes.FILLED + k] = v[lanes.FEE + k] = 0.0
    for k in range(count):
        b = first + k
        if active[b]:
            high, low = v[lanes.HIGH + k], v[lanes.LOW + k]
            acts = inside = 0
            # A loop by itself for either: that of bars without finer ones stays small.
            if detailed:
                for j in range(orders.shape[3]):
                    near = slots.near(orders[b, a], j, high, low)
                    acts += 1 if near else 0
                    inside += 1 if near_inside(orders[b, a], j, high, low, near) else 0
                if inside > 0 and several(finer, row[b]):
                    if not scratch.closer[k]:
                        expect(finer, row[b])
                    scratch.closer[k] = scratch.busy[k] = True
            else:
                for j in range(orders.shape[3]):
                    acts += 1 if slots.near(orders[b, a], j, high, low) else 0
            scratch.busy[k] = scratch.busy[k] or acts > 0
            for c in range(fills.shape[2]):
                fills[b, a, c] = 0.0
            parts[b, a, :, :] = 0.0


@inlined
def _plan(
    a: int, first: int, count: int, v: Float, w: Float, orders: Float, rule: Float, leverage: float, shorting: bool,
    spot: bool, scratch: SlotScratch,
) -> None:  # fmt: skip
    """Write what each order for an instrument comes to at the open, and what those need."""
    for k in range(count):
        if scratch.busy[k]:
            _planned(a, first, k, v, w, orders, rule, leverage, shorting, spot, scratch)


# What is rare is a call of its own (compiled, not inlined): the code that all bars go through stays small.
@compiled
def _planned(
    a: int, first: int, k: int, v: Float, w: Float, orders: Float, rule: Float, leverage: float, shorting: bool,
    spot: bool, scratch: SlotScratch,
) -> None:  # fmt: skip
    plan = scratch.plan[k, a]
    high, low = v[lanes.HIGH + k], v[lanes.LOW + k]
    if scratch.closer[k] and high == high:  # what rests awaits its finer bar, wherever it stands
        v[lanes.HIGH + k], v[lanes.LOW + k] = np.inf, 0.0
    slots.plan_open(v, k, orders[first + k, a], plan, scratch.own[k, a], rule, shorting)
    v[lanes.HIGH + k], v[lanes.LOW + k] = high, low
    for j in range(plan.shape[1]):
        plan[slots.AWAITS, j] = 1.0 if plan[slots.PHASE, j] == slots.MET else 0.0
    if spot:
        slots.need_cash(v, w, k, plan, rule)
    elif rule[OWNED] != 0.0:
        slots.need_free_cash(w, k, plan, leverage)
    else:
        slots.need_margin(v, w, k, plan, scratch.own[k, a], leverage, rule)


@inlined
def _meet(
    n: int, first: int, count: int, w: Float, orders: Float, bars: Float, row: Int, active: Bool, table: Float,
    leverage: float, shorting: bool, spot: bool, last: bool, earning: bool, tiered: bool, fills: Float, parts: Float,
    scratch: SlotScratch, finer: Finer,
) -> None:  # fmt: skip
    """Fill a block's orders, pay interest, liquidate who is short of margin, mark, and pay last bars out."""
    if earning:
        room.earn(n, w, table, spot)
    room.share_out(w, leverage, spot)
    for k in range(count):
        if scratch.busy[k]:
            _fill(n, first, k, w, orders, table, fills, parts, scratch)
    if earning:
        lanes.credit(w)
    for k in range(count):
        if scratch.busy[k] and not scratch.closer[k]:
            _rest(n, first, k, w, orders, table, leverage, shorting, spot, fills, parts, scratch)
    for a in range(n):
        if not spot and table[a, OWNED] == 0.0:
            forced.endanger(w[ACCOUNT + a * INSTRUMENT :], w, table[a])
    if len(finer.start) > 0:
        _inside(n, first, count, w, orders, bars, row, active, table, leverage, shorting, spot, fills, parts, scratch,
                finer)  # fmt: skip
    for a in range(n):
        lanes.remark(w[ACCOUNT + a * INSTRUMENT :])
    if not spot and forced.short_of_margin(w):
        liquidate(n, count, w, table)
    if last:
        pay_out(n, count, w, table, tiered)
    lanes.value(n, w)


@inlined
def _inside(
    n: int, first: int, count: int, w: Float, orders: Float, bars: Float, row: Int, active: Bool, table: Float,
    leverage: float, shorting: bool, spot: bool, fills: Float, parts: Float, scratch: SlotScratch, finer: Finer,
) -> None:  # fmt: skip
    """Go through the finer bars where an order is near, or where the bar's worst prices leave too little margin."""
    for k in range(count):
        b = first + k
        short = not spot and w[lanes.CASH + k] - w[lanes.MOVING + k] + w[lanes.WORST + k] < w[lanes.MARGIN + k]
        if short and not scratch.closer[k] and active[b] and several(finer, row[b]):
            scratch.closer[k] = True
            scratch.plan[k, :, slots.AWAITS, :] = 0.0
        if scratch.closer[k]:
            t = row[b]
            scratch.ahead[k] = look_ahead(
                n, w, k, t, finer.start[t], bars, table, spot, orders[b], scratch.plan[k], scratch.own[k], parts[b],
                finer,
            )  # fmt: skip
    for k in range(count):
        b = first + k
        if scratch.closer[k]:
            go_through(
                n, w, k, row[b], scratch.ahead[k], bars, table, leverage, spot, shorting, orders[b], scratch.plan[k],
                scratch.own[k], fills[b], parts[b], finer,
            )  # fmt: skip


@compiled
def _fill(
    n: int, first: int, k: int, w: Float, orders: Float, table: Float, fills: Float, parts: Float, scratch: SlotScratch
) -> None:  # fmt: skip
    b = first + k
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        slots.fill_open(
            v, w, k, orders[b, a], scratch.plan[k, a], scratch.own[k, a], table[a], fills[b, a], parts[b, a]
        )


@compiled
def _rest(
    n: int, first: int, k: int, w: Float, orders: Float, table: Float, leverage: float, shorting: bool, spot: bool,
    fills: Float, parts: Float, scratch: SlotScratch,
) -> None:  # fmt: skip
    b = first + k
    rest(n, w, k, table, leverage, spot, shorting, orders[b], scratch.plan[k], scratch.own[k], fills[b], parts[b])


@inlined
def _pass(
    n: int, first: int, count: int, w: Float, account: Float, orders: Float, active: Bool, fills: Float, parts: Float,
    scratch: SlotScratch,
) -> None:  # fmt: skip
    """Report what became of a block's accounts, and let the bar pass for what stands in their slots."""
    for k in range(count):
        b = first + k
        if active[b]:
            for a in range(n):
                v = w[ACCOUNT + a * INSTRUMENT :]
                fills[b, a, FEE], fills[b, a, FUNDING] = v[lanes.FEE + k], v[lanes.PAID + k]
                fills[b, a, FORCED], fills[b, a, FORCED_PRICE] = v[lanes.FORCED + k], v[lanes.FORCED_AT + k]
                final = v[lanes.FINAL + k]
                ended = account[b, RUINED] != 0.0 or final == LAST or final <= LAST_OUTSIDE
                slots.age(
                    v, k, ended, scratch.busy[k], scratch.closer[k], orders[b, a], scratch.plan[k, a], fills[b, a],
                    parts[b, a],
                )  # fmt: skip
