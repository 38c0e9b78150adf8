"""Locks that protections make in a live session: on record with their end, shown, and the same after every restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from experiments.status import _row
from qframe_rl.agent import Memoryless, View
from qframe_rl.interface import rebalance
from qframe_rl.journal.store import pulse
from qframe_rl.live.paper import SessionResult, paper, replay
from qframe_rl.live.recorded import ReplayFeed
from qframe_rl.live.spec import SessionSpec
from qframe_rl.live.standing import look
from qframe_rl.risk.guard import NAMES
from qframe_rl.risk.limits import Limits
from qframe_rl.types import HOUR, History, Orders, Segment
from tests.live.test_transfers import events
from tests.markets import panel
from tests.risk.test_parity import made

WINDOW = 5
GUARDED = Limits(
    cooldown_bars=3,
    stop_guard=2,
    stop_guard_bars=40,
    stop_guard_scope="symbol",
    low_profit=-0.001,
    low_profit_bars=60,
    drawdown_pause=0.01,
    drawdown_pause_bars=50,
    max_entries_per_day=1,
    volatility_halt=0.02,
    volatility_halt_bars=3,
)


class Turns(Memoryless):
    """Long, short or flat in each instrument, by the hour."""

    window = WINDOW

    def decide(self, view: View) -> Orders:
        hour = view.time // HOUR
        return rebalance(view, np.array([0.4 * ((hour // 7) % 3 - 1), 0.4 * ((hour // 5) % 3 - 1)]))


def lived(folder: Path, *, bars: int = 300, stop: int = 10**9, limits: Limits = GUARDED) -> SessionResult:
    """A session to its end, or to a stop."""
    history, terms = _setting(bars)
    feed, seen = ReplayFeed(history, Segment(WINDOW, len(history)), WINDOW), Counts(stop)
    seen.feed = feed
    one = made(history, Limits(), "exposure")
    return paper(one, Turns(), feed, terms, folder, limits=limits, listeners=[seen], durable=False, snapshot_bars=20)


class Counts:
    """Stops a session after so many bars of this process."""

    feed: Any = None

    def __init__(self, stop: int):
        self.left = stop

    def carried(self) -> dict[str, Any]:
        return {}

    def carry(self, memory: Any, view: View) -> None:
        """Nothing."""

    def started(self, view: View) -> None:
        """Nothing."""

    def settled(self, view: View, orders: Orders) -> None:
        self.left -= 1
        if self.left == 0:
            self.feed.stopped.set()

    def ended(self, view: View) -> None:
        """Nothing."""


def _setting(bars: int) -> tuple[History, SessionSpec]:
    history = panel(bars + WINDOW, 2, seed=3, volatility=0.006, ragged=False, column=False)
    spec = SessionSpec(
        "turns", "0" * 16, {"feed": "replay"}, history.instruments, history.columns, history.bar_ns, WINDOW
    )
    return history, spec


def told(folder: Path) -> list[Any]:
    """What protections put on record."""
    return [(one["time"], one["locks"]) for one in events(folder, "paused")]


def test_locks_are_on_record_with_their_end_and_outlive_every_restart(tmp_path: Path) -> None:
    whole = lived(tmp_path / "whole")
    record = told(tmp_path / "whole")
    assert {rule for _, locks in record for lock in locks for rule in lock["rules"]} == set(NAMES)
    assert all(lock["until"] == time + lock["bars"] * HOUR for time, locks in record for lock in locks)
    reasons = {r.partition(":")[0] for one in events(tmp_path / "whole", "decision") for r in one.get("reasons", [])}
    assert set(NAMES) <= reasons, "each of them held an order back"
    for stop in (11, 20, 33, 71):
        for _ in range(3):
            lived(tmp_path / f"{stop}", stop=stop)
        assert lived(tmp_path / f"{stop}").digest == whole.digest
        assert told(tmp_path / f"{stop}") == record
    history, terms = _setting(300)
    again = replay(made(history, Limits(), "exposure"), Turns(), terms, tmp_path / "33" / "journal.db")
    assert again.digest == whole.digest


def test_the_operator_sees_what_is_locked_and_until_when(tmp_path: Path) -> None:
    lived(tmp_path, stop=next(_paused_bars(tmp_path / "whole")))
    said = look(tmp_path)
    assert len(said["paused"]) >= 1
    assert "may only be reduced until 20" in said["paused"][0]
    assert said["paused"][0] in _row(said | {"process": None})["state"]
    assert pulse(tmp_path / "journal.db") is not None


def _paused_bars(folder: Path) -> Any:
    """Bars after which something is locked."""
    lived(folder)
    times = [one["time"] for one in events(folder, "settled")]
    return (times.index(time) + 1 for time, _ in told(folder))


def test_protections_may_be_given_to_a_session_that_runs_and_taken_from_it(tmp_path: Path) -> None:
    lived(tmp_path / "a", stop=60, limits=Limits())
    assert told(tmp_path / "a") == []
    for limits in (GUARDED, GUARDED, Limits(), GUARDED, GUARDED):
        lived(tmp_path / "a", stop=30, limits=limits)
    whole = lived(tmp_path / "a")
    assert min(time for time, _ in told(tmp_path / "a")) > events(tmp_path / "a", "settled")[59]["time"]
    history, terms = _setting(300)
    again = replay(made(history, Limits(), "exposure"), Turns(), terms, tmp_path / "a" / "journal.db")
    assert again.digest == whole.digest
