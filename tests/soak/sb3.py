"""Train each algorithm of Stable-Baselines3 twice, once stopped by Ctrl-C and resumed, and compare all that follows.

``python -m tests.soak.sb3 --steps 50000``: weights and paper-traded journals must be the same to the bit.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, get_args

from agents.sb3 import Algorithm
from experiments import paper
from experiments.cli import door
from tests.soak.children import Child, started
from tests.soak.kill_paper import events

STEERERS = ("sac", "td3", "tqc")
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)


class Row(NamedTuple):
    """What became of one algorithm."""

    algorithm: str
    stops: int
    """Times that Ctrl-C came before the training's end."""
    seconds: float
    """Of the training that was never stopped, with all that belongs to it."""
    events: int
    """Of the journal of its paper trading."""


def arguments(algorithm: str, steps: int, bars: int, folder: Path) -> list[str]:
    """Settings of one training on the default market, deployed whatever it is worth."""
    more = ["--set", 'env.actions={name="exposure",low=-1.0}'] if algorithm in STEERERS else []
    return [
        "--agents", "sb3,flat", "--seeds", "1", "--bars", str(bars), "--resamples", "200", *more,
        "--set", f"agent.sb3.algorithm={algorithm}", "--set", f"agent.sb3.total_steps={steps}",
        "--promote-anyway", "sb3", "--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints"),
    ]  # fmt: skip


def code_of(child: Child, said: Path) -> int:
    """Wait for a process; it must have ended well or by Ctrl-C."""
    code = child.wait()
    if code not in (0, 130):
        raise SystemExit(f"a training ended with {code}: {said.read_text()[-2000:]}")
    return code


def stopped(argv: list[str], folder: Path, rng: random.Random, longest_s: float) -> bool:
    """Train, press Ctrl-C at a random instant after something was kept; return whether it came before the end."""
    said = folder / "said.txt"
    child = started("experiments.train", argv, said)
    known = {path: path.stat().st_mtime_ns for path in folder.rglob("partial/*.safetensors")}
    limit = time.monotonic() + 600.0
    while time.monotonic() < limit:
        fresh = [path for path in folder.rglob("partial/*.safetensors") if known.get(path) != path.stat().st_mtime_ns]
        if child.poll() is not None:
            code_of(child, said)
            return False
        if fresh:
            break
        time.sleep(0.01)
    time.sleep(rng.uniform(0.0, longest_s))
    child.send_signal(signal.SIGINT)
    return code_of(child, said) == 130


def checkpoint(folder: Path) -> Path:
    """The one checkpoint of a run."""
    (found,) = (folder / "checkpoints").iterdir()
    return found


def traded(folder: Path, name: str) -> list[tuple[str, str]]:
    """Let the checkpoint trade on paper; what its journal says."""
    out = folder / name
    if door(paper.main, [str(checkpoint(folder)), "--speed", "max", "--out", str(out)]) != 0:
        raise SystemExit(f"{checkpoint(folder)} cannot be traded")
    return events(out / "journal.db")


def compared(algorithm: str, given: argparse.Namespace, folder: Path) -> Row:
    """Train with and without stops, and compare."""
    whole, cut = folder / "whole", folder / "cut"
    for place in (whole, cut):
        place.mkdir(parents=True)
    start = time.monotonic()
    said = whole / "said.txt"
    code_of(started("experiments.train", arguments(algorithm, given.steps, given.bars, whole), said), said)
    seconds = time.monotonic() - start
    rng, argv, stops = random.Random(given.seed), arguments(algorithm, given.steps, given.bars, cut), 0
    while stops < given.stops and stopped([*argv, *["--resume"] * (stops > 0)], cut, rng, given.longest):
        stops += 1
    said = cut / "said.txt"
    code_of(started("experiments.train", [*argv, *["--resume"] * (stops > 0)], said), said)
    weights = [(checkpoint(place) / "weights.safetensors").read_bytes() for place in (whole, cut)]
    assert weights[0] == weights[1], f"{algorithm}: a resumed training came to other weights"
    expected = traded(whole, "paper")
    assert traded(whole, "again") == expected, f"{algorithm}: trading twice is not trading once"
    assert traded(cut, "paper") == expected, f"{algorithm}: the resumed agent trades differently"
    return Row(algorithm, stops, seconds, len(expected))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithms", nargs="*", default=ALGORITHMS, help="some of them; all without")
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--bars", type=int, default=3000, help="of the default market")
    parser.add_argument("--stops", type=int, default=2, help="Ctrl-C so many times")
    parser.add_argument("--longest", type=float, default=2.0, help="from what was kept to Ctrl-C at most, seconds")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print("| algorithm | Ctrl-C | seconds unstopped | events of paper trading | |\n|---|---|---|---|---|")
    for algorithm in given.algorithms:
        with tempfile.TemporaryDirectory() as folder:
            row = compared(algorithm, given, Path(folder))
        print(f"| {row.algorithm} | {row.stops} | {row.seconds:.0f} | {row.events} | identical |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
