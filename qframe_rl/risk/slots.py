"""Several orders per instrument held to limits: `qframe_rl.risk.rows` over slots, for any number of accounts.

What is asked for anew is judged as one order by itself is. What rests was judged when it came; it is cut where the
state leaves only closing parts, and counts where positions are bounded. An order that is cut to what it closes only
reduces from then on. Orders are (B, A, 8, K), see `qframe_rl.kernel.columns`.
"""

from __future__ import annotations

import numpy as np

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.columns import (
    AFTER,
    EQUITY,
    FLAGS,
    GOOD,
    GROUP,
    LIMIT,
    MARK,
    PART,
    POSITION,
    QUANTITY,
    STOP,
    TRAIL,
)
from qframe_rl.kernel.grid import down, up
from qframe_rl.kernel.lanes import allowed
from qframe_rl.kernel.rules import LOT_SCALE, LOT_STEP, TICK_SCALE, TICK_STEP
from qframe_rl.kernel.slots import reduces
from qframe_rl.risk.columns import (
    COLLAR,
    COLLARED,
    DECISIONS,
    FILTERED,
    FILTERS,
    FLATTEN,
    HALTED,
    HOW_MANY,
    MAX_GROSS,
    MAX_LEVERAGE,
    MAX_ORDER,
    MAX_ORDERS_PER_HOUR,
    MAX_POSITION,
    REDUCE_ONLY,
    REDUCES,
    SKEWED,
    STALE,
    STATE,
    TOO_GROSS,
    TOO_LARGE,
    TOO_MANY,
    TOO_MUCH,
    WHEN,
    Watch,
)
from qframe_rl.risk.guard import (
    BARS,
    DAY_ENTRIES,
    ENTERED,
    ENTRIES,
    HELD,
    LONG,
    PROTECTS,
    SHORT,
    GuardState,
)
from qframe_rl.risk.protections import tomorrow
from qframe_rl.times import HOUR
from qframe_rl.types import Bool, Float, Int


@compiled
def judge_slots(
    orders: Float, fresh: Bool, account: Float, holding: Float, time: Int, row: Int, active: Bool, watch: Watch
) -> None:  # fmt: skip
    """Pass, cut or refuse the orders of active accounts, decided at ``time[row[b]]``.

    Parameters
    ----------
    orders
        (B, A, 8, K) what would stand; what is left of it is written back, and what cut it to ``watch.cuts``.
    fresh
        (B, A, K) which of them are asked for anew.
    account, holding, time, row, active, watch
        As in `qframe_rl.risk.rows.judge_rows`.
    """
    for b in range(len(orders)):
        if active[b]:
            state = watch.state[b, STATE]
            for a in range(orders.shape[1]):
                watch.cuts[b, a] = 0
            if state in (HALTED, FLATTEN):
                _close(orders[b], fresh[b], holding[b], 1.0 if state == FLATTEN else 0.0)
            else:
                _judge(orders[b], fresh[b], watch.cuts[b], account[b, EQUITY], holding[b], time[row[b]], watch, b)
            _note(orders[b], fresh[b], time[row[b]], watch, b)


@inlined
def _close(orders: Float, fresh: Bool, holding: Float, share: float) -> None:
    """Cancel all; in the first slots, market orders for a share of what is held."""
    for a in range(len(orders)):
        for j in range(orders.shape[2]):
            held = share * holding[a, POSITION] if j == 0 else 0.0
            orders[a, QUANTITY, j] = -held if held != 0.0 else 0.0
            orders[a, LIMIT, j] = orders[a, STOP, j] = orders[a, TRAIL, j] = np.nan
            orders[a, GOOD, j], orders[a, AFTER, j], orders[a, FLAGS, j], orders[a, GROUP, j] = 1.0, 0.0, 0.0, 0.0
            fresh[a, j] = held != 0.0


@inlined
def closing(orders: Float, j: int, held: float) -> float:
    """Part of an order that reduces, signed: what free orders of slots before it leave to close."""
    q = orders[QUANTITY, j]
    if q * held >= 0.0:
        return 0.0
    left = abs(held)
    for i in range(j):
        left -= abs(orders[QUANTITY, i]) if orders[QUANTITY, i] * q > 0.0 and not reduces(orders, i) else 0.0
    left = abs(held) if reduces(orders, j) else max(left, 0.0)
    size = abs(q) if abs(q) < left else left
    return float(size if q > 0.0 else -size)


@inlined
def _judge(
    orders: Float, fresh: Bool, cuts: Int, equity: float, holding: Float, now: int, watch: Watch, b: int
) -> None:  # fmt: skip
    """Apply every rule, one after the other."""
    terms, only = watch.terms, watch.state[b, STATE] == REDUCE_ONLY
    for rule in (STALE, SKEWED, REDUCES):
        if (watch.held_back[b] & rule) or (only and rule == REDUCES):
            for a in range(len(orders)):
                for j in range(orders.shape[2]):
                    if fresh[a, j] or rule == REDUCES:
                        _reduce(orders[a], cuts, a, j, holding[a, POSITION], rule)
    if watch.guard.rules[PROTECTS] != 0.0:
        _protected(orders, cuts, holding, now, watch.guard, b)
    for a in range(len(orders)):
        for j in range(orders.shape[2]):
            if fresh[a, j]:
                _alone(orders[a], cuts, a, j, holding[a], watch.mid[b, a], watch.sizes[a], terms)
    if terms[MAX_POSITION] < np.inf:
        _position(orders, cuts, holding, terms[MAX_POSITION])
    if terms[MAX_GROSS] < np.inf or terms[MAX_LEVERAGE] < np.inf:
        most = terms[MAX_LEVERAGE] * max(equity, 0.0) if terms[MAX_LEVERAGE] < np.inf else np.inf
        _gross(orders, cuts, holding, min(terms[MAX_GROSS], most))
    if terms[FILTERS] != 0.0:
        for a in range(len(orders)):
            for j in range(orders.shape[2]):
                if fresh[a, j]:
                    _filter(orders[a], cuts, a, j, holding[a], watch.sizes[a])
    if terms[MAX_ORDERS_PER_HOUR] < np.inf:
        _slow(orders, fresh, cuts, holding, now, watch, b)


@inlined
def _cut(orders: Float, cuts: Int, a: int, j: int, quantity: float, rule: int) -> None:
    """Set a quantity, and note if that is less than was asked for."""
    cuts[a] |= rule if quantity != orders[QUANTITY, j] else 0
    orders[QUANTITY, j] = quantity


@inlined
def _reduce(orders: Float, cuts: Int, a: int, j: int, held: float, rule: int) -> None:
    """Leave what an order closes; one that only reduces stays as it is, for it cannot do else."""
    if orders[QUANTITY, j] != 0.0 and not reduces(orders, j):
        part = closing(orders, j, held)
        cut = part != orders[QUANTITY, j]
        _cut(orders, cuts, a, j, part, rule)
        orders[FLAGS, j] += 2.0 if cut else 0.0


@inlined
def _protected(orders: Float, cuts: Int, holding: Float, now: int, guard: GuardState, b: int) -> None:
    """Leave of free orders for what is locked the part that closes; orders that still wait are judged when they act.

    Of a day's entries all orders of one side take one: more than the first that fills does not open.
    """
    clock, room = guard.clock[b], guard.rules[DAY_ENTRIES]
    if room < np.inf and not tomorrow(now, clock):
        room -= clock[ENTRIES]
    for a in range(len(orders)):
        held, asked, refused = holding[a, POSITION], 0, 0
        for j in range(orders.shape[2]):
            q = orders[a, QUANTITY, j]
            if q != 0.0 and orders[a, AFTER, j] <= 0.0 and not reduces(orders[a], j):
                side, bits, part = LONG if q > 0.0 else SHORT, 0, closing(orders[a], j, held)
                if guard.until[b, a, side] > clock[BARS]:
                    bits = guard.why[b, a, side]
                elif q != part and (guard.held[b, a, HELD] == 0.0 or q * held < 0.0):
                    if not asked & (1 << side):
                        asked, room = asked | (1 << side), room - 1.0
                        refused |= (1 << side) if room < 0.0 else 0
                    bits = ENTERED if refused & (1 << side) else 0
                if bits != 0:
                    _reduce(orders[a], cuts, a, j, held, bits)


@inlined
def _alone(orders: Float, cuts: Int, a: int, j: int, holding: Float, mid: float, sizes: Float, terms: Float) -> None:
    """What an order by itself is held to: the collar, and the largest order."""
    mark, q = holding[MARK], orders[QUANTITY, j]
    price = orders[STOP, j] if orders[STOP, j] == orders[STOP, j] else mid
    price = orders[LIMIT, j] if orders[LIMIT, j] == orders[LIMIT, j] else price
    if terms[COLLAR] < np.inf and abs(price - mark) > terms[COLLAR] * mark:
        _cut(orders, cuts, a, j, 0.0, COLLARED)
    elif terms[MAX_ORDER] < np.inf:
        most = terms[MAX_ORDER] / mark if mark == mark else 0.0
        _cut(orders, cuts, a, j, (most if q > 0.0 else -most) if abs(q) > most else q, TOO_LARGE)


@inlined
def _position(orders: Float, cuts: Int, holding: Float, largest: float) -> None:
    """Cut opening parts to the room that each position has if all orders of a side fill, and none of the other."""
    for a in range(len(orders)):
        held, mark = holding[a, POSITION], holding[a, MARK]
        most = largest / mark if mark == mark else 0.0
        bought, sold = held, held
        for j in range(orders.shape[2]):
            q = orders[a, QUANTITY, j]
            if q != 0.0 and not reduces(orders[a], j):
                now = bought if q > 0.0 else sold
                opposite = abs(now) if q * now < 0.0 else 0.0
                closes = min(abs(q), opposite)
                room = max(0.0, most - (abs(now) - closes))
                opens = min(abs(q) - closes, room)
                if abs(q) - closes > room:
                    _cut(orders[a], cuts, a, j, (closes + opens) * (1.0 if q > 0.0 else -1.0), TOO_MUCH)
                bought += orders[a, QUANTITY, j] if q > 0.0 else 0.0
                sold += orders[a, QUANTITY, j] if q < 0.0 else 0.0


@inlined
def _gross(orders: Float, cuts: Int, holding: Float, most: float) -> None:
    """Cut opening parts in proportion to the room of all positions; only market orders lessen what is held."""
    held = asked = 0.0
    for a in range(len(orders)):
        position, closed = holding[a, POSITION], 0.0
        mark = holding[a, MARK] if holding[a, MARK] == holding[a, MARK] else 0.0
        for j in range(orders.shape[2]):
            if orders[a, QUANTITY, j] != 0.0 and not reduces(orders[a], j):
                part = closing(orders[a], j, position)
                closed += part if _at_once(orders[a], j) else 0.0
                asked += abs(orders[a, QUANTITY, j] - part) * mark
        held += abs(position + closed) * mark
    # Rounding must not push the sum over the bound.
    room = max(0.0, most - held) * (1.0 - 1e-12)
    if asked > room:
        for a in range(len(orders)):
            for back in range(orders.shape[2]):  # from behind: what an order closes depends on those before it
                j = orders.shape[2] - 1 - back
                part = closing(orders[a], j, holding[a, POSITION])
                opening = orders[a, QUANTITY, j] - part
                if opening != 0.0 and not reduces(orders[a], j):
                    _cut(orders[a], cuts, a, j, part + opening * (room / asked), TOO_GROSS)


@inlined
def _at_once(orders: Float, j: int) -> bool:
    """Whether an order is a market order for the next bar."""
    plain = (orders[LIMIT, j] != orders[LIMIT, j]) & (orders[STOP, j] != orders[STOP, j])
    return bool(plain & (orders[AFTER, j] <= 0.0))


@inlined
def _filter(orders: Float, cuts: Int, a: int, j: int, holding: Float, size: Float) -> None:
    """Round to lots and ticks, toward less, and drop what is too small, as the kernel does."""
    quantity, limit, stop = orders[QUANTITY, j], orders[LIMIT, j], orders[STOP, j]
    buys, step, scale = quantity > 0.0, size[TICK_STEP], size[TICK_SCALE]
    if size[LOT_STEP] > 0.0:
        lots = down(abs(quantity), size[LOT_STEP], size[LOT_SCALE])
        quantity = lots if buys else -lots
    if step > 0.0:
        limit = down(limit, step, scale) if buys else up(limit, step, scale)
        stop = up(stop, step, scale) if buys else down(stop, step, scale)
    mark = holding[MARK] if holding[MARK] == holding[MARK] else 0.0
    price = limit if limit == limit else mark
    orders[LIMIT, j], orders[STOP, j] = limit, stop
    part = quantity if reduces(orders, j) else closing(orders, j, holding[POSITION])
    _cut(orders, cuts, a, j, allowed(quantity, part, price, size), FILTERED)


@inlined
def _slow(orders: Float, fresh: Bool, cuts: Int, holding: Float, now: int, watch: Watch, b: int) -> None:
    """Leave only the closing part of the new orders that are one too many in an hour."""
    capacity, decisions, count = watch.sent.shape[1], np.int64(watch.state[b, DECISIONS]), 0
    for back in range(1, min(capacity, decisions) + 1):
        at = (decisions - back) % capacity
        if watch.sent[b, at, WHEN] <= now - HOUR:
            break
        count += watch.sent[b, at, HOW_MANY]
    for a in range(len(orders)):
        for j in range(orders.shape[2]):
            if fresh[a, j] and orders[a, QUANTITY, j] != 0.0:
                count += 1
                if count > watch.terms[MAX_ORDERS_PER_HOUR]:
                    _reduce(orders[a], cuts, a, j, holding[a, POSITION], TOO_MANY)


@inlined
def _note(orders: Float, fresh: Bool, now: int, watch: Watch, b: int) -> None:
    """Remember how many new orders go out."""
    capacity, count = watch.sent.shape[1], 0
    for a in range(len(orders)):
        for j in range(orders.shape[2]):
            count += 1 if fresh[a, j] and orders[a, QUANTITY, j] != 0.0 else 0
    if capacity > 0 and count > 0:
        at = np.int64(watch.state[b, DECISIONS]) % capacity
        watch.sent[b, at, WHEN], watch.sent[b, at, HOW_MANY] = now, count
        watch.state[b, DECISIONS] += 1.0


@compiled
def market_rows(orders: Float, parts: Float, active: Bool, out: Float, filled: Float) -> None:
    """Write what market orders that may open asked for in a bar, and what filled of them, as one for each instrument.

    Parameters
    ----------
    orders, parts
        (B, A, 8, K) and (B, A, 3, K) as they met the bar, and what became of them.
    active
        (B,).
    out, filled
        (B, A, 3) and (B, A, ...) written: what `qframe_rl.risk.rows.watch_rows` reads.
    """
    for b in range(len(orders)):
        if active[b]:
            for a in range(orders.shape[1]):
                out[b, a, QUANTITY] = filled[b, a, QUANTITY] = 0.0
                out[b, a, LIMIT] = out[b, a, STOP] = np.nan
                for j in range(orders.shape[3]):
                    if _at_once(orders[b, a], j) and not reduces(orders[b, a], j):
                        out[b, a, QUANTITY] += abs(orders[b, a, QUANTITY, j])
                        filled[b, a, QUANTITY] += abs(parts[b, a, PART, j])
