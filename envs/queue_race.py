"""Two queues at the best prices: the one that is empty first says where the price goes (Cont & de Larrard, 2013)."""

from __future__ import annotations

from functools import partial

import numpy as np
from gymnasium import spaces
from pydantic import Field

from qframe_rl.gym.problem import Act, Curve, Problem, ProblemConfig, Theory
from qframe_rl.jit import compiled, inlined
from qframe_rl.theory.queues import Race, race
from qframe_rl.theory.switching import expected_total, switching
from qframe_rl.types import Bool, Float, Int, Single


class Config(ProblemConfig):
    """A step is one event: a lot joins one of the two queues or leaves it, each with even chances.

    Where a queue is empty the price moves by a tick, and both begin anew.
    """

    fresh: int = Field(default=5, ge=1, le=50)
    """Longest queue that begins anew, lots; all up to it are as likely."""
    longest: int = Field(default=10, ge=2, le=50)
    """Lots beyond which nobody joins a queue; at least ``fresh``."""
    cost: float = Field(default=0.1, ge=0.0, le=1e6)
    """Cost of one unit of turnover, ticks."""
    episode_steps: int = Field(default=200, ge=1, le=10_000_000)
    """Events after which an episode is cut off."""

    @property
    def lots(self) -> int:
        """Longest queue that there can be."""
        return max(self.longest, self.fresh)


@inlined
def _fresh(draws: Float, first: int, params: Float, state: Float, b: int) -> None:
    for side in range(2):
        state[b, 1 + side] = 1.0 + min(np.floor(draws[b, first + side] * params[0]), params[0] - 1.0)


# State: position, lots at the bid and at the ask, ticks that the price has moved. Parameters: longest fresh queue,
# longest queue, cost, sampled rewards.
@compiled
def _begin(active: Bool, draws: Float, params: Float, state: Float) -> None:
    for b in range(len(active)):
        if active[b]:
            state[b, 0] = state[b, 3] = 0.0
            _fresh(draws, 1, params, state, b)


@compiled
def _move(active: Bool, actions: Float, draws: Float, params: Float, state: Float, rewards: Float, ended: Bool) -> None:
    for b in range(len(active)):
        if active[b]:
            held = actions[b, 0] - 1.0
            expected = (0.25 if state[b, 2] == 1.0 else 0.0) - (0.25 if state[b, 1] == 1.0 else 0.0)
            event = min(int(4.0 * draws[b, 0]), 3)
            side, joins = event >> 1, (event & 1) == 0
            moved = 0.0
            if joins:
                state[b, 1 + side] = min(state[b, 1 + side] + 1.0, params[1])
            else:
                state[b, 1 + side] -= 1.0
                if state[b, 1 + side] == 0.0:
                    moved = 1.0 if side == 1 else -1.0
                    _fresh(draws, 1, params, state, b)
            rewards[b] = held * (moved if params[3] != 0.0 else expected) - params[2] * abs(held - state[b, 0])
            state[b, 0] = held
            state[b, 3] += moved


@compiled
def _show(params: Float, state: Float, out: Single) -> None:
    for b in range(len(out)):
        out[b, 0] = state[b, 0]
        out[b, 1] = 1.0 / state[b, 1]
        out[b, 2] = 1.0 / state[b, 2]


def _follow(best: Int, lots: int, observations: Single) -> Int:
    """(B,) actions: look the queues up."""
    held = np.rint(observations[:, 0]).astype(np.int64)
    bid, ask = np.rint(1.0 / observations[:, 1:]).astype(np.int64).T
    return np.asarray(best[held + 1, (bid - 1) * lots + ask - 1])


def _theory(config: Config) -> Theory:
    c, found = config, _race(config)
    policy = switching(found.drift, found.move, c.cost)
    total = expected_total(policy, found.drift, found.move, c.cost, found.fresh, c.episode_steps)
    return Theory(policy.growth, total / c.episode_steps, lambda: partial(_follow, policy.best, c.lots))


def _race(config: Config) -> Race:
    return race(config.lots, config.fresh)


def _portrait(config: Config, act: Act) -> tuple[Curve, ...]:
    """Position chosen against the lots at the ask, with a middling queue at the bid, for each position held."""
    ask, bid = np.arange(1.0, config.lots + 1.0), float(max(config.lots // 3, 1))
    curves = []
    for held, name in ((-1.0, "short"), (0.0, "flat"), (1.0, "long")):
        rows = np.stack([np.full_like(ask, held), np.full_like(ask, 1.0 / bid), 1.0 / ask], axis=1)
        chosen = np.asarray(act(rows.astype(np.float32)), dtype=np.float64) - 1.0
        title = f"Held: {name}; {bid:.0f} lots at the bid"
        curves.append(Curve(title, "", "lots at the ask", "position chosen", ask, chosen))
    return tuple(curves)


def make(config: Config) -> Problem:
    """Make the problem. Observation: position, and one over the lots of bid and ask; action: short, flat or long."""
    c = config
    return Problem(
        name="queue_race",
        observation_space=spaces.Box(-1.0, 1.0, (3,), np.float32),
        action_space=spaces.Discrete(3),
        params=np.array([float(c.fresh), float(c.lots), c.cost, float(c.reward_mode == "sampled")]),
        n_state=4,
        n_draws=3,
        begin=_begin,
        move=_move,
        show=_show,
        episode_steps=c.episode_steps,
        score="average",
        discount=1.0,
        theory=partial(_theory, c),
        portrait=partial(_portrait, c),
    )
