"""The compiled functions that move money.

Everything goes through `settle_rows`: the environments call it on the arrays of a whole batch, a session calls it for
one account. Each account is settled on its own, instrument by instrument and in strict IEEE arithmetic, so the bits do
not depend on who called or on how many accounts there were. The rules are those of the design;
`docs/decisions/0002-market-rules.md` says where they were sharpened. What a compiled function calls stands in the same
file, because Numba's cache notices changes of that file alone.
"""

from __future__ import annotations

import math

from qframe_rl.jit import compiled, inlined
from qframe_rl.kernel.rules import (
    HALF_SPREAD,
    IMPACT,
    LIQUIDATION,
    LOT,
    MAINTENANCE,
    MAKER,
    MIN_NOTIONAL,
    TAKER,
    TICK,
    VOLUME_SHARE,
)
from qframe_rl.types import CLOSE, HIGH, LOW, OPEN, VOLUME, Bool, Float, Int

# Columns of an orders array (B, A, 3).
QUANTITY, LIMIT, STOP = range(3)
# Columns of a fills array (B, A, 9); the first is QUANTITY too.
PRICE, FEE, SPREAD, PUSHED, FUNDING, CANCELLED, FORCED, FORCED_PRICE = range(1, 9)
N_FILLS = 9
# Columns of a book array (B, 3).
EQUITY, ABSORBED, RUINED = range(3)
# Columns of the scratch array (A, 5) in which one account's orders are worked out.
_SIZE, _CLOSING, _AT, _RATE, _BASE = range(5)
N_WORK = 5
# Head-room that keeps sums of products on the safe side of a bound.
_MARGIN = 1.0 - 1e-12


@compiled
def settle_rows(
    cash: Float,
    position: Float,
    mark: Float,
    orders: Float,
    values: Float,
    funding: Float,
    final: Bool,
    row: Int,
    active: Bool,
    table: Float,
    leverage: float,
    shorting: bool,
    fills: Float,
    book: Float,
    work: Float,
) -> None:
    """Settle bar ``row[b]`` for every active account, in place.

    ``cash`` (B,), ``position`` (B, A), ``mark`` (B, A) are updated; ``fills`` (B, A, 9) and ``book`` (B, 3: equity,
    absorbed loss, ruined) are overwritten. ``orders`` is (B, A, 3): quantity, limit, stop; ``values`` (T, A, C),
    ``funding`` (T, A) and ``final`` (T, A) are the bars.
    """
    spot = not shorting and leverage == 1.0
    for b in range(len(cash)):
        if active[b]:
            t = row[b]
            money = _pay_funding(b, t, cash[b], position, funding, fills)
            if _price(b, t, position, orders, values, table, shorting, work, fills):
                if spot:
                    need, room = _spot_room(money, work)
                else:
                    need, room = _margin_room(b, t, money, position, mark, values, leverage, work)
                if need > room * _MARGIN:
                    _shrink(max(0.0, room / need) * _MARGIN, table, work)
                money = _fill(b, t, money, position, orders, values, table, work, fills)
            absorbed, liquidated = 0.0, False
            if not spot:
                money, absorbed, liquidated = _liquidate(b, t, money, position, mark, values, table, fills)
            money = _mark(b, t, money, position, mark, values, final, table, fills)
            cash[b] = money
            equity = value(b, money, position, mark)
            book[b, EQUITY] = equity
            book[b, ABSORBED] = absorbed
            book[b, RUINED] = 1.0 if liquidated or equity <= 0.0 else 0.0


@inlined
def value(b: int, cash: float, position: Float, mark: Float) -> float:
    """Equity of account ``b``: cash plus each position at its mark, added in order."""
    equity = cash
    for a in range(position.shape[1]):
        if position[b, a] != 0.0:
            equity += float(position[b, a] * mark[b, a])
    return equity


@inlined
def _pay_funding(b: int, t: int, cash: float, position: Float, funding: Float, fills: Float) -> float:
    """Clear the account's fills and pay what fell due on the position held before the bar's orders."""
    for a in range(position.shape[1]):
        for k in range(N_FILLS):
            fills[b, a, k] = 0.0
        if position[b, a] != 0.0 and funding[t, a] != 0.0:
            paid = position[b, a] * funding[t, a]
            fills[b, a, FUNDING] = paid
            cash -= paid
    return cash


@inlined
def _whole_lots(size: float, lot: float) -> float:
    """Largest whole number of lots within ``size``; the tolerance forgives one ulp of a product such as 3 x 0.1."""
    return math.floor(size / lot + 1e-9) * lot if lot > 0.0 else size


@inlined
def _taken_at(a: int, side: float, base: float, size: float, volume: float, table: Float) -> float:
    """Price of taking ``size`` from the book: half the spread and square-root impact worse than ``base``."""
    slip: float = table[a, HALF_SPREAD]
    if table[a, IMPACT] > 0.0:
        slip += table[a, IMPACT] * math.sqrt(size / volume)
    return base * (1.0 + side * slip)


@inlined
def _offer(
    b: int, t: int, a: int, side: float, size: float, orders: Float, values: Float, table: Float
) -> tuple[float, float, float]:
    """How ``size`` of an order fills in this bar: price, fee rate, and the price before slippage (0 if it rests).

    The price is 0 if the order does not fill.
    """
    limit, stop = orders[b, a, LIMIT], orders[b, a, STOP]
    base = values[t, a, OPEN]
    if not math.isnan(stop):
        touched = values[t, a, HIGH] >= stop if side > 0.0 else values[t, a, LOW] <= stop
        if not math.isnan(limit) or not touched:
            return 0.0, 0.0, 0.0
        base = max(base, stop) if side > 0.0 else min(base, stop)
    taken = _taken_at(a, side, base, size, values[t, a, VOLUME], table)
    if math.isnan(limit):
        return taken, table[a, TAKER], base
    tick = table[a, TICK]
    if tick > 0.0:
        limit = (math.floor(limit / tick + 1e-9) if side > 0.0 else math.ceil(limit / tick - 1e-9)) * tick
    if side * (limit - taken) >= 0.0:
        return taken, table[a, TAKER], base
    through = values[t, a, LOW] < limit if side > 0.0 else values[t, a, HIGH] > limit
    return (limit, table[a, MAKER], 0.0) if through else (0.0, 0.0, 0.0)


@inlined
def _price(
    b: int,
    t: int,
    position: Float,
    orders: Float,
    values: Float,
    table: Float,
    shorting: bool,
    work: Float,
    fills: Float,
) -> bool:
    """Write each order's size in whole lots, its closing part and its terms into ``work``; say whether any fills."""
    some = False
    for a in range(position.shape[1]):
        work[a, _SIZE] = work[a, _CLOSING] = work[a, _AT] = work[a, _RATE] = work[a, _BASE] = 0.0
        asked = orders[b, a, QUANTITY]
        if asked == 0.0 or math.isnan(asked):
            continue
        fills[b, a, CANCELLED] = asked
        if math.isnan(values[t, a, OPEN]) or values[t, a, VOLUME] <= 0.0:
            continue
        side = 1.0 if asked > 0.0 else -1.0
        opposite = max(0.0, -side * position[b, a])
        size = min(abs(asked), table[a, VOLUME_SHARE] * values[t, a, VOLUME])
        if not shorting and side < 0.0:
            size = min(size, opposite)
        size = _whole_lots(size, table[a, LOT]) if abs(size - opposite) > 1e-9 * opposite else opposite
        if size > 0.0:
            at, rate, base = _offer(b, t, a, side, size, orders, values, table)
            if at > 0.0:
                some = True
                work[a, _SIZE] = side * size
                work[a, _CLOSING] = side * min(size, opposite)
                work[a, _AT] = at
                work[a, _RATE] = rate
                work[a, _BASE] = base
    return some


@inlined
def _spot_room(cash: float, work: Float) -> tuple[float, float]:
    """Cash that the opening parts need, and cash there is once the closing parts are paid."""
    need = 0.0
    for a in range(len(work)):
        closing = work[a, _CLOSING]
        cash -= closing * work[a, _AT] + abs(closing) * work[a, _AT] * work[a, _RATE]
        need += (work[a, _SIZE] - closing) * work[a, _AT] * (1.0 + work[a, _RATE])
    return need, cash


@inlined
def _margin_room(
    b: int, t: int, cash: float, position: Float, mark: Float, values: Float, leverage: float, work: Float
) -> tuple[float, float]:
    """Gross notional that the opening parts need, and what the leverage cap leaves after the closing parts.

    Both are counted at the open with all costs, and with no credit for a limit that is better than the open.
    """
    equity, gross, need = cash, 0.0, 0.0
    for a in range(position.shape[1]):
        worth = mark[b, a] if math.isnan(values[t, a, OPEN]) else values[t, a, OPEN]
        closing = work[a, _CLOSING]
        opening = work[a, _SIZE] - closing
        at, rate = work[a, _AT], work[a, _RATE]
        if position[b, a] != 0.0:
            equity += position[b, a] * worth
            gross += abs(position[b, a] + closing) * worth
        if closing != 0.0:
            equity -= max(0.0, closing * (at - worth)) + abs(closing) * at * rate
        if opening != 0.0:
            worse = opening * (at - worth)
            notional = abs(opening) * (worth if worse >= 0.0 else max(at, worth))
            need += notional + leverage * (max(0.0, worse) + abs(opening) * at * rate)
    return need, leverage * equity - gross


@inlined
def _shrink(share: float, table: Float, work: Float) -> None:
    """Scale the opening parts by ``share``, down to whole lots; closing parts always fit."""
    for a in range(len(work)):
        opening = work[a, _SIZE] - work[a, _CLOSING]
        if opening != 0.0:
            size = abs(opening) * share
            lot = table[a, LOT]
            size = math.floor(size / lot) * lot if lot > 0.0 else size
            work[a, _SIZE] = work[a, _CLOSING] + math.copysign(size, opening)


@inlined
def _fill(
    b: int,
    t: int,
    cash: float,
    position: Float,
    orders: Float,
    values: Float,
    table: Float,
    work: Float,
    fills: Float,
) -> float:
    """Fill what fits, at the price of its final size, unless it is worth less than the minimum notional."""
    for a in range(position.shape[1]):
        quantity = work[a, _SIZE]
        if quantity == 0.0:
            continue
        at, base = work[a, _AT], work[a, _BASE]
        spread = impact = 0.0
        if base > 0.0:
            side = 1.0 if quantity > 0.0 else -1.0
            at = _taken_at(a, side, base, abs(quantity), values[t, a, VOLUME], table)
            spread = abs(quantity) * base * table[a, HALF_SPREAD]
            impact = quantity * (at - base) - spread if table[a, IMPACT] > 0.0 else 0.0
        notional = abs(quantity) * at
        if notional < table[a, MIN_NOTIONAL]:
            continue
        fee = notional * work[a, _RATE]
        fills[b, a, QUANTITY] = quantity
        fills[b, a, PRICE] = at
        fills[b, a, FEE] = fee
        fills[b, a, SPREAD] = spread
        fills[b, a, PUSHED] = impact
        fills[b, a, CANCELLED] = orders[b, a, QUANTITY] - quantity
        cash -= quantity * at + fee
        held = position[b, a] + quantity
        position[b, a] = 0.0 if abs(held) < 0.5 * table[a, LOT] else held
    return cash


@inlined
def _liquidate(
    b: int, t: int, cash: float, position: Float, mark: Float, values: Float, table: Float, fills: Float
) -> tuple[float, float, bool]:
    """Close the book at the bar's worst prices if equity there falls under the maintenance margin.

    Returns the cash, the loss beyond equity that the venue bears, and whether it happened.
    """
    equity, margin, gross = cash, 0.0, 0.0
    for a in range(position.shape[1]):
        if position[b, a] != 0.0:
            worst = _worst(position[b, a], mark[b, a], t, a, values)
            equity += position[b, a] * worst
            gross += abs(position[b, a]) * worst
            margin += abs(position[b, a]) * worst * table[a, MAINTENANCE]
    if gross == 0.0 or equity >= margin:
        return cash, 0.0, False
    for a in range(position.shape[1]):
        if position[b, a] != 0.0:
            worst = _worst(position[b, a], mark[b, a], t, a, values)
            cash = _close(b, a, cash, position, worst, table[a, LIQUIDATION], fills)
    if cash < 0.0:
        return 0.0, -cash, True
    return cash, 0.0, True


@inlined
def _worst(held: float, mark: float, t: int, a: int, values: Float) -> float:
    """Price at which a position is worth least in this bar; its mark where the instrument does not trade."""
    if math.isnan(values[t, a, OPEN]):
        return mark
    return float(values[t, a, LOW] if held > 0.0 else values[t, a, HIGH])


@inlined
def _close(b: int, a: int, cash: float, position: Float, price: float, rate: float, fills: Float) -> float:
    """Close one position by force at ``price`` and charge ``rate`` on its notional."""
    held = position[b, a]
    fee = abs(held) * price * rate
    fills[b, a, FORCED] = -held
    fills[b, a, FORCED_PRICE] = price
    fills[b, a, FEE] += fee
    position[b, a] = 0.0
    return cash + float(held * price - fee)


@inlined
def _mark(
    b: int,
    t: int,
    cash: float,
    position: Float,
    mark: Float,
    values: Float,
    final: Bool,
    table: Float,
    fills: Float,
) -> float:
    """Mark at the close; pay out what is held of an instrument whose last bar this is."""
    for a in range(position.shape[1]):
        if not math.isnan(values[t, a, CLOSE]):
            mark[b, a] = values[t, a, CLOSE]
        if final[t, a] and position[b, a] != 0.0:
            cash = _close(b, a, cash, position, mark[b, a], table[a, TAKER], fills)
    return cash
