"""Quoting both sides of a recorded order book."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from gymnasium import spaces
from pydantic import Field, model_validator

from qframe_rl.book.known import ASK, BID, POSITION
from qframe_rl.book.wish import passive_tick, room_for
from qframe_rl.gym.replay.engine import HELD, MID, PASSED, WORTH, Objective
from qframe_rl.gym.replay.market import BookConfig, BookMarket, book_market
from qframe_rl.interface.books import TARGET, BookActions
from qframe_rl.interface.quoting import N_QUOTE_SEEN, bounded, see_quote
from qframe_rl.jit import compiled, inlined
from qframe_rl.types import Bool, Float, Instrument, Int, Single

_N_SEEN = 1 + 2 * N_QUOTE_SEEN
Distance = Annotated[float, Field(ge=-1e6, le=1e6)]


class Config(BookConfig):
    """A maker: two quotes, renewed at each decision."""

    actions: Literal["quotes", "table"] = "quotes"
    """quotes: a Box of four, the distances of bid and ask from the mid price and their sizes, 0 to a whole quote.
    table: for bid and for ask none (0), or one of the distances."""
    nearest: Distance = 0.5
    """Distance from the mid price that an action of -1 means, ticks; half a tick is the best price of a spread of 1."""
    farthest: Distance = 10.0
    """Distance that an action of 1 means."""
    distances: tuple[Distance, ...] = Field(default=(0.5, 1.5, 3.0, 6.0), min_length=1, max_length=50)
    """Of table."""
    inventory_penalty: float = Field(default=0.01, ge=0.0, le=1e12)
    """phi: what a second with one whole quote held costs, ticks a whole quote; it grows with the square."""
    cash: float = Field(default=10_000.0, gt=0.0, le=1e15)
    """Quote currency at the start."""
    loss_limit: float = Field(default=0.2, gt=0.0, le=1.0)
    """Share of it whose loss ends an episode."""

    @model_validator(mode="after")
    def _above(self) -> Self:
        if self.farthest <= self.nearest:
            raise ValueError(f"farthest, {self.farthest:g}, must be above nearest, {self.nearest:g}")
        return self


@inlined
def _wished(told: Int, side: int, distance: float, share: float, size: float, limit: float, quotes: Int) -> None:
    """Write one quote: on the passive side of the mid price, short of the other side's best, within the limit."""
    mid, other = 0.5 * (told[BID] + told[ASK]), told[ASK] if side == 0 else told[BID]
    quotes[side, 0] = passive_tick(side, mid, distance, other)
    quotes[side, 1] = int(min(np.rint(share * size), room_for(side, told[POSITION], limit)))


# Parameters: lots of a whole quote, lots that may be held, nearest distance, span of distances.
@compiled
def _quotes(active: Bool, actions: Float, params: Float, told: Int, task: Int, quotes: Int, take: Int) -> None:
    for b in range(len(active)):
        if active[b]:
            for side in range(2):
                distance = params[2] + 0.5 * (actions[b, side] + 1.0) * params[3]
                share = 0.5 * (actions[b, 2 + side] + 1.0)
                _wished(told[b], side, distance, share, params[0], params[1], quotes[b])


# Parameters: as above, then the distances.
@compiled
def _table(active: Bool, actions: Float, params: Float, told: Int, task: Int, quotes: Int, take: Int) -> None:
    for b in range(len(active)):
        if active[b]:
            for side in range(2):
                k = int(actions[b, side])
                distance = params[3 + k] if k > 0 else 0.0
                _wished(told[b], side, distance, 1.0 if k > 0 else 0.0, params[0], params[1], quotes[b])


@compiled
def _show(params: Float, told: Int, queue: Float, task: Int, out: Single) -> None:
    for b in range(len(out)):
        mid = 0.5 * (told[b, BID] + told[b, ASK])
        out[b, 0] = bounded(told[b, POSITION] / params[1])
        for side in range(2):
            see_quote(told[b], queue[b], side, mid, params[0], params[3], out[b], 1 + side * N_QUOTE_SEEN)


@compiled
def _begin(active: Bool, draws: Float, params: Float, ledger: Float, task: Int) -> None:
    for b in range(len(active)):
        if active[b]:
            task[b, TARGET] = 0


# Parameters: lots of a whole quote, penalty, cash and the loss that ends it in ticks times lots, maintenance margin.
@compiled
def _over(active: Bool, params: Float, ledger: Float, task: Int, last: Bool, terminated: Bool) -> None:
    for b in range(len(active)):
        if active[b]:
            worth, notional = ledger[b, WORTH], abs(ledger[b, HELD]) * ledger[b, MID]
            terminated[b] = worth <= -params[3] or params[2] + worth <= params[4] * notional


@compiled
def _pay(active: Bool, params: Float, before: Float, after: Float, task: Int, rewards: Float) -> None:
    for b in range(len(active)):
        if active[b]:
            held = after[b, HELD] / params[0]
            earned = (after[b, WORTH] - before[b, WORTH]) / params[0]
            rewards[b] = earned - params[1] * held * held * after[b, PASSED]


def make(config: Config, instrument: Instrument) -> BookMarket:
    """Make the market.

    Rewards are ticks a whole quote: the change of what the account is worth at the mid price, fees paid, less the
    penalty; at the end of a run the account closes at what taking costs.
    """
    c, unit = config, instrument.tick * instrument.lot
    sizes = (float(c.size), float(c.size * c.limit), c.nearest, c.farthest - c.nearest)
    n = len(c.distances) + 1
    if c.actions == "table":
        params = np.array([*sizes, *c.distances])
        actions = BookActions(spaces.MultiDiscrete([n, n]), _table, _N_SEEN, _show, params, idle=(0, 0))
    else:
        space = spaces.Box(-1.0, 1.0, (4,), np.float32)
        actions = BookActions(space, _quotes, _N_SEEN, _show, np.array(sizes))
    money = (c.cash / unit, c.loss_limit * c.cash / unit, instrument.maintenance)
    terms = np.array([float(c.size), c.inventory_penalty, *money])
    return book_market("book_making", c, instrument, actions, Objective(_begin, _over, _pay, terms))
