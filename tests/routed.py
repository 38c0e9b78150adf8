"""Paths of the signal whose sign turns, and what routers between the policies for either sign make of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qframe_rl.estimate.routing import FixedShare, Oamp
from qframe_rl.theory.ar1 import ar1_switching
from qframe_rl.theory.turning import Turning, next_belief
from qframe_rl.types import Float

MARKET = Turning(phi=0.9, cost=1.0, noise=2.0, turn=1 / 600, back=1 / 300)


class Path(NamedTuple):
    """(T,) each."""

    signal: Float
    regime: Float
    """1 or -1; the drift is regime x signal."""
    returns: Float
    member: Float
    """What the best policy for regime 1 holds; the other member holds the opposite."""


def path(n: int, noise: float, seed: int, *, turns: bool = True) -> Path:
    """A path of the market, always of regime 1 without ``turns``."""
    rng = np.random.default_rng(seed)
    p, chances = MARKET, rng.random(n)
    signal, regime, held = np.empty(n), np.empty(n), np.empty(n)
    shocks = np.sqrt(1.0 - p.phi**2) * rng.standard_normal(n)
    grid, policy = ar1_switching(p.phi, p.cost)
    f, s, at = float(rng.standard_normal()), 1.0, 1
    for t in range(n):
        signal[t], regime[t] = f, s
        place = min(max(round((f - grid[0]) / (grid[1] - grid[0])), 0), len(grid) - 1)
        at = int(policy.best[at, place])
        held[t] = at - 1.0
        f = p.phi * f + shocks[t]
        s = -s if turns and chances[t] < (p.turn if s > 0.0 else p.back) else s
    return Path(signal, regime, regime * signal + noise * rng.standard_normal(n), held)


def gains(one: Path) -> Float:
    """(T, 2) net gain of both members in each step, in units of their deviation."""
    cost = MARKET.cost * np.abs(np.diff(one.member, prepend=0.0))
    net = np.stack([one.member * one.returns - cost, -one.member * one.returns - cost], axis=1)
    return np.asarray(net / net.std())


def reward(one: Path, position: Float) -> float:
    """Expected reward a step of (T,) positions."""
    turnover = np.abs(np.diff(position, prepend=0.0))
    return float((position * one.regime * one.signal - MARKET.cost * turnover).mean())


def routed(one: Path, router: FixedShare | Oamp) -> float:
    """Expected reward a step of following a router, which is told what a step brought before the next."""
    weight, position = np.array([0.5, 0.5]), np.empty(len(one.signal))
    for t, (held, gain) in enumerate(zip(one.member, gains(one), strict=True)):
        position[t] = (weight[0] - weight[1]) * held
        weight = router.step(gain)
    return reward(one, position)


def filtered(one: Path, noise: float) -> float:
    """The same of following the member that is the likelier one by Bayes' rule."""
    p = MARKET._replace(noise=noise)
    belief, position = p.usual, np.empty(len(one.signal))
    for t, (f, r, held) in enumerate(zip(one.signal, one.returns, one.member, strict=True)):
        position[t] = held if belief > 0.5 else -held
        belief = float(next_belief(np.array(belief), np.array(f), np.array(r), p))
    return reward(one, position)
