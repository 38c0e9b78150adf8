"""What a portfolio comes to: equity, gross and net over all its members, none of which is ever left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from qframe_rl.amounts import paid

Mark = Literal["", "silent", "corrupt", "not begun"]
"""What is wrong with a member's figures: it is not heard from, its journal cannot be read, or it has not begun. They
are its last ones then."""


class MemberValue(NamedTuple):
    """How a member stands, by its journal; its last figures where that is silent or corrupt."""

    id: str
    equity: float
    """Quote currency."""
    positions: Mapping[str, float]
    """Signed value by pair (``BTC/USDT`` for the coin and its perpetual), quote currency."""
    gross: float
    """Sum of the sizes of its positions, quote currency."""
    time_ns: int
    """Close of its last bar, ns UTC; 0 where it has not begun."""
    state: str
    """ACTIVE, REDUCE_ONLY, FLATTEN, HALTED; empty where it has not begun."""
    mark: Mark = ""
    why: str = ""
    """What is behind the mark."""


class PortfolioValue(NamedTuple):
    """What a portfolio comes to at one look."""

    equity: float
    gross: float
    net: Mapping[str, float]
    """Signed value by pair over all members."""
    time_ns: int
    """The latest close that a member knows, ns UTC; 0 where none has begun."""
    marked: tuple[str, ...]
    """Members whose figures are old, and why, in words."""


def equity(unallocated: int, in_transit: int, members: Sequence[MemberValue]) -> float:
    """What a portfolio is worth.

    Parameters
    ----------
    unallocated, in_transit
        By its ledger, units of 1e-8.
    members
        All of them; they are added in the order of their ids, and exactly (``math.fsum``).

    Returns
    -------
    float
        Quote currency.
    """
    return paid(0.0, unallocated + in_transit) + math.fsum(
        one.equity for one in sorted(members, key=lambda one: one.id)
    )


def value(unallocated: int, in_transit: int, members: Sequence[MemberValue]) -> PortfolioValue:
    """Value a portfolio.

    Parameters
    ----------
    unallocated, in_transit, members
        As in `equity`.
    """
    ordered = sorted(members, key=lambda one: one.id)
    pairs = sorted({pair for one in ordered for pair in one.positions})
    net = {pair: math.fsum(one.positions.get(pair, 0.0) for one in ordered) for pair in pairs}
    return PortfolioValue(
        equity(unallocated, in_transit, ordered), math.fsum(one.gross for one in ordered), net,
        max((one.time_ns for one in ordered), default=0),
        tuple(f"{one.id} is {one.mark}{f': {one.why}' if one.why else ''}" for one in ordered
              if one.mark in ("silent", "corrupt")),
    )  # fmt: skip
