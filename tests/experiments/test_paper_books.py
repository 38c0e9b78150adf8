"""A checkpoint that quotes, through the doors: on recorded ticks, on a live market, killed, run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from experiments import control, paper, replay, status, train
from experiments.cli import door
from qframe_rl.journal.ledger import REMARKS
from qframe_rl.journal.store import read
from qframe_rl.runner.books.paper import reopened_book
from tests.feeds.test_tick_record import PERP
from tests.feeds.tick_exchange import TickExchange
from tests.live.quoting_exchange import CONFIG, has, once
from tests.live.quoting_exchange import exchange as quoted_exchange


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    places = ["--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints")]
    asked = ["--env", "book_making", "--agents", "glft", "--promote-anyway", "glft", "--set", "env.every=200ms"]
    assert door(train.main, [*asked, *places]) == 0
    return next((folder / "checkpoints").iterdir())


def run(capsys: pytest.CaptureFixture[str], main: Any, *argv: object) -> tuple[int, dict[str, Any], str]:
    code = door(main, [*map(str, argv), "--json"])
    out, err = capsys.readouterr()
    last = (out.splitlines() or [""])[-1]
    return code, json.loads(last) if last.startswith("{") else {}, " ".join(err.split())


def events(folder: Path) -> list[tuple[str, str]]:
    return [(e.kind, e.payload) for e in read(folder / "journal.db") if e.kind not in REMARKS]


def test_a_session_on_recorded_ticks_is_run_again_and_not_traded_twice(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, first, err = run(capsys, paper.main, checkpoint, "--out", tmp_path)
    assert code == 0, err
    assert first["state"] == "finished" and first["fills"] > 0 and first["decisions"] > 20
    before = events(tmp_path)
    code, again, err = run(capsys, paper.main, checkpoint, "--out", tmp_path)
    assert (code, again) == (0, first) and events(tmp_path) == before
    code, said, err = run(capsys, replay.main, tmp_path)
    assert code == 0, err
    assert said["identical"] and said["journal_hash"] == first["journal_hash"] and said["fills"] == first["fills"]
    code, told, _ = run(capsys, status.main, tmp_path)
    assert code == 0 and "ACTIVE" in json.dumps(told)


def test_a_session_obeys_what_lies_in_its_inbox(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, paper.main, checkpoint, "--out", tmp_path)[0] == 0
    assert run(capsys, control.main, "halt", tmp_path)[0] in (0, 1)
    assert run(capsys, paper.main, checkpoint, "--out", tmp_path)[0] == 0
    assert [json.loads(p)["state"] for kind, p in events(tmp_path) if kind == "state"] == ["HALTED"]
    assert run(capsys, replay.main, tmp_path)[1]["identical"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--feed", "ccxt"], "this strategy quotes in an order book: take --feed ticks"),
        (["--orders", "testnet", "--feed", "replay"], "or its order book, --feed ticks"),
        (["--account", "main", "--feed", "ticks"], "add --orders testnet"),
        (["--fills", "book"], "--fills is for strategies that trade bars"),
        (["--collar", "0.1"], "--collar 0.1 means nothing where a strategy quotes"),
        (["--data", "nowhere"], "nowhere"),
        (["--timeframe", "4h"], "data.timeframe says nothing of synthetic:ticks"),
        (["--from", "2020-01-01"], "data.since says nothing of synthetic:ticks"),
        (["--exchange", "okx"], "data.exchange says nothing of synthetic:ticks"),
        (["--snapshot-bars", "5"], "--snapshot-bars is for strategies that trade bars"),
        (["--i-accept-real-money-risk"], "--i-accept-real-money-risk is for strategies that trade bars"),
        (["--url", "http://127.0.0.1:9"], "--url is where a live feed asks"),
        (["--feed", "ticks", "--to", "2020-01-01"], "--from and --to are of a replay"),
        (["--feed", "ticks", "--speed", "60x"], "--speed is that of a replay"),
        (["--feed", "ticks", "--symbols", "BTC/USDT:USDT", "--timeframe", "4h"], "--timeframe says nothing of a live"),
    ],
)
def test_what_means_nothing_on_books_is_refused(
    checkpoint: Path, tmp_path: Path, argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, paper.main, checkpoint, "--out", tmp_path, *argv)
    assert code == 2 and said in err
    assert not (tmp_path / "journal.db").exists() or not events(tmp_path)


@pytest.mark.long
def test_a_live_market_is_traded_by_the_wall_clock(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exchange = TickExchange(PERP, n=6000, seed=1, pace=300.0)
    with exchange.running():

        def stop() -> None:
            until = time.monotonic() + 60.0
            while time.monotonic() < until and not (tmp_path / "journal.db").exists():
                time.sleep(0.1)
            time.sleep(14.0)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=stop).start()
        code, first, err = run(
            capsys, paper.main, checkpoint, "--feed", "ticks", "--exchange", "binance", "--symbols", PERP.symbol,
            "--url", exchange.url, "--out", tmp_path, "--hold-ms", "200", "--metrics", "0",
        )  # fmt: skip
    assert code == 0, err
    assert first["state"] == "stopped" and first["decisions"] > 10 and first["runs"] == 1
    assert "metrics and health: http://127.0.0.1:" in err
    code, said, err = run(capsys, replay.main, tmp_path)
    assert code == 0 and said["journal_hash"] == first["journal_hash"], err
    assert reopened_book(tmp_path / "journal.db", None).terms.source["feed"] == "ticks"


@pytest.mark.long
def test_quotes_go_to_a_testnet(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINANCE_API_KEY", CONFIG.api_key)
    monkeypatch.setenv("BINANCE_SECRET", CONFIG.secret)
    with quoted_exchange() as ex:

        def stop() -> None:
            until = time.monotonic() + 60.0
            while time.monotonic() < until and not has(tmp_path, "outcome", 4):
                time.sleep(0.1)
            time.sleep(4.0)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=stop).start()
        code, first, err = run(
            capsys, paper.main, checkpoint, "--feed", "ticks", "--orders", "testnet", "--exchange", "binance",
            "--url", ex.url, "--out", tmp_path,
        )  # fmt: skip
        assert code == 0, err
        assert first["state"] == "stopped"
        found = once(tmp_path, ex.url)
    assert found["orders"] >= 2 and first["fills"] == found["fills"]
    code, said, err = run(capsys, replay.main, tmp_path)
    assert code == 0 and said["journal_hash"] == first["journal_hash"], err
    reopened = reopened_book(tmp_path / "journal.db", None).terms
    assert reopened.orders == "testnet" and reopened.source["environment"] == "testnet" and reopened.hold_ns == 0
    code, _, err = run(capsys, paper.main, checkpoint, "--feed", "ticks", "--orders", "real", "--out", tmp_path)
    assert code == 2 and "real" in err


@pytest.mark.long
@pytest.mark.timeout(900)
def test_kills_at_random_instants_change_nothing() -> None:
    command = [sys.executable, "-m", "tests.soak.kill_books", "--kills", "10"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("kills=10 ") and " identical " in done.stdout
