"""Train strategies on recorded books, score them on later ticks, choose one, judge it on the last ones, keep it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qframe_rl import catalog
from qframe_rl.agent import Log, State
from qframe_rl.book.queue import QueueRule
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import Base, UserError, nearest
from qframe_rl.evaluate.painted import write_png
from qframe_rl.evaluate.provenance import marked
from qframe_rl.evaluate.quoting import QuotingRecord, QuotingRow, causes, mean_markouts, scores
from qframe_rl.evaluate.quoting_plot import quoting_figure, quoting_leaderboard_figure
from qframe_rl.evaluate.trials import Luck, Trial, Trials
from qframe_rl.feeds.tick_load import TickHistory, load_ticks
from qframe_rl.gym.make import make_book
from qframe_rl.gym.replay.market import BookMarket
from qframe_rl.gym.replay.packed import PackedTicks, TickSpan
from qframe_rl.runner.books.choose import Scored, choose_quoter, promotion_of, quoting_trial
from qframe_rl.runner.books.kept import FACTS, keep_records
from qframe_rl.runner.books.packing import made_agent, packed_book
from qframe_rl.runner.books.replay import as_quoter, replay, stretches
from qframe_rl.runner.books.split import book_fold
from qframe_rl.runner.books.task import BookTask
from qframe_rl.runner.books.yardsticks import FLAT, YARDSTICKS
from qframe_rl.runner.executors import Executor, LocalExecutor
from qframe_rl.runner.experiment import Experiment, agent_config
from qframe_rl.runner.files import write_json
from qframe_rl.runner.identity import Code, code_of, own_code, refuse_other_code, run_identity
from qframe_rl.runner.log import RunLog, Screen
from qframe_rl.runner.task import seed_for
from qframe_rl.runner.trainings import NOT_CHOSEN_YET, open_run, train_all

TRADES: QueueRule = "trades"
"""The queue rule at the other end of the band."""


class BookJob(NamedTuple):
    """One training: what is needed to do it elsewhere."""

    name: str
    config: Base
    seed: int
    code: str
    partial: Path | None


class TickInputs(NamedTuple):
    """What all trainings of a run share."""

    market: BookMarket
    train: Sequence[TickSpan]
    stopping: Sequence[TickSpan]


def learn_book(inputs: TickInputs, job: BookJob, log: Log) -> State:
    """Train an agent on ticks and return what it learned.

    Parameters
    ----------
    inputs, job
        What all share, and which one.
    log
        Told of its progress.
    """
    refuse_other_code(job.name, job.code)
    agent: Any = made_agent(job.name, job.config, inputs.market, job.seed)
    agent.fit(BookTask(inputs.market, inputs.train, inputs.stopping, job.seed, job.partial), log)
    state: State = agent.state()
    return state


@dataclass
class BookAgent:
    """An agent of a run."""

    name: str
    run: int
    seed: int
    config: Base | None
    agent: Any
    code: Code | None
    tried: str | None = None
    """By what the ledger of trials knows it."""

    @property
    def title(self) -> str:
        """How it is called on the screen and in folders."""
        return f"{self.name}-0-{self.run}"

    @property
    def learns(self) -> bool:
        """Whether it is trained at all."""
        return hasattr(self.agent, "fit")

    @property
    def params(self) -> dict[str, Any]:
        """Of its configuration."""
        return {} if self.config is None else self.config.model_dump(mode="json")


@dataclass
class BookOutcome:
    """What a run on order books came to."""

    folder: Path
    checkpoint: Path
    chosen: str
    reason: str
    forced: bool
    rows: list[QuotingRow]
    """Validation rows of all agents, test rows of what was chosen and the yardsticks."""
    digest: str
    history: TickHistory
    market: BookMarket
    luck: Luck
    """What all trials on the ticks say about it."""
    records: dict[str, list[QuotingRecord]] = field(default_factory=dict)
    """Of the test part, by agent."""


class BookRun:
    """One run under way.

    Parameters
    ----------
    experiment
        What to do; its environment is an order book.
    runs, checkpoints
        Folders in which the run's folder and the chosen checkpoint are put.
    screen
        Told of the progress.
    resume
        Take trainings over that an earlier, interrupted run of the same experiment finished.
    executor
        Where trainings are done.
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
        if experiment.risk.binding:
            raise UserError("risk: the limits of an order book are its own (env.limit, env.loss_limit).")
        screen.begin("load ticks")
        self.history = load_ticks(experiment.data)
        self.trials, self.luck = Trials.opened(ledger, runs), Luck()
        self.fold = book_fold(self.history.runs, experiment.split)
        self.names = _asked(experiment)
        configs = {name: agent_config(experiment, name) for name in self.names if name not in YARDSTICKS}
        plain = make_book(experiment.env, self.history.instrument)
        self.market = plain.fit(self.fold.train)
        codes = {name: code_of(name, config, experiment.env, plain.name) for name, config in configs.items()}
        self.identity = run_identity(experiment, self.history, codes.values())
        self.folder = runs / self.identity
        self._laid: dict[str, list[PackedTicks]] = {}
        self.agents: list[BookAgent] = []
        for name in self.names:
            for run in range(experiment.seeds):
                seed, config = seed_for(experiment.seed, name, 0, run), configs.get(name)
                one = BookAgent(name, run, seed, config, made_agent(name, config, self.market, seed), codes.get(name))
                as_quoter(one.agent, self.market.interface)
                if run == 0 or one.learns:
                    self.agents.append(one)
        minutes = sum(span.stop - span.start for part in self.fold for span in part) / 60e9
        screen.end("load ticks", f"{minutes:.1f} minutes of {self.history.instrument.symbol}")

    def __call__(self) -> BookOutcome:
        """Do it."""
        open_run(self.folder, self.experiment, self.history.describe(), resume=self.resume)
        self._train()
        validation, banded = self._scored("validation", self.agents), self._scored("validation", self.agents, TRADES)
        self.trials.add([self._trial(a, validation) for a in self.agents if a.name != FLAT], self.history)
        self.luck = self.trials.luck(self.history)
        rows = {(a.name, a.run): self._row(a, "validation", validation, banded) for a in self.agents}
        key, reason, forced = choose_quoter(rows, validation, self.experiment)
        chosen = next(a for a in self.agents if (a.name, a.run) == key)
        judged = [chosen, *(a for a in self.agents if a.name in YARDSTICKS and a is not chosen)]
        tested, tested_band = self._scored("test", judged), self._scored("test", judged, TRADES)
        test = [self._row(a, "test", tested, tested_band) for a in judged]
        return self._keep(chosen, reason, forced, rows, test, validation, tested)

    def _train(self) -> None:
        def job_of(one: BookAgent, partial: Path) -> BookJob:
            assert one.config is not None
            return BookJob(one.name, one.config, one.seed, own_code(one.name), partial)

        train_all(
            self.agents, learn_book, TickInputs(self.market, self.fold.train, self.fold.stopping), job_of,
            lambda one: self._packed(one, [], NOT_CHOSEN_YET), folder=self.folder, identity=self.identity,
            resume=self.resume, executor=self.executor, screen=self.screen,
        )  # fmt: skip

    def _scored(self, part: str, agents: Sequence[BookAgent], queue: QueueRule | None = None) -> Scored:
        """Records of agents over a part."""
        title = f"score on {part}" + (f", queue rule {queue}" if queue else "")
        self.screen.begin(title)
        found: Scored = {}
        for k, one in enumerate(agents):
            self.screen.advance(title, k, len(agents), one.title)
            quoter = as_quoter(one.agent, self.market.interface)
            found[one.name, one.run] = replay(self.market, quoter, self._stretches(part), queue)
        self.screen.end(title)
        return found

    def _stretches(self, part: str) -> list[PackedTicks]:
        """A part laid out, once for all agents and queue rules."""
        if part not in self._laid:
            self._laid[part] = stretches(self.market, getattr(self.fold, part))
        return self._laid[part]

    def _trial(self, one: BookAgent, found: Scored) -> Trial:
        """Row of the ledger; `tried` is what it is known by."""
        own, records = self.experiment, found[one.name, one.run]
        shared = [own.env.model_dump(mode="json"), own.split.model_dump(), own.seed if one.learns else 0, one.run]
        row = quoting_trial(
            records, found[FLAT, 0], self.history, kind="train", run=self.identity, agent=one.name, params=one.params,
            config=[one.name, one.params, *shared], seed=one.seed, fold=0, code=one.code,
        )  # fmt: skip
        one.tried = row.config
        return row

    def _row(self, one: BookAgent, part: str, found: Scored, banded: Scored) -> QuotingRow:
        own, label = self.experiment, one.name if one.run == 0 else f"{one.name} #{one.run}"
        return scores(
            found[one.name, one.run], banded[one.name, one.run], label, part, found[FLAT, 0], level=own.level,
            resamples=own.resamples, seed=own.seed, luck=self.luck,
        )  # fmt: skip

    def _keep(
        self, chosen: BookAgent, reason: str, forced: bool, rows: Mapping[tuple[str, int], QuotingRow],
        test: list[QuotingRow], validation: Scored, tested: Scored,
    ) -> BookOutcome:  # fmt: skip
        self.screen.begin("write")
        ordered = sorted(rows.values(), key=lambda row: row["score"], reverse=True)
        told = promotion_of(rows[chosen.name, chosen.run], self.luck, reason, forced=forced)
        digest = hashlib.sha256()
        for one in self.agents:
            own = [dict(row) for row in (rows[one.name, one.run], *(test if one is chosen else []))]
            why = told if one is chosen else {"promoted": False, "forced": False, "reason": "not chosen"}
            kept = self._packed(one, own, why)
            kept.save(self.folder / "agents" / one.title)
            digest.update(kept.state_digest.encode())
            if one is chosen:
                kept.save(self.checkpoints / self.identity)
        for found in (validation, tested):
            for key in sorted(found):
                for record in found[key]:
                    digest.update(np.ascontiguousarray(record.worth).tobytes() + record.fills.tobytes())
        write_json(self.folder / "leaderboard.json", [*ordered, *test])
        what = {"agent": chosen.name, "run": chosen.run, **told, "checkpoint": self.identity}
        write_json(self.folder / "choice.json", what)
        records = {name: found for (name, _), found in tested.items()}
        facts = {
            name: {"causes": causes(found), "markouts": {str(h): m for h, m in mean_markouts(found).items()}}
            for name, found in records.items()
        }
        keep_records(self.folder, records)
        write_json(self.folder / FACTS, {"facts": self.market.facts.model_dump(), "test": facts})
        self._draw(ordered, records)
        self.screen.end("write", str(self.folder))
        return BookOutcome(
            self.folder, self.checkpoints / self.identity, chosen.name, reason, forced, [*ordered, *test],
            digest.hexdigest(), self.history, self.market, self.luck, records,
        )  # fmt: skip

    def _draw(self, rows: Sequence[QuotingRow], records: Mapping[str, Sequence[QuotingRecord]]) -> None:
        source, unit = self.history.source, self.history.instrument.quote
        note = f"{marked(source)}{self.history.instrument.symbol}, {source.exchange}, {source.origin}"
        label = "saved, basis points" if self.market.ends else f"profit, {unit}"
        pictures = {
            "quoting": quoting_figure(records, unit, "Test ticks", note),
            "leaderboard": quoting_leaderboard_figure(rows, label, "Validation ticks", note),
        }
        log = RunLog(self.folder / "tensorboard" / "evaluation", "write", self.screen)
        for name, figure in pictures.items():
            write_png(figure, self.folder / f"{name}.png")
            log.figure(name, figure)
        for row in rows:
            log.scalar(f"validation/{row['agent']}/score", row["score"], 0)
        log.close()

    def _packed(self, one: BookAgent, own: list[dict[str, Any]], why: Mapping[str, object]) -> Checkpoint:
        return packed_book(
            one.agent, {"name": one.name, "params": one.params}, one.seed, self.market, self.history, self.fold,
            self.experiment, self.identity, why, own, one.code, one.tried,
        )  # fmt: skip


def _asked(experiment: Experiment) -> tuple[str, ...]:
    """Agents of a run, and the yardsticks."""
    asked = experiment.agents
    if len(set(asked)) < len(asked):
        raise UserError(f"agents: {', '.join(asked)} names one twice.")
    names = tuple(dict.fromkeys((*asked, *YARDSTICKS)))
    for name in experiment.agent:
        if name not in names:
            raise UserError(f"agent.{name}: there are parameters for a strategy that is not run{nearest(name, names)}")
    for name in asked:
        if name not in YARDSTICKS:
            catalog.load("agents", name)
    anyway, others = experiment.promote_anyway, [name for name in names if name != FLAT]
    if anyway is not None and anyway not in ("best", *others):
        raise UserError(f"promote_anyway: {anyway!r} does not run{nearest(anyway, others)}")
    return names


def train_books(
    experiment: Experiment, runs: Path, checkpoints: Path, screen: Screen, *, resume: bool = False,
    executor: Executor | None = None, ledger: Path | None = None,
) -> BookOutcome:  # fmt: skip
    """Run an experiment on order books from ticks to checkpoint.

    Parameters
    ----------
    experiment, runs, checkpoints, screen, resume, executor, ledger
        As in `BookRun`.

    Raises
    ------
    UserError
        For anything in the experiment that the user can mend.
    """
    return BookRun(experiment, runs, checkpoints, screen, resume=resume, executor=executor, ledger=ledger)()
