"""Kill paper trading with SIGKILL at random instants, start it again, and compare with a run that was never killed.

``python -m tests.soak.kill_paper CHECKPOINT --kills 200``
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from experiments import paper
from experiments.cli import door
from qframe_rl.journal.ledger import REMARKS
from qframe_rl.journal.store import read, verify


def events(journal: Path) -> list[tuple[str, str]]:
    """All that a session came to: kinds and payloads, without remarks about processes."""
    return [(e.kind, e.payload) for e in read(journal) if e.kind not in REMARKS]


def child(argv: list[str], quiet: bool = True, said: Path = Path(os.devnull)) -> int:
    """Run the door in a process of its own, forked so that it need not import anything; return its id.

    What a quiet one says is appended to ``said``.
    """
    pid = os.fork()
    if pid:
        return pid
    if quiet:
        null = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(null, 1)
        os.dup2(null, 2)
    os._exit(door(paper.main, argv))


def killed(argv: list[str], rng: random.Random, longest_s: float) -> bool:
    """Start the command and kill it at a random instant; return whether it had ended by itself."""
    pid = child(argv)
    deadline = time.monotonic() + rng.uniform(0.0, longest_s)
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            if status != 0:
                raise SystemExit(f"the command ended with status {status}: {argv}")
            return True
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def matrix(argv: list[str], folder: Path, kills: int, seed: int, longest_s: float) -> dict[str, int]:
    """Run sessions to their end under kills until there were ``kills`` of them; compare each with an unkilled one."""
    rng = random.Random(seed)
    whole = folder / "whole"
    if os.waitpid(child([*argv, "--speed", "max", "--out", str(whole)], quiet=False), 0)[1] != 0:
        raise SystemExit("the unkilled run failed")
    expected = events(whole / "journal.db")
    done = sessions = starts = 0
    while done < kills:
        out = folder / f"killed-{sessions}"
        last = 0
        finished = False
        while not finished:
            starts += 1
            enough = done >= kills
            finished = killed([*argv, "--out", str(out)], rng, 600.0 if enough else longest_s)
            done += not finished
            if (out / "journal.db").exists():
                head = verify(out / "journal.db")
                assert head.seq >= last, f"events were lost: {head.seq} after {last}"
                last = head.seq
        assert events(out / "journal.db") == expected, "a killed session came to something else"
        sessions += 1
    return {"kills": done, "sessions": sessions, "starts": starts, "events": len(expected)}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=1.0, help="longest life of a process, seconds")
    parser.add_argument("--speed", default="180000x")
    parser.add_argument("--snapshot-bars", default="25", help="bars between snapshots")
    given = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        # Warms Numba's and the imports' caches in this process: the children inherit them.
        if door(paper.main, [given.checkpoint, "--out", f"{folder}/warm"]) != 0:
            sys.exit(1)
        argv = [given.checkpoint, "--speed", given.speed, "--snapshot-bars", given.snapshot_bars]
        said = matrix(argv, Path(folder), given.kills, given.seed, given.longest)
    print(
        " ".join(f"{key}={value}" for key, value in said.items()),
        f"seconds={time.monotonic() - begun:.0f}",
        "identical",
    )


if __name__ == "__main__":
    main()
