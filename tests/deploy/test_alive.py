"""The file by which a container's health is told: touched by what works, and by nothing that hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import cli
from tests.service.places import ROOT, until

DOORS = {
    "supervise": ["--sessions", "sessions", "--state", "state"],
    "worker": ["--state", "state"],
    "relay": ["--root", ".", "--to", "redis://127.0.0.1:9/0", "--state", "relay"],
}


@pytest.mark.parametrize("door", DOORS)
def test_each_part_touches_it_while_it_works(door: str, tmp_path: Path) -> None:
    file = tmp_path / "alive"
    argv = [sys.executable, "-m", f"experiments.{door}", *DOORS[door], "--alive", str(file)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, cwd=tmp_path, env=env, stderr=subprocess.PIPE) as part:
        try:
            until(file.exists, 30.0)
            os.utime(file, (0, 0))
            until(lambda: file.stat().st_mtime > 1e9)
            part.send_signal(signal.SIGTERM)
            assert part.wait(20.0) == 0
        finally:
            part.kill()


def test_a_place_that_cannot_be_written_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def begun(_: object) -> None:
        cli.beating(lambda: True, tmp_path / "nowhere" / "alive")()

    assert cli.door(begun) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/nowhere/alive: No such file or directory")
