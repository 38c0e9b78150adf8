"""Kill sessions of a procedure, and the processes that train for them, while they train and while they hand over.

``python -m tests.soak.kill_refit --kills 100``: each session is started again until it has ended; its events, with the
digest and the bar of every exchanged model, must be those of one that was never killed, and its hash that of the study.
A third of the kills hits the process that trains, a third the session while one trains, a third the session within a
twentieth of a second after a model was written. Sessions are forked, so that nothing is imported again; who trains is
started as always.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# Not used here: forked sessions need not import them again.
import qframe_rl.live.open
import qframe_rl.live.paper
import qframe_rl.live.watching
import qframe_rl.runner.refit_beside
from experiments import paper, refitting
from experiments.cli import door
from qframe_rl.journal.store import NAME, verify
from qframe_rl.live.refits import FOLDER
from tests.soak.kill_locks import events
from tests.soak.kills import killed

LOADED = (qframe_rl.live.open, qframe_rl.live.paper, qframe_rl.live.watching, qframe_rl.runner.refit_beside, refitting)
AGENT = "mean_reversion"
STUDY = (
    AGENT, "--data", "synthetic:ar1", "--bars", "2200", "--data-seed", "3", "--refit", "10d", "--train", "700",
    "--refit-runs", "3", "--set", f"agent.{AGENT}.entry=fitted", "--set", f"agent.{AGENT}.mean_bars=24",
    "--set", f"agent.{AGENT}.regime_bars=60", "--resamples", "100", "--json",
)  # fmt: skip
LONGEST_S = 3.0
"""Longest time from the start of a training to the kill."""
HAND_OVER_S = 0.05
AIMS = ("training", "session", "hand-over")


def soak(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill so many times; return what there was."""
    rng, hits, sessions, starts = random.Random(seed), Counter[str](), 0, 0
    first, judged = studied(folder)
    fork, options = multiprocessing.get_context("fork"), ["--refit", "10d", "--from", judged["from"], "--refit-nice"]
    argv = [str(first), *options, "0", "--snapshot-bars", "50", "--out"]
    whole = folder / "whole"
    assert ended(begun(fork, argv, whole, folder))
    assert json.loads(last_settled(whole))["hash"] == judged["hashes"][AGENT], "the session is not its study"
    while sum(hits.values()) < kills:
        place, over, last = folder / str(sessions), False, 0
        while not over:
            child, starts = begun(fork, argv, place, folder), starts + 1
            while child.is_alive():
                if sum(hits.values()) < kills:
                    hit(child, place, rng, hits)
                else:
                    child.join()
            over = ended(child)
            assert over or child.exitcode == -signal.SIGKILL, (folder / "said.txt").read_text()[-3000:]
            if (place / NAME).exists():
                head = verify(place / NAME)
                assert head.seq >= last, f"events were lost: {head.seq} after {last}"
                last = head.seq
        assert events(place) == events(whole), f"session {sessions} is not the one that was never killed"
        sessions += 1
    counted = {name.replace("-", "_"): hits[name] for name in AIMS}
    kinds = Counter(kind for kind, _ in events(whole))
    return {
        "kills": sum(hits.values()), **counted, "sessions": sessions, "starts": starts, "bars": kinds["settled"],
        "models": kinds["refit"],
    }  # fmt: skip


def studied(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Run the study; its first model, and what it says of the procedure."""
    places = ["--runs", str(folder / "runs"), "--ledger", str(folder / "ledger")]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.evaluate", *STUDY, *places], stdout=subprocess.PIPE, check=True
    )  # fmt: skip
    said = json.loads(done.stdout.splitlines()[-1])
    return Path(said["run"]) / "models" / AGENT / "0000", said["procedure"]


def begun(fork: Any, argv: list[str], place: Path, folder: Path) -> BaseProcess:
    """Start a session, what it says being appended to a file."""
    child: BaseProcess = fork.Process(target=lived, args=([*argv, str(place)], folder / "said.txt"))
    child.start()
    return child


def lived(argv: list[str], said: Path) -> None:
    """Be a session."""
    with said.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(door(paper.main, argv))


def ended(child: BaseProcess) -> bool:
    """Whether a session came to its end by itself."""
    child.join()
    return child.exitcode == 0


def last_settled(folder: Path) -> str:
    """What the last bar of a session did."""
    return [payload for kind, payload in events(folder) if kind == "settled"][-1]


def hit(child: BaseProcess, place: Path, rng: random.Random, hits: Counter[str]) -> None:
    """Wait for the next training of a session, and kill it or the session; nothing where the session ends before."""
    aim = min(AIMS, key=lambda name: (hits[name], rng.random()))
    if aim == "hand-over":
        before = models(place)
        while models(place) == before:
            if not child.is_alive():
                return
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, HAND_OVER_S))
    else:
        while trainer(place) is None:
            if not child.is_alive():
                return
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, LONGEST_S))
    target = trainer(place) if aim == "training" else child.pid
    if target is None or not child.is_alive():
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(target, signal.SIGKILL)
        hits[aim] += 1
    if aim != "training":
        child.join()


def models(place: Path) -> int:
    """Models that were written."""
    return len(list((place / FOLDER).glob("[0-9][0-9][0-9][0-9]")))


def trainer(place: Path) -> int | None:
    """Process that trains for a session."""
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = line.read_bytes().split(b"\0")
            if b"experiments.refitting" in words and str(place).encode() in words:
                return int(line.parent.name)
    return None


if __name__ == "__main__":
    killed(__doc__, soak, 100, "no bar lost, every model exchanged once, where it was due")
