"""How long decisions take while a model is trained beside the session, and while none is.

``python -m tests.soak.refit_times``: a session on replayed bars that arrive every few milliseconds, in turns without
and with a process that trains (`ppo`, as `paper --refit` starts it). Printed are the median and the 99th percentile of
the time from a bar's arrival to its decision in the journal, over all rounds and of each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qframe_rl.agent import View
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import build
from qframe_rl.deploy import data_for
from qframe_rl.live.open import Opened, opened_replay
from qframe_rl.live.paper import paper
from qframe_rl.live.recorded import ReplayFeed
from qframe_rl.live.refits import stated
from qframe_rl.refit import Recipe
from qframe_rl.risk.engine import RiskDecision
from qframe_rl.runner.log import Silent
from qframe_rl.runner.refit_beside import keep_past
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.study.study import study
from qframe_rl.types import HOUR, SECOND

AGENT = "ppo"
SMALL = {"total_steps": 8_000, "n_envs": 8, "n_steps": 64, "hidden": (16,)}
LONG = {"total_steps": 1_000_000_000, "n_envs": 64, "n_steps": 128, "hidden": (64, 64)}
STUDY: dict[str, Any] = {
    "data": {"data": "synthetic:ar1", "bars": 8000, "seed": 3}, "agents": (AGENT,), "refit": "250d", "train": 1500,
    "agent": {AGENT: SMALL}, "resamples": 100,
}  # fmt: skip
BEGUN_S = 15.0
"""Time of the processor after which a process has imported all it needs, and trains."""


class DecisionTimes:
    """Takes the time of each decision."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def decided(self, view: View, verdict: RiskDecision, seconds: float) -> None:
        """Note it."""
        self.seconds.append(seconds)

    def changed(self, time: int, state: str, reasons: Sequence[str]) -> None:
        """Nothing to note."""


def measured(place: Path, begin: str, folder: Path, bar_s: float) -> list[float]:
    """Times of the decisions of one session, s."""
    opened, seen = session_of(place, begin, folder, HOUR / SECOND / bar_s), DecisionTimes()
    paper(opened.market, opened.agent, opened.feed, opened.terms, folder, durable=False, told=[seen])
    return seen.seconds[50:]


def session_of(place: Path, begin: str, folder: Path, speed: float, refit: Any = None) -> Opened:
    """Open a session of a checkpoint."""
    until = "2020-06-20"
    return opened_replay(place, load_checkpoint(place), {}, begin, until, folder, speed, refit=refit)


def trainable(place: Path, begin: str, folder: Path) -> int:
    """Make a session whose first model takes for ever to train; until when it is trained."""
    checkpoint = load_checkpoint(place)
    recipe = build(Recipe, checkpoint.provenance["procedure"] | {"params": checkpoint.agent["params"] | LONG}, "x")
    opened = session_of(place, begin, folder, float("inf"), stated(recipe))
    assert isinstance(opened.feed, ReplayFeed)
    keep_past(folder, opened.feed.history.rows(0, opened.feed.start), data_for(checkpoint, {}))
    last: list[int] = []
    paper(
        opened.market, opened.agent, opened.feed, opened.terms, folder, durable=False,
        begun=lambda router, ledger, operator: last.append(int(opened.feed.history.time[opened.feed.stop - 1])),  # type: ignore[attr-defined]
    )  # fmt: skip
    return last[0]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bar-ms", type=float, default=10.0)
    parser.add_argument("--nice", type=int, default=19)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = study(build(Study, STUDY, "it"), folder / "runs", Silent(), ledger=folder / "ledger")
        place, begin = done.folder / "models" / AGENT / "0000", done.facts["procedure"]["from"]
        until = trainable(place, begin, folder / "trained")
        found: dict[str, list[list[float]]] = {"alone": [], "training": []}
        shares: list[float] = []
        for k in range(given.rounds):
            found["alone"].append(measured(place, begin, folder / f"a{k}", given.bar_ms / 1e3))
            child = training(folder / "trained", until, given.nice)
            began, had = time.monotonic(), processor_s(child)
            found["training"].append(measured(place, begin, folder / f"b{k}", given.bar_ms / 1e3))
            assert child.poll() is None, "the training ended"
            shares.append((processor_s(child) - had) / (time.monotonic() - began))
            child.kill()
            child.wait()
    told(found)
    load = f"{os.getloadavg()[0]:.0f} processes on {os.cpu_count()} cores"
    print(f"the process that trains had {np.mean(shares):.2f} of a core; {load}")


def training(session: Path, until: int, nice: int) -> subprocess.Popen[bytes]:
    """Start the process that trains, and give it its priority once it does: a busy machine would not let it begin."""
    argv = [sys.executable, "-m", "experiments.refitting", str(session), "1", str(until), "--nice", "0"]
    child = subprocess.Popen(argv)
    while processor_s(child) < BEGUN_S:
        assert child.poll() is None, "the training ended"
        time.sleep(0.1)
    for thread in Path(f"/proc/{child.pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
    return child


def processor_s(child: subprocess.Popen[bytes]) -> float:
    """Time of the processor that a process has had so far, s."""
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def told(found: dict[str, list[list[float]]]) -> None:
    """Print it."""
    at = {name: [np.quantile(one, (0.5, 0.99)) * 1e3 for one in rounds] for name, rounds in found.items()}
    for name, rounds in at.items():
        each = ", ".join(f"{one[1]:.2f}" for one in rounds)
        whole = np.quantile(np.concatenate(found[name]), (0.5, 0.99)) * 1e3
        print(
            f"{name}: {sum(map(len, found[name]))} decisions, median {whole[0]:.2f} ms, p99 {whole[1]:.2f} ms ({each})"
        )
    ratio = np.median([one[1] for one in at["training"]]) / np.median([one[1] for one in at["alone"]])
    print(f"p99 while training over p99 alone, medians of the rounds: {ratio:.2f}")


if __name__ == "__main__":
    main()
