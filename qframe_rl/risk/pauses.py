"""What the protections of one account say: which locks began, when they end, and what of it another process needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.kernel.columns import MARK, POSITION
from qframe_rl.risk.guard import (
    BARS,
    BASIS,
    ENTERED,
    GAIN,
    HELD,
    LAST,
    LATEST,
    LOCKED_BY,
    MARK_AT,
    PROTECTS,
    REALISED,
    SPACING,
    TODAY,
    TOP_AT,
    GuardState,
    guard_of,
    rules_of,
)
from qframe_rl.risk.limits import Limits
from qframe_rl.risk.protections import lock_rows, top_rows
from qframe_rl.times import DAY, iso
from qframe_rl.types import Float, Int

SIDES = ("long", "short")
_FAR = np.int64(1) << 62


class Pause(NamedTuple):
    """A lock of one side of one instrument, and its end."""

    rules: tuple[str, ...]
    """What locked it."""
    instrument: int
    """Which of the A instruments."""
    side: str
    """``long`` or ``short``: what may not be opened."""
    bars: int
    """Decisions until it ends."""
    until: int
    """When it ends if no bar is missing, ns UTC."""


class Pauses:
    """Locks of one account in A instruments.

    Parameters
    ----------
    n_instruments
        A.
    """

    def __init__(self, n_instruments: int):
        self.left: Int = np.zeros((n_instruments, 2), dtype=np.int64)
        """(A, 2) decisions for which longs, and shorts, may not be opened; 0 = they may. Never written again."""
        self.made: tuple[Pause, ...] = ()
        """Locks that the last bar made, or made longer."""
        self.now: tuple[Pause, ...] = ()
        """All that there are."""

    def note(self, time: int, guard: GuardState) -> None:
        """Look at what a bar that closed at ``time`` left.

        Parameters
        ----------
        time
            ns UTC.
        guard
            The memory of the account.
        """
        before, left = self.left, np.zeros_like(self.left)
        if guard.rules[PROTECTS]:
            lock_rows(guard, left[None])
        left.flags.writeable = False
        spacing = int(guard.clock[0, SPACING])
        spacing = spacing if 0 < spacing < _FAR else 0
        self.left = left
        self.now = tuple(self._pause(int(a), int(side), time, spacing, guard) for a, side in np.argwhere(left > 0))
        self.made = tuple(p for p in self.now if p.bars >= before[p.instrument, SIDES.index(p.side)])

    def resume(self, guard: GuardState) -> None:
        """Go on from what another process had noted; it made no lock."""
        self.note(int(guard.clock[0, LAST]), guard)
        self.made = ()

    def _pause(self, a: int, side: int, time: int, spacing: int, guard: GuardState) -> Pause:
        bars = int(self.left[a, side])
        own = guard.until[0, a, side] - guard.clock[0, BARS] >= bars
        bits = int(guard.why[0, a, side]) if own else ENTERED
        rules = tuple(name for bit, name in LOCKED_BY.items() if bits & bit)
        return Pause(rules, a, SIDES[side], bars, time + bars * spacing)


def plain_pause(pause: Pause, symbols: Sequence[str]) -> dict[str, Any]:
    """A lock as JSON: ``rules``, ``symbol``, ``side``, ``bars`` and ``until``, ns UTC.

    Parameters
    ----------
    pause
        The lock.
    symbols
        Of the A instruments.
    """
    return {
        "rules": list(pause.rules), "symbol": symbols[pause.instrument], "side": pause.side, "bars": pause.bars,
        "until": pause.until,
    }  # fmt: skip


def in_words(pauses: Sequence[Pause], symbols: Sequence[str]) -> list[str]:
    """Locks in words, those of one rule and one end together.

    Parameters
    ----------
    pauses
        The locks.
    symbols
        Of the A instruments.
    """
    alike: dict[tuple[tuple[str, ...], int], list[Pause]] = {}
    for one in pauses:
        alike.setdefault((one.rules, one.until), []).append(one)
    said = []
    for (rules, until), locks in alike.items():
        sides = {symbols[a]: [one.side for one in locks if one.instrument == a] for a in {p.instrument for p in locks}}
        what = ", ".join(sorted(f"{symbol} {' and '.join(names)}" for symbol, names in sides.items()))
        what = "all" if len(locks) == 2 * len(symbols) else what
        said.append(f"{what} may only be reduced until {iso(until)} ({', '.join(rules)})")
    return said


def regrown(guard: GuardState, limits: Limits, time: int, money: Float, holding: Float) -> GuardState:
    """The memory of an account under protections that may be others: locks stay, and what they count begins anew.

    Parameters
    ----------
    guard
        The memory so far.
    limits
        What protects from now on.
    time
        Close of the last bar, ns UTC.
    money, holding
        (1, 8) and (1, A, 2) as they are now: what is held when protections begin counts as entered at its mark.
    """
    if np.array_equal(guard.rules, rules_of(limits)):
        return guard
    made, mark = guard_of(limits, 1, holding.shape[1]), np.nan_to_num(holding[..., MARK])
    for name in ("clock", "until", "why", "held"):
        getattr(made, name)[:] = getattr(guard, name)
    made.clock[:, MARK_AT], made.held[..., REALISED] = 0, 0.0
    if made.marks.shape[2]:
        made.marks[..., 0] = mark
    if not guard.rules[PROTECTS]:
        made.clock[:], made.until[:], made.why[:] = 0, 0, 0
        made.clock[:, [LAST, SPACING, TODAY]] = time, _FAR, time // DAY
        made.held[..., HELD], made.held[..., BASIS], made.held[..., GAIN] = holding[..., POSITION], mark, 0.0
    top_rows(money, made)
    return made


def adopted(guard: GuardState, a: int, quantity: float, price: float, position: float) -> None:
    """Take in that coins came from outside, or left: that is no entry and no exit.

    Parameters
    ----------
    guard
        The memory of the account; nothing happens to one that protects from nothing.
    a
        Which of the A instruments.
    quantity, price
        Base units, negative where they left, and what one counts for.
    position
        Base units held now.
    """
    held = guard.held[0, a]
    if not guard.rules[PROTECTS]:
        return
    if quantity > 0.0:
        before = abs(held[HELD])
        held[BASIS] = (held[BASIS] * before + price * quantity) / (before + quantity)
    held[HELD], held[GAIN] = position, held[GAIN] if position else 0.0


def said(guard: GuardState) -> dict[str, Any]:
    """The memory of one account as JSON."""
    return {name: value[0].tolist() for name, value in guard._asdict().items() if name != "rules"}


def learn(guard: GuardState, memory: Mapping[str, Any]) -> None:
    """Take over what `said` returned, here or in an earlier version."""
    for name, value in (_renewed(memory) if "peaks" in memory else memory).items():
        getattr(guard, name)[0] = value


def _renewed(memory: Mapping[str, Any]) -> dict[str, Any]:
    """What version 1 of it remembered: a queue of the bars that no later one of the window is higher than."""
    renewed = {name: value for name, value in memory.items() if name not in {"peaks", "tops"}}
    places, clock = len(memory["peaks"]), list(memory["clock"])
    queue = [(memory["peaks"][k % places], memory["tops"][k % places]) for k in range(*clock[TOP_AT:MARK_AT])]
    ages = [clock[BARS] - back for back in reversed(range(places - 1))]
    tops = [next(top for peak, top in queue if peak >= bar) for bar in ages]
    clock[TOP_AT], clock[LATEST] = 0, max(end for sides in memory["until"] for end in sides)
    return {**renewed, "clock": clock, "tops": tops, "crest": 0.0}
