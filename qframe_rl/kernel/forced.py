"""What an account did not ask for: liquidation, and instruments that are paid out with their last bar.

Few accounts meet it in few bars, so whether any does is asked for all lanes at once, and the rest is done lane by lane.
"""

from __future__ import annotations

from qframe_rl.jit import inlined
from qframe_rl.kernel.lanes import (
    ABSORBED,
    ACCOUNT,
    CASH,
    FEE,
    FORCED,
    FORCED_AT,
    HELD,
    HIGH,
    INSTRUMENT,
    LANES,
    LOW,
    MARGIN,
    MARK,
    MOVING,
    RUINED,
    WORST,
    WORTH,
)
from qframe_rl.kernel.rules import LIQUIDATION, MAINTENANCE, OWNED
from qframe_rl.types import Float


@inlined
def endanger(v: Float, w: Float, rule: Float) -> None:
    """Add the position at the bar's worst price to WORST, and its maintenance margin there to MARGIN."""
    # All contracts at their worst at once, as if they had been there together: a bar does not say when each was.
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
    """Close the book of lane ``k`` at the bar's worst prices, if it is short of its margin.

    Coins that are owned, and what they were sold for as long as it is on its way, are out of the venue's reach.
    """
    if w[CASH + k] - w[MOVING + k] + w[WORST + k] < w[MARGIN + k]:
        close_out(n, w, k, table)


@inlined
def close_out(n: int, w: Float, k: int, table: Float) -> None:
    """Close the contracts of lane ``k`` at the prices in WORTH, with the liquidation fee; there may be only debts."""
    for a in range(n):
        v = w[ACCOUNT + a * INSTRUMENT :]
        if v[HELD + k] != 0.0 and table[a, OWNED] == 0.0:
            force(v, w, k, v[WORTH + k], table[a, LIQUIDATION])
    # It trades no more, even where something is left to it.
    w[RUINED + k] = 1.0
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
    # What a coin was sold for is not the venue's: it cannot be set off against the debt.
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
