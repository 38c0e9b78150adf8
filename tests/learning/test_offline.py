"""From 100,000 steps of a policy worth 60 % of the optimum, IQL and CQL learn one worth 90 % and more.

The policy is one of two traders by turns: who follows every sign of the signal as if trading cost nothing (40 % of the
optimum), and who waits as if it cost four times as much (80 %). Neither has the right threshold, and what is done most
often in each state is worth 40 %: who clones the steps stays where they are.

``python -m tests.learning.test_offline 5`` prints the figures of docs/offline.md.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from experiments.solve import CASES, load_cases
from qframe_rl import catalog
from qframe_rl.config import Ref, build
from qframe_rl.gym.make import make_problem
from qframe_rl.runner.collect import collect
from qframe_rl.runner.collection import Collection
from qframe_rl.runner.log import Silent
from qframe_rl.runner.solve.solve import ProblemTask, measure, scores
from tests.contracts.checks import Quiet

STEPS = 100_000
MIX = ("oracle:cost:0=.6", "oracle:cost:8=.4")
PROBLEM = make_problem(Ref(name="ar1_signal"))


def recorded(seed: int) -> tuple[str, float]:
    """Dataset of a seed, and the share of the optimum that its steps earned."""
    asked = Collection(
        env=Ref(name="ar1_signal"), mix=MIX, by="step", steps=STEPS, seed=seed, id=f"gate/seed-{seed}-v0"
    )
    found = collect(asked, Silent(), overwrite=True)
    assert found.steps == STEPS
    assert found.share is not None
    return found.dataset, found.share


def learned(name: str, dataset: str, seed: int, **params: Any) -> Any:
    """An agent as `experiments.solve` trains it."""
    case = load_cases(CASES)["ar1_signal"]
    given = {"gamma": case.gamma, **case.contender(f"{name}:sixty").agent.params, "dataset": dataset, **params}
    module = catalog.load("agents", name)
    task = ProblemTask(PROBLEM, seed)
    agent = module.make(build(module.Config, given, "test"), task.spec)
    agent.fit(task, Quiet())
    return agent


def cloned(agent: Any) -> float:
    """Share of the optimum of a cloned policy that acts by chance, as what it was cloned from did."""
    rng = np.random.default_rng(0)

    def act(rows: NDArray[np.float32]) -> NDArray[Any]:
        chance = softmax(agent.preference(rows), axis=1).cumsum(axis=1)
        return (rng.random((len(rows), 1)) > chance).sum(axis=1).clip(max=2)

    best = scores(PROBLEM, PROBLEM.theory().policy()).mean()
    return float(scores(PROBLEM, act).mean() / best)


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))


@pytest.mark.long
@pytest.mark.usefixtures("datasets")
@pytest.mark.parametrize("name", ["iql", "cql"])
def test_nine_tenths_of_the_optimum_are_learned_from_a_policy_worth_six(name: str) -> None:
    dataset, share = recorded(0)
    assert share == pytest.approx(0.6, abs=0.05)
    assert measure(PROBLEM, learned(name, dataset, 0)).share >= 0.9


@pytest.mark.long
@pytest.mark.usefixtures("datasets")
def test_a_clone_of_that_policy_is_worth_no_more_than_it() -> None:
    dataset, share = recorded(0)
    clone = learned("iql", dataset, 0, inverse_temperature=0.0)
    assert share == pytest.approx(0.6, abs=0.05)
    assert cloned(clone) == pytest.approx(0.6, abs=0.05)
    assert measure(PROBLEM, clone).share < 0.6


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("datasets")
@pytest.mark.parametrize("seed", range(5))
def test_every_seed_learns_nine_tenths(seed: int) -> None:
    dataset, share = recorded(seed)
    assert share == pytest.approx(0.6, abs=0.05)
    for name in ("iql", "cql"):
        assert measure(PROBLEM, learned(name, dataset, seed)).share >= 0.9, name


if __name__ == "__main__":
    for k in range(int(sys.argv[1])):
        place, worth = recorded(k)
        clone = learned("iql", place, k, inverse_temperature=0.0)
        found = {one: measure(PROBLEM, learned(one, place, k)).share for one in ("iql", "cql")}
        told = ", ".join(f"{one} {share:.1%}" for one, share in found.items())
        best = measure(PROBLEM, clone).share
        print(
            f"seed {k}: recorded {worth:.1%}, cloned {cloned(clone):.1%}, most frequent {best:.1%}, {told}", flush=True
        )
