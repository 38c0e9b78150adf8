"""A market of many agents as PettingZoo wants it."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from qframe_rl.arena.game import ActionSpace, Game
from qframe_rl.config import UserError
from qframe_rl.types import Single


class ParallelGame(ParallelEnv[str, Any, Any]):  # type: ignore[misc]
    """One market: the bits of a batch's market with the same seed.

    Agents are named by role and number, such as ``maker_0``. All are there until the last step, which ends the episode
    of all or cuts it off. What is handed out is the caller's own.

    Parameters
    ----------
    name
        Of the market, in the catalogue.
    game
        It, a batch of one.
    """

    metadata: dict[str, Any] = {"render_modes": [], "is_parallelizable": True}  # noqa: RUF012

    def __init__(self, name: str, game: Game):
        self.metadata = {**type(self).metadata, "name": f"{name}_v0"}
        self.game = game
        self.possible_agents = list(game.names)
        self.agents: list[str] = []
        self.render_mode = None
        self.observation_spaces = {
            name: spaces.Box(space.low, space.high, space.shape, np.float32)
            for name in self.possible_agents for space in [game.observation_space]
        }  # fmt: skip
        self.action_spaces = {name: game.action_space(i) for i, name in enumerate(self.possible_agents)}
        self._everyone, self._seeded = np.ones(1, np.bool_), False

    def observation_space(self, agent: str) -> spaces.Box:
        """Of an agent; always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> ActionSpace:
        """Of an agent; always the same object."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Single], dict[str, dict[str, Any]]]:
        """Begin an episode.

        Parameters
        ----------
        seed
            Of this and of later episodes; None = go on with the one of before.
        options
            Of none is anything made: PettingZoo's own test gives some.
        """
        if seed is None and not self._seeded:
            seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        if seed is not None:
            self.game.seed_with(seed)
            self._seeded = True
        self.game.reset(self._everyone)
        self.agents = list(self.possible_agents)
        return self._seen(), {name: {} for name in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[
        dict[str, Single], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]
    ]:  # fmt: skip
        """Let all agents act.

        Raises
        ------
        ValueError
            If an agent's action lacks, has another shape, or is outside its space; nothing has moved then.
        UserError
            If no episode is under way.
        """
        if not self.agents:
            raise UserError("no episode is under way: reset() first.")
        if set(actions) != set(self.agents):
            raise ValueError(f"actions of {sorted(actions)}, but {self.agents} are to act")
        chosen = np.zeros((1, *self.game.mask.shape))
        for i, name in enumerate(self.agents):
            action, shape = np.asarray(actions[name], dtype=np.float64), self.action_spaces[name].shape
            if action.shape != shape:
                raise ValueError(f"the action of {name} has shape {action.shape}, not {shape}")
            chosen[0, i, : action.size] = action
        rewards, over = self.game.step(chosen, self._everyone)
        there, ended = self.agents, bool(over[0])
        if ended:
            self.agents = []
        terminal = self.game.terminates
        return (
            self._seen(), {name: float(rewards[0, i]) for i, name in enumerate(there)},
            dict.fromkeys(there, ended and terminal), dict.fromkeys(there, ended and not terminal),
            {name: {} for name in there},
        )  # fmt: skip

    def state(self) -> Single:
        """(N n,) what all see, agent after agent."""
        return self.game.observe().ravel()

    def _seen(self) -> dict[str, Single]:
        seen = self.game.observe()[0]
        return {name: seen[i].copy() for i, name in enumerate(self.possible_agents)}
