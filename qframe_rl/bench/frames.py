"""Frames until a learner earns 95 % of a known optimum: ours, and Stable-Baselines3's PPO."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from qframe_rl import catalog
from qframe_rl.bench.measure import BenchmarkRow
from qframe_rl.config import Ref
from qframe_rl.gym.make import make_problem
from qframe_rl.gym.problem import Act, Problem
from qframe_rl.runner.log import Screen
from qframe_rl.runner.solve.solve import ProblemTask, scores

EVERY = 2048
"""Frames between two looks."""
SHARE = 0.95
"""Of the optimum, at which a learner has arrived."""
MOST = 102_400
"""Frames after which a training is given up; it then counts as having taken so many, which flatters it."""
_TIMES = 4
"""Theirs are given up after this many times the frames of our slowest."""
SEEDS = 5
_EPISODES = 1000
"""Of a look, the same for every policy."""


class Arrival(NamedTuple):
    """What a training took until it had `SHARE`, or until it was given up."""

    frames: int
    seconds: float
    """Of learning alone, without the looks."""
    reached: bool
    """Whether it had it."""


class Lesson(NamedTuple):
    """A problem as learners get it."""

    problem: Ref
    gamma: float
    """Discount a step, the same for all."""
    memory: bool = False
    """Whether only a policy with memory can get there."""


LESSONS = {
    "garleanu_pedersen": Lesson(Ref(name="garleanu_pedersen"), 0.95),
    "ar1_signal": Lesson(Ref(name="ar1_signal"), 0.98),
    "execution": Lesson(Ref(name="execution"), 1.0),
    "regime": Lesson(Ref(name="regime"), 0.95),
    "regime_hidden": Lesson(Ref(name="regime", params={"hidden": True}), 0.95, memory=True),
    "market_making": Lesson(Ref(name="market_making"), 0.98),
    "kelly": Lesson(Ref(name="kelly"), 0.1),
    "kelly_gbm": Lesson(Ref(name="kelly", params={"game": "gbm"}), 0.1),
}
"""The problems of docs/solvable.md."""


class _Enough(Exception):
    """There is no more to see."""


class Lookout:
    """Looks at a policy every `EVERY` frames, its clock standing still, and ends the training once it has arrived."""

    def __init__(self, problem: Problem, most: int):
        self.problem, self.most = problem, most
        self.optimum = self._score(problem.theory().policy())
        self.policy: Callable[[], Act] | None = None
        self.seconds, self.frames, self.reached, self._next = 0.0, 0, False, EVERY
        self._since = time.perf_counter()

    def scalar(self, name: str, value: float, step: int) -> None:
        """Look at no curve."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Look after an update."""
        if done < self._next or self.policy is None:
            return
        self.seconds += time.perf_counter() - self._since
        self._next, self.frames = (done // EVERY + 1) * EVERY, done
        found = self._score(self.policy())
        share = self.optimum / found if self.optimum < 0.0 else found / self.optimum
        self.reached = share >= SHARE
        if self.reached or done >= self.most:
            raise _Enough
        self._since = time.perf_counter()

    def _score(self, act: Act) -> float:
        return float(scores(self.problem, act, _EPISODES).mean())


Way = Callable[[ProblemTask, Lesson, Lookout], None]
"""Trains on a task, and tells a lookout."""


def ours(task: ProblemTask, lesson: Lesson, lookout: Lookout) -> None:
    """The house's own PPO at its defaults; with a memory that lasts an episode where one is needed."""
    module = catalog.load("agents", "ppo")
    more = {"network": "lstm", "memory": "episode"} if lesson.memory else {}
    agent = module.make(module.Config(gamma=lesson.gamma, **more), task.spec)
    lookout.policy = agent.policy
    agent.fit(task, lookout)


def theirs(task: ProblemTask, lesson: Lesson, lookout: Lookout) -> None:
    """Stable-Baselines3's PPO, or RecurrentPPO, at its defaults, on one environment."""
    _learn(lesson, lookout, task.problem.env(), gamma=lesson.gamma, seed=task.spec.seed)


def theirs_tuned(task: ProblemTask, lesson: Lesson, lookout: Lookout) -> None:
    """The same with the settings that ours has as defaults, and its rewards scaled."""
    from qframe_rl.deep.scale import return_scale
    from qframe_rl.sb3.batch import BatchVecEnv

    scale = return_scale(task.envs(8), lesson.gamma, 200, 0)
    policy: dict[str, Any] = {"net_arch": [64, 64], "log_std_init": -1.0}
    _learn(
        lesson, lookout, BatchVecEnv(task.envs(8), scale), gamma=lesson.gamma, seed=task.spec.seed, n_steps=64,
        batch_size=128, n_epochs=10, gae_lambda=0.9, learning_rate=1e-3, ent_coef=0.003,
        policy_kwargs=policy | ({"lstm_hidden_size": 64} if lesson.memory else {}),
    )  # fmt: skip


def _learn(lesson: Lesson, lookout: Lookout, envs: Any, **options: Any) -> None:
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    made: Any = RecurrentPPO if lesson.memory else PPO
    model = made("MlpLstmPolicy" if lesson.memory else "MlpPolicy", envs, device="cpu", **options)
    lookout.policy = lambda: _acting(model)

    class _Looks(BaseCallback):
        def _on_rollout_start(self) -> None:
            lookout.progress(self.num_timesteps, lookout.most)

        def _on_step(self) -> bool:
            return True

    # One update more, since it is looked at between two.
    model.learn(lookout.most + EVERY, _Looks())


def _acting(model: Any) -> Act:
    """The policy that a model has learned so far, for episodes that begin together."""
    memory: Any = None

    def act(seen: Any) -> Any:
        nonlocal memory
        first = [memory is None] * len(seen)
        actions, memory = model.predict(seen, state=memory, episode_start=first, deterministic=True)
        return actions

    return act


WAYS: Mapping[str, Way] = {"ppo": ours, "sb3-default": theirs, "sb3-tuned": theirs_tuned}


def arrival(way: Way, lesson: Lesson, seed: int, most: int = MOST) -> Arrival:
    """Train once."""
    problem = make_problem(lesson.problem)
    lookout = Lookout(problem, most)
    with suppress(_Enough):
        way(ProblemTask(problem, seed), lesson, lookout)
    return Arrival(lookout.frames, lookout.seconds, lookout.reached)


def frames_to_optimum(names: Sequence[str], seeds: int, screen: Screen, most: int = MOST) -> list[BenchmarkRow]:
    """Rows of the median frames, and of the median seconds, of ``seeds`` trainings on each problem.

    Parameters
    ----------
    names
        Of `LESSONS`.
    seeds
        Trainings of each learner on each problem.
    screen
        Told of the progress.
    most
        As `MOST`.

    Returns
    -------
    list[BenchmarkRow]
        ``train.frames_to_95``, its ratio theirs over ours, and ``train.seconds_to_95``, its ratio ours over theirs.
    """
    title, found = f"frames to {SHARE:.0%}", list[BenchmarkRow]()
    total = len(names) * len(WAYS) * seeds
    screen.begin(title)
    for k, name in enumerate(names):
        took: dict[str, list[Arrival]] = {way: [] for way in WAYS}
        within = most
        for j, (label, way) in enumerate(WAYS.items()):
            for seed in range(seeds):
                screen.advance(title, (k * len(WAYS) + j) * seeds + seed, total, f"{label} on {name}")
                took[label].append(arrival(way, LESSONS[name], seed, within))
            within = min(most, _TIMES * max(one.frames for one in took["ppo"]))
        found += _rows(name, took)
    screen.end(title, f"medians of {seeds} seeds")
    return found


def _rows(name: str, took: Mapping[str, Sequence[Arrival]]) -> list[BenchmarkRow]:
    frames = {label: statistics.median(a.frames for a in all_) for label, all_ in took.items()}
    seconds = {label: statistics.median(a.seconds for a in all_) for label, all_ in took.items()}
    others, ours = [label for label in took if label != "ppo"], "ppo"
    return [
        *(
            BenchmarkRow(
                "train.frames_to_95", 1, frames[ours], f"frames, {name}", other, frames[other] / frames[ours]
            )
            for other in others
        ),
        *(
            BenchmarkRow(
                "train.seconds_to_95", 1, seconds[ours], f"s, {name}", other, seconds[ours] / seconds[other]
            )
            for other in others
        ),
    ]  # fmt: skip
