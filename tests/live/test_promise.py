"""What a live session earns beside what its checkpoint's scores forecast: through the door, the pulse and a restart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import paper, status
from experiments.cli import SHIPPED, door
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError
from qframe_rl.journal.shapes import said_last
from qframe_rl.journal.store import pulse
from qframe_rl.listeners import CashFlow
from qframe_rl.live.promise import PromiseWatch, promise_of
from qframe_rl.types import HOUR
from tests.alerts.test_alerts import NOTHING, view

PLACE = SHIPPED / "funding_arbitrage"


def test_the_promise_is_that_of_the_test_bars() -> None:
    checkpoint = load_checkpoint(PLACE)
    rows = {row["split"]: row for row in checkpoint.scores}
    found = promise_of(checkpoint)
    assert found is not None
    assert (found.low, found.high) == (rows["test"]["next_low"], rows["test"]["next_high"])
    only = replace(checkpoint, scores=[rows["validation"]])
    assert getattr(promise_of(only), "low", None) == rows["validation"]["next_low"]
    narrow = promise_of(replace(checkpoint, provenance=checkpoint.provenance | {"level": 0.99}))
    # The scores of the shipped checkpoint do not say their level, which is the usual 90 %.
    assert narrow is not None and found.spread / narrow.spread == pytest.approx(2.575829 / 1.644854)
    assert promise_of(replace(checkpoint, scores=[])) is None
    assert promise_of(replace(checkpoint, scores=[rows["test"] | {"agent": "another"}])) is None


def test_what_is_paid_in_is_not_earned() -> None:
    promise = promise_of(load_checkpoint(PLACE))
    assert promise is not None
    alone, paid = PromiseWatch(promise, HOUR), PromiseWatch(promise, HOUR)
    for watch in (alone, paid):
        watch.started(view(0, 100.0))
    paid.paid(CashFlow(0, 10**10, 100.0, 200.0))
    alone.settled(view(HOUR, 101.0), NOTHING)
    paid.settled(view(HOUR, 202.0), NOTHING)
    assert alone.test.plain() == paid.test.plain()
    assert alone.test.carried()["sums"][0] == paid.test.carried()["sums"][0]


@pytest.mark.slow
def test_a_session_tells_it_and_a_restart_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[Any] = []
    argv = [str(PLACE), "--data", "synthetic:carry", "--bars", "3000", "--out", str(tmp_path), "--snapshot-bars", "70"]
    for _ in range(2):
        assert door(paper.main, argv) == 0
        assert "run again from the first one" not in capsys.readouterr().err
        said = pulse(tmp_path / "journal.db")
        assert said is not None
        told.append(said_last(tmp_path / "journal.db", said[1])["promise"])
    assert told[0] == told[1]
    assert told[0]["answer"] in ("inside", "below", "too early")
    assert told[0]["bars"] > 200
    assert door(status.main, [str(tmp_path)]) == 0
    assert told[0]["answer"] in capsys.readouterr().out
    with pytest.raises(UserError, match="not readable"):
        said_last(tmp_path, json.dumps(json.loads(said[1]) | {"promise": {"answer": "certainly"}}))
