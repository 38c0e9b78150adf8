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
from qframe_rl.kernel.grid import down, passes, reaches, snapped, together, up
from qframe_rl.kernel.rules import (
    EXEMPT,
    HALF_SPREAD,
    IMPACT,
    LOT_SCALE,
    LOT_STEP,
    MAKER,
    MIN_AMOUNT,
    MIN_NOTIONAL,
    OWNED,
    TAKER,
    TICK_SCALE,
    TICK_STEP,
    TRANSFER,
    VOLUME_SHARE,
)
from qframe_rl.types import Float

LANES = 64
# Rows of an account.
CASH, EQUITY, GROSS, NEED, ROOM, SHARE, WORST, MARGIN, ABSORBED, RUINED, MOVING, LEFT, EARNED, TRADED = (
    LANES * k for k in range(14)
)
ACCOUNT = LANES * 14
# Rows of an instrument: the bar, the position, the order, its terms, what became of it, what the bar meets later.
(
    OPEN, HIGH, LOW, CLOSE, VOLUME, DUE, FINAL, HELD, MARK, ASKED, LIMIT, STOP, SIZE, CLOSING, AT, RATE, BASE, WORTH,
    FILLED, FEE, PAID, FORCED, FORCED_AT, RESTING, WORST_AT, EARNS,
) = (LANES * k for k in range(26))  # fmt: skip
INSTRUMENT = LANES * 26
# Head-room that keeps sums of products on the safe side of a bound.
SAFE = 1.0 - 1e-12


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
        # x == x is false for NaN alone. Loops choose between values instead of jumping, and what is not chosen is
        # computed all the same, of ones.
        live = (v[BASE + k] == v[BASE + k]) & (w[EQUITY + k] > 0.0) & (target == target)
        worth = v[MARK + k] if live else 1.0
        equity = w[EQUITY + k] if live else 1.0
        away = target * equity / worth - held
        # Inside the band nothing is ordered; but a target of nothing is always reached in full.
        away = away if abs(target - held * worth / equity) > band else 0.0
        away = -held if target == 0.0 else away
        v[ASKED + k] = away if live else 0.0


@inlined
def price(v: Float, w: Float, rule: Float, shorting: bool) -> None:
    """Pay funding; write the order's size in whole lots, its closing part and its terms as a market order."""
    for k in range(LANES):
        v[PAID + k] = v[HELD + k] * v[DUE + k]
        v[FORCED + k] = v[FORCED_AT + k] = v[RESTING + k] = 0.0
    for k in range(LANES):
        w[CASH + k] -= v[PAID + k]
        w[ROOM + k] -= v[PAID + k]
    # From here on BASE is the price that an order takes from, 0 where it takes from none.
    for k in range(LANES):
        v[BASE + k] = v[OPEN + k] if _live(v[ASKED + k], v[OPEN + k], v[VOLUME + k]) else 0.0
    _size(v, rule[VOLUME_SHARE], rule[LOT_STEP], rule[LOT_SCALE], shorting and rule[OWNED] == 0.0)
    for k in range(LANES):
        v[AT + k] = taken(v[SIZE + k], v[BASE + k], v[VOLUME + k], rule[HALF_SPREAD], rule[IMPACT])
        v[RATE + k] = rule[TAKER]


@inlined
def _live(asked: float, opening: float, volume: float) -> bool:
    """Whether there is an order and a market for it; NaN compares as neither."""
    return (asked == asked) & (asked != 0.0) & (opening == opening) & (volume > 0.0)


@inlined
def _size(v: Float, volume_share: float, step: float, scale: float, shorting: bool) -> None:
    """Cap each order at a share of the bar's volume and round it toward zero to whole lots.

    Without lots, what closes a position but for a rounding closes it.
    """
    lotted, unit = step > 0.0, step if step > 0.0 else 1.0
    for k in range(LANES):
        side = 1.0 if v[ASKED + k] > 0.0 else -1.0
        opposite = -side * v[HELD + k]
        opposite = opposite if opposite > 0.0 else 0.0
        size = abs(v[ASKED + k])
        cap = volume_share * v[VOLUME + k]
        size = size if size < cap else cap
        # Without shorting a sale ends with what is held.
        owned = size if size < opposite else opposite
        size = owned if (not shorting) & (side < 0.0) else size
        lots = down(size, unit, scale)
        exact = size if abs(size - opposite) > 1e-9 * opposite else opposite
        size = lots if lotted else exact
        size = size if v[BASE + k] > 0.0 else 0.0
        v[SIZE + k] = side * size
        v[CLOSING + k] = side * (size if size < opposite else opposite)


@inlined
def taken(size: float, base: float, volume: float, half_spread: float, impact: float) -> float:
    """Price of taking ``size`` from the book: half the spread and square-root impact worse than ``base``."""
    side = 1.0 if size > 0.0 else -1.0
    slip = half_spread + impact * math.sqrt(abs(size) / (volume if volume > 0.0 else 1.0))
    return base * (1.0 + side * (slip if impact > 0.0 else half_spread))


@inlined
def condition(v: Float, k: int, rule: Float) -> None:
    """Move an order that the open does not meet out of the way: to RESTING if the bar meets it later, else away.

    A limit that a market order at the open would meet, and a stop that the open has reached, are orders at the open.
    """
    size, limit, stop = v[SIZE + k], v[LIMIT + k], v[STOP + k]
    if size == 0.0 or (math.isnan(limit) and math.isnan(stop)):
        return
    side = 1.0 if size > 0.0 else -1.0
    step, scale = rule[TICK_STEP], rule[TICK_SCALE]
    met = False
    if math.isnan(limit):
        # A stop takes, from where it is triggered: the next tick that is no nearer to the open.
        if step > 0.0:
            stop = up(stop, step, scale) if side > 0.0 else down(stop, step, scale)
        if reaches(v[OPEN + k], stop, side, step, scale):
            return
        met = reaches(v[HIGH + k] if side > 0.0 else v[LOW + k], stop, side, step, scale)
        v[AT + k], v[BASE + k] = taken(size, stop, v[VOLUME + k], rule[HALF_SPREAD], rule[IMPACT]), stop
    elif math.isnan(stop):
        # A limit is rounded to the passive side. It makes only where the bar goes beyond it: who stood before it in the
        # queue at its price is not known.
        if step > 0.0:
            limit = down(limit, step, scale) if side > 0.0 else up(limit, step, scale)
        if side * (limit - v[AT + k]) >= 0.0:
            return
        met = passes(v[LOW + k] if side > 0.0 else v[HIGH + k], limit, -side, step, scale)
        v[AT + k], v[RATE + k], v[BASE + k] = limit, rule[MAKER], 0.0
    v[RESTING + k] = size if met else 0.0
    v[SIZE + k] = v[CLOSING + k] = 0.0


@inlined
def closing_of(size: float, held: float) -> float:
    """Part of an order that reduces its position, signed."""
    side = 1.0 if size > 0.0 else -1.0
    opposite = -side * held
    least = abs(size) if abs(size) < opposite else opposite
    return side * least if opposite > 0.0 else 0.0


@inlined
def allowed(size: float, closing: float, at: float, rule: Float) -> float:
    """What an exchange takes of an order: all, nothing if it is too small, or the part that closes a contract."""
    # Exchanges let go of a contract, however little it is worth.
    enough = (abs(size) >= rule[MIN_AMOUNT]) & (abs(size) * at >= rule[MIN_NOTIONAL] * SAFE)
    alone = (rule[EXEMPT] != 0.0) & (abs(closing) >= rule[MIN_AMOUNT])
    return size if enough else (closing if alone else 0.0)


@inlined
def move(v: Float, w: Float, rule: Float) -> None:
    """Hold back what an owned coin was sold for, if it takes time to reach the contracts; a new sale starts anew."""
    bars = rule[TRANSFER]
    for k in range(LANES):
        sold = (v[FILLED + k] < 0.0) & (bars > 0.0)
        w[MOVING + k] += -v[FILLED + k] * v[AT + k] - v[FEE + k] if sold else 0.0
        w[LEFT + k] = bars if sold else w[LEFT + k]


@inlined
def shrunk(size: float, closing: float, share: float, step: float, scale: float) -> float:
    """The closing part, and the share of the opening part, down to whole lots."""
    opening = size - closing
    fits = abs(opening) * share
    lots = together(abs(closing), fits, step if step > 0.0 else 1.0, scale)
    fits = lots if step > 0.0 else abs(closing) + fits
    fits = fits if size > 0.0 else -fits
    return (fits if share <= 1.0 else size) if opening != 0.0 else size


@inlined
def fill(v: Float, w: Float, rule: Float) -> None:
    """Fill the closing part and the share of the opening part that fits, at the price of the final size."""
    step, scale = rule[LOT_STEP], rule[LOT_SCALE]
    for k in range(LANES):
        v[FILLED + k] = shrunk(v[SIZE + k], v[CLOSING + k], w[SHARE + k], step, scale)
    # The impact of an order depends on its size, so a smaller one has another price, at which it may be too small.
    _price_again(v, rule)
    changed = 0
    for k in range(LANES):
        size = v[FILLED + k]
        takes = allowed(size, v[CLOSING + k], v[AT + k], rule)
        changed += 1 if (takes != size) & (takes != 0.0) else 0
        v[FILLED + k] = takes
    if changed > 0:
        _price_again(v, rule)
    for k in range(LANES):
        v[FEE + k] = abs(v[FILLED + k]) * v[AT + k] * v[RATE + k]
    # A loop for each row that is written, see the head of this file.
    for k in range(LANES):
        w[CASH + k] -= v[FILLED + k] * v[AT + k] + v[FEE + k]
    for k in range(LANES):
        held = after(v[HELD + k], v[FILLED + k], step, scale)
        v[HELD + k] = held if v[FILLED + k] != 0.0 else v[HELD + k]


@inlined
def _price_again(v: Float, rule: Float) -> None:
    """Write the prices of what fills by taking; those of orders that rest stay as they are."""
    for k in range(LANES):
        again = taken(v[FILLED + k], v[BASE + k], v[VOLUME + k], rule[HALF_SPREAD], rule[IMPACT])
        v[AT + k] = again if (v[BASE + k] > 0.0) & (v[FILLED + k] != 0.0) else v[AT + k]


@inlined
def after(held: float, filled: float, step: float, scale: float) -> float:
    """Position after a fill: whole lots where it counts as them."""
    now, larger = held + filled, abs(held) if abs(held) > abs(filled) else abs(filled)
    lots = snapped(now, larger, step if step > 0.0 else 1.0, scale)
    return lots if step > 0.0 else now


@inlined
def credit(w: Float) -> None:
    """Add the interest to the cash: after the orders at the open, as it is earned by the bar's close only."""
    for k in range(LANES):
        w[CASH + k] += w[EARNED + k]


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
            # A mark is NaN before the first trade, and what is not held is worth nothing, not NaN.
            held = v[HELD + k]
            term = held * v[MARK + k]
            w[EQUITY + k] += term if held != 0.0 else 0.0
