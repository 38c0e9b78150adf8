"""Several orders that rest and are met in a bar, in the order that is worst: `qframe_rl.kernel.resting` over slots.

The next order to be met is looked for over all instruments and slots again after each fill, since every fill changes
what is held. The rules are those of `docs/decisions/0027-several-orders-rest-in-slots.md`.
"""

from __future__ import annotations

from qframe_rl.jit import inlined
from qframe_rl.kernel.columns import QUANTITY
from qframe_rl.kernel.grid import down
from qframe_rl.kernel.lanes import (
    ACCOUNT,
    CASH,
    EARNED,
    HELD,
    HIGH,
    INSTRUMENT,
    LOW,
    MARK,
    MOVING,
    OPEN,
    VOLUME,
    WORST_AT,
    WORTH,
    allowed,
    shrunk,
)
from qframe_rl.kernel.resting import liquidated, short
from qframe_rl.kernel.room import loss_of, need_of, share_of
from qframe_rl.kernel.rules import LOT_SCALE, LOT_STEP, OWNED, VOLUME_SHARE
from qframe_rl.kernel.slots import (
    AT,
    BASE,
    BEFORE,
    BROUGHT,
    CLOSING,
    FIRST,
    GRANTED,
    KEPT,
    MET,
    N_MET,
    NOTHING,
    PHASE,
    RATE,
    SIZE,
    VOLUME_LEFT,
    book,
    less,
    reduces,
    sized,
    taken_on,
    taking,
    use_volume,
)
from qframe_rl.types import Float


@inlined
def rest(
    n: int, w: Float, k: int, table: Float, leverage: float, spot: bool, shorting: bool, orders: Float, plan: Float,
    own: Float, fills: Float, parts: Float,
) -> None:  # fmt: skip
    """Fill the resting orders of lane ``k`` that the bar meets; liquidate it where that comes first."""
    met = 0.0
    for a in range(n):
        met += own[a, N_MET]
    if met == 0.0:
        return
    for a in range(n):
        _size(w[ACCOUNT + a * INSTRUMENT :], k, orders[a], plan[a], own[a], table[a], shorting)
    share = _share(n, w, k, table, leverage, spot, orders, plan, own)
    for a in range(n):
        _terms(w[ACCOUNT + a * INSTRUMENT :], k, orders[a], plan[a], own[a], table[a], share)
        _way(w[ACCOUNT + a * INSTRUMENT :], k, own[a], spot)
    if not _walk(n, w, k, table, spot, orders, plan, own, fills, parts):
        return
    for a in range(n):
        for limits in range(2):  # what takes is the worse of what waited
            for j in range(orders.shape[2]):
                if plan[a, PHASE, j] == MET and (plan[a, BASE, j] == 0.0) == (limits == 1):
                    _meet(w, k, a, j, True, -1.0, orders, plan, own, table, fills, parts)


@inlined
def _size(v: Float, k: int, orders: Float, plan: Float, own: Float, rule: Float, shorting: bool) -> None:
    """Write size, closing part and worst price of each order that is met, by what is held after the open."""
    held = v[HELD + k]
    closable, bought, sold = abs(held), 0.0, 0.0
    for j in range(orders.shape[1]):
        if plan[PHASE, j] == MET:
            q, only = orders[QUANTITY, j], reduces(orders, j)
            side = 1.0 if q > 0.0 else -1.0
            opposite = (abs(held) if only else closable) if side * held < 0.0 else 0.0
            opens = only or side > 0.0 or (shorting and rule[OWNED] == 0.0)
            size = sized(q, opposite, own[VOLUME_LEFT], opens, rule)
            closing = size if size < opposite else opposite
            closable = closable if only else less(closable, closing, rule)
            plan[SIZE, j], plan[CLOSING, j] = side * size, side * closing
            plan[PHASE, j] = MET if size > 0.0 else NOTHING
            if plan[BASE, j] > 0.0:
                bought, sold = bought + (size if side > 0.0 else 0.0), sold + (0.0 if side > 0.0 else size)
    for j in range(orders.shape[1]):
        if plan[PHASE, j] == MET and plan[BASE, j] > 0.0:
            size, side = plan[SIZE, j], 1.0 if plan[SIZE, j] > 0.0 else -1.0
            # As if all others of its side had been taken before it: none can pay more than that.
            others = (bought if side > 0.0 else sold) - abs(size)
            plan[BEFORE, j] = taken_on(own, side) + others
            plan[AT, j] = taking(v, k, plan[BEFORE, j], size, plan[BASE, j], rule)


@inlined
def _share(
    n: int, w: Float, k: int, table: Float, leverage: float, spot: bool, orders: Float, plan: Float, own: Float
) -> float:
    """Share of their opening parts for which the orders at the open left room; see `qframe_rl.kernel.resting`."""
    room, gross, need = w[CASH + k] - w[MOVING + k] - w[EARNED + k], 0.0, 0.0
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        room += own[a, BROUGHT]
        contract = not spot and table[a, OWNED] == 0.0
        if contract and v[HELD + k] != 0.0:
            room += v[HELD + k] * v[WORTH + k]
            gross += abs(v[HELD + k]) * v[WORTH + k]
        for j in range(plan.shape[2]):
            if plan[a, PHASE, j] == MET:
                closing, at, rate = plan[a, CLOSING, j], plan[a, AT, j], plan[a, RATE, j]
                opening = plan[a, SIZE, j] - closing
                if contract:
                    room -= loss_of(closing, at, v[WORTH + k], rate) if closing != 0.0 else 0.0
                if opening != 0.0 and not reduces(orders[a], j):
                    need += _need(opening, at, rate, v[WORTH + k], leverage, spot, contract)
    return share_of(need, room if spot else leverage * room - gross)


@inlined
def _need(opening: float, at: float, rate: float, worth: float, leverage: float, spot: bool, contract: bool) -> float:
    if contract:
        return float(need_of(opening, at, worth, rate, leverage))
    return float((1.0 if spot else leverage) * opening * at * (1.0 + rate)) if opening > 0.0 else 0.0


@inlined
def _terms(v: Float, k: int, orders: Float, plan: Float, own: Float, rule: Float, share: float) -> None:
    """Write the size of each order that there is room for, and how much of it may open; too small is not met."""
    own[FIRST] = 0.0
    for j in range(orders.shape[1]):
        if plan[PHASE, j] == MET:
            size, closing, before = plan[SIZE, j], plan[CLOSING, j], plan[BEFORE, j]
            if reduces(orders, j):
                closing = size
            else:
                size = shrunk(size, closing, share, rule[LOT_STEP], rule[LOT_SCALE])
            for _ in range(2):
                if plan[BASE, j] > 0.0:
                    plan[AT, j] = taking(v, k, before, size, plan[BASE, j], rule)
                size = allowed(size, closing, plan[AT, j], rule)
            plan[SIZE, j], plan[PHASE, j] = size, MET if size != 0.0 else NOTHING
            opening = abs(size) - abs(closing)
            plan[GRANTED, j] = opening if opening > 0.0 else 0.0
            own[FIRST] = size if own[FIRST] == 0.0 else own[FIRST]


@inlined
def _way(v: Float, k: int, own: Float, spot: bool) -> None:
    """Write the worst price that the bar has for what is held, else for the first of what is to be."""
    if spot:
        v[WORTH + k] = v[OPEN + k] if v[OPEN + k] == v[OPEN + k] else v[MARK + k]
    down = v[HELD + k] > 0.0 or (v[HELD + k] == 0.0 and own[FIRST] > 0.0)
    worst = v[LOW + k] if down else v[HIGH + k]
    v[WORST_AT + k] = worst if worst == worst else v[MARK + k]


@inlined
def _walk(
    n: int, w: Float, k: int, table: Float, spot: bool, orders: Float, plan: Float, own: Float, fills: Float,
    parts: Float,
) -> bool:  # fmt: skip
    """Take all to their worst prices, and fill what is met on the way; liquidate where margin runs short."""
    progress, coming = 0.0, 0
    while coming >= 0:
        coming, slot, first = -1, -1, 2.0
        for a in range(n):
            v = w[ACCOUNT + a * INSTRUMENT :]
            for j in range(orders.shape[2]):
                if plan[a, PHASE, j] == MET and _moves(v, k, j, orders[a], plan[a], table[a]):
                    at = max(_met_at(v, k, plan[a, BASE, j], plan[a, AT, j], table[a]), progress)
                    coming, slot, first = (a, j, at) if at < first else (coming, slot, first)
        if not spot and short(n, w, k, table, min(first, 1.0)):
            return liquidated(n, w, k, table)
        if coming >= 0:
            _meet(w, k, coming, slot, False, first, orders, plan, own, table, fills, parts)
            if not spot and short(n, w, k, table, first):
                return liquidated(n, w, k, table)
            progress = first
    return True


@inlined
def _moves(v: Float, k: int, j: int, orders: Float, plan: Float, rule: Float) -> bool:
    """Whether an order can be met on the way: a gain waits, and what only reduces waits for something to reduce."""
    if rule[OWNED] != 0.0 and plan[SIZE, j] < 0.0:
        return False
    if reduces(orders, j):
        return bool(plan[BASE, j] > 0.0 and plan[SIZE, j] * v[HELD + k] < 0.0)
    return bool(plan[BASE, j] > 0.0 or plan[CLOSING, j] == 0.0)


@inlined
def _met_at(v: Float, k: int, base: float, at: float, rule: Float) -> float:
    """Share of the way at which an order is met; 0 for one that lies on the other side."""
    price, way = base if base > 0.0 else at, v[WORST_AT + k] - v[WORTH + k]
    if rule[OWNED] != 0.0 or way == 0.0:
        return 0.0
    return float(min(max((price - v[WORTH + k]) / way, 0.0), 1.0))


@inlined
def _meet(
    w: Float, k: int, a: int, j: int, waited: bool, progress: float, orders: Float, plan: Float, own: Float,
    table: Float, fills: Float, parts: Float,
) -> None:  # fmt: skip
    """Fill an order at its turn: no more than is left of it, and what opens no more than there was room for."""
    v, rule = w[ACCOUNT + a * INSTRUMENT :], table[a]
    plan[a, PHASE, j] = NOTHING
    side, held = 1.0 if plan[a, SIZE, j] > 0.0 else -1.0, v[HELD + k]
    held = own[a, KEPT] if waited else held
    opposite = abs(held) if side * held < 0.0 else 0.0
    most, left = abs(plan[a, SIZE, j]), abs(orders[a, QUANTITY, j])
    size = min(most, left, own[a, VOLUME_LEFT])
    if rule[LOT_STEP] == 0.0 and abs(size - opposite) <= 1e-9 * opposite:
        size = opposite
    closing = size if size < opposite else opposite
    if size - closing > plan[a, GRANTED, j]:
        size = closing + plan[a, GRANTED, j]
    if size != most and rule[LOT_STEP] > 0.0:
        lots = down(size, rule[LOT_STEP], rule[LOT_SCALE])
        closing, size = lots if closing >= min(size, lots) else closing, lots
    size, closing = side * size, side * closing
    if progress >= 0.0 and plan[a, BASE, j] > 0.0:
        plan[a, BASE, j] = _passed(v, k, side, progress, plan[a, BASE, j], rule)
    for _ in range(2):
        if plan[a, BASE, j] > 0.0 and size != 0.0:
            plan[a, AT, j] = taking(v, k, taken_on(own[a], side), size, plan[a, BASE, j], rule)
        size = allowed(size, closing, plan[a, AT, j], rule)
    use_volume(own[a], abs(size), rule[VOLUME_SHARE] * v[VOLUME + k])
    book(v, w, k, j, size, orders[a], plan[a], own[a], rule, fills[a], parts[a])


@inlined
def _passed(v: Float, k: int, side: float, progress: float, base: float, rule: Float) -> float:
    """What a stop takes from: itself, or the price of the moment where its own was passed before it could act."""
    if rule[OWNED] != 0.0 or (progress > 0.0 and _met_at(v, k, base, base, rule) >= progress):
        return base
    now = v[WORTH + k] + progress * (v[WORST_AT + k] - v[WORTH + k])
    return float(max(base, now) if side > 0.0 else min(base, now))
