"""Processes that are started afresh and killed: one that is forked after PyTorch began its threads waits for ever."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from qframe_rl.journal.store import verify


class Child(Protocol):
    """A process, as `subprocess.Popen` shows it."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def returncode(self) -> int | Any:
        """What it ended with; None before."""

    def poll(self) -> int | None:
        """What it ended with; None before."""

    def wait(self) -> int:
        """Wait for its end."""

    def kill(self) -> None:
        """End it at once."""

    def terminate(self) -> None:
        """Ask it to end."""


class Forked:
    """A process that begins with what a server of processes has imported and compiled already, and no thread of it.

    Parameters
    ----------
    preload
        Modules that the server imports.
    target, *given
        What it runs.
    said
        What it says is appended here.
    """

    def __init__(self, preload: list[str], said: Path, target: Callable[..., None], *given: Any):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(preload)
        self._process = context.Process(target=_spoken, args=(str(said), target, *given))
        self._process.start()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """What it ended with; None before."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """What it ended with; None before."""
        return self._process.exitcode

    def wait(self) -> int:
        """Wait for its end."""
        self._process.join()
        return self._process.exitcode or 0

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()


def _spoken(said: str, target: Callable[..., None], *given: Any) -> None:
    with Path(said).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    target(*given)


def started(module: str, argv: Sequence[str], said: Path = Path(os.devnull), **more: Any) -> subprocess.Popen[bytes]:
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


def outlived(
    module: str, argv: Callable[[bool], list[str]], journal: Path, said: Path, kills: int, rng: random.Random,
    longest_s: float, begun: Callable[[Child, int], bool],
) -> tuple[int, int]:  # fmt: skip
    """Run one session to its end under at most so many kills, and see that its journal never loses an event.

    Parameters
    ----------
    module, argv
        Of its process; told whether it will not be killed any more.
    journal, said
        Its journal, and where it says what it says.
    kills, rng, longest_s
        How many at most, and as in `killed`.
    begun
        Whether a process has come so far that it is worth a kill; told it, and the events that were there before.

    Returns
    -------
    tuple[int, int]
        Kills, and processes that were started.

    Raises
    ------
    SystemExit
        If one ends by itself with an error.
    """
    done = starts = last = 0
    while True:
        starts += 1
        child = started(module, argv(done >= kills), said)
        if done < kills:
            ended = killed(child, lambda child=child, last=last: begun(child, last), rng, longest_s, lambda: None)
        else:
            ended = child.wait() is not None
        if ended and child.returncode != 0:
            raise SystemExit(f"the session ended with {child.returncode}: {said.read_text()[-3000:]}")
        done += not ended
        if journal.exists():
            head = verify(journal)
            assert head.seq >= last, f"events were lost: {head.seq} after {last}"
            last = head.seq
        if ended:
            return done, starts
