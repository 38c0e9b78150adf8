"""Paper trading on an exchange's closed candles: a real CCXT client against a real server on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import train
from experiments.cli import door
from qframe_rl.journal.store import read
from tests.loopback import loopback


def second_bars(folder: Path) -> str:
    n = 2000
    close = 40_000.0 + 40.0 * np.sin(np.arange(n) / 9.0)
    path = folder / "seconds.csv"
    rows = [f"{1_650_000_000 + k},{c},{c + 1},{c - 1},{c},5.0" for k, c in enumerate(close)]
    path.write_text("\n".join(["timestamp,open,high,low,close,volume", *rows]) + "\n")
    return str(path)


@pytest.fixture
def checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    settings = ["agent.momentum.lookback_bars=3", "agent.momentum.volatility_bars=5", "env.features=log_return:1"]
    argv = ["--data", second_bars(tmp_path), "--symbols", "BTC/USDT", "--timeframe", "1s", "--agents", "momentum"]
    argv += [part for text in settings for part in ("--set", text)]
    code = door(train.main, [*argv, "--runs", str(tmp_path / "runs"), "--checkpoints", str(tmp_path / "c"), "--json"])
    _, err = capsys.readouterr()
    assert code == 0, err
    return next((tmp_path / "runs").glob("*/agents/momentum-0-0"))


def test_closed_candles_are_traded_until_ctrl_c(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "paper"
    with loopback((time.time_ns() // 10**9 - 300) * 1000) as server:
        command = ["experiments.paper", str(checkpoint), "--feed", "ccxt", "--url", server.url, "--out", str(out)]
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        journal = out / "journal.db"
        deadline = time.monotonic() + 60.0
        while not (journal.exists() and sum(e.kind == "settled" for e in read(journal)) > 4):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "no bar came"
            time.sleep(0.1)
        process.send_signal(15)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    result: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    lines = [json.loads(e.payload) for e in read(journal) if e.kind == "settled"]
    assert result["state"] == "stopped"
    assert result["bars"] == len(lines) >= 4
    times = [line["time"] for line in lines]
    assert times == sorted(set(times))
    assert lines[-1]["account"]["equity"] == result["final_equity"]


def health(port: int) -> tuple[int, dict[str, Any]]:
    """What a session says of itself; code 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
    except OSError:
        return 0, {}


def until(process: subprocess.Popen[str], done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90.0
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Always(dict[int, str]):
    """Every request for market data fails."""

    def get(self, number: int, default: object = None) -> str:  # type: ignore[override]
        return "503"


def test_a_session_whose_exchange_fails_is_ill_though_its_bars_are_not_due(checkpoint: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["experiments.paper", str(checkpoint), "--feed", "ccxt", "--out", str(tmp_path / "paper")]
    # Its bars last a second: without this it would be ill for a decision that does not come.
    patience = ["--alert-beat-s", "3", "--alert-late-s", "100000", "--metrics", str(port)]
    with loopback((time.time_ns() // 10**9 - 300) * 1000) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, *patience, "--url", server.url], stderr=subprocess.PIPE, text=True
        )
        until(process, lambda: health(port)[0] == 200)
        server.faults = Always()
        until(process, lambda: health(port)[0] == 503)
        said = health(port)[1]
        process.kill()
        process.communicate()
    assert said["ill"].startswith("the feed was not heard from for")


@pytest.mark.parametrize("more", [[], ["--exchange", "binance", "--symbols", "BTC/USDT"]])
def test_a_checkpoint_for_other_bars_is_refused(checkpoint: Path, tmp_path: Path, more: list[str]) -> None:
    """Bars of an exchange need no folder of data."""
    with loopback((time.time_ns() // 10**9 - 300) * 1000) as server:
        command = ["experiments.paper", str(checkpoint), "--feed", "ccxt", "--url", server.url, "--timeframe", "1m"]
        done = subprocess.run(
            [sys.executable, "-m", *command, *more], capture_output=True, text=True,
            env={**os.environ, "QFRAME_DATA": str(tmp_path / "absent")},
        )  # fmt: skip
    assert done.returncode == 2
    assert "timeframe 1m, trained with 1s" in " ".join(done.stderr.split())
