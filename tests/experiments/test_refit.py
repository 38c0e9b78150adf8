"""`paper --refit` through the doors: a training process that is killed, and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from experiments import evaluate, paper, refitting, replay, status, train
from experiments.cli import door
from qframe_rl.journal.store import NAME, last_events

STUDY = (
    "mean_reversion", "--data", "synthetic:ar1", "--bars", "1100", "--refit", "10d", "--train", "700", "--resamples",
    "100", "--set", "agent.mean_reversion.entry=fitted", "--set", "agent.mean_reversion.mean_bars=24", "--set",
    "agent.mean_reversion.regime_bars=60",
)  # fmt: skip


def run(capsys: pytest.CaptureFixture[str], main: Any, *argv: object) -> tuple[int, dict[str, Any], str]:
    code = door(main, [*map(str, argv), "--json"])
    out, err = capsys.readouterr()
    last = (out.splitlines() or [""])[-1]
    return code, json.loads(last) if last.startswith("{") else {}, " ".join(err.split())


def kill_trainers(folder: Path, times: int, stop: threading.Event) -> list[int]:
    """Kill the first processes that train for a session, each as soon as it holds the lock."""
    killed: list[int] = []

    def watch() -> None:
        while len(killed) < times and not stop.wait(0.01):
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    said, number = place.read_bytes().split(b"\0"), int(place.parent.name)
                    if b"experiments.refitting" in said and str(folder).encode() in said and number not in killed:
                        time.sleep(0.5)
                        os.kill(number, signal.SIGKILL)
                        killed.append(number)

    threading.Thread(target=watch, daemon=True).start()
    return killed


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes by /proc")
def test_a_session_has_the_hash_of_its_study_though_its_trainings_are_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = ("--ledger", tmp_path / "ledger", "--runs", tmp_path / "runs")
    code, said, err = run(capsys, evaluate.main, *STUDY, *ledger)
    assert code == 0, err
    judged, out = said["procedure"], tmp_path / "session"
    first, stop = Path(said["run"]) / "models" / "mean_reversion" / "0000", threading.Event()
    asked = ("--refit", "10d", "--from", judged["from"], "--refit-nice", 0)
    killed = kill_trainers(out, 2, stop)
    try:
        code, said, err = run(capsys, paper.main, first, *asked, "--out", out)
    finally:
        stop.set()
    assert code == 0, err
    assert said["journal_hash"] == judged["hashes"]["mean_reversion"]
    assert len(killed) == 2 and "the training of model 1 ended" in err
    assert "another" not in err
    (begun,) = last_events(out / NAME, "session", 2**62, 1)
    assert json.loads(begun.payload)["refit"]["digest"] == judged["recipes"]["mean_reversion"]
    assert run(capsys, replay.main, out)[1]["journal_hash"] == said["journal_hash"]
    code, shown, _ = run(capsys, status.main, out)
    assert (code, shown["sessions"][0]["refit"]["state"]) == (0, "taken")
    assert {place.name for place in (out / "refit").iterdir()} == {
        "0001", "lock", "log.txt", "past.json", "past.safetensors",
    }  # fmt: skip
    code, _, err = run(capsys, paper.main, first, "--refit", "5d", "--from", judged["from"], "--out", out)
    assert code == 2 and "belongs to another session" in err
    assert "the procedure that made the checkpoint has another every" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--refit-lag", "1d"], "--refit-lag is of --refit: add --refit LENGTH"),
        (["--refit", "30d"], "momentum learns nothing"),
        (["--refit", "90m"], "not a number of bars of 1h"),
        (["--refit", "1d"], "no less than the 24"),
        (["--refit", "30d", "--feed", "journal", "--journal", "x"], "--refit is not of --feed journal"),
        (["--refit", "monthly"], "--refit monthly: it is not a number of bars of 1h"),
        (["--refit", "30d", "--execute", "twap:30m"], "--execute makes them finer"),
    ],
)
def test_what_is_no_procedure_is_refused_in_one_sentence(
    rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    code, _, err = run(capsys, paper.main, rules, *options, "--out", tmp_path / "session")
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "session").exists()


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rules")
    places = ["--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints")]
    assert door(train.main, ["--bars", "3000", "--agents", "momentum", *places]) == 0
    return next((folder / "runs").glob("*/agents")) / "momentum-0-0"


def test_a_training_that_cannot_be_started_is_started_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay would wait for it for ever."""
    fails, begun, notes = [OSError(11, "no process"), OSError(28, "no space")], threading.Event(), list[str]()

    class Child:
        def poll(self) -> None:
            begun.set()

        def kill(self) -> None:
            """It is gone."""

        wait = kill

    def failing(*given: Any, **more: Any) -> Child:
        if fails:
            raise fails.pop()
        return Child()

    monkeypatch.setattr(refitting.subprocess, "Popen", failing)
    made = refitting.Refitting(tmp_path, True, 0, notes.append)
    made.begin(1, 0)
    assert begun.wait(30.0), "its thread has ended"
    made.close()
    assert notes[0].startswith("the training of model 1: [Errno 28] no space; ") and len(notes) <= 2
