"""A drift that switches between up and down: seen, or to be inferred from returns (Hamilton, 1989)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field

from qframe_rl.gym.chance import normal
from qframe_rl.gym.problem import Act, Curve, Problem, ProblemConfig, Theory
from qframe_rl.jit import compiled
from qframe_rl.theory.regime import SUREST, hidden, next_belief, observed
from qframe_rl.theory.switching import POSITIONS, Switching, expected_total
from qframe_rl.types import Bool, Float, Int, Single

BOUND = 10.0
_PORTRAIT_SEED, _PORTRAIT_STEPS = 5, 150


class Config(ProblemConfig):
    """Returns are ``drift s + noise z`` with s = ±1; the defaults are those of docs/solvable.md."""

    hidden: bool = False
    """Whether a policy sees the last return instead of the regime."""
    stay: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Probability that the regime stays for another step, in (0.5, 1)."""
    drift: float | None = Field(default=None, gt=0.0, le=1e6)
    """Expected return in the up regime, above 0; null = 1, or 0.5 where the regime is hidden."""
    noise: float = Field(default=1.0, gt=0.0, le=1e6)
    """Standard deviation of a return around its expectation, above 0. Where the regime is seen it matters to sampled
    rewards alone."""
    cost: float | None = Field(default=None, ge=0.0, le=1e6)
    """Cost of one unit of turnover, in the unit of returns, 0 or more; null = 2, or 0.5 where the regime is hidden."""
    episode_steps: int | None = Field(default=None, ge=1, le=10_000_000)
    """Steps after which an episode is cut off; null = 100, or 200 where the regime is hidden."""

    @property
    def m(self) -> float:
        """Expected return in the up regime."""
        return self.drift if self.drift is not None else 0.5 if self.hidden else 1.0

    @property
    def fee(self) -> float:
        """Cost of one unit of turnover."""
        return self.cost if self.cost is not None else 0.5 if self.hidden else 2.0

    @property
    def steps(self) -> int:
        """Length of an episode."""
        return self.episode_steps if self.episode_steps is not None else 200 if self.hidden else 100


# State: position, regime of the coming step, last return, belief that the coming step's regime is up. Parameters: stay,
# drift, noise, cost, hidden, sampled rewards.
@compiled
def _begin(active: Bool, draws: Float, params: Float, state: Float) -> None:
    for b in range(len(active)):
        if active[b]:
            state[b, 0] = 0.0
            state[b, 1] = 1.0 if draws[b, 0] < 0.5 else -1.0
            state[b, 2] = 0.0
            state[b, 3] = 0.5


@compiled
def _move(active: Bool, actions: Float, draws: Float, params: Float, state: Float, rewards: Float, ended: Bool) -> None:
    stay, drift, noise, cost, unseen, sampled = params[0], params[1], params[2], params[3], params[4], params[5]
    for b in range(len(active)):
        if active[b]:
            held = actions[b, 0] - 1.0
            regime = state[b, 1]
            seen = drift * regime + noise * normal(draws[b, 1], draws[b, 2])
            expected = drift * (2.0 * state[b, 3] - 1.0) if unseen != 0.0 else drift * regime
            rewards[b] = held * (seen if sampled != 0.0 else expected) - cost * abs(held - state[b, 0])
            state[b, 0] = held
            state[b, 1] = regime if draws[b, 0] < stay else -regime
            state[b, 2] = seen
            shift = min(max(2.0 * drift * seen / (noise * noise), -SUREST), SUREST)
            odds = state[b, 3] / (1.0 - state[b, 3]) * np.exp(shift)
            state[b, 3] = (1.0 - stay) + (2.0 * stay - 1.0) * odds / (1.0 + odds)


@compiled
def _show(params: Float, state: Float, out: Single) -> None:
    for b in range(len(out)):
        out[b, 0] = state[b, 0]
        out[b, 1] = min(max(state[b, 2] / params[2], -BOUND), BOUND) if params[4] != 0.0 else state[b, 1]


def _follow(best: Int, observations: Single) -> Int:
    """(B,) actions where the regime is seen."""
    return best[_held(observations), (observations[:, 1] > 0.0).astype(np.int64)]


class _Filter:
    """The optimal policy where the regime is hidden: it carries the belief of each episode on."""

    def __init__(self, config: Config, belief: Float, policy: Switching):
        self.config, self.grid, self.policy = config, belief, policy
        self.belief: Float | None = None

    def __call__(self, observations: Single) -> NDArray[Any]:
        """(B,) actions; the first call of all shows no return yet."""
        c = self.config
        if self.belief is None:
            self.belief = np.full(len(observations), 0.5)
        else:
            returns = observations[:, 1].astype(np.float64) * c.noise
            self.belief = next_belief(self.belief, returns, c.stay, c.m, c.noise)
        n, low, high = len(self.grid), 1.0 - c.stay, c.stay
        cell = np.clip((n * (self.belief - low) / (high - low)).astype(np.int64), 0, n - 1)
        return self.policy.best[_held(observations), cell]


def _held(observations: Single) -> Int:
    """(B,) index of the position held."""
    return np.rint(observations[:, 0]).astype(np.int64) + 1


def _theory(config: Config) -> Theory:
    c = config
    if not c.hidden:
        best = observed(c.stay, c.m, c.fee)
        move = np.array([[c.stay, 1.0 - c.stay], [1.0 - c.stay, c.stay]])
        total = expected_total(best, c.m * np.array([-1.0, 1.0]), move, c.fee, np.array([0.5, 0.5]), c.steps)
        return Theory(best.growth, total / c.steps, lambda: partial(_follow, best.best))
    found = hidden(c.stay, c.m, c.noise, c.fee)
    start = np.zeros(len(found.belief))
    start[[len(start) // 2 - 1, len(start) // 2]] = 0.5
    total = expected_total(found.policy, c.m * (2.0 * found.belief - 1.0), found.move, c.fee, start, c.steps)
    return Theory(found.growth, total / c.steps, partial(_Filter, c, found.belief, found.policy))


def _portrait(config: Config, act: Act) -> tuple[Curve, ...]:
    """What is held through one episode, beside the regime that was in force; the same episode for every policy."""
    steps = min(_PORTRAIT_STEPS, config.steps)
    states, actions = make(config).one_episode(act, steps, _PORTRAIT_SEED)
    regimes, held = states[:, 1], POSITIONS[actions]
    x = np.arange(steps, dtype=np.float64)
    return (
        Curve("One episode", "regime", "step", "position held", x, regimes, given=True),
        Curve("One episode", "", "step", "position held", x, held),
    )


def make(config: Config) -> Problem:
    """Make the problem. Observation: position, and regime or last return in units of its noise.

    Action: 0, 1 or 2 for short, flat or long.
    """
    c = config
    sampled = float(c.reward_mode == "sampled")
    return Problem(
        name="regime",
        observation_space=spaces.Box(-BOUND, BOUND, (2,), np.float32),
        action_space=spaces.Discrete(3),
        params=np.array([c.stay, c.m, c.noise, c.fee, float(c.hidden), sampled]),
        n_state=4,
        n_draws=3,
        begin=_begin,
        move=_move,
        show=_show,
        episode_steps=c.steps,
        score="average",
        discount=1.0,
        theory=partial(_theory, c),
        portrait=partial(_portrait, c),
    )
