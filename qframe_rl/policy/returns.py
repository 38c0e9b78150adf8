"""What is learned from rewards: their scale, discounted sums, advantages, and the returns of episodes."""

from __future__ import annotations

import math
from collections import deque

from qframe_rl.jit import compiled
from qframe_rl.types import Bool, Float


class RunningDeviation:
    """Running standard deviation of all numbers seen (Chan, Golub & LeVeque, 1979)."""

    def __init__(self) -> None:
        self.count, self.mean, self.square = 0, 0.0, 0.0

    def add(self, numbers: Float) -> None:
        """Take more numbers in."""
        count, mean = numbers.size, float(numbers.mean())
        total, away = self.count + count, mean - self.mean
        self.square += float(numbers.var()) * count + away * away * self.count * count / total
        self.mean += away * count / total
        self.count = total

    @property
    def value(self) -> float:
        """What it is by now, above 0."""
        return math.sqrt(self.square / self.count) + 1e-8


@compiled
def discount(rewards: Float, over: Bool, gamma: float, carried: Float, out: Float) -> None:
    """Write the discounted sums of past rewards, (n_steps, B); ``carried`` (B,) is what came before and comes after."""
    for t in range(len(rewards)):
        for b in range(len(carried)):
            out[t, b] = carried[b] = carried[b] * gamma + rewards[t, b]
            if over[t, b]:
                carried[b] = 0.0


@compiled
def estimate(
    rewards: Float, over: Bool, values: Float, last: Float, gamma: float, gae_lambda: float, out: Float
) -> None:
    """Generalised advantage estimates (Schulman et al., 2016), (n_steps, B).

    ``values`` is (n_steps + 1, B). Where an episode is over the next value is ``last`` (n_steps, B): that of the true
    last state if it was cut off, else 0.
    """
    n = len(rewards)
    for t in range(n - 1, -1, -1):
        for b in range(rewards.shape[1]):
            after = last[t, b] if over[t, b] else values[t + 1, b]
            later = 0.0 if over[t, b] or t == n - 1 else out[t + 1, b]
            out[t, b] = rewards[t, b] + gamma * after - values[t, b] + gamma * gae_lambda * later


def episodes(rewards: Float, over: Bool, total: Float, ended: deque[float]) -> None:
    """Add the returns of episodes that ended to ``ended``; ``total`` (B,) is what the running ones earned so far."""
    for t in range(len(rewards)):
        total += rewards[t]
        if over[t].any():
            ended.extend(total[over[t]].tolist())
            total[over[t]] = 0.0
