"""Sequences of bars in which kernel and oracle are compared, bar by bar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from random import Random

import numpy as np

from qframe_rl.types import Bar, Fills, Orders
from tests.oracle.asking import drawn_orders
from tests.oracle.compare import differences
from tests.oracle.doors import Door, kernel_door, outcome_of, resumed, rulebook
from tests.oracle.draws import Scene, scene, traded
from tests.oracle.records import Outcome, Rulebook, State

N_BARS = 36
SALT = 1_000_000
"""What parts the random numbers of orders from those of markets."""


@dataclass
class Walk:
    """What came of a sequence."""

    seed: int
    bars: int = 0
    flipped: int = 0
    """Bars in which the kernel decided differently on a knife's edge."""
    found: str = ""
    """The first difference that no edge explains."""
    notes: Counter[str] = field(default_factory=Counter)


def compared(seed: int, free: bool = False, opened: Callable[[Scene], Door] = kernel_door) -> Walk:
    """Walk a door and the oracle through the sequence of a seed; ``free``: the oracle goes on from its own account.

    The oracle begins each bar with the kernel's account (but for money on its way, which an account does not show:
    that is the oracle's own). The walk ends with the account, or at the first difference.
    """
    drawn, r, walk = scene(seed, N_BARS), Random(seed + SALT), Walk(seed)
    book, door = rulebook(drawn), opened(drawn)
    state, tradable = State.of(drawn.account), ~np.isnan(drawn.account.mark)
    for bar in drawn.bars:
        orders = drawn_orders(r, drawn, door.account, tradable, bar)
        before = state if free else resumed(door.account, state)
        outcome = outcome_of(book, before, orders, bar)
        fills = door.step(orders, bar)
        matched, found = matching(book, before, orders, bar, outcome, door, fills)
        walk.bars, tradable = walk.bars + 1, traded(bar)
        walk.notes += outcome.notes
        if found:
            walk.found = described(walk, drawn, before, orders, bar, outcome, found)
            break
        walk.flipped += matched is not outcome
        state = matched.state
        if matched.terminated:
            break
    return walk


def matching(
    book: Rulebook, before: State, orders: Orders, bar: Bar, outcome: Outcome, door: Door, fills: Fills
) -> tuple[Outcome, list[str]]:
    """The outcome that the kernel's agrees with: the decimal one, or one that turns decisions on knife's edges."""
    found = differences(book, before, outcome, door.account, fills, door.over(outcome.terminated))
    if not found:
        return outcome, []
    edges = range(min(len(outcome.edges), 6))
    for n in range(1, len(edges) + 1):
        for flips in combinations(edges, n):
            other = outcome_of(book, before, orders, bar, frozenset(flips))
            if not differences(book, before, other, door.account, fills, door.over(other.terminated)):
                return other, []
    return outcome, found


def described(
    walk: Walk, drawn: Scene, before: State, orders: Orders, bar: Bar, outcome: Outcome, found: list[str]
) -> str:
    """All that is needed to work the bar out by hand."""
    lines = (
        f"seed {walk.seed}, bar {walk.bars - 1}:",
        *(f"  {text}" for text in found),
        f"  what the oracle did: {dict(outcome.notes)}, edges {outcome.edges}",
        f"  rules {drawn.rules}",
        *(f"  {one}" for one in drawn.instruments),
        f"  before {before}",
        f"  orders {orders}",
        f"  bar {bar}",
    )
    return "\n".join(lines)
