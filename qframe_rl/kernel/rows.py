"""The compiled functions that move money, for any number of accounts.

Everything goes through `settle_rows` or `advance_rows`: a session calls the first for one account, the environments the
second on the arrays of a whole batch. Both run the same stages (`qframe_rl.kernel.lanes`) on blocks of accounts, in
strict IEEE arithmetic, so the bits do not depend on who called or on how many accounts there were. The rules are those
of `docs/decisions/0002-market-rules.md`.

The stages of a bar, each a line below and a function of `lanes`, `resting` or a file of its own. A new rule is a new
line; its columns stand in `rules` (what an account remembers of it behind the account's own), its parameter is a field
of `qframe_rl.gym.market.MarketConfig`; `fee_tiers` is an example:

- `_begin`: lay the accounts out in lanes
- for each instrument: its position, order and bar; `_price`: funding, size, terms and needs of its order
- `_meet`: interest, fills at the open, resting orders, liquidation, marks, last bars, equity
- `_end`: write the accounts back
"""

from __future__ import annotations

import numpy as np

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel import fee_tiers, lanes
from qframe_rl.kernel.columns import (
    ABSORBED,
    BEFORE,
    CANCELLED,
    CASH,
    CASH_RATE,
    DUE,
    EARNED,
    EQUITY,
    FEE,
    FINAL,
    FORCED,
    FORCED_PRICE,
    FUNDING,
    LEFT,
    LIMIT,
    MARK,
    MOVING,
    POSITION,
    PRICE,
    PUSHED,
    QUANTITY,
    RUINED,
    SPREAD,
    STOP,
)
from qframe_rl.kernel.lanes import ACCOUNT, INSTRUMENT, LANES
from qframe_rl.kernel.resting import rest
from qframe_rl.kernel.rules import DAY_BARS, HALF_SPREAD, IMPACT, OWNED, TAKER
from qframe_rl.types import CLOSE, HIGH, LOW, OPEN, VOLUME, Bool, Float, Int


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

    ``account`` (B, `Rules.n_columns`) and ``holding`` (B, A, 2) are updated in place and ``fills`` (B, A, 9)
    overwritten; ``orders`` is (B, A, 3), ``bars`` (T, A, 8), ``row`` and ``active`` (B,), ``table`` as in `Rules`;
    ``work`` is `lanes.scratch`. Columns are named in `qframe_rl.kernel.columns`.
    """
    n = holding.shape[1]
    spot, tiered = not shorting and leverage == 1.0, table[0, DAY_BARS] > 0.0
    for first in range(0, len(account), LANES):
        count = min(LANES, len(account) - first)
        _begin(first, count, work, account, tiered)
        last = limited = earning = False
        for a in range(n):
            v = work[ACCOUNT + a * INSTRUMENT :]
            _take_holding(a, first, count, v, holding)
            priced = _take_orders(a, first, count, v, orders)
            ends, earns = _take_bars(a, first, count, v, bars, row, 0)
            last, earning = last or ends, earning or earns
            _price(count, v, work, table[a], leverage, shorting, spot, priced, tiered)
            limited = limited or priced
        _meet(n, count, work, table, leverage, spot, limited, last, earning, tiered)
        _end(n, first, count, work, account, holding, active, table, tiered)
        _report(n, first, count, work, active, table, fills)


@compiled
def advance_rows(
    target: Float,
    offset: Float,
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

    ``target``, ``offset`` and ``band`` are as in `target_rows`, the rest as in `settle_rows`. ``row`` moves on by one;
    ``fills`` is written only if ``recorded``.
    """
    n = holding.shape[1]
    spot, tiered = not shorting and leverage == 1.0, table[0, DAY_BARS] > 0.0
    limited = len(offset) > 0
    for first in range(0, len(account), LANES):
        count = min(LANES, len(account) - first)
        _begin(first, count, work, account, tiered)
        last = earning = False
        for a in range(n):
            v = work[ACCOUNT + a * INSTRUMENT :]
            _take_holding(a, first, count, v, holding)
            _take_targets(a, first, count, v, target, bars, row)
            ends, earns = _take_bars(a, first, count, v, bars, row, 1)
            last, earning = last or ends, earning or earns
            lanes.aim(v, work, band)
            if limited:
                _limit(a, first, count, v, offset)
            _price(count, v, work, table[a], leverage, shorting, spot, limited, tiered)
        _meet(n, count, work, table, leverage, spot, limited, last, earning, tiered)
        _end(n, first, count, work, account, holding, active, table, tiered)
        if recorded:
            _report(n, first, count, work, active, table, fills)
        for b in range(first, first + count):
            row[b] += 1 if active[b] else 0


@compiled
def target_rows(
    target: Float,
    offset: Float,
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
        empty where all are market orders.
    band
        No order where target and exposure differ by no more than this, unless the target is exactly 0.
    account, holding
        (B, 8) with the equity, (B, A, 2).
    bars
        (T, A, 8): an instrument that did not trade in the bar that just closed cannot be ordered.
    row
        (B,) that bar, for each account.
    orders
        (B, A, 3) overwritten.
    work
        `lanes.scratch`.
    """
    n = holding.shape[1]
    limited = len(offset) > 0
    for first in range(0, len(account), LANES):
        count = min(LANES, len(account) - first)
        _begin(first, count, work, account, False)
        for a in range(n):
            v = work[ACCOUNT + a * INSTRUMENT :]
            _take_holding(a, first, count, v, holding)
            _take_targets(a, first, count, v, target, bars, row)
            lanes.aim(v, work, band)
            if limited:
                _limit(a, first, count, v, offset)
            for k in range(count):
                orders[first + k, a, QUANTITY] = v[lanes.ASKED + k]
                orders[first + k, a, LIMIT] = v[lanes.LIMIT + k] if limited else np.nan
                orders[first + k, a, STOP] = np.nan


@inlined
def _begin(first: int, count: int, w: Float, account: Float, tiered: bool) -> None:
    """Lay a block of accounts out in lanes and clear its sums; lanes beyond ``count`` get one that holds nothing."""
    for k in range(count):
        w[lanes.CASH + k] = account[first + k, CASH]
        w[lanes.EQUITY + k] = account[first + k, EQUITY]
        w[lanes.LEFT + k] = max(account[first + k, LEFT] - 1.0, 0.0)
        w[lanes.MOVING + k] = account[first + k, MOVING] if account[first + k, LEFT] > 1.0 else 0.0
    for k in range(count, LANES):
        w[lanes.CASH + k] = w[lanes.EQUITY + k] = 1.0
        w[lanes.LEFT + k] = w[lanes.MOVING + k] = 0.0
    for k in range(LANES):
        w[lanes.ROOM + k] = w[lanes.CASH + k] - w[lanes.MOVING + k]
        w[lanes.GROSS + k] = w[lanes.NEED + k] = w[lanes.WORST + k] = w[lanes.MARGIN + k] = 0.0
        w[lanes.ABSORBED + k] = w[lanes.RUINED + k] = w[lanes.EARNED + k] = 0.0
    if tiered:
        fee_tiers.look_back(first, count, w, account)


@inlined
def _take_holding(a: int, first: int, count: int, v: Float, holding: Float) -> None:
    """Lay the positions in one instrument out in lanes."""
    for k in range(count):
        v[lanes.HELD + k] = holding[first + k, a, POSITION]
        v[lanes.MARK + k] = holding[first + k, a, MARK]
    for k in range(count, LANES):
        v[lanes.HELD + k] = 0.0
        v[lanes.MARK + k] = 1.0


@inlined
def _take_orders(a: int, first: int, count: int, v: Float, orders: Float) -> bool:
    """Lay the orders for one instrument out in lanes; say whether any has a limit or a stop."""
    limited = False
    for k in range(count):
        limit, stop = orders[first + k, a, LIMIT], orders[first + k, a, STOP]
        v[lanes.ASKED + k], v[lanes.LIMIT + k], v[lanes.STOP + k] = orders[first + k, a, QUANTITY], limit, stop
        limited = limited or limit == limit or stop == stop
    for k in range(count, LANES):
        v[lanes.ASKED + k] = 0.0
    return limited


@inlined
def _take_targets(a: int, first: int, count: int, v: Float, target: Float, bars: Float, row: Int) -> None:
    """Lay the targets for one instrument and the closes that they were decided at out in lanes."""
    for k in range(count):
        v[lanes.SIZE + k] = target[first + k, a]
        v[lanes.BASE + k] = bars[np.uintp(row[first + k]), a, CLOSE]
    for k in range(count, LANES):
        v[lanes.BASE + k] = np.nan


@inlined
def _take_bars(a: int, first: int, count: int, v: Float, bars: Float, row: Int, ahead: int) -> tuple[bool, bool]:
    """Lay the bars ``ahead`` of the accounts' rows out; say whether one is the instrument's last, and if cash earns."""
    last = earning = 0.0
    for k in range(count):
        t = np.uintp(min(row[first + k] + ahead, len(bars) - 1))
        v[lanes.OPEN + k] = bars[t, a, OPEN]
        v[lanes.HIGH + k] = bars[t, a, HIGH]
        v[lanes.LOW + k] = bars[t, a, LOW]
        v[lanes.CLOSE + k] = bars[t, a, CLOSE]
        v[lanes.VOLUME + k] = bars[t, a, VOLUME]
        v[lanes.DUE + k] = bars[t, a, DUE]
        v[lanes.FINAL + k] = bars[t, a, FINAL]
        v[lanes.EARNS + k] = bars[t, a, CASH_RATE]
        last += v[lanes.FINAL + k]
        earning += abs(v[lanes.EARNS + k])
    for k in range(count, LANES):
        v[lanes.OPEN + k] = v[lanes.HIGH + k] = v[lanes.LOW + k] = v[lanes.CLOSE + k] = v[lanes.VOLUME + k] = 1.0
        v[lanes.DUE + k] = v[lanes.EARNS + k] = 0.0
    return last != 0.0, earning != 0.0


@inlined
def _limit(a: int, first: int, count: int, v: Float, offset: Float) -> None:
    """Write the limit prices of a block's orders, NaN where an order is to be a market order."""
    for k in range(count):
        side = 1.0 if v[lanes.ASKED + k] > 0.0 else -1.0
        limit = v[lanes.MARK + k] * (1.0 - side * offset[first + k, a])
        v[lanes.LIMIT + k] = limit if v[lanes.ASKED + k] != 0.0 else np.nan
        v[lanes.STOP + k] = np.nan


@inlined
def _price(
    count: int, v: Float, w: Float, rule: Float, leverage: float, shorting: bool, spot: bool, limited: bool,
    tiered: bool,
) -> None:  # fmt: skip
    """Pay funding, and write the terms of a block's orders for one instrument, and what they need."""
    lanes.price(v, w, rule, shorting)
    if tiered:
        fee_tiers.discount(v, w, rule)
    if limited:
        _condition(count, v, rule)
    if spot:
        lanes.need_cash(v, w, rule)
    elif rule[OWNED] != 0.0:
        lanes.need_free_cash(v, w, leverage)
    else:
        lanes.need_margin(v, w, leverage, rule)


@compiled
def _condition(count: int, v: Float, rule: Float) -> None:
    for k in range(count):
        lanes.condition(v, k, rule)


@inlined
def _meet(
    n: int, count: int, w: Float, table: Float, leverage: float, spot: bool, limited: bool, last: bool, earning: bool,
    tiered: bool,
) -> None:  # fmt: skip
    """Fill a block's orders, pay interest, liquidate who is short of margin, mark, and pay last bars out."""
    if earning:
        lanes.earn(n, w, table, spot)
    lanes.share_out(w, leverage, spot)
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        lanes.fill(v, w, table[a])
        if table[a, OWNED] != 0.0:
            lanes.move(v, w, table[a])
    if earning:
        lanes.credit(w)
    if limited:
        _rest(n, count, w, table, leverage, spot)
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        if not spot and table[a, OWNED] == 0.0:
            lanes.endanger(v, w, table[a])
        lanes.remark(v)
    if not spot and lanes.short_of_margin(w):
        _liquidate(n, count, w, table)
    if last:
        _pay_out(n, count, w, table, tiered)
    lanes.value(n, w)


@compiled
def _rest(n: int, count: int, w: Float, table: Float, leverage: float, spot: bool) -> None:
    for k in range(count):
        rest(n, w, k, table, leverage, spot)


@compiled
def _liquidate(n: int, count: int, w: Float, table: Float) -> None:
    for k in range(count):
        lanes.liquidate(n, w, k, table)


@compiled
def _pay_out(n: int, count: int, w: Float, table: Float, tiered: bool) -> None:
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        for k in range(count):
            if v[lanes.FINAL + k] != 0.0 and v[lanes.HELD + k] != 0.0:
                rate = fee_tiers.rate_of(w[lanes.TRADED + k], table[a]) if tiered else table[a, TAKER]
                lanes.force(v, w, k, v[lanes.MARK + k], rate)
    for k in range(count):
        lanes.bear(n, w, k, table)


@inlined
def _end(
    n: int, first: int, count: int, w: Float, account: Float, holding: Float, active: Bool, table: Float, tiered: bool
) -> None:
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
            if tiered:
                fee_tiers.note(n, w, k, account[b], table)


@inlined
def _report(n: int, first: int, count: int, w: Float, active: Bool, table: Float, fills: Float) -> None:
    """Write what became of a block's orders."""
    for k in range(count):
        b = first + k
        if active[b]:
            for a in range(n):
                v = w[ACCOUNT + a * INSTRUMENT + k :]
                asked, filled, base = v[lanes.ASKED], v[lanes.FILLED], v[lanes.BASE]
                taken = filled != 0.0 and base > 0.0
                spread = abs(filled) * base * table[a, HALF_SPREAD] if taken else 0.0
                pushed = taken and table[a, IMPACT] > 0.0
                fills[b, a, QUANTITY] = filled
                fills[b, a, PRICE] = v[lanes.AT] if filled != 0.0 else 0.0
                fills[b, a, FEE] = v[lanes.FEE]
                fills[b, a, SPREAD] = spread
                fills[b, a, PUSHED] = filled * (v[lanes.AT] - base) - spread if pushed else 0.0
                fills[b, a, FUNDING] = v[lanes.PAID]
                fills[b, a, CANCELLED] = asked - filled if asked == asked else 0.0
                fills[b, a, FORCED] = v[lanes.FORCED]
                fills[b, a, FORCED_PRICE] = v[lanes.FORCED_AT]
