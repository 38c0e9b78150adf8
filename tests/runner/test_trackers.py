"""Curves in Weights & Biases and MLflow: those of TensorBoard, offline, and no training lost for a server."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments import train
from qframe_rl.config import UserError
from qframe_rl.runner import trackers
from qframe_rl.runner.executors import LocalExecutor
from qframe_rl.runner.log import RunLog, Silent
from qframe_rl.runner.study.windows import WindowRunner
from qframe_rl.runner.trackers import MlflowTracker, OpenRuns, tracker_of
from qframe_rl.runner.trainings import train_all

# MLflow's own models, under the newest SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
RUN = ["--preset", "quick", "--agents", "ppo", "--set", "data.bars=1500"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_training_is_tracked_as_tensorboard_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*RUN, "--runs", "runs", "--checkpoints", "kept", "--track", "wandb", "--track", "mlflow", "--json"]
    assert train.main(argv) is not None
    (board,) = Path("runs").glob("*/tensorboard/ppo-0-0")
    seen = EventAccumulator(str(board))
    seen.Reload()
    tags = [tag for tag in seen.Tags()["scalars"] if tag.startswith("train/")]
    assert len(tags) > 3
    client = MlflowClient()
    experiment = client.get_experiment_by_name("qframe-rl")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.tags["group"] for run in runs} == {board.parent.parent.name}
    (curves,) = (run for run in runs if run.info.run_name == "ppo-0-0" and "train/entropy" in run.data.metrics)
    assert curves.info.status == "FINISHED"
    assert curves.data.params["total_steps"], "parameters are in the run of the curves"
    assert len({run.info.run_name for run in runs}) == len(runs)
    for tag in tags:
        history = client.get_metric_history(curves.info.run_id, tag)
        expected = [(event.step, pytest.approx(event.value, rel=1e-6)) for event in seen.Scalars(tag)]
        assert [(point.step, point.value) for point in history] == expected
    assert any(run.data.params.get("total_steps") for run in runs)
    pictures = [item.path for run in runs for item in client.list_artifacts(run.info.run_id)]
    assert "equity.png" in pictures
    files = list(Path("runs").glob("*/wandb/offline-run-*/*.wandb"))
    assert len(files) == len(runs)
    assert any(b"train/entropy" in file.read_bytes() for file in files)
    assert "failed" not in capsys.readouterr().err


class Broken:
    """A tracker whose server is gone."""

    def __init__(self, folder: Path, title: str):
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        def fail(*given: Any) -> None:
            self.calls += 1
            raise OSError("no route to host")

        return fail


def test_a_tracker_that_fails_is_said_so_once_and_left_out(tmp_path: Path) -> None:
    made: list[Broken] = []
    said: list[str] = []

    def begin(folder: Path, title: str) -> Broken:
        made.append(Broken(folder, title))
        return made[0]

    screen = Silent()
    screen.runs = OpenRuns([begin])
    screen.say = said.append  # type: ignore[method-assign]
    log = RunLog(tmp_path / "board", "train ppo", screen)
    for step in range(3):
        log.scalar("train/entropy", 1.0, step)
    log.close()
    assert made[0].calls == 1
    assert said == ["train ppo: Broken failed (OSError: no route to host); curves go on in TensorBoard alone."]
    seen = EventAccumulator(str(tmp_path / "board"))
    seen.Reload()
    assert len(seen.Scalars("train/entropy")) == 3


def test_many_points_reach_mlflow_in_batches(tmp_path: Path) -> None:
    tracker = MlflowTracker(tmp_path / "runs" / "x" / "tensorboard" / "a", "train a")
    for step in range(trackers._POINTS * 2 + 7):
        tracker.scalar("train/kl divergence!", float(step), step)
    tracker.close()
    client = MlflowClient()
    experiment = client.get_experiment_by_name("qframe-rl")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/kl divergence_")
    assert [point.step for point in history] == list(range(trackers._POINTS * 2 + 7))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_said_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=rf"pip install 'qframe-rl\[{name}\]'"):
        tracker_of(name)


def test_a_server_that_is_not_there_is_said_so_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs" / "x" / "tensorboard" / "a"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="--track mlflow"):
        MlflowTracker(folder, "train a")


def test_nobody_logged_in_is_said_so_before_the_training(tmp_path: Path) -> None:
    """In a process of its own: the library reads its settings once."""
    settings = {**os.environ, "WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    settings.pop("WANDB_API_KEY", None)
    argv = [sys.executable, "-m", "experiments.train", *RUN, "--track", "wandb"]
    root = Path(train.__file__).parents[1]
    done = subprocess.run(
        argv, cwd=tmp_path, env=settings | {"PYTHONPATH": str(root)}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "error: --track wandb: " in done.stderr
    assert "WANDB_MODE=offline" in done.stderr
    assert "Traceback" not in done.stderr


class Cut(LocalExecutor):
    """A place where a training is cut off by Ctrl-C."""

    def run(self, work: Any, shared: Any, jobs: Any, log: Any) -> Iterator[Any]:
        log(0).scalar("loss", 1.0, 0)
        raise KeyboardInterrupt
        yield


def _of_a_run(folder: Path) -> None:
    one: Any = SimpleNamespace(agent=None, title="one", learns=True)
    train_all(
        [one], lambda *_: {}, None, lambda *_: None, lambda _: one, folder=folder, identity="", resume=False,
        executor=Cut(), screen=Silent(),
    )  # fmt: skip


def _of_a_study(folder: Path) -> None:
    made: Any = SimpleNamespace(history=None, base=None, window=1)
    inputs: Any = None
    WindowRunner(made, folder, Silent(), 0, False, Cut()).train(inputs, [(inputs, folder / "one.safetensors")], "one")


@pytest.mark.parametrize("trained", [_of_a_run, _of_a_study])
def test_a_training_that_is_cut_off_leaves_no_writer_of_curves_behind(trained: Any, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path)
    assert not set(threading.enumerate()) - before
