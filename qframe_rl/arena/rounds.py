"""Markets of many agents that are a few compiled functions over numbers: those whose equilibrium is known.

As `qframe_rl.gym.problem` is to one agent: seeds, episodes, snapshots and refusals are here, the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qframe_rl.arena.game import ActionSpace, check_markets, checked, space_of
from qframe_rl.config import UserError
from qframe_rl.gym.chance import draw
from qframe_rl.gym.lanes import Lanes
from qframe_rl.interface import BOUND
from qframe_rl.types import Bool, Float, Int, Single

Opening = Callable[[Bool, Float, Float, Float], None]
"""``begin(active (B,), draws (B, D), params, state (B, S))`` starts the active episodes."""
Turn = Callable[[Bool, Int, Float, Float, Float, Float, Float], None]
"""``move(active, clock (B,), actions (B, N, K), draws, params, state, rewards (B, N))`` takes them a step on; the clock
is the number of the step that is made, from 0."""
Showing = Callable[[Int, Float, Float, Single], None]
"""``show(clock (B,), params, state, out (B, N, n))`` writes what agents see before step ``clock``."""


@dataclass(frozen=True)
class RoundRules:
    """What happens in a market, and who is there."""

    role_names: tuple[str, ...]
    counts: tuple[int, ...]
    """Agents of each role."""
    numbers: tuple[int, ...]
    """Directions of each role's action; 1 for a choice."""
    choices: tuple[int, ...]
    """Of how many each role chooses one; 0 = it acts by numbers."""
    turns: tuple[tuple[bool, ...], ...]
    """Which roles act in each step; after the last row comes the first one again."""
    n_seen: int
    params: Float
    """(P,) numbers that the functions below are handed."""
    n_state: int
    """S."""
    n_draws: int
    """D: uniform numbers that a step, or a beginning, may use."""
    begin: Opening
    move: Turn
    show: Showing
    episode_steps: int


class Rounds(Lanes):
    """B markets of such rules; see `qframe_rl.arena.game.Game`, which it is.

    Parameters
    ----------
    rules
        What happens.
    n_markets
        B.

    Raises
    ------
    UserError
        For fewer markets than one.
    """

    terminates = True

    def __init__(self, rules: RoundRules, n_markets: int):
        check_markets(n_markets)
        self.rules, self.n_markets = rules, n_markets
        self.role_names = rules.role_names
        self.roles = np.repeat(np.arange(len(rules.counts)), rules.counts)
        self.n_agents = len(self.roles)
        self.names = tuple(
            f"{role}_{k}" for role, n in zip(rules.role_names, rules.counts, strict=True) for k in range(n)
        )
        self.choices = np.array(rules.choices, np.int64)[self.roles]
        self.mask = np.arange(max(rules.numbers)) < np.array(rules.numbers)[self.roles][:, None]
        self.observation_space = spaces.Box(-BOUND, BOUND, (rules.n_seen,), np.float32)
        self._turns = np.array(rules.turns, np.bool_)[:, self.roles]
        self.state = np.zeros((n_markets, rules.n_state))
        self.seed, self.episode = np.zeros(n_markets, np.uint64), np.zeros(n_markets, np.uint64)
        self.clock = np.zeros(n_markets, np.int64)
        """(B,) steps since the episode began."""
        self._draws = np.zeros((n_markets, rules.n_draws))

    @property
    def acting(self) -> Bool:
        """(B, N) whose action the next step looks at."""
        found: Bool = self._turns[self.clock % len(self._turns)]
        return found

    def action_space(self, agent: int) -> ActionSpace:
        """A new space of one agent."""
        return space_of(int(self.choices[agent]), int(self.mask[agent].sum()))

    def reset(self, mask: Bool) -> None:
        """Begin a new episode in the masked (B,) markets."""
        self.episode[mask] += np.uint64(1)
        self.clock[mask] = 0
        draw(mask, self.seed, self.episode, self.clock, self._draws)
        self.rules.begin(mask, self._draws, self.rules.params, self.state)

    def observe(self) -> Single:
        """(B, N, n) what agents see, in a fresh array."""
        out = np.zeros((self.n_markets, self.n_agents, self.rules.n_seen), np.float32)
        self.rules.show(self.clock, self.rules.params, self.state, out)
        return np.clip(out, -BOUND, BOUND, out=out)

    def step(self, actions: NDArray[Any], active: Bool) -> tuple[Float, Bool]:
        """Take the active markets a step on; raises as `qframe_rl.arena.game.Game.step`."""
        chosen = checked(self, actions, active)
        if (active & ((self.episode == 0) | (self.clock >= self.rules.episode_steps))).any():
            raise UserError("an episode is over, or was never begun: reset(mask) first.")
        draw(active, self.seed, self.episode, self.clock + 1, self._draws)
        rewards = np.zeros((self.n_markets, self.n_agents))
        self.rules.move(active, self.clock, chosen, self._draws, self.rules.params, self.state, rewards)
        np.add(self.clock, 1, out=self.clock, where=active)
        return rewards, active & (self.clock >= self.rules.episode_steps)

    def _kept(self) -> dict[str, NDArray[Any]]:
        return {"state": self.state, "seed": self.seed, "episode": self.episode, "clock": self.clock}

    def _market(self) -> tuple[object, ...]:
        return (self.rules,)
