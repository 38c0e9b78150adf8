"""Learning from recorded steps: gradient steps a second, and what is reached from a policy worth 60 %."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from qframe_rl import catalog
from qframe_rl.agent import Transitions
from qframe_rl.bench.measure import BenchmarkRow, Work, rates, rows
from qframe_rl.bench.peers import Peers
from qframe_rl.config import Ref
from qframe_rl.gym.make import make_problem
from qframe_rl.gym.problem import Problem
from qframe_rl.offline.walk import enough, walk_problem
from qframe_rl.policy.apart import one_thread
from qframe_rl.runner.log import Screen
from qframe_rl.runner.solve.solve import ProblemTask, measure

BATCH, STEPS, UPDATES = 256, 100_000, 2000
_TRADERS, _WEIGHTS = (0.0, 8.0), (0.6, 0.4)
"""Costs that two who trade by turns reckon with, where 2 is true; together they are worth 60 % of the optimum."""


class Quiet:
    """A log that nobody reads."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Show nothing."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Show nothing."""


class RecordedTask(ProblemTask):
    """A problem whose recorded steps are at hand."""

    def transitions(self, dataset: str) -> Transitions:
        """Steps of the two traders."""
        return recorded(int(dataset))


@cache
def _problem(cost: float = 2.0) -> Problem:
    return make_problem(Ref(name="ar1_signal", params={"cost": cost}))


@cache
def recorded(n_steps: int) -> Transitions:
    """Steps of two traders by turns."""
    actors = [_problem(cost).theory().policy for cost in _TRADERS]
    walk = walk_problem(_problem(), actors, np.array(_WEIGHTS), "step", 0)
    parts = [
        (e.observations[:-1], e.actions, e.rewards, e.observations[1:], e.terminations) for e in enough(walk, n_steps)
    ]
    return Transitions(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def offline(small: bool, repeats: int, peers: Peers | None, screen: Screen) -> list[BenchmarkRow]:
    """Gradient steps a second beside Stable-Baselines3's DQN, and shares of the optimum; one thread."""
    n = 20 if small else 1000
    with one_thread():
        steps = {"train.offline": gradient_steps("cql", n), "train.offline_iql": gradient_steps("iql", n)}
        found = rates(steps | {"sb3-dqn": dqn_steps(n)}, repeats, screen, "train from recorded steps")
        reached = shares(small, screen)
    return [
        *(row for name in steps for row in rows(name, BATCH, found[name], "steps/s", {"sb3-dqn": 1.0}, found)),
        *reached,
        BenchmarkRow("peer.sb3-dqn", BATCH, found["sb3-dqn"], "steps/s", "", None),
    ]


def gradient_steps(agent: str, n: int) -> Work:
    """Gradient steps of an agent; reading what it learns from counts, recording it does not.

    Parameters
    ----------
    agent
        ``iql`` or ``cql``.
    n
        Gradient steps of a piece of work.
    """
    recorded(STEPS)

    def do() -> float:
        _learned(agent, STEPS, n)
        return float(n)

    return do


def dqn_steps(n: int) -> Work:
    """Gradient steps of Stable-Baselines3's DQN on its own buffer, with the same networks and minibatches."""
    from stable_baselines3 import DQN

    from qframe_rl.sb3.batch import BatchVecEnv

    model = DQN(
        "MlpPolicy", BatchVecEnv(ProblemTask(_problem(), 0).envs(16)), buffer_size=20_000, learning_starts=10**9,
        batch_size=BATCH, policy_kwargs={"net_arch": [64, 64]}, seed=0, device="cpu",
    )  # fmt: skip
    model.learn(20_000)

    def do() -> float:
        model.train(n, BATCH)
        return float(n)

    return do


def shares(small: bool, screen: Screen) -> list[BenchmarkRow]:
    """What each agent reaches from the recorded steps, as a share of the optimum."""
    title = "from recorded steps"
    screen.begin(title)
    found = []
    for name in ("iql", "cql"):
        agent = _learned(name, 20_000 if small else STEPS, 400 if small else UPDATES)
        share = measure(_problem(), agent, 100 if small else 2000).share
        found.append(BenchmarkRow(f"train.offline_share_{name}", BATCH, share, "of the optimum", "", None))
    screen.end(title, f"{STEPS:,} steps worth 60 %")
    return found


def _learned(name: str, n_steps: int, updates: int) -> Any:
    task, module = RecordedTask(_problem(), 0), catalog.load("agents", name)
    agent = module.make(module.Config(dataset=str(n_steps), updates=updates, batch_size=BATCH), task.spec)
    agent.fit(task, Quiet())
    return agent
