"""Cost averaging: buys for a fixed amount of money every so many bars, and more at falls of given depths."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from qframe_rl.agent import MarketSpec, State, View
from qframe_rl.config import Base, UserError, search
from qframe_rl.types import Float, Orders


class Config(Base):
    """How much is bought, and when."""

    amount: float = Field(default=0.01, gt=0.0, le=1.0, json_schema_extra=search(low=0.001, high=0.1, log=True))
    """Money of one purchase, share of the equity at the first decision; equal parts where there are several
    instruments. 0.01 is spent after a hundred purchases."""
    every_bars: int = Field(default=24, ge=1, le=1_000_000, json_schema_extra=search(low=1, high=2160, log=True))
    """Bars between purchases, counted from 1970: a day of hours."""
    dips: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = Field(default=(), max_length=100)
    """Falls from the highest close of the last `dip_bars`, as fractions and rising, at each of which `dip_amount` more
    is bought, once until the fall is less than the first of them again; empty = none."""
    dip_amount: float = Field(default=0.01, gt=0.0, le=1.0)
    """Money of a purchase at a dip, as `amount` is."""
    dip_bars: int = Field(default=720, ge=1, le=1_000_000)
    """Bars in which the highest close is looked for: a month of hours."""


class CostAveraging:
    """Buys until its money is spent, and never sells."""

    def __init__(self, config: Config, spec: MarketSpec):
        if list(config.dips) != sorted(set(config.dips)):
            raise UserError(f"agent dca: dips {config.dips} must rise from one to the next; put them in order.")
        self.config, self.bar_ns, self.cost = config, spec.bar_ns, spec.cost_rate
        self.window = config.dip_bars if config.dips else 1
        self.n, self.dips = len(spec.instruments), np.array(config.dips)
        self._forget(0.0)

    def decide(self, view: View) -> Orders:
        """Buy what is due."""
        if view.first:
            self._forget(float(view.account.equity))
        due = float(view.time // self.bar_ns % self.config.every_bars == 0) * self.config.amount
        money = np.where(view.tradable, due + self._at_dips(view) * self.config.dip_amount, 0.0)
        money *= self.start / self.n
        price = np.where(view.tradable, view.close[-1], 1.0)
        return Orders.market(money * self._fits(money, view) / price)

    def carried(self) -> State:
        """The equity at the first decision, and how many dips of each instrument were bought."""
        return {"start": np.array([self.start]), "bought": self.bought.copy()}

    def carry(self, memory: State) -> None:
        """Take both over."""
        self.start, self.bought = float(memory["start"][0]), np.array(memory["bought"])

    def _forget(self, start: float) -> None:
        self.start, self.bought = start, np.zeros(self.n, dtype=np.int64)

    def _at_dips(self, view: View) -> Float:
        """(A,) how many dips each instrument has fallen through since the last time it was above all of them.

        One that cannot be bought now is as it was: its dips are bought when it can be, if it is still that low.
        """
        if not len(self.dips):
            return np.zeros(self.n)
        high = np.fmax.reduce(view.close[-self.window :], axis=0)
        through = (1.0 - view.close[-1] / high)[:, None] >= self.dips
        reached = np.where(view.tradable, through.sum(axis=1), self.bought)
        new = np.maximum(reached - self.bought, 0)
        self.bought = np.where(reached == 0, 0, np.maximum(reached, self.bought))
        return np.asarray(new, dtype=np.float64)

    def _fits(self, money: Float, view: View) -> float:
        """Share of what is due that equity, less what is held and less the cost of buying, still pays."""
        account, total = view.account, float(money.sum())
        held = np.where(account.position == 0.0, 0.0, np.abs(account.position) * account.mark).sum()
        room = max(0.0, float(account.equity) - float(held)) / (1.0 + self.cost)
        return min(1.0, room / total) if total > 0.0 else 0.0


def make(config: Config, spec: MarketSpec) -> CostAveraging:
    """Make the agent."""
    return CostAveraging(config, spec)
