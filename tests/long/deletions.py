"""The catalogue is optional: ``python -m tests.long.deletions [NAME ...]`` deletes each of its files in turn.

In a copy without the file the quick contracts must pass, tests that name it being skipped, and the commands that take
strategies without being told which must find others.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TAKEN = ("qframe_rl", "envs", "agents", "experiments", "tests", "docs", "checkpoints")
QUICK = ["-m", "pytest", "-q", "-x", "-m", "not slow", "tests/contracts", "tests/test_catalog.py", "tests/test_wall.py"]
STEPS = (
    QUICK,
    ["-m", "experiments.train", "--bars", "1500", "--resamples", "100", "--json"],
    ["-m", "experiments.train", "--help"],
)


def main() -> int:
    """Delete each file that is asked for, all without a name; the number of files without which a step failed."""
    listed = (ROOT / "tests" / "catalogue.txt").read_text().split()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as agents/momentum (default: all)")
    names = parser.parse_args().names or listed
    with tempfile.TemporaryDirectory() as place:
        copy = copied(Path(place) / "copy")
        return sum(not holds(name, copy) for name in names)


def copied(copy: Path) -> Path:
    """Make a copy of what is tested; what is compiled in it serves every deletion."""
    copy.mkdir()
    for folder in TAKEN:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("site"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    return copy


def holds(name: str, copy: Path) -> bool:
    """Whether every step passes in a copy without one file of the catalogue, which is there again afterwards."""
    (copy / f"{name}.py").unlink()
    began = time.monotonic()
    held = all(passes(step, copy, name) for step in STEPS)
    shutil.copy2(ROOT / f"{name}.py", copy / f"{name}.py")
    if held:
        print(f"{name}: all is well without it, {time.monotonic() - began:.0f} s", flush=True)
    return held


def passes(step: list[str], copy: Path, name: str) -> bool:
    """Run one step in a copy, and show the end of what it said if it fails."""
    settings = {**os.environ, "XDG_STATE_HOME": str(copy / "state" / name)}
    done = subprocess.run([sys.executable, *step], cwd=copy, capture_output=True, text=True, env=settings)
    if done.returncode:
        print(f"{name}: without it fails: python {' '.join(step)}\n{(done.stdout + done.stderr)[-3000:]}", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
