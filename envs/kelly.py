"""How much of one's wealth to bet (Kelly, 1956) or to invest (Merton, 1969)."""

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
from qframe_rl.theory.kelly import Bet, coin, gbm, gbm_returns
from qframe_rl.types import Bool, Float, Single


class Config(ProblemConfig):
    """The reward is the growth of log wealth; the defaults are those of docs/solvable.md."""

    game: Literal["coin", "gbm"] = "coin"
    """coin: a bet that is won or lost; gbm: an asset that follows geometric Brownian motion."""
    p: float = Field(default=0.6, gt=0.0, lt=1.0)
    """coin: probability of winning, in (0, 1)."""
    odds: float = Field(default=1.0, gt=0.0, le=1e6)
    """coin: gain per unit of stake, above 0; the stake is lost otherwise."""
    mu: float = Field(default=0.4, ge=-1000.0, le=1000.0)
    """gbm: drift a year; the expected price grows with exp(mu t)."""
    sigma: float = Field(default=0.8, gt=0.0, le=1e6)
    """gbm: volatility a year, above 0."""
    steps_per_year: float = Field(default=365.0, gt=0.0, le=1e6)
    """gbm: times a year that wealth is put back to the fraction chosen; growth is per year."""
    max_fraction: float | None = Field(default=None, gt=0.0, le=1e6)
    """Share of wealth that an action of 1 means, an action of -1 is none; null = 0.9 for coin, 1.5 for gbm. It must be
    so small that no return ruins."""
    episode_steps: int = Field(default=100, ge=1, le=10_000_000)
    """Bets in an episode."""

    @property
    def most(self) -> float:
        """Share of wealth that an action of 1 means."""
        return self.max_fraction if self.max_fraction is not None else 0.9 if self.game == "coin" else 1.5

    @property
    def best(self) -> Bet:
        """The optimum."""
        return coin(self.p, self.odds) if self.game == "coin" else gbm(self.mu, self.sigma, self.steps_per_year)

    def returns(self) -> tuple[Float, Float]:
        """Returns of a bet and their probabilities; of the asset, by quadrature."""
        if self.game == "coin":
            return np.array([self.odds, -1.0]), np.array([self.p, 1.0 - self.p])
        return gbm_returns(self.mu, self.sigma, self.steps_per_year)


# State: bets made. Parameters: bets, largest fraction, unit of the reward, sampled rewards, log drift and deviation of
# a step (deviation 0 = a coin), then N returns and N probabilities.
@compiled
def _begin(active: Bool, draws: Float, params: Float, state: Float) -> None:
    for b in range(len(active)):
        if active[b]:
            state[b, 0] = 0.0


@compiled
def _move(active: Bool, actions: Float, draws: Float, params: Float, state: Float, rewards: Float, ended: Bool) -> None:
    n = (len(params) - 6) // 2
    for b in range(len(active)):
        if active[b]:
            fraction = 0.5 * (actions[b, 0] + 1.0) * params[1]
            growth = 0.0
            if params[3] == 0.0:
                for k in range(n):
                    growth += params[6 + n + k] * math.log1p(fraction * params[6 + k])
            elif params[5] > 0.0:
                growth = math.log1p(fraction * math.expm1(params[4] + params[5] * normal(draws[b, 0], draws[b, 1])))
            else:
                growth = math.log1p(fraction * (params[6] if draws[b, 0] < params[6 + n] else params[7]))
            rewards[b] = params[2] * growth
            state[b, 0] += 1.0
            ended[b] = state[b, 0] >= params[0]


@compiled
def _show(params: Float, state: Float, out: Single) -> None:
    for b in range(len(out)):
        out[b, 0] = 1.0 - state[b, 0] / params[0]


def _follow(action: float, observations: Single) -> Float:
    """(B, 1) actions: the same fraction always."""
    return np.full((len(observations), 1), action)


def _theory(config: Config) -> Theory:
    fraction, growth = config.best
    return Theory(growth, growth, lambda: partial(_follow, 2.0 * fraction / config.most - 1.0))


def _portrait(config: Config, act: Act) -> tuple[Curve, ...]:
    """Fraction bet, against the share of the bets that are left."""
    left = np.linspace(1.0, 1.0 / config.episode_steps, 50)
    fraction = 0.5 * (np.asarray(act(left[:, None].astype(np.float32)), dtype=np.float64)[:, 0] + 1.0) * config.most
    return (Curve("Fraction of wealth", "", "share of the bets left", "fraction", left, fraction),)


def make(config: Config) -> Problem:
    """Make the problem. Observation: share of the bets left; action: share of wealth over the largest.

    Raises
    ------
    UserError
        If the largest fraction could ruin, or the best one lies beyond it.
    """
    c = config
    outcomes, chances = c.returns()
    if 1.0 + c.most * float(outcomes.min()) <= 0.0:
        raise UserError(f"env kelly: max_fraction {c.most} can lose everything in one step; lower it.")
    try:
        best = c.best.fraction
    except ValueError as error:
        raise UserError(f"env kelly: no fraction that no step ruins is the best one ({error}); raise sigma.") from None
    if not 0.0 <= best <= c.most:
        raise UserError(f"env kelly: the best fraction {best:.4g} is not in [0, {c.most}]; see max_fraction.")
    asset = c.game == "gbm"
    dt = 1.0 / c.steps_per_year
    walk = ((c.mu - 0.5 * c.sigma**2) * dt, c.sigma * math.sqrt(dt)) if asset else (0.0, 0.0)
    unit, sampled = c.steps_per_year if asset else 1.0, float(c.reward_mode == "sampled")
    return Problem(
        name="kelly",
        observation_space=spaces.Box(0.0, 1.0, (1,), np.float32),
        action_space=spaces.Box(-1.0, 1.0, (1,), np.float32),
        params=np.array([float(c.episode_steps), c.most, unit, sampled, *walk, *outcomes, *chances]),
        n_state=1,
        n_draws=2,
        begin=_begin,
        move=_move,
        show=_show,
        episode_steps=None,
        score="average",
        discount=1.0,
        theory=partial(_theory, c),
        portrait=partial(_portrait, c),
    )
