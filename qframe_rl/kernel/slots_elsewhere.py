"""What a bar does to orders in slots that fill elsewhere: fills are taken off, and what is left lives on by the rules.

`qframe_rl.kernel.slots` says both for orders that the kernel fills; here they are for one account whose orders rest on
an exchange, which says what filled.
"""

from __future__ import annotations

from qframe_rl.jit import compiled
from qframe_rl.kernel import lanes
from qframe_rl.kernel.columns import N_FILLS, N_PARTS, PART, QUANTITY
from qframe_rl.kernel.slots import ASKED, N_PLAN, NOTHING, PHASE, age, take_off
from qframe_rl.types import HIGH, LOW, Bool, Float

SIZES = lanes.INSTRUMENT, N_PLAN, N_PARTS, N_FILLS
"""Of the scratch memory: numbers of an instrument; rows of a plan, of parts and of fills."""


@compiled
def pass_bar(
    orders: Float, filled: Float, held: Float, bars: Float, ended: Bool, steps: Float, over: Float, room: Float,
    plan: Float, parts: Float,
) -> None:  # fmt: skip
    """Take a bar's fills off the orders of one account, count their bars, move stops, cancel what is over.

    Parameters
    ----------
    orders
        (A, 8, K) what stands; what is left is written back.
    filled
        (A, K) base units that filled of each, signed.
    held
        (A,) base units held after the bar.
    bars
        (A, 5) the bar, NaN where an instrument did not trade.
    ended
        (A,) whether nothing is left after the bar.
    steps
        (A, 2) numerator and scale of the lots, as `qframe_rl.kernel.grid.step_of`.
    over
        (A, 9) fills, of which those that were cancelled are added to.
    room, plan, parts
        Scratch memory: (INSTRUMENT,), (N_PLAN, K) and (N_PARTS, K).
    """
    for a in range(len(orders)):
        room[lanes.HELD], room[lanes.HIGH], room[lanes.LOW] = held[a], bars[a, HIGH], bars[a, LOW]
        for j in range(orders.shape[2]):
            plan[PHASE, j], plan[ASKED, j], parts[PART, j] = NOTHING, orders[a, QUANTITY, j], filled[a, j]
        for j in range(orders.shape[2]):
            if filled[a, j] != 0.0:
                take_off(orders[a], j, abs(filled[a, j]), steps[a, 0], steps[a, 1])
        age(room, 0, ended[a], True, False, orders[a], plan, over[a], parts)
