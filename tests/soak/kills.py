"""The command line of soaks that kill so many times and say what was left."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def killed(about: str | None, soak: Callable[[Path, int, int], dict[str, int]], kills: int, found: str) -> None:
    """Read the command line, do it in a folder of its own, and print what came of it.

    Parameters
    ----------
    about
        What is done.
    soak
        Takes a folder, how often to kill, and a seed.
    kills
        How often unless told.
    found
        What a soak that ends has shown.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--kills", type=int, default=kills)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        said = soak(Path(folder), given.kills, given.seed)
    print(*(f"{k}={v}" for k, v in said.items()), f"seconds={time.monotonic() - begun:.0f}", found)
