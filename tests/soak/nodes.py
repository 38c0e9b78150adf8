"""A walk-forward on a Ray cluster of two machines, of which one dies in the middle, beside the same run in one process.

``python -m tests.soak.nodes``: 6 folds x 5 seeds x 3 agents that learn. Two raylets of this machine are the two nodes.
One is killed when half of the trainings are kept; no training is lost, and all weights and journals are equal to the
bit.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from qframe_rl.config import build
from qframe_rl.runner.executors import Executor, LocalExecutor, RayExecutor
from qframe_rl.runner.experiment import Experiment
from qframe_rl.runner.log import Silent
from qframe_rl.runner.train import Outcome
from qframe_rl.runner.train import train as run_train

LEARNERS: dict[str, dict[str, Any]] = {
    "ppo": {"total_steps": 8192, "n_envs": 16, "n_steps": 64, "batch_size": 256, "n_epochs": 4, "hidden": (32,)},
    "dmn": {
        "horizons": (1, 5, 20), "macd": ("4:12",), "price_bars": 20, "macd_bars": 40, "volatility_bars": 20,
        "winsor_bars": 60, "sequence_bars": 16, "hidden": 8, "epochs": 3,
    },
    "mean_reversion": {"entry": "fitted", "regime_bars": 60, "mean_bars": 24},
}  # fmt: skip


class Done(NamedTuple):
    """One run, and how long it took."""

    outcome: Outcome
    weights: dict[str, str]
    """SHA-256 of the weights of each training, by its folder."""
    seconds: float


def experiment(folds: int, seeds: int) -> Experiment:
    """What is run both times."""
    return build(
        Experiment,
        {
            "data": {"data": "synthetic:gbm", "bars": 6000, "seed": 3},
            "agents": tuple(LEARNERS),
            "agent": LEARNERS,
            "split": {"name": "walk_forward", "n_folds": folds},
            "seeds": seeds,
            "resamples": 100,
        },
        "nodes",
    )


def run(asked: Experiment, folder: Path, executor: Executor) -> Done:
    """Train, judge and keep."""
    begun = time.monotonic()
    outcome = run_train(asked, folder / "runs", folder / "checkpoints", Silent(), executor=executor)
    seconds = time.monotonic() - begun
    weights = {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept(folder)}
    return Done(outcome, weights, seconds)


def kept(folder: Path) -> list[Path]:
    """Weights of the trainings that are done."""
    return sorted(folder.glob("runs/*/agents/*/weights.safetensors"))


class Axe:
    """Kills a node once so many trainings are kept.

    Parameters
    ----------
    nodes
        The cluster.
    folder
        Of the run.
    after
        Trainings.
    """

    def __init__(self, nodes: Any, folder: Path, after: int):
        self.nodes, self.folder, self.after = nodes, folder, after
        self.fell_at, self.over = -1, threading.Event()
        self.thread = threading.Thread(target=self._wait, daemon=True)

    def _wait(self) -> None:
        while not self.over.wait(0.05):
            if len(kept(self.folder)) >= self.after:
                self.nodes.remove_node(self.nodes.list_all_nodes()[-1], allow_graceful=False)
                self.fell_at = len(kept(self.folder))
                return

    def __enter__(self) -> Axe:
        """Begin to watch."""
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop watching."""
        self.over.set()
        self.thread.join()


def on_two_nodes(asked: Experiment, folder: Path, n_trainings: int) -> tuple[Done, int]:
    """Run on a head and a second node, which dies; return what came of it and how many trainings were kept then."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        nodes.add_node(num_cpus=1)
        nodes.wait_for_nodes()
        with RayExecutor(nodes.address) as executor, Axe(nodes, folder, n_trainings // 2) as axe:
            if executor.where != "on Ray, 2 cores of 2 machines":
                raise SystemExit(f"the cluster is {executor.where}")
            done = run(asked, folder, executor)
        return done, axe.fell_at
    finally:
        nodes.shutdown()


def main() -> None:
    """Read the command line, run both, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    asked = experiment(given.folds, given.seeds)
    n_trainings = given.folds * given.seeds * len(LEARNERS)
    with tempfile.TemporaryDirectory() as text:
        here = run(asked, Path(text) / "here", LocalExecutor())
        there, fell_at = on_two_nodes(asked, Path(text) / "there", n_trainings)
    if not 0 <= fell_at < n_trainings:
        raise SystemExit(f"the node died after {fell_at} of {n_trainings} trainings: not in the middle")
    assert len(here.weights) == len(there.weights) == n_trainings, "trainings were lost"
    differ = [name for name, digest in here.weights.items() if there.weights.get(name) != digest]
    assert not differ, f"weights of {differ} differ"
    assert here.outcome.digest == there.outcome.digest, "journals differ"
    assert here.outcome.leaderboard == there.outcome.leaderboard, "leaderboards differ"
    print(f"trainings={n_trainings} node_killed_after={fell_at} hash={here.outcome.digest[:16]}")
    print(f"seconds_here={here.seconds:.0f} seconds_on_two_nodes_one_killed={there.seconds:.0f}")
    print("nothing lost, and equal to the run in one process to the bit")


if __name__ == "__main__":
    main()
