"""The arithmetic of the market rules, for LANES accounts side by side.

Scratch memory is one array: a block of account rows, then a block of rows per instrument, each row LANES numbers long.
Every loop runs over all lanes, without branches and with few rows at a time, because that is the form in which the
compiler makes vector instructions of it. Those add, multiply, divide and round each lane exactly as scalar ones do, so
the bits do not depend on the lane or on the number of accounts. What is rare (limits, stops, liquidation, last bars) is
done lane by lane.
"""

from __future__ import annotations

import math

import numpy as np

from qframe_rl.jit import inlined
from qframe_rl.kernel.rules import (
    HALF_SPREAD,
    IMPACT,
    LIQUIDATION,
    LOCKED,
    LOT,
    MAINTENANCE,
    MAKER,
    MIN_NOTIONAL,
    OWNED,
    TAKER,
    TICK,
    TRANSFER,
    VOLUME_SHARE,
)
from qframe_rl.types import Float

LANES = 64
# Rows of an account.
CASH, EQUITY, GROSS, NEED, ROOM, SHARE, WORST, MARGIN, ABSORBED, RUINED, MOVING, LEFT, EARNED, EARNS = (
    LANES * k for k in range(14)
)
ACCOUNT = LANES * 14
# Rows of an instrument: the bar, the position, the order, its terms, what became of it.
(
    OPEN, HIGH, LOW, CLOSE, VOLUME, DUE, FINAL, HELD, MARK, ASKED, LIMIT, STOP, SIZE, CLOSING, AT, RATE, BASE, WORTH,
    FILLED, FEE, PAID, FORCED, FORCED_AT,
) = (LANES * k for k in range(23))  # fmt: skip
INSTRUMENT = LANES * 23
# Head-room that keeps sums of products on the safe side of a bound.
_MARGIN = 1.0 - 1e-12


def scratch(n_instruments: int) -> Float:
    """Scratch memory for accounts of A instruments."""
    return np.zeros(ACCOUNT + n_instruments * INSTRUMENT)


@inlined
def aim(v: Float, w: Float, band: float) -> None:
    """Turn targets, which stand in SIZE, into quantities in ASKED.

    BASE holds the close of the bar that just ended, NaN where the instrument did not trade in it.
    """
    for k in range(LANES):
        target = v[SIZE + k]
        held = v[HELD + k]
        live = (v[BASE + k] == v[BASE + k]) & (w[EQUITY + k] > 0.0) & (target == target)
        worth = v[MARK + k] if live else 1.0
        equity = w[EQUITY + k] if live else 1.0
        away = target * equity / worth - held
        away = away if abs(target - held * worth / equity) > band else 0.0
        away = -held if target == 0.0 else away
        v[ASKED + k] = away if live else 0.0


@inlined
def price(v: Float, w: Float, rule: Float, shorting: bool) -> None:
    """Pay funding; write the order's size in whole lots, its closing part and its terms as a market order."""
    for k in range(LANES):
        v[PAID + k] = v[HELD + k] * v[DUE + k]
        v[FORCED + k] = v[FORCED_AT + k] = 0.0
    for k in range(LANES):
        w[CASH + k] -= v[PAID + k]
        w[ROOM + k] -= v[PAID + k]
    for k in range(LANES):
        v[BASE + k] = v[OPEN + k] if _live(v[ASKED + k], v[OPEN + k], v[VOLUME + k]) else 0.0
    _size(v, rule[VOLUME_SHARE], rule[LOT], shorting and rule[OWNED] == 0.0)
    for k in range(LANES):
        v[AT + k] = _taken(v[SIZE + k], v[BASE + k], v[VOLUME + k], rule[HALF_SPREAD], rule[IMPACT])
        v[RATE + k] = rule[TAKER]


@inlined
def _live(asked: float, opening: float, volume: float) -> bool:
    """Whether there is an order and a market for it; NaN compares as neither."""
    return (asked == asked) & (asked != 0.0) & (opening == opening) & (volume > 0.0)


@inlined
def _size(v: Float, volume_share: float, lot: float, shorting: bool) -> None:
    """Cap each order at a share of the bar's volume and round it toward zero to whole lots; a full close is exact.

    The tolerance of the rounding forgives one ulp of a product such as 3 x 0.1.
    """
    unit = lot if lot > 0.0 else 1.0
    for k in range(LANES):
        side = 1.0 if v[ASKED + k] > 0.0 else -1.0
        opposite = -side * v[HELD + k]
        opposite = opposite if opposite > 0.0 else 0.0
        size = abs(v[ASKED + k])
        cap = volume_share * v[VOLUME + k]
        size = size if size < cap else cap
        owned = size if size < opposite else opposite
        size = owned if (not shorting) & (side < 0.0) else size
        lots = np.floor(size / unit + 1e-9) * unit
        lots = lots if lot > 0.0 else size
        size = lots if abs(size - opposite) > 1e-9 * opposite else opposite
        size = size if v[BASE + k] > 0.0 else 0.0
        v[SIZE + k] = side * size
        v[CLOSING + k] = side * (size if size < opposite else opposite)


@inlined
def _taken(size: float, base: float, volume: float, half_spread: float, impact: float) -> float:
    """Price of taking ``size`` from the book: half the spread and square-root impact worse than ``base``."""
    side = 1.0 if size > 0.0 else -1.0
    slip = half_spread + impact * math.sqrt(abs(size) / (volume if volume > 0.0 else 1.0))
    return base * (1.0 + side * (slip if impact > 0.0 else half_spread))


@inlined
def condition(v: Float, k: int, rule: Float) -> None:
    """Replace the terms of one order by those of its limit or stop; an order that does not fill has size 0.

    A stop triggers on the bar's extreme and takes from the worse of open and stop. A limit that a market order at the
    open would meet takes as that order does; else it rests, and fills at the limit if the bar trades through it.
    """
    size, limit, stop = v[SIZE + k], v[LIMIT + k], v[STOP + k]
    if size == 0.0 or (math.isnan(limit) and math.isnan(stop)):
        return
    side = 1.0 if size > 0.0 else -1.0
    if not math.isnan(stop):
        touched = v[HIGH + k] >= stop if side > 0.0 else v[LOW + k] <= stop
        fills = touched and math.isnan(limit)
        v[BASE + k] = max(v[BASE + k], stop) if side > 0.0 else min(v[BASE + k], stop)
        v[AT + k] = _taken(size, v[BASE + k], v[VOLUME + k], rule[HALF_SPREAD], rule[IMPACT])
    else:
        tick = rule[TICK]
        if tick > 0.0:
            limit = (np.floor(limit / tick + 1e-9) if side > 0.0 else np.ceil(limit / tick - 1e-9)) * tick
        fills = True
        if side * (limit - v[AT + k]) < 0.0:
            fills = v[LOW + k] < limit if side > 0.0 else v[HIGH + k] > limit
            v[AT + k], v[RATE + k], v[BASE + k] = limit, rule[MAKER], 0.0
    if not fills:
        v[SIZE + k] = v[CLOSING + k] = 0.0


@inlined
def _sure(v: Float, k: int, least: float) -> float:
    """Closing part of an order that will not be dropped for being worth less than ``least``."""
    return v[CLOSING + k] if abs(v[SIZE + k]) * v[AT + k] >= least else 0.0


@inlined
def unlocked(held: float, mark: float, locked: float) -> float:
    """What a contract's position adds to the cash that is idle, beside the cash it was opened for."""
    return held * mark - abs(held) * mark * locked


@inlined
def earn(n: int, w: Float, table: Float, spot: bool) -> None:
    """Write what idle cash earns in the bar: neither money on its way nor what contracts lock as margin.

    Of a contract's position the value belongs to the cash that it was opened for; a coin has been paid for.
    """
    for k in range(LANES):
        w[EARNED + k] = w[CASH + k] - w[MOVING + k]
    for a in range(n):
        if not spot and table[a, OWNED] == 0.0:
            v, locked = w[ACCOUNT + a * INSTRUMENT :], table[a, LOCKED]
            for k in range(LANES):
                held = v[HELD + k]
                term = unlocked(held, v[MARK + k], locked)
                w[EARNED + k] += term if held != 0.0 else 0.0
    for k in range(LANES):
        idle = w[EARNED + k]
        w[EARNED + k] = (idle if idle > 0.0 else 0.0) * w[EARNS + k]


@inlined
def need_cash(v: Float, w: Float, least: float) -> None:
    """Take the closing part off ROOM, the cash there is, and add what the opening part costs to NEED.

    ``least`` is the minimum notional: what an order that is dropped would bring pays for nothing.
    """
    for k in range(LANES):
        closing = _sure(v, k, least)
        w[ROOM + k] -= closing * v[AT + k] + abs(closing) * v[AT + k] * v[RATE + k]
    for k in range(LANES):
        w[NEED + k] += (v[SIZE + k] - v[CLOSING + k]) * v[AT + k] * (1.0 + v[RATE + k])


@inlined
def need_margin(v: Float, w: Float, leverage: float, least: float) -> None:
    """Add the position to ROOM, the equity at the open less costs, what is kept of it to GROSS, the opening to NEED.

    No credit is given for a limit that is better than the open, nor for a close that is dropped as it is worth less
    than ``least``.
    """
    for k in range(LANES):
        v[WORTH + k] = v[OPEN + k] if v[OPEN + k] == v[OPEN + k] else v[MARK + k]
    for k in range(LANES):
        held = v[HELD + k]
        term = held * v[WORTH + k]
        w[ROOM + k] += term if held != 0.0 else 0.0
    for k in range(LANES):
        held = v[HELD + k]
        term = abs(held + _sure(v, k, least)) * v[WORTH + k]
        w[GROSS + k] += term if held != 0.0 else 0.0
    for k in range(LANES):
        closing = v[CLOSING + k]
        worse = closing * (v[AT + k] - v[WORTH + k])
        term = (worse if worse > 0.0 else 0.0) + abs(closing) * v[AT + k] * v[RATE + k]
        w[ROOM + k] -= term if closing != 0.0 else 0.0
    for k in range(LANES):
        opening = v[SIZE + k] - v[CLOSING + k]
        at = v[AT + k]
        worth = v[WORTH + k]
        worse = opening * (at - worth)
        dearer = at if at > worth else worth
        notional = abs(opening) * (worth if worse >= 0.0 else dearer)
        term = notional + leverage * ((worse if worse > 0.0 else 0.0) + abs(opening) * at * v[RATE + k])
        w[NEED + k] += term if opening != 0.0 else 0.0


@inlined
def need_free_cash(v: Float, w: Float, leverage: float) -> None:
    """Add what an owned coin's opening part costs to NEED.

    ROOM is what the contracts have for margin. The coin is no part of it, so what is paid for it is taken from it in
    full; what it is sold for can be spent in the next bar at the earliest.
    """
    for k in range(LANES):
        opening = v[SIZE + k] - v[CLOSING + k]
        term = leverage * opening * v[AT + k] * (1.0 + v[RATE + k])
        w[NEED + k] += term if opening > 0.0 else 0.0


@inlined
def move(v: Float, w: Float, rule: Float) -> None:
    """Hold back what an owned coin was sold for, if it takes time to reach the contracts; a new sale starts anew."""
    bars = rule[TRANSFER]
    for k in range(LANES):
        sold = (v[FILLED + k] < 0.0) & (bars > 0.0)
        w[MOVING + k] += -v[FILLED + k] * v[AT + k] - v[FEE + k] if sold else 0.0
        w[LEFT + k] = bars if sold else w[LEFT + k]


@inlined
def share_out(w: Float, leverage: float, spot: bool) -> None:
    """Share of the opening parts that fits: 2 where all of it does."""
    for k in range(LANES):
        room = w[ROOM + k] if spot else leverage * w[ROOM + k] - w[GROSS + k]
        need = w[NEED + k]
        over = need > room * _MARGIN
        share = room / (need if over else 1.0)
        share = share if share > 0.0 else 0.0
        w[SHARE + k] = share * _MARGIN if over else 2.0


@inlined
def fill(v: Float, w: Float, rule: Float) -> None:
    """Fill the closing part and the share of the opening part that fits, at the price of the final size.

    What is worth less than the minimum notional is dropped.
    """
    _shrink(v, w, rule[LOT])
    for k in range(LANES):
        again = _taken(v[FILLED + k], v[BASE + k], v[VOLUME + k], rule[HALF_SPREAD], rule[IMPACT])
        v[AT + k] = again if v[BASE + k] > 0.0 else v[AT + k]
    for k in range(LANES):
        notional = abs(v[FILLED + k]) * v[AT + k]
        enough = notional >= rule[MIN_NOTIONAL]
        v[FEE + k] = notional * v[RATE + k] if enough else 0.0
        v[FILLED + k] = v[FILLED + k] if enough else 0.0
    for k in range(LANES):
        w[CASH + k] -= v[FILLED + k] * v[AT + k] + v[FEE + k]
    for k in range(LANES):
        held = v[HELD + k] + v[FILLED + k]
        held = 0.0 if abs(held) < 0.5 * rule[LOT] else held
        v[HELD + k] = held if v[FILLED + k] != 0.0 else v[HELD + k]


@inlined
def _shrink(v: Float, w: Float, lot: float) -> None:
    """Write the size to fill: the closing part, and the share of the opening part, down to whole lots."""
    unit = lot if lot > 0.0 else 1.0
    for k in range(LANES):
        share = w[SHARE + k]
        size = v[SIZE + k]
        closing = v[CLOSING + k]
        opening = size - closing
        fits = abs(opening) * share
        lots = np.floor(fits / unit) * unit
        fits = lots if lot > 0.0 else fits
        fits = closing + (fits if opening > 0.0 else -fits)
        fits = fits if share <= 1.0 else size
        v[FILLED + k] = fits if opening != 0.0 else size


@inlined
def credit(w: Float) -> None:
    """Add the interest to the cash: once orders have filled, as it is earned by the bar's close only."""
    for k in range(LANES):
        w[CASH + k] += w[EARNED + k]


@inlined
def endanger(v: Float, w: Float, rule: Float) -> None:
    """Add the position at the bar's worst price to WORST, and its maintenance margin there to MARGIN."""
    for k in range(LANES):
        worst = v[LOW + k] if v[HELD + k] > 0.0 else v[HIGH + k]
        v[WORTH + k] = worst if worst == worst else v[MARK + k]
    for k in range(LANES):
        held = v[HELD + k]
        term = held * v[WORTH + k]
        w[WORST + k] += term if held != 0.0 else 0.0
    for k in range(LANES):
        held = v[HELD + k]
        term = abs(held) * v[WORTH + k] * rule[MAINTENANCE]
        w[MARGIN + k] += term if held != 0.0 else 0.0


@inlined
def short_of_margin(w: Float) -> bool:
    """Whether any account is worth less than its margin at the bar's worst prices."""
    short = 0
    for k in range(LANES):
        short += 1 if w[CASH + k] - w[MOVING + k] + w[WORST + k] < w[MARGIN + k] else 0
    return short > 0


@inlined
def liquidate(n: int, w: Float, k: int, table: Float) -> None:
    """Close the book of lane ``k`` at the bar's worst prices, if it holds anything and is short of its margin.

    Coins that are owned, and what they were sold for as long as it is on its way, are out of the venue's reach.
    """
    if w[CASH + k] - w[MOVING + k] + w[WORST + k] >= w[MARGIN + k]:
        return
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        if v[HELD + k] != 0.0 and table[a, OWNED] == 0.0:
            w[RUINED + k] = 1.0
            force(v, w, k, v[WORTH + k], table[a, LIQUIDATION])
    if w[RUINED + k] > 0.0:
        _absorb(w, k)


@inlined
def bear(n: int, w: Float, k: int, table: Float) -> None:
    """Close the book of lane ``k`` at its marks, if the fees of last bars took more than it had."""
    worth = w[CASH + k]
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        worth += v[HELD + k] * v[MARK + k] if v[HELD + k] != 0.0 else 0.0
    if worth >= 0.0:
        return
    w[RUINED + k] = 1.0
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        if v[HELD + k] != 0.0 and table[a, OWNED] == 0.0:
            force(v, w, k, v[MARK + k], 0.0)
    _absorb(w, k)


@inlined
def _absorb(w: Float, k: int) -> None:
    """Let the venue bear what lane ``k`` owes."""
    if w[CASH + k] < w[MOVING + k]:
        w[ABSORBED + k] += w[MOVING + k] - w[CASH + k]
        w[CASH + k] = w[MOVING + k]


@inlined
def force(v: Float, w: Float, k: int, at: float, rate: float) -> None:
    """Close one position at a price that nobody asked for, and charge ``rate`` on its notional."""
    held = v[HELD + k]
    fee = abs(held) * at * rate
    v[FEE + k] += fee
    v[FORCED + k] = -held
    v[FORCED_AT + k] = at
    v[HELD + k] = 0.0
    w[CASH + k] += held * at - fee


@inlined
def remark(v: Float) -> None:
    """Mark at the close."""
    for k in range(LANES):
        v[MARK + k] = v[CLOSE + k] if v[CLOSE + k] == v[CLOSE + k] else v[MARK + k]


@inlined
def value(n: int, w: Float) -> None:
    """Equity in EQUITY: cash plus each position at its mark, added in order."""
    for k in range(LANES):
        w[EQUITY + k] = w[CASH + k]
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        for k in range(LANES):
            held = v[HELD + k]
            term = held * v[MARK + k]
            w[EQUITY + k] += term if held != 0.0 else 0.0
