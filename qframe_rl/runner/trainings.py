"""Trainings of a run, on bars or on order books: done here or elsewhere, kept at once, taken over by a later run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from qframe_rl.agent import Log, State
from qframe_rl.checkpoint import Checkpoint, load_checkpoint
from qframe_rl.runner.executors import Executor
from qframe_rl.runner.experiment import Experiment
from qframe_rl.runner.files import write_json
from qframe_rl.runner.log import RunLog, Screen

NOT_CHOSEN_YET: Mapping[str, object] = {"promoted": False, "forced": False, "reason": "not chosen yet"}


class Trainee(Protocol):
    """An agent of a run."""

    agent: Any

    @property
    def title(self) -> str:
        """How it is called on the screen and in folders."""

    @property
    def learns(self) -> bool:
        """Whether it is trained at all."""


S = TypeVar("S")
C = TypeVar("C")
T = TypeVar("T", bound=Trainee)


def open_run(folder: Path, experiment: Experiment, data: Mapping[str, Any], *, resume: bool) -> None:
    """Make a run's folder, with what was asked for and of which data.

    Parameters
    ----------
    folder
        Made anew, unless it is resumed.
    experiment, data
        What was asked for, and what is said of the data; written down.
    resume
        Whether what lies there stays.
    """
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "experiment.json", experiment.model_dump(mode="json"))
    write_json(folder / "data.json", data)


def train_all(
    trainees: Sequence[T], work: Callable[[S, C, Log], State], shared: S, job_of: Callable[[T, Path], C],
    packed: Callable[[T], Checkpoint], *, folder: Path, identity: str, resume: bool, executor: Executor,
    screen: Screen,
) -> None:  # fmt: skip
    """Train what learns; what comes back is restored into its agent and kept at once.

    Parameters
    ----------
    trainees
        All agents of the run.
    work, shared
        A training, and what all of them need: as of `qframe_rl.runner.executors.Executor.run`.
    job_of
        Makes the job of a trainee; the file is where it may keep itself half done.
    packed
        Makes the checkpoint of a trainee that was trained and is not chosen yet.
    folder, identity
        The run's folder, and its fingerprint.
    resume
        Take over what an earlier, interrupted run of the same identity finished.
    executor, screen
        Where it is done, and who is told.
    """
    todo = [one for one in trainees if one.learns and not (resume and _taken_over(one, folder, identity, screen))]
    partials = [(folder / "partial" / f"{one.title}.safetensors").absolute() for one in todo]
    jobs = [job_of(one, partial) for one, partial in zip(todo, partials, strict=True)]
    logs: dict[int, RunLog] = {}

    def log(k: int) -> RunLog:
        title = f"train {todo[k].title}"
        screen.begin(title)
        logs[k] = RunLog(folder / "tensorboard" / todo[k].title, title, screen)
        return logs[k]

    title = f"{len(todo)} training{'s' * (len(todo) != 1)} {executor.where}"
    screen.begin(title)
    try:
        for done, (k, state) in enumerate(executor.run(work, shared, jobs, log), start=1):
            logs.pop(k).close()
            todo[k].agent.restore(state)
            packed(todo[k]).save(folder / "agents" / todo[k].title)
            partials[k].unlink(missing_ok=True)
            screen.end(f"train {todo[k].title}", "")
            screen.advance(title, done, len(todo))
    finally:
        for one in logs.values():
            one.close()
    screen.end(title)


def _taken_over(one: Trainee, folder: Path, identity: str, screen: Screen) -> bool:
    """Restore a training that an earlier, interrupted run finished."""
    place, title = folder / "agents" / one.title, f"train {one.title}"
    if not place.exists():
        return False
    found = load_checkpoint(place)
    if found.provenance["fingerprint"] != identity:
        return False
    screen.begin(title)
    one.agent.restore(found.state)
    screen.end(title, "taken over from the earlier run")
    return True
