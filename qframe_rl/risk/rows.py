"""The compiled functions that hold accounts to limits, for any number of accounts.

The risk engine of a session calls them for one account, the environments and batched backtests for a whole batch, so a
limit means the same wherever it binds, to the last bit. They stand beside the kernel and are run only where limits were
asked for. Columns are named in `qframe_rl.risk.columns` and `qframe_rl.kernel.columns`.
"""

from __future__ import annotations

import numpy as np

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.columns import EQUITY, LIMIT, MARK, POSITION, QUANTITY, STOP
from qframe_rl.kernel.grid import down, up
from qframe_rl.kernel.lanes import allowed
from qframe_rl.kernel.rows import settle_rows, target_rows
from qframe_rl.kernel.rules import LOT_SCALE, LOT_STEP, TICK_SCALE, TICK_STEP
from qframe_rl.risk.columns import (
    ACTIVE,
    COLLAR,
    COLLARED,
    DAILY_LOSS,
    DAY_START,
    DECISIONS,
    DRAWN_DOWN,
    FILTERED,
    FILTERS,
    FLAT,
    FLATTEN,
    HALTED,
    HOW_MANY,
    LOST_TODAY,
    MAX_DRAWDOWN,
    MAX_GROSS,
    MAX_LEVERAGE,
    MAX_ORDER,
    MAX_ORDERS_PER_HOUR,
    MAX_POSITION,
    MAX_REJECTS,
    ON_LOSS,
    PEAK,
    REDUCE_ONLY,
    REDUCES,
    REJECTED,
    REJECTS,
    RESUMED,
    SKEWED,
    STALE,
    STATE,
    THE_DAY,
    TOO_GROSS,
    TOO_LARGE,
    TOO_MANY,
    TOO_MUCH,
    WHEN,
    Watch,
)
from qframe_rl.risk.guard import PROTECTS
from qframe_rl.risk.protections import begin_guard, closable, protect, protected
from qframe_rl.times import DAY, HOUR
from qframe_rl.types import CLOSE, Bool, Float, Int


@compiled
def begin_rows(mask: Bool, account: Float, holding: Float, time: Int, row: Int, watch: Watch) -> None:
    """Forget the masked accounts, and take what they own before their first decision as highest and the day's first."""
    for b in range(len(mask)):
        if mask[b]:
            watch.state[b, :] = 0.0
            watch.state[b, PEAK] = watch.state[b, DAY_START] = account[b, EQUITY]
            watch.state[b, THE_DAY] = time[row[b]] // DAY
            watch.sent[b, :, :] = 0
            begin_guard(account[b, EQUITY], holding[b], time[row[b]], watch.guard, b)


@compiled
def use_rows(account: Float, watch: Watch, out: Float) -> None:
    """Write how much of its loss limits each account has used up, (B, 3) as `qframe_rl.agent.View.limit_use`."""
    for b in range(len(out)):
        state = watch.state[b]
        out[b, 0] = _used(account[b, EQUITY], state[PEAK], watch.terms[MAX_DRAWDOWN])
        out[b, 1] = _used(account[b, EQUITY], state[DAY_START], watch.terms[DAILY_LOSS])
        out[b, 2] = 0.0 if state[STATE] == ACTIVE else 1.0


@inlined
def _used(equity: float, first: float, limit: float) -> float:
    """Loss since a first equity, as a share of the limit on it; 0 without one, or where nothing is lost."""
    lost = first - equity
    return lost / (limit * first) if (lost > 0.0) & (first > 0.0) else 0.0


@compiled
def guarded_rows(
    target: Float,
    offset: Float,
    band: float,
    account: Float,
    holding: Float,
    bars: Float,
    time: Int,
    row: Int,
    active: Bool,
    table: Float,
    leverage: float,
    shorting: bool,
    watch: Watch,
    fills: Float,
    work: Float,
) -> None:
    """Do what `qframe_rl.kernel.rows.advance_rows` does, with orders held to limits and accounts watched for losses.

    ``time`` (T,) are the closes of ``bars``; ``fills`` (B, A, 9) is always written.
    """
    target_rows(target, offset, band, account, holding, bars, row, watch.asked, work)
    judge_rows(watch.asked, account, holding, time, row, active, watch)
    pend_rows(bars, row, watch)
    settle_rows(
        account, holding, watch.pending, bars, watch.ahead, active, table, leverage, shorting, fills, work
    )  # fmt: skip
    for b in range(len(row)):
        row[b] += 1 if active[b] else 0
    watch_rows(watch.orders, fills, account, holding, time, row, active, watch)


@compiled
def pend_rows(bars: Float, row: Int, watch: Watch) -> None:
    """Write what meets the bar after ``row[b]`` of the orders that were passed: none for what did not trade."""
    for b in range(len(row)):
        watch.ahead[b] = min(row[b] + 1, len(bars) - 1)
        for a in range(watch.orders.shape[1]):
            traded = bars[row[b], a, CLOSE] == bars[row[b], a, CLOSE]
            watch.pending[b, a, QUANTITY] = watch.orders[b, a, QUANTITY] if traded else 0.0
            watch.pending[b, a, LIMIT] = watch.orders[b, a, LIMIT]
            watch.pending[b, a, STOP] = watch.orders[b, a, STOP]


@compiled
def judge_rows(
    asked: Float, account: Float, holding: Float, time: Int, row: Int, active: Bool, watch: Watch
) -> None:  # fmt: skip
    """Pass, cut or refuse the orders of active accounts, decided at ``time[row[b]]``.

    Parameters
    ----------
    asked
        (B, A, 3) orders; what is left of them is written to ``watch.orders``, and what cut them to ``watch.cuts``.
    account, holding
        (B, 8) with the equity, (B, A, 2).
    time, row
        (T,) closes, ns UTC, and (B,) which of them.
    active
        (B,).
    watch
        The limits and the accounts' memory.
    """
    for b in range(len(asked)):
        if active[b]:
            orders, cuts, state = watch.orders[b], watch.cuts[b], watch.state[b, STATE]
            for a in range(len(orders)):
                cuts[a] = 0
                for k in range(3):
                    orders[a, k] = asked[b, a, k]
            if state == HALTED:
                _close(orders, holding[b], 0.0)
            elif state == FLATTEN:
                _close(orders, holding[b], 1.0)
            else:
                _judge(orders, cuts, account[b, EQUITY], holding[b], time[row[b]], watch, b)
            _note(orders, time[row[b]], watch, b)


@inlined
def _close(orders: Float, holding: Float, share: float) -> None:
    """Replace orders by market orders for a share of what is held."""
    for a in range(len(orders)):
        held = share * holding[a, POSITION]
        orders[a, QUANTITY] = -held if held != 0.0 else 0.0
        orders[a, LIMIT] = orders[a, STOP] = np.nan


@inlined
def _judge(orders: Float, cuts: Int, equity: float, holding: Float, now: int, watch: Watch, b: int) -> None:
    """Apply every rule, one after the other."""
    terms = watch.terms
    held_back = watch.held_back[b] | (REDUCES if watch.state[b, STATE] == REDUCE_ONLY else 0)
    for rule in (REDUCES, STALE, SKEWED):
        if held_back & rule:
            for a in range(len(orders)):
                _cut(orders, cuts, a, closing_part(orders[a, QUANTITY], holding[a, POSITION]), rule)
    if watch.guard.rules[PROTECTS] != 0.0:
        protected(orders, cuts, holding, now, watch.guard, b)
    if terms[COLLAR] < np.inf:
        _collar(orders, cuts, holding, watch.mid[b], terms[COLLAR])
    if terms[MAX_ORDER] < np.inf:
        for a in range(len(orders)):
            most = _worth(terms[MAX_ORDER], holding[a, MARK])
            _cut(orders, cuts, a, _at_most(orders[a, QUANTITY], most), TOO_LARGE)
    if terms[MAX_POSITION] < np.inf:
        _position(orders, cuts, holding, terms[MAX_POSITION])
    if terms[MAX_GROSS] < np.inf or terms[MAX_LEVERAGE] < np.inf:
        most = terms[MAX_LEVERAGE] * max(equity, 0.0) if terms[MAX_LEVERAGE] < np.inf else np.inf
        _gross(orders, cuts, holding, min(terms[MAX_GROSS], most))
    if terms[FILTERS] != 0.0:
        for a in range(len(orders)):
            _filter(orders, cuts, a, holding[a], watch.sizes[a])
    if terms[MAX_ORDERS_PER_HOUR] < np.inf:
        _slow(orders, cuts, holding, now, watch, b)


@inlined
def closing_part(quantity: float, position: float) -> float:
    """Part of an order that reduces its position, signed."""
    against = ((quantity > 0.0) & (position < 0.0)) | ((quantity < 0.0) & (position > 0.0))
    return _at_most(quantity, abs(position)) if against else 0.0


@inlined
def _at_most(quantity: float, most: float) -> float:
    """A signed quantity of at most a size; what is no larger keeps its bits."""
    return (most if quantity > 0.0 else -most) if abs(quantity) > most else quantity


@inlined
def _worth(value: float, mark: float) -> float:
    """Quantity that is worth ``value``; none while there is no mark."""
    return value / mark if mark == mark else 0.0


@inlined
def _cut(orders: Float, cuts: Int, a: int, quantity: float, rule: int) -> None:
    """Set a quantity, and note if that is less than was asked for."""
    cuts[a] |= rule if quantity != orders[a, QUANTITY] else 0
    orders[a, QUANTITY] = quantity


@inlined
def _collar(orders: Float, cuts: Int, holding: Float, mid: Float, collar: float) -> None:
    """Refuse orders whose own price, or the quoted mid for a market order, is too far from the mark."""
    for a in range(len(orders)):
        mark = holding[a, MARK]
        price = orders[a, STOP] if orders[a, STOP] == orders[a, STOP] else mid[a]
        price = orders[a, LIMIT] if orders[a, LIMIT] == orders[a, LIMIT] else price
        if abs(price - mark) > collar * mark:
            _cut(orders, cuts, a, 0.0, COLLARED)


@inlined
def _position(orders: Float, cuts: Int, holding: Float, largest: float) -> None:
    """Cut opening parts to the room that each position has."""
    for a in range(len(orders)):
        quantity, position = orders[a, QUANTITY], holding[a, POSITION]
        closing = closing_part(quantity, position)
        room = max(0.0, _worth(largest, holding[a, MARK]) - abs(position + closing))
        if abs(quantity - closing) > room:
            _cut(orders, cuts, a, closing + _at_most(quantity - closing, room), TOO_MUCH)


@inlined
def _gross(orders: Float, cuts: Int, holding: Float, most: float) -> None:
    """Cut opening parts in proportion to the room that all positions together have."""
    held = asked = 0.0
    for a in range(len(orders)):
        quantity, position = orders[a, QUANTITY], holding[a, POSITION]
        mark = holding[a, MARK] if holding[a, MARK] == holding[a, MARK] else 0.0
        closing = closing_part(quantity, position)
        held += abs(position + closing) * mark
        asked += abs(quantity - closing) * mark
    # Rounding must not push the sum over the bound.
    room = max(0.0, most - held) * (1.0 - 1e-12)
    if asked > room:
        for a in range(len(orders)):
            quantity = orders[a, QUANTITY]
            closing = closing_part(quantity, holding[a, POSITION])
            opening = quantity - closing
            if opening != 0.0:
                _cut(orders, cuts, a, closing + opening * (room / asked), TOO_GROSS)


@inlined
def _filter(orders: Float, cuts: Int, a: int, holding: Float, size: Float) -> None:
    """Round to lots and ticks, toward less, and drop what is too small, as the kernel does."""
    quantity, limit, stop = orders[a, QUANTITY], orders[a, LIMIT], orders[a, STOP]
    buys, step, scale = quantity > 0.0, size[TICK_STEP], size[TICK_SCALE]
    if size[LOT_STEP] > 0.0:
        lots = down(abs(quantity), size[LOT_STEP], size[LOT_SCALE])
        quantity = lots if buys else -lots
    if step > 0.0:
        limit = down(limit, step, scale) if buys else up(limit, step, scale)
        stop = up(stop, step, scale) if buys else down(stop, step, scale)
    mark = holding[MARK] if holding[MARK] == holding[MARK] else 0.0
    price = limit if limit == limit else mark
    orders[a, LIMIT], orders[a, STOP] = limit, stop
    _cut(orders, cuts, a, allowed(quantity, closing_part(quantity, holding[POSITION]), price, size), FILTERED)


@inlined
def _slow(orders: Float, cuts: Int, holding: Float, now: int, watch: Watch, b: int) -> None:
    """Leave only the closing part of the orders that are one too many in an hour."""
    capacity, decisions, count = watch.sent.shape[1], np.int64(watch.state[b, DECISIONS]), 0
    for back in range(1, min(capacity, decisions) + 1):
        at = (decisions - back) % capacity
        if watch.sent[b, at, WHEN] <= now - HOUR:
            break
        count += watch.sent[b, at, HOW_MANY]
    for a in range(len(orders)):
        if orders[a, QUANTITY] != 0.0:
            count += 1
            if count > watch.terms[MAX_ORDERS_PER_HOUR]:
                _cut(orders, cuts, a, closing_part(orders[a, QUANTITY], holding[a, POSITION]), TOO_MANY)


@inlined
def _note(orders: Float, now: int, watch: Watch, b: int) -> None:
    """Remember how many orders go out."""
    capacity, count = watch.sent.shape[1], 0
    for a in range(len(orders)):
        count += 1 if orders[a, QUANTITY] != 0.0 else 0
    if capacity > 0 and count > 0:
        at = np.int64(watch.state[b, DECISIONS]) % capacity
        watch.sent[b, at, WHEN], watch.sent[b, at, HOW_MANY] = now, count
        watch.state[b, DECISIONS] += 1.0


@compiled
def watch_rows(
    orders: Float, fills: Float, account: Float, holding: Float, time: Int, row: Int, active: Bool, watch: Watch
) -> None:  # fmt: skip
    """Look at active accounts after the bar that closed at ``time[row[b]]``; ``watch.trips`` is why a state changed.

    Parameters
    ----------
    orders
        (B, A, 3) what met the bar.
    fills
        (B, A, ...) what became of it, the quantity first.
    account, holding, time, row, active, watch
        As in `judge_rows`.
    """
    for b in range(len(orders)):
        if active[b]:
            equity, now = account[b, EQUITY], time[row[b]]
            look(orders[b], fills[b], equity, now, watch.state[b])
            if watch.guard.rules[PROTECTS] != 0.0:
                protect(equity, fills[b], holding[b], now, watch.sizes, watch.guard, b)
            watch.trips[b] = trip(equity, holding[b], watch.terms, watch.sizes, watch.state[b])


@inlined
def look(orders: Float, fills: Float, equity: float, now: int, state: Float) -> None:
    """Note an equity, the first one of a day if there is any, and how many orders in a row filled not."""
    day = float(now // DAY)
    if day != state[THE_DAY] or state[RESUMED] != 0.0 or state[DAY_START] <= 0.0:
        state[THE_DAY], state[DAY_START] = day, equity
    if state[RESUMED] != 0.0:
        state[PEAK], state[RESUMED] = equity, 0.0
    state[PEAK] = max(state[PEAK], equity)
    _count_rejects(orders, fills, state)


@inlined
def _count_rejects(orders: Float, fills: Float, state: Float) -> None:
    """Count orders in a row of which nothing filled; one that rests at its price and is not reached is none."""
    asked, filled = 0, False
    for a in range(len(orders)):
        plain = (orders[a, LIMIT] != orders[a, LIMIT]) & (orders[a, STOP] != orders[a, STOP])
        if plain & (orders[a, QUANTITY] != 0.0):
            asked += 1
            filled = filled | (fills[a, QUANTITY] != 0.0)
    if asked > 0:
        state[REJECTS] = 0.0 if filled else state[REJECTS] + asked


@inlined
def trip(equity: float, holding: Float, terms: Float, sizes: Float, state: Float) -> int:
    """Go to another state where a limit is reached; return why."""
    before, trips = state[STATE], 0
    if before < terms[ON_LOSS]:
        first = state[DAY_START]  # of nothing, nothing is lost
        trips |= LOST_TODAY if first > 0.0 and equity <= first * (1.0 - terms[DAILY_LOSS]) else 0
        trips |= DRAWN_DOWN if state[PEAK] > 0.0 and equity <= state[PEAK] * (1.0 - terms[MAX_DRAWDOWN]) else 0
        state[STATE] = terms[ON_LOSS] if trips else before
    # What is being closed goes on being closed: halted, it would stay open.
    if state[REJECTS] >= terms[MAX_REJECTS] and state[STATE] < FLATTEN:
        trips |= REJECTED
        state[STATE] = HALTED
    if state[STATE] == FLATTEN and not _held(holding, sizes):
        trips |= FLAT
        state[STATE] = HALTED
    return trips if state[STATE] != before else 0


@inlined
def _held(holding: Float, sizes: Float) -> bool:
    """Whether anything is held that an order can close."""
    held = False
    for a in range(len(holding)):
        held = held | closable(abs(holding[a, POSITION]), holding[a, MARK], sizes[a])
    return held
