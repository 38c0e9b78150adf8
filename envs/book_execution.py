"""Buying or selling a block of lots in a recorded order book by a deadline."""

from __future__ import annotations

from typing import Literal

import numpy as np
from gymnasium import spaces
from pydantic import Field

from qframe_rl.book.known import ASK, BID, DONE, N_DECISIONS, N_OWN, OWN, POSITION, TAKING
from qframe_rl.gym.replay.engine import FEES, HELD, MID, MONEY, Objective
from qframe_rl.gym.replay.market import BookConfig, BookMarket, book_market
from qframe_rl.interface.books import TARGET, BookActions
from qframe_rl.interface.quoting import N_QUOTE_SEEN, bounded, see_quote
from qframe_rl.jit import compiled
from qframe_rl.types import Bool, Float, Instrument, Int, Single

_N_SEEN = 4 + N_QUOTE_SEEN
_ARRIVAL = 1
"""Column of the task: twice the mid price at the start, ticks."""
_SIDES = {"buy": 1.0, "sell": 0.0, "either": 0.5}


class Config(BookConfig):
    """A block to be done: size is what is displayed of it at a time, limit how many of these it has."""

    every: str = "1s"
    """When is decided: each 1s, 100ms and so on by the clock, or as each 20 prints have arrived."""
    episode_steps: int | None = Field(default=60, ge=1, le=100_000_000)
    """Decisions until the deadline; null = the run's end."""
    limit: int = Field(default=10, ge=1, le=10**6)
    """The block, in whole quotes."""
    side: Literal["buy", "sell", "either"] = "either"
    """What is to be done; either = by the seed of the episode."""
    farthest: float = Field(default=10.0, gt=0.0, le=1e6)
    """Distance behind the own side's best price that an action of 1 means, ticks; -1 joins it."""
    collar: int = Field(default=50, ge=0, le=10**9)
    """Ticks beyond the other side's best price that are accepted by what takes."""


# Parameters: lots of a whole quote, farthest, collar, lots of the block.
@compiled
def _wish(active: Bool, actions: Float, params: Float, told: Int, task: Int, quotes: Int, take: Int) -> None:
    for b in range(len(active)):
        if active[b]:
            known, rest = told[b], task[b, TARGET] - told[b, POSITION]
            side, left = (0, rest) if rest > 0 else (1, -rest)
            away = int(np.rint(0.5 * (actions[b, 0] + 1.0) * params[1]))
            lives = known[OWN + side * N_OWN + 1]
            wanted = int(np.rint(max(actions[b, 1], 0.0) * left))
            taken = min(wanted, max(left - lives - known[TAKING], 0))
            for other in range(2):
                quotes[b, other, 0] = quotes[b, other, 1] = 0
            quotes[b, side, 0] = min(known[BID] - away, known[ASK] - 1) if side == 0 else known[ASK] + away
            if side == 1:
                quotes[b, side, 0] = max(quotes[b, side, 0], known[BID] + 1)
            quotes[b, side, 1] = min(int(params[0]), max(left - wanted - known[TAKING], 0))
            take[b, 0], take[b, 1] = side, taken
            take[b, 2] = known[ASK] + int(params[2]) if side == 0 else known[BID] - int(params[2])


@compiled
def _show(params: Float, told: Int, queue: Float, task: Int, out: Single) -> None:
    for b in range(len(out)):
        mid, steps = 0.5 * (told[b, BID] + told[b, ASK]), told[b, N_DECISIONS]
        rest, side = task[b, TARGET] - told[b, POSITION], 0 if task[b, TARGET] > 0 else 1
        out[b, 0] = bounded(abs(rest) / params[3])
        out[b, 1] = 1.0 - told[b, DONE] / steps if steps > 0 else 1.0
        out[b, 2] = 1.0 if side == 0 else -1.0
        out[b, 3] = bounded(told[b, TAKING] / params[3])
        see_quote(told[b], queue[b], side, mid, params[0], params[1], out[b], 4)


# Parameters: lots of the block, chance that it is bought.
@compiled
def _begin(active: Bool, draws: Float, params: Float, ledger: Float, task: Int) -> None:
    for b in range(len(active)):
        if active[b]:
            task[b, TARGET] = int(params[0]) if draws[b, 1] < params[1] else -int(params[0])
            task[b, _ARRIVAL] = int(np.rint(2.0 * ledger[b, MID]))


@compiled
def _over(active: Bool, params: Float, ledger: Float, task: Int, last: Bool, terminated: Bool) -> None:
    for b in range(len(active)):
        if active[b]:
            terminated[b] = last[b] or ledger[b, HELD] == task[b, TARGET]


@compiled
def _pay(active: Bool, params: Float, before: Float, after: Float, task: Int, rewards: Float) -> None:
    for b in range(len(active)):
        if active[b]:
            arrival = 0.5 * task[b, _ARRIVAL]
            was = before[b, MONEY] - before[b, FEES] + before[b, HELD] * arrival
            now = after[b, MONEY] - after[b, FEES] + after[b, HELD] * arrival
            rewards[b] = (now - was) / params[0]


def make(config: Config, instrument: Instrument) -> BookMarket:
    """Make the market.

    Rewards add up to what was saved against the mid price at the start, ticks a lot of the block, fees paid; what is
    left at the deadline is taken. The action: how far behind the own side's best price to wait, and the share of what
    is left to take now (none at 0 or below).
    """
    c = config
    block = float(c.size * c.limit)
    space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    actions = BookActions(
        space, _wish, _N_SEEN, _show, np.array([float(c.size), c.farthest, float(c.collar), block])
    )  # fmt: skip
    objective = Objective(_begin, _over, _pay, np.array([block, _SIDES[c.side]]))
    return book_market("book_execution", c, instrument, actions, objective, ends=True)
