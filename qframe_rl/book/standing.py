"""The book as it is known where messages arrive: its levels, told one by one, without knowing what will be told."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.book.state import BUY, SELL
from qframe_rl.jit import inlined
from qframe_rl.types import Int


class StandingLevels(NamedTuple):
    """Levels of both sides that have lots, the best of each last."""

    key: Int
    """(2, C) tick of a bid; of an ask, its negative: so that both rise towards the best."""
    lots: Int
    """(2, C)."""
    told: Int
    """(2, C) number of the row that told them."""
    n: Int
    """(2,) how many."""


def no_levels(room: int) -> StandingLevels:
    """A book that nothing is known of, with room for so many levels a side."""
    key, lots, told = (np.zeros((2, room), np.int64) for _ in range(3))
    return StandingLevels(key, lots, told, np.zeros(2, np.int64))


@inlined
def is_full(levels: StandingLevels) -> bool:
    """Whether a side has no room for another level."""
    return bool(max(levels.n[BUY], levels.n[SELL]) == levels.key.shape[1])


@inlined
def set_level(levels: StandingLevels, side: int, tick: int, lots: int, row: int) -> None:
    """Tell a level's lots; there must be room.

    Parameters
    ----------
    levels
        Changed.
    side, tick, lots
        The level, and what stands there from now on; 0 = nothing.
    row
        Number of the row that says so.
    """
    key, low, high = tick if side == BUY else -tick, 0, levels.n[side]
    while low < high:
        middle = (low + high) >> 1
        if levels.key[side, middle] < key:
            low = middle + 1
        else:
            high = middle
    n = levels.n[side]
    there = low < n and levels.key[side, low] == key
    if there and lots == 0:
        _close_gap(levels, side, low)
        return
    if lots == 0:
        return
    if not there:
        for k in range(n, low, -1):
            levels.key[side, k] = levels.key[side, k - 1]
            levels.lots[side, k] = levels.lots[side, k - 1]
            levels.told[side, k] = levels.told[side, k - 1]
        levels.n[side] += 1
    levels.key[side, low], levels.lots[side, low], levels.told[side, low] = key, lots, row


@inlined
def _close_gap(levels: StandingLevels, side: int, place: int) -> None:
    for k in range(place, levels.n[side] - 1):
        levels.key[side, k] = levels.key[side, k + 1]
        levels.lots[side, k] = levels.lots[side, k + 1]
        levels.told[side, k] = levels.told[side, k + 1]
    levels.n[side] -= 1


@inlined
def uncross(levels: StandingLevels) -> None:
    """After a whole message: where the sides meet, the level that was told earlier goes, as on a tape."""
    while levels.n[BUY] > 0 and levels.n[SELL] > 0:
        bid, ask = levels.n[BUY] - 1, levels.n[SELL] - 1
        if levels.key[BUY, bid] < -levels.key[SELL, ask]:
            return
        levels.n[BUY if levels.told[BUY, bid] < levels.told[SELL, ask] else SELL] -= 1


@inlined
def nth(levels: StandingLevels, side: int, place: int, none: int) -> tuple[int, int]:
    """Tick and lots of the best level but so many; 0 lots at the tick ``none`` where there is none."""
    k = levels.n[side] - 1 - place
    if k < 0:
        return none, 0
    key = levels.key[side, k]
    return int(key if side == BUY else -key), int(levels.lots[side, k])
