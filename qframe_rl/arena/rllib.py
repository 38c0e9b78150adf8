"""A market of many agents as RLlib's ``MultiAgentEnv``; needs ``pip install 'qframe-rl[rllib,arena]'``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from ray.rllib.env.multi_agent_env import MultiAgentEnv

from qframe_rl.arena.game import make_game
from qframe_rl.arena.parallel import ParallelGame
from qframe_rl.config import UserError

_ALL = "__all__"


class RllibGame(MultiAgentEnv):
    """One market: what `qframe_rl.arena.parallel.ParallelGame` with the same seed lives through.

    Parameters
    ----------
    config
        ``name`` of the market in the catalogue, and fields of its ``Config``: RLlib's ``env_config``.

    Raises
    ------
    UserError
        If there is no name, or for a setting that there is not.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()  # type: ignore[no-untyped-call]
        settings = dict(config)
        if "name" not in settings:
            raise UserError("env_config: which market of many agents? Give its name, such as crowd.")
        name = str(settings.pop("name"))
        self.game = ParallelGame(name, make_game(name, 1, settings))
        self.possible_agents = list(self.game.possible_agents)
        self.agents = list(self.possible_agents)
        seen: Any = self.game.observation_spaces
        done: Any = self.game.action_spaces
        self.observation_spaces, self.action_spaces = dict(seen), dict(done)

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; the seed is of this and of later ones."""
        seen, infos = self.game.reset(seed, options)
        self.agents = list(self.possible_agents)
        return seen, infos

    def step(  # type: ignore[override]
        self, action_dict: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Let all agents act.

        Raises
        ------
        ValueError
            As of `qframe_rl.arena.parallel.ParallelGame.step`.
        """
        seen, rewards, terminated, truncated, infos = self.game.step(action_dict)
        return (
            seen, rewards, terminated | {_ALL: all(terminated.values())}, truncated | {_ALL: all(truncated.values())},
            infos,
        )  # fmt: skip


def role_of(agent: str, *_: Any, **__: Any) -> str:
    """Role of an agent by its name: RLlib's ``policy_mapping_fn`` that shares a policy within each role."""
    return agent.rpartition("_")[0]
