"""Ctrl-C stops a command, whatever it strikes."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import weakref
from collections.abc import Callable, Sequence

import pytest

from experiments.cli import door


class Thing:
    """Can be let go."""


def in_a_callback_of_c() -> None:
    ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGINT))()


def while_an_object_is_let_go() -> None:
    thing = Thing()
    kept = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT))
    del thing
    assert kept() is None


def struck(strike: Callable[[], None], then: Callable[[], None]) -> Callable[[Sequence[str] | None], None]:
    def main(argv: Sequence[str] | None = None) -> None:
        strike()
        then()

    return main


def goes_on() -> None:
    end = time.monotonic() + 30.0
    while time.monotonic() < end:
        time.sleep(0.01)


def fails() -> None:
    raise RuntimeError("no compiled object yet")


def loses_its_workers() -> None:
    raise BrokenPipeError


@pytest.mark.parametrize("strike", [in_a_callback_of_c, while_an_object_is_let_go])
@pytest.mark.parametrize(
    ("then", "said"),
    [(goes_on, "stopped.\n"), (fails, "RuntimeError: no compiled object yet"), (loses_its_workers, "BrokenPipeError")],
)
def test_it_is_heeded_where_python_would_drop_it(
    strike: Callable[[], None], then: Callable[[], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the midst of Numba's compiling, which then failed, or went on."""
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    assert door(struck(strike, then), []) == 130
    err = capsys.readouterr().err
    assert err.startswith("stopped") and said in err
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before


def test_other_failures_are_failures() -> None:
    with pytest.raises(RuntimeError, match="no compiled"):
        door(struck(lambda: None, fails), [])


def test_where_something_else_was_said_of_it_that_holds() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        assert door(struck(in_a_callback_of_c, lambda: None), []) == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [signal.SIGINT]
