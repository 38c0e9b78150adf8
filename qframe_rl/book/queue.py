"""How many lots stand ahead of an own order, from what a book and its trades tell: nobody says it.

V lots are ahead, Q are displayed, B = Q - V behind, S were printed at the price since its last row. Prints take from
the front; what else is gone was cancelled, ahead or behind. Beside a true queue `share` is within 3 % of the time to
fill, and `trades` too long by more than 15 % (tests/book/test_queues.py).
"""

from __future__ import annotations

from typing import Literal, get_args

from qframe_rl.config import UserError, nearest
from qframe_rl.jit import inlined

QueueRule = Literal["share", "trades", "power"]
"""``share``: a cancel is ahead with probability V / (V + B). ``trades``: never, so that prints alone move the queue.
``power``: as ``share`` with powers of V and B (Moallemi & Yuan, 2017, have estimates of what a place is worth)."""
POWER = 3.0


def exponent(rule: QueueRule, power: float = POWER) -> float:
    """Number by which compiled code knows a rule: 0 = trades alone, else the power.

    Raises
    ------
    UserError
        If there is no such rule, or the power is not above 0.
    """
    if rule not in get_args(QueueRule):
        raise UserError(f"no queue rule {rule!r}{nearest(rule, get_args(QueueRule))}")
    if not power > 0.0:
        raise UserError(f"the power of a queue rule is above 0, not {power:g}.")
    return {"trades": 0.0, "share": 1.0, "power": power}[rule]


@inlined
def ahead_after(power: float, ahead: float, shown: float, then: float, printed: float) -> float:
    """Lots ahead once a level's quantity is told anew.

    Parameters
    ----------
    power
        From `exponent`.
    ahead
        V before.
    shown, then
        Q before and now.
    printed
        S.

    Returns
    -------
    float
        V, between 0 and what is displayed.
    """
    gone = shown - then - printed
    if gone >= 0.0 and power > 0.0:
        behind = max(shown - ahead, 0.0)
        near, far = ahead**power, behind**power
        share = far / (near + far) if near + far > 0.0 else 1.0
        ahead = ahead - (1.0 - share) * gone + min(behind - share * gone, 0.0)
    return max(min(ahead, then), 0.0)
