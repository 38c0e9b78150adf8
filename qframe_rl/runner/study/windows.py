"""Re-fit and re-tune in every window, and judge on what follows: walk-forward and combinatorial cross-validation.

A setting is chosen by what it did on a window's own training bars, and the choice alone is judged. What the other
settings did on the judged bars is kept too: it is what the probability of overfitting is made of, and each of them is a
trial that the deflated Sharpe ratio counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qframe_rl import catalog
from qframe_rl.agent import Agent
from qframe_rl.config import Base, UserError, build, searched
from qframe_rl.deploy import make_agent
from qframe_rl.evaluate.splits import Fold
from qframe_rl.gym.market import Market
from qframe_rl.runner.auto_features import FoldMarkets
from qframe_rl.runner.batch import BacktestResult, planner
from qframe_rl.runner.executors import Executor, LocalExecutor
from qframe_rl.runner.fold_training import FoldTraining, TrainingInputs, learn
from qframe_rl.runner.identity import own_code
from qframe_rl.runner.interrupted import read_state, write_state
from qframe_rl.runner.known_until import check_verdict
from qframe_rl.runner.log import RunLog, Screen
from qframe_rl.runner.study.walks import lasting, result_of, run_all, score, walk
from qframe_rl.runner.task import MarketTask, seed_for
from qframe_rl.types import Record, Segment, Segments


@dataclass(frozen=True)
class Subject:
    """A strategy under test, with the settings that every window chooses among."""

    name: str
    """In the catalogue."""
    settings: tuple[Base, ...]
    """Configurations; the first is the one that was asked for."""
    learns: bool
    label: str = ""
    """What it is called where one strategy is studied with several parameters; empty = its name."""

    @property
    def title(self) -> str:
        """What rows, journals and weights are called by."""
        return self.label or self.name


class WindowResult(NamedTuple):
    """What came of one window."""

    fold: Fold
    chosen: int
    """Setting with the best score on the window's own bars."""
    scores: tuple[float, ...]
    """Annual Sharpe ratio in excess of cash of every setting there; of the chosen one alone where there is nothing to
    choose."""
    agent: Agent
    """The chosen setting, trained."""
    judged: list[list[BacktestResult]]
    """What every setting did on each test segment; of a learner, the chosen one alone."""
    records: tuple[Record, ...] = ()
    """Journals of the chosen setting on the test segments, where they were asked for and it was walked bar by bar."""


class WindowRunner:
    """Where windows are run: bars, market, and where trained agents are kept.

    Parameters
    ----------
    made
        The bars, and the market of each window.
    folder
        Folder of the run; what learners learned is kept there.
    screen
        Told of the progress.
    seed
        Root of all randomness.
    resume
        Take finished trainings over.
    executor
        Where trainings are done.
    """

    def __init__(
        self, made: FoldMarkets, folder: Path, screen: Screen, seed: int, resume: bool,
        executor: Executor | None = None,
    ):  # fmt: skip
        self.made, self.history, self.market, self.folder = made, made.history, made.base, folder
        self.screen, self.seed, self.resume = screen, seed, resume
        self.window, self.executor = made.window, executor or LocalExecutor()

    def make(self, name: str, config: Base, market: Market | None = None, seed: int = 0) -> Agent:
        """Make an agent, untrained.

        Parameters
        ----------
        name
            In the catalogue, or a dotted path.
        config
            Its own ``Config``.
        market
            What it trades in; None = the runner's own, whose scaler is unfitted.
        seed
            Root of all its randomness.
        """
        history = self.history
        return make_agent(name, config, market or self.market, history.columns, seed, history.theory)

    def subject(self, text: str, params: dict[str, Any], most: int) -> Subject:
        """Make the subject of NAME or LABEL=NAME, and widen the bench's window to the longest of its settings.

        Parameters
        ----------
        text
            NAME or LABEL=NAME.
        params
            Parameters that were asked for.
        most
            Settings at most, the asked one among them; where there are more, some are drawn.
        """
        label, _, name = text.rpartition("=")
        model = catalog.load("agents", name).Config
        settings = grid(model, params, most, f"agent {label or name}", self.seed)
        agents = [self.make(name, config) for config in settings]
        self.window = max(self.window, *(agent.window for agent in agents))
        return Subject(name, settings, hasattr(agents[0], "fit"), label)

    def windows(self, subject: Subject, folds: Sequence[Fold], what: str, *, kept: bool = False) -> list[WindowResult]:
        """Run every fold: choose a setting on the training bars, judge on the test bars.

        Parameters
        ----------
        subject
            Who is studied, from `subject`.
        folds
            The windows.
        what
            The study's kind, for the screen and the folders of weights.
        kept
            Keep journals of the test segments.
        """
        title = f"{what} of {subject.title}"
        check_verdict(subject.title, subject.settings, self.history, (fold.test for fold in folds))
        self.screen.begin(title)
        found = (
            self._learned(subject, folds, what, title, kept) if subject.learns else self._ruled(subject, folds, kept)
        )
        trials = len(subject.settings)
        self.screen.end(title, f"{len(folds)} windows, {trials} setting{'s' * (trials > 1)} in each")
        return found

    def results(self, agents: Sequence[Agent], wanted: Sequence[tuple[int, Segment]]) -> list[BacktestResult]:
        """Backtest agents (by index) on segments of the bench's bars."""
        return run_all(self.market, [(agents[k], self.history, segment) for k, segment in wanted], self.window)

    def _ruled(self, subject: Subject, folds: Sequence[Fold], kept: bool) -> list[WindowResult]:
        seed = seed_for(self.seed, subject.name, 0, 0)
        agents = [self.make(subject.name, config, seed=seed) for config in subject.settings]
        tune = len(agents) > 1
        if kept and not tune and planner(agents[0]) is None:
            return [self._walked(agents[0], self.market, fold, 0, (0.0,), kept) for fold in folds]
        keys: dict[tuple[int, Segment], int] = {}
        for fold in folds:
            for segment in (*(self._tuned_on(fold) if tune else ()), *fold.test):
                for k in range(len(agents)):
                    keys.setdefault((k, segment), len(keys))
        results = self.results(agents, list(keys))
        found = []
        for fold in folds:
            judged = [[results[keys[k, s]] for s in fold.test] for k in range(len(agents))]
            inside = [
                [results[keys[k, s]] for s in self._tuned_on(fold)] if tune else judged[k] for k in range(len(agents))
            ]
            scores = tuple(score(parts) if tune else 0.0 for parts in inside)
            trades = [sum(part.trades for part in parts) for parts in inside]
            chosen = max(range(len(agents)), key=lambda k: (scores[k], -trades[k], -k))
            found.append(WindowResult(fold, chosen, scores, agents[chosen], judged))
        return found

    def _walked(
        self, agent: Agent, market: Market, fold: Fold, chosen: int, scores: tuple[float, ...], kept: bool
    ) -> WindowResult:
        """Walk the chosen setting bar by bar through the test segments; its journals need no second walk."""
        walked = [(walk(market, agent, self.history, s, self.window), self.history, s) for s in fold.test]
        records = tuple(lasting(*one) for one in walked)
        return WindowResult(fold, chosen, scores, agent, [[*map(result_of, records)]], records if kept else ())

    def _tuned_on(self, fold: Fold) -> Segments:
        """Training bars that are long enough to trade on."""
        kept = tuple(s for s in fold.train if s.stop - max(0, s.start - self.window) > self.window)
        if not kept:
            raise UserError(
                f"{self.history.source.origin}: no training period is longer than the {self.window} bars that the "
                "agents look back over; take more data or fewer windows."
            )
        return kept

    def _learned(
        self, subject: Subject, folds: Sequence[Fold], what: str, title: str, kept: bool
    ) -> list[WindowResult]:
        markets = tuple(self.made.fitted(fold.train) for fold in folds)
        inputs, own = TrainingInputs(self.history, tuple(folds), markets), own_code(subject.name)
        jobs = {
            (number, k): FoldTraining(subject.name, config, number, seed_for(self.seed, subject.name, number, k), own)
            for number in range(len(folds))
            for k, config in enumerate(subject.settings)
        }
        places = {at: self.folder / "weights" / f"{subject.title}-{what}-{at[0]}-{at[1]}.safetensors" for at in jobs}
        self.train(inputs, [(jobs[at], places[at]) for at in jobs], title)
        found = []
        for number, fold in enumerate(folds):
            agents, scores = [], []
            for k, config in enumerate(subject.settings):
                job = jobs[number, k]
                agent: Any = self.make(subject.name, config, markets[number], job.seed)
                agent.restore(read_state(places[number, k]))
                task = MarketTask(markets[number], self.history, fold, job.seed)
                agents.append(agent)
                scores.append(task.validate(agent) if len(subject.settings) > 1 else 0.0)
            chosen = int(np.argmax(scores))
            best = agents[chosen]
            if planner(best) is None:
                found.append(self._walked(best, markets[number], fold, chosen, tuple(scores), kept))
            else:
                judged = [run_all(markets[number], [(best, self.history, s) for s in fold.test], self.window)]
                found.append(WindowResult(fold, chosen, tuple(scores), best, judged))
        return found

    def train(self, inputs: TrainingInputs, jobs: Sequence[tuple[FoldTraining, Path]], title: str) -> None:
        """Train what is not there from an earlier run, wherever that is done, and keep what was learned.

        Parameters
        ----------
        inputs
            What the trainings share.
        jobs
            Each with the file that its weights are kept in.
        title
            For the screen.
        """
        todo = [(job, path) for job, path in jobs if not (self.resume and path.exists())]
        logs: dict[int, RunLog] = {}

        def log(k: int) -> RunLog:
            logs[k] = RunLog(self.folder / "tensorboard" / todo[k][1].stem, title, self.screen)
            return logs[k]

        try:
            for done, (k, state) in enumerate(self.executor.run(learn, inputs, [job for job, _ in todo], log), start=1):
                logs.pop(k).close()
                write_state(state, todo[k][1])
                self.screen.advance(title, done, len(todo), "trainings")
        finally:
            for one in logs.values():
                one.close()


def grid(model: type[Base], params: dict[str, Any], most: int, where: str, seed: int = 0) -> tuple[Base, ...]:
    """Settings to choose among: all combinations of the values that the configuration's fields name.

    Parameters
    ----------
    model
        The configuration; `qframe_rl.config.search` names a field's values.
    params
        What was asked for; a field given here is not searched.
    most
        At most as many settings; beyond, that many are drawn.
    where
        Where ``params`` came from, for messages.
    seed
        Of the draw.

    Returns
    -------
    tuple[Base, ...]
        The one that was asked for first, none twice.
    """
    asked = build(model, params, where)
    fields = {name: values for name, values in searched(model).items() if name not in params}
    rows = [dict(zip(fields, values, strict=True)) for values in product(*fields.values())]
    made = [asked, *(build(model, params | row, where) for row in rows)]
    settings = list({one.model_dump_json(): one for one in made}.values())
    if len(settings) > most:
        picked = np.random.default_rng(seed).choice(np.arange(1, len(settings)), most - 1, replace=False)
        settings = [asked, *(settings[k] for k in sorted(picked))]
    return tuple(settings)
