"""Numbers that accounts on books see of themselves, whatever they are there for."""

from __future__ import annotations

from qframe_rl.book.known import AHEAD, N_OWN, OWN, SHOWN
from qframe_rl.interface.observer import BOUND
from qframe_rl.jit import inlined
from qframe_rl.types import Float, Int, Single

N_QUOTE_SEEN = 5
_LONG_NS = 10e9


@inlined
def bounded(value: float) -> float:
    """A number within ±BOUND."""
    return max(min(value, BOUND), -BOUND)


@inlined
def see_quote(told: Int, queue: Float, side: int, mid: float, size: float, span: float, out: Single, at: int) -> None:
    """Write what is seen of an own quote.

    Lots left as a share of a whole quote; the share of the displayed lots that is ahead; age as a share of ten seconds;
    whether a message about it is on its way; distance from the mid price.

    Parameters
    ----------
    told, queue
        (17,) and (2, 3) of the account.
    side
        Whose.
    mid
        Mid price, ticks.
    size
        Lots of a whole quote.
    span
        Distance that counts as 1, ticks.
    out
        (n,) written from ``at`` on.
    at
        Where.
    """
    own = OWN + side * N_OWN
    left = told[own + 1]
    out[at] = bounded(left / size)
    shown = max(queue[side, SHOWN], 1.0)
    out[at + 1] = min(queue[side, AHEAD] / shown, 1.0) if left > 0 else 0.0
    out[at + 2] = bounded(told[own + 3] / _LONG_NS)
    out[at + 3] = told[own + 2]
    away = mid - told[own] if side == 0 else told[own] - mid
    out[at + 4] = bounded(away / span) if left > 0 else 0.0
