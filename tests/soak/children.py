"""Processes that are started afresh and killed: one that is forked after PyTorch began its threads waits for ever."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Child = subprocess.Popen[bytes]


def started(module: str, argv: Sequence[str], said: Path = Path(os.devnull), **more: Any) -> Child:
    """Run a module in a process of its own; what it says is appended to ``said``."""
    with said.open("ab") as file:
        return subprocess.Popen([sys.executable, "-m", module, *argv], stdout=file, stderr=file, **more)


def killed(
    child: Child, begun: Callable[[], bool], rng: random.Random, longest_s: float, now: Callable[[], None]
) -> bool:
    """Kill a process at a random instant; return whether it had ended by itself before.

    Parameters
    ----------
    child
        The process.
    begun
        Whether it has come so far that it can be killed in the midst of something.
    longest_s
        The longest time from there to the kill, seconds. One in five is killed while it starts.
    now
        Called all the time.
    """
    early = rng.random() < 0.2
    deadline = time.monotonic() + rng.uniform(0.0, 2.0) if early else None
    while deadline is None or time.monotonic() < deadline:
        if child.poll() is not None:
            return True
        if deadline is None and begun():
            deadline = time.monotonic() + rng.uniform(0.0, longest_s)
        now()
        time.sleep(0.002)
    child.kill()
    child.wait()
    return False
