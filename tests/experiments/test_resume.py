"""A paper session that is killed, halted, resumed and run again."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from experiments import control, paper, replay, train
from experiments.cli import door
from qframe_rl.journal.ledger import REMARKS, Ledger
from qframe_rl.journal.store import read, verify
from qframe_rl.runner.live.recorded import Recording


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    places = ["--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints")]
    assert door(train.main, ["--bars", "3000", "--agents", "momentum,mean_reversion", *places]) == 0
    return next((folder / "runs").glob("*/agents/momentum-0-0"))


def kinds(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(e.kind, json.loads(e.payload)) for e in read(folder / "journal.db")]


def run(capsys: pytest.CaptureFixture[str], main: Any, *argv: object) -> tuple[int, dict[str, Any], str]:
    code = door(main, [*map(str, argv), "--json"])
    out, err = capsys.readouterr()
    last = (out.splitlines() or [""])[-1]
    return code, json.loads(last) if last.startswith("{") else {}, " ".join(err.split())


def test_kills_at_random_instants_change_nothing(checkpoint: Path) -> None:
    command = [sys.executable, "-m", "tests.soak.kill_paper", str(checkpoint), "--kills", "6", "--longest", "0.5"]
    done = subprocess.run([*command, "--speed", "2000000x"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("kills=6 ")
    assert done.stdout.strip().endswith("identical")


def test_a_finished_session_is_not_traded_again(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, first, _ = run(capsys, paper.main, checkpoint, "--out", tmp_path)
    assert code == 0
    before = [e for e in read(tmp_path / "journal.db") if e.kind not in REMARKS]
    code, again, err = run(capsys, paper.main, checkpoint, "--out", tmp_path)
    assert (code, again) == (0, first)
    assert "on record before" in err
    assert [e for e in read(tmp_path / "journal.db") if e.kind not in REMARKS] == before
    code, said, _ = run(capsys, replay.main, tmp_path)
    assert code == 0
    assert said["identical"]
    assert said["journal_hash"] == first["journal_hash"]
    assert said["bars"] == first["bars"]


def test_a_journal_belongs_to_one_session(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, paper.main, checkpoint, "--out", tmp_path)[0] == 0
    before = verify(tmp_path / "journal.db")
    code, _, err = run(capsys, paper.main, checkpoint, "--out", tmp_path, "--from", "2020-04-15")
    assert code == 2
    assert "belongs to another session" in err
    assert verify(tmp_path / "journal.db") == before


def test_other_weights_are_told_from_the_recorded_ones(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, paper.main, checkpoint, "--out", tmp_path)[0] == 0
    other = checkpoint.parent / "flat-0-0"
    code, _, err = run(capsys, replay.main, tmp_path, "--checkpoint", other)
    assert code == 2
    assert "is not the checkpoint that the session ran with" in err


def test_replay_names_the_first_difference(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (checkpoint, "--out", tmp_path, "--snapshot-bars", "100000")
    assert run(capsys, paper.main, *whole)[0] == 0
    from agents.momentum import Momentum
    from qframe_rl.types import Orders

    decide = Momentum.decide

    def off(self: Any, view: Any) -> Orders:
        orders = decide(self, view)
        late = view.time > 1_587_500_000 * 10**9
        return orders._replace(quantity=orders.quantity * (1.0 + 1e-15)) if late else orders

    monkeypatch.setattr(Momentum, "decide", off)
    code, said, err = run(capsys, replay.main, tmp_path)
    assert code == 2
    assert not said["identical"]
    assert "decision.asked.quantity[0] = " in said["differs"]
    assert "the decision of 2020-0" in err
    code, _, err = run(capsys, paper.main, *whole)
    assert code == 2
    assert "decision.asked.quantity[0] = " in err


def cut(folder: Path, settled: int) -> None:
    """Take away everything after so many settled bars, as if the process had been killed there."""
    path = folder / "journal.db"
    last = [e.seq for e in read(path) if e.kind == "settled"][settled]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TRIGGER no_delete")
        database.execute("DELETE FROM events WHERE seq >= ?", (last - 1,))
    path.with_name("journal.db.head").unlink()


@pytest.mark.parametrize("agent", ["momentum", "mean_reversion", "random"])
def test_a_session_goes_on_from_its_snapshot_to_the_same_events(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, agent: str
) -> None:
    place = checkpoint.parent / f"{agent}-0-0"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    argv = (place, "--snapshot-bars", "39", "--max-orders-per-hour", "3", "--max-drawdown", "0.3")
    code, said, _ = run(capsys, paper.main, *argv, "--out", whole)
    assert code == 0
    expected = [(e.kind, e.payload) for e in read(whole / "journal.db") if e.kind not in REMARKS]
    assert sum(kind == "snapshot" for kind, _ in expected) > 10
    shutil.copytree(whole, killed)
    with closing(sqlite3.connect(killed / "journal.db")) as database, database:
        (kept,) = database.execute("SELECT seq FROM snapshots").fetchone()
    last = sum(e.kind == "settled" and e.seq <= kept for e in read(killed / "journal.db"))
    cut(killed, last + 12)
    repeated = []
    monkeypatch.setattr(Recording, "_looked_at", counted(Recording._looked_at, repeated))
    code, again, err = run(capsys, paper.main, *argv, "--out", killed)
    assert (code, again["journal_hash"]) == (0, said["journal_hash"])
    assert "run again" not in err.replace("Run it again", "")
    assert "on record before" in err
    assert [(e.kind, e.payload) for e in read(killed / "journal.db") if e.kind not in REMARKS] == expected
    window = sum(kind == "bar" for kind, _ in expected) - said["bars"]
    assert len(repeated) == window + 12, "bars before the snapshot were run again"
    assert run(capsys, replay.main, killed)[1]["identical"]


def counted(looked_at: Any, seen: list[int]) -> Any:
    def wrapped(self: Any, payload: Any) -> Any:
        seen.append(payload["time"])
        return looked_at(self, payload)

    return wrapped


def test_what_a_snapshot_cannot_do_is_said_and_the_whole_record_is_run_again(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = (checkpoint, "--out", tmp_path)
    code, said, _ = run(capsys, paper.main, *argv)
    before = [e for e in read(tmp_path / "journal.db") if e.kind not in REMARKS]

    def resumed(why: str, *more: str) -> None:
        code, again, err = run(capsys, paper.main, *argv, *more)
        assert (code, again) == (0, said)
        assert f"run again from the first one, because {why}" in err
        assert [e for e in read(tmp_path / "journal.db") if e.kind not in REMARKS] == before

    resumed("JsonLog was not there at its last snapshot", "--log", str(tmp_path / "log.jsonl"))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as database, database:
        database.execute("UPDATE snapshots SET state = replace(state, '0', '1')")
    resumed("its last snapshot is not as it was written")
    with closing(sqlite3.connect(tmp_path / "journal.db")) as database, database:
        database.execute("UPDATE snapshots SET state = replace(state, '0', '1'), made = 'other'")
    monkeypatch.setattr(Ledger, "genuine", lambda self, kept: True)
    resumed("code or libraries have changed since its last snapshot")
    from agents.momentum import Momentum

    monkeypatch.setattr(Momentum, "carried", lambda self: None)
    code, _, err = run(capsys, paper.main, *argv)
    assert "its strategy, Momentum, cannot hand on what it remembers" in err
    assert code == 2, "the record has snapshots of a strategy that could"


def test_halted_outlives_the_process_and_only_resume_leaves_it(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.paper", str(checkpoint), "--speed", "72000x", "--out", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
    )
    journal = tmp_path / "journal.db"
    wait_for(process, lambda: journal.exists() and any(kind == "decision" for kind, _ in kinds(tmp_path)))
    code, said, _ = run(capsys, control.main, "halt", tmp_path)
    assert (code, said["process"]) == (0, process.pid)
    wait_for(process, lambda: ("state", "HALTED") in [(k, p.get("state")) for k, p in kinds(tmp_path)])
    process.kill()
    process.communicate()
    n = len(kinds(tmp_path))
    code, result, _ = run(capsys, paper.main, checkpoint, "--out", tmp_path)
    assert code == 0
    after = [p for k, p in kinds(tmp_path)[n:] if k == "decision"]
    assert len(after) > 100
    assert all(p["state"] == "HALTED" for p in after)
    assert not any(p["fills"].get("quantity") for k, p in kinds(tmp_path)[n + 10 :] if k == "settled")
    assert run(capsys, replay.main, tmp_path)[1]["journal_hash"] == result["journal_hash"]


@pytest.mark.parametrize(("how", "state"), [("file", "HALTED"), ("SIGUSR1", "HALTED"), ("SIGUSR2", "FLATTEN")])
def test_the_kill_switch_works_by_file_and_by_signal(checkpoint: Path, tmp_path: Path, how: str, state: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.paper", str(checkpoint), "--speed", "72000x", "--out", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
    )
    journal = tmp_path / "journal.db"
    wait_for(process, lambda: journal.exists() and any(kind == "decision" for kind, _ in kinds(tmp_path)))
    if how == "file":
        (tmp_path / "HALT").touch()
    else:
        process.send_signal({"SIGUSR1": 10, "SIGUSR2": 12}[how])
    wait_for(process, lambda: ("state", state) in [(k, p.get("state")) for k, p in kinds(tmp_path)])
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_kill_file_must_go_before_trading_goes_on(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "HALT").touch()
    assert run(capsys, paper.main, checkpoint, "--out", tmp_path)[0] == 0
    decisions = [p for k, p in kinds(tmp_path) if k == "decision"]
    assert all(p["state"] == "HALTED" for p in decisions)
    code, _, err = run(capsys, control.main, "resume", tmp_path)
    assert code == 2
    assert "HALT is there and would halt it again" in err


def test_limits_are_part_of_the_record(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = (checkpoint, "--out", tmp_path, "--max-leverage", "0.2", "--max-drawdown", "0.02")
    assert run(capsys, paper.main, *argv)[0] == 0
    recorded = kinds(tmp_path)
    (limits,) = [p for k, p in recorded if k == "limits"]
    assert limits["max_leverage"] == 0.2
    assert any("max_leverage" in reason for k, p in recorded if k == "decision" for reason in p.get("reasons", []))
    assert run(capsys, replay.main, tmp_path)[1]["identical"]
    code, _, err = run(capsys, paper.main, *argv[:-1], "2")
    assert code == 2
    assert "max_drawdown" in err


def test_a_second_process_is_refused(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from qframe_rl.journal.store import Writer

    writer = Writer(tmp_path / "journal.db")
    code, _, err = run(capsys, paper.main, checkpoint, "--out", tmp_path)
    writer.close()
    assert code == 2
    assert "written by another process" in err


def test_no_secret_of_the_environment_is_written(checkpoint: Path, tmp_path: Path) -> None:
    secret = "sk-4f1d9a0b77"
    env = {**os.environ, "BINANCE_SECRET": secret, "APPRISE_URLS": f"json://127.0.0.1:1/{secret}"}
    command = [sys.executable, "-m", "experiments.paper", str(checkpoint), "--out", str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(secret.encode() not in p.read_bytes() for p in tmp_path.iterdir())


def wait_for(process: subprocess.Popen[str], done: Any) -> None:
    import time

    deadline = time.monotonic() + 60.0
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
