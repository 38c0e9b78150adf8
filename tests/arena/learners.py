"""Small learners and fixed policies for tests of trainings among many agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from qframe_rl.agent import Log
from qframe_rl.arena.crowd import Crowd, CrowdConfig
from qframe_rl.arena.game import Game
from qframe_rl.arena.seats import BatchPolicy
from qframe_rl.arena.selfplay import RoleLearner, SelfPlay, SelfPlayPlan
from qframe_rl.config import build
from qframe_rl.runner.arena.seated import made_learner, seat_spec

SMALL = CrowdConfig(
    makers=2, takers=1, executions=0, noise=6, quoters=2, informed=0, trend=0, messages=6, episode_steps=20
)


class Quiet(Log):
    def scalar(self, name: str, value: float, step: int) -> None:
        assert np.isfinite(value), name

    def progress(self, done: int, total: int, note: str = "") -> None:
        assert 0 < done <= total


def always(*numbers: float) -> BatchPolicy:
    return lambda seen: np.tile(np.array(numbers), (len(seen), 1))


IDLE = {"maker": always(0.0, 0.0, -1.0, -1.0), "taker": always(0.0)}


def markets(config: CrowdConfig) -> Callable[[int], Game]:
    return partial(Crowd, config)


def learner(config: CrowdConfig, role: str, **params: Any) -> RoleLearner:
    from qframe_rl import catalog

    own = build(catalog.load("agents", "ppo").Config, {"hidden": (16,)} | params, "ppo")
    return made_learner("ppo", own, seat_spec(Crowd(config, 1), role, 5))


def selfplay(
    config: CrowdConfig, roles: Sequence[str], updates: int, rules: Mapping[str, BatchPolicy] | None = None,
    n: int = 4, n_steps: int = 10, **params: Any,
) -> SelfPlay:  # fmt: skip
    plan = SelfPlayPlan(n, n_steps, updates, 0.2, 2, 3)
    new = partial(learner, config, **params)
    return SelfPlay(markets(config), new, roles, rules or {}, plan, {role: Quiet() for role in roles})
