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
from qframe_rl.runner.solve.games import learners_of, solution_of, train_game
from qframe_rl.runner.solve.planted import PLANTED_ALPHAS, planted_config, planted_portrait, search_planted
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
    """The problem, the market of many agents whose equilibrium is known, or a world in which a formula is planted, with
    its parameters."""
    gate: float = Field(gt=0.0)
    """Share of the optimum that an agent must reach; of an equilibrium one less what a best answer would gain."""
    gamma: float | None = Field(default=None, gt=0.0, le=1.0)
    """Discount for agents that have one and are not given another; null = their own."""
    agents: dict[str, Contender] = Field(default={})
    """Agents by the label under which they are asked for; any other of the catalogue runs with its defaults."""
    only_these: bool = False
    """Whether no other agent is asked: where one without memory cannot pass."""

    @property
    def is_game(self) -> bool:
        """Whether it is a market of many agents."""
        return self.env.name in catalog.games()

    @property
    def is_planted(self) -> bool:
        """Whether searches for formulas are held against a planted one: its agents are searches."""
        return self.env.name == PLANTED_ALPHAS

    def takes(self, label: str) -> bool:
        """Whether an agent of that label can be asked."""
        others = not self.only_these and not self.is_planted
        return label in self.agents or (others and label in catalog.names("agents"))

    def contender(self, label: str) -> Contender:
        """The agent of a label.

        Raises
        ------
        UserError
            If there is none.
        """
        if not self.takes(label):
            others = () if self.only_these or self.is_planted else catalog.names("agents")
            known = sorted({*self.agents, *others})
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
    figures: dict[str, float] = {}  # noqa: RUF012
    """Of an equilibrium, what its closed form is of, as it was found."""
    inside: bool = True
    """Whether each lies within its band."""


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
    """Whether the share reaches the gate, and each seed's figures lie within their bands."""
    figures: dict[str, float] = {}  # noqa: RUF012
    """Means over the seeds of what an equilibrium's closed form is of; a problem has none."""


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
    if case.is_game:
        return _learn_together(case, asked, log)
    if case.is_planted:
        return _searched(case, asked, log)
    problem = make_problem(case.env)
    agent = _made(problem, case.contender(asked.job.label), case.gamma, asked.seed)
    began = time.perf_counter()
    agent.fit(ProblemTask(problem, asked.seed, asked.partial), log)
    seconds = time.perf_counter() - began
    return agent.state(), Reached(*measure(problem, agent, inputs.n_episodes), seconds)


def _learn_together(case: Case, asked: SolveRequest, log: Log) -> tuple[State, Reached]:
    """Train all roles of a market against one another, and hold them against its equilibrium."""
    contender = case.contender(asked.job.label)
    config = _config(contender, case.gamma)
    learners = learners_of(case.env, contender.agent.name, config, asked.seed)
    began = time.perf_counter()
    train_game(case.env, learners, config, asked.seed, log)
    seconds, solution = time.perf_counter() - began, solution_of(case.env)
    figures, gains = solution.judge(learners.policies())
    inside = all(low <= figures[name] <= high for name, (low, high) in solution.bands.items())
    gain = max(gains.values())
    return learners.state(), Reached(1.0 - gain, -gain, 0.0, seconds, dict(figures), inside)


def _searched(case: Case, asked: SolveRequest, log: Log) -> tuple[State, Reached]:
    """Search for the formula that is planted in a world."""
    began = time.perf_counter()
    state, found = search_planted(case.env, case.contender(asked.job.label).agent, asked.seed, log)
    return state, Reached(found.share, found.learned, found.truth, time.perf_counter() - began, found.figures)


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
        _known(case, contender)
        if case.is_planted:
            print_of = fingerprint(case.env.model_dump(mode="json"), contender.model_dump(mode="json"), seed)
            return self.folder / f"{job.market}-{job.label}-{job.run}-{fingerprint(print_of, code_fingerprint())}"
        params = _params(contender, case.gamma)
        return self.folder / _identity(job, case, contender.agent.name, params, seed, self.n_episodes)

    def _kept(self, job: SolveJob, place: Path, earlier: bool) -> Trained:
        """Read one training."""
        case = self.cases[job.market]
        curves = _portrait_of(case, job.label, seed_of(self.seed, job), read_state(place / _WEIGHTS))
        reached = Reached(**json.loads((place / _RESULT).read_text(encoding="utf-8")))
        if earlier:
            self.screen.begin(_title(job))
            self.screen.end(_title(job), f"{reached.share:.2%} of the optimum, taken over from an earlier run")
        return Trained(job, reached, curves)


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
    passed = interval.estimate >= gate - 1e-9 and all(one.reached.inside for one in trained)
    names = trained[0].reached.figures
    figures = {name: float(np.mean([one.reached.figures[name] for one in trained])) for name in names}
    return GateResult(
        job.market, job.label, len(trained), interval.estimate, interval.low, interval.high, gate, bool(passed), figures
    )


def optimum(case: Case) -> tuple[Curve, ...]:
    """Portrait of the optimal policy, or of an equilibrium."""
    if case.is_game:
        solution = solution_of(case.env)
        return solution.portrait(solution.policies())
    if case.is_planted:
        return planted_portrait(None)
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


def _known(case: Case, contender: Contender) -> None:
    """Refuse a market that is no problem and has no known equilibrium, and a search that there is not."""
    if case.is_planted:
        planted_config(case.env, contender.agent)
    else:
        _ = solution_of(case.env) if case.is_game else make_problem(case.env)


def _portrait_of(case: Case, label: str, seed: int, state: State) -> tuple[Curve, ...]:
    """Draw what was trained."""
    if case.is_planted:
        return planted_portrait(state)
    if case.is_game:
        contender = case.contender(label)
        learners = learners_of(case.env, contender.agent.name, _config(contender, case.gamma), seed)
        learners.restore(state)
        return solution_of(case.env).portrait(learners.policies())
    problem = make_problem(case.env)
    agent = _made(problem, case.contender(label), case.gamma, seed)
    agent.restore(state)
    return problem.portrait(agent.policy())


def _made(problem: Problem, contender: Contender, gamma: float | None, seed: int) -> Solver:
    module = catalog.load("agents", contender.agent.name)
    agent: Solver = module.make(_config(contender, gamma), problem.spec(seed))
    return agent


def _config(contender: Contender, gamma: float | None) -> Base:
    name = contender.agent.name
    made: Base = build(catalog.load("agents", name).Config, _params(contender, gamma), f"agent {name}")
    return made


def _params(contender: Contender, gamma: float | None) -> dict[str, Any]:
    """Parameters of an agent, the case's discount among them where it has one; refuses one that cannot solve."""
    name, params = contender.agent.name, dict(contender.agent.params)
    if not can_solve(name):
        raise UserError(f"agent {name!r} has no policy(): it cannot be trained on a problem.")
    if gamma is not None and "gamma" in catalog.load("agents", name).Config.model_fields:
        params.setdefault("gamma", gamma)
    return params


def _identity(job: SolveJob, case: Case, agent: str, params: dict[str, Any], seed: int, n_episodes: int) -> str:
    env = case.env.model_dump(mode="json")
    plain = code(catalog.module_of("agents", agent), catalog.module_of("envs", case.env.name))
    own = with_data(plain, agent, build(catalog.load("agents", agent).Config, params, f"agent {agent}")).digest
    print_of = fingerprint(env, agent, params, seed, n_episodes, code_fingerprint(), own)
    return f"{job.market}-{job.label.replace(':', '-')}-{job.run}-{print_of}"
