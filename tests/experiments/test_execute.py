"""Orders worked on minutes: evaluated, traded on paper, resumed, shadowed and run again to one hash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import evaluate, paper, replay, train
from experiments.cli import door
from qframe_rl.agent import View
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.journal.record_file import read_record
from qframe_rl.journal.store import NAME, last_events
from qframe_rl.live import paper as live
from qframe_rl.live.followed import FOLDER
from qframe_rl.live.open import opened_replay
from qframe_rl.live.spec import terms_of
from qframe_rl.types import MINUTE, Orders

BARS = ("--timeframe", "1m", "--bars", "2400")
WAYS = ("twap:10m", pytest.param("passive", marks=pytest.mark.long))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rule on quarters of an hour that trades often."""
    folder = tmp_path_factory.mktemp("trained")
    places = ["--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints")]
    rule = ["lookback_bars=6", "volatility_bars=6", "band=0.0"]
    argv = ["--timeframe", "15m", "--bars", "1000", "--agents", "momentum", "--set", "env.features=log_return:1"]
    argv += [word for text in rule for word in ("--set", f"agent.momentum.{text}")]
    assert door(train.main, [*argv, *places]) == 0
    return next((folder / "runs").glob("*/agents/momentum-0-0"))


def run(capsys: pytest.CaptureFixture[str], main: Any, *argv: object) -> tuple[int, dict[str, Any], str]:
    code = door(main, [*map(str, argv), "--json"])
    out, err = capsys.readouterr()
    last = (out.splitlines() or [""])[-1]
    return code, json.loads(last) if last.startswith("{") else {}, " ".join(err.split())


class Stops:
    """Ends a session after some bars."""

    def __init__(self, feed: Any, after: int):
        self.feed, self.left = feed, after

    def carried(self) -> dict[str, Any]:
        return {}

    def carry(self, memory: Any, view: View) -> None:
        """Nothing to take over."""

    def started(self, view: View) -> None:
        """Nothing yet."""

    def settled(self, view: View, orders: Orders) -> None:
        self.left -= 1
        if self.left == 0:
            self.feed.stopped.set()

    def ended(self, view: View) -> None:
        """Nothing more."""


@pytest.mark.parametrize("way", WAYS)
def test_one_hash_evaluated_traded_resumed_and_run_again(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    argv = (checkpoint, *BARS, "--execute", way)
    code, scored, err = run(capsys, evaluate.main, *argv, "--baselines", "", "--out", tmp_path / "scored")
    assert code == 0, err
    (one,) = scored["results"]
    record = read_record(Path(one["journal"]), load_checkpoint(checkpoint).instruments, MINUTE)
    assert one["shortfall"]["trades"] > 20
    assert one["shortfall"]["difference"]["low"] <= one["shortfall"]["difference"]["estimate"]
    assert "less now (90%)" in err
    assert (record.fills.quantity != 0.0).sum() > 20, "no children"
    code, lived, err = run(capsys, paper.main, *argv, "--out", tmp_path / "lived")
    assert code == 0, err
    assert lived["journal_hash"] == one["journal_hash"]
    given = {"timeframe": "1m", "bars": 2400}
    for stop in (333, 444, 10**6):
        opened = opened_replay(
            checkpoint, load_checkpoint(checkpoint), given, None, None, tmp_path / "resumed", float("inf"), execute=way
        )
        again = live.paper(
            opened.market, opened.agent, opened.feed, opened.terms, opened.folder, durable=False, snapshot_bars=7,
            listeners=[Stops(opened.feed, stop)], process={"checkpoint": str(checkpoint)},
        )  # fmt: skip
    assert again.digest == one["journal_hash"]
    code, said, err = run(capsys, replay.main, tmp_path / "resumed")
    assert code == 0, err
    assert (said["identical"], said["journal_hash"]) == (True, one["journal_hash"])


def test_now_is_worked_as_well_and_a_shadow_is_worked_as_its_session(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = (checkpoint, *BARS, "--execute", "now")
    code, scored, err = run(capsys, evaluate.main, *argv, "--baselines", "", "--out", tmp_path / "scored")
    assert code == 0, err
    assert "shortfall" not in scored["results"][0], "compared with itself"
    code, lived, err = run(capsys, paper.main, *argv, "--out", tmp_path / "lived", "--shadow", checkpoint)
    assert code == 0, err
    assert lived["journal_hash"] == scored["results"][0]["journal_hash"]
    shadow = tmp_path / "lived" / FOLDER / checkpoint.name / NAME
    assert json.loads(last_events(shadow, "settled", 2**62, 1)[0].payload)["hash"] == lived["journal_hash"]
    terms = terms_of(shadow)
    assert terms is not None
    assert terms.execute == "now"


def test_protections_last_as_long_as_on_the_bars_of_the_strategy(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = (checkpoint, *BARS, "--execute", "now", "--cooldown-bars", "2")
    code, scored, err = run(capsys, evaluate.main, *argv, "--baselines", "", "--out", tmp_path / "scored")
    assert code == 0, err
    code, lived, err = run(capsys, paper.main, *argv, "--out", tmp_path / "lived")
    assert code == 0, err
    assert lived["final_equity"] == scored["results"][0]["final_equity"]
    paused = last_events(tmp_path / "lived" / NAME, "paused", 2**62, 2**31)
    assert {lock["bars"] for one in paused for lock in json.loads(one.payload)["locks"]} == {30}
    code, _, err = run(capsys, paper.main, *argv[:-1], "99999", "--out", tmp_path / "long")
    assert (code, "--cooldown-bars 99999 are 1,499,985 of the finer bars" in err) == (2, True), err


def test_what_does_not_go_together_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", tmp_path / "out")
    for main in (evaluate.main, paper.main):
        code, _, err = run(capsys, main, checkpoint, "--execute", "twap:10m", *out)
        assert (code, "--timeframe" in err) == (2, True), err
        code, _, err = run(capsys, main, checkpoint, *BARS, *out)
        assert (code, "timeframe 1m, trained with 15m" in err) == (2, True), err
        code, _, err = run(capsys, main, checkpoint, *BARS, "--execute", "soon", *out)
        assert (code, "twap:LENGTH" in err) == (2, True), err
        code, _, err = run(capsys, main, checkpoint, *BARS, "--execute", "twap:30m", *out)
        assert (code, "no longer than the 15m" in err) == (2, True), err
    code, _, err = run(capsys, evaluate.main, "momentum", "--walk-forward", "3", "--execute", "now")
    assert (code, "--execute is for checkpoints" in err) == (2, True), err
