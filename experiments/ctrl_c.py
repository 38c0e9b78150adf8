"""Ctrl-C where Python lets go of it."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heeded() -> Iterator[list[int]]:
    """Let Ctrl-C stop what is under way, in the main thread and where nothing else was said of it.

    What is raised in a callback of C, as in the midst of Numba's compiling, or while an object is let go, is printed
    and forgotten, or comes back as another error. It is raised again a moment later.

    Returns
    -------
    list
        Has the signal once it came.
    """
    came: list[int] = []
    before, hook, again = signal.getsignal(signal.SIGINT), sys.unraisablehook, list[threading.Timer]()
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield came
        return

    def stop(number: int, frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    def dropped(what: sys.UnraisableHookArgs) -> None:
        if not issubclass(what.exc_type, KeyboardInterrupt):
            hook(what)
            return
        again.append(threading.Timer(0.05, _thread.interrupt_main))
        again[-1].start()

    signal.signal(signal.SIGINT, stop)
    sys.unraisablehook = dropped
    try:
        yield came
    finally:
        for timer in again:
            timer.cancel()
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, before)
