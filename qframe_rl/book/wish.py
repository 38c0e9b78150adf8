"""From what is wished to what is sent: the one difference between wishes and live orders, wherever orders go.

A wish is two quotes and one order that takes, which is sent once the end of the one before is known. A live quote at
the wished price that is not larger than the wish stays, and keeps its place in the queue; any other is cancelled, and a
new one is sent once its end is known. Wishes that are met already send nothing.
"""

from __future__ import annotations

import math

from qframe_rl.book.accounts import (
    KNOWN,
    LEFT,
    TICK,
    Walk,
    is_free,
    send_cancel,
    send_quote,
    send_take,
    taking,
    unheard,
)
from qframe_rl.book.state import BUY
from qframe_rl.jit import inlined
from qframe_rl.types import Int

WISH_TICK, WISH_LOTS = range(2)
"""Columns of a wished quote: price, and lots, 0 = none."""
TAKE_SIDE, TAKE_LOTS, TAKE_BOUND = range(3)
"""Columns of a wish to take: side, lots, 0 = none, and the worst price that is accepted."""


@inlined
def passive_tick(side: int, reference: float, distance: float, other: int) -> int:
    """Tick of a quote so far behind a price, rounded away from it, and short of the other side's best price.

    Parameters
    ----------
    side
        `BUY` or `SELL`.
    reference, distance
        A price and the distance from it, ticks.
    other
        Best price of the other side as it had arrived.
    """
    if side == BUY:
        return int(min(math.floor(reference - distance), other - 1))
    return int(max(math.ceil(reference + distance), other + 1))


@inlined
def room_for(side: int, position: int, limit: float) -> float:
    """Lots that a side may quote so that no more than a limit is ever held, whatever fills."""
    return max(limit - position if side == BUY else limit + position, 0.0)


@inlined
def known_left(walk: Walk, b: int, side: int, now: int) -> int:
    """Lots that an account knows to be left of its quote: those whose fills it has not heard of count."""
    return int(walk.quotes[b, side, LEFT] + unheard(walk, b, side, now))


@inlined
def pursue(walk: Walk, b: int, quotes: Int, take: Int, now: int, entry_ns: int) -> None:
    """Send what lacks.

    Parameters
    ----------
    walk
        Accounts.
    b
        Which one.
    quotes
        (2, 2) wished bid and ask: ticks and lots.
    take
        (3,) side, lots and bound of what is to be taken.
    now
        When it is sent, ns.
    entry_ns
        How long it travels to the exchange.
    """
    for side in range(2):
        tick, lots = int(quotes[side, WISH_TICK]), int(quotes[side, WISH_LOTS])
        quote = walk.quotes[b, side]
        if is_free(walk, b, side, now):
            if lots > 0:
                send_quote(walk, b, side, tick, lots, now + entry_ns)
        elif quote[KNOWN] <= now:
            met = lots > 0 and quote[TICK] == tick and known_left(walk, b, side, now) <= lots
            if not met:
                send_cancel(walk, b, side, now + entry_ns)
    if take[TAKE_LOTS] > 0 and taking(walk, b, now) == 0:
        send_take(walk, b, int(take[TAKE_SIDE]), int(take[TAKE_LOTS]), int(take[TAKE_BOUND]), now + entry_ns)
