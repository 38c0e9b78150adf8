"""Several orders of one instrument: what each comes to at the open, how it fills, and what of it stands after the bar.

The rules are those of `docs/decisions/0027-several-orders-rest-in-slots.md`, for one lane of `qframe_rl.kernel.lanes`
and one instrument at a time: few orders act in a bar, and which do is asked for all of them first (`near`). Orders of a
lane and an instrument are (8, K), their plan of the bar (N_PLAN, K), and the instrument's own numbers (N_OWN,).
"""

from __future__ import annotations

import math

from qframe_rl.jit import inlined
from qframe_rl.kernel import lanes
from qframe_rl.kernel.columns import (
    AFTER,
    CANCELLED,
    FLAGS,
    GOOD,
    GROUP,
    LIMIT,
    PART,
    PART_FEE,
    PART_PRICE,
    PRICE,
    PUSHED,
    QUANTITY,
    SPREAD,
    STOP,
    TRAIL,
)
from qframe_rl.kernel.grid import down, passes, reaches, snapped, up
from qframe_rl.kernel.lanes import after, allowed, shrunk, taken
from qframe_rl.kernel.room import loss_of, need_of
from qframe_rl.kernel.rules import (
    HALF_SPREAD,
    IMPACT,
    LOT_SCALE,
    LOT_STEP,
    MAKER,
    OWNED,
    TICK_SCALE,
    TICK_STEP,
    TRANSFER,
    VOLUME_SHARE,
)
from qframe_rl.types import Float

# Of a plan: signed size and closing part, price, rate of fee, what taking starts from (0 for a limit that rests), what
# happens to the order in the bar, the opening part there is room for, the quantity that the bar began with, what
# may have been taken on its side before, and whether it waits for a finer bar that meets it.
SIZE, CLOSING, AT, RATE, BASE, PHASE, GRANTED, ASKED, BEFORE, AWAITS = range(10)
N_PLAN = 10
NOTHING, AT_OPEN, MET, GONE = 0.0, 1.0, 2.0, 3.0
# Of an instrument: volume that is left to its orders, base units taken on each side, what owned coins were sold for,
# what has been held all the time since the open, fills, the sign of the first one that is met, and how many go at the
# open and are met later.
VOLUME_LEFT, BOUGHT, SOLD, BROUGHT, KEPT, N_FILLED, FIRST, N_AT_OPEN, N_MET = range(9)
N_OWN = 9


@inlined
def near(orders: Float, j: int, high: float, low: float) -> bool:
    """Whether an order may act in a bar: those that do not surely stay where they are."""
    limit, stop, q = orders[LIMIT, j], orders[STOP, j], orders[QUANTITY, j]
    # Grids may move a price by less than this; NaN compares as no, so that market orders are near.
    far_buy = (low > limit * 1.000001) | (high < stop * 0.999999)
    far_sell = (high < limit * 0.999999) | (low > stop * 1.000001)
    return bool((q != 0.0) & (orders[AFTER, j] <= 0.0) & (not (far_buy if q > 0.0 else far_sell)))


@inlined
def taken_after(before: float, size: float, base: float, volume: float, half_spread: float, impact: float) -> float:
    """Price of taking ``size`` where ``before`` was taken on its side already: together they cost what one order would.

    That is the mean of square-root impact over what is taken; see `qframe_rl.kernel.lanes.taken`.
    """
    if before <= 0.0 or size == 0.0 or impact <= 0.0:
        return float(taken(size, base, volume, half_spread, impact))
    a, b = math.sqrt(before + abs(size)), math.sqrt(before)
    mean = (a * a + a * b + b * b) / (a + b) / math.sqrt(volume)
    return float(base * (1.0 + (1.0 if size > 0.0 else -1.0) * (half_spread + impact * mean)))


@inlined
def taking(v: Float, k: int, before: float, size: float, base: float, rule: Float) -> float:
    """`taken_after` in a lane's bar."""
    return taken_after(before, size, base, v[lanes.VOLUME + k], rule[HALF_SPREAD], rule[IMPACT])


@inlined
def sized(quantity: float, opposite: float, most: float, opens: bool, rule: Float) -> float:
    """Size of an order, without sign: at most ``most``, and ``opposite`` where it cannot open; in whole lots."""
    size = abs(quantity)
    size = size if size < most else most
    size = size if opens or size < opposite else opposite
    if rule[LOT_STEP] > 0.0:
        return float(down(size, rule[LOT_STEP], rule[LOT_SCALE]))
    return size if abs(size - opposite) > 1e-9 * opposite else opposite


@inlined
def taken_on(own: Float, side: float) -> float:
    """What was taken on a side."""
    return float(own[BOUGHT] if side > 0.0 else own[SOLD])


@inlined
def take_on(own: Float, side: float, size: float) -> None:
    """Count what is taken on a side."""
    if side > 0.0:
        own[BOUGHT] += size
    else:
        own[SOLD] += size


@inlined
def less(held: float, size: float, rule: Float) -> float:
    """What is left of a holding without a size, none negative; whole lots where it counts as them."""
    left = after(held, -size, rule[LOT_STEP], rule[LOT_SCALE])
    return left if left > 1e-15 * held else 0.0


@inlined
def use_volume(own: Float, size: float, all_of_it: float) -> None:
    """Take a size off the volume that is left; what is but a rounding of all there was is nothing."""
    left = own[VOLUME_LEFT] - size
    own[VOLUME_LEFT] = left if left > 1e-12 * all_of_it else 0.0


@inlined
def plan_open(v: Float, k: int, orders: Float, plan: Float, own: Float, rule: Float, shorting: bool) -> None:
    """Write which orders go at the open and which the bar meets later; those at the open with their size and price."""
    held, volume = v[lanes.HELD + k], v[lanes.VOLUME + k]
    for n in range(N_OWN):
        own[n] = 0.0
    live = v[lanes.OPEN + k] == v[lanes.OPEN + k] and volume > 0.0
    own[VOLUME_LEFT] = rule[VOLUME_SHARE] * volume if live else 0.0
    closable = abs(held)
    for j in range(orders.shape[1]):
        plan[PHASE, j], plan[ASKED, j] = NOTHING, orders[QUANTITY, j]
        if live and near(orders, j, v[lanes.HIGH + k], v[lanes.LOW + k]):
            side = 1.0 if orders[QUANTITY, j] > 0.0 else -1.0
            opposite = closable if side * held < 0.0 else 0.0
            opens = not reduces(orders, j) and (side > 0.0 or (shorting and rule[OWNED] == 0.0))
            size = sized(orders[QUANTITY, j], opposite, own[VOLUME_LEFT], opens, rule)
            plan[SIZE, j], plan[CLOSING, j] = side * size, side * (size if size < opposite else opposite)
            _classify(v, k, j, orders, plan, own, rule)
            if plan[PHASE, j] == AT_OPEN and (size == 0.0 or _behind(orders, plan, j)):
                plan[PHASE, j] = NOTHING
            own[N_MET] += 1.0 if plan[PHASE, j] == MET else 0.0
            if plan[PHASE, j] == AT_OPEN:
                own[N_AT_OPEN] += 1.0
                closable = less(closable, abs(plan[CLOSING, j]), rule)
                use_volume(own, size, rule[VOLUME_SHARE] * volume)
                take_on(own, side, size)


@inlined
def reduces(orders: Float, j: int) -> bool:
    """Whether an order only reduces."""
    return bool(orders[FLAGS, j] >= 2.0)


@inlined
def _behind(orders: Float, plan: Float, j: int) -> bool:
    """Whether another order of the group goes at the open, in a slot before."""
    if orders[GROUP, j] == 0.0:
        return False
    behind = False
    for i in range(j):
        behind = behind or (plan[PHASE, i] == AT_OPEN and orders[GROUP, i] == orders[GROUP, j])
    return behind


@inlined
def _classify(v: Float, k: int, j: int, orders: Float, plan: Float, own: Float, rule: Float) -> None:
    """Write an order's phase, and the terms that it has in it."""
    size, limit, stop = plan[SIZE, j], orders[LIMIT, j], orders[STOP, j]
    side = 1.0 if orders[QUANTITY, j] > 0.0 else -1.0
    step, scale = rule[TICK_STEP], rule[TICK_SCALE]
    plan[BASE, j], plan[RATE, j], plan[PHASE, j] = v[lanes.OPEN + k], v[lanes.RATE + k], AT_OPEN
    plan[AT, j] = taking(v, k, taken_on(own, side), size, v[lanes.OPEN + k], rule)
    if limit == limit and stop == stop:
        plan[PHASE, j] = NOTHING
    elif stop == stop:
        if step > 0.0:
            stop = up(stop, step, scale) if side > 0.0 else down(stop, step, scale)
        if not reaches(v[lanes.OPEN + k], stop, side, step, scale):
            far = v[lanes.HIGH + k] if side > 0.0 else v[lanes.LOW + k]
            plan[PHASE, j] = MET if reaches(far, stop, side, step, scale) else NOTHING
            plan[BASE, j] = stop
        elif size == 0.0 and reduces(orders, j):  # what it closes may come at this very open
            plan[PHASE, j], plan[BASE, j] = MET, stop
    elif limit == limit:
        if step > 0.0:
            limit = down(limit, step, scale) if side > 0.0 else up(limit, step, scale)
        base = v[lanes.OPEN + k]
        at = plan[AT, j] if size != 0.0 else base * (1.0 + side * rule[HALF_SPREAD])
        takes = side * (limit - at) >= 0.0
        if takes and orders[FLAGS, j] % 2.0 == 1.0:
            plan[PHASE, j] = GONE
        elif not takes or (size == 0.0 and reduces(orders, j)):
            far = v[lanes.LOW + k] if side > 0.0 else v[lanes.HIGH + k]
            plan[PHASE, j] = MET if passes(far, limit, -side, step, scale) else NOTHING
            plan[AT, j], plan[RATE, j], plan[BASE, j] = limit, rule[MAKER], 0.0


@inlined
def need_cash(v: Float, w: Float, k: int, plan: Float, rule: Float) -> None:
    """Of a spot account as `qframe_rl.kernel.room.need_cash`, for the orders at the open."""
    for j in range(plan.shape[1]):
        if plan[PHASE, j] == AT_OPEN:
            closing, at, rate = _sure(plan, j, rule), plan[AT, j], plan[RATE, j]
            w[lanes.ROOM + k] -= closing * at + abs(closing) * at * rate
            w[lanes.NEED + k] += (plan[SIZE, j] - plan[CLOSING, j]) * at * (1.0 + rate)


@inlined
def need_free_cash(w: Float, k: int, plan: Float, leverage: float) -> None:
    """Of an owned coin as `qframe_rl.kernel.room.need_free_cash`, for the orders at the open."""
    for j in range(plan.shape[1]):
        opening = plan[SIZE, j] - plan[CLOSING, j]
        if plan[PHASE, j] == AT_OPEN and opening > 0.0:
            w[lanes.NEED + k] += leverage * opening * plan[AT, j] * (1.0 + plan[RATE, j])


@inlined
def need_margin(v: Float, w: Float, k: int, plan: Float, own: Float, leverage: float, rule: Float) -> None:
    """Of a contract as `qframe_rl.kernel.room.need_margin`, for the orders at the open."""
    opened, held = v[lanes.OPEN + k], v[lanes.HELD + k]
    worth = opened if opened == opened else v[lanes.MARK + k]
    v[lanes.WORTH + k] = worth
    closed, n = 0.0, plan.shape[1] if own[N_AT_OPEN] > 0.0 else 0
    for j in range(n):
        closed += _sure(plan, j, rule) if plan[PHASE, j] == AT_OPEN else 0.0
    if held != 0.0:
        w[lanes.ROOM + k] += held * worth
        w[lanes.GROSS + k] += abs(held + closed) * worth
    for j in range(n):
        if plan[PHASE, j] == AT_OPEN:
            closing, at, rate = plan[CLOSING, j], plan[AT, j], plan[RATE, j]
            opening = plan[SIZE, j] - closing
            w[lanes.ROOM + k] -= loss_of(closing, at, worth, rate) if closing != 0.0 else 0.0
            w[lanes.NEED + k] += need_of(opening, at, worth, rate, leverage) if opening != 0.0 else 0.0


@inlined
def _sure(plan: Float, j: int, rule: Float) -> float:
    """Closing part of an order that will not be dropped for being too small."""
    closing = plan[CLOSING, j]
    return float(closing if allowed(plan[SIZE, j], closing, plan[AT, j], rule) != 0.0 else 0.0)


@inlined
def fill_open(
    v: Float, w: Float, k: int, orders: Float, plan: Float, own: Float, rule: Float, fills: Float, parts: Float
) -> None:
    """Fill the orders at the open: closing parts, and the share of the opening parts that fits."""
    own[BOUGHT] = own[SOLD] = 0.0
    for j in range(orders.shape[1] if own[N_AT_OPEN] > 0.0 else 0):
        if plan[PHASE, j] == AT_OPEN:
            closing, side = plan[CLOSING, j], 1.0 if plan[SIZE, j] > 0.0 else -1.0
            size = shrunk(plan[SIZE, j], closing, w[lanes.SHARE + k], rule[LOT_STEP], rule[LOT_SCALE])
            before, whole = taken_on(own, side), size
            plan[AT, j] = taking(v, k, before, size, plan[BASE, j], rule) if size != 0.0 else plan[AT, j]
            size = allowed(size, closing, plan[AT, j], rule)
            if size != whole and size != 0.0:  # one that is too small may leave its closing part, at another price
                plan[AT, j] = taking(v, k, before, size, plan[BASE, j], rule)
            book(v, w, k, j, size, orders, plan, own, rule, fills, parts)
    own[KEPT] = v[lanes.HELD + k]


@inlined
def book(
    v: Float, w: Float, k: int, j: int, size: float, orders: Float, plan: Float, own: Float, rule: Float, fills: Float,
    parts: Float,
) -> None:  # fmt: skip
    """Let a fill of a signed size change hands, and take it off the order and off those of its group."""
    if size == 0.0:
        return
    at, step, scale = plan[AT, j], rule[LOT_STEP], rule[LOT_SCALE]
    fee = abs(size) * at * plan[RATE, j]
    w[lanes.CASH + k] -= size * at + fee
    held = v[lanes.HELD + k]
    v[lanes.HELD + k] = after(held, size, step, scale)
    if size * held < 0.0:  # what was held first is closed first
        kept = less(abs(own[KEPT]), abs(size), rule)
        own[KEPT] = kept if held > 0.0 else -kept
    if plan[BASE, j] > 0.0:
        take_on(own, size, abs(size))
    if size < 0.0 and rule[OWNED] != 0.0:
        if rule[TRANSFER] > 0.0:
            w[lanes.MOVING + k] += -size * at - fee
            w[lanes.LEFT + k] = rule[TRANSFER]
        else:
            own[BROUGHT] += size * at + fee
    _note(v, k, j, size, fee, plan, own, rule, fills)
    parts[PART, j], parts[PART_PRICE, j], parts[PART_FEE, j] = size, at, fee
    take_off(orders, j, abs(size), step, scale)


@inlined
def take_off(orders: Float, j: int, size: float, step: float, scale: float) -> None:
    """Take a fill of a size off its order, and off those of its group."""
    orders[QUANTITY, j] = remaining(orders[QUANTITY, j], size, step, scale)
    if orders[GROUP, j] != 0.0:
        for i in range(orders.shape[1]):
            if i != j and orders[GROUP, i] == orders[GROUP, j] and orders[QUANTITY, i] != 0.0:
                orders[QUANTITY, i] = remaining(orders[QUANTITY, i], size, step, scale)


@inlined
def _note(
    v: Float, k: int, j: int, size: float, fee: float, plan: Float, own: Float, rule: Float, fills: Float
) -> None:  # fmt: skip
    """Add a fill to the sums of its instrument."""
    at, base = plan[AT, j], plan[BASE, j]
    # FILLED is what was traded here, whatever its side: with AT, the average price, it gives what changed hands.
    before = v[lanes.FILLED + k]
    v[lanes.AT + k] = at if own[N_FILLED] == 0.0 else (v[lanes.AT + k] * before + at * abs(size)) / (before + abs(size))
    v[lanes.FILLED + k] = before + abs(size)
    v[lanes.FEE + k] += fee
    net = after(fills[QUANTITY], size, rule[LOT_STEP], rule[LOT_SCALE])
    fills[QUANTITY] = size if own[N_FILLED] == 0.0 else net
    own[N_FILLED] += 1.0
    fills[PRICE] = v[lanes.AT + k]
    spread = abs(size) * base * rule[HALF_SPREAD] if base > 0.0 else 0.0
    fills[SPREAD] += spread
    fills[PUSHED] += size * (at - base) - spread if (base > 0.0) & (rule[IMPACT] > 0.0) else 0.0


@inlined
def remaining(quantity: float, filled: float, step: float, scale: float) -> float:
    """What is left of an order; nothing where that is below a lot, or a rounding."""
    left = abs(quantity) - filled
    if step > 0.0:
        left = snapped(left, abs(quantity), step, scale)
        left = left if left > 0.0 and down(left, step, scale) > 0.0 else 0.0
    elif left <= 1e-9 * abs(quantity):
        left = 0.0
    return left if quantity > 0.0 else -left


@inlined
def age(
    v: Float, k: int, ended: bool, busy: bool, trailed: bool, orders: Float, plan: Float, fills: Float, parts: Float
) -> None:
    """Let a bar pass for the orders of an instrument: count, move stops, cancel what is over.

    ``parts`` has the fills of the bar; a bar that has ``ended`` the account or the instrument leaves nothing. Where the
    lane was not ``busy``, nothing filled and there is no plan. Stops that ``trailed`` finer bars are where they belong.
    """
    held, buys, sells = v[lanes.HELD + k], False, False
    for j in range(orders.shape[1]):
        q = orders[QUANTITY, j]
        if not busy:
            plan[ASKED, j] = q
        if q != 0.0:
            counts = not reduces(orders, j) or q * held < 0.0
            if orders[AFTER, j] > 0.0:
                orders[AFTER, j] -= 1.0 if counts else 0.0
            else:
                orders[GOOD, j] -= 1.0
            if ended or orders[GOOD, j] <= 0.0 or (busy and plan[PHASE, j] == GONE):
                orders[QUANTITY, j] = 0.0
            elif not reduces(orders, j):
                buys, sells = buys or q > 0.0, sells or q < 0.0
            if counts and not trailed:
                follow(v, k, j, orders)
    for j in range(orders.shape[1]):
        q = orders[QUANTITY, j]
        # What only reduces stands by a position, or by an order that may bring one.
        if q != 0.0 and reduces(orders, j) and q * held >= 0.0 and not (sells if q > 0.0 else buys):
            orders[QUANTITY, j] = 0.0
        if plan[ASKED, j] != 0.0:
            over = plan[ASKED, j] - parts[PART, j] - orders[QUANTITY, j]
            fills[CANCELLED] += over if abs(over) > 1e-12 * abs(plan[ASKED, j]) else 0.0


@inlined
def follow(v: Float, k: int, j: int, orders: Float) -> None:
    """Let a stop follow the bar's best price, never back."""
    trail, q = orders[TRAIL, j], orders[QUANTITY, j]
    best = v[lanes.HIGH + k] if q < 0.0 else v[lanes.LOW + k]
    if trail == trail and best == best and q != 0.0:
        at = best * (1.0 - trail) if q < 0.0 else best * (1.0 + trail)
        better = at > orders[STOP, j] if q < 0.0 else at < orders[STOP, j]
        orders[STOP, j] = at if better else orders[STOP, j]
