"""A signal that reverts and a linear cost: long, flat or short (de Lataillade, Deremble, Potters & Bouchaud, 2012)."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from gymnasium import spaces
from pydantic import Field

from qframe_rl.gym.chance import normal
from qframe_rl.gym.problem import Act, Curve, Problem, ProblemConfig, Theory
from qframe_rl.jit import compiled
from qframe_rl.theory.ar1 import ar1_switching, chain
from qframe_rl.theory.switching import expected_total
from qframe_rl.types import Bool, Float, Int, Single

BOUND = 10.0


class Config(ProblemConfig):
    """Rewards are in units of the expected return at a signal of one; the defaults are those of docs/solvable.md."""

    phi: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Autocorrelation of the signal from step to step, in [0, 1); its standard deviation is 1."""
    cost: float = Field(default=2.0, ge=0.0, le=1e6)
    """Cost of one unit of turnover, in expected returns at a signal of one, 0 or more."""
    noise: float = Field(default=2.0, ge=0.0, le=1e6)
    """Standard deviation of a return around its expectation, where rewards are sampled, in the same unit."""
    episode_steps: int = Field(default=200, ge=1, le=10_000_000)
    """Steps after which an episode is cut off."""


# State: position, signal. Parameters: phi, cost, noise (0 = the reward is its expectation).
@compiled
def _begin(active: Bool, draws: Float, params: Float, state: Float) -> None:
    for b in range(len(active)):
        if active[b]:
            state[b, 0] = 0.0
            state[b, 1] = normal(draws[b, 0], draws[b, 1])


@compiled
def _move(active: Bool, actions: Float, draws: Float, params: Float, state: Float, rewards: Float, ended: Bool) -> None:
    phi, cost, noise = params[0], params[1], params[2]
    shock = math.sqrt(1.0 - phi * phi)
    for b in range(len(active)):
        if active[b]:
            held = actions[b, 0] - 1.0
            gain = held * state[b, 1]
            if noise > 0.0:
                gain += held * noise * normal(draws[b, 2], draws[b, 3])
            rewards[b] = gain - cost * abs(held - state[b, 0])
            state[b, 0] = held
            state[b, 1] = phi * state[b, 1] + shock * normal(draws[b, 0], draws[b, 1])


@compiled
def _show(params: Float, state: Float, out: Single) -> None:
    for b in range(len(out)):
        out[b, 0] = state[b, 0]
        out[b, 1] = min(max(state[b, 1], -BOUND), BOUND)


def _follow(signal: Float, best: Int, observations: Single) -> Int:
    """(B,) actions: look the nearest signal of the grid up."""
    step = signal[1] - signal[0]
    at = np.clip(np.rint((observations[:, 1] - signal[0]) / step), 0, len(signal) - 1).astype(np.int64)
    return np.asarray(best[np.rint(observations[:, 0]).astype(np.int64) + 1, at])


def _theory(config: Config) -> Theory:
    signal, policy = ar1_switching(config.phi, config.cost)
    _, move = chain(config.phi, float(signal[1] - signal[0]))
    start = np.exp(-0.5 * signal**2)
    start /= start.sum()
    total = expected_total(policy, signal, move, config.cost, start, config.episode_steps)
    return Theory(policy.growth, total / config.episode_steps, lambda: partial(_follow, signal, policy.best))


def _portrait(config: Config, act: Act) -> tuple[Curve, ...]:
    """Position chosen against the signal, for each position held."""
    signal = np.linspace(-2.5, 2.5, 501)
    curves = []
    for held, name in ((-1.0, "short"), (0.0, "flat"), (1.0, "long")):
        rows = np.stack([np.full_like(signal, held), signal], axis=1).astype(np.float32)
        chosen = np.asarray(act(rows), dtype=np.float64) - 1.0
        curves.append(Curve(f"Held: {name}", "", "signal (sd)", "position chosen", signal, chosen))
    return tuple(curves)


def make(config: Config) -> Problem:
    """Make the problem. Observation: position and signal; action: 0, 1 or 2 for short, flat or long."""
    noise = 0.0 if config.reward_mode == "expected" else config.noise
    return Problem(
        name="ar1_signal",
        observation_space=spaces.Box(-BOUND, BOUND, (2,), np.float32),
        action_space=spaces.Discrete(3),
        params=np.array([config.phi, config.cost, noise]),
        n_state=2,
        n_draws=4,
        begin=_begin,
        move=_move,
        show=_show,
        episode_steps=config.episode_steps,
        score="average",
        discount=1.0,
        theory=partial(_theory, config),
        portrait=partial(_portrait, config),
    )
