"""Cells on a real Ray cluster of two nodes on this machine: the same bits as here, and nothing lost when things die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from experiments import solve, train
from experiments.cli import door
from qframe_rl.config import UserError, build
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.runner.executors import Executor, LocalExecutor, Mute, Notes, RayExecutor, executor_of
from qframe_rl.runner.experiment import Experiment
from qframe_rl.runner.log import Silent
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.study.study import study
from qframe_rl.runner.train import train as run_train
from qframe_rl.runner.tune.plan import Tune
from qframe_rl.runner.tune.tune import tune
from tests.runner import jobs

TRAIN: dict[str, Any] = {
    "data": {"bars": 3000},
    "agents": ("ppo",),
    "agent": {"ppo": {"total_steps": 2048, "n_envs": 8, "n_steps": 32, "batch_size": 128, "n_epochs": 2}},
    "seeds": 3,
    "resamples": 100,
}
TUNE: dict[str, Any] = {
    "agent": "mean_reversion",
    "data": {"data": "synthetic:gbm", "bars": 3000, "seed": 3},
    "params": {"regime_bars": 60},
    "budget": 48,
    "walk_forward": 2,
    "resamples": 100,
}
CASES = """
[fast]
env = { name = "regime", episode_steps = 20 }
gate = 0.5

[fast.agents.sb3]
agent = { name = "sb3", total_steps = 2048, n_envs = 4, hidden = [16], options = { n_steps = 16, batch_size = 32 } }
"""


def mute(_: int) -> Mute:
    return Mute()


def test_here_cells_are_worked_on_in_their_order(tmp_path: Path) -> None:
    notes = Notes()
    history = synthetic("gbm", n_bars=100)
    with executor_of(None) as executor:
        assert [k for k, _ in executor.run(jobs.look, history, [5, 6], lambda _: notes)] == [0, 1]
    assert notes.points == [("job", 5.0, 5), ("job", 6.0, 6)]


def test_bits_do_not_depend_on_the_threads_of_linear_algebra() -> None:
    """A worker of Ray has one, a process on its own as many as there are cores; sums over two have other last bits."""
    with threadpool_limits(2, user_api="blas"):
        assert [found for _, found in LocalExecutor().run(jobs.threads, None, [0], mute)] == [{1}]


def test_where_to_work_is_named_rightly() -> None:
    for wrong in ("dask", "ray:", ""):
        with pytest.raises(UserError, match="known are ray"):
            executor_of(wrong)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster as Nodes

    made = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture
def cluster(nodes: Any) -> Iterator[RayExecutor]:
    with RayExecutor(nodes.address) as executor:
        yield executor


@pytest.mark.slow
def test_bars_are_read_where_they_lie_and_curves_come_back(cluster: RayExecutor) -> None:
    assert cluster.where == "on Ray, 2 cores of 2 machines"
    history = synthetic("gbm", n_bars=50_000)
    logs = [Notes() for _ in range(6)]
    found = dict(cluster.run(jobs.look, history, list(range(6)), lambda k: logs[k]))
    assert sorted(found) == list(range(6))
    for k, (job, worker, own, kind, n_bars) in found.items():
        assert (job, n_bars) == (k, 50_000)
        assert worker != os.getpid()
        assert not own
        assert kind != "ndarray", "the array lies in the object store, not in the worker's own memory"
        assert logs[k].points == [("job", float(k), k)]


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(cluster: RayExecutor, tmp_path: Path) -> None:
    assert dict(cluster.run(jobs.die_once, str(tmp_path), list(range(4)), mute)) == {0: 0, 1: 1, 2: 4, 3: 9}
    assert (tmp_path / "1").exists()


@pytest.mark.slow
def test_a_mistake_is_told_as_it_is_here(cluster: RayExecutor) -> None:
    with pytest.raises(UserError, match=r"^bars: job 7 cannot be\.$"):
        dict(cluster.run(jobs.refuse, "bars", [7], mute))
    assert dict(cluster.run(jobs.wait, 0.0, [1, 2], mute)) == {0: 1, 1: 2}


@pytest.mark.long
def test_a_run_is_the_same_to_the_bit(cluster: RayExecutor, tmp_path: Path) -> None:
    experiment = build(Experiment, TRAIN, "test")
    found = {}
    for name, executor in places(cluster):
        folder = tmp_path / name
        found[name] = run_train(experiment, folder / "runs", folder / "checkpoints", Silent(), executor=executor)
    assert found["ray"].digest == found["here"].digest
    assert found["ray"].leaderboard == found["here"].leaderboard
    for one in found.values():
        assert all(list((one.folder / "tensorboard" / f"ppo-0-{run}").glob("events*")) for run in range(3))


@pytest.mark.long
def test_a_search_is_the_same_to_the_bit(cluster: RayExecutor, tmp_path: Path) -> None:
    config = build(Tune, TUNE, "test")
    found = {}
    for name, executor in places(cluster):
        done = tune(config, tmp_path / name, tmp_path / name, Silent(), executor)
        found[name] = [(one.best, one.tried, one.importance) for one in done.windows], done.rows, done.luck
    assert found["ray"] == found["here"]


@pytest.mark.long
def test_a_study_is_the_same_to_the_bit(cluster: RayExecutor, tmp_path: Path) -> None:
    asked = {"data": {"bars": 3000}, "agents": ("ppo",), "agent": TRAIN["agent"], "walk_forward": 2, "resamples": 100}
    found = {}
    for name, executor in places(cluster):
        done = study(build(Study, asked, "test"), tmp_path / name, Silent(), executor=executor)
        weights = sorted((done.folder / "weights").glob("*.safetensors"))
        assert len(weights) == 2
        found[name] = done.rows, [path.read_bytes() for path in weights]
    assert found["ray"] == found["here"]


@pytest.mark.long
def test_what_is_learned_of_a_problem_is_the_same_to_the_bit(
    nodes: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cases.toml").write_text(CASES, encoding="utf-8")
    argv = ["--cases", str(tmp_path / "cases.toml"), "--agents", "sb3", "--seeds", "2", "--episodes", "50", "--json"]
    found = []
    for name, on in (("here", []), ("ray", ["--on", f"ray:{nodes.address}"])):
        assert door(solve.main, [*argv, *on, "--out", str(tmp_path / name)]) == 0
        found.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
        weights = sorted((tmp_path / name).glob("*/weights.safetensors"))
        found[-1]["weights"] = [path.read_bytes() for path in weights]
        assert len(weights) == 2
    assert found[0] == found[1]


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_driver_goes_on_where_it_was(nodes: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed once the first training is kept; what goes on takes it over and comes to the same hash."""
    sets = [f"--set=agent.ppo.{key}={value}" for key, value in TRAIN["agent"]["ppo"].items() if key != "total_steps"]
    argv = ["--bars", "3000", "--agents", "ppo", "--seeds", "4", *sets, "--set=agent.ppo.total_steps=15000", "--json"]
    places = ["--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "checkpoints")]
    on = ["--on", f"ray:{nodes.address}"]
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(
            [sys.executable, "-m", "experiments.train", *argv, *places, *on], stdout=log, stderr=log
        )
        until = time.monotonic() + 120.0
        while not list((tmp_path / "runs").glob("*/agents/ppo-0-*")) and time.monotonic() < until:
            assert driver.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.02)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    kept = list((tmp_path / "runs").glob("*/agents/ppo-0-*"))
    assert 1 <= len(kept) < 4
    assert door(train.main, [*argv, *places, *on, "--resume"]) == 0
    resumed = capsys.readouterr()
    assert resumed.err.count("taken over from the earlier run") == len(kept)
    assert door(train.main, [*argv, *places]) == 0
    whole = capsys.readouterr()
    hashes = [json.loads(text.out.splitlines()[-1])["hash"] for text in (resumed, whole)]
    assert hashes[0] == hashes[1]


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_node_loses_nothing(nodes: Any) -> None:
    """Last of this file: it takes a node away."""
    with RayExecutor(nodes.address) as executor:
        running = executor.run(jobs.wait, 0.5, list(range(8)), mute)
        found = dict([next(running)])
        nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)
        found |= dict(running)
    assert found == {k: k for k in range(8)}


def places(cluster: RayExecutor) -> list[tuple[str, Executor]]:
    return [("here", LocalExecutor()), ("ray", cluster)]
