"""Spoil files of every kind and open them through the doors: ``python -m tests.fuzz --count 2000``.

Each case must be opened, or refused in one sentence, within its time and its memory, and must run no code. Cases follow
from the kind, the seed and their number alone: ``--kind journal --seed 0 --case 137`` shows one again.
"""

from __future__ import annotations

import argparse
import collections
import json
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.run import Outcome, one
from tests.fuzz.subjects import KINDS

_RESTART = 250
"""Cases of one process: what a library keeps for itself does not count as what a file takes."""


def fuzzed(kind: str, count: int, seed: int) -> list[Outcome]:
    """Outcomes of so many cases; one that ends its process is one too."""
    found: list[Outcome] = []
    while len(found) < count:
        n = min(_RESTART, count - len(found))
        command = [sys.executable, "-m", "tests.fuzz.run", kind, str(seed), str(len(found)), str(n)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            said, complaint = child.communicate()
        found += [Outcome(*json.loads(line)) for line in said.splitlines() if line.startswith("[")]
        if child.returncode != 0:
            found.append(Outcome(kind, len(found), "ended its process", f"{child.returncode}: {complaint[-2000:]}"))
    return found[:count]


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="cases of each kind")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only these kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="show one case with its traceback")
    parser.add_argument("--keep", type=Path, help="with --case: leave its files in this folder")
    given = parser.parse_args()
    if given.case is not None:
        for kind in given.kind or KINDS:
            print(*one(kind, given.seed, given.case, given.keep), sep="\n")
        return 0
    bad = 0
    for kind in given.kind or KINDS:
        begun = time.monotonic()
        found = fuzzed(kind, given.count, given.seed)
        counts = collections.Counter(outcome.what for outcome in found)
        failed = [outcome for outcome in found if outcome.what not in ("opened", "refused")]
        for outcome in failed:
            print(f"  {outcome.kind} {outcome.case}: {outcome.what}: {outcome.said[-1500:]}")
        said = ", ".join(f"{what} {n}" for what, n in counts.most_common())
        print(f"{kind}: {len(found)} cases in {time.monotonic() - begun:.0f} s: {said}", flush=True)
        bad += len(failed)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
