"""Train agents on problems with several seeds and hold what they reach against a gate."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from pydantic import Field

from qframe_rl import catalog
from qframe_rl.agent import Log, Solver, State
from qframe_rl.config import Base, Ref, UserError, build, fingerprint, nearest
from qframe_rl.evaluate.inference.seeds import mean, seeds_interval
from qframe_rl.gym.make import make_problem
from qframe_rl.gym.problem import Curve, Problem
from qframe_rl.runner.executors import Executor, LocalExecutor
from qframe_rl.runner.identity import code, with_data
from qframe_rl.runner.interrupted import read_state, write_state
from qframe_rl.runner.log import RunLog, Screen
from qframe_rl.runner.solve.solve import EPISODES, ProblemTask, measure
from qframe_rl.versions import code_fingerprint

_RESULT, _WEIGHTS, _PARTIAL = "result.json", "weights.safetensors", "partial.safetensors"


class Contender(Base):
    """An agent on a problem."""

    agent: Ref
    """Name in the catalogue, and parameters."""
    gate: float | None = Field(default=None, gt=0.0)
    """Share of the optimum that it must reach; null = the problem's gate."""


class Case(Base):
    """A problem, and what is asked of whom."""

    env: Ref
    """The problem, with its parameters."""
    gate: float = Field(gt=0.0)
    """Share of the optimum that an agent must reach."""
    gamma: float | None = Field(default=None, gt=0.0, le=1.0)
    """Discount for agents that have one and are not given another; null = their own."""
    agents: dict[str, Contender] = Field(default={})
    """Agents by the label under which they are asked for; any other of the catalogue runs with its defaults."""
    only_these: bool = False
    """Whether no other agent is asked: where one without memory cannot pass."""

    def takes(self, label: str) -> bool:
        """Whether an agent of that label can be asked."""
        return label in self.agents or (label in catalog.names("agents") and not self.only_these)

    def contender(self, label: str) -> Contender:
        """The agent of a label.

        Raises
        ------
        UserError
            If there is none.
        """
        if not self.takes(label):
            known = sorted({*self.agents, *(() if self.only_these else catalog.names("agents"))})
            raise UserError(f"unknown agent {label!r} for {self.env.name}{nearest(label, known)}")
        return self.agents.get(label, Contender(agent=Ref(name=label)))


class SolveJob(NamedTuple):
    """One training."""

    market: str
    label: str
    run: int


class Reached(NamedTuple):
    """What one training reached."""

    share: float
    learned: float
    optimal: float
    seconds: float
    """Time of the training on this machine."""


class GateResult(NamedTuple):
    """What all seeds of an agent reached on a problem."""

    market: str
    agent: str
    seeds: int
    share: float
    """Mean over the seeds."""
    low: float
    high: float
    """95 % bootstrap interval over the seeds; equal to the share for a single one."""
    gate: float
    passed: bool
    """Whether the share reaches the gate."""


@dataclass
class Trained:
    """One trained agent, to be drawn."""

    job: SolveJob
    reached: Reached
    curves: tuple[Curve, ...]
    """Portrait of its policy."""


class SolveRequest(NamedTuple):
    """A training, and where its unfinished part is kept on the machine that does it."""

    job: SolveJob
    seed: int
    partial: Path


@dataclass(frozen=True)
class SolveInputs:
    """What all trainings share."""

    cases: Mapping[str, Case]
    n_episodes: int


def learn(inputs: SolveInputs, asked: SolveRequest, log: Log) -> tuple[State, Reached]:
    """Train one agent and measure it by the optimum.

    Parameters
    ----------
    inputs
        What all trainings share.
    asked
        Which agent on which problem, and its seed.
    log
        Told of its progress.

    Returns
    -------
    tuple
        As the agent's ``state()``, and what it reached.
    """
    case = inputs.cases[asked.job.market]
    problem = make_problem(case.env)
    agent, _ = _made(problem, case.contender(asked.job.label), case.gamma, asked.seed)
    began = time.perf_counter()
    agent.fit(ProblemTask(problem, asked.seed, asked.partial), log)
    seconds = time.perf_counter() - began
    return agent.state(), Reached(*measure(problem, agent, inputs.n_episodes), seconds)


class GateTrainings:
    """The trainings of some cases, kept in a folder so that none is done twice.

    Parameters
    ----------
    cases
        Problems by name.
    folder
        Where every training keeps its weights, curves and result.
    screen
        Told of the progress.
    seed
        Root of all seeds.
    n_episodes
        Episodes that policies are measured on.
    executor
        Where trainings are done; the same bits come of all.
    """

    def __init__(
        self, cases: Mapping[str, Case], folder: Path, screen: Screen, seed: int = 0, n_episodes: int = EPISODES,
        executor: Executor | None = None,
    ):  # fmt: skip
        self.cases, self.folder, self.screen = cases, folder, screen
        self.seed, self.n_episodes, self.executor = seed, n_episodes, executor or LocalExecutor()
        self._inputs = SolveInputs(cases, n_episodes)

    def train(self, jobs: Sequence[SolveJob]) -> list[Trained]:
        """Train agents, or take them over from an earlier run of the same configuration and code.

        Where an agent keeps what it has learned so far, the next call after an interruption goes on from there.
        """
        places = [self._place(job) for job in jobs]
        todo = [k for k, place in enumerate(places) if not (place / _RESULT).exists()]
        asked = [SolveRequest(jobs[k], seed_of(self.seed, jobs[k]), (places[k] / _PARTIAL).absolute()) for k in todo]
        logs: dict[int, RunLog] = {}

        def log(k: int) -> RunLog:
            title = _title(jobs[todo[k]])
            self.screen.begin(title)
            logs[k] = RunLog(places[todo[k]] / "tensorboard", title, self.screen)
            return logs[k]

        try:
            for k, (state, reached) in self.executor.run(learn, self._inputs, asked, log):
                logs.pop(k).close()
                _write(places[todo[k]], state, reached)
                worth = f"{reached.share:.2%} of the optimum in {reached.seconds:.0f} s"
                self.screen.end(_title(jobs[todo[k]]), worth)
        finally:
            for one in logs.values():
                one.close()
        return [self._kept(job, place, k not in todo) for k, (job, place) in enumerate(zip(jobs, places, strict=True))]

    def _place(self, job: SolveJob) -> Path:
        """Folder of one training."""
        case, seed = self.cases[job.market], seed_of(self.seed, job)
        contender = case.contender(job.label)
        _, params = _made(make_problem(case.env), contender, case.gamma, seed)
        return self.folder / _identity(job, case, contender.agent.name, params, seed, self.n_episodes)

    def _kept(self, job: SolveJob, place: Path, earlier: bool) -> Trained:
        """Read one training."""
        case = self.cases[job.market]
        problem = make_problem(case.env)
        agent, _ = _made(problem, case.contender(job.label), case.gamma, seed_of(self.seed, job))
        agent.restore(read_state(place / _WEIGHTS))
        reached = Reached(**json.loads((place / _RESULT).read_text(encoding="utf-8")))
        if earlier:
            self.screen.begin(_title(job))
            self.screen.end(_title(job), f"{reached.share:.2%} of the optimum, taken over from an earlier run")
        return Trained(job, reached, problem.portrait(agent.policy()))


def _title(job: SolveJob) -> str:
    return f"{job.market}  {job.label}  seed {job.run}"


def _write(place: Path, state: State, reached: Reached) -> None:
    """Keep a training; the result, which says that it is there, is written last."""
    write_state(state, place / _WEIGHTS)
    (place / _PARTIAL).unlink(missing_ok=True)
    fresh = place / f"{_RESULT}.part"
    fresh.write_text(json.dumps(reached._asdict()) + "\n", encoding="utf-8")
    fresh.replace(place / _RESULT)


def verdict(case: Case, trained: Sequence[Trained]) -> GateResult:
    """Hold the seeds of one agent on one problem against its gate."""
    job = trained[0].job
    shares = np.array([[one.reached.share] for one in trained])
    interval = seeds_interval(shares, mean)
    gate = case.contender(job.label).gate or case.gate
    # A share of one is reached by the same actions; the sums agree but for rounding.
    passed = interval.estimate >= gate - 1e-9
    return GateResult(
        job.market, job.label, len(trained), interval.estimate, interval.low, interval.high, gate, bool(passed)
    )


def optimum(case: Case) -> tuple[Curve, ...]:
    """Portrait of the optimal policy."""
    problem = make_problem(case.env)
    return problem.portrait(problem.theory().policy())


def can_solve(name: str) -> bool:
    """Whether an agent can be trained on problems: ``make`` in its file states a return type that has ``policy``.

    It is asked of the type, since an agent that trades bars cannot even be made without them.
    """
    return hasattr(get_type_hints(catalog.load("agents", name).make).get("return"), "policy")


def seed_of(root: int, job: SolveJob) -> int:
    """Seed of one training, in [0, 2³¹): it does not depend on which others run beside it."""
    return zlib.crc32(f"{root}/{job.market}/{job.label}/{job.run}".encode()) & 0x7FFFFFFF


def _made(problem: Problem, contender: Contender, gamma: float | None, seed: int) -> tuple[Solver, dict[str, Any]]:
    name, params = contender.agent.name, dict(contender.agent.params)
    module = catalog.load("agents", name)
    if not can_solve(name):
        raise UserError(f"agent {name!r} has no policy(): it cannot be trained on a problem.")
    if gamma is not None and "gamma" in module.Config.model_fields:
        params.setdefault("gamma", gamma)
    agent: Solver = module.make(build(module.Config, params, f"agent {name}"), problem.spec(seed))
    return agent, params


def _identity(job: SolveJob, case: Case, agent: str, params: dict[str, Any], seed: int, n_episodes: int) -> str:
    env = case.env.model_dump(mode="json")
    plain = code(catalog.module_of("agents", agent), catalog.module_of("envs", case.env.name))
    own = with_data(plain, agent, build(catalog.load("agents", agent).Config, params, f"agent {agent}")).digest
    print_of = fingerprint(env, agent, params, seed, n_episodes, code_fingerprint(), own)
    return f"{job.market}-{job.label.replace(':', '-')}-{job.run}-{print_of}"
