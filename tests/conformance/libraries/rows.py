"""What a check runs on, and how it is told: a line of JSON for each check on each environment."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
from gymnasium import spaces

import qframe_rl  # noqa: F401 (it makes the environments known)

RECIPE = {"data": "synthetic:regimes", "bars": 1500}
COINS = {"data": "synthetic:correlated", "bars": 1500}
STEPS = 40


@dataclass(frozen=True)
class Case:
    """An environment that checks run on."""

    name: str
    """Column of the table."""
    id: str
    params: dict[str, Any] = field(default_factory=dict)
    control: bool = False
    """Gymnasium's own: a check that fails here as well is the tool's own affair."""

    def make(self, **more: Any) -> gymnasium.Env[Any, Any]:
        """One environment."""
        return gymnasium.make(self.id, **self.params, **more)

    @property
    def continuous(self) -> bool:
        """Whether actions are a box."""
        return isinstance(self.make().action_space, spaces.Box)


CASES = (
    Case("Spot-v1", "QFrame/Spot-v1", {"history": RECIPE, "episode_bars": STEPS}),
    Case("Portfolio-v2", "QFrame/Portfolio-v2", {"history": COINS, "episode_bars": STEPS}),
    Case("Ar1Signal-v0", "QFrame/Ar1Signal-v0", {"episode_steps": STEPS}),
    Case("CartPole-v1", "CartPole-v1", {"max_episode_steps": STEPS}, control=True),
    Case("Pendulum-v1", "Pendulum-v1", {"max_episode_steps": STEPS}, control=True),
)
CROWD = Case("crowd", "crowd", {"makers": 2, "episode_steps": STEPS})
"""A market of many agents, which PettingZoo knows and Gymnasium does not."""
Run = Callable[[Case], object]


class Checks:
    """The checks of one tool."""

    def __init__(self, tool: str, package: str | None = None):
        self.tool, self.version = tool, importlib.metadata.version(package or tool)

    def __call__(self, what: str, run: Run, part: str = "", only: str = "", cases: Iterable[Case] = CASES) -> None:
        """Run a check, ``part`` of a row of the table, on every case or those of ``discrete`` or ``box`` actions."""
        for case in cases:
            if only and case.continuous != (only == "box"):
                continue
            why = ""
            try:
                run(case)
            except Exception as error:
                why = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                if "VERBOSE" in os.environ:
                    traceback.print_exc()
            told = {"tool": self.tool, "version": self.version, "what": what, "part": part, "case": case.name}
            print(json.dumps(told | {"control": case.control, "why": why}), flush=True)
            print(f"{self.tool} {what} {part} {case.name}: {why or 'yes'}", file=sys.stderr, flush=True)

    def each(self, what: str, runs: Iterable[tuple[str, Run]], only: str = "") -> None:
        """Run the parts of one row."""
        for part, run in runs:
            self(what, run, part, only)


def walk(env: gymnasium.Env[Any, Any], steps: int = 2 * STEPS + 5) -> None:
    """Act at random over the ends of episodes; raises AssertionError for what is outside the space."""
    env.action_space.seed(0)
    row, _ = env.reset(seed=0)
    for _ in range(steps):
        assert env.observation_space.contains(row), f"{row!r} is not in {env.observation_space}"
        row, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            row, _ = env.reset()
    env.close()
