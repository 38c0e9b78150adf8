"""What a case runs under: a limit of memory, a limit of time, and a watch for code that a file must not run."""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.mutate import PAYLOAD

MORE_BYTES = 1 << 30
"""Address space that the cases of a process may take beyond what it had before the first."""
CASE_S, WALL_S = 20.0, 200.0
"""Time of a case: of the processor, since the machine may have other work, and by the clock for one that only waits."""
_FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect")
_OWN = ("numba.", "copyreg", "builtins object")
"""What the cache of compiled functions is made of, which is our own file and no stranger's."""


_ROOT = PAYLOAD.partition(".")[0]


class Hung(BaseException):
    """A case took longer than its time."""


class Watch:
    """Notes events that a file must not cause, while it is on. An audit hook cannot be taken away again."""

    def __init__(self) -> None:
        self.on = False
        self.named = False
        """Whether a file is a configuration of the user's own, which may name a module."""
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        pickled = event == "pickle.find_class" and not " ".join(map(str, args)).startswith(_OWN)
        # The event "import" is not told of what importlib imports; that its code is run is.
        planted = event == "exec" and _ROOT in str(getattr(args[0], "co_filename", ""))
        if event in _FORBIDDEN or pickled or (planted and not self.named):
            self.seen.append(f"{event} {str(args)[:200]}")


def plant(folder: Path) -> None:
    """Put the module that must not be imported where it would be found."""
    package = folder / _ROOT
    package.mkdir()
    for name in ("__init__", "payload"):
        (package / f"{name}.py").write_text("from qframe_rl.baselines.flat import Config, make\n")
    sys.path.insert(0, str(folder))


def limit_memory(more: int = MORE_BYTES) -> None:
    """Let this process have so many bytes more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


@contextlib.contextmanager
def limit_time(busy_s: float = CASE_S, wall_s: float = WALL_S) -> Iterator[None]:
    """Interrupt the body after so long, in the midst of whatever it does: nothing of this process is sound after it."""

    def late(number: int, frame: object) -> None:
        raise Hung(f"more than {busy_s:g} s of work or {wall_s:g} s by the clock")

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, busy_s), (signal.SIGALRM, signal.ITIMER_REAL, wall_s))
    before = [signal.signal(number, late) for number, _, _ in timers]
    for _, timer, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (number, timer, _), was in zip(timers, before, strict=True):
            signal.setitimer(timer, 0.0)
            signal.signal(number, was)
