"""What orders need and what room there is for them: cash of spot accounts, equity times leverage of margin accounts.

Closing parts of orders come first and always fit. Opening parts of all instruments are added up, and where there is
less room than they need, each gets the same share of what it asked for: no instrument is served before another.
"""

from __future__ import annotations

from qframe_rl.jit import inlined
from qframe_rl.kernel.lanes import (
    ACCOUNT,
    AT,
    CASH,
    CLOSING,
    EARNED,
    EARNS,
    GROSS,
    HELD,
    INSTRUMENT,
    LANES,
    MARK,
    MOVING,
    NEED,
    OPEN,
    RATE,
    ROOM,
    SAFE,
    SHARE,
    SIZE,
    WORTH,
    allowed,
)
from qframe_rl.kernel.rules import LOCKED, OWNED
from qframe_rl.types import Float


@inlined
def _sure(v: Float, k: int, rule: Float) -> float:
    """Closing part of an order that will not be dropped for being too small."""
    closing = v[CLOSING + k]
    return closing if allowed(v[SIZE + k], closing, v[AT + k], rule) != 0.0 else 0.0


@inlined
def loss_of(closing: float, at: float, worth: float, rate: float) -> float:
    """Cost of a closing part: its fee, and what its price is worse by than what the position is worth."""
    worse = closing * (at - worth)
    return (worse if worse > 0.0 else 0.0) + abs(closing) * at * rate


@inlined
def need_of(opening: float, at: float, worth: float, rate: float, leverage: float) -> float:
    """What an opening part of a contract takes of the room: its value, and its costs at full leverage.

    No credit is given for a price that is better than what the position will be worth.
    """
    # At full leverage each unit of cost takes away so many units of notional: costs count times the leverage.
    worse = opening * (at - worth)
    dearer = at if at > worth else worth
    notional = abs(opening) * (worth if worse >= 0.0 else dearer)
    return notional + leverage * ((worse if worse > 0.0 else 0.0) + abs(opening) * at * rate)


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
    first = w[ACCOUNT:]
    # The rate is that of the account, not of an instrument: all carry the same one, and the first is read.
    for k in range(LANES):
        idle = w[EARNED + k]
        w[EARNED + k] = (idle if idle > 0.0 else 0.0) * first[EARNS + k]


@inlined
def need_cash(v: Float, w: Float, rule: Float) -> None:
    """Take the closing part off ROOM, the cash there is, and add what the opening part costs to NEED.

    What an order that is dropped would bring pays for nothing.
    """
    for k in range(LANES):
        closing = _sure(v, k, rule)
        w[ROOM + k] -= closing * v[AT + k] + abs(closing) * v[AT + k] * v[RATE + k]
    for k in range(LANES):
        w[NEED + k] += (v[SIZE + k] - v[CLOSING + k]) * v[AT + k] * (1.0 + v[RATE + k])


@inlined
def need_margin(v: Float, w: Float, leverage: float, rule: Float) -> None:
    """Add the position to ROOM, the equity at the open less costs, what is kept of it to GROSS, the opening to NEED.

    No credit is given for a close that is dropped as it is too small.
    """
    # Margin is reckoned at the open; an instrument that does not trade in the bar stands at its mark.
    for k in range(LANES):
        v[WORTH + k] = v[OPEN + k] if v[OPEN + k] == v[OPEN + k] else v[MARK + k]
    for k in range(LANES):
        held = v[HELD + k]
        term = held * v[WORTH + k]
        w[ROOM + k] += term if held != 0.0 else 0.0
    for k in range(LANES):
        held = v[HELD + k]
        term = abs(held + _sure(v, k, rule)) * v[WORTH + k]
        w[GROSS + k] += term if held != 0.0 else 0.0
    for k in range(LANES):
        closing = v[CLOSING + k]
        term = loss_of(closing, v[AT + k], v[WORTH + k], v[RATE + k])
        w[ROOM + k] -= term if closing != 0.0 else 0.0
    for k in range(LANES):
        opening = v[SIZE + k] - v[CLOSING + k]
        term = need_of(opening, v[AT + k], v[WORTH + k], v[RATE + k], leverage)
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
def share_of(need: float, room: float) -> float:
    """Share of opening parts that fits: 2 where all of it does."""
    # The share is taken of every opening part alike, and is a little small, so that their sum stays within the room.
    over = need > room * SAFE
    share = room / (need if over else 1.0)
    share = share if share > 0.0 else 0.0
    return share * SAFE if over else 2.0


@inlined
def share_out(w: Float, leverage: float, spot: bool) -> None:
    """Write the share of the opening parts that fits."""
    for k in range(LANES):
        room = w[ROOM + k] if spot else leverage * w[ROOM + k] - w[GROSS + k]
        w[SHARE + k] = share_of(w[NEED + k], room)
