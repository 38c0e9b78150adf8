"""Walk-forward with a continuing account: one account through all windows, whose model is exchanged at stated bars.

It is the backtest of a procedure: what `paper --refit` decides on the same bars, to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from qframe_rl.agent import Agent
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import Ref, UserError, build
from qframe_rl.deploy import deployed
from qframe_rl.evaluate.splits import Fold
from qframe_rl.evaluate.table import ScoreRow
from qframe_rl.refit import Recipe, RefittedAgent
from qframe_rl.runner.backtest import part
from qframe_rl.runner.fold_training import FoldTraining, TrainingInputs
from qframe_rl.runner.identity import Code
from qframe_rl.runner.interrupted import read_state
from qframe_rl.runner.known_until import check_verdict
from qframe_rl.runner.refit import judged, model_checkpoint, trainings
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.study.walks import journals, result_of, walk
from qframe_rl.runner.study.windows import Subject, WindowResult, WindowRunner
from qframe_rl.types import Record, Segment, iso

MODELS = "models"
"""Folder of a study in which the models of each strategy that learns are kept, by number."""


class TrainedModels:
    """Models that were trained before the walk began; those that were refused are None."""

    def __init__(self, models: Sequence[Agent | None]):
        self._models = models

    def due(self, number: int, until: int) -> None:
        """Nothing is left to do."""

    def exchanged(self, number: int, until: int, time: int) -> Agent | None:
        """Model ``number``; None where it was refused, and after the last bar, when nothing settles any more.

        Parameters
        ----------
        number, until, time
            As in `qframe_rl.refit.ModelSource`.
        """
        return self._models[number] if number < len(self._models) else None

    def kept(self, number: int) -> Agent:
        """Model ``number``."""
        model = self._models[number]
        assert model is not None
        return model


class ContinuingWalk:
    """Strategies of a study, each with one account through all windows.

    Parameters
    ----------
    runner
        Bars, market, and where weights are kept.
    config, identity, codes
        Of the study.

    Raises
    ------
    UserError
        If there is room for no window, or features are to be found anew in each.
    """

    def __init__(self, runner: WindowRunner, config: Study, identity: str, codes: Mapping[str, Code]):
        self.runner, self.config, self.identity, self.codes = runner, config, identity, codes
        self.history, self.asked = runner.history, config.refitting(runner.history.bar_ns)
        if runner.made.n_asked:
            raise UserError(
                "env.features = auto: a procedure keeps its features; find them once with `qframe features find`."
            )
        n_bars, train = len(self.history), config.train or 0
        self.every, self.lag = self.asked["every"], self.asked["lag"]
        self.number = (n_bars - train - self.lag) // self.every
        """Windows."""
        if self.number < 1:
            raise UserError(
                f"refit = {config.refit}: of {n_bars} bars {train} are to train on and {self.lag} are the lag; what is "
                f"left is no window of {self.every}; take more bars, or fewer to train on."
            )
        self.first = n_bars - self.number * self.every
        """Row of the first bar in which orders settle; the windows reach the end of the data."""
        self.models: dict[str, list[Checkpoint]] = {}
        self.recipes: dict[str, Recipe] = {}

    def __call__(self, subject: Subject) -> tuple[list[WindowResult], Record]:
        """Walk one strategy: what came of each window, and the record of all of them."""
        folds = [self.recipe(subject).fold(self.first - self.lag + k * self.every) for k in range(self.number)]
        check_verdict(subject.title, subject.settings, self.history, (fold.test for fold in folds))
        title = f"continuing account of {subject.title}"
        self.runner.screen.begin(title)
        agents, scores, record = self._learned(subject, folds, title) if subject.learns else self._ruled(subject, title)
        if len(record) - 1 < self.number * self.every:
            raise UserError(
                f"{subject.title}: its account was gone at {iso(int(record.time[-1]))}, and what a continuing account "
                "would have done after that is nothing; trade with less leverage, or leave it out."
            )
        windows = [
            WindowResult(
                fold, 0, (scores[k],), agents[k], [[result_of(part(record, k * self.every, (k + 1) * self.every))]]
            )
            for k, fold in enumerate(folds)
        ]
        self.runner.screen.end(title, f"{self.number} windows of {self.every} bars")
        return windows, record

    def recipe(self, subject: Subject) -> Recipe:
        """What is trained when."""
        config, market = self.config, self.runner.market
        made = {
            "agent": subject.name, "params": subject.settings[0].model_dump(mode="json"),
            "env": Ref(name=market.name, params=config.env.params),
            "risk": config.risk.model_dump(mode="json", exclude_defaults=True), "seed": config.seed,
            "code": self.codes[subject.title].digest, "bar_ns": self.history.bar_ns, "since": config.data.since,
            **self.asked,
        }  # fmt: skip
        return build(Recipe, made, "refit")

    def describe(self, records: Mapping[str, Record]) -> dict[str, Any]:
        """Hash of each strategy's account, digest of each recipe, and where the first bar that settles opens."""
        recipes = {title: self.recipes[title].digest for title in self.models}
        begin = iso(int(self.history.time[self.first]) - self.history.bar_ns)
        return {"from": begin, "recipes": recipes, "hashes": {name: record.digest for name, record in records.items()}}

    def keep(self, rows: Sequence[ScoreRow]) -> None:
        """Write the models of all strategies that learn, each with the rows of what the study judged."""
        for title, models in self.models.items():
            scores = [dict(row) for row in rows if row["agent"] == title]
            for number, model in enumerate(models):
                named = [row | {"agent": model.agent["name"]} for row in scores]
                replace(model, scores=named).save(self.runner.folder / MODELS / title / f"{number:04d}")

    def _ruled(self, subject: Subject, title: str) -> tuple[list[Agent], list[float], Record]:
        """One that learns nothing: it is never exchanged."""
        runner = self.runner
        agent = runner.make(subject.name, subject.settings[0])
        jobs = [(agent, self.history, Segment(self.first, len(self.history)))]
        (record,) = journals(runner.market, jobs, runner.window, partial(runner.screen.advance, title))
        return [agent] * self.number, [0.0] * self.number, record

    def _learned(self, subject: Subject, folds: Sequence[Fold], title: str) -> tuple[list[Agent], list[float], Record]:
        runner, recipe, history = self.runner, self.recipe(subject), self.history
        self._refuse_shifted(subject)
        markets = tuple(runner.made.fitted(fold.train) for fold in folds)
        jobs = [self._trainings(recipe, subject, k, fold) for k, fold in enumerate(folds)]
        inputs = TrainingInputs(history, tuple(folds), markets)
        runner.train(inputs, [one for of in jobs for one in of], title)
        agents: list[Agent | None] = []
        scores, kept = [], []
        for k, (fold, market) in enumerate(zip(folds, markets, strict=True)):
            states = [read_state(place) for _, place in jobs[k]]
            model = judged(recipe, market, history, fold, [job for job, _ in jobs[k]], states)
            code = self.codes[subject.title]
            made = model_checkpoint(recipe, model, market, history, fold, self.config, self.identity, code)
            taken = k == 0 or not model.refused
            agents.append(self._deployed(made) if taken else None)
            scores.append(model.score or 0.0)
            kept.append(made)
        self.models[subject.title], self.recipes[subject.title] = kept, recipe
        first = agents[0]
        assert first is not None
        agent = RefittedAgent(first, recipe, TrainedModels(agents))
        record = walk(runner.market, agent, history, Segment(self.first, len(history)), runner.window)
        return self._deciding(agents), scores, record

    def _trainings(self, recipe: Recipe, subject: Subject, k: int, fold: Fold) -> list[tuple[FoldTraining, Path]]:
        """Trainings of one model, each with the file that its weights are kept in."""
        until = int(self.history.time[fold.train[-1].stop - 1])
        jobs = trainings(recipe, subject.settings[0], k, until, [None] * recipe.runs)
        place = self.runner.folder / "weights"
        return [(job, place / f"{subject.title}-refit-{k}-{run}.safetensors") for run, job in enumerate(jobs)]

    def _deployed(self, made: Checkpoint) -> Agent:
        """The agent of a checkpoint, as a session makes it."""
        history = self.history
        what = (history.instruments, history.columns, history.bar_ns, history.source.origin, history.theory)
        _, agent = deployed(made, *what)
        return agent

    def _deciding(self, agents: Sequence[Agent | None]) -> list[Agent]:
        """Who decides in each window."""
        found: list[Agent] = []
        for agent in agents:
            found.append(found[-1] if agent is None else agent)
        return found

    def _refuse_shifted(self, subject: Subject) -> None:
        """Refuse a window that would put the first decision off, and with it every exchange."""
        if self.first < self.runner.window:
            raise UserError(
                f"{subject.title}: {self.first} bars lie before the first window, and a decision sees "
                f"{self.runner.window}; raise train."
            )
