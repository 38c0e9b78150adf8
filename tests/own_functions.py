"""A reward, an action scheme and a feature as a user would write them in a file of his own."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from qframe_rl.features import feature
from qframe_rl.gym.reward import Lived
from qframe_rl.types import CLOSE, Float, Int

WEIGHT = 50.0


def _risk(exposure: Float) -> Float:
    return np.square(exposure).sum(axis=1)  # type: ignore[no-any-return]


def growth_less_risk(bar: Lived, aversion: float = 0.01) -> Float:
    """Log growth in percent, less a charge on squared exposure."""
    growth = np.log(np.maximum(bar.equity, 1e-9) / bar.before)
    return 2.0 * WEIGHT * growth - aversion * _risk(bar.exposure)


class Steady:
    """Growth less a moving mean of its size; remembers that mean."""

    def __init__(self, eta: float = 0.1):
        self.eta = eta

    def __call__(self, bar: Lived) -> Float:
        growth = np.log(np.maximum(bar.equity, 1e-9) / bar.before)
        bar.memory[:, 0] += self.eta * (np.abs(growth) - bar.memory[:, 0])
        return growth - bar.memory[:, 0]  # type: ignore[no-any-return]


def follow(actions: Float, exposure: Float) -> Float:
    """Half of the way to what the action says, from -1 to 1."""
    return 0.5 * (exposure + actions)


class OneOf:
    """All of equity in one of the coins, or in none."""

    band = 0.0

    def __init__(self, n_instruments: int, share: float = 1.0):
        self.space = spaces.Discrete(n_instruments + 1)
        self.share = share

    def targets(self, actions: Int, exposure: Float) -> Float:
        found = np.zeros_like(exposure)
        rows = np.flatnonzero(actions < exposure.shape[1])
        found[rows, actions[rows]] = self.share
        return found


@feature(lookback=5)
def pressed(bars: Float, times: Int) -> Float:
    """Last close against the mean of five."""
    return np.log(bars[-1, :, CLOSE] / bars[:, :, CLOSE].mean(axis=0))  # type: ignore[no-any-return]


def undeclared(bars: Float, times: Int) -> Float:
    """A feature that does not say how far it looks back."""
    return bars[-1, :, CLOSE]


not_callable: Any = 3
