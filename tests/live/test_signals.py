"""Kill signals of a session that a program of its own runs: they are obeyed, and afterwards as they were before."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from qframe_rl.agent import View
from qframe_rl.live.paper import paper
from qframe_rl.live.recorded import ReplayFeed
from qframe_rl.types import Orders, Segment
from tests.live.test_transfers import WINDOW, Half, events, setting


class Killer:
    """Sends this process a signal after some bars."""

    def __init__(self, number: int):
        self.number, self.n = number, 0

    def started(self, view: View) -> None:
        """Nothing."""

    def settled(self, view: View, orders: Orders) -> None:
        self.n += 1
        if self.n == 30:
            os.kill(os.getpid(), self.number)

    def ended(self, view: View) -> None:
        """Nothing."""


def lived(folder: Path, *listeners: Any) -> Any:
    history, one, terms = setting()
    feed = ReplayFeed(history, Segment(WINDOW, len(history)), WINDOW)
    return paper(one, Half(), feed, terms, folder, listeners=listeners, durable=False)


@pytest.mark.parametrize(("name", "state"), [("SIGUSR1", "HALTED"), ("SIGUSR2", "FLATTEN")])
def test_a_session_of_a_program_of_ones_own_obeys_and_lives(tmp_path: Path, name: str, state: str) -> None:
    number, heard = getattr(signal, name), list[int]()
    before = signal.signal(number, lambda n, _: heard.append(n))
    try:
        result = lived(tmp_path, Killer(number))
        assert result.state == "finished"
        assert events(tmp_path, "command")[0]["by"] == "signal"
        assert events(tmp_path, "state")[0]["state"] == state
        assert heard == []
        os.kill(os.getpid(), number)
        assert heard == [number]
    finally:
        signal.signal(number, before)


def test_a_session_in_a_thread_leaves_signals_alone(tmp_path: Path) -> None:
    before, found = signal.getsignal(signal.SIGUSR1), list[Any]()
    thread = threading.Thread(target=lambda: found.append(lived(tmp_path)))
    thread.start()
    thread.join()
    assert found[0].state == "finished"
    assert signal.getsignal(signal.SIGUSR1) == before
