"""A signal that at times means the opposite of what it says: strategies for either case must be told apart.

The AR(1) signal with linear cost of `envs.ar1_signal`, whose drift is s f with a hidden regime s = ±1. The best
policies for s = 1 and s = -1 are each other's mirror; routers between strategies are measured by it.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from gymnasium import spaces
from pydantic import Field

from qframe_rl.gym.chance import normal
from qframe_rl.gym.problem import Act, Curve, Problem, ProblemConfig, Theory
from qframe_rl.jit import compiled
from qframe_rl.theory import switching, turning
from qframe_rl.theory.switching import POSITIONS
from qframe_rl.types import Bool, Float, Int, Single

BOUND = 10.0
_PORTRAIT_SEED, _PORTRAIT_STEPS = 5, 200


class Config(ProblemConfig):
    """Rewards are in units of the expected return at a signal of one; the defaults are those of docs/solvable.md."""

    shown: bool = False
    """Whether a policy sees the regime instead of the last return."""
    phi: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Autocorrelation of the signal from step to step, in [0, 1); its standard deviation is 1."""
    cost: float = Field(default=1.0, ge=0.0, le=1e6)
    """Cost of one unit of turnover, in expected returns at a signal of one, 0 or more."""
    noise: float = Field(default=2.0, ge=0.2, le=1e6)
    """Standard deviation of a return around its expectation, in the same unit: more hides the regime longer."""
    turn: float = Field(default=1.0 / 600.0, ge=1e-6, le=0.4)
    """Probability that the regime 1 turns to -1 in a step."""
    back: float = Field(default=1.0 / 300.0, ge=1e-6, le=0.4)
    """Probability that it turns back."""
    episode_steps: int = Field(default=200, ge=1, le=10_000_000)
    """Steps after which an episode is cut off."""

    @property
    def constants(self) -> turning.Turning:
        """As the theory takes them."""
        return turning.Turning(self.phi, self.cost, self.noise, self.turn, self.back)


# State: position, signal, regime of the coming step, last return, belief that the coming step's regime is 1.
# Parameters: phi, cost, noise, turn, back, shown, sampled rewards.
@compiled
def _begin(active: Bool, draws: Float, params: Float, state: Float) -> None:
    usual = params[4] / (params[3] + params[4])
    for b in range(len(active)):
        if active[b]:
            state[b, 0] = 0.0
            state[b, 1] = normal(draws[b, 0], draws[b, 1])
            state[b, 2] = 1.0 if draws[b, 4] < usual else -1.0
            state[b, 3] = 0.0
            state[b, 4] = usual


@compiled
def _move(active: Bool, actions: Float, draws: Float, params: Float, state: Float, rewards: Float, ended: Bool) -> None:
    phi, cost, noise, turn, back = params[0], params[1], params[2], params[3], params[4]
    shown, sampled = params[5] != 0.0, params[6] != 0.0
    shock = math.sqrt(1.0 - phi * phi)
    for b in range(len(active)):
        if active[b]:
            held, signal, regime, belief = actions[b, 0] - 1.0, state[b, 1], state[b, 2], state[b, 4]
            seen = regime * signal + noise * normal(draws[b, 2], draws[b, 3])
            expected = signal * (regime if shown else 2.0 * belief - 1.0)
            rewards[b] = held * (seen if sampled else expected) - cost * abs(held - state[b, 0])
            against = (1.0 - belief) / belief * math.exp(-2.0 * signal * seen / (noise * noise))
            after = 1.0 / (1.0 + against)
            state[b, 0] = held
            state[b, 1] = phi * signal + shock * normal(draws[b, 0], draws[b, 1])
            state[b, 2] = -regime if draws[b, 4] < (turn if regime > 0.0 else back) else regime
            state[b, 3] = seen
            state[b, 4] = after * (1.0 - turn) + (1.0 - after) * back


@compiled
def _show(params: Float, state: Float, out: Single) -> None:
    for b in range(len(out)):
        out[b, 0] = state[b, 0]
        out[b, 1] = min(max(state[b, 1], -BOUND), BOUND)
        out[b, 2] = state[b, 2] if params[5] != 0.0 else min(max(state[b, 3] / params[2], -BOUND), BOUND)


def _near(grid: Float, x: Float | Single) -> Int:
    """Index of the grid's nearest number; the grid is even."""
    place = np.rint((x - grid[0]) / (grid[1] - grid[0]))
    return np.asarray(np.clip(place, 0, len(grid) - 1), dtype=np.int64)


def _held(observations: Single) -> Int:
    return np.rint(observations[:, 0]).astype(np.int64) + 1


def _follow(found: turning.Told, observations: Single) -> Int:
    """(B,) actions where the regime is seen."""
    regime = (observations[:, 2] > 0.0).astype(np.int64)
    return np.asarray(found.best[_held(observations), regime, _near(found.signal, observations[:, 1])])


class _Filter:
    """The optimal policy where the regime is hidden: it carries each episode's belief on."""

    def __init__(self, constants: turning.Turning, found: turning.Believing):
        self.constants, self.found = constants, found
        self.odds = turning.logit(found.belief)
        self.belief: Float | None = None
        self.signal: Float = np.empty(0)

    def __call__(self, observations: Single) -> Int:
        """(B,) actions; the first call of all shows no return yet."""
        if self.belief is None:
            self.belief = np.full(len(observations), self.constants.usual)
        else:
            returns = observations[:, 2].astype(np.float64) * self.constants.noise
            self.belief = turning.next_belief(self.belief, self.signal, returns, self.constants)
        self.signal = observations[:, 1].astype(np.float64)
        at = _near(self.odds, turning.logit(self.belief)), _near(self.found.signal, self.signal)
        return np.asarray(self.found.best[_held(observations), *at])


def _theory(config: Config) -> Theory:
    p, steps = config.constants, config.episode_steps
    if config.shown:
        seen = turning.told(p)
        weight = np.exp(-0.5 * seen.signal**2)
        start = np.concatenate([(1.0 - p.usual) * weight, p.usual * weight]) / weight.sum()
        drift = np.concatenate([-seen.signal, seen.signal])
        total = switching.expected_total(seen.policy, drift, seen.move, p.cost, start, steps)
        return Theory(seen.growth, total / steps, lambda: partial(_follow, seen))
    found = turning.hidden(p)
    return Theory(found.growth, turning.expected_total(p, found, steps) / steps, partial(_Filter, p, found))


def _portrait(config: Config, act: Act) -> tuple[Curve, ...]:
    """What is held through one episode, beside the side that the signal takes; the same episode for every policy."""
    steps = min(_PORTRAIT_STEPS, config.episode_steps)
    states, actions = make(config).one_episode(act, steps, _PORTRAIT_SEED)
    drifts, held = np.clip(states[:, 1] * states[:, 2], -1.0, 1.0), POSITIONS[actions]
    x = np.arange(steps, dtype=np.float64)
    return (
        Curve("One episode", "expected return", "step", "position held", x, drifts, given=True),
        Curve("One episode", "", "step", "position held", x, held),
    )


def make(config: Config) -> Problem:
    """Make the problem. Observation: position, signal, and last return in units of its noise, or the regime.

    Action: 0, 1 or 2 for short, flat or long.
    """
    c = config
    flags = float(c.shown), float(c.reward_mode == "sampled")
    return Problem(
        name="turning_signal",
        observation_space=spaces.Box(-BOUND, BOUND, (3,), np.float32),
        action_space=spaces.Discrete(3),
        params=np.array([c.phi, c.cost, c.noise, c.turn, c.back, *flags]),
        n_state=5,
        n_draws=5,
        begin=_begin,
        move=_move,
        show=_show,
        episode_steps=c.episode_steps,
        score="average",
        discount=1.0,
        theory=partial(_theory, c),
        portrait=partial(_portrait, c),
    )
