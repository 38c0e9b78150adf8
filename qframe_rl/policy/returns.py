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
    """Write the discounted sums of past rewards.

    Parameters
    ----------
    rewards, over
        (n_steps, B), and whether the episode ended with the step: then the sum begins anew.
    gamma
        Discount a step.
    carried
        (B,) what came before the first step, and after the call what comes after the last.
    out
        (n_steps, B) written.
    """
    for t in range(len(rewards)):
        for b in range(len(carried)):
            out[t, b] = carried[b] = carried[b] * gamma + rewards[t, b]
            if over[t, b]:
                carried[b] = 0.0


@compiled
def estimate(
    rewards: Float, over: Bool, values: Float, last: Float, gamma: float, gae_lambda: float, out: Float
) -> None:
    """Generalised advantage estimates (Schulman et al., 2016).

    Parameters
    ----------
    rewards, over
        (n_steps, B), and whether the episode ended with the step.
    values
        (n_steps + 1, B) of the states that were seen, the one after the last step included.
    last
        (n_steps, B) the next value where an episode ended: that of its true last state if it was cut off, else 0.
    gamma, gae_lambda
        Discount a step; how far estimates look ahead, 0 = one step, 1 = to the end of the episode.
    out
        (n_steps, B) written: advantages.
    """
    n = len(rewards)
    for t in range(n - 1, -1, -1):
        for b in range(rewards.shape[1]):
            after = last[t, b] if over[t, b] else values[t + 1, b]
            later = 0.0 if over[t, b] or t == n - 1 else out[t + 1, b]
            out[t, b] = rewards[t, b] + gamma * after - values[t, b] + gamma * gae_lambda * later


def episodes(rewards: Float, over: Bool, total: Float, ended: deque[float]) -> None:
    """Add the returns of episodes that ended to ``ended``.

    Parameters
    ----------
    rewards, over
        (n_steps, B), and whether the episode ended with the step.
    total
        (B,) what the running episodes earned so far, before the call and after it.
    ended
        Added to, in order of time.
    """
    for t in range(len(rewards)):
        total += rewards[t]
        if over[t].any():
            ended.extend(total[over[t]].tolist())
            total[over[t]] = 0.0
