"""Kill paper trading with SIGKILL at random instants, start it again, and compare with a run that was never killed.

``python -m tests.soak.kill_paper CHECKPOINT --kills 200 --commands``: into every second session commands are thrown at
random, dead or alive; each must be obeyed once, in order, and a replay must come to the same.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from qframe_rl.journal.inbox import NAME, order
from qframe_rl.journal.ledger import REMARKS
from qframe_rl.journal.lock import writer_of
from qframe_rl.journal.store import pulse, read, verify
from tests.soak.children import Child, killed, started

WORDS = ("halt", "reduce", "resume", "resume", "flatten")


def events(journal: Path) -> list[tuple[str, str]]:
    """All that a session came to: kinds and payloads, without remarks about processes."""
    return [(e.kind, e.payload) for e in read(journal) if e.kind not in REMARKS]


class Thrower:
    """Throws commands into a session's inbox now and then, until most of its bars are settled.

    Parameters
    ----------
    journal
        The session's.
    bars
        How many bars it will settle.
    mean_s
        Mean time between two commands, seconds.
    words
        What to say.
    """

    def __init__(self, journal: Path, bars: int, rng: random.Random, mean_s: float, words: tuple[str, ...] = WORDS):
        self._journal, self._until, self._rng, self._mean_s = journal, 0.8 * bars, rng, mean_s
        self._words = words
        self._next = time.monotonic()

    def __call__(self) -> None:
        """Throw one, if it is time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._rng.expovariate(1.0 / self._mean_s)
        if self._journal.exists() and settled_bars(self._journal) < self._until:
            order(self._journal, self._rng.choice(self._words))

    def check(self) -> int:
        """Hold the record against the inbox: each command once, in order; return how many there were."""
        inbox = self._journal.with_name(NAME)
        if not inbox.exists():
            return 0
        with closing(sqlite3.connect(inbox)) as database:
            put = database.execute("SELECT number, word FROM commands ORDER BY number").fetchall()
        obeyed = [json.loads(payload) for kind, payload in events(self._journal) if kind == "command"]
        assert [(one["number"], one["word"]) for one in obeyed] == put, "a command was lost, doubled or out of order"
        return len(put)


def settled_bars(journal: Path) -> int:
    """Bars settled so far, as the writer said last."""
    said = pulse(journal)
    return 0 if said is None else int(json.loads(said[1])["bars"])


def finished(argv: list[str], folder: Path, module: str = "experiments.paper") -> None:
    """Run a command to its end."""
    said = folder / "said.txt"
    child = started(module, argv, said)
    if child.wait() != 0:
        raise SystemExit(f"{module} ended with {child.returncode}: {said.read_text()[-2000:]}")


def lives(argv: list[str], out: Path, kills: int, rng: random.Random, longest_s: float, throw: Thrower | None) -> int:
    """Run one session to its end under at most so many kills; return how many there were."""
    journal, said, last, done = out / "journal.db", out.with_name("said.txt"), 0, 0
    ended = False
    while not ended:
        child = started("experiments.paper", argv, said)
        if done < kills:
            ended = killed(child, lambda child=child: _writes(journal, child), rng, longest_s, throw or _nothing)
            done += not ended
        else:
            child.wait()
            ended = True
        if ended and child.returncode != 0:
            raise SystemExit(f"the command ended with {child.returncode}: {said.read_text()[-2000:]}")
        if journal.exists():
            head = verify(journal)
            assert head.seq >= last, f"events were lost: {head.seq} after {last}"
            last = head.seq
    return done


def _writes(journal: Path, child: Child) -> bool:
    return journal.exists() and writer_of(journal) == child.pid


def _nothing() -> None:
    """No commands."""


def matrix(
    argv: list[str], folder: Path, kills: int, seed: int, longest_s: float, mean_s: float | None
) -> dict[str, int]:
    """Run sessions to their end under kills until there were ``kills`` of them; compare each with an unkilled one."""
    rng = random.Random(seed)
    finished([*argv, "--speed", "max", "--out", str(folder / "whole")], folder)
    expected = events(folder / "whole" / "journal.db")
    bars = [event for event in expected if event[0] == "bar"]
    n_settled = sum(kind == "settled" for kind, _ in expected)
    done = sessions = commands = 0
    while done < kills:
        out = folder / f"killed-{sessions}"
        throw = None
        if mean_s is not None and sessions % 2:
            throw = Thrower(out / "journal.db", n_settled, rng, mean_s)
        at_most = min(kills - done, max(1, kills // 4))
        done += lives([*argv, "--out", str(out)], out, at_most, rng, longest_s, throw)
        came = events(out / "journal.db")
        if throw is None:
            assert came == expected, "a killed session came to something else"
        else:
            commands += throw.check()
            assert [event for event in came if event[0] == "bar"] == bars, "bars were lost or doubled"
            assert sum(kind == "settled" for kind, _ in came) == n_settled
            finished([str(out)], folder, "experiments.replay")
        sessions += 1
    return {"kills": done, "sessions": sessions, "commands": commands, "events": len(expected)}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=1.0, help="longest life of a process once it writes, seconds")
    parser.add_argument("--speed", default="180000x")
    parser.add_argument("--snapshot-bars", default="25", help="bars between snapshots")
    parser.add_argument("--commands", action="store_true", help="throw commands into every second session")
    parser.add_argument("--every", type=float, default=0.7, help="mean time between two commands, seconds")
    parser.add_argument("--from", dest="since", help="start of the replay")
    parser.add_argument("--to", dest="until", help="end of the replay")
    given = parser.parse_args()
    begun = time.monotonic()
    argv = [given.checkpoint, "--speed", given.speed, "--snapshot-bars", given.snapshot_bars]
    for name, value in (("--from", given.since), ("--to", given.until)):
        argv += [] if value is None else [name, value]
    with tempfile.TemporaryDirectory() as folder:
        said = matrix(
            argv, Path(folder), given.kills, given.seed, given.longest, given.every if given.commands else None
        )
    print(
        " ".join(f"{key}={value}" for key, value in said.items()),
        f"seconds={time.monotonic() - begun:.0f}",
        "identical",
    )


if __name__ == "__main__":
    main()
