"""Kill sessions on an order book with SIGKILL at random instants, go on, and compare with one that was never killed.

``python -m tests.soak.kill_books --kills 100``: each session is killed several times, while it starts or anywhere in
its tape; its record must be that of the whole one, and a replay must come to the same.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from qframe_rl.journal.ledger import REMARKS
from qframe_rl.journal.lock import writer_of
from qframe_rl.journal.store import read
from qframe_rl.live.paper_quoting import replay_quoter
from tests.live.books import Restless, Told, book, session, tape, terms
from tests.soak.children import Child, outlived

_PART_S = 0.02


class Slow(Told):
    """A tape that takes its time, so that a process can be killed in its midst."""

    def part(self, n: int) -> None:
        """Before a part."""
        time.sleep(_PART_S)


def events(journal: Path) -> list[tuple[str, str]]:
    """All that a session came to."""
    return [(e.kind, e.payload) for e in read(journal) if e.kind not in REMARKS]


def lives(out: Path, kills: int, rng: random.Random) -> int:
    """Run one session to its end under at most so many kills; return how many there were."""
    journal = out / "journal.db"
    argv = ["--child", str(out)]
    return outlived(
        "tests.soak.kill_books", lambda last: argv, journal, out.with_name("said.txt"), kills, rng, 2.0,
        lambda child, before: _writes(journal, child),
    )[0]  # fmt: skip


def _writes(journal: Path, child: Child) -> bool:
    return journal.exists() and writer_of(journal) == child.pid


def matrix(kills: int, each: int, seed: int) -> dict[str, int]:
    """Sessions under kills, until there were so many."""
    rng, done, runs = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        whole = session(folder / "whole", Slow(part_rows=100))
        while done < kills:
            out = folder / f"cut-{runs}" / "session"
            out.parent.mkdir()
            done += lives(out, min(each, kills - done), rng)
            runs += 1
            found = events(out / "journal.db")
            assert found == events(whole.journal), "the record is another one"
            again = replay_quoter(book(), Restless(), tape(), terms(), out / "journal.db")
            assert again.digest == whole.digest, "a replay comes to something else"
    return {"kills": done, "sessions": runs, "fills": whole.fills, "decisions": whole.decisions}


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--each", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path)
    given = parser.parse_args()
    if given.child is not None:
        session(given.child, Slow(part_rows=100))
        return
    said = matrix(given.kills, given.each, given.seed)
    print(" ".join(f"{name}={value}" for name, value in said.items()), "identical", json.dumps({"seed": given.seed}))


if __name__ == "__main__":
    main()
