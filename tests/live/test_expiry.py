"""A model that is too old only reduces: at the bar that was said, on record, and whoever resumes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import paper as door_of_paper
from experiments.cli import door
from qframe_rl.agent import Memoryless, View
from qframe_rl.config import UserError
from qframe_rl.interface import rebalance
from qframe_rl.journal.inbox import order
from qframe_rl.live.expiry import expiry_of
from qframe_rl.live.paper import paper, replay
from qframe_rl.live.recorded import ReplayFeed
from qframe_rl.times import parse_time
from qframe_rl.types import DAY, HOUR, Orders, Segment
from tests.live.test_transfers import WINDOW, events, setting

PERIODS = {
    "periods": {"train": [["2017-01-01 00:00:00", "2018-01-01 00:00:00"], ["2018-06-01", "2019-01-01 05:00:00"]]}
}


class Swings(Memoryless):
    """More and less of everything, in turns."""

    window = WINDOW

    def decide(self, view: View) -> Orders:
        n = len(view.account.position)
        return rebalance(view, np.full(n, (0.8 if view.time // HOUR % 8 < 4 else 0.2) / n))


class Resumer:
    """Resumes after a bar."""

    def __init__(self, folder: Path, bar: int):
        self.folder, self.bar, self.n = folder, bar, 0

    def started(self, view: View) -> None:
        """Nothing."""

    def settled(self, view: View, orders: Orders) -> None:
        self.n += 1
        if self.n == self.bar:
            order(self.folder / "journal.db", "resume")

    def ended(self, view: View) -> None:
        """Nothing."""


def test_from_the_bar_that_was_said_it_only_reduces(tmp_path: Path) -> None:
    history, one, terms = setting()
    at = int(history.time[60])
    feed = ReplayFeed(history, Segment(WINDOW, len(history)), WINDOW)

    def begun(router: Any, ledger: Any, operator: Any) -> None:
        operator.expires = at

    paper(one, Swings(), feed, terms, tmp_path, listeners=[Resumer(tmp_path, 90)], durable=False, begun=begun)
    first, resumed, again = events(tmp_path, "command")
    assert (first["word"], first["by"]) == ("reduce", "expiry")
    assert (resumed["word"], again["word"], again["by"]) == ("resume", "reduce", "expiry")
    assert events(tmp_path, "state")[0]["time"] == at
    settled = events(tmp_path, "settled")
    held = np.array([one["account"]["position"] for one in settled])
    late = np.array([one["time"] > at for one in settled[1:]])
    bought, sold = (np.diff(held, axis=0) > 0.0).any(axis=1), (np.diff(held, axis=0) < 0.0).any(axis=1)
    assert bought[~late].any() and not bought[late].any() and sold[late].any()
    assert replay(one, Swings(), terms, tmp_path / "journal.db").bars == len(held)


def test_when_it_expires_is_a_time_or_a_length_after_training() -> None:
    assert expiry_of("2026-12-31", {}) == parse_time("2026-12-31")
    assert expiry_of("2026-12-31T08:00:00Z", {}) == parse_time("2026-12-31T08:00")
    assert expiry_of("30d", PERIODS) == parse_time("2019-01-01T05:00") + 30 * DAY
    for text in ("soon", "30x", "2026-13-01", "", "nan", "9999-12-31"):
        with pytest.raises(UserError, match=f"--expires '{text}' is neither a time .* nor a length"):
            expiry_of(text, PERIODS)
    with pytest.raises(UserError, match="does not say what it was trained on"):
        expiry_of("30d", {})


def test_the_command_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["adaptive_mean_reversion", "--from", "2024-01-05", "--to", "2024-01-07", "--out", str(tmp_path)]
    assert door(door_of_paper.main, [*argv, "--expires", "soon"]) == 2
    assert "'soon'" in capsys.readouterr().err and not (tmp_path / "journal.db").exists()
    assert door(door_of_paper.main, [*argv, "--expires", "1h", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["bars"] > 0
    assert "--expires 1h: the model is too old since 20" in " ".join(said.err.split())
    assert [e["by"] for e in events(tmp_path, "command")] == ["expiry"]
