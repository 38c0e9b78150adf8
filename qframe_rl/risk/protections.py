"""The compiled functions that lock what goes wrong for a while: an instrument, one side of it, or the whole account.

What is locked may only be reduced, and each lock has an end, counted in bars. The rules are those that freqtrade calls
protections (CooldownPeriod, StoplossGuard, LowProfitPairs, MaxDrawdown), a daily count of entries, and a halt after a
large move, as exchanges have it. Nothing but orders, fills, marks and equity goes into them, so a session that is run
again comes to the same locks. They are run by `qframe_rl.risk.rows`, for a session and for batches; columns are named
in `qframe_rl.risk.guard`.
"""

from __future__ import annotations

import numpy as np

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.columns import EQUITY, FEE, FORCED, FORCED_PRICE, MARK, POSITION, PRICE, QUANTITY
from qframe_rl.kernel.grid import down
from qframe_rl.kernel.lanes import allowed, closing_of
from qframe_rl.kernel.rules import LOT_SCALE, LOT_STEP
from qframe_rl.risk.guard import (
    BARS,
    BASIS,
    BY_ACCOUNT,
    BY_SIDE,
    COOLDOWN,
    COOLED,
    DAY_ENTRIES,
    DRAWDOWN,
    DRAWDOWN_LOCK,
    ENTERED,
    ENTRIES,
    EXIT_BARS,
    EXIT_LOCK,
    EXIT_SCOPE,
    EXITS,
    FIRST_SALE,
    GAIN,
    GUARDED,
    HELD,
    LAST,
    LATEST,
    LONG,
    LOSING,
    LOSSES,
    MARK_AT,
    MOVE,
    MOVE_LOCK,
    MOVED,
    NEXT_SALE,
    PAUSED,
    PROFIT,
    PROFIT_BARS,
    PROFIT_LOCK,
    REALISED,
    SHORT,
    SPACING,
    TODAY,
    TOP_AT,
    GuardState,
)
from qframe_rl.times import DAY
from qframe_rl.types import Float, Int

_FOREVER = np.int64(1) << 62


@inlined
def closable(size: float, mark: float, sizes: Float) -> bool:
    """Whether an order can close a position of a size: at least a lot, and what an exchange takes."""
    lots = down(size, sizes[LOT_STEP], sizes[LOT_SCALE]) if sizes[LOT_STEP] > 0.0 else size
    return bool((lots > 0.0) & (allowed(lots, lots, mark, sizes) > 0.0))


@inlined
def begin_guard(equity: float, holding: Float, now: int, guard: GuardState, b: int) -> None:
    """Forget an account; what it holds counts as entered at its mark."""
    clock = guard.clock[b]
    clock[:] = 0
    clock[LAST], clock[SPACING], clock[TODAY] = now, _FOREVER, now // DAY
    guard.until[b, :, :] = 0
    guard.why[b, :, :] = 0
    guard.queue[b, :, :] = 0
    guard.held[b, :, :] = 0.0
    guard.marks[b, :, :] = 0.0
    _begin_tops(equity, guard, b)
    for a in range(len(holding)):
        mark = holding[a, MARK] if holding[a, MARK] == holding[a, MARK] else 0.0
        guard.held[b, a, HELD], guard.held[b, a, BASIS] = holding[a, POSITION], mark
        if guard.marks.shape[2] > 0:
            guard.marks[b, a, 0] = mark


@inlined
def protected(orders: Float, cuts: Int, holding: Float, now: int, guard: GuardState, b: int) -> None:
    """Leave of orders for what is locked the part that closes; ``cuts`` has what locked it."""
    clock = guard.clock[b]
    if clock[LATEST] > clock[BARS] or guard.rules[DAY_ENTRIES] - clock[ENTRIES] < len(orders):
        _leave(orders, cuts, holding, now, guard, b)


@inlined
def _leave(orders: Float, cuts: Int, holding: Float, now: int, guard: GuardState, b: int) -> None:
    """Do what `protected` does, where something is locked or orders may be more than a day's entries."""
    clock, room = guard.clock[b], guard.rules[DAY_ENTRIES]
    if room < np.inf and not tomorrow(now, clock):
        room -= clock[ENTRIES]
    for a in range(len(orders)):
        quantity, position = orders[a, QUANTITY], holding[a, POSITION]
        if quantity != 0.0:
            side, closing, bits = LONG if quantity > 0.0 else SHORT, closing_of(quantity, position), 0
            if guard.until[b, a, side] > clock[BARS]:
                bits = guard.why[b, a, side]
            elif quantity != closing and (guard.held[b, a, HELD] == 0.0 or closing != 0.0):
                room -= 1.0
                bits = ENTERED if room < 0.0 else 0
            if bits != 0 and quantity != closing:
                orders[a, QUANTITY] = closing
                cuts[a] |= bits


@inlined
def tomorrow(now: int, clock: Int) -> bool:
    """Whether what is decided now fills in a bar of another day than the one that entries were counted on."""
    spacing = clock[SPACING] if clock[SPACING] < _FOREVER else 0
    return bool((now + spacing) // DAY != clock[TODAY])


@inlined
def protect(equity: float, fills: Float, holding: Float, now: int, sizes: Float, guard: GuardState, b: int) -> None:
    """Look at an account after a bar that closed at ``now``, and lock what a rule says."""
    live(now, guard, b)
    for a in range(len(holding)):
        if (fills[a, QUANTITY] != 0.0) | (fills[a, FORCED] != 0.0):
            closed, lost, profit = _booked(fills[a], holding[a], sizes[a], guard, b, a)
            weigh(closed, lost, profit, equity, guard, b, a)
    look_out(equity, holding, guard, b)


@inlined
def live(now: int, guard: GuardState, b: int) -> None:
    """Count a bar that closed at ``now``."""
    clock = guard.clock[b]
    spacing = now - clock[LAST]
    if spacing < clock[SPACING]:
        clock[SPACING] = spacing
    clock[LAST] = now
    clock[BARS] += 1
    if guard.rules[DAY_ENTRIES] < np.inf and now // DAY != clock[TODAY]:
        clock[TODAY], clock[ENTRIES] = now // DAY, 0


@inlined
def weigh(closed: int, lost: int, profit: float, equity: float, guard: GuardState, b: int, a: int) -> None:
    """Lock what a rule says of what was closed in an instrument, and what that realised; see `entered`."""
    rules = guard.rules
    if profit != 0.0 and rules[PROFIT] < np.inf:
        _note_profit(profit, guard, b, a)
    if closed != 0 and rules[COOLDOWN] < np.inf:
        _lock_sides(guard, b, a, rules[COOLDOWN], COOLED)
    if lost != 0 and rules[EXITS] < np.inf:
        _note_exits(lost, guard, b, a)
    if closed != 0 and rules[PROFIT] < np.inf:
        _weigh_profit(equity, guard, b, a)


@inlined
def look_out(equity: float, holding: Float, guard: GuardState, b: int) -> None:
    """Lock what a rule says of marks and equity after a bar."""
    if guard.rules[MOVE] < np.inf:
        _compare_marks(holding, guard, b)
    if guard.rules[DRAWDOWN] < np.inf:
        _pause(equity, guard, b)


@inlined
def _booked(fills: Float, holding: Float, sizes: Float, guard: GuardState, b: int, a: int) -> tuple[int, int, float]:
    """Enter what filled; return bits of the sides that were closed, of those at a loss, and what was realised."""
    quantity, fee, forced = fills[QUANTITY], fills[FEE], fills[FORCED]
    closed, lost, profit = 0, 0, 0.0
    if quantity != 0.0:
        closed, lost, profit = entered(quantity, fills[PRICE], fee, holding[MARK], sizes, guard, b, a)
    if forced != 0.0:
        fee = fee if quantity == 0.0 else 0.0
        more, worse, gain = entered(forced, fills[FORCED_PRICE], fee, holding[MARK], sizes, guard, b, a)
        closed, lost, profit = closed | more, lost | worse, profit + gain
    guard.held[b, a, HELD] = holding[POSITION] if guard.held[b, a, HELD] != 0.0 else 0.0
    return closed, lost, profit


@inlined
def entered(
    quantity: float, price: float, fee: float, mark: float, sizes: Float, guard: GuardState, b: int, a: int
) -> tuple[int, int, float]:  # fmt: skip
    """Enter one fill, and return what `_booked` does; what closes, opens or ends is chosen by value, not by jumps."""
    held = guard.held[b, a]
    before, basis = held[HELD], held[BASIS]
    closing, rate = closing_of(quantity, before), fee / abs(quantity)
    opening, rest = quantity - closing, before + closing
    gain = -closing * (price - basis) - rate * abs(closing) if closing != 0.0 else 0.0
    total = held[GAIN] + gain
    ended = (closing != 0.0) & ((opening != 0.0) | (rest == 0.0) | (not closable(abs(rest), mark, sizes)))
    side = 1 if before > 0.0 else 2
    rest = 0.0 if ended else rest
    paid = rate if opening > 0.0 else -rate
    average = (basis * abs(rest) + (price + paid) * abs(opening)) / (abs(rest) + abs(opening))
    guard.clock[b, ENTRIES] += 1 if (opening != 0.0) & (rest == 0.0) else 0
    held[BASIS] = average if opening != 0.0 else basis
    held[GAIN], held[HELD] = 0.0 if ended else total, rest + opening
    return side if ended else 0, side if ended & (total < 0.0) else 0, gain


@inlined
def _lock(guard: GuardState, b: int, a: int, side: int, bars: float, rule: int) -> None:
    """Lock one side of an instrument for so many bars, unless it is for longer already."""
    now = guard.clock[b, BARS]
    end = now + np.int64(bars)
    if guard.until[b, a, side] <= now:
        guard.why[b, a, side] = 0
    guard.why[b, a, side] |= rule
    guard.until[b, a, side] = max(guard.until[b, a, side], end)
    guard.clock[b, LATEST] = max(guard.clock[b, LATEST], end)


@inlined
def _lock_sides(guard: GuardState, b: int, a: int, bars: float, rule: int) -> None:
    """Lock both sides of an instrument."""
    _lock(guard, b, a, LONG, bars, rule)
    _lock(guard, b, a, SHORT, bars, rule)


@inlined
def _note_exits(lost: int, guard: GuardState, b: int, a: int) -> None:
    """Note exits at a loss, and lock where that many lie within the window: of all, of the instrument, or of a side."""
    rules, scope, now = guard.rules, guard.rules[EXIT_SCOPE], guard.clock[b, BARS]
    places, whose = guard.exits.shape[3], 0 if scope == BY_ACCOUNT else a
    for side in range(2):
        if lost & (1 << side):
            of = side if scope == BY_SIDE else 0
            count = guard.queue[b, whose, LOSSES + of]
            guard.exits[b, whose, of, count % places] = now
            guard.queue[b, whose, LOSSES + of] = count + 1
            oldest = guard.exits[b, whose, of, (count + 1) % places]
            if count + 1 >= places and oldest > now - np.int64(rules[EXIT_BARS]):
                for other in range(guard.until.shape[1]):
                    if other == a or scope == BY_ACCOUNT:
                        if scope != BY_SIDE or side == LONG:
                            _lock(guard, b, other, LONG, rules[EXIT_LOCK], GUARDED)
                        if scope != BY_SIDE or side == SHORT:
                            _lock(guard, b, other, SHORT, rules[EXIT_LOCK], GUARDED)


@inlined
def _note_profit(profit: float, guard: GuardState, b: int, a: int) -> None:
    """Add to what an instrument realised in the window, and let go of what lies before it."""
    count, held, now, places = guard.queue[b, a], guard.held[b, a], guard.clock[b, BARS], guard.sold.shape[2]
    first = now - np.int64(guard.rules[PROFIT_BARS])
    while count[FIRST_SALE] < count[NEXT_SALE] and guard.sold[b, a, count[FIRST_SALE] % places] <= first:
        held[REALISED] -= guard.earned[b, a, count[FIRST_SALE] % places]
        count[FIRST_SALE] += 1
    if count[FIRST_SALE] == count[NEXT_SALE]:
        held[REALISED] = 0.0  # nothing of what was rounded stays
    at = count[NEXT_SALE] % places
    guard.sold[b, a, at], guard.earned[b, a, at] = now, profit
    held[REALISED] += profit
    count[NEXT_SALE] += 1


@inlined
def _weigh_profit(equity: float, guard: GuardState, b: int, a: int) -> None:
    """Lock an instrument whose realised profit in the window is below its share of equity."""
    if guard.held[b, a, REALISED] < guard.rules[PROFIT] * equity:
        _lock_sides(guard, b, a, guard.rules[PROFIT_LOCK], LOSING)


@inlined
def _compare_marks(holding: Float, guard: GuardState, b: int) -> None:
    """Lock instruments whose marks moved too far within so many bars."""
    rules, clock, places = guard.rules, guard.clock[b], guard.marks.shape[2]
    # A ring of one place more than there are bars in between: the next place has the oldest mark.
    clock[MARK_AT] = clock[MARK_AT] + 1 if clock[MARK_AT] + 1 < places else 0
    at = clock[MARK_AT]
    oldest = at + 1 if at + 1 < places else 0
    for a in range(len(holding)):
        mark, before = holding[a, MARK], guard.marks[b, a, oldest]
        if before > 0.0 and abs(mark - before) > rules[MOVE] * before:
            _lock_sides(guard, b, a, rules[MOVE_LOCK], MOVED)
        guard.marks[b, a, at] = mark if mark == mark else 0.0


@inlined
def _pause(equity: float, guard: GuardState, b: int) -> None:
    """Lock all for a while after a drawdown from the highest equity of the window, which then begins anew."""
    if equity <= _top(equity, guard, b) * (1.0 - guard.rules[DRAWDOWN]):
        for a in range(guard.until.shape[1]):
            _lock_sides(guard, b, a, guard.rules[DRAWDOWN_LOCK], PAUSED)
        _begin_tops(equity, guard, b)


@inlined
def _begin_tops(equity: float, guard: GuardState, b: int) -> None:
    """Begin the window of drawdowns anew, with an equity."""
    if guard.tops.shape[1] > 0:
        guard.tops[b, :], guard.crest[b], guard.clock[b, TOP_AT] = 0.0, 0.0, 0
        _top(equity, guard, b)


@inlined
def _top(equity: float, guard: GuardState, b: int) -> float:
    """Note an equity; return the highest of the window that ends with it.

    The window is cut into blocks of its length (van Herk, Pattern Recognition Letters 13, 1992). Behind the place of
    now lies what was noted of this block; ahead of it, of the block before, the highest from each place to its end. So
    a bar costs the same however long the window is, and without a loop whose length nobody can foresee.
    """
    tops, at, crest, highest = guard.tops[b], guard.clock[b, TOP_AT], guard.crest[b], 0.0
    crest = crest if crest > equity else equity
    highest = tops[at + 1] if at + 1 < len(tops) else 0.0
    tops[at], at = equity, at + 1
    highest = highest if highest > crest else crest
    if at == len(tops):
        at, crest = 0, 0.0
        for back in range(1, len(tops)):
            k = len(tops) - 1 - back
            tops[k] = max(tops[k], tops[k + 1])
    guard.clock[b, TOP_AT], guard.crest[b] = at, crest
    return highest


@compiled
def top_rows(account: Float, guard: GuardState) -> None:
    """Begin the windows of drawdowns of all accounts anew, with their equity now."""
    for b in range(len(account)):
        _begin_tops(account[b, EQUITY], guard, b)


@compiled
def lock_rows(guard: GuardState, out: Int) -> None:
    """Write (B, A, 2) decisions from the next one on in which an instrument may not be bought, or sold, to open."""
    for b in range(len(out)):
        clock, left = guard.clock[b], 0
        if clock[ENTRIES] >= guard.rules[DAY_ENTRIES] and not tomorrow(clock[LAST], clock):
            spacing = clock[SPACING] if clock[SPACING] < _FOREVER else DAY
            left = -(((clock[TODAY] + 1) * DAY - clock[LAST] - spacing) // -spacing)
        for a in range(out.shape[1]):
            for side in range(2):
                out[b, a, side] = max(left, guard.until[b, a, side] - clock[BARS], 0)
