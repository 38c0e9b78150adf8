"""What an earlier version wrote opens, goes on and replays, or says in one sentence why not and what to do.

``v0`` was written by version 4de323f: a PPO of ``train --preset quick`` (``quick``), a rule on bars whose prices are
made of whole numbers (``checkpoint``, ``bars.csv``), two paper journals of it (``finished``; ``halfway``, killed in the
middle, with commands in it that nobody obeyed yet), the ledger of that run and the presets. See docs/upgrade.md.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from experiments import control, evaluate, paper, replay, status, train
from experiments.cli import door
from experiments.settings import PRESETS, settings
from qframe_rl.config import build
from qframe_rl.journal.store import Writer, read, verify
from qframe_rl.runner.experiment import Experiment

V0 = Path(__file__).parent / "v0"
ENDED = "359b8372d44000ce3f485de2182d9090d37cc3f1aea07f41e19545041d715a19"
"""Hash of the finished session, as the version that ran it printed it."""
OPTIONS = ("--from", "2020-01-10", "--to", "2020-01-14", "--max-drawdown", "0.3", "--snapshot-bars", "20")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that may be written, and the current folder: the sessions name their bars as ``bars.csv``."""
    shutil.copytree(V0, tmp_path / "v0")
    monkeypatch.chdir(tmp_path / "v0")
    return tmp_path / "v0"


def said(capsys: pytest.CaptureFixture[str], main: Any, *argv: object) -> tuple[int, dict[str, Any], str]:
    code = door(main, [*map(str, argv), "--json"])
    out, err = capsys.readouterr()
    last = (out.splitlines() or [""])[-1]
    return code, json.loads(last) if last.startswith("{") else {}, " ".join(err.split())


def kinds(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(e.kind, json.loads(e.payload)) for e in read(folder / "journal.db")]


@pytest.mark.parametrize(("session", "bars", "state"), [("finished", 96, "ACTIVE"), ("halfway", 35, "REDUCE_ONLY")])
def test_an_old_journal_is_read_and_nothing_is_written(
    old: Path, capsys: pytest.CaptureFixture[str], session: str, bars: int, state: str
) -> None:
    before = {p.name: p.read_bytes() for p in (old / session).iterdir()}
    assert verify(old / session / "journal.db").seq > 100
    code, shown, _ = said(capsys, status.main, session)
    assert (code, shown["sessions"][0]["bars"], shown["sessions"][0]["state"]) == (0, bars, state)
    code, again, err = said(capsys, replay.main, session, "--checkpoint", "checkpoint")
    assert code == 0, err
    assert (again["identical"], again["bars"]) == (True, bars)
    assert again["snapshots_not_compared"] == bars // 20
    assert {p.name: p.read_bytes() for p in (old / session).iterdir()} == before


def test_a_replay_comes_to_what_the_old_version_printed_and_says_what_it_could_not_compare(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door(replay.main, ["finished", "--checkpoint", "checkpoint"]) == 0
    out = capsys.readouterr().out
    assert f"identical: 96 bars, equity 9,817.06, hash {ENDED}" in out
    assert "4 snapshots were made by other code: their content was not compared" in out


def test_a_finished_session_is_run_again_and_that_is_said(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result, err = said(capsys, paper.main, "checkpoint", "--out", "finished", *OPTIONS)
    assert (code, result["journal_hash"]) == (0, ENDED)
    assert "its bars are run again from the first one, because code or libraries have changed" in err
    assert "other code wrote it last; what that did was run again, and came out the same" in err
    assert said(capsys, paper.main, "checkpoint", "--out", "finished", *OPTIONS)[1] == result


def test_a_session_that_was_killed_goes_on_and_hears_the_inbox_inside_its_journal(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, control.main, "reduce", "halfway")[0] == 0
    code, result, err = said(capsys, paper.main, "checkpoint", "--out", "halfway", *OPTIONS)
    assert code == 0, err
    assert (result["state"], result["bars"]) == ("finished", 96)
    words = [(p["word"], p["number"] < 10) for k, p in kinds(old / "halfway") if k == "command"]
    assert words == [("reduce", True), ("resume", True), ("halt", True), ("reduce", False)]
    assert [p["state"] for k, p in kinds(old / "halfway") if k == "state"] == ["REDUCE_ONLY", "ACTIVE", "HALTED"]
    bars = [p["time"] for k, p in kinds(old / "halfway") if k == "bar"]
    assert bars == [p["time"] for k, p in kinds(old / "finished") if k == "bar"]
    assert said(capsys, replay.main, "halfway", "--checkpoint", "checkpoint")[1]["identical"]


def form(journal: Path) -> int:
    with closing(sqlite3.connect(f"{journal.as_uri()}?immutable=1", uri=True)) as database:
        (found,) = database.execute("PRAGMA user_version").fetchone()
    return int(found)


def test_an_old_version_refuses_what_a_new_one_went_on_with_and_not_what_it_only_opened(old: Path) -> None:
    journal = old / "halfway" / "journal.db"
    Writer(journal).close()
    assert form(journal) == 1
    writer = Writer(journal)
    writer.append("note", "{}")
    writer.commit()
    writer.close()
    assert form(journal) == 2, "its inbox would not be heard by a session of the old version"


def test_other_rules_are_refused_with_the_way_out(
    old: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents.momentum import Momentum

    decide = Momentum.decide

    def other(self: Any, view: Any) -> Any:
        orders = decide(self, view)
        return orders._replace(quantity=orders.quantity * 0.5)

    monkeypatch.setattr(Momentum, "decide", other)
    before = {p.name: p.read_bytes() for p in (old / "halfway").iterdir() if p.suffix == ".db"}
    for main, argv in ((paper.main, ("checkpoint", "--out", "halfway", *OPTIONS)),
                       (replay.main, ("halfway", "--checkpoint", "checkpoint"))):  # fmt: skip
        code, _, err = said(capsys, main, *argv)
        assert code == 2
        assert "decision.asked.quantity[0] = " in err
        assert "Part of the record was made by other code" in err
        assert "end the session with that version" in err
        assert "begin anew with another --out" in err
    assert {p.name: p.read_bytes() for p in (old / "halfway").iterdir() if p.suffix == ".db"} == before


def test_an_old_agent_scores_as_it_did(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result, err = said(capsys, evaluate.main, "quick", "--runs", "runs")
    assert code == 0, err
    mine = result["results"][0]
    assert (mine["agent"], mine["bars"]) == ("ppo", 1200)
    assert mine["final_equity"] == pytest.approx(20135.385593915, rel=1e-5)


def test_what_was_tried_before_still_counts(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (old / "runs").mkdir()
    shutil.move("trials.db", "runs/trials.db")
    data = ["--data", "bars.csv", "--symbols", "AAA/USDT", "--timeframe", "1h", "--set", "env.features=log_return:1"]
    agent = ["--agents", "momentum", "--set", "agent.momentum.lookback_bars=4"]
    more = ["--set", "agent.momentum.volatility_bars=5", "--resamples", "100", "--checkpoints", "checkpoints"]
    code, result, err = said(capsys, train.main, *data, *agent, *more, "--runs", "runs")
    assert code == 0, err
    assert {row["trials"] for row in result["leaderboard"]} == {3}, "two of before, and this one"


@pytest.mark.parametrize("preset", sorted(p.stem for p in (V0 / "presets").glob("*.toml")))
def test_an_old_preset_is_still_a_run(preset: str) -> None:
    path = V0 / "presets" / f"{preset}.toml"
    assert build(Experiment, settings(Experiment, str(path), (), {}), str(path)).agents
    assert (PRESETS / f"{preset}.toml").is_file(), "a preset that goes is named in docs/upgrade.md"
