"""Train every strategy, score it on validation bars, choose one, judge it once on test bars, keep it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qframe_rl.agent import Agent
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import Ref, UserError
from qframe_rl.deploy import make_agent
from qframe_rl.evaluate.painted import write_png
from qframe_rl.evaluate.plot import equity_figure, leaderboard_figure
from qframe_rl.evaluate.provenance import source_note
from qframe_rl.evaluate.splits import split, tail
from qframe_rl.evaluate.table import ScoreRow, leaderboard
from qframe_rl.evaluate.trials import Trial, Trials, trial
from qframe_rl.feeds.load import remarks
from qframe_rl.journal.record_file import write_record
from qframe_rl.runner.auto_features import FoldMarkets
from qframe_rl.runner.backtest import backtest, joined
from qframe_rl.runner.choose import NO_CANDIDATES, Choice, choose, validation_rows
from qframe_rl.runner.executors import Executor, LocalExecutor
from qframe_rl.runner.experiment import BASELINES, Experiment, agent_config, roster
from qframe_rl.runner.files import span, write_json
from qframe_rl.runner.fold_training import FoldTraining, TrainingInputs, learn
from qframe_rl.runner.identity import code_of, own_code, run_identity
from qframe_rl.runner.known_until import check_verdict
from qframe_rl.runner.loading import bars_of
from qframe_rl.runner.log import RunLog, Screen
from qframe_rl.runner.packing import packed
from qframe_rl.runner.task import seed_for
from qframe_rl.runner.trainings import NOT_CHOSEN_YET, open_run, train_all
from qframe_rl.types import History, Record

_SPLITS = ("holdout", "walk_forward")
CHOSEN = "chosen per fold"
"""Name of the test record of a walk-forward run whose folds chose different agents."""


Scored = dict[tuple[str, int], list[tuple[int, Record]]]
"""Records by agent and run, each with its fold."""


@dataclass
class TrainingJob:
    """One training: an agent on a fold with a seed."""

    name: str
    fold: int
    run: int
    agent: Agent
    params: dict[str, Any]
    seed: int

    @property
    def learns(self) -> bool:
        """Whether it is trained at all."""
        return hasattr(self.agent, "fit")

    @property
    def title(self) -> str:
        """How it is called on the screen and in folders."""
        return f"{self.name}-{self.fold}-{self.run}"


@dataclass
class Outcome:
    """What a run came to."""

    folder: Path
    """Journals, figures, TensorBoard, all agents."""
    checkpoint: Path
    """The chosen agent."""
    choice: Choice
    judged: str
    """Name of the test row of what was chosen: the agent, or `CHOSEN` where the folds chose differently."""
    leaderboard: list[ScoreRow]
    """Validation rows of all agents, test rows of what was chosen and the baselines."""
    digest: str
    """SHA-256 over all weights and journals: equal for equal runs."""
    history: History
    records: dict[str, Record] = field(default_factory=dict)
    """Test records by agent."""


class Run:
    """One experiment under way.

    Parameters
    ----------
    experiment
        What to do.
    runs, checkpoints
        Folders in which the run's folder and the chosen checkpoint are put.
    screen
        Told of the progress.
    resume
        Take trainings over that an earlier, interrupted run of the same experiment finished.
    executor
        Where trainings are done; the same bits come of all.
    ledger
        File of the ledger of trials; None = the user's.

    Raises
    ------
    UserError
        For anything in the experiment that the user can mend.
    """

    def __init__(
        self, experiment: Experiment, runs: Path, checkpoints: Path, screen: Screen, *, resume: bool = False,
        executor: Executor | None = None, ledger: Path | None = None,
    ):  # fmt: skip
        self.experiment, self.checkpoints, self.screen, self.resume = experiment, checkpoints, screen, resume
        self.executor = executor or LocalExecutor()
        if experiment.split.name not in _SPLITS:
            raise UserError(f"split {experiment.split.name!r}: a run trains and judges by {' or '.join(_SPLITS)}.")
        screen.begin("load data")
        self.history = bars_of(experiment.data, screen)
        for line in remarks(self.history):
            screen.say(f"data check: {line}")
        self.trials = Trials.opened(ledger, runs)
        self.names = roster(experiment, self.history)
        self.configs = {name: agent_config(experiment, name) for name in self.names}
        history = self.history
        self.made = FoldMarkets(experiment.env, history, experiment.risk, experiment.seed, screen)
        market = self.made.base
        self.env = Ref(name=market.name, params=experiment.env.params)
        self.folds = list(split(experiment.split).split(history))
        for name, config in self.configs.items():
            check_verdict(name, [config], history, (part for f in self.folds for part in (f.validation, f.test)))
        self.markets = [self.made.fitted(fold.train) for fold in self.folds]
        env, configs = experiment.env, self.configs
        self.codes = {name: code_of(name, config, env, market.name) for name, config in configs.items()}
        self.identity = run_identity(experiment, history, self.codes.values())
        self.folder = runs / self.identity
        self.tried: dict[str, str] = {}
        self.jobs = [
            self._cell(name, fold, run)
            for fold in range(len(self.folds))
            for name in self.names
            for run in range(self._runs(name))
        ]
        seen = max(market.interface.window for market in self.markets)
        self.window = max(seen, *(job.agent.window for job in self.jobs))
        self._refuse_short()
        screen.end("load data", f"{len(history)} bars of {', '.join(history.symbols)} from {history.source.origin}")

    def __call__(self) -> Outcome:
        """Do it."""
        open_run(self.folder, self.experiment, self.history.describe(), resume=self.resume)
        if self.made.n_asked:
            write_json(self.folder / "features.json", self.made.counted(self.trials, self.identity))
        self._train()
        scored = self._scored("validation", self.jobs)
        rows_of = self._trials(scored)
        self.trials.add(rows_of.values(), self.history)
        self.tried = {title: row.config for title, row in rows_of.items()}
        self.luck = self.trials.luck(self.history)
        validation = _joined(scored)
        rows = self._rows(validation, len(self.folds))
        choice = self._choose(rows, validation)
        test, judged = self._judge(choice, scored)
        rows += leaderboard(
            test, "test", level=self.experiment.level, n_resamples=self.experiment.resamples,
            seed=self.experiment.seed, luck=self.luck, windows=len(self.folds),
        )  # fmt: skip
        return self._keep(choice, judged, rows, validation, test)

    def _rows(self, validation: Mapping[str, list[Record]], folds: int) -> list[ScoreRow]:
        own = self.experiment
        return validation_rows(validation, own.level, own.resamples, own.seed, self.luck, folds)

    def _choose(self, rows: list[ScoreRow], validation: Mapping[str, list[Record]]) -> Choice:
        return choose(rows, validation, self.luck, self.experiment.promote_anyway)

    def _judge(self, choice: Choice, scored: Scored) -> tuple[dict[str, Record], str]:
        """Test records of what was chosen and of the baselines.

        The validation bars of a later fold are test bars of an earlier one. So each fold's test bars are traded by what
        the folds up to it would have chosen: a choice made in hindsight is not a test.
        """
        choices = [choice]
        for fold in range(len(self.folds) - 1):
            seen = _joined(scored, fold)
            choices.insert(fold, self._choose(self._rows(seen, fold + 1), seen))
        chosen = {(c.agent, fold, c.run) for fold, c in enumerate(choices)}
        name = choice.agent if len({c.agent for c in choices}) == 1 else CHOSEN
        always = (*BASELINES, *(["optimal"] if "optimal" in self.names else []))
        jobs = [c for c in self.jobs if (c.name, c.fold, c.run) in chosen or (c.name in always and c.run == 0)]
        tested = self._scored("test", jobs)
        own = [piece for fold, c in enumerate(choices) for piece in tested[c.agent, c.run] if piece[0] == fold]
        records = {name: joined([record for _, record in own])}
        records |= {agent: joined([record for _, record in tested[agent, 0]]) for agent in always if agent != name}
        return records, name

    def _runs(self, name: str) -> int:
        agent = make_agent(name, self.configs[name], self.markets[0], self.history.columns, 0, self.history.theory)
        return self.experiment.seeds if hasattr(agent, "fit") else 1

    def _cell(self, name: str, fold: int, run: int) -> TrainingJob:
        seed = seed_for(self.experiment.seed, name, fold, run)
        history, config = self.history, self.configs[name]
        agent = make_agent(name, config, self.markets[fold], history.columns, seed, history.theory)
        return TrainingJob(name, fold, run, agent, config.model_dump(mode="json"), seed)

    def _refuse_short(self) -> None:
        for fold in self.folds:
            for part in ("train", "validation", "test"):
                for segment in getattr(fold, part):
                    if segment.n_bars < 2 or segment.stop <= self.window + 1:
                        raise UserError(
                            f"{self.history.source.origin}: the {part} period of {segment.n_bars} bars is too short: "
                            f"the agents look back over {self.window} bars; take more data or other split sizes."
                        )
        if any(job.learns for job in self.jobs):
            for fold in self.folds:
                tail(fold)
        market, fold = self.markets[0], self.folds[0]
        market.tape([(self.history.rows(0, fold.train[-1].stop), fold.train)])

    def _train(self) -> None:
        inputs = TrainingInputs(self.history, tuple(self.folds), tuple(self.markets))

        def job_of(job: TrainingJob, partial: Path) -> FoldTraining:
            return FoldTraining(job.name, self.configs[job.name], job.fold, job.seed, own_code(job.name), partial)

        train_all(
            self.jobs, learn, inputs, job_of, lambda job: self._checkpoint(job, [], NOT_CHOSEN_YET),
            folder=self.folder, identity=self.identity, resume=self.resume, executor=self.executor, screen=self.screen,
        )  # fmt: skip

    def _scored(self, part: str, jobs: list[TrainingJob]) -> Scored:
        """Records of each agent's runs over one part, by fold."""
        title = f"score on {part}"
        self.screen.begin(title)
        runs: Scored = {}
        for k, job in enumerate(jobs):
            market, segments = self.markets[job.fold], getattr(self.folds[job.fold], part)
            self.screen.advance(title, k, len(jobs), job.title)
            for segment in segments:
                record = backtest(market, job.agent, self.history, segment, self.window)
                runs.setdefault((job.name, job.run), []).append((job.fold, record))
        self.screen.end(title, span(self.history, [getattr(f, part) for f in self.folds]))
        return dict(sorted(runs.items(), key=lambda item: (self.names.index(item[0][0]), item[0][1])))

    def _trials(self, scored: Scored) -> dict[str, Trial]:
        """Rows of the ledger by the titles of jobs: all that could have been chosen."""
        rows = {}
        for job in self.jobs:
            if job.name in NO_CANDIDATES:
                continue
            seed = self.experiment.seed if job.learns else 0
            config = [
                job.name,
                job.params,
                self.env.model_dump(mode="json"),
                self.experiment.split.model_dump(),
                seed,
                *([self.experiment.risk.model_dump(mode="json")] if self.experiment.risk.binding else []),
            ]
            for fold, record in scored[job.name, job.run]:
                if fold == job.fold:
                    rows[job.title] = trial(
                        record, self.history, kind="train", run=self.identity, agent=job.name, params=job.params,
                        config=[*config, job.run], seed=job.seed, fold=fold, code=self.codes[job.name].coded,
                    )  # fmt: skip
        return rows

    def _keep(
        self,
        choice: Choice,
        judged: str,
        rows: list[ScoreRow],
        validation: Mapping[str, list[Record]],
        test: Mapping[str, Record],
    ) -> Outcome:
        self.screen.begin("write")
        last = len(self.folds) - 1
        kept = {}
        for job in self.jobs:
            if job.fold == last:
                scores = [dict(row) for row in rows if row["agent"] == job.name]
                chosen = job.name == choice.agent and job.run == choice.run
                why = choice.describe() if chosen else {"promoted": False, "forced": False, "reason": "not chosen"}
                kept[job.title] = self._checkpoint(job, scores, why)
                kept[job.title].save(self.folder / "agents" / job.title)
                if chosen:
                    kept[job.title].save(self.checkpoints / self.identity)
        write_json(self.folder / "leaderboard.json", rows)
        write_json(self.folder / "choice.json", {**choice.describe(), "judged": judged, "checkpoint": self.identity})
        for name, record in test.items():
            write_record(record, self.folder / "journals" / f"test-{name}.parquet")
        for name, runs in validation.items():
            for run, record in enumerate(runs):
                write_record(record, self.folder / "journals" / f"validation-{name}-{run}.parquet")
        self._draw(judged, rows, test)
        digest = hashlib.sha256()
        for title in sorted(kept):
            digest.update(kept[title].state_digest.encode())
        for record in (*(r for name in sorted(validation) for r in validation[name]), *(test[n] for n in sorted(test))):
            digest.update(record.digest.encode())
        self.screen.end("write", str(self.folder))
        checkpoint = self.checkpoints / self.identity
        return Outcome(self.folder, checkpoint, choice, judged, rows, digest.hexdigest(), self.history, dict(test))

    def _draw(self, judged: str, rows: list[ScoreRow], test: Mapping[str, Record]) -> None:
        note = source_note(self.history)
        ordered = {judged: test[judged], **test}
        pictures = {
            "equity": equity_figure(ordered, "Test period", note),
            "leaderboard": leaderboard_figure(
                [r for r in rows if r["split"] == "validation"], "Validation period", note
            ),
        }
        log = RunLog(self.folder / "tensorboard" / "evaluation", "write", self.screen)
        for name, figure in pictures.items():
            write_png(figure, self.folder / f"{name}.png")
            log.figure(name, figure)
        for row in rows:
            for key, value in row.items():
                if isinstance(value, float):
                    log.scalar(f"{row['split']}/{row['agent']}/{key}", value, 0)
        log.close()
        for job in self.jobs:
            if job.learns:
                found = next(r for r in rows if r["agent"] == job.name and r["split"] == "validation")
                log = RunLog(self.folder / "tensorboard" / job.title, "write", self.screen)
                log.hyper_parameters(job.params, {"validation/sharpe": found["sharpe"]})
                log.close()

    def _checkpoint(
        self, job: TrainingJob, scores: list[dict[str, Any]], promotion: Mapping[str, object]
    ) -> Checkpoint:
        market, fold = self.markets[job.fold], self.folds[job.fold]
        return packed(
            job.agent, {"name": job.name, "params": job.params}, job.seed, market, self.history, fold,
            self.experiment, self.identity, promotion, scores, self.codes[job.name], self.tried.get(job.title),
        )  # fmt: skip


def _joined(scored: Scored, until: int | None = None) -> dict[str, list[Record]]:
    """Records of each agent's runs, folds (up to one of them) laid end to end."""
    records: dict[str, list[Record]] = {}
    for (name, _), pieces in scored.items():
        seen = [record for fold, record in pieces if until is None or fold <= until]
        records.setdefault(name, []).append(joined(seen))
    return records


def train(
    experiment: Experiment, runs: Path, checkpoints: Path, screen: Screen, *, resume: bool = False,
    executor: Executor | None = None, ledger: Path | None = None,
) -> Outcome:  # fmt: skip
    """Run an experiment from data to checkpoint.

    Parameters
    ----------
    experiment, runs, checkpoints, screen, resume, executor, ledger
        As in `Run`.

    Raises
    ------
    UserError
        For anything in the experiment that the user can mend.
    """
    return Run(experiment, runs, checkpoints, screen, resume=resume, executor=executor, ledger=ledger)()
