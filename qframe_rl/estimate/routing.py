"""Which of several strategies to follow when the best one changes: weights that move with what each has lately earned.

A router is told what the strategies gained in a period, in units of a usual period's deviation, and answers what to put
on each until the next. It starts with equal shares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from qframe_rl.types import Float

MOST_RATE = 0.25
"""Of `Oamp`."""


class FixedShare:
    """Fixed share (Herbster & Warmuth, 1998): shares grow with gains, and a part of all is divided anew each time.

    ``w ~ w exp(rate g)``, then ``(1 - share) w + share / M``. No strategy's share becomes so small that it could not
    come back. All is put on the largest: a mixture of strategies that trade against each other pays for both.

    Parameters
    ----------
    n
        M, the strategies.
    rate
        How fast shares move.
    share
        Part that is divided anew.
    """

    def __init__(self, n: int, rate: float, share: float):
        self.n, self.rate, self.share = n, rate, share
        self.begin()

    def begin(self) -> None:
        """Equal shares."""
        self.weight: Float = np.full(self.n, 1.0 / self.n)

    def step(self, gains: Float) -> Float:
        """(M,) weights after (M,) gains: 1 for the largest share, the first of equals."""
        grown = self.weight * np.exp(self.rate * (gains - gains.max()))
        self.weight = (1.0 - self.share) * grown / grown.sum() + self.share / len(gains)
        picked = np.zeros(len(gains))
        picked[int(self.weight.argmax())] = 1.0
        return picked

    def memory(self) -> dict[str, Float]:
        """What it knows."""
        return {"weight": self.weight.copy()}

    def carry(self, memory: Mapping[str, Float]) -> None:
        """Take it over."""
        self.weight = np.array(memory["weight"])


class Oamp:
    """Optimistic multiplicative weights with rates that tune themselves (Wei & Luo, 2018), as RL3 routes agents by.

    The last losses l' serve as a forecast of the next: ``m = <p', l'> - l'``, ``p ~ eta w exp(eta m)``. With the losses
    l then come regrets ``r = <p, l> - l``, rates ``min(1/4, sqrt(ln M / (1 + sum (r - m)²)))``, and ``w <- (w exp(eta r
    - eta² (r - m)²))^(new rate / rate)``. It forgets nothing: it comes near the one strategy that is best in the long
    run, and does not follow a change of the best. Weights are a mixture.

    Parameters
    ----------
    n
        M, the strategies.
    scale
        Gain that counts as a loss of 0 and, lost, of 1; what is beyond is cut.
    """

    def __init__(self, n: int, scale: float):
        self.n, self.scale = n, scale
        self.begin()

    def begin(self) -> None:
        """Equal weights, and nothing known."""
        n = self.n
        self.weight: Float = np.full(n, 1.0 / n)
        self.rate: Float = np.full(n, MOST_RATE)
        self.missed: Float = np.zeros(n)
        self.played: Float = np.full(n, 1.0 / n)
        self.guess: Float = np.zeros(n)

    def step(self, gains: Float) -> Float:
        """(M,) weights after (M,) gains."""
        losses = np.clip(0.5 - 0.5 * gains / self.scale, 0.0, 1.0)
        regret = float(self.played @ losses) - losses
        off = (regret - self.guess) ** 2
        self.missed = self.missed + off
        rate = np.minimum(MOST_RATE, np.sqrt(math.log(len(gains)) / (1.0 + self.missed)))
        grown = (np.log(self.weight) + self.rate * regret - self.rate**2 * off) * (rate / self.rate)
        self.weight = _normal(grown)
        self.rate, self.guess = rate, regret
        self.played = _normal(np.log(rate) + np.log(self.weight) + rate * regret)
        return self.played.copy()

    def memory(self) -> dict[str, Float]:
        """What it knows."""
        return {k: getattr(self, k).copy() for k in ("weight", "rate", "missed", "played", "guess")}

    def carry(self, memory: Mapping[str, Float]) -> None:
        """Take it over."""
        for k in self.memory():
            setattr(self, k, np.array(memory[k]))


def _normal(logs: Float) -> Float:
    """Weights that sum to one, of these logarithms; none vanishes."""
    grown = np.exp(np.maximum(logs - logs.max(), -600.0))
    return np.asarray(grown / grown.sum())
