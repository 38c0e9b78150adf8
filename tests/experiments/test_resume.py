"""A paper session that is killed, halted, resumed and run again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from experiments import control, paper, replay, status, train
from experiments.cli import door
from qframe_rl.journal.ledger import REMARKS, Ledger
from qframe_rl.journal.store import pulse, read, verify
from qframe_rl.live.recorded import Recording, ReplayFeed


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


@pytest.mark.long
@pytest.mark.timeout(900)
def test_kills_at_random_instants_change_nothing(checkpoint: Path) -> None:
    command = [sys.executable, "-m", "tests.soak.kill_paper", str(checkpoint), "--kills", "6", "--commands"]
    period = ["--from", "2020-04-20", "--to", "2020-04-25", "--speed", "36000x"]
    done = subprocess.run([*command, *period, "--longest", "0.5", "--every", "0.3"], capture_output=True, text=True)
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
    assert f"{first['bars']} bars ({first['bars']} of them on record before)" in err
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
    assert f"{said['bars']} bars ({last + 12} of them on record before)" in err
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
    code, result, err = run(capsys, paper.main, checkpoint, "--out", tmp_path)
    assert (code, result["risk_state"]) == (0, "HALTED")
    assert re.search(r"It is HALTED since 20\S+ \S+: halt by command\.", err)
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
    secret, token, ping = "sk-4f1d9a0b77", "bot-9f8e7d6c5b", "uuid-5a4b3c2d1e"
    env = {**os.environ, "BINANCE_SECRET": secret, "APPRISE_URLS": f"json://127.0.0.1:1/{token}"}
    command = [sys.executable, "-m", "experiments.paper", str(checkpoint), "--out", str(tmp_path)]
    more = ["--heartbeat", f"http://127.0.0.1:1/{ping}", "--log", str(tmp_path / "log")]
    done = subprocess.run([*command, *more], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in (secret, token, ping):
        assert all(word.encode() not in p.read_bytes() for p in tmp_path.iterdir())
    assert "alert URL 1 (json://...)" in done.stderr, "undelivered messages are said"
    assert "--heartbeat (http://127.0.0.1/...)" in done.stderr


@pytest.mark.parametrize("word", ["equity", "position", "positions are closed", "quantity", "12345678"])
def test_a_word_of_the_record_in_the_environment_changes_no_session(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    argv = (checkpoint, "--max-drawdown", "0.02", "--snapshot-bars", "40")
    code, whole, _ = run(capsys, paper.main, *argv, "--out", tmp_path / "whole")
    assert code == 0
    monkeypatch.setenv("SORT_KEY", word)
    code, said, err = run(capsys, paper.main, *argv, "--out", tmp_path / "with")
    assert (code, said["journal_hash"]) == (0, whole["journal_hash"]), err
    reasons = [r for k, p in kinds(tmp_path / "with") if k == "state" for r in p["reasons"]]
    assert reasons, "nothing was said that could hold the word"
    assert run(capsys, replay.main, tmp_path / "with")[1]["identical"]
    monkeypatch.delenv("SORT_KEY")
    assert run(capsys, replay.main, tmp_path / "with")[1]["identical"]
    for folder, env in (("with", ""), ("whole", word)):
        last = sum(kind == "settled" for kind, _ in kinds(tmp_path / folder)) - 30
        cut(tmp_path / folder, last)
        monkeypatch.setenv("SORT_KEY", env)
        code, again, err = run(capsys, paper.main, *argv, "--out", tmp_path / folder)
        assert (code, again["journal_hash"]) == (0, whole["journal_hash"]), err


def test_a_secret_that_is_a_word_of_the_session_itself_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORT_KEY", "momentum")
    code, _, err = run(capsys, paper.main, checkpoint, "--out", tmp_path / "session")
    assert code == 2
    assert "the environment variable SORT_KEY holds a word of the session's own terms" in err
    assert not (tmp_path / "session").exists()


HELD = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
database.execute("INSERT INTO commands SELECT max(number) + 1, 0, 'halt' FROM commands")
print("held", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
database.execute("COMMIT")
"""


def test_a_stopped_control_holds_up_no_decision_and_is_obeyed_when_it_goes_on(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "experiments.paper", str(checkpoint), "--speed", "72000x", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "journal.db"
    wait_for(process, lambda: journal.exists() and any(kind == "decision" for kind, _ in kinds(tmp_path)))
    assert run(capsys, control.main, "reduce", tmp_path)[0] == 0
    wait_for(process, lambda: states(tmp_path) == ["REDUCE_ONLY"])
    stopped = subprocess.Popen(
        [sys.executable, "-c", HELD, str(tmp_path / "inbox.db")], stdout=subprocess.PIPE, text=True
    )
    assert stopped.stdout is not None
    assert stopped.stdout.readline() == "held\n"
    n = decisions(tmp_path)
    wait_for(process, lambda: decisions(tmp_path) >= n + 60)
    assert states(tmp_path) == ["REDUCE_ONLY"], "what is not there yet is not obeyed"
    stopped.send_signal(signal.SIGCONT)
    assert stopped.wait() == 0
    stopped.stdout.close()
    wait_for(process, lambda: states(tmp_path) == ["REDUCE_ONLY", "HALTED"])
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "stopped by SIGTERM after" in " ".join(err.split())
    words = [p["word"] for k, p in kinds(tmp_path) if k == "command"]
    assert words == ["reduce", "halt"]


def test_a_command_is_obeyed_and_seen_while_the_next_bar_is_awaited(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where bars of the past come at a pace, and not only in the events: who looks sees the new state."""
    command = [sys.executable, "-m", "experiments.paper", str(checkpoint), "--speed", "60x", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "journal.db"
    wait_for(process, lambda: journal.exists() and decisions(tmp_path) == 1)
    assert run(capsys, control.main, "halt", tmp_path)[0] == 0
    wait_for(process, lambda: json.loads((pulse(journal) or (0, "{}"))[1]).get("state") == "HALTED")
    assert decisions(tmp_path) == 1, "a bar comes every minute: none has since"
    assert run(capsys, status.main, tmp_path)[1]["sessions"][0]["state"] == "HALTED"
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_commands_put_while_nobody_runs_are_obeyed_once_at_the_start(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = (checkpoint, "--out", tmp_path)
    code, whole, _ = run(capsys, paper.main, *argv)
    assert code == 0
    cut(tmp_path, 200)
    for word in ("resume", "reduce", "resume", "halt"):
        assert run(capsys, control.main, word, tmp_path)[0] == 0
    for _ in range(2):
        code, said, _ = run(capsys, paper.main, *argv)
        assert code == 0
        assert said["journal_hash"] != whole["journal_hash"]
        assert [p["word"] for k, p in kinds(tmp_path) if k == "command"] == ["resume", "reduce", "resume", "halt"]
    assert states(tmp_path) == ["REDUCE_ONLY", "ACTIVE", "HALTED"]
    assert run(capsys, replay.main, tmp_path)[1]["identical"]


def test_an_inbox_that_is_no_database_is_said_and_the_session_goes_on(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, whole, _ = run(capsys, paper.main, checkpoint, "--out", tmp_path / "whole")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "inbox.db").write_bytes(b"no database " * 999)
    code, said, err = run(capsys, paper.main, checkpoint, "--out", tmp_path / "other")
    assert (code, said["journal_hash"]) == (0, whole["journal_hash"])
    assert err.count("the inbox: Unavailable:") == 1
    code, _, err = run(capsys, control.main, "halt", tmp_path / "other")
    assert code == 1
    assert "the file HALT in the same folder and the signals are heard all the same" in err


def test_sigterm_in_the_warm_up_says_what_it_was_and_the_session_goes_on_from_there(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, whole, _ = run(capsys, paper.main, checkpoint, "--out", tmp_path / "whole")
    bars = ReplayFeed.__iter__

    def interrupted(self: ReplayFeed) -> Iterator[Any]:
        for n, bar in enumerate(bars(self)):
            if n == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield bar

    monkeypatch.setattr(ReplayFeed, "__iter__", interrupted)
    code, said, err = run(capsys, paper.main, checkpoint, "--out", tmp_path / "cut")
    assert code == 0, err
    assert (said["state"], said["bars"]) == ("stopped", 0)
    assert re.search(r"stopped by SIGTERM during the warm-up: \d+ bars were still needed before the first", err)
    monkeypatch.undo()
    code, again, _ = run(capsys, paper.main, checkpoint, "--out", tmp_path / "cut")
    assert (code, again["journal_hash"]) == (0, whole["journal_hash"])
    assert run(capsys, replay.main, tmp_path / "cut")[1]["identical"]


def states(folder: Path) -> list[str]:
    return [p["state"] for k, p in kinds(folder) if k == "state"]


def decisions(folder: Path) -> int:
    return sum(k == "decision" for k, _ in kinds(folder))


def wait_for(process: subprocess.Popen[str], done: Any) -> None:
    import time

    deadline = time.monotonic() + 60.0
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
