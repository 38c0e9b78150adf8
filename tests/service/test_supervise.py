"""Supervised sessions: real ones, on replayed bars, under kills of all that can be killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from experiments import supervise
from qframe_rl.config import UserError
from qframe_rl.journal.lock import writer_of
from qframe_rl.journal.store import read, verify
from qframe_rl.service import supervise as module
from qframe_rl.service.desired import Desired, SupervisedSpec
from qframe_rl.service.places import Places
from qframe_rl.service.store import ServiceStore
from qframe_rl.service.supervise import STARTS, Supervisor
from tests.service.places import ROOT, Session, served, until

SPEC: dict[str, Any] = {"checkpoint": "carry", "feed": "replay", "speed": "72000x"}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(ROOT / "checkpoints" / "funding_arbitrage", tmp_path / "checkpoints" / "carry")
    yield tmp_path
    for journal in (tmp_path / "sessions").glob("*/journal.db"):
        if (pid := writer_of(journal)) is not None:
            os.kill(pid, signal.SIGKILL)


def begun(root: Path) -> subprocess.Popen[str]:
    argv = [
        sys.executable, "-m", "experiments.supervise", "--root", str(root / "checkpoints"),
        "--sessions", str(root / "sessions"), "--state", str(root / "state"),
    ]  # fmt: skip
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.stderr is not None
    assert "supervising" in process.stderr.readline()
    return process


def ended(process: subprocess.Popen[str], how: int) -> int:
    process.send_signal(how)
    process.communicate(timeout=20.0)
    return process.returncode


def rows(root: Path) -> dict[str, Any]:
    store = ServiceStore(root / "state")
    try:
        return {one.name: one for one in Desired(store).all()}
    finally:
        store.close()


def want(root: Path, act: str, name: str) -> None:
    supervise.main([act, name, "--state", str(root / "state"), "--json"])


@pytest.mark.slow
def test_sessions_run_whoever_is_killed_and_no_bar_is_lost(root: Path) -> None:
    store = ServiceStore(root / "state")
    for name in ("a", "b"):
        Desired(store).add(name, SupervisedSpec(**SPEC))
    store.close()
    supervisor = begun(root)
    until(lambda: all(one.state == "RUNNING" for one in rows(root).values()), 90.0)
    pids = {name: one.pid for name, one in rows(root).items()}
    ended(supervisor, signal.SIGKILL)
    for name, pid in pids.items():
        assert writer_of(root / "sessions" / name / "journal.db") == pid, "sessions live on"
    supervisor = begun(root)
    time.sleep(1.5)
    assert {name: one.pid for name, one in rows(root).items()} == pids, "adopted, not started twice"
    os.kill(pids["a"], signal.SIGKILL)
    until(lambda: rows(root)["a"].state == "BACKOFF" or rows(root)["a"].pid not in (None, pids["a"]))
    until(lambda: rows(root)["a"].state == "RUNNING", 90.0)
    assert rows(root)["b"].pid == pids["b"]
    want(root, "stop", "b")
    until(lambda: rows(root)["b"].state == "STOPPED", 60.0)
    assert writer_of(root / "sessions" / "b" / "journal.db") is None
    want(root, "start", "b")
    until(lambda: rows(root)["b"].state == "RUNNING", 90.0)
    for name in ("a", "b"):
        want(root, "stop", name)
    until(lambda: all(one.state == "STOPPED" for one in rows(root).values()), 60.0)
    assert ended(supervisor, signal.SIGTERM) == 0
    for name in ("a", "b"):
        journal = root / "sessions" / name / "journal.db"
        verify(journal)
        times = [json.loads(event.payload)["time"] for event in read(journal) if event.kind == "bar"]
        assert max(Counter(times).values()) == 1
        assert times == sorted(times)
        assert {b - a for a, b in pairwise(times)} == {times[1] - times[0]}


@pytest.mark.slow
def test_what_cannot_run_fails_with_its_own_sentence_and_what_ends_is_stopped(root: Path) -> None:
    store = ServiceStore(root / "state")
    desired = Desired(store)
    desired.add("wrong", SupervisedSpec(**SPEC | {"feed": "ccxt", "speed": None, "exchange": "nowhere"}))
    desired.add("gone", SupervisedSpec(**SPEC | {"checkpoint": "gone"}))
    desired.add("brief", SupervisedSpec(**SPEC | {"speed": "max"}))
    supervisor = begun(root)
    until(lambda: desired.one("wrong").state == "FAILED", 60.0)
    assert "nowhere" in desired.one("wrong").why
    assert "no checkpoint gone" in desired.one("gone").why
    until(lambda: desired.one("brief").desired == "STOPPED", 120.0)
    assert desired.one("brief").why == "it came to its end"
    journal = root / "sessions" / "brief" / "journal.db"
    with journal.open("r+b") as file:
        file.seek(8192)
        file.write(b"spoiled" * 100)
    want(root, "start", "brief")
    until(lambda: desired.one("brief").state == "FAILED", 60.0)
    assert "corrupt" in desired.one("brief").why
    ended(supervisor, signal.SIGTERM)
    store.close()


def test_what_crashes_all_the_time_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """The program itself is replaced by one that dies at once; waits are cut short."""
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    store = ServiceStore(root / "state")
    desired = Desired(store)
    desired.add("a", SupervisedSpec(**SPEC))
    told: list[str] = []
    supervisor = Supervisor(store, Places([root / "checkpoints"]), root / "sessions", told.append)
    with pytest.raises(UserError, match="another supervisor"):
        Supervisor(store, Places([root]), root / "sessions", told.append)
    elsewhere = ServiceStore(root / "elsewhere")
    with pytest.raises(UserError, match="another supervisor"):
        Supervisor(elsewhere, Places([root]), root / "sessions", told.append)
    elsewhere.close()
    waits = []
    for _ in range(200):
        supervisor.step()
        row = desired.one("a")
        if row.state == "BACKOFF":
            waits.append(round((row.due_ns - row.since_ns) / 1e9))
            desired.note("a", due_ns=0)
        if row.state == "FAILED":
            break
        time.sleep(0.02)
    assert waits == [1, 2, 4, 8]
    assert "status 1" in desired.one("a").why
    assert f"{STARTS} starts" in desired.one("a").why
    desired.want("a", "RUNNING")
    assert desired.one("a").state == "STOPPED", "asked for again, it is tried anew"
    supervisor.close()
    store.close()


def test_the_api_says_what_is_wanted(root: Path) -> None:
    with served(root, "--state", str(root / "state"), "--allow", "trade") as service:
        service.state = root / "state"
        with service.client("read", "trade") as api:
            body = {"name": "alpha", "spec": SPEC}
            made = api.post("/sessions", json=body, headers={"idempotency-key": "1"})
            assert made.status_code == 201
            assert api.post("/sessions", json=body, headers={"idempotency-key": "1"}).json() == made.json()
            assert api.post("/sessions", json=body).status_code == 422
            for spec in (
                {"checkpoint": "nothing"}, {"checkpoint": "../carry"}, {"checkpoint": "carry", "orders": "real"},
                {"checkpoint": "carry", "url": "http://evil.example"}, {"checkpoint": "carry", "out": "/etc"},
                {"checkpoint": "carry", "speed": "--help"}, {"checkpoint": "carry", "symbols": "--out=/etc x"},
            ):  # fmt: skip
                answer = api.post("/sessions", json={"name": "beta", "spec": spec})
                assert answer.status_code in (404, 422), spec
            one = api.get("/supervised/alpha")
            assert (one.json()["desired"], one.json()["state"], one.headers["etag"]) == ("RUNNING", "STOPPED", '"1"')
            place = "/supervised/alpha/desired"
            assert api.put(place, json={"desired": "STOPPED"}).status_code == 428
            assert api.put(place, json={"desired": "STOPPED"}, headers={"if-match": '"7"'}).status_code == 412
            answer = api.put(place, json={"desired": "STOPPED"}, headers={"if-match": '"1"'})
            assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
            assert api.delete("/supervised/alpha").status_code == 204
            assert api.delete("/supervised/alpha").status_code == 404
            assert api.get("/supervised").json() == []


def test_a_session_elsewhere_of_the_same_name_is_another_one(tmp_path: Path) -> None:
    other = Session(tmp_path / "paper" / "alpha")
    other.bar()
    with served(tmp_path, "--allow", "trade") as service:
        store = ServiceStore(service.state)
        desired = Desired(store)
        desired.add("alpha", SupervisedSpec(**SPEC))
        with service.client("read", "trade") as api:
            stop = {
                "url": f"/sessions/{other.id}/desired",
                "json": {"desired": "STOPPED"},
                "headers": {"if-match": '"1"'},
            }
            assert api.put(**stop).status_code == 404
            assert api.get("/supervised/alpha").json()["session"] is None
            desired.note("alpha", folder=str((tmp_path / "paper" / "alpha").resolve()))
            assert api.get("/supervised/alpha").json()["session"] == other.id
            assert api.put(**stop).status_code == 200
        assert desired.one("alpha").desired == "STOPPED"
        store.close()
    other.close()


@pytest.mark.usefixtures("each_store")
def test_words_of_the_door(root: Path) -> None:
    state = ["--state", str(root / "state"), "--root", str(root / "checkpoints"), "--json"]
    supervise.main(["add", "alpha", "--checkpoint", "carry", "--with", "feed=replay", "--with", "speed=10x", *state])
    said = supervise.main(["list", *state])
    assert said is not None
    assert [(one["name"], one["spec"]["speed"]) for one in said["supervised"]] == [("alpha", "10x")]
    for argv, expected in (
        (["add", "beta", *state], "--checkpoint"),
        (["add", "alpha", "--checkpoint", "carry", *state], "another name"),
        (["add", "beta", "--checkpoint", "carry", "--with", "sped=1", *state], "sped"),
        (["add", "beta", "--checkpoint", "carry", "--with", "sped", *state], "KEY=VALUE"),
        (["add", "beta", "--checkpoint", "carri", *state], "did you mean 'carry'"),
        (["add", "beta", "--checkpoint", "carry", "--with", "speed=12", *state], "not the speed of a replay.*60x"),
        (["add", "beta", "--checkpoint", "carry", "--sessions", "x", *state], "--sessions"),
        (["stop", "beta", *state], "no session"),
        (["stop", *state], "Give the name"),
        (["remove", "alpha", *state], "stop it first"),
    ):
        with pytest.raises(UserError, match=expected):
            supervise.main(argv)
    supervise.main(["stop", "alpha", *state])
    assert supervise.main(["remove", "alpha", *state]) == {"supervised": []}


@pytest.mark.parametrize("url", ["http://10.0.0.1:80", "https://127.0.0.1:8765", "http://127.0.0.1.evil.example:1"])
def test_only_a_rehearsal_on_this_machine_may_be_named(url: str) -> None:
    with pytest.raises(ValidationError, match="on this machine"):
        SupervisedSpec(checkpoint="x", url=url)


def test_one_that_is_wanted_again_while_it_stops_is_started_once_it_has_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    living: list[Any] = [module._Process(os.getpid(), writes=True)]
    monkeypatch.setattr(module.Supervisor, "_process", lambda self, row: living[0])
    monkeypatch.setattr(module, "_signal", lambda pid, number: None)
    store = ServiceStore(tmp_path / "state")
    desired = Desired(store)
    desired.add("a", SupervisedSpec(**SPEC), "STOPPED")
    desired.note("a", state="RUNNING", pid=os.getpid())
    supervisor = module.Supervisor(store, Places([tmp_path]), tmp_path / "sessions", lambda line: None)
    supervisor.step()
    desired.want("a", "RUNNING")
    supervisor.step()
    assert desired.one("a").state == "STOPPING", "it was told to end, and will"
    living[0] = None
    supervisor.step()
    assert "there is no checkpoint carry" in desired.one("a").why, "it was to be started again"
    supervisor.close()
    store.close()


def test_a_replay_is_not_asked_for_what_an_exchange_alone_does(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path / "state")
    for more in ({"orders": "testnet"}, {"fills": "book"}, {"url": "http://127.0.0.1:8765"}):
        with pytest.raises(UserError, match="orders, fills and url are of feed=ccxt"):
            Desired(store).add("a", SupervisedSpec(**SPEC | more))
    store.close()
