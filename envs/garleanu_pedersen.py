"""A decaying signal and quadratic costs: how far to trade towards a moving aim (Gârleanu & Pedersen, 2013)."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from gymnasium import spaces
from pydantic import Field

from qframe_rl.gym.chance import normal
from qframe_rl.gym.problem import Act, Curve, Problem, ProblemConfig, Theory
from qframe_rl.jit import compiled
from qframe_rl.theory.garleanu_pedersen import GarleanuPedersenParams, Rule, solve, worth
from qframe_rl.types import Bool, Float, Single

BOUND = 10.0


class Config(ProblemConfig):
    """Constants of the paper's model for one asset and one signal; the defaults are those of docs/solvable.md."""

    variance: float = Field(default=1.0, gt=0.0, le=1e6)
    """Variance of the asset's price change a step, above 0 (the paper's Sigma)."""
    slope: float = Field(default=1.0, gt=0.0, le=1e6)
    """Expected price change of a step at a signal of one, above 0 (beta)."""
    decay: float = Field(default=0.1, gt=0.0, le=1.0)
    """Share of the signal that is gone after a step, in (0, 1] (phi)."""
    deviation: float = Field(default=0.25, gt=0.0, le=1e6)
    """Stationary standard deviation of the signal, above 0."""
    aversion: float = Field(default=1.0, gt=0.0, le=1e6)
    """Risk aversion, per unit of money, above 0 (gamma)."""
    cost: float = Field(default=5.0, gt=0.0, le=1e6)
    """Cost of trading in units of the variance, above 0 (lambda): a trade of x costs cost x variance x x² / 2."""
    rho: float = Field(default=0.01, gt=0.0, lt=1.0)
    """Discount rate a step, in (0, 1)."""
    max_position: float = Field(default=3.0, gt=0.0, le=1e15)
    """Position that an action of ±1 means, in standard deviations of the costless optimum."""
    episode_steps: int = Field(default=200, ge=1, le=10_000_000)
    """Steps after which an episode is cut off."""

    @property
    def terms(self) -> GarleanuPedersenParams:
        """The constants as the theory takes them."""
        return GarleanuPedersenParams(
            self.variance, self.slope, self.decay, self.deviation, self.aversion, self.cost, self.rho
        )

    @property
    def unit(self) -> float:
        """Standard deviation of the costless optimum: positions are observed in it."""
        return self.slope * self.deviation / (self.aversion * self.variance)


# State: position, signal. Parameters: variance, slope, decay, deviation, aversion, cost, rho, unit, largest position,
# standard deviation of the unpredictable price change (0 = the reward is its expectation).
@compiled
def _begin(active: Bool, draws: Float, params: Float, state: Float) -> None:
    for b in range(len(active)):
        if active[b]:
            state[b, 0] = 0.0
            state[b, 1] = params[3] * normal(draws[b, 0], draws[b, 1])


@compiled
def _move(active: Bool, actions: Float, draws: Float, params: Float, state: Float, rewards: Float, ended: Bool) -> None:
    variance, slope, keep, deviation = params[0], params[1], 1.0 - params[2], params[3]
    discount = 1.0 - params[6]
    shock = deviation * math.sqrt(1.0 - keep * keep)
    for b in range(len(active)):
        if active[b]:
            before, signal = state[b, 0], state[b, 1]
            held = actions[b, 0] * params[8]
            gain = held * slope * signal - 0.5 * params[4] * variance * held * held
            if params[9] > 0.0:
                gain += held * params[9] * normal(draws[b, 2], draws[b, 3])
            trade = held - before
            rewards[b] = discount * gain - 0.5 * params[5] * variance * trade * trade
            state[b, 0] = held
            state[b, 1] = keep * signal + shock * normal(draws[b, 0], draws[b, 1])


@compiled
def _show(params: Float, state: Float, out: Single) -> None:
    for b in range(len(out)):
        out[b, 0] = state[b, 0] / params[7]
        out[b, 1] = min(max(state[b, 1] / params[3], -BOUND), BOUND)


def _follow(rule: Rule, config: Config, observations: Single) -> Float:
    """(B, 1) actions of a linear policy, held at the largest position where it asks for more."""
    x, f = observations[:, 0] * config.unit, observations[:, 1] * config.deviation
    held = rule.keep * x + rule.lean * f
    share: Float = np.clip(held / (config.max_position * config.unit), -1.0, 1.0)
    return share[:, None].astype(np.float64)


def _theory(config: Config) -> Theory:
    best = solve(config.terms)
    episode = worth(config.terms, best.rule, config.episode_steps)
    return Theory(best.value(0.0, config.deviation**2), episode, lambda: partial(_follow, best.rule, config))


def _portrait(config: Config, act: Act) -> tuple[Curve, ...]:
    """Position after the trade against the signal, for three positions before it."""
    signal = np.linspace(-2.5, 2.5, 101)
    curves = []
    for before in (-1.0, 0.0, 1.0):
        rows = np.stack([np.full_like(signal, before), signal], axis=1).astype(np.float32)
        held = config.max_position * np.asarray(act(rows), dtype=np.float64)[:, 0]
        label = f"from {before:+.0f}" if before else "from 0"
        panel = "Position after the trade"
        curves.append(Curve(panel, label, "signal (sd)", "position (sd of the costless optimum)", signal, held))
    return tuple(curves)


def make(config: Config) -> Problem:
    """Make the problem. Observation: position and signal in standard deviations; action: position over the largest."""
    c = config
    limit = max(c.max_position, BOUND)
    noise = 0.0 if c.reward_mode == "expected" else c.variance**0.5
    constants = (c.variance, c.slope, c.decay, c.deviation, c.aversion, c.cost, c.rho)
    return Problem(
        name="garleanu_pedersen",
        observation_space=spaces.Box(-limit, limit, (2,), np.float32),
        action_space=spaces.Box(-1.0, 1.0, (1,), np.float32),
        params=np.array([*constants, c.unit, c.max_position * c.unit, noise]),
        n_state=2,
        n_draws=4,
        begin=_begin,
        move=_move,
        show=_show,
        episode_steps=c.episode_steps,
        score="discounted",
        discount=1.0 - c.rho,
        theory=partial(_theory, c),
        portrait=partial(_portrait, c),
    )
