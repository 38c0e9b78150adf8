"""Whoever looks on may fail as it likes: the session ends with the same hash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import paper, train
from experiments.cli import door

FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    places = ["--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints")]
    assert door(train.main, ["--bars", "3000", "--agents", "momentum", *places]) == 0
    return next((folder / "runs").glob("*/agents/momentum-0-0"))


def traded(checkpoint: Path, out: Path, *more: str, **given: Any) -> tuple[dict[str, Any], str]:
    command = [sys.executable, "-m", "experiments.paper", str(checkpoint), "--out", str(out), "--json", *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, **({"stderr": subprocess.PIPE} | given))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), " ".join((done.stderr or "").split())


@pytest.mark.long
@pytest.mark.skipif(not FULL.exists(), reason="a device of Linux")
def test_every_watcher_on_a_full_disk_changes_no_bit(checkpoint: Path, tmp_path: Path) -> None:
    plain, _ = traded(checkpoint, tmp_path / "plain", "--snapshot-bars", "40")
    (tmp_path / "file").touch()
    watched = [
        "--snapshot-bars", "40", "--log", str(FULL), "--tensorboard", str(tmp_path / "file" / "board"),
        "--metrics", "0", "--heartbeat", "http://127.0.0.1:1/", "--alert-drawdown", "0.001",
    ]  # fmt: skip
    env = os.environ | {"APPRISE_URLS": "json://127.0.0.1:1/"}
    said, err = traded(checkpoint, tmp_path / "watched", *watched, env=env)
    assert said["journal_hash"] == plain["journal_hash"]
    for name in ("--log: [Errno 28]", "--tensorboard: [Errno 20]", "--heartbeat (http", "alert URL 1 (json://...):"):
        assert err.count(name) == 1, err
    assert "Traceback" not in err
    with FULL.open("w") as nowhere:
        said, _ = traded(checkpoint, tmp_path / "unheard", *watched, env=env, stderr=nowhere)
    assert said["journal_hash"] == plain["journal_hash"]


def test_a_log_comes_back_with_the_disk(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from qframe_rl.watch.rotate import Lines

    write, n = Lines.write, [0]

    def sometimes(self: Lines, line: str) -> None:
        n[0] += 1
        if 100 < n[0] <= 200:
            raise OSError(28, "No space left on device")
        write(self, line)

    monkeypatch.setattr(Lines, "write", sometimes)
    argv = [str(checkpoint), "--out", str(tmp_path / "session"), "--log", str(tmp_path / "log"), "--log-mb", "0.02"]
    assert door(paper.main, argv) == 0
    err = " ".join(capsys.readouterr().err.split())
    assert "--log: [Errno 28] No space left on device; the session goes on without" in err
    assert "--log: works again, after 100 failures." in err
    files = sorted(p.name for p in tmp_path.glob("log*"))
    assert files == ["log", *(f"log.{k}" for k in range(1, 6))]
    assert all(p.stat().st_size <= 20_000 for p in tmp_path.glob("log*"))
    assert all(json.loads(line) for p in tmp_path.glob("log*") for line in p.read_text().splitlines())


def test_a_place_that_cannot_be_is_refused_before_anything_is_begun(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, says in (
        (("--log", str(tmp_path)), "name a place that can be written"),
        (("--heartbeat", "somewhere"), "the address must begin with http"),
        (("--metrics", "70000"), "a port is a number"),
        (("--log-mb", "0"), "--log-mb is at least"),
    ):
        assert door(paper.main, [str(checkpoint), "--out", str(tmp_path / "session"), *more]) == 2
        assert says in capsys.readouterr().err
