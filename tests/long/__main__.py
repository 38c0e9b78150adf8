"""What takes too long for every run of the tests: ``python -m tests.long [NAME ...]``, or ``make long``.

``--slice COMMIT`` runs the short form of the one that the commit's hash picks, which fits into CI.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.turns import PARTS

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = (ROOT / "tests" / "catalogue.txt").read_text().split()


class Job(NamedTuple):
    """A command, and a form of it that takes two or three minutes, if there is one."""

    command: list[str]
    short: tuple[list[str], ...] = ()


def jobs() -> dict[str, Job]:
    """All that takes long, by name."""
    return {
        "fuzz": Job(["tests.fuzz", "--count", "2000"], (["tests.fuzz", "--count", "60"],)),
        "deletions": Job(["tests.long.deletions"], tuple(["tests.long.deletions", name] for name in CATALOGUE)),
        "suite": Job(
            ["pytest", "-n", "2", "--long=all"], tuple(["pytest", "-n", "2", f"--long={k}"] for k in range(PARTS))
        ),
        "properties": Job(["tests.long.properties"], (["tests.long.properties", "--rounds", "2"],)),
        "tutorials": Job(["docs.generate.tutorials"]),
        "selection": Job(["tests.learning.test_selection", "400"]),
        "noise": Job(["tests.learning.test_learners_on_noise", "20"]),
        "packaging": Job(["tests.long.packaging"]),
        "lowest": Job(["tests.long.packaging", "--lowest"]),
        "mutants": Job(["tests.mutants"]),
        "switch": Job(["tests.soak.switch"]),
        "crashes": Job(["tests.soak.kill_slots", "--crashes", "50"], (["tests.soak.kill_slots", "--crashes", "4"],)),
        "exits": Job(["tests.soak.kill_slots", "--kills", "200"], (["tests.soak.kill_slots", "--kills", "6"],)),
        "portfolios": Job(["tests.soak.portfolios"], (["tests.soak.portfolios", "--kills", "3"],)),
        "books": Job(["tests.soak.kill_books"], (["tests.soak.kill_books", "--kills", "10"],)),
        "quoter": Job(
            ["tests.soak.kill_quoter", "--kills", "30", "--faults", "orders"],
            (["tests.soak.kill_quoter", "--kills", "5", "--faults", "orders"],),
        ),
        "refit": Job(["tests.soak.kill_refit"], (["tests.soak.kill_refit", "--kills", "6"],)),
        "cadence": Job(["tests.long.cadence"]),
        "container": Job(["tests.long.container"]),
        "hosts": Job(["tests.soak.hosts"]),
        "conformance": Job(["tests.conformance"]),
        "libraries": Job(["tests.conformance.libraries"]),
        "trailing": Job(["tests.long.trailing"]),
        "replay": Job(["tests.book.beside"]),
        "formulas": Job(["tests.long.dead_ends"], (["tests.long.dead_ends", "--formulas", "5000"],)),
    }


def main() -> int:
    """Run what is asked for; the number of commands that failed."""
    known = jobs()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(known)} (default: all)")
    parser.add_argument("--slice", metavar="COMMIT", help="hash of a commit, in hexadecimal digits")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"no job {unknown[0]!r}; known: {', '.join(known)}")
    if given.slice is not None:
        return failed([sliced([job.short for job in known.values() if job.short], int(given.slice, 16))])
    return failed([known[name].command for name in given.names or known])


def sliced(short: Sequence[Sequence[list[str]]], number: int) -> list[str]:
    """The short form that a number picks: each job as often as any other, and each of its forms as often as any."""
    job = short[number % len(short)]
    return job[number // len(short) % len(job)]


def failed(commands: list[list[str]]) -> int:
    """Run commands one after the other; how many failed."""
    count = 0
    for command in commands:
        print(f"python -m {' '.join(command)}", flush=True)
        began = time.monotonic()
        code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT).returncode
        print(f"{'passed' if code == 0 else 'failed'} in {time.monotonic() - began:.0f} s", flush=True)
        count += code != 0
    return count


if __name__ == "__main__":
    sys.exit(main())
