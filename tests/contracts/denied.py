"""Files and sockets that a strategy has no business with are denied to it while it learns or decides.

Python announces what it opens to audit hooks (PEP 578), and a hook that raises forbids it. Arrow opens files without
Python, so its doors that are written in Python are guarded as well. A library in another language that opens files
unannounced is not seen: see docs/evaluation.md.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numba

from qframe_rl.agent import Agent, View
from qframe_rl.types import Orders

ROOT = Path(__file__).resolve().parent.parent.parent
CODE = (".py", ".pyc", ".pyi", ".so", ".nbi", ".nbc")
"""What may be read in this folder: modules, and what Numba compiled of them; in its cache, all that it keeps there."""
_PREFIXES = tuple(
    str(Path(place).resolve()) + os.sep
    for place in {sys.prefix, sys.base_prefix, sysconfig.get_paths()["stdlib"], *site.getsitepackages()}
)
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/", "/lib")
"""Where libraries ask about the machine."""
_OUTSIDE = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.posix_spawn")
_on = False
_installed = False
_refused: list[str] = []
_bystanders: WeakSet[threading.Thread] = WeakSet()
"""Threads that ran before, and those that they began since: Ray's, or a server's of another test."""


class Denied(Exception):
    """A strategy opened what is denied to it."""


@contextmanager
def denied() -> Iterator[None]:
    """Deny files other than code, sockets and other programs to this thread, and to all that begin meanwhile.

    Threads that ran before go on as they did. One who hides the refusal from his caller is found out at the end.
    """
    global _on
    _install()
    before, _on = _on, True
    _refused.clear()
    _bystanders.clear()
    _bystanders.update(set(threading.enumerate()) - {threading.current_thread()})
    try:
        yield
    finally:
        _on = before
    if _refused:
        raise Denied(_refused[0])


class Watched:
    """An agent that decides under `denied`."""

    def __init__(self, agent: Agent):
        self.agent, self.window = agent, agent.window

    def decide(self, view: View) -> Orders:
        with denied():
            return self.agent.decide(view)


def _install() -> None:
    """A hook cannot be taken away again, so there is one, and it asks whether it is on."""
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)
        _guard_arrow()
        _follow_bystanders()


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _on:
        return
    if event not in (*_OUTSIDE, "open") or _is_bystander():
        return
    if event in _OUTSIDE:
        _deny(f"{event} {args[:2]}")
    if event == "open":
        place, _, flags = args
        if isinstance(place, str | bytes | os.PathLike) and not flags & (os.O_WRONLY | os.O_CREAT):
            _refuse(os.fsdecode(place))


def _is_bystander() -> bool:
    here = threading.get_ident()
    return any(thread.ident == here for thread in _bystanders)


def _refuse(place: str) -> None:
    path = os.path.realpath(place)
    compiled = os.path.realpath(numba.config.CACHE_DIR) + os.sep
    if path.startswith((*_PREFIXES, *_SYSTEM, compiled)) or path.endswith(CODE):
        return
    _deny(f"it opened {path}")


def _deny(what: str) -> None:
    _refused.append(what)
    raise Denied(what)


def _follow_bystanders() -> None:
    """Python 3.11 has no audit event for a thread's begin."""
    start = threading.Thread.start

    @wraps(start)
    def inner(thread: threading.Thread) -> None:
        if _on and _is_bystander():
            _bystanders.add(thread)
        start(thread)

    threading.Thread.start = inner  # type: ignore[method-assign]


def _guard_arrow() -> None:
    import pyarrow.dataset
    import pyarrow.parquet.core as parquet

    def guarded(function: Any) -> Any:
        @wraps(function)
        def inner(*args: Any, **more: Any) -> Any:
            if _on and not _is_bystander():
                _deny(f"it opened {args}")
            return function(*args, **more)

        return inner

    for kind in (parquet.ParquetFile, parquet.ParquetDataset):
        kind.__init__ = guarded(kind.__init__)
    pyarrow.dataset.dataset = guarded(pyarrow.dataset.dataset)
    for name in ("memory_map", "input_stream"):
        setattr(pyarrow, name, guarded(getattr(pyarrow, name)))
