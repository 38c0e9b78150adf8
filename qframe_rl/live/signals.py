"""Kill signals from the first moment of a process on: what came before a session could obey is not lost.

By default such a signal ends a process; one that has just begun, and holds its journal already, is to obey instead.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

WORDS = {"SIGUSR1": "halt", "SIGUSR2": "flatten"}
_early: list[str] = []


def hear_early() -> None:
    """Remember kill signals until somebody obeys them; call it before anything else."""
    _obeyed_by(_early.append)


def obey(obeys: Callable[[str], object]) -> None:
    """Let ``obeys`` take the word of each kill signal from now on, and of the last one that came before."""
    _obeyed_by(obeys)
    if _early:
        obeys(_early[-1])
        _early.clear()


def _obeyed_by(obeys: Callable[[str], object]) -> None:
    for name, word in WORDS.items():
        if hasattr(signal, name):  # Windows has none
            signal.signal(getattr(signal, name), lambda *_, word=word: obeys(word))
