"""Funding arbitrage: hold a coin, short its perpetual, and live on the funding, as long as it pays for the trouble.

Both legs hold the same quantity, so the price does not matter to the account as a whole; it does to the short's margin,
which is why both legs are set anew when the price has moved far (ALGORITHMS, card 4.5). The market is `funding`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from qframe_rl.agent import MarketSpec, State, View
from qframe_rl.config import Base, UserError
from qframe_rl.types import DAY, HOUR, Bool, Float, Int, Orders

_RATE = "funding_rate"
_USUAL = 8 * HOUR
"""Interval between settlements where the rates do not show another."""


class Config(Base):
    """When the carry is held, and how large."""

    predictor: Literal["mean", "last", "always"] = "mean"
    """Rate that is expected to go on: the ``mean`` of the last days, the ``last`` one, or ``always``: the carry is held
    whatever the rates. A predictor that does not beat ``always`` after fees is of no use."""
    memory_days: float = Field(default=3.0, gt=0.0, le=1e6)
    """Days of that mean. Rates persist: their autocorrelation is 0.8 after one settlement, 0.4 after a week."""
    hold_days: float = Field(default=30.0, gt=0.0, le=1e6)
    """The carry is begun when the expected rate would earn a round trip of both legs within so many days, and ended
    when it would lose as much. Longer trades less."""
    short_leverage: float = Field(default=2.0, gt=0.0, le=20.0)
    """Notional of the short over its margin. The share of equity in coins is 1 / (1 + 1 / leverage): more earns more,
    and is liquidated by a rise of about 1 / leverage."""
    reserve: float = Field(default=0.02, ge=0.0, lt=1.0)
    """Share of equity that is never used: fees come out of it."""
    drift: float = Field(default=0.15, gt=0.0, le=1e6)
    """Both legs are set anew when the coin's share of equity is this far, relative, from where it should be. Smaller
    keeps farther from liquidation and trades more."""
    tolerance: float = Field(default=0.01, gt=0.0, le=1e6)
    """Largest difference between the legs, relative; beyond it the larger one is cut down to the smaller."""


class FundingArbitrage:
    """In or out for each coin that has a perpetual; equal parts."""

    def __init__(self, config: Config, spec: MarketSpec):
        self.config = config
        self.legs = _legs(spec)
        self.bar_ns = spec.bar_ns
        self.window = max(2, round(max(config.memory_days, 1.0) * DAY / spec.bar_ns)) + 1
        if config.predictor != "always" and _RATE not in spec.columns:
            raise UserError("agent funding_arbitrage: the data have no funding rates; predictor=always needs none.")
        self.channel = 5 + spec.columns.index(_RATE) if _RATE in spec.columns else 0
        fee = np.array([instrument.taker_fee for instrument in spec.instruments])
        lot = np.array([instrument.lot for instrument in spec.instruments])
        self.round_trip: Float = 2.0 * (fee + spec.cost_rate - fee.max())[self.legs].sum(axis=1)
        self.lot: Float = lot[self.legs].max(axis=1)
        self.share = (1.0 - config.reserve) / (1.0 + 1.0 / config.short_leverage) / len(self.legs)
        self.inside: Bool = np.zeros(len(self.legs), dtype=np.bool_)

    def decide(self, view: View) -> Orders:
        """Begin, end, or keep the legs equal and the short's margin wide."""
        if view.first:
            self.inside[:] = False
        self.inside = self._inside(view)
        quantity = np.zeros(len(view.account.position))
        for k, (coin, short) in enumerate(self.legs):
            if view.tradable[coin] and view.tradable[short]:
                goal = self._goal(k, view)
                if goal is not None:
                    quantity[coin] = goal - view.account.position[coin]
                    quantity[short] = -goal - view.account.position[short]
        return Orders.market(quantity)

    def carried(self) -> State:
        """Which pairs are held."""
        return {"inside": self.inside.copy()}

    def carry(self, memory: State) -> None:
        """Take the pairs over."""
        self.inside = np.array(memory["inside"])

    def expected(self, view: View) -> Float:
        """(P,) rate a day that a short of each perpetual is expected to receive; NaN = unknown."""
        rates = view.bars[-self.window :, self.legs[:, 1], self.channel]
        known = ~np.isnan(rates)
        mean = np.where(known, rates, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        rate = rates[-1] if self.config.predictor == "last" else np.where(known.any(axis=0), mean, np.nan)
        return np.asarray(rate * (DAY / self._interval(rates)))

    def _inside(self, view: View) -> Bool:
        if self.config.predictor == "always":
            return np.ones(len(self.legs), dtype=np.bool_)
        earned = self.expected(view) * self.config.hold_days
        return (self.inside & ~(earned < -self.round_trip)) | (earned > self.round_trip)

    def _interval(self, rates: Float) -> Float:
        """(P,) ns between settlements: the shortest time in which a rate of the window was followed by another."""
        interval = np.full(rates.shape[1], float(_USUAL))
        for p in range(rates.shape[1]):
            changed = np.flatnonzero(np.abs(np.diff(rates[:, p])) > 0.0)  # not where one is unknown
            if len(changed) > 1:
                interval[p] = min(float(_USUAL), float(np.diff(changed).min()) * self.bar_ns)
        return interval

    def _goal(self, k: int, view: View) -> float | None:
        """Quantity to hold of the coin and to be short of its perpetual; None = leave both as they are."""
        coin, short = self.legs[k]
        held, sold = float(view.account.position[coin]), -float(view.account.position[short])
        if not self.inside[k]:
            return 0.0
        price, equity = float(view.account.mark[coin]), float(view.account.equity)
        away = abs(held * price / (self.share * equity) - 1.0)
        if min(held, sold) <= 0.0 or away > self.config.drift:
            goal = self.share * equity / price
            return float(np.floor(goal / self.lot[k] + 1e-9) * self.lot[k]) if self.lot[k] > 0.0 else goal
        # A larger leg can always be cut; a smaller one may lack the margin to grow.
        uneven = abs(held - sold) > self.config.tolerance * max(held, sold) + self.lot[k]
        return min(held, sold) if uneven else None


def _legs(spec: MarketSpec) -> Int:
    """(P, 2) rows of each coin and its perpetual.

    Raises
    ------
    UserError
        If there is no such pair, or the market has no shorts.
    """
    rows = {(i.kind, i.pair): k for k, i in enumerate(spec.instruments)}
    pairs = [(k, rows["perpetual", pair]) for (kind, pair), k in rows.items()
             if kind == "spot" and ("perpetual", pair) in rows]  # fmt: skip
    if not pairs or not spec.shorting:
        raise UserError(
            "agent funding_arbitrage holds a coin against its perpetual: take --env funding and both symbols, such as "
            "--symbols BTC/USDT,BTC/USDT:USDT."
        )
    return np.array(pairs, dtype=np.int64)


def make(config: Config, spec: MarketSpec) -> FundingArbitrage:
    """Make the agent."""
    return FundingArbitrage(config, spec)
