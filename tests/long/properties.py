"""Run the property tests of the money many times, with other examples each: ``python -m tests.long.properties``.

``--all`` takes the property tests of every folder, which takes five times as long.
Prints what failed and in which round, with the example that hypothesis found; ends with 1 if anything did.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run the rounds; whether any failed."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--rounds", type=int, default=200)
    made.add_argument("--all", action="store_true")
    options = made.parse_args()
    place = TESTS if options.all else TESTS / "properties"
    files = [str(path) for path in sorted(place.rglob("test_*.py")) if "@given" in path.read_text(encoding="utf-8")]
    begun, failed = time.perf_counter(), 0
    for number in range(1, options.rounds + 1):
        # Without the database of examples: a round must find by itself what it finds.
        options_of_round = ["-q", "-x", "-n", "0", "-m", "hypothesis", "-p", "no:cacheprovider"]
        code = pytest.ExitCode(pytest.main([*options_of_round, f"--hypothesis-seed={number}", *files]))
        failed += code != pytest.ExitCode.OK
        print(f"round {number}: {code.name}, {failed} failed, {time.perf_counter() - begun:.0f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
