"""An agent with memory finds out what market it is in, leaves one without an edge alone, and does not tire.

``python -m tests.learning.test_unknown 5`` prints the figures of docs/solvable.md for as many seeds: the trainings of
``python -m experiments.solve``, to the same bits; names of cases may follow.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pytest
import torch

from agents.ppo import Config as PpoConfig
from agents.ppo import Ppo
from envs.unknown_market import Conduct, Config, conduct, make
from experiments.solve import CASES, load_cases
from qframe_rl.config import build
from qframe_rl.gym.problem import Problem
from qframe_rl.runner.solve.gates import SolveInputs, SolveJob, SolveRequest, learn, seed_of
from qframe_rl.types import Float
from tests.contracts.checks import Quiet

MARKETS = ("unknown_signs", "unknown_drifts", "unknown_regimes")
SEED = 1 << 41
"""Of the first of the episodes that policies are held against each other on: neither trained nor measured on."""
EPISODES, LONG = 4096, 4096
MOST, LEAST = 1.2, 0.95
"""What may be held and paid without an edge, of what the best policy holds and pays; what the last quarter of a long
episode must earn of its second."""


class Figures(NamedTuple):
    """What one training came to."""

    share: float
    """Of the optimum, as `experiments.solve` measures it."""
    exposure: float
    """Held without an edge, over what the best policy holds on the same episodes."""
    costs: float
    """The same, of what is paid."""
    earned: tuple[float, ...]
    """In each market of the list that has an edge, over what the best policy earns there, on the same episodes."""
    lasts: float
    """Last quarter over second, where an episode is long."""
    seconds: float
    """Of the training."""


def trained(market: str, run: int) -> tuple[Ppo, Config, float, float]:
    """The agent of a case, its problem, what share of the optimum it reached, and how long it took."""
    cases, job = load_cases(CASES), SolveJob(market, "ppo", run)
    seed = seed_of(0, job)
    with TemporaryDirectory() as folder:
        state, reached = learn(SolveInputs(cases, 2000), SolveRequest(job, seed, Path(folder) / "partial"), Quiet())
    env, agent = cases[market].env, cases[market].contender("ppo").agent
    config = build(Config, env.params, market)
    params = {"gamma": cases[market].gamma, **agent.params}
    made = Ppo(build(PpoConfig, params, market), make(config).spec(seed))
    made.restore(state)
    return made, config, reached.share, reached.seconds


def by_market(found: Conduct) -> dict[tuple[float, ...], float]:
    """What a bar earned in each market of a list that has an edge, by its parameters."""
    bars = found.quarters.mean(axis=1)
    return {
        tuple(kind.tolist()): float(bars[(found.market == kind).all(axis=1)].mean())
        for kind in np.unique(found.market[found.edge], axis=0)[::-1]
    }


def lasts(agent: Ppo, config: Config, n_episodes: int = EPISODES) -> float:
    """What the last quarter of long episodes earns over the second, which begins when markets should be known."""
    quarters = conduct(config.model_copy(update={"episode_steps": LONG}), agent.policy(), n_episodes, SEED).quarters
    return float(quarters[:, 3].mean() / quarters[:, 1].mean())


def figures(market: str, run: int) -> Figures:
    """Train, and hold against the best policy."""
    agent, config, share, seconds = trained(market, run)
    problem: Problem = make(config)
    ours, best = (conduct(config, act, EPISODES, SEED) for act in (agent.policy(), problem.theory().policy()))
    idle = ~best.edge
    ideal = by_market(best)
    return Figures(
        share,
        float(ours.exposure[idle].mean() / best.exposure[idle].mean()),
        float(ours.costs[idle].mean() / best.costs[idle].mean()),
        tuple(worth / ideal[kind] for kind, worth in by_market(ours).items()),
        lasts(agent, config),
        seconds,
    )


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("market", MARKETS)
def test_what_is_not_shown_is_found_out(market: str) -> None:
    found = figures(market, 1)
    assert found.share >= load_cases(CASES)[market].gate
    assert max(found.exposure, found.costs) <= MOST
    assert min(found.earned) >= 0.75
    assert found.lasts >= LEAST


if __name__ == "__main__":
    torch.set_num_threads(1)
    n, *names = sys.argv[1:]
    for name in names or MARKETS:
        rows: list[Float] = []
        for k in range(int(n)):
            one = figures(name, k)
            rows.append(np.array([one.share, one.exposure, one.costs, one.lasts, one.seconds, *one.earned]))
            print(name, k, *(f"{number:.3f}" for number in rows[-1]), flush=True)
        print(name, "mean", *(f"{number:.3f}" for number in np.mean(rows, axis=0)), flush=True)
