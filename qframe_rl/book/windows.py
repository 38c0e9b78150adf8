"""What happened within a time: numbers in the order in which they came, and their sum over the last so many ns.

All numbers are whole. So a sum does not depend on when it was begun, and what is added and taken away leaves no
rounding behind: a window over a day's rows and one that began a minute ago are the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.jit import inlined
from qframe_rl.types import Int

AT, FIRST, SECOND = range(3)
"""Columns of what came: when, and two numbers."""


class RecentSums(NamedTuple):
    """F windows of R places each; R is a power of two."""

    came: Int
    """(F, R, 3)."""
    ends: Int
    """(F, 2) how many went and how many came, ever."""
    sums: Int
    """(F, 2) of what is within."""
    length: Int
    """(F,) ns; 0 = by number, not by time: who uses it lets the oldest go."""


def new_windows(lengths: Int, room: int) -> RecentSums:
    """Empty ones, of given lengths, ns, with room for so much each."""
    n = len(lengths)
    return RecentSums(np.zeros((n, room, 3), np.int64), np.zeros((n, 2), np.int64), np.zeros((n, 2), np.int64), lengths)


def larger(windows: RecentSums) -> RecentSums:
    """The same with twice the room."""
    n, room = windows.came.shape[:2]
    came = np.zeros((n, 2 * room, 3), np.int64)
    for f in range(n):
        kept = np.arange(*windows.ends[f])
        came[f, kept & (2 * room - 1)] = windows.came[f, kept & (room - 1)]
    return windows._replace(came=came)


@inlined
def count(windows: RecentSums, f: int) -> int:
    """How many are within."""
    return int(windows.ends[f, 1] - windows.ends[f, 0])


@inlined
def put(windows: RecentSums, f: int, at: int, first: int, second: int) -> None:
    """Add what came; there must be room, and it is no older than what came before."""
    place = windows.came[f, windows.ends[f, 1] & (windows.came.shape[1] - 1)]
    place[AT], place[FIRST], place[SECOND] = at, first, second
    windows.sums[f, 0] += first
    windows.sums[f, 1] += second
    windows.ends[f, 1] += 1


@inlined
def drop(windows: RecentSums, f: int) -> None:
    """Let the oldest go."""
    place = windows.came[f, windows.ends[f, 0] & (windows.came.shape[1] - 1)]
    windows.sums[f, 0] -= place[FIRST]
    windows.sums[f, 1] -= place[SECOND]
    windows.ends[f, 0] += 1


@inlined
def expire(windows: RecentSums, f: int, at: int) -> None:
    """Let go what is not within the time before a moment: a window is open at its beginning."""
    oldest = at - windows.length[f]
    room = windows.came.shape[1] - 1
    while windows.ends[f, 0] < windows.ends[f, 1] and windows.came[f, windows.ends[f, 0] & room, AT] <= oldest:
        drop(windows, f)
