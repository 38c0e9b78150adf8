"""Train roles among one another, find out what a best reply would gain, and keep a checkpoint of each."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qframe_rl import catalog
from qframe_rl.agent import Log
from qframe_rl.arena.crowd import Crowd
from qframe_rl.arena.play import play
from qframe_rl.arena.reply import Gain, ReplyPlan, best_reply, gain_of, mean_interval
from qframe_rl.arena.seats import BatchPolicy, seats_of
from qframe_rl.arena.selfplay import RoleLearner, SelfPlay, SelfPlayPlan
from qframe_rl.arena.turns import rollout
from qframe_rl.arena.watched import watched_seat
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import UserError, fingerprint
from qframe_rl.evaluate.arena_plot import returns_figure, seat_figure
from qframe_rl.evaluate.painted import write_png
from qframe_rl.runner.arena.experiment import ArenaExperiment
from qframe_rl.runner.arena.kept import FACTS, EarnedPaths, LearningCurves, write_seat
from qframe_rl.runner.arena.quoting import MakersBook, packed_maker, recorded_book, sees_books
from qframe_rl.runner.arena.seated import game_of, interface_of, made_learner, mark, market_root, seat_spec, seated
from qframe_rl.runner.files import read_json, write_json
from qframe_rl.runner.identity import code
from qframe_rl.runner.interrupted import read_state, write_state
from qframe_rl.runner.log import RunLog, Screen
from qframe_rl.runner.task import seed_for
from qframe_rl.versions import code_fingerprint, versions

_KEPT = 20
"""Times in a training that it is kept."""
_MEASURED = 1 << 43


@dataclass
class ArenaOutcome:
    """What a run among many agents came to."""

    folder: Path
    rows: list[dict[str, Any]]
    """Of each role: who sits there, mean return of an episode of one agent with its interval."""
    gains: dict[str, Gain]
    """Of a best reply, by role; empty where none was asked for."""
    pictures: list[Path]
    digest: str
    """Of all weights."""


class ArenaRun:
    """One run under way.

    Parameters
    ----------
    experiment
        What to do.
    runs
        Folder in which the run's folder is put.
    screen
        Told of the progress.
    resume
        Go on from where an interrupted run of the same experiment was last kept.

    Raises
    ------
    UserError
        For anything in the experiment that the user can mend.
    """

    def __init__(self, experiment: ArenaExperiment, runs: Path, screen: Screen, *, resume: bool = False):
        self.experiment, self.screen, self.resume = experiment, screen, resume
        self.seats = seated(experiment)
        if not self.seats.learners:
            raise UserError("roles: nobody learns; let one role be ppo, or rate all with qframe tournament.")
        self._one, self.root = game_of(experiment.env, 1), market_root(experiment.seed)
        self._book = self._recorded()
        own = {role: name for role, name in self.seats.names.items() if role in self.seats.learners}
        self.codes = {
            role: code(catalog.module_of("agents", name), catalog.module_of("envs", experiment.env.name))
            for role, name in own.items()
        }
        digests = sorted(one.digest for one in self.codes.values())
        terms = experiment.model_dump(mode="json") | {"roles": self.seats.names}
        marks = {role: mark(name) for role, name in self.seats.names.items() if role in self.seats.rules}
        ticks = {role: book.history.fingerprint for role, book in self._book.items()}
        self.identity = fingerprint(terms, code_fingerprint(), digests, marks, ticks)
        self.folder = runs / self.identity
        self.play = self._training()
        self._kept = self.folder / "partial" / "selfplay.safetensors"

    def __call__(self) -> ArenaOutcome:
        """Do it."""
        if not self.resume:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "experiment.json", self.experiment.model_dump(mode="json"))
        self._train()
        policies = self._policies()
        rows = self._rows(policies)
        digest = self._keep(rows)
        gains = self._gains(policies)
        pictures = self._draw(rows, gains, policies)
        facts = {
            "roles": self.seats.names, "env": self.experiment.env.model_dump(mode="json"), "rows": rows,
            "exploitability": {role: one._asdict() for role, one in gains.items()},
            "market_steps": self.play.steps, "hash": digest, "identity": self.identity,
        }  # fmt: skip
        write_json(self.folder / FACTS, facts)
        return ArenaOutcome(self.folder, rows, gains, pictures, digest)

    def _recorded(self) -> dict[str, MakersBook]:
        """By role, the recorded book that a learner who sees books is kept for."""
        e, crowd = self.experiment, self._one
        return {
            role: recorded_book(crowd, e.data, e.seed)
            for role in self.seats.learners if isinstance(crowd, Crowd) and sees_books(crowd, role)
        }  # fmt: skip

    def _training(self) -> SelfPlay:
        e, logs = self.experiment, {role: _Log() for role in self.seats.learners}
        self._logs = logs
        learn = {role: seats_of(self._one, role) for role in self.seats.learners}
        n = SelfPlay.n_markets(self._one, e.markets, e.snapshots, e.league, tuple(learn))
        updates = max(1, -(-e.steps // (n * rollout(game_of(e.env, 1), learn, e.n_steps).n_steps)))
        plan = SelfPlayPlan(e.markets, e.n_steps, updates, e.snapshots, e.league, self.root)
        return SelfPlay(
            partial(game_of, e.env), self._learner, tuple(self.seats.learners), self.seats.rules, plan, logs
        )  # fmt: skip

    def _learner(self, role: str, run: int = 0) -> RoleLearner:
        seed = seed_for(self.experiment.seed, role, 0, run)
        return made_learner(self.seats.names[role], self.seats.learners[role], seat_spec(self._one, role, seed))

    def _train(self) -> None:
        curves = LearningCurves(self.folder)
        if self.resume and self._kept.exists():
            self.play.restore(read_state(self._kept))
            curves.resume(self.play.update)
        for role, log in self._logs.items():
            title = f"train {role}"
            self.screen.begin(title)
            log.to = RunLog(self.folder / "tensorboard" / role, title, self.screen)

        def keep(training: SelfPlay) -> bool:
            curves.add(training)
            due, of = training.update * _KEPT, training.plan.n_updates
            if due // of > (due - _KEPT) // of:
                curves.write()
                write_state(training.state(), self._kept)
            return True

        try:
            self.play([keep])
        finally:
            for log in self._logs.values():
                log.close()
        for role in self._logs:
            lanes = self.play.lanes[role]
            samples = lanes.num_envs * self.play.turns[role] * self.play.update
            self.screen.end(f"train {role}", f"{samples:,} agent steps, {len(self.play.league)} snapshots")

    def _policies(self) -> dict[str, BatchPolicy]:
        return self.seats.rules | {role: learner.policy() for role, learner in self.play.learners.items()}

    def _rows(self, policies: Mapping[str, BatchPolicy]) -> list[dict[str, Any]]:
        e, seats = self.experiment, {role: seats_of(self._one, role) for role in self.seats.names}
        earned = EarnedPaths(seats)
        found = play(game_of(e.env, e.episodes), policies, self.root + _MEASURED, told=earned)
        earned.write(self.folder)
        rows = []
        for role, name in self.seats.names.items():
            own = found[:, seats[role]].mean(axis=1)
            low, high = mean_interval(own, e.level, e.resamples, e.seed)
            rows.append(
                {"role": role, "agent": name, "learns": role in self.seats.learners, "return": float(own.mean()),
                 "low": low, "high": high, "episodes": e.episodes}
            )  # fmt: skip
        return rows

    def _gains(self, policies: Mapping[str, BatchPolicy]) -> dict[str, Gain]:
        """What a best reply gains in each role that learns; those that an interrupted run had are taken over."""
        e, place = self.experiment, self.folder / "replies.json"
        if not e.reply_steps:
            return {}
        done = {role: Gain(**one) for role, one in read_json(place).items()} if place.exists() else {}
        updates = max(1, -(-e.reply_steps // (e.markets * e.n_steps)))
        plan = ReplyPlan(e.markets, e.n_steps, updates, e.episodes, e.level, e.resamples, self.root)
        for role in self.seats.learners:
            title = f"best reply of {role}"
            if role in done:
                continue
            self.screen.begin(title)
            make, start = partial(game_of, e.env), self.play.learners[role].state()
            with closing(RunLog(self.folder / "tensorboard" / f"reply_{role}", title, self.screen)) as log:
                reply = best_reply(make, self._learner(role, 1), role, policies, plan, log, start)
                done[role] = gain = gain_of(make(e.episodes), role, policies, reply, plan)
                for name, value in gain._asdict().items():
                    log.scalar(f"exploitability/{name}", value, self.play.steps)
            write_json(place, {name: one._asdict() for name, one in done.items()})
            self.screen.end(title, f"gains {gain.gain:.2f} [{gain.low:.2f}, {gain.high:.2f}] an episode")
        return done

    def _keep(self, rows: list[dict[str, Any]]) -> str:
        digest = hashlib.sha256()
        for role, learner in self.play.learners.items():
            made = self._packed(role, learner, [row for row in rows if row["role"] == role])
            made.save(self.folder / "agents" / role)
            digest.update(made.state_digest.encode())
        return digest.hexdigest()

    def _packed(self, role: str, learner: RoleLearner, scores: list[dict[str, Any]]) -> Checkpoint:
        """The checkpoint of a role: of its seat, or of a recorded book where it sees books."""
        config, seed = self.seats.learners[role], seed_for(self.experiment.seed, role, 0, 0)
        agent = {"name": self.seats.names[role], "params": config.model_dump(mode="json")}
        if role in self._book:
            book, code = self._book[role], self.codes[role]
            return packed_maker(learner, agent, config, seed, book, self.identity, scores, code)
        return Checkpoint(
            agent=agent,
            env=self.experiment.env.model_dump(mode="json"),
            seed=seed,
            instruments=(),
            columns=(),
            bar_ns=0,
            interface=interface_of(self._one, role),
            provenance={
                "fingerprint": self.identity,
                "roles": self.seats.names,
                "market_steps": self.play.steps,
                "code": self.codes[role].describe(),
                "versions": versions(),
            },
            scores=scores,
            state=learner.state(),
        )

    def _draw(
        self, rows: list[dict[str, Any]], gains: Mapping[str, Gain], policies: Mapping[str, BatchPolicy]
    ) -> list[Path]:  # fmt: skip
        self.screen.begin("draw")
        log = RunLog(self.folder / "tensorboard" / "evaluation", "draw", self.screen)
        figures = {"returns": returns_figure(rows, {role: one._asdict() for role, one in gains.items()})}
        if isinstance(game := game_of(self.experiment.env, 1), Crowd):
            shown = next(iter(self.seats.learners))
            seat = int(seats_of(game, shown)[0])
            lived = watched_seat(game, seat, policies, self.root + _MEASURED)
            title = f"{game.names[seat]} ({self.seats.names[shown]}) in an episode"
            write_seat(self.folder, title, lived)
            figures["seat"] = seat_figure(lived, title)
        places = []
        for name, figure in figures.items():
            places.append(write_png(figure, self.folder / f"{name}.png"))
            log.figure(name, figure)
        log.close()
        self.screen.end("draw", ", ".join(str(place) for place in places))
        return places


class _Log(Log):
    """A log that is opened once the run's folder is there."""

    to: RunLog | None = None

    def scalar(self, name: str, value: float, step: int) -> None:
        """Hand it on."""
        assert self.to is not None
        self.to.scalar(name, value, step)

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Hand it on."""
        assert self.to is not None
        self.to.progress(done, total, note)

    def close(self) -> None:
        """Close what was opened."""
        assert self.to is not None
        self.to.close()


def train_arena(
    experiment: ArenaExperiment, runs: Path, screen: Screen, *, resume: bool = False
) -> ArenaOutcome:  # fmt: skip
    """Run an experiment among many agents, from nothing to checkpoints of its roles.

    Parameters
    ----------
    experiment, runs, screen, resume
        As in `ArenaRun`.

    Raises
    ------
    UserError
        For anything in the experiment that the user can mend.
    """
    return ArenaRun(experiment, runs, screen, resume=resume)()
