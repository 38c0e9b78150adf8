"""A maker on the recorded tapes beside hftbacktest: what both saw and held at every decision, one by one.

``python -m tests.book.beside [PYTHON]``: PYTHON is an interpreter that has hftbacktest (default: that of make peers).
Quotes are of one lot, for its exchange without partial fills gives a crossed quote all of it and the one with them
loses fills (hftbacktest issue 316); they and its `log` rule, whose fills depend on the unit of quantity, are left out.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from qframe_rl.bench.book import told_of, walked
from qframe_rl.bench.peers import Peers
from qframe_rl.book.tape import tape_of
from qframe_rl.feeds.listing import Listing
from qframe_rl.feeds.ticks import TickRun, tick_runs

RULES = {"trades": 0.0, "share": 1.0, "power": 3.0}
_NO_CUT = 10**12


def runs(root: Path) -> list[TickRun]:
    """BTC of 2023 and 2024, ETH of 2024; hftbacktest knows no drift of a clock, so that none is cut."""
    listings = [Listing("binance", symbol) for symbol in ("BTC/USDT:USDT", "ETH/USDT:USDT")]
    found = [run for listing in listings for run in tick_runs(root, listing, drift_ns=_NO_CUT)]
    assert len(found) == 3
    return found


def compared(run: TickRun, rule: str, peers: Peers, folder: Path) -> tuple[int, int, int]:
    """Decisions, those at which both agree in best bid, best ask and position, and fills."""
    tape, power = tape_of(run.events, run.clock_shift_ns), RULES[rule]
    ours, walk = walked(run, tape, power)
    place = folder / "events.npz"
    np.savez(place, **told_of(run, tape, power))
    peers.books(place, "hftbacktest")
    theirs = np.load(place.with_name("hftbacktest.npz"))["seen"]
    assert len(ours) == len(theirs)
    return len(ours), int((ours == theirs).all(axis=1).sum()), int(walk.n_fills[0])


def main() -> int:
    """Compare all; 1 if they differ anywhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", nargs="?", type=Path, default=Path(".venv-peers/bin/python"))
    given = parser.parse_args()
    if "QFRAME_DATA" not in os.environ:
        parser.error("QFRAME_DATA names no market data")
    peers, differ = Peers(given.python), 0
    try:
        for run in runs(Path(os.environ["QFRAME_DATA"])):
            for rule in RULES:
                with tempfile.TemporaryDirectory() as folder:
                    n, same, fills = compared(run, rule, peers, Path(folder))
                differ += n - same
                print(f"{run.symbol} {run.name} {rule}: {same} of {n} decisions agree, {fills} fills", flush=True)
    finally:
        peers.close()
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
