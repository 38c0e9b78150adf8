"""Puts equal shares of equity into what trades at the first decision and holds: the market itself, after one purchase.

What a bar's volume did not let it buy it goes on buying, until each share is spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qframe_rl.agent import MarketSpec, State, View
from qframe_rl.config import Base
from qframe_rl.interface import rebalance
from qframe_rl.types import Bool, Float, Orders

_REST = 0.01
"""Share of an order, or of what is to be spent, that is not asked for again: rounding, costs and gaps leave as much."""


class Config(Base):
    """Nothing to choose."""


class BuyAndHold:
    """Buys until it holds, and never trades again."""

    window = 1

    def __init__(self, n: int):
        self.share, self.left = np.zeros(n), np.zeros(n)

    def decide(self, view: View) -> Orders:
        """Buy, or go on buying."""
        if view.first:
            shares = _shares(view.tradable)
            self.share = shares * view.account.equity
            self.left = self.share.copy()
            return rebalance(view, shares)
        if not self.left.any():
            return Orders.market(np.zeros(len(self.left)))
        return Orders.market(self._rest(view))

    def carried(self) -> State:
        """What each instrument's share was, and what of it is still to be spent."""
        return {"share": self.share.copy(), "left": self.left.copy()}

    def carry(self, memory: Mapping[str, NDArray[Any]]) -> None:
        """Take both over."""
        self.share, self.left = np.array(memory["share"]), np.array(memory["left"])

    def _rest(self, view: View) -> Float:
        """(A,) base units still to buy."""
        fills, tradable = view.fills, view.tradable
        self.left -= fills.quantity * fills.price + fills.fee
        asked = np.abs(fills.quantity) + np.abs(fills.cancelled)
        filled = (asked > 0.0) & (np.abs(fills.cancelled) <= _REST * asked)
        self.left[filled | (self.left <= _REST * self.share) | (fills.forced != 0.0)] = 0.0
        quantity = np.zeros(len(self.left))
        np.divide(self.left, view.close[-1], out=quantity, where=tradable & (self.left > 0.0))
        return quantity


def _shares(tradable: Bool) -> Float:
    """(A,) equal shares of what may be bought, (A,)."""
    return np.where(tradable, 1.0 / max(1, tradable.sum()), 0.0)


def make(config: Config, spec: MarketSpec) -> BuyAndHold:
    """Make the agent."""
    return BuyAndHold(len(spec.instruments))
