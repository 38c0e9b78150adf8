"""How far the write-ahead log of a live session grows while somebody is in the middle of reading it.

``python -m tests.soak.readers CHECKPOINT``: the same bars with nobody who reads, with a reader of this house that
stands still after its first event, and with one that keeps its transaction open.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from qframe_rl.journal.store import read
from tests.soak.children import started


def nobody(journal: Path) -> Any:
    """Do not read."""


def halting(journal: Path) -> Any:
    """Read one event, and stand still."""
    events = read(journal)
    next(events)
    return events


def holding(journal: Path) -> Any:
    """Begin a read transaction, and keep it."""
    database = sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)
    cursor = database.execute("SELECT * FROM events")
    cursor.fetchone()
    return closing(database), cursor


def measured(checkpoint: str, bars: int, reads: Callable[[Path], Any], folder: Path) -> str:
    """Run a session to its end; the largest size of its log, bytes."""
    out = folder / reads.__name__
    journal, log = out / "journal.db", out / "journal.db-wal"
    argv = [checkpoint, "--bars", str(bars), "--speed", "1800000x", "--out", str(out)]
    child = started("experiments.paper", argv, folder / "said.txt")
    reader, largest = None, 0
    while child.poll() is None:
        if reader is None and journal.exists() and log.exists() and log.stat().st_size > 500_000:
            reader = reads(journal)
        try:
            largest = max(largest, log.stat().st_size)
        except FileNotFoundError:
            time.sleep(0.01)
    if child.returncode:
        raise SystemExit((folder / "said.txt").read_text())
    return f"{reads.__name__}={largest / 1e6:.1f} MB"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="of the default market")
    parser.add_argument("--bars", type=int, default=1500)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for reads in (nobody, halting, holding):
            print(measured(given.checkpoint, given.bars, reads, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
