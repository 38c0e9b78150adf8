"""What a process that holds the inbox does to a session: nothing.

``python -m tests.soak.held_inbox CHECKPOINT``: bars come every 0.2 s; a process takes the inbox's lock for itself and
is stopped for 5 and for 40 seconds, a command waiting in it. Shown are the longest times between two decisions.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from qframe_rl.journal.inbox import NAME, order
from qframe_rl.journal.store import read
from tests.soak.children import Child, started

HOLDER = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
database.execute("INSERT INTO commands SELECT max(number) + 1, 0, ? FROM commands", (sys.argv[2],))
print(flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
database.execute("COMMIT")
"""


def times(journal: Path, kind: str) -> list[float]:
    """When events of a kind were written, seconds."""
    return [event.time / 1e9 for event in read(journal) if event.kind == kind]


def held(journal: Path, seconds: float, word: str) -> tuple[float, float]:
    """Hold the inbox for so long: longest time between two decisions then, and from the end to the obedience."""
    argv = [sys.executable, "-c", HOLDER, str(journal.with_name(NAME)), word]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        begun = time.time()
        time.sleep(seconds)
        ended = time.time()
        holder.send_signal(signal.SIGCONT)
        holder.wait()
    while not (obeyed := [at for at in times(journal, "command") if at > ended]):
        time.sleep(0.05)
    decided = [at for at in times(journal, "decision") if begun <= at <= ended]
    return max(b - a for a, b in itertools.pairwise(decided)), obeyed[0] - ended


def decided(child: Child, journal: Path, n: int) -> None:
    """Wait for so many decisions."""
    while not journal.exists() or len(times(journal, "decision")) < n:
        if child.poll() is not None:
            raise SystemExit("the session ended")
        time.sleep(0.1)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="of the default market")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        journal, said = Path(folder) / "session" / "journal.db", Path(folder) / "said.txt"
        argv = [given.checkpoint, "--speed", "18000x", "--out", str(journal.parent)]
        child = started("experiments.paper", argv, said)
        try:
            decided(child, journal, 50)
            free = times(journal, "decision")
            order(journal, "reduce")
            print(f"free: at most {max(b - a for a, b in itertools.pairwise(free)):.2f} s between decisions")
            for seconds, word in ((5.0, "resume"), (40.0, "halt")):
                longest, after = held(journal, seconds, word)
                print(f"held {seconds:.0f} s: at most {longest:.2f} s; {word} obeyed {after:.2f} s after")
        finally:
            child.terminate()
            child.wait()
        words = [json.loads(event.payload)["word"] for event in read(journal) if event.kind == "command"]
        with closing(sqlite3.connect(journal.with_name(NAME))) as database:
            put = [word for (word,) in database.execute("SELECT word FROM commands ORDER BY number")]
    assert words == put == ["reduce", "resume", "halt"]
    print("each command once, in order")


if __name__ == "__main__":
    main()
