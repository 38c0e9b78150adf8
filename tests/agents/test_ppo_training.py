"""What a training follows: the budget, schedules, masks, validation, listeners, and where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents import ppo
from qframe_rl.config import Ref
from qframe_rl.gym.make import make_problem
from qframe_rl.policy import Dense, Graph, InputShape, Loss, Minibatch, Net
from qframe_rl.policy.plan import UPDATES, Given, sizes
from qframe_rl.policy.training import PpoTraining
from qframe_rl.runner.solve.solve import ProblemTask, measure
from tests.agents.test_ppo import task
from tests.contracts.checks import Quiet

SMALL = {"total_steps": 512, "n_envs": 4, "n_steps": 16, "batch_size": 32, "n_epochs": 2, "hidden": (8,)}


def problem(name: str = "ar1_signal", **params: Any) -> ProblemTask:
    return ProblemTask(make_problem(Ref(name=name, params=params)), 3)


def agent(work: Any, **params: Any) -> ppo.Ppo:
    return ppo.make(ppo.Config(**(SMALL | params)), work.spec)


@given(
    total=st.integers(1600, 10**10), market=st.booleans(), least=st.integers(0, 50_000),
    n_envs=st.none() | st.integers(1, 16), batch=st.none() | st.integers(2, 10**6),
)  # fmt: skip
def test_a_budget_lasts_for_a_hundred_updates(
    total: int, market: bool, least: int, n_envs: int | None, batch: int | None
) -> None:
    found = sizes(total, Given(n_envs=n_envs, batch_size=batch), market=market, least=least)
    assert found.n_envs * found.n_steps * UPDATES <= max(total, 3200)
    assert found.n_envs == (n_envs or found.n_envs) and found.batch_size == (batch or found.batch_size)
    assert found.batch_size >= 2 and found.n_steps >= 2


def test_numbers_that_are_given_are_kept() -> None:
    assert sizes(10**6, Given(7, 9, 11, 13), market=True) == (7, 9, 11, 13)
    assert sizes(800_000, Given(n_steps=128), market=True).n_steps == 128


def test_few_frames_are_enough_for_a_signal() -> None:
    """With 64 environments of 128 steps, whatever the budget, 20,000 frames were three updates."""
    work = problem()
    learner = ppo.make(ppo.Config(total_steps=20_000), work.spec)
    learner.fit(work, Quiet())
    assert measure(work.problem, learner, 500).share > 0.93


def test_step_size_and_entropy_go_to_where_they_should_end(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[float, float]] = []
    step = Dense.step

    def told(self: Dense, others: Any, rate: float) -> None:
        found.append((rate, self.loss.ent_coef))
        step(self, others, rate)

    monkeypatch.setattr(Dense, "step", told)
    work = problem()
    given = {"learning_rate": 0.01, "learning_rate_end": 0.01, "ent_coef": 0.1, "ent_coef_end": 0.0}
    agent(work, **given, n_epochs=1, batch_size=64).fit(work, Quiet())
    assert found == [(0.01, pytest.approx(0.1 * (1.0 - k / 8))) for k in range(8)]


def test_rewards_are_scaled_by_what_is_given() -> None:
    def returns(scale: float) -> torch.Tensor:
        work = problem()
        learner = agent(work, reward_scale=scale)
        one = PpoTraining(learner.config.plan(0), learner._new(0), work.envs(4), 0, Quiet())
        one.look(0, one.envs.reset()[0])
        last = one.collect()
        one.values.zero_()
        return one.judge(0.0 * last)[1]

    assert torch.allclose(returns(3.0), 3.0 * returns(1.0), rtol=1e-5)


def barred(seen: np.ndarray) -> np.ndarray:
    """Which action is forbidden depends on what is seen: of three, the first or the last."""
    allowed = np.ones((len(seen), 3), dtype=np.bool_)
    allowed[np.arange(len(seen)), np.where(seen[:, 1] > 0.0, 2, 0)] = False
    return allowed


def test_forbidden_actions_are_never_taken() -> None:
    work = problem()
    work = ProblemTask(replace(work.problem, masks=barred), 3)
    envs, taken = work.envs(4), 0
    step = envs.step

    def watched(actions: Any) -> Any:
        nonlocal taken
        assert barred(envs.episodes.observe())[np.arange(4), actions].all()  # type: ignore[attr-defined]
        taken += 1
        return step(actions)

    envs.step = watched  # type: ignore[method-assign]
    work.envs = lambda n_envs, indexed=False: envs  # type: ignore[method-assign]
    learner = agent(work, learning_rate=0.1)
    learner.fit(work, Quiet())
    seen = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    assert taken == 128 and barred(seen)[np.arange(200), learner.act(seen)].all()


def test_forbidden_actions_have_no_part_in_the_loss() -> None:
    """On a CPU the slopes are those that automatic differentiation finds where their logits are minus infinity."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(150, 2)).astype(np.float32)
    never = torch.from_numpy(~barred(seen))
    actions = np.argmax(rng.random((150, 3)) * barred(seen), axis=1)
    facts = np.column_stack([actions, rng.normal(size=(150, 3))]).astype(np.float32)
    samples = torch.from_numpy(np.concatenate([seen, facts], axis=1))

    def slopes(make: Callable[[Net, Loss], Any]) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = Net(InputShape(0, 0, 2), problem().problem.action_space, "mlp", 1, (8,), 0.0)
        lane = make(net, Loss(0.2, 0.05))
        told = lane.learn(None, Minibatch(torch.arange(150)), samples, 150, never)
        return lane.grad, told

    for one, two in zip(slopes(Dense), slopes(Graph), strict=True):
        assert torch.isfinite(one).all() and torch.allclose(one.float(), two.float(), atol=1e-5)


def test_validation_keeps_the_best_weights_and_ends_the_training_early() -> None:
    work = task()
    work.validation = ((None, ()),)
    shown: list[np.ndarray] = []
    given = iter([1.0, 3.0, 2.0, 2.5, 9.0])

    def validate(judged: ppo.Ppo) -> float:
        shown.append(judged.state()["actor.0.weight"].copy())
        return next(given)

    work.validate = validate
    learner = agent(work, evaluations=8, patience=2)
    learner.fit(work, Quiet())
    assert len(shown) == 4
    assert np.array_equal(learner.state()["actor.0.weight"], shown[1])
    assert not np.array_equal(shown[1], shown[3])


class Stops(Quiet):
    """Interrupts a training once it has come so far."""

    def __init__(self, after: int):
        self.after = after

    def progress(self, done: int, total: int, note: str = "") -> None:
        if done >= self.after:
            raise KeyboardInterrupt


class Kept:
    """A task that keeps a training in a file."""

    def __init__(self, work: Any, place: Path):
        self.remember = ProblemTask(problem().problem, 0, place).remember
        self.recall = ProblemTask(problem().problem, 0, place).recall
        self.spec, self.train, self.validation, self.envs = work.spec, work.train, work.validation, work.envs
        scores = iter([3.0, 1.0, 2.0, 4.0] * 4)
        self.validate = getattr(work, "validate", None) or (lambda judged: next(scores))


@pytest.mark.parametrize(
    ("place", "params"),
    [
        (problem, {}),
        (lambda: problem("garleanu_pedersen"), {}),
        (problem, {"members": 2, "total_steps": 256}),
        (problem, {"network": "lstm", "memory": "episode", "units": 4, "memory_steps": 8}),
        (lambda: task(16), {"network": "lstm", "units": 4}),
        (task, {"threads": 2}),
    ],
)
def test_an_interrupted_training_goes_on_to_the_same_bits(
    place: Callable[[], Any], params: dict[str, Any], tmp_path: Path
) -> None:
    whole = agent(place(), **params)
    whole.fit(place(), Quiet())
    work = Kept(place(), tmp_path / "snapshot")
    with pytest.raises(KeyboardInterrupt):
        agent(work, **params).fit(work, Stops(320))  # type: ignore[arg-type]
    assert work.recall()["update"][0] in (4, 1, 8)
    heard: list[int] = []

    class Hears(Quiet):
        def progress(self, done: int, total: int, note: str = "") -> None:
            heard.append(done)

    two = agent(work, **params)
    two.fit(work, Hears())  # type: ignore[arg-type]
    assert min(heard) > 128
    assert two.state().keys() == whole.state().keys()
    for key, value in whole.state().items():
        assert np.array_equal(value, two.state()[key]), key


def test_what_was_best_before_an_interruption_still_is(tmp_path: Path) -> None:
    def work() -> Kept:
        made = Kept(task(), tmp_path / "snapshot")
        made.validation = ((None, ()),)
        return made

    best = {"evaluations": 8, "patience": 0}
    with pytest.raises(KeyboardInterrupt):
        agent(work(), **best).fit(work(), Stops(320))  # type: ignore[arg-type]
    kept = work().recall()
    assert kept["judged"].tolist() == [4.0, 0.0]
    going_on = work()
    going_on.validate = lambda judged: 0.0
    learner = agent(going_on, **best)
    learner.fit(going_on, Quiet())  # type: ignore[arg-type]
    assert np.array_equal(learner.state()["actor.0.weight"], kept["best/actor.0.weight"])


def test_members_are_trained_apart_and_act_by_the_mean_of_their_distributions() -> None:
    work = problem()
    learner = agent(work, members=3, learning_rate=0.02)
    learner.fit(work, Quiet())
    seen = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    with torch.inference_mode():
        each = [torch.softmax(net.see(torch.from_numpy(seen))[0], dim=1) for net in learner._nets]
    assert not torch.allclose(each[0], each[1])
    assert np.array_equal(learner.act(seen), torch.stack(each).mean(dim=0).argmax(dim=1).numpy())
    alone = agent(work, learning_rate=0.02)
    alone.fit(work, Quiet())
    assert np.array_equal(alone.state()["actor.0.weight"], learner.state()["0/actor.0.weight"])
    with pytest.raises(ValueError, match="not 3 members"):
        learner.restore(learner.state() | {"3/actor.0.weight": np.zeros(1)})


def test_a_listener_is_told_of_each_update_and_may_end_the_training() -> None:
    work = problem()
    learner = agent(work)
    heard: list[ppo.Update] = []

    def listen(news: ppo.Update) -> bool:
        heard.append(news)
        assert news.policy()(np.zeros((5, 2), np.float32)).shape == (5,)
        return len(heard) < 3

    learner.listeners.append(listen)
    learner.fit(work, Quiet())
    assert [news.done for news in heard] == [64, 128, 192]
    assert {news.total for news in heard} == {512} and heard[0].curves.keys() >= {"entropy", "kl", "value_loss"}
