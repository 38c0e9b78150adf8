"""Train a learner on a problem and measure it by the optimum.

The protocol is small. A learner that can be trained on a problem has, beside what every `Learner` has, a method
``policy()`` that returns its trained, deterministic policy over plain observations; its ``fit`` asks the task for
nothing but ``spec``, ``envs`` and ``validate``. See `qframe_rl.agent.Solver`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from qframe_rl.agent import Agent, MarketSpec, Solver, Transitions
from qframe_rl.gym.problem import Act, Problem
from qframe_rl.runner.interrupted import Interruptible
from qframe_rl.types import Bool, Float, History, Segments

EPISODES = 2000
"""Episodes that a policy is measured on."""
_VALIDATION_EPISODES = 200
_MEASURE_SEED, _VALIDATION_SEED = 1 << 40, 1 << 41
"""Far from the seeds of training, which are below 2³² + n_envs."""


def scores(problem: Problem, act: Act, n_episodes: int = EPISODES, seed: int = _MEASURE_SEED) -> Float:
    """Play episodes side by side, each from its start to its end.

    Parameters
    ----------
    problem
        What is played.
    act
        A policy that has not acted yet.
    n_episodes, seed
        Episode k has seed ``seed + k``: all policies meet the same random numbers.

    Returns
    -------
    Float
        (n_episodes,) score of each, in the unit of the problem's score.
    """
    episodes = problem.episodes(n_episodes)
    episodes.seed_with(seed)
    playing: Bool = np.ones(n_episodes, dtype=np.bool_)
    episodes.reset(playing)
    total, weight = np.zeros(n_episodes), 1.0
    while playing.any():
        rewards, ended, cut = episodes.step(act(episodes.observe()), playing)
        total += weight * rewards
        weight *= problem.discount if problem.score == "discounted" else 1.0
        playing = playing & ~ended & ~cut
    return total / episodes.clock if problem.score == "average" else total


class ProblemTask(Interruptible):
    """The `Task` of a problem: episodes without end to learn from, and others to validate on.

    Parameters
    ----------
    problem
        The problem.
    seed
        Root of the learner's randomness, in [0, 2³²).
    snapshot
        File in which an interrupted training is kept; None = nowhere.
    """

    train: Sequence[tuple[History, Segments]] = ()
    validation: Sequence[tuple[History, Segments]] = ()

    def __init__(self, problem: Problem, seed: int, snapshot: Path | None = None):
        self.problem, self.snapshot = problem, snapshot
        self.spec: MarketSpec = problem.spec(seed)

    def envs(self, n_envs: int, *, indexed: bool = False) -> VectorEnv[Any, Any, Any]:
        """Training environments with autoreset mode SAME_STEP, seeded; without bars ``indexed`` says nothing."""
        envs = self.problem.vec(n_envs, AutoresetMode.SAME_STEP)
        envs.reset(seed=self.spec.seed)
        return envs

    def transitions(self, dataset: str) -> Transitions:
        """Steps of a Minari dataset; raises as `qframe_rl.offline.fits.problem_transitions`."""
        from qframe_rl.offline.fits import problem_transitions

        return problem_transitions(dataset, self.problem)

    def validate(self, agent: Agent) -> float:
        """Mean score of a `Solver` over episodes that are neither trained nor measured on."""
        solver = cast(Solver, agent)
        return float(scores(self.problem, solver.policy(), _VALIDATION_EPISODES, _VALIDATION_SEED).mean())


class ShareOfOptimum(NamedTuple):
    """What a learned policy is worth beside the optimal one."""

    share: float
    """Its part of the optimum: learned over optimal score on the same random numbers. Of a cost (a negative optimum),
    optimal over learned, so that 1 is the best in either case and 0.98 means 2 % dearer."""
    learned: float
    """Mean score of an episode."""
    optimal: float
    """The same of the optimal policy."""


def measure(problem: Problem, agent: Solver, n_episodes: int = EPISODES) -> ShareOfOptimum:
    """Compare a trained agent with the optimum on common random numbers.

    Parameters
    ----------
    problem
        What is played.
    agent
        Trained on it.
    n_episodes
        Episodes of each, the same for both.

    Returns
    -------
    ShareOfOptimum
        Of mean scores. Where they are losses (below zero) the share is the optimum's over the agent's.
    """
    learned = float(scores(problem, agent.policy(), n_episodes).mean())
    optimal = float(scores(problem, problem.theory().policy(), n_episodes).mean())
    return ShareOfOptimum(optimal / learned if optimal < 0.0 else learned / optimal, learned, optimal)
