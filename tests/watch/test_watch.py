"""Metrics, health, logs, curves and status of a live session."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import paper, status, train
from experiments.cli import door
from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.secrets import Redactor
from qframe_rl.journal.store import Writer
from qframe_rl.risk.engine import RiskDecision, State
from qframe_rl.watch.health import Health
from qframe_rl.watch.log import JsonLog
from qframe_rl.watch.metrics import MetricsServer, PrometheusMetrics
from tests.alerts.test_alerts import BUY, NOTHING, until, view


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_and_health_are_served(clock: list[float]) -> None:
    health = Health(60.0, 180.0, 60.0, clock=lambda: clock[0])
    metrics = PrometheusMetrics(["A"], lambda: 3.5, health)
    window = MetricsServer(metrics, 0)
    metrics.started(view(0, 100.0))
    metrics.settled(view(10**9, 95.0, 1.0), BUY)
    metrics.decided(view(10**9, 95.0), RiskDecision(NOTHING, State.REDUCE_ONLY, ("cut",)), 0.003)
    health.decided()
    assert get(window.port, "/healthz")[0] == 200
    clock[0] += 20.0
    _, page = get(window.port, "/metrics")
    for line in (
        "qframe_equity 95.0", "qframe_drawdown_ratio 0.05", 'qframe_state{qframe_state="REDUCE_ONLY"} 1.0',
        'qframe_fills_total{symbol="A"} 1.0', "qframe_decisions_cut_total 1.0", "qframe_drift_bps 3.5",
        'qframe_decision_seconds_bucket{le="0.005"} 1.0', "qframe_bar_time_seconds 1.0",
        "qframe_decision_age_seconds 20.0", "qframe_feed_age_seconds 20.0", "qframe_healthy 1.0",
    ):  # fmt: skip
        assert line[:24] in page
        assert any(found.startswith(line[:-1]) for found in page.splitlines()), line
    clock[0] += 50.0
    code, said = get(window.port, "/healthz")
    assert code == 503
    assert json.loads(said)["healthy"] is False
    assert json.loads(said)["ill"] == "the feed was not heard from for 70 s"
    assert get(window.port, "/else")[0] == 404
    with pytest.raises(Unavailable, match="take another port"):
        MetricsServer(metrics, window.port)
    with pytest.raises(UserError, match="--metrics 70000: a port is a number"):
        MetricsServer(metrics, 70_000)
    window.close()


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


def silent(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.settimeout(30.0)
    return client


def test_a_client_that_says_nothing_or_little_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qframe_rl.watch.metrics._LONGEST_S", 0.3)
    monkeypatch.setattr("qframe_rl.watch.metrics._MOST", 3)
    window = MetricsServer(PrometheusMetrics(["A"], lambda: None, Health(60.0, 180.0)), 0)
    clients = [silent(window.port) for _ in range(3)]
    clients[0].sendall(b"GET /healthz HTTP/1.0\r\nX: ")
    assert [client.recv(1) for client in clients] == [b"", b"", b""], "each was ended"
    for client in clients:
        client.close()
    assert get(window.port, "/healthz")[0] == 200
    window.close()


def test_too_many_clients_are_turned_away_and_the_next_one_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qframe_rl.watch.metrics._MOST", 2)
    window = MetricsServer(PrometheusMetrics(["A"], lambda: None, Health(60.0, 180.0)), 0)
    held = [silent(window.port) for _ in range(2)]
    for client in held:
        client.sendall(b"GET /metrics HTTP/1.0\r\n")
    until(lambda: len(window._server._open) == 2)
    late = silent(window.port)
    assert late.recv(1) == b""
    late.close()
    for client in held:
        client.close()
    until(lambda: not window._server._open)
    assert get(window.port, "/metrics")[0] == 200
    window.close()


def test_a_request_is_given_five_seconds_for_each_piece() -> None:
    from qframe_rl.watch.metrics import _Handler

    assert _Handler.timeout == 5.0


def test_metrics_count_on_where_another_process_was() -> None:
    metrics, later = (PrometheusMetrics(["A"], lambda: None, Health(1.0, 1.0)) for _ in range(2))
    metrics.started(view(0, 100.0))
    last = view(10**9, 80.0, 1.0)
    metrics.settled(last, BUY)
    metrics.changed(10**9, "HALTED", ["halt by file"])
    later.carry(json.loads(json.dumps(metrics.carried())), last)
    both = [
        {line for line in one.text().decode().splitlines() if "_created" not in line and "age" not in line}
        for one in (metrics, later)
    ]
    assert both[0] == both[1]
    assert 'qframe_state{qframe_state="HALTED"} 1.0' in both[1]


def test_the_log_is_lines_of_json_and_says_nothing_twice() -> None:
    written: list[str] = []
    live = [False]
    log = JsonLog(written.append, lambda: live[0], ["A"], Redactor(["hunter2-hunter2"]))
    log.started(view(0, 100.0))
    log.settled(view(10**9, 100.0), NOTHING)
    live[0] = True
    log.settled(view(2 * 10**9, 100.0, 2.0), BUY)
    log.decided(view(2 * 10**9, 100.0), RiskDecision(BUY, State.ACTIVE, ()), 0.001)
    log.changed(2 * 10**9, "HALTED", ["halt by file"])
    log.note("slow")
    log.note("refused: hunter2-hunter2")
    lines = [json.loads(line) for line in written]
    assert [line["event"] for line in lines] == ["settled", "decided", "state", "note", "note"]
    assert lines[-1]["text"] == "***"
    assert lines[0]["fills"]["A"]["quantity"] == 2.0
    assert lines[1]["orders"] == {"A": 1.0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    places = ["--runs", str(folder / "runs"), "--checkpoints", str(folder / "checkpoints")]
    assert door(train.main, ["--bars", "3000", "--agents", "momentum", *places]) == 0
    return next((folder / "runs").glob("*/agents/momentum-0-0"))


def test_status_shows_what_the_journal_says(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "session"
    more = ["--log", str(tmp_path / "log.jsonl"), "--tensorboard", str(tmp_path / "board")]
    assert door(paper.main, [str(checkpoint), "--out", str(out), *more, "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert door(status.main, [str(out), "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out.splitlines()[-1])["sessions"]
    assert shown["account"]["equity"] == result["final_equity"]
    assert (shown["state"], shown["process"], shown["bars"]) == ("ACTIVE", None, result["bars"])
    assert door(status.main, [str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"{result['final_equity']:,.2f}" in printed
    assert "ACTIVE" in printed
    status.table([shown | {"peak": 0.0, "account": shown["account"] | {"equity": 0.0}}])  # nothing was paid in yet
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "settled" for line in logged) == result["bars"]
    curve_is_whole(tmp_path / "board", result)
    assert door(paper.main, [str(checkpoint), "--out", str(out), *more, "--json"]) == 0
    assert "run again" not in capsys.readouterr().err.replace("Run it again", "")
    curve_is_whole(tmp_path / "board", result)


def test_status_shows_the_others_and_says_which_one_is_broken(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, torn, gone = tmp_path / "good", tmp_path / "torn", tmp_path / "gone"
    assert door(paper.main, [str(checkpoint), "--out", str(good)]) == 0
    torn.mkdir()
    (torn / "journal.db").write_bytes((good / "journal.db").read_bytes()[:5000])
    capsys.readouterr()
    assert door(status.main, [str(torn), str(good), str(gone), "--json"]) == 2
    out, err = capsys.readouterr()
    broken, shown, lacking = json.loads(out.splitlines()[-1])["sessions"]
    assert (shown["state"], shown["ill"]) == ("ACTIVE", None)
    assert "corrupt" in broken["broken"]
    assert "is not there" in lacking["broken"]
    assert err.startswith("error: 2 of 3 sessions cannot be read: ")
    assert str(torn) in err
    assert str(gone) in err
    assert door(status.main, [str(torn), str(good)]) == 2
    printed = capsys.readouterr().out
    assert "BROKEN" in printed
    assert "ACTIVE" in printed


@settings(max_examples=150)
@given(st.data())
def test_status_of_a_journal_with_a_flipped_byte_is_a_row_or_a_sentence(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = tmp_path_factory.getbasetemp() / "whole"
    if not whole.exists():
        assert (
            door(paper.main, [str(checkpoint), "--out", str(whole), "--from", "2020-04-15", "--to", "2020-04-16"]) == 0
        )
    content = bytearray((whole / "journal.db").read_bytes())
    pulse = content.rindex(b'"bars":')
    where = data.draw(st.integers(0, len(content) - 1) | st.integers(pulse - 100, pulse + 400))
    content[where] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("flipped")
    (folder / "journal.db").write_bytes(bytes(content))
    shown = status.look(folder)
    assert "broken" in shown or shown["bars"] is not None
    assert status.table([shown]).row_count == 1


@pytest.mark.parametrize(
    ("beat_s", "bar_s", "ill"),
    [(1.0, 60.0, None), (61.0, 60.0, "silent for 61 s"), (1.0, 3600.0, None), (1.0, 3800.0, "3.3 min late")],
)
def test_status_judges_a_session_on_an_exchange_by_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beat_s: float, bar_s: float, ill: str | None
) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path)
    source = {"feed": "ccxt", "environment": "production"}
    writer.append("session", json.dumps({"source": source, "bar_ns": 3600 * 10**9}))
    now = time.time_ns()
    account = {"equity": 100.0, "position": [0.0]}
    said = {"bars": 1, "state": "ACTIVE", "account": account, "symbols": ["A"], "peak": 100.0, "drift_bps": None}
    writer.commit(json.dumps(said | {"time": now - int(bar_s * 1e9)}))
    os.utime(tmp_path / "journal.db.head", ns=(now, now - int(beat_s * 1e9)))
    monkeypatch.setattr(time, "time_ns", lambda: now)
    assert status.look(path)["ill"] == ill
    writer.close()
    assert status.look(path)["ill"] is None, "nobody runs it"


def curve_is_whole(board: Path, result: dict[str, Any]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(board), size_guidance={"scalars": 0})
    curves.Reload()
    points = curves.Scalars("live/equity")
    assert points[-1].value == pytest.approx(result["final_equity"], rel=1e-6)
    assert [point.step for point in points] == list(range(result["bars"] + 1))


def test_a_running_session_serves_its_metrics_and_health(checkpoint: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "experiments.paper", str(checkpoint), "--speed", "36000x", "--out", str(tmp_path)]
    process: Any = subprocess.Popen([*command, "--metrics", str(port)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60.0
    while True:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        try:
            if "qframe_decisions_total 0.0" not in (page := get(port, "/metrics")[1]):
                break
        except OSError:
            time.sleep(0.1)
    assert 'qframe_state{qframe_state="ACTIVE"} 1.0' in page
    assert get(port, "/healthz")[0] == 200
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0
