"""Kill signals from the first moment of a process on: what came before a session could obey is not lost.

By default such a signal ends a process; one that has just begun, and holds its journal already, is to obey instead.
Python hears signals in its main thread alone: a session in another one is told by its inbox and its file.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

WORDS = {"SIGUSR1": "halt", "SIGUSR2": "flatten"}
_early: list[str] = []


def hear_early() -> None:
    """Remember kill signals until somebody obeys them; call it before anything else."""
    _obeyed_by(_early.append)


@contextlib.contextmanager
def obeyed(obeys: Callable[[str], object]) -> Iterator[None]:
    """Let ``obeys`` take the word of each kill signal in a block, and of the last one that came before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {name: signal.getsignal(getattr(signal, name)) for name in WORDS if hasattr(signal, name)}
    _obeyed_by(obeys)
    if _early:
        obeys(_early[-1])
        _early.clear()
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _obeyed_by(obeys: Callable[[str], object]) -> None:
    for name, word in WORDS.items():
        if hasattr(signal, name):  # Windows has none
            signal.signal(getattr(signal, name), lambda *_, word=word: obeys(word))
