"""What protections remember of accounts, laid out for the compiled functions of `qframe_rl.risk.protections`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.risk.limits import Limits
from qframe_rl.types import Float, Int

# Of the protections, (N_RULES,); what does not bind is infinite, and the last says whether any does.
(
    COOLDOWN, EXITS, EXIT_BARS, EXIT_LOCK, EXIT_SCOPE, PROFIT, PROFIT_BARS, PROFIT_LOCK, DRAWDOWN, DRAWDOWN_BARS,
    DRAWDOWN_LOCK, DAY_ENTRIES, MOVE, MOVE_BARS, MOVE_LOCK, PROTECTS,
) = range(16)  # fmt: skip
_TERMS = (
    "cooldown_bars", "stop_guard", "stop_guard_bars", "stop_guard_lock_bars", "stop_guard_scope", "low_profit",
    "low_profit_bars", "low_profit_lock_bars", "drawdown_pause", "drawdown_pause_bars", "drawdown_pause_lock_bars",
    "max_entries_per_day", "volatility_halt", "volatility_halt_bars", "volatility_halt_lock_bars",
)  # fmt: skip
SCOPES = ("account", "symbol", "side")
BY_ACCOUNT, BY_SYMBOL, BY_SIDE = (float(k) for k in range(3))
NAMES = ("cooldown_bars", "stop_guard", "low_profit", "drawdown_pause", "max_entries_per_day", "volatility_halt")
"""The protections, in the order of their bits."""
# What locked, as bits above those of limits that cut orders.
COOLED, GUARDED, LOSING, PAUSED, ENTERED, MOVED = (1 << k for k in range(9, 15))
LOCKED_BY = dict(zip((COOLED, GUARDED, LOSING, PAUSED, ENTERED, MOVED), NAMES, strict=True))
"""Names of the protections by their bits."""
# Of the clock of an account, (B, N_CLOCK): bars lived through, close of the last, least time between two, day and its
# entries, place of the next top, the bar at which the last of all locks ends, and place of the last mark.
BARS, LAST, SPACING, TODAY, ENTRIES, TOP_AT, LATEST, MARK_AT = range(8)
N_CLOCK = 8
# Of a holding, (B, A, 4): base units, average price with fees, what was realised since it was opened, in the window.
HELD, BASIS, GAIN, REALISED = range(4)
# Of an instrument, (B, A, 4): how many losing longs and shorts were noted, and the first and next of what was realised.
LOSSES, FIRST_SALE, NEXT_SALE = 0, 2, 3
LONG, SHORT = range(2)
"""Sides, as places; as bits 1 and 2."""


class GuardState(NamedTuple):
    """B accounts under the same protections; its queues are rings that are as long as the protections need."""

    rules: Float
    """(N_RULES,) the protections."""
    clock: Int
    """(B, N_CLOCK)."""
    until: Int
    """(B, A, 2) bar, as the clock counts them, from which on an instrument may be bought, and sold, to open."""
    why: Int
    """(B, A, 2) bits of what locked it."""
    held: Float
    """(B, A, 4) positions with what they cost and earned."""
    queue: Int
    """(B, A, 4) of the queues of an instrument."""
    exits: Int
    """(B, A, 2, N) bars of the last N losing exits, by what is counted together."""
    sold: Int
    """(B, A, P) bars in which something was realised within the window."""
    earned: Float
    """(B, A, P) what was realised in them, quote currency."""
    tops: Float
    """(B, D) equity in the window of drawdowns, laid out as `qframe_rl.risk.protections` says; 0 = none."""
    crest: Float
    """(B,) the highest of this block of them."""
    marks: Float
    """(B, A, M) the last marks; 0 = not known."""


def protecting(limits: Limits) -> bool:
    """Whether any protection was given."""
    return any(getattr(limits, name) is not None for name in NAMES)


def rules_of(limits: Limits) -> Float:
    """(N_RULES,) protections as numbers."""
    given = [getattr(limits, name) for name in _TERMS]
    given[EXIT_SCOPE] = SCOPES.index(limits.stop_guard_scope)
    return np.array([*(np.inf if one is None else float(one) for one in given), float(protecting(limits))])


def guard_of(limits: Limits, n_accounts: int, n_instruments: int) -> GuardState:
    """Make the memory of B accounts in A instruments.

    Parameters
    ----------
    limits
        What protects.
    n_accounts, n_instruments
        B and A.
    """
    b, a = n_accounts, n_instruments
    sales = 0 if limits.low_profit is None else limits.low_profit_bars + 1
    tops = 0 if limits.drawdown_pause is None else limits.drawdown_pause_bars
    marks = 0 if limits.volatility_halt is None else limits.volatility_halt_bars + 1
    return GuardState(
        rules=rules_of(limits),
        clock=np.zeros((b, N_CLOCK), dtype=np.int64),
        until=np.zeros((b, a, 2), dtype=np.int64),
        why=np.zeros((b, a, 2), dtype=np.int64),
        held=np.zeros((b, a, 4)),
        queue=np.zeros((b, a, 4), dtype=np.int64),
        exits=np.zeros((b, a, 2, limits.stop_guard or 0), dtype=np.int64),
        sold=np.zeros((b, a, sales), dtype=np.int64),
        earned=np.zeros((b, a, sales)),
        tops=np.zeros((b, tops)),
        crest=np.zeros(b),
        marks=np.zeros((b, a, marks)),
    )
