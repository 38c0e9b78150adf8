"""Quoting both sides of a book and carrying the inventory (Cartea, Jaimungal & Penalva, 2015, section 10.2)."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import numpy as np
from gymnasium import spaces
from pydantic import Field

from qframe_rl.config import UserError
from qframe_rl.gym.chance import normal
from qframe_rl.gym.problem import Act, Curve, Problem, ProblemConfig, Theory
from qframe_rl.jit import compiled
from qframe_rl.theory.quoting import Quotes, QuotingParams, discrete, fill_probability
from qframe_rl.types import Bool, Float, Single


class Config(ProblemConfig):
    """Constants of the model in steps of time; the defaults are those of docs/solvable.md."""

    intensity: float = Field(default=140.0, gt=0.0, le=1e6)
    """Market orders on each side per unit of time, above 0 (lambda)."""
    decay: float = Field(default=1.5, gt=0.0, le=1e6)
    """How fast fills thin out with the distance of a quote, per unit of price, above 0 (kappa)."""
    horizon: float = Field(default=1.0, gt=0.0, le=1e6)
    """Length of an episode in units of time, above 0."""
    n_steps: int = Field(default=200, ge=1, le=10_000)
    """Quotes are renewed so many times in an episode."""
    running: float = Field(default=0.2, ge=0.0, le=1e6)
    """Penalty on the square of the inventory per unit of time, 0 or more (phi)."""
    terminal: float = Field(default=0.001, ge=0.0, le=1e6)
    """Penalty on the square of the final inventory, 0 or more (alpha)."""
    limit: int = Field(default=10, ge=1, le=1000)
    """Largest inventory, units; a side that would exceed it is not quoted."""
    fill_model: Literal["poisson", "linear"] = "poisson"
    """Probability of a fill in a step of length dt: poisson, 1 - exp(-rate dt), or linear, rate dt, as in the
    simulation of Avellaneda & Stoikov (2008), which earns more."""
    nearest: float = Field(default=-0.5, ge=-1e6, le=1e6)
    """Distance of a quote from the mid price that an action of -1 means."""
    farthest: float = Field(default=2.5, ge=-1e6, le=1e6)
    """Distance that an action of 1 means."""
    volatility: float = Field(default=2.0, ge=0.0, le=1e6)
    """Standard deviation of the mid price per square root of time, where rewards are sampled."""

    @property
    def terms(self) -> QuotingParams:
        """The constants as the theory takes them."""
        c = self
        return QuotingParams(
            c.intensity, c.decay, c.horizon, c.n_steps, c.running, c.terminal, c.limit, fill_model=c.fill_model
        )


# State: inventory, steps done. Parameters: orders a side in a step, decay, linear fills, penalty on the inventory in a
# step, penalty at the end, largest inventory, steps, nearest quote, span of quotes, deviation of the mid price in a
# step, sampled rewards.
@compiled
def _begin(active: Bool, draws: Float, params: Float, state: Float) -> None:
    for b in range(len(active)):
        if active[b]:
            state[b, 0] = 0.0
            state[b, 1] = 0.0


@compiled
def _move(active: Bool, actions: Float, draws: Float, params: Float, state: Float, rewards: Float, ended: Bool) -> None:
    arrivals, decay, linear, most = params[0], params[1], params[2] != 0.0, params[5]
    sampled = params[10] != 0.0
    for b in range(len(active)):
        if active[b]:
            held = state[b, 0]
            earned = -params[3] * held * held
            for side in range(2):
                step = -1.0 if side == 0 else 1.0
                if held * step < most:
                    distance = params[7] + 0.5 * (actions[b, side] + 1.0) * params[8]
                    chance = fill_probability(distance, arrivals, decay, linear)
                    filled = draws[b, side] < chance
                    earned += distance * ((1.0 if filled else 0.0) if sampled else chance)
                    if filled:
                        state[b, 0] += step
            if sampled:
                earned += state[b, 0] * params[9] * normal(draws[b, 2], draws[b, 3])
            state[b, 1] += 1.0
            ended[b] = state[b, 1] >= params[6]
            if ended[b]:
                earned -= params[4] * state[b, 0] * state[b, 0]
            rewards[b] = earned


@compiled
def _show(params: Float, state: Float, out: Single) -> None:
    for b in range(len(out)):
        out[b, 0] = state[b, 0] / params[5]
        out[b, 1] = 1.0 - state[b, 1] / params[6]


def _follow(quotes: Quotes, config: Config, observations: Single) -> Float:
    """(B, 2) actions: look the quotes up. A side that is not quoted is given the farthest."""
    c = config
    row = np.clip(np.rint((1.0 - observations[:, 1]) * c.n_steps), 0, c.n_steps - 1).astype(np.int64)
    at = np.rint(observations[:, 0] * c.limit).astype(np.int64) + c.limit
    distance = np.stack([quotes.ask[row, at], quotes.bid[row, at]], axis=1)
    return np.clip(2.0 * (distance - c.nearest) / (c.farthest - c.nearest) - 1.0, -1.0, 1.0)


def _theory(config: Config) -> Theory:
    quotes = discrete(config.terms)
    value = float(quotes.value[0, config.limit])
    return Theory(value, value, lambda: partial(_follow, quotes, config))


def _portrait(config: Config, act: Act) -> tuple[Curve, ...]:
    """Distances of both quotes against the inventory, at the start, in the middle and near the end."""
    c = config
    held = np.arange(-c.limit, c.limit + 1, dtype=np.float64)
    curves = []
    for left, when in ((1.0, "at the start"), (0.5, "half-way"), (0.05, "near the end")):
        rows = np.stack([held / c.limit, np.full_like(held, left)], axis=1).astype(np.float32)
        quoted = c.nearest + 0.5 * (np.asarray(act(rows), dtype=np.float64) + 1.0) * (c.farthest - c.nearest)
        for column, side, allowed in ((0, "ask", held > -c.limit), (1, "bid", held < c.limit)):
            y = quoted[allowed, column]
            curves.append(Curve(f"Quotes {when}", side, "inventory", "distance from the mid price", held[allowed], y))
    return tuple(curves)


def make(config: Config) -> Problem:
    """Make the problem. Observation: inventory over its limit, share of the time left; action: ask and bid.

    Raises
    ------
    UserError
        If the range of quotes is empty.
    """
    t, c = config.terms, config
    if c.farthest <= c.nearest:
        raise UserError(f"env market_making: farthest {c.farthest} must be above nearest {c.nearest}.")
    dt = t.horizon / t.n_steps
    constants = (t.arrivals, t.decay, float(t.fill_model == "linear"), t.running * dt, t.terminal, float(t.limit))
    quoting = (float(t.n_steps), c.nearest, c.farthest - c.nearest, c.volatility * math.sqrt(dt))
    return Problem(
        name="market_making",
        observation_space=spaces.Box(-1.0, 1.0, (2,), np.float32),
        action_space=spaces.Box(-1.0, 1.0, (2,), np.float32),
        params=np.array([*constants, *quoting, float(c.reward_mode == "sampled")]),
        n_state=2,
        n_draws=4,
        begin=_begin,
        move=_move,
        show=_show,
        episode_steps=None,
        score="total",
        discount=1.0,
        theory=partial(_theory, c),
        portrait=partial(_portrait, c),
    )
