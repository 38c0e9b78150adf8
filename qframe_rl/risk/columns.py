"""How limits, and what is remembered of accounts that are held to them, lie in the arrays of the compiled functions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.kernel.rules import N_SIZES
from qframe_rl.risk.guard import LOCKED_BY, GuardState, guard_of
from qframe_rl.risk.limits import Limits
from qframe_rl.types import Float, Int

# Of the limits, (N_TERMS,); what does not bind is infinite.
(
    COLLAR, MAX_ORDER, MAX_POSITION, MAX_GROSS, MAX_LEVERAGE, MAX_ORDERS_PER_HOUR, DAILY_LOSS, MAX_DRAWDOWN,
    MAX_REJECTS, FILTERS, ON_LOSS,
) = range(11)  # fmt: skip
N_TERMS = 11
_BOUNDS = (
    "collar", "max_order", "max_position", "max_gross", "max_leverage", "max_orders_per_hour", "daily_loss",
    "max_drawdown", "max_rejects",
)  # fmt: skip
# Of an account, (B, N_STATE): how free it is to trade, highest equity, the day and its first equity, orders in a row of
# which nothing filled, whether a human resumed since the last bar, decisions with orders so far.
STATE, PEAK, DAY_START, THE_DAY, REJECTS, RESUMED, DECISIONS = range(7)
N_STATE = 7
# States.
ACTIVE, REDUCE_ONLY, FLATTEN, HALTED = range(4)
STATES = ("ACTIVE", "REDUCE_ONLY", "FLATTEN", "HALTED")
# What cuts orders, as bits; the first three leave what reduces a position.
REDUCES, STALE, SKEWED, COLLARED, TOO_LARGE, TOO_MUCH, TOO_GROSS, FILTERED, TOO_MANY = (1 << k for k in range(9))
CUT_BY = {
    REDUCES: "REDUCE_ONLY",
    STALE: "stale_s",
    SKEWED: "max_skew_s",
    COLLARED: "collar",
    TOO_LARGE: "max_order",
    TOO_MUCH: "max_position",
    TOO_GROSS: "max_gross or max_leverage",
    FILTERED: "lot or min_notional",
    TOO_MANY: "max_orders_per_hour",
    **LOCKED_BY,
}
"""Names of what cuts orders, protections among it, by their bits."""
# What leads to another state, as bits.
LOST_TODAY, DRAWN_DOWN, REJECTED, FLAT = (1 << k for k in range(4))
# Of a decision that sent orders, (B, capacity, 2).
WHEN, HOW_MANY = range(2)


class Watch(NamedTuple):
    """B accounts that are held to the same limits: what is remembered of them, and room to work in."""

    terms: Float
    """(N_TERMS,) the limits."""
    sizes: Float
    """(A, 7) the first columns of market rules: steps and minimums of orders."""
    state: Float
    """(B, N_STATE)."""
    sent: Int
    """(B, capacity, 2) when the last decisions sent orders, ns UTC, and how many; a ring."""
    held_back: Int
    """(B,) bits of what leaves only closing parts of the decision at hand, besides the state."""
    mid: Float
    """(B, A) quoted mid prices, NaN where there is no quote."""
    asked: Float
    """(B, A, 3) orders that the accounts asked for."""
    orders: Float
    """(B, A, 3) what the limits left of them."""
    pending: Float
    """(B, A, 3) what of that can be ordered at all: what did not trade in the last bar cannot."""
    cuts: Int
    """(B, A) bits of what cut them."""
    trips: Int
    """(B,) bits of what led to another state at the last bar."""
    ahead: Int
    """(B,) row of the next bar."""
    guard: GuardState
    """The protections, and what they remember."""


def terms_of(limits: Limits) -> Float:
    """(N_TERMS,) the limits as numbers."""
    terms = np.full(N_TERMS, np.inf)
    for k, name in enumerate(_BOUNDS):
        bound = getattr(limits, name)
        terms[k] = np.inf if bound is None else bound
    terms[FILTERS], terms[ON_LOSS] = float(limits.filters), STATES.index(limits.on_loss)
    return terms


def watch_of(limits: Limits, sizes: Float, n_accounts: int, capacity: int | None = None) -> Watch:
    """Make the memory of B accounts.

    Parameters
    ----------
    limits
        What binds.
    sizes
        (A, 7) the first columns of market rules.
    n_accounts
        B.
    capacity
        Decisions remembered for the limit on orders per hour; by default as many as that limit needs: each has at
        least one order.
    """
    b, a = n_accounts, len(sizes)
    room = (limits.max_orders_per_hour or 0) if capacity is None else capacity
    return Watch(
        terms=terms_of(limits),
        sizes=np.array(sizes, order="C"),  # of its own, so that one instrument's, too, are writable: one kind of array
        state=np.zeros((b, N_STATE)),
        sent=np.zeros((b, room, 2), dtype=np.int64),
        held_back=np.zeros(b, dtype=np.int64),
        mid=np.full((b, a), np.nan),
        asked=np.zeros((b, a, 3)),
        orders=np.zeros((b, a, 3)),
        pending=np.zeros((b, a, 3)),
        cuts=np.zeros((b, a), dtype=np.int64),
        trips=np.zeros(b, dtype=np.int64),
        ahead=np.zeros(b, dtype=np.int64),
        guard=guard_of(limits, b, a),
    )


def watch_for(limits: Limits, table: Float, n_accounts: int) -> Watch | None:
    """Make the memory of B accounts under the market rules ``table`` (A, 17); None where no limit binds."""
    if not limits.binding:
        return None
    return watch_of(limits, table[:, :N_SIZES], n_accounts)
