"""Selling a block by a deadline: fast is dear, slow is risky (Almgren & Chriss, 2000)."""

from __future__ import annotations

from functools import partial

import numpy as np
from gymnasium import spaces
from pydantic import Field

from qframe_rl.gym.chance import normal
from qframe_rl.gym.problem import Act, Curve, Problem, ProblemConfig, Theory
from qframe_rl.jit import compiled
from qframe_rl.theory.execution import ExecutionParams, cost, schedule
from qframe_rl.types import Bool, Float, Single


class Config(ProblemConfig):
    """Constants of the model; the defaults are those of the paper (section 4) and of docs/solvable.md."""

    shares: float = Field(default=1e6, gt=0.0, le=1e15)
    """Shares to sell, above 0."""
    days: float = Field(default=5.0, gt=0.0, le=1e6)
    """Days to the deadline, above 0."""
    n_steps: int = Field(default=5, ge=1, le=10_000)
    """Trades, equally spaced; the last one sells what is left."""
    volatility: float = Field(default=0.95, ge=0.0, le=1e6)
    """Standard deviation of the price, quote currency per share and square root of a day."""
    temporary: float = Field(default=2.5e-6, gt=0.0, le=1e6)
    """Temporary impact, quote currency per share for each share a day, above 0 (eta)."""
    permanent: float = Field(default=2.5e-7, ge=0.0, le=1e6)
    """Permanent impact, quote currency per share for each share sold, 0 or more (gamma). It costs the same however the
    shares are sold, but what it gives back within a step lowers the temporary impact."""
    aversion: float = Field(default=1e-6, ge=0.0, le=1e6)
    """Weight of the variance of the cost, per unit of quote currency, 0 or more (lambda)."""

    @property
    def terms(self) -> ExecutionParams:
        """The constants as the theory takes them; the half-spread costs the same for every schedule and is left out."""
        return ExecutionParams(
            self.shares, self.days, self.n_steps, self.volatility, self.temporary, self.permanent, 0.0, self.aversion
        )


# State: share of the block that is left, trades done. Parameters: trades, cost of selling the whole block in one trade,
# penalty on holding it all through a step, money at stake in a step (0 = the reward is its expectation).
@compiled
def _begin(active: Bool, draws: Float, params: Float, state: Float) -> None:
    for b in range(len(active)):
        if active[b]:
            state[b, 0] = 1.0
            state[b, 1] = 0.0


@compiled
def _move(active: Bool, actions: Float, draws: Float, params: Float, state: Float, rewards: Float, ended: Bool) -> None:
    for b in range(len(active)):
        if active[b]:
            last = state[b, 1] + 1.0 >= params[0]
            sold = state[b, 0] * (1.0 if last else 0.5 * (actions[b, 0] + 1.0))
            held = state[b, 0] - sold
            rewards[b] = -params[1] * sold * sold - params[2] * held * held
            if params[3] > 0.0:
                rewards[b] += params[3] * held * normal(draws[b, 0], draws[b, 1])
            state[b, 0] = held
            state[b, 1] += 1.0
            ended[b] = last


@compiled
def _show(params: Float, state: Float, out: Single) -> None:
    for b in range(len(out)):
        out[b, 0] = state[b, 0]
        out[b, 1] = 1.0 - state[b, 1] / params[0]


def _follow(fractions: Float, observations: Single) -> Float:
    """(B, 1) actions: sell the schedule's share of what is left."""
    n = len(fractions)
    done = np.clip(np.rint((1.0 - observations[:, 1]) * n), 0, n - 1).astype(np.int64)
    return np.asarray(2.0 * fractions[done] - 1.0)[:, None]


def _theory(config: Config) -> Theory:
    held = schedule(config.terms)
    fractions = (held[:-1] - held[1:]) / held[:-1]
    value = -cost(config.terms, held).core
    return Theory(value, value, lambda: partial(_follow, fractions))


def _portrait(config: Config, act: Act) -> tuple[Curve, ...]:
    """Share of the block that is left against time, and the share of it that is sold next."""
    left, held, sold = 1.0, [1.0], []
    n = config.n_steps
    for k in range(n):
        row = np.array([[left, 1.0 - k / n]], dtype=np.float32)
        share = 1.0 if k == n - 1 else 0.5 * (float(np.asarray(act(row)).ravel()[0]) + 1.0)
        sold.append(share)
        left *= 1.0 - share
        held.append(left)
    days = config.terms.tau * np.arange(n + 1, dtype=np.float64)
    return (
        Curve("Shares left", "", "days", "share of the block", days, np.array(held)),
        Curve("Sold in the next trade", "", "days", "share of what is left", days[:-1], np.array(sold)),
    )


def make(config: Config) -> Problem:
    """Make the problem. Observation: share of the block and of the time left; action: share of the rest to sell.

    An action of -1 sells nothing, 1 everything. Rewards are quote currency: what a schedule can save, that is without
    the half-spread and the permanent impact that every schedule pays.
    """
    t = config.terms
    at_stake = t.volatility * t.tau**0.5 * t.shares
    whole = t.eta * t.shares**2 / t.tau
    noise = 0.0 if config.reward_mode == "expected" else at_stake
    return Problem(
        name="execution",
        observation_space=spaces.Box(0.0, 1.0, (2,), np.float32),
        action_space=spaces.Box(-1.0, 1.0, (1,), np.float32),
        params=np.array([t.n_steps, whole, t.aversion * at_stake**2, noise]),
        n_state=2,
        n_draws=2,
        begin=_begin,
        move=_move,
        show=_show,
        episode_steps=None,
        score="total",
        discount=1.0,
        theory=partial(_theory, config),
        portrait=partial(_portrait, config),
    )
