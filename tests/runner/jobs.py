"""Cells for the tests of fans: found by name in a worker."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from qframe_rl.agent import Log
from qframe_rl.config import UserError
from qframe_rl.types import History


def look(history: History, job: int, log: Log) -> tuple[int, int, bool, str, int]:
    """What a worker sees of the shared bars."""
    log.scalar("job", float(job), job)
    base: Any = history.values
    while getattr(base, "base", None) is not None:
        base = base.base
    return job, os.getpid(), history.values.flags.owndata, type(base).__name__, len(history)


def threads(shared: None, job: int, log: Log) -> set[int]:
    """How many threads numpy's linear algebra takes."""
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def die_once(folder: str, job: int, log: Log) -> int:
    """Job 1 kills its worker the first time."""
    mark = Path(folder) / f"{job}"
    if job == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job * job


def refuse(shared: str, job: int, log: Log) -> int:
    """A user's mistake."""
    raise UserError(f"{shared}: job {job} cannot be.")


def wait(seconds: float, job: int, log: Log) -> int:
    """Sleep."""
    time.sleep(seconds)
    return job
