"""Kill a session under protections with SIGKILL at random instants, and look whether every lock is there once.

``python -m tests.soak.kill_locks --kills 200``: each session is started again until it has ended; its events, with the
name and the end of each lock, must be those of one that was never killed.
"""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

from qframe_rl.journal.ledger import REMARKS
from qframe_rl.journal.store import read
from tests.live.test_pauses import lived
from tests.soak.kills import killed

BARS = 3000
LONGEST_S = 1.5
"""Longest life of a process."""


def soak(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill so many times; return what there was."""
    rng, done, sessions, fork = random.Random(seed), 0, 0, multiprocessing.get_context("fork")
    lived(folder / "whole", bars=BARS)
    whole = events(folder / "whole")
    while done < kills:
        place, ended = folder / str(sessions), False
        while not ended:
            child = fork.Process(target=lived, args=(place,), kwargs={"bars": BARS})
            child.start()
            child.join(rng.uniform(0.0, LONGEST_S) if done < kills else None)
            ended = not child.is_alive()
            if not ended:
                child.kill()
                child.join()
                done += 1
            assert not ended or child.exitcode == 0
        assert events(place) == whole, f"session {sessions} is not the one that was never killed"
        sessions += 1
    locks = sum(kind == "paused" for kind, _ in whole)
    return {"kills": done, "sessions": sessions, "bars": BARS, "locks": locks}


def events(folder: Path) -> list[tuple[str, str]]:
    """All that a session came to: kinds and payloads, without remarks about processes."""
    return [(e.kind, e.payload) for e in read(folder / "journal.db") if e.kind not in REMARKS]


if __name__ == "__main__":
    killed(__doc__, soak, 200, "every lock once, with its end")
