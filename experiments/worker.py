"""Do the service's jobs: ``python -m experiments.worker --help``."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli import SHIPPED, Parser, beating, console, door, within
from experiments.settings import stored_in
from qframe_rl.config import UserError


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "worker",
        "Do jobs that were asked for over the service's API (train, evaluate, tune, report, download), one at a time.\n"
        "A worker that is stopped or killed leaves its job to the next one, which goes on where it was interrupted.",
        ["", "--data store --memory 16", "--on ray"],
    )
    add = made.add_argument
    add("--root", type=Path, default=Path(), metavar="FOLDER", help="runs and checkpoints lie in it (default: here)")
    made.add_state(None, "the service's --state (default: runs/.service below the root)")
    add("--data", metavar="PLACE", help="Parquet store or postgresql://... (default: QFRAME_DATA, if it is set)")
    add(
        "--memory", type=within(float, 0.5, 1e6), metavar="GB",
        help="address space of a job (default: as much as there is)",
    )  # fmt: skip
    made.add_on()
    made.add_alive()
    add("--once", action="store_true", help="leave when no job waits (default: wait for the next)")
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Work until stopped."""
    given = vars(parser().parse_args(argv))
    from qframe_rl.service.places import Places
    from qframe_rl.service.store import ServiceStore
    from qframe_rl.service.worker import Worker

    root = given["root"]
    if not root.is_dir():
        raise UserError(f"--root: {root} is no folder; name the one in which runs and checkpoints lie.")
    data = stored_in(given["data"], "make it, and download fills it")
    out, stop = console(to_stderr=True), threading.Event()
    store = ServiceStore(given["state"] or root / "runs" / ".service", given["store"])
    places = Places([root / "runs", root / "checkpoints", SHIPPED])
    worker = Worker(
        store, places, root, data, given["memory"], lambda line: out.print(line, highlight=False), given["on"]
    )
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    out.print(f"{worker.name} waits for jobs; Ctrl-C stops it", highlight=False)
    done, stopped = 0, beating(stop.is_set, given["alive"])
    try:
        while not stopped():
            if worker.step(stopped):
                done += 1
            elif given["once"]:
                break
            else:
                stop.wait(0.5)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        store.close()
    return {"done": done} if given["json"] else None


if __name__ == "__main__":
    sys.exit(door(main))
