"""The compiled functions that move money, for any number of accounts.

Everything goes through `settle_rows` or `advance_rows`: a session calls the first for one account, the environments the
second on the arrays of a whole batch. Both run the same stages (`qframe_rl.kernel.lanes`) on blocks of accounts, in
strict IEEE arithmetic, so the bits do not depend on who called or on how many accounts there were. The rules are those
of `docs/decisions/0002-market-rules.md`.

The stages of a bar, each a line below and a function of `lanes`, `resting` or a file of its own. A new rule is a new
line; its columns stand in `rules` (what an account remembers of it behind the account's own), its parameter is a field
of `qframe_rl.gym.market.MarketConfig`; `fee_tiers` is an example:

- `begin`: lay the accounts out in lanes
- for each instrument: its position, order and bar; `_price`: funding, size, terms and needs of its order
- `_meet`: interest, fills at the open, resting orders, liquidation, marks, last bars, equity
- `finish`: write the accounts back
"""

from __future__ import annotations

import numpy as np

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel import fee_tiers, forced, lanes, room
from qframe_rl.kernel.blocks import confine, limit, report, take_bars, take_holding, take_orders, take_targets
from qframe_rl.kernel.columns import (
    ABSORBED,
    BEFORE,
    CASH,
    EARNED,
    EQUITY,
    LAST,
    LAST_OUTSIDE,
    LEFT,
    LIMIT,
    MARK,
    MOVING,
    POSITION,
    QUANTITY,
    RUINED,
    STOP,
)
from qframe_rl.kernel.lanes import ACCOUNT, INSTRUMENT, LANES
from qframe_rl.kernel.resting import rest
from qframe_rl.kernel.rules import DAY_BARS, OWNED, TAKER
from qframe_rl.types import Bool, Float, Int


@compiled
def settle_rows(
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
    work: Float,
) -> None:
    """Settle bar ``row[b]`` for every active account.

    Columns are named in `qframe_rl.kernel.columns`.

    Parameters
    ----------
    account, holding
        (B, `Rules.n_columns`) and (B, A, 2), updated in place.
    orders
        (B, A, 3) decided after the bar before.
    bars
        (T, A, 8), for all accounts.
    row, active
        (B,) which bar, and whether the account lives it through; the rows of others are left alone.
    table, leverage, shorting
        As in `Rules`.
    fills
        (B, A, 9) overwritten.
    work
        `lanes.scratch`.
    """
    n = holding.shape[1]
    spot, tiered = not shorting and leverage == 1.0, table[0, DAY_BARS] > 0.0
    for first in range(0, len(account), LANES):
        count = min(LANES, len(account) - first)
        begin(first, count, work, account, tiered)
        last = limited = earning = bool(0)  # a False is a type of its own: `_meet` would be compiled for it too
        for a in range(n):
            v = work[ACCOUNT + a * INSTRUMENT :]
            take_holding(a, first, count, v, holding)
            priced = take_orders(a, first, count, v, orders)
            ends, earns = take_bars(a, first, count, v, bars, row, 0)
            last, earning = last or ends, earning or earns
            _price(count, v, work, table[a], leverage, shorting, spot, priced, tiered)
            limited = limited or priced
        _meet(n, count, work, table, leverage, spot, limited, last, earning, tiered)
        finish(n, first, count, work, account, holding, active, table, tiered)
        report(n, first, count, work, active, table, fills)


@compiled
def advance_rows(
    target: Float,
    offset: Float | None,
    band: float,
    account: Float,
    holding: Float,
    bars: Float,
    row: Int,
    active: Bool,
    table: Float,
    leverage: float,
    shorting: bool,
    recorded: bool,
    fills: Float,
    work: Float,
) -> None:
    """Order toward target exposures after bar ``row[b]``, and settle the next bar, for every active account.

    Parameters
    ----------
    target, band
        As in `target_rows`.
    offset
        As in `target_rows`, or None where all are market orders and fees have no tiers: what neither needs is then not
        even compiled, which a first step waits for.
    account, holding, bars, active, table, leverage, shorting, work
        As in `settle_rows`.
    row
        (B,) the bar that each account decides after; moves on by one.
    recorded, fills
        Whether (B, A, 9) ``fills`` are overwritten.
    """
    n = holding.shape[1]
    spot = not shorting and leverage == 1.0
    limited: bool | None
    tiered: bool | None
    if offset is None:
        limited = tiered = None
    else:
        limited, tiered = len(offset) > 0, table[0, DAY_BARS] > 0.0
    for first in range(0, len(account), LANES):
        count = min(LANES, len(account) - first)
        begin(first, count, work, account, tiered)
        last = earning = bool(0)
        for a in range(n):
            v = work[ACCOUNT + a * INSTRUMENT :]
            take_holding(a, first, count, v, holding)
            outside = take_targets(a, first, count, v, target, bars, row)
            ends, earns = take_bars(a, first, count, v, bars, row, 1)
            last, earning = last or ends, earning or earns
            lanes.aim(v, work, band)
            if outside:
                confine(a, first, count, v, bars, row)
            if offset is not None and limited:
                limit(a, first, count, v, offset)
            _price(count, v, work, table[a], leverage, shorting, spot, limited, tiered)
        _meet(n, count, work, table, leverage, spot, limited, last, earning, tiered)
        finish(n, first, count, work, account, holding, active, table, tiered)
        if recorded:
            report(n, first, count, work, active, table, fills)
        for b in range(first, first + count):
            row[b] += 1 if active[b] else 0


@compiled
def target_rows(
    target: Float,
    offset: Float | None,
    band: float,
    account: Float,
    holding: Float,
    bars: Float,
    row: Int,
    orders: Float,
    work: Float,
) -> None:
    """Write the orders that take each account to its target exposures: what `advance_rows` orders.

    Parameters
    ----------
    target
        (B, A) signed share of equity to hold of each instrument; NaN = leave as it is.
    offset
        (B, A) distance of the limit price from the mark on the passive side, fraction of it, NaN = market order; or
        empty or None where all are market orders.
    band
        No order where target and exposure differ by no more than this, unless the target is exactly 0.
    account, holding
        (B, 8) with the equity, (B, A, 2).
    bars
        (T, A, 8): an instrument that did not trade in the bar that just closed cannot be ordered, and of one outside
        the universe no more than its closing part.
    row
        (B,) that bar, for each account.
    orders
        (B, A, 3) overwritten.
    work
        `lanes.scratch`.
    """
    n = holding.shape[1]
    limited = offset is not None and len(offset) > 0
    for first in range(0, len(account), LANES):
        count = min(LANES, len(account) - first)
        begin(first, count, work, account, False)
        for a in range(n):
            v = work[ACCOUNT + a * INSTRUMENT :]
            take_holding(a, first, count, v, holding)
            outside = take_targets(a, first, count, v, target, bars, row)
            lanes.aim(v, work, band)
            if outside:
                confine(a, first, count, v, bars, row)
            if offset is not None and limited:
                limit(a, first, count, v, offset)
            for k in range(count):
                orders[first + k, a, QUANTITY] = v[lanes.ASKED + k]
                orders[first + k, a, LIMIT] = v[lanes.LIMIT + k] if limited else np.nan
                orders[first + k, a, STOP] = np.nan


@inlined
def begin(first: int, count: int, w: Float, account: Float, tiered: bool | None) -> None:
    """Lay a block of accounts out in lanes and clear its sums; lanes beyond ``count`` get one that holds nothing."""
    for k in range(count):
        w[lanes.CASH + k] = account[first + k, CASH]
        w[lanes.EQUITY + k] = account[first + k, EQUITY]
        w[lanes.LEFT + k] = max(account[first + k, LEFT] - 1.0, 0.0)
        w[lanes.MOVING + k] = account[first + k, MOVING] if account[first + k, LEFT] > 1.0 else 0.0
    for k in range(count, LANES):
        w[lanes.CASH + k] = w[lanes.EQUITY + k] = 1.0
        w[lanes.LEFT + k] = w[lanes.MOVING + k] = 0.0
    # The way of what a coin was sold for is one bar shorter than it was; with LEFT at 1 it arrives now.
    for k in range(LANES):
        w[lanes.ROOM + k] = w[lanes.CASH + k] - w[lanes.MOVING + k]
        w[lanes.GROSS + k] = w[lanes.NEED + k] = w[lanes.WORST + k] = w[lanes.MARGIN + k] = 0.0
        w[lanes.ABSORBED + k] = w[lanes.RUINED + k] = w[lanes.EARNED + k] = 0.0
    if tiered is not None and tiered:
        fee_tiers.look_back(first, count, w, account)


@inlined
def _price(
    count: int, v: Float, w: Float, rule: Float, leverage: float, shorting: bool, spot: bool, limited: bool | None,
    tiered: bool | None,
) -> None:  # fmt: skip
    """Pay funding, and write the terms of a block's orders for one instrument, and what they need."""
    lanes.price(v, w, rule, shorting)
    if tiered is not None and tiered:
        fee_tiers.discount(v, w, rule)
    if limited is not None and limited:
        _condition(count, v, rule)
    if spot:
        room.need_cash(v, w, rule)
    elif rule[OWNED] != 0.0:
        room.need_free_cash(v, w, leverage)
    else:
        room.need_margin(v, w, leverage, rule)


# What is rare is a call of its own (compiled, not inlined): the code that all bars go through stays small.
@compiled
def _condition(count: int, v: Float, rule: Float) -> None:
    for k in range(count):
        lanes.condition(v, k, rule)


@inlined
def _meet(
    n: int, count: int, w: Float, table: Float, leverage: float, spot: bool, limited: bool | None, last: bool,
    earning: bool, tiered: bool | None,
) -> None:  # fmt: skip
    """Fill a block's orders, pay interest, liquidate who is short of margin, mark, and pay last bars out."""
    if earning:
        room.earn(n, w, table, spot)
    room.share_out(w, leverage, spot)
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        lanes.fill(v, w, table[a])
        if table[a, OWNED] != 0.0:
            lanes.move(v, w, table[a])
    if earning:
        lanes.credit(w)
    if limited is not None and limited:
        _rest(n, count, w, table, leverage, spot)
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        if not spot and table[a, OWNED] == 0.0:
            forced.endanger(v, w, table[a])
        lanes.remark(v)
    # A coin that was paid for cannot be lost to a margin call, and without leverage there is no margin.
    if not spot and forced.short_of_margin(w):
        liquidate(n, count, w, table)
    if last:
        pay_out(n, count, w, table, tiered)
    lanes.value(n, w)


@compiled
def _rest(n: int, count: int, w: Float, table: Float, leverage: float, spot: bool) -> None:
    for k in range(count):
        rest(n, w, k, table, leverage, spot)


@compiled
def liquidate(n: int, count: int, w: Float, table: Float) -> None:
    """Close the books of a block's accounts that are short of their margin."""
    for k in range(count):
        forced.liquidate(n, w, k, table)


@compiled
def pay_out(n: int, count: int, w: Float, table: Float, tiered: bool | None) -> None:
    """Pay out what a block's accounts hold of instruments in their last bar."""
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        for k in range(count):
            ends = v[lanes.FINAL + k] == LAST or v[lanes.FINAL + k] == LAST_OUTSIDE
            if ends and v[lanes.HELD + k] != 0.0:
                rate = table[a, TAKER]
                if tiered is not None and tiered:
                    rate = fee_tiers.rate_of(w[lanes.TRADED + k], table[a])
                forced.force(v, w, k, v[lanes.MARK + k], rate)
    for k in range(count):
        forced.bear(n, w, k, table)


@inlined
def finish(
    n: int, first: int, count: int, w: Float, account: Float, holding: Float, active: Bool, table: Float,
    tiered: bool | None,
) -> None:  # fmt: skip
    """Write the accounts of a block back."""
    for k in range(count):
        b = first + k
        if active[b]:
            account[b, CASH] = w[lanes.CASH + k]
            account[b, BEFORE] = account[b, EQUITY]
            account[b, EQUITY] = w[lanes.EQUITY + k]
            account[b, ABSORBED] = w[lanes.ABSORBED + k]
            account[b, EARNED] = w[lanes.EARNED + k]
            account[b, MOVING] = w[lanes.MOVING + k]
            account[b, LEFT] = w[lanes.LEFT + k]
            account[b, RUINED] = 1.0 if w[lanes.EQUITY + k] <= 0.0 else w[lanes.RUINED + k]
            for a in range(n):
                v = w[ACCOUNT + a * INSTRUMENT + k :]
                holding[b, a, POSITION] = v[lanes.HELD]
                holding[b, a, MARK] = v[lanes.MARK]
            if tiered is not None and tiered:
                fee_tiers.note(n, w, k, account[b], table)
