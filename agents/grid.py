"""A grid: a ladder of prices, of which each level below is a bid and each above an offer for one unit.

What it earns on a price that reverts is known: ``ladder_income`` of `qframe_rl.theory.ladder`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from qframe_rl.agent import MarketSpec, State, View
from qframe_rl.config import Base, UserError, search
from qframe_rl.types import Float, Orders


class Config(Base):
    """Where the levels are, and how much is traded at each."""

    levels: int = Field(default=10, ge=1, le=10_000, json_schema_extra=search(low=2, high=100, log=True))
    """Steps from the centre to either bound."""
    reach: float = Field(default=0.1, gt=0.0, le=10.0, json_schema_extra=search(low=0.02, high=0.5, log=True))
    """Distance of the upper bound from the centre, fraction of it; the lower one is as many steps away. The centre is
    the close at the first decision."""
    low: float | None = Field(default=None, ge=1e-15, le=1e15)
    """Lower bound, a price; it goes with `high`, stands instead of `reach`, and is for one instrument."""
    high: float | None = Field(default=None, ge=1e-15, le=1e15)
    """Upper bound, a price."""
    spacing: Literal["geometric", "arithmetic"] = "geometric"
    """Equal ratios of one level to the next, or equal differences."""
    anchor: Literal["once", "beyond"] = "beyond"
    """``beyond`` draws the grid anew around a close outside the bounds, ``once`` waits for the price to come back."""
    side: Literal["long", "neutral"] = "long"
    """``long`` holds one unit at one step under the upper bound and one more at each step down; ``neutral`` nothing at
    the centre, and is short above it."""
    share: float = Field(default=1.0, gt=0.0, le=100.0)
    """Units from bound to bound at the price of the centre, share of equity when the grid is drawn; equal parts where
    there are several instruments. ``long`` with 1 spends all of it at the lower bound."""


class GridLevels(NamedTuple):
    """A grid as it was drawn, for one instrument."""

    prices: Float
    """(2 levels + 1,) rising."""
    unit: float
    """Base units of one level."""
    short: float
    """Units that are held fewer at every level."""

    def held(self, level: int) -> float:
        """Position at which the level was the last to be traded, base units."""
        return (len(self.prices) - 1 - level - self.short) * self.unit

    def level(self, position: float) -> int:
        """Level that a position was last traded at, or is nearest to."""
        steps = len(self.prices) - 1
        return min(max(round(steps - self.short - position / self.unit), 0), steps)

    def wanted(self, position: float, close: float) -> Iterator[tuple[float, float]]:
        """Orders that the grid has out, the nearest first: (signed base units, limit price).

        Parameters
        ----------
        position
            Base units held.
        close
            Last price. Levels that it is beyond, which a bar's one order did not reach, are made up for by the nearest.
        """
        last, prices = self.level(position), self.prices
        over = int(np.searchsorted(prices, close, side="right")) - 1
        under = int(np.searchsorted(prices, close, side="left"))
        sell, buy = max(last + 1, over), min(last - 1, under)
        found = []
        if sell < len(prices):
            found.append((self.held(sell) - position, float(prices[last + 1])))
        if buy >= 0:
            found.append((self.held(buy) - position, float(prices[last - 1])))
        yield from sorted(found, key=lambda order: side_of(order[0]) * math.log(close / order[1]))


def side_of(quantity: float) -> float:
    """1 for what buys, -1 for what sells."""
    return 1.0 if quantity > 0.0 else -1.0


class GridTrader:
    """Rests at the level that is nearer of the two beside the last one traded: an instrument has one order a bar."""

    window = 1

    def __init__(self, config: Config, spec: MarketSpec):
        _check(config, spec)
        self.config, self.n = config, len(spec.instruments)
        self.drawn = np.zeros((self.n, 2))
        self._ladders: list[GridLevels | None] = [None] * self.n

    def decide(self, view: View) -> Orders:
        """Draw what is not drawn, and ask for the nearest level."""
        if view.first:
            self.carry({"drawn": np.zeros((self.n, 2))})
        quantity, limit = np.zeros(self.n), np.full(self.n, np.nan)
        for a in np.flatnonzero(view.tradable):
            close, position = float(view.close[-1, a]), float(view.account.position[a])
            ladder = self._ladder(int(a), close, float(view.account.equity))
            if ladder is not None:
                quantity[a], limit[a] = next(ladder.wanted(position, close))
        return Orders(quantity, limit, np.full(self.n, np.nan))

    def carried(self) -> State:
        """Centre and unit of each instrument's grid."""
        return {"drawn": self.drawn.copy()}

    def carry(self, memory: State) -> None:
        """Take them over."""
        self.drawn = np.array(memory["drawn"])
        self._ladders = [self._made(float(centre), float(unit)) for centre, unit in self.drawn]

    def _ladder(self, a: int, close: float, equity: float) -> GridLevels | None:
        """The grid of an instrument, drawn anew where that is due; None where there is no money for one."""
        config, ladder = self.config, self._ladders[a]
        beyond = ladder is not None and not ladder.prices[0] <= close <= ladder.prices[-1]
        if ladder is None or (beyond and config.low is None and config.anchor == "beyond"):
            centre = close if config.low is None else math.sqrt(config.low * (config.high or math.inf))
            unit = config.share * max(equity, 0.0) / (2.0 * config.levels * self.n * centre)
            self.drawn[a] = centre, unit
            self._ladders[a] = ladder = self._made(centre, unit)
        return ladder

    def _made(self, centre: float, unit: float) -> GridLevels | None:
        """A grid as it was drawn; None where none was, or without money."""
        short = float(self.config.levels) if self.config.side == "neutral" else 0.0
        return GridLevels(self._prices(centre), unit, short) if unit > 0.0 else None

    def _prices(self, centre: float) -> Float:
        """(2 levels + 1,) prices, the centre in their middle."""
        config, steps = self.config, np.arange(-self.config.levels, self.config.levels + 1) / self.config.levels
        if config.low is not None and config.high is not None:
            if config.spacing == "arithmetic":
                return 0.5 * (config.low + config.high) + 0.5 * (config.high - config.low) * steps
            return centre * (config.high / config.low) ** (0.5 * steps)
        if config.spacing == "arithmetic":
            return centre * (1.0 + config.reach * steps)
        return np.asarray(centre * (1.0 + config.reach) ** steps)


def _check(config: Config, spec: MarketSpec) -> None:
    """Refuse what contradicts itself or the market."""
    low, high = config.low, config.high
    if (low is None) != (high is None):
        raise UserError("agent grid: low and high are the two bounds of one grid; give both or none.")
    if low is not None and high is not None and (low >= high or len(spec.instruments) > 1):
        raise UserError(f"agent grid: bounds {low:g} to {high:g} for {len(spec.instruments)} instruments; low must be "
                        "under high, and prices fit one instrument: take reach for several.")  # fmt: skip
    if config.side == "neutral" and not spec.shorting:
        raise UserError("agent grid: side=neutral is short above its centre; take side=long, or --env perp.")
    most = config.share * (0.5 if config.side == "neutral" else 1.0)
    if most > spec.leverage:
        raise UserError(f"agent grid: share={config.share:g} with side={config.side} comes to {most:g} of equity at a "
                        f"bound, more than this market allows, {spec.leverage:g}; lower it, or raise env.leverage on "
                        "perpetuals.")  # fmt: skip
    if low is None and config.spacing == "arithmetic" and config.reach >= 1.0:
        raise UserError(f"agent grid: reach={config.reach:g} in equal differences reaches a price of zero; lower it.")


def make(config: Config, spec: MarketSpec) -> GridTrader:
    """Make the agent."""
    return GridTrader(config, spec)
