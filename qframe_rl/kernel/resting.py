"""Orders that rest and are met in a bar: after those at the open, and in margin accounts in the order that is worst.

It is the seventh step of `docs/decisions/0002-market-rules.md`, for one lane of `qframe_rl.kernel.lanes` at a time.
"""

from __future__ import annotations

from qframe_rl.jit import inlined
from qframe_rl.kernel.forced import close_out
from qframe_rl.kernel.lanes import (
    ACCOUNT,
    AT,
    BASE,
    CASH,
    EARNED,
    FEE,
    FILLED,
    HELD,
    HIGH,
    INSTRUMENT,
    LEFT,
    LOW,
    MARK,
    MOVING,
    RATE,
    RESTING,
    VOLUME,
    WORST_AT,
    WORTH,
    after,
    allowed,
    closing_of,
    shrunk,
    taken,
)
from qframe_rl.kernel.room import loss_of, need_of, share_of
from qframe_rl.kernel.rules import HALF_SPREAD, IMPACT, LOT_SCALE, LOT_STEP, MAINTENANCE, OWNED, TRANSFER
from qframe_rl.types import Float


@inlined
def rest(n: int, w: Float, k: int, table: Float, leverage: float, spot: bool) -> None:
    """Fill the resting orders of lane ``k`` that the bar meets; liquidate it where that comes first."""
    met = False
    for a in range(n):
        met = met or w[ACCOUNT + a * INSTRUMENT + RESTING + k] != 0.0
    if not met:
        return
    # Room is given to all of them before any fills, whichever the bar meets first: a bar does not tell.
    share = _share(n, w, k, table, leverage, spot)
    for a in range(n):
        _terms(w[ACCOUNT + a * INSTRUMENT :], k, table[a], share)
    if not spot:
        for a in range(n):
            _way(w[ACCOUNT + a * INSTRUMENT :], k, table[a])
        if not _survives(n, w, k, table):
            return
    for a in range(n):
        _apply(w[ACCOUNT + a * INSTRUMENT :], w, k, table[a])


@inlined
def _share(n: int, w: Float, k: int, table: Float, leverage: float, spot: bool) -> float:
    """Share of their opening parts for which the orders at the open left room; what closes brings nothing yet.

    Neither does the bar's interest, nor what an owned coin was sold for at the open.
    """
    room, gross, need = w[CASH + k] - w[MOVING + k] - w[EARNED + k], 0.0, 0.0
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        if table[a, OWNED] != 0.0 and v[FILLED + k] < 0.0 and table[a, TRANSFER] == 0.0:
            room += v[FILLED + k] * v[AT + k] + v[FEE + k]
        closing = closing_of(v[RESTING + k], v[HELD + k])
        opening, at, rate = v[RESTING + k] - closing, v[AT + k], v[RATE + k]
        if spot or table[a, OWNED] != 0.0:
            if opening > 0.0:
                need += (1.0 if spot else leverage) * opening * at * (1.0 + rate)
        else:
            if v[HELD + k] != 0.0:
                room += v[HELD + k] * v[WORTH + k]
                gross += abs(v[HELD + k]) * v[WORTH + k]
            if closing != 0.0:
                room -= loss_of(closing, at, v[WORTH + k], rate)
            if opening != 0.0:
                need += need_of(opening, at, v[WORTH + k], rate, leverage)
    return share_of(need, room if spot else leverage * room - gross)


@inlined
def _terms(v: Float, k: int, rule: Float, share: float) -> None:
    """Write the size that fills and its price."""
    size, closing = v[RESTING + k], closing_of(v[RESTING + k], v[HELD + k])
    if size == 0.0:
        return
    size = shrunk(size, closing, share, rule[LOT_STEP], rule[LOT_SCALE])
    for _ in range(2):  # a size that is too small may leave its closing part, at another price
        if v[BASE + k] > 0.0:
            v[AT + k] = taken(size, v[BASE + k], v[VOLUME + k], rule[HALF_SPREAD], rule[IMPACT])
        size = allowed(size, closing, v[AT + k], rule)
    v[RESTING + k] = size


@inlined
def _way(v: Float, k: int, rule: Float) -> None:
    """Write the worst price that the bar has for a contract: for what is held, else for what is to be."""
    down = v[HELD + k] > 0.0 or (v[HELD + k] == 0.0 and v[RESTING + k] > 0.0)
    worst = v[LOW + k] if down else v[HIGH + k]
    v[WORST_AT + k] = worst if worst == worst else v[MARK + k]


@inlined
def _survives(n: int, w: Float, k: int, table: Float) -> bool:
    """Take all contracts to their worst prices, and fill what is met on the way; liquidate where margin runs short."""
    # Each contract goes its way from the open to its worst price in one line, all at the same pace. The order that is
    # met next is looked for again after each one, since every fill changes what is held.
    done = 0.0
    while done <= 1.0:
        coming, done = -1, 2.0
        for a in range(n):
            v = w[ACCOUNT + a * INSTRUMENT :]
            if v[RESTING + k] != 0.0 and not _waits(v, k, table[a]):
                at = _met_at(v, k, table[a])
                coming, done = (a, at) if at < done else (coming, done)
        if short(n, w, k, table, min(done, 1.0)):
            return liquidated(n, w, k, table)
        if coming >= 0:
            _apply(w[ACCOUNT + coming * INSTRUMENT :], w, k, table[coming])
            if short(n, w, k, table, done):
                return liquidated(n, w, k, table)
    return True


@inlined
def _waits(v: Float, k: int, rule: Float) -> bool:
    """Whether an order brings a gain, which comes when the worst is over."""
    if rule[OWNED] != 0.0:
        return bool(v[RESTING + k] < 0.0)
    return bool(v[BASE + k] == 0.0 and closing_of(v[RESTING + k], v[HELD + k]) != 0.0)


@inlined
def _met_at(v: Float, k: int, rule: Float) -> float:
    """Share of a contract's way at which its order is met; 0 for one that lies on the other side, or is no contract."""
    price = v[BASE + k] if v[BASE + k] > 0.0 else v[AT + k]
    way = v[WORST_AT + k] - v[WORTH + k]
    if rule[OWNED] != 0.0 or way == 0.0:
        return 0.0
    return float(min(max((price - v[WORTH + k]) / way, 0.0), 1.0))


@inlined
def short(n: int, w: Float, k: int, table: Float, share: float) -> bool:
    """Whether the account is worth less than its margin at a share of the way."""
    worth, margin = w[CASH + k] - w[MOVING + k], 0.0
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        if v[HELD + k] != 0.0 and table[a, OWNED] == 0.0:
            at = v[WORTH + k] + share * (v[WORST_AT + k] - v[WORTH + k])
            at = v[WORST_AT + k] if share >= 1.0 else at
            worth += v[HELD + k] * at
            margin += abs(v[HELD + k]) * at * table[a, MAINTENANCE]
    return bool(worth < margin)


@inlined
def liquidated(n: int, w: Float, k: int, table: Float) -> bool:
    """Close all contracts at the bar's worst prices for what is held now."""
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        worst = v[LOW + k] if v[HELD + k] > 0.0 else v[HIGH + k]
        v[WORTH + k] = worst if worst == worst else v[MARK + k]
        v[RESTING + k] = 0.0
    close_out(n, w, k, table)
    return False


@inlined
def _apply(v: Float, w: Float, k: int, rule: Float) -> None:
    """Fill one resting order, if it is still there."""
    size = v[RESTING + k]
    if size == 0.0:
        return
    v[RESTING + k] = 0.0
    v[FILLED + k], v[FEE + k] = size, abs(size) * v[AT + k] * v[RATE + k]
    w[CASH + k] -= size * v[AT + k] + v[FEE + k]
    v[HELD + k] = after(v[HELD + k], size, rule[LOT_STEP], rule[LOT_SCALE])
    if size < 0.0 and rule[TRANSFER] > 0.0:
        w[MOVING + k] += -size * v[AT + k] - v[FEE + k]
        w[LEFT + k] = rule[TRANSFER]
