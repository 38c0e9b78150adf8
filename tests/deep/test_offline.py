"""What learners from recorded steps share: choices, targets, values over steps, chance, interruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from qframe_rl import catalog
from qframe_rl.config import Ref, UserError
from qframe_rl.deep.offline import DiscreteActions, OfflineAgent, Trailing, by_chance, mlp
from qframe_rl.deep.training import own_randomness
from qframe_rl.gym.make import make_problem
from qframe_rl.runner.solve.solve import ProblemTask
from tests.contracts.checks import Quiet
from tests.deep.recorded import bandit, chain, learned


@pytest.mark.parametrize(("name", "params"), [("cql", {"conservatism": 0.0}), ("iql", {"expectile": 0.99})])
def test_values_reach_back_over_steps_and_stop_at_an_end(name: str, params: dict[str, Any]) -> None:
    seen, exact = chain()
    exact = exact / seen.rewards.std()
    given = {"gamma": 0.9, "hidden": (32,), "updates": 2000, "batch_size": 256, "target_rate": 0.02, **params}
    agent = learned(name, seen, 2, **given)
    critic = agent._net.critic if name == "cql" else agent._net.first
    with torch.inference_mode():
        found = critic(torch.eye(5)).numpy()
    assert found == pytest.approx(exact, abs=0.05 * exact.max())
    assert (agent.policy()(np.eye(5, dtype=np.float32)) == 1).all()


def test_a_target_trails_by_its_rate_and_takes_no_gradient() -> None:
    with own_randomness(3):
        critic = Trailing(mlp(2, (4,), 3), 0.25)
    before = [value.detach().clone() for value in critic.net.parameters()]
    rows = torch.tensor([[0.5, -1.0]])
    assert torch.equal(critic.target(rows), critic(rows).detach())
    with torch.no_grad():
        for value in critic.net.parameters():
            value += 1.0
    critic.follow()
    critic.follow()
    gone = 1.0 - 0.75**2
    for target, old in zip(critic._targets(), before, strict=True):
        assert torch.allclose(target, old + gone)
    assert not critic.target(rows).requires_grad
    assert {name for name, _ in critic.named_parameters()} == {f"net.{n}" for n, _ in critic.net.named_parameters()}


@pytest.mark.parametrize("name", ["iql", "cql"])
def test_targets_follow_after_each_step_of_the_optimiser(name: str) -> None:
    state = learned(name, bandit(500), 3, target_rate=1.0, updates=30).state()
    targets = {key: value for key, value in state.items() if "target_" in key}
    assert targets
    for key, value in targets.items():
        head, _, tail = key.rpartition("target_")
        layer, _, part = tail.rpartition("_")
        assert np.array_equal(value, state[f"{head}net.{layer}.{part}"]), key


@pytest.mark.parametrize("name", ["iql", "cql"])
def test_an_interrupted_training_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    module, problem = catalog.load("agents", name), make_problem(Ref(name="ar1_signal"))

    class Stop(Quiet):
        def progress(self, done: int, total: int, note: str = "") -> None:
            if done == 3:
                raise KeyboardInterrupt

    def fit(log: Any, snapshot: Path | None) -> OfflineAgent:
        task = ProblemTask(problem, 2, snapshot)
        agent: OfflineAgent = module.make(module.Config(**module.QUICK), task.spec)
        agent.fit(task, log)
        return agent

    whole = fit(Quiet(), None).state()
    with pytest.raises(KeyboardInterrupt):
        fit(Stop(), tmp_path / "part")
    resumed = fit(Quiet(), tmp_path / "part").state()
    assert all(np.array_equal(value, resumed[key]) for key, value in whole.items())


def test_steps_of_chance_have_true_ends_and_are_equal_for_equal_seeds() -> None:
    problem = make_problem(Ref(name="ar1_signal", params={"episode_steps": 7}))
    task = ProblemTask(problem, 0)
    one, two = (by_chance(task, 500, seed=4) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert len(one.actions) == 512
    assert not one.terminated.any()
    rows = one.observations.reshape(-1, 16, 2)
    after, held = one.following.reshape(-1, 16, 2), one.actions.reshape(-1, 16)
    assert np.array_equal(after[:, :, 0], held - 1.0)  # at cuts too: not the next episode's first position
    goes_on = (rows[1:] == after[:-1]).all(axis=2)
    assert (~goes_on).any(axis=1).nonzero()[0].tolist() == [6, 13, 20, 27]


def test_choices_of_several_instruments_count_as_one() -> None:
    choices = DiscreteActions(spaces.MultiDiscrete([2, 3, 4]), "iql")
    assert choices.n == 24
    every = choices.actions(np.arange(24))
    assert every.shape == (24, 3)
    assert len(np.unique(every, axis=0)) == 24
    assert np.array_equal(choices.index(every), np.arange(24))
    single = DiscreteActions(spaces.Discrete(5), "iql")
    assert np.array_equal(single.actions(single.index(np.array([3, 0]))), [3, 0])


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (spaces.Box(-1.0, 1.0, (1,)), "env.actions=levels"),
        (spaces.MultiDiscrete([5] * 8), "390,625, more than 4,096"),
    ],
)
def test_what_is_not_a_few_choices_is_refused(space: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        DiscreteActions(space, "cql")
