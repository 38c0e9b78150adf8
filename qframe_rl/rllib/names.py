"""The algorithms by name; nothing heavy is imported here."""

from __future__ import annotations

from typing import Literal, get_args

Algorithm = Literal["ppo", "sac", "dqn"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
REPLAYS: tuple[Algorithm, ...] = ("sac", "dqn")
"""Those that learn from a buffer, and step their environments once between updates."""
ACTIVATION: dict[Algorithm, str] = {"ppo": "tanh", "sac": "relu", "dqn": "relu"}
POLICY = "default_policy"
"""RLlib's name of the one policy of a single agent."""
