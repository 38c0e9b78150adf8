"""Research over the API: verdicts, curves while they are written, comparisons, and what a process aside does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qframe_rl.config import Unavailable, UserError
from qframe_rl.service.aside import SideProcess
from qframe_rl.service.client import ServiceClient
from qframe_rl.service.comparing import EquityCurve, compared, drift, moving_sharpe, record_of, records_of
from qframe_rl.service.curves import Curves
from qframe_rl.service.places import Found
from qframe_rl.times import YEAR
from tests.service.places import ROOT, Served, Session, served, until

HOUR = 3_600_000_000_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, a checkpoint that ships, and a session of it over a week, all real."""
    made = tmp_path_factory.mktemp("root")
    shutil.copytree(ROOT / "checkpoints" / "adaptive_mean_reversion", made / "kept" / "reversion")
    shutil.copytree(ROOT / "checkpoints" / "ppo", made / "kept" / "ppo")
    env = {name: value for name, value in os.environ.items() if name != "QFRAME_DATA"} | {"PYTHONPATH": str(ROOT)}
    train = ["train", "--agents", "momentum,flat", "--data", "synthetic:regimes", "--bars", "3000"]
    paper = [
        "paper",
        str(made / "kept" / "ppo"),
        "--feed",
        "replay",
        "--from",
        "2024-12-20",
        "--out",
        str(made / "week"),
    ]
    for door, *more in ([*train, "--runs", str(made / "runs"), "--checkpoints", str(made / "ckpt")], paper):
        argv = [sys.executable, "-m", f"experiments.{door}", *more]
        subprocess.run(argv, env=env, cwd=made, check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def session(root: Path) -> Iterator[Session]:
    one = Session(root / "alpha")
    one.bar(40)
    yield one
    one.close()


@pytest.fixture(scope="module")
def api(service: Served) -> Iterator[httpx.Client]:
    with service.client("read") as client:
        client.timeout = httpx.Timeout(120.0)
        yield client


def only_run(api: httpx.Client) -> str:
    (run,) = (one["id"] for one in api.get("/runs").json() if one["id"] != "underway")
    return str(run)


def test_a_run_is_told_with_a_verdict_beside_every_row(api: httpx.Client, service: Served) -> None:
    with ServiceClient(service.url, service.token("read")) as client:
        run = client.run(only_run(api))
    assert not run.under_way
    assert {row["agent"] for row in run.leaderboard} >= {"momentum", "flat", "buy_and_hold"}
    words = {row["agent"]: row["verdict"] for row in run.leaderboard}
    assert words["flat"] == "did not trade"
    assert all(words.values())
    assert run.choice["agent"]
    assert {"name": "test-buy_and_hold", "bars": run.records[0]["bars"]} in run.records
    assert run.reports == []
    assert api.get(f"/runs/{run.id}/report.html").status_code == 404


def test_curves_side_by_side(api: httpx.Client, session: Session, service: Served) -> None:
    run = only_run(api)
    with ServiceClient(service.url, service.token("read")) as client:
        mine, hold, none, odd = client.compare(
            [f"session:{session.id}", f"run:{run}:test-buy_and_hold", "session:0123456789abcdef", f"run:{run}:../x"],
            window=10,
        )
    assert (mine["bars"], mine["growth"][0], mine["problem"]) == (41, 1.0, None)
    assert hold["growth"][-1] == pytest.approx(hold["last"] / hold["first"])
    assert min(hold["drawdown"]) == pytest.approx(hold["max_drawdown"])
    assert [at for at in hold["sharpe"] if at is not None]
    assert none["problem"] == "there is no such session."
    assert "has no record" in odd["problem"]


def test_what_a_policy_saw_is_told_by_name_and_a_backtest_of_the_same_bars_is_the_same(
    api: httpx.Client, service: Served, session: Session
) -> None:
    with ServiceClient(service.url, service.token("read")) as client:
        week = next(one for one in client.sessions() if one.name == "week")
        seen = client.sight(week.id, int(week.time_ns or 0))
        assert len(seen.names) == len(seen.raw[0]) == len(seen.scaled[0]) == 16
        assert "rsi:14" in seen.names
        closes = client.bars(week.id).close
        assert closes[-1] is not None
        assert closes[-2] is not None
        assert seen.raw[0][seen.names.index("log_return:1")] == pytest.approx(np.log(closes[-1] / closes[-2]))
        again = client.against_backtest(week.id)
        assert again.identical
        assert (again.last_bps, again.worst_bps) == (0.0, 0.0)
        assert again.bars == (week.bars or 0) + 1
    answer = api.get(f"/sessions/{session.id}/sight", params={"at": session.pulse()["time"]})
    assert answer.status_code == 422
    assert "not below the folders that are served" in answer.json()["detail"]


def test_the_service_stays_light_and_its_process_aside_dies_with_it(root: Path) -> None:
    with served(root) as one:
        with one.client("read") as api:
            week = next(s["id"] for s in api.get("/sessions").json() if s["name"] == "week")
            at = api.get(f"/sessions/{week}").json()["time_ns"]
            assert api.get(f"/sessions/{week}/sight", params={"at": at}, timeout=120.0).status_code == 200
        maps = Path(f"/proc/{one.process.pid}/maps").read_text()
        for heavy in ("torch", "numba", "llvmlite", "/ray/"):
            assert heavy not in maps
        tasks = Path(f"/proc/{one.process.pid}/task").glob("*/children")
        (aside,) = (child for task in tasks for child in task.read_text().split())
        one.stop(signal.SIGKILL)
        until(lambda: not Path(f"/proc/{aside}").exists() or "Z" in Path(f"/proc/{aside}/stat").read_text().split()[2])


def test_a_training_under_way_is_shown_with_its_curves(root: Path, api: httpx.Client) -> None:
    run = root / "runs" / "underway"
    place = run / "tensorboard" / "ppo-0-0" / "events.out.tfevents.1.x"
    place.parent.mkdir(parents=True)
    (run / "experiment.json").write_text(json.dumps({"agents": ["ppo"]}))
    place.write_bytes(record(b"\x09" + struct.pack("<d", 1.0)) + point("reward", 0, 1.5))
    until(lambda: any(one["id"] == "underway" for one in api.get("/runs").json()))
    told = api.get("/runs/underway").json()
    assert (told["under_way"], told["leaderboard"], told["choice"]) == (True, [], None)
    with place.open("ab") as file:
        whole = point("reward", 100, 2.5)
        file.write(whole + whole[:7])
    (curve,) = api.get("/runs/underway/curves").json()["trainings"]["ppo-0-0"]
    assert (curve["tag"], curve["steps"], curve["values"]) == ("reward", [0, 100], [1.5, 2.5])
    with place.open("ab") as file:
        file.write(whole[7:].replace(struct.pack("<f", 2.5), struct.pack("<f", 3.5)))
    (curve,) = api.get("/runs/underway/curves").json()["trainings"]["ppo-0-0"]
    assert curve["values"] == [1.5, 2.5, 3.5]
    shutil.rmtree(run)


def test_a_report_runs_in_an_origin_of_its_own(root: Path, api: httpx.Client) -> None:
    run = only_run(api)
    (root / "runs" / run / "report.html").write_text("<script>parent.x = 1</script>")
    answer = api.get(f"/runs/{run}/report.html")
    assert answer.headers["content-security-policy"].endswith("sandbox allow-scripts")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert api.get(f"/runs/{run}").json()["reports"] == ["report.html"]
    (root / "runs" / run / "report.html").unlink()


def test_trials_are_told_in_words_of_luck(api: httpx.Client) -> None:
    (row,) = api.get("/trials").json() or [None]
    assert row is None or (row["trials"] >= 1 and row["luck_ratio"] >= 0.0)


def record(message: bytes) -> bytes:
    return struct.pack("<Q", len(message)) + b"\0" * 4 + message + b"\0" * 4


def point(tag: str, step: int, value: float) -> bytes:
    one = b"\x0a" + bytes([len(tag)]) + tag.encode() + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + bytes([len(one)]) + one
    head = b"\x09" + struct.pack("<d", 2.0 + step) + b"\x10" + bytes([step])
    return record(head + b"\x2a" + bytes([len(summary)]) + summary)


@given(st.binary(max_size=300))
@example(b"\x0d\x00\x00\x00\x00")
def test_no_file_of_curves_breaks_the_reader(spoiled: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "events.out.tfevents.1").write_bytes(point("a", 1, 2.0) + record(spoiled) + spoiled)
        (first, *_) = Curves().of(Path(folder), 10)["."]
        assert first["steps"]


def test_no_link_leads_out_of_a_run(tmp_path: Path) -> None:
    away, run = tmp_path / "away", Found("run", tmp_path / "run", "training", "run")
    for name in ("away", "run"):
        (tmp_path / name).mkdir()
    pq.write_table(pa.table({"time": [1, 2], "equity": [1.0, 2.0]}), away / "test-a.parquet")
    (away / "events.out.tfevents.1").write_bytes(point("a", 1, 2.0))
    for name in ("journals", "tensorboard"):
        (run.folder / name).symlink_to(away)
    assert records_of(run) == [] and Curves().of(run.folder / "tensorboard", 10) == {}
    with pytest.raises(UserError, match="has no record"):
        record_of(run, "test-a")


def test_a_moving_sharpe_ratio_is_that_of_its_window() -> None:
    equity = np.exp(np.cumsum(np.random.default_rng(1).normal(0.0, 0.01, 200)))
    ratio, error = moving_sharpe(equity, 50, 365.0)
    returns = equity[-50:] / equity[-51:-1] - 1.0
    want = returns.mean() / returns.std(ddof=1)
    assert ratio[-1] == pytest.approx(want * 365.0**0.5)
    assert error[-1] == pytest.approx(((1 + want**2 / 2) / 50 * 365.0) ** 0.5)
    assert np.isnan(ratio[:50]).all()


def test_drift_is_live_over_backtest() -> None:
    time = np.arange(5, dtype=np.int64) * HOUR
    live = EquityCurve(time, np.array([100.0, 101.0, 100.0, 99.0, 100.1]), np.zeros(5))
    told = drift(live, time[1:].tolist(), [101.0, 100.0, 100.0, 100.0], 10)
    assert told["drift_bps"] == pytest.approx([0.0, 0.0, -100.0, 10.0])
    assert (told["worst_bps"], told["identical"], told["bars"]) == (pytest.approx(-100.0), False, 4)
    assert compared("x", live, 2, 4)["max_drawdown"] == pytest.approx(99.0 / 101.0 - 1.0)


def test_a_process_aside_that_hangs_or_dies_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    aside = SideProcess(patience_s=30.0)
    assert aside.ask("words", rows=[], facts=None) == {"rows": [], "study": None}
    process: Any = aside._process
    process.kill()
    process.wait()
    assert aside.ask("words", rows=[], facts=None) == {"rows": [], "study": None}
    with pytest.raises(UserError, match="is not there"):
        aside.ask("sight", journal="/nowhere", checkpoint="/nowhere", seq=1, exposure=[])
    monkeypatch.setattr(aside, "patience_s", 0.01)
    process = aside._process
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(Unavailable, match="could not be worked out"):
        aside.ask("words", rows=[], facts=None)
    aside.close()


def test_a_moving_sharpe_ratio_is_of_a_year_of_365_days() -> None:
    equity = 100.0 * np.exp(np.cumsum(0.01 * np.random.default_rng(0).standard_normal(60)))
    shown = compared("one", EquityCurve(HOUR * np.arange(60), equity, np.zeros(60)), 10, 100)
    assert shown["sharpe"][-1] == pytest.approx(moving_sharpe(equity, 10, YEAR / HOUR)[0][-1], rel=1e-12)
