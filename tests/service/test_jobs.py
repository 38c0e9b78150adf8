"""Jobs: asked for over the API, done once, given up, cancelled, gone on with; and no code comes in by them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from experiments import worker
from qframe_rl.config import Unavailable, UserError
from qframe_rl.service import jobbing
from qframe_rl.service import worker as service_worker
from qframe_rl.service.client import ServiceClient
from qframe_rl.service.jobs import LEASE_S, LOST, OPTIONS, Jobs, JobSpec, log_of
from qframe_rl.service.places import Places
from qframe_rl.service.store import ServiceStore
from qframe_rl.service.worker import Worker
from tests.service.places import ROOT, served, until

TRAIN: dict[str, Any] = {
    "kind": "train", "names": ["momentum", "flat"], "options": {"data": "synthetic:ar1", "bars": "2000"},
}  # fmt: skip
LONG: dict[str, Any] = {
    "kind": "train", "names": ["ppo"], "options": {"data": "synthetic:ar1", "bars": "20000"},
    "settings": {"agent.ppo.total_steps": "900000000"},
}  # fmt: skip


class Clock:
    now = 1_700_000_000 * 10**9

    def __call__(self) -> int:
        return self.now


@pytest.mark.usefixtures("each_store")
def test_a_job_is_one_workers_at_a_time_and_goes_on_when_that_one_is_gone(tmp_path: Path) -> None:
    store, clock = ServiceStore(tmp_path), Clock()
    jobs = Jobs(store, clock)
    first, second = jobs.ask(JobSpec(**TRAIN), "anna"), jobs.ask(JobSpec(**TRAIN), "anna")
    got = jobs.claim("one")
    assert got is not None
    assert (got.id, got.state, got.tries) == (first.id, "RUNNING", 1)
    other = jobs.claim("two")
    assert other is not None
    assert other.id == second.id
    assert jobs.claim("three") is None
    clock.now += int((LEASE_S - 1) * 1e9)
    assert jobs.renew(first.id, "one") is not None
    clock.now += int(2 * 1e9)
    late = jobs.claim("three")
    assert late is not None
    assert (late.id, late.tries) == (second.id, 2)
    assert jobs.renew(second.id, "two") is None
    assert not jobs.end(second.id, "two", "DONE")
    assert jobs.end(second.id, "three", "DONE")
    jobs.release(first.id, "one")
    again = jobs.claim("four")
    assert again is not None
    assert again.id == first.id
    store.close()


def test_a_log_is_told_in_whole_characters_wherever_it_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ServiceStore(tmp_path)
    it: Any = SimpleNamespace(store=store, jobs=Jobs(store))
    job, said = it.jobs.ask(JobSpec(**TRAIN), "anna").id, "aé€𝄞 ±3 ß"
    path = log_of(store.folder, job)
    path.parent.mkdir()
    monkeypatch.setattr(jobbing, "CHUNK", 4)

    def told(written: bytes) -> tuple[str, int]:
        path.write_bytes(written)
        text, after = "", 0
        while (piece := jobbing.log(it, None, job, after))["text"]:  # type: ignore[arg-type]
            text, after = text + piece["text"], piece["next"]
        return text, after

    whole = said.encode()
    assert told(whole) == (said, len(whole))
    assert told(whole[:-1]) == (said[:-1], len(whole) - 2), "half a character is on its way"
    assert told(b"a\xffb") == ("a\ufffdb", 3)
    store.close()


@pytest.mark.usefixtures("each_store")
def test_a_job_that_waits_is_cancelled_at_once(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path)
    jobs = Jobs(store)
    job = jobs.ask(JobSpec(**TRAIN), "anna")
    done = jobs.cancel(job.id)
    assert done is not None
    assert done.state == "CANCELLED"
    assert jobs.claim("one") is None
    assert jobs.cancel("nothing") is None
    store.close()


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "shell", "names": ["ls"]},
        {"kind": "train", "names": ["os.path"]},
        {"kind": "train", "names": ["../agents/ppo"]},
        {"kind": "train", "options": {"reward": "os:system"}},
        {"kind": "train", "options": {"data": "/etc/passwd"}},
        {"kind": "train", "options": {"env": "my_code.market"}},
        {"kind": "train", "options": {"preset": "evil.toml"}},
        {"kind": "train", "options": {"preset": "../../evil"}},
        {"kind": "train", "options": {"from": "--runs"}},
        {"kind": "train", "symbols": "--checkpoints=/etc"},
        {"kind": "train", "symbols": "BTC/USDT --runs /etc"},
        {"kind": "train", "settings": {"agent.ensemble.agents": "evil.module"}},
        {"kind": "train", "settings": {"data.root": "/etc"}},
        {"kind": "train", "settings": {"env.reward": "os:system"}},
        {"kind": "train", "settings": {"env.actions": "../x"}},
        {"kind": "train", "settings": {"env.name": "x-1.y"}},
        {"kind": "train", "options": {"preset": "1.toml"}},
        {"kind": "report", "names": ["x"], "settings": {"env.fee": "1"}},
        {"kind": "download", "options": {"to": "/etc"}},
        {"kind": "train", "hours": 0},
        {"kind": "train", "more": 1},
    ],
)
def test_what_could_be_code_or_a_path_is_refused(spec: dict[str, Any], tmp_path: Path) -> None:
    try:
        made = JobSpec(**spec)
    except ValidationError:
        return
    with pytest.raises(UserError):
        made.argv(Places([tmp_path]), tmp_path, tmp_path, None, again=False)
    raise AssertionError(f"{spec} was let through")


def test_arguments_are_those_of_the_door(tmp_path: Path) -> None:
    places = Places([tmp_path])
    spec = JobSpec(**TRAIN | {"settings": {"env.half_spread_bps": "2"}})
    assert spec.argv(places, Path("r"), Path("c"), None, again=True) == [
        "--agents", "momentum,flat", "--bars", "2000", "--data", "synthetic:ar1", "--set", "env.half_spread_bps=2",
        "--runs", "r", "--checkpoints", "c", "--resume",
    ]  # fmt: skip
    fetch = JobSpec(kind="download", symbols="BTC/USDT", options={"exchange": "binance", "from": "2024-01-01"})
    argv = fetch.argv(places, Path("r"), Path("c"), Path("store"), again=False)
    assert argv == ["--exchange", "binance", "--since", "2024-01-01", "--symbols", "BTC/USDT", "--to", "store"]
    with pytest.raises(UserError, match="no store"):
        fetch.argv(places, Path("r"), Path("c"), None, again=False)
    for options, resumed in (({}, False), ({"from": "2024-01-01"}, False), ({"walk-forward": "4"}, True)):
        score = JobSpec(kind="evaluate", names=["momentum"], options=options)
        assert ("--resume" in score.argv(places, Path("r"), Path("c"), None, again=True)) == resumed
    with pytest.raises(UserError, match="did you mean 'momentum'"):
        JobSpec(kind="evaluate", names=["momentun"]).argv(places, Path("r"), Path("c"), None, again=False)


def begun(root: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "experiments.worker", "--root", str(root)]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.stderr is not None
    assert "waits for jobs" in process.stderr.readline()
    return process


def ended(process: subprocess.Popen[str], how: int = signal.SIGTERM) -> int:
    process.send_signal(how)
    process.communicate(timeout=40.0)
    return process.returncode


@pytest.mark.slow
def test_a_training_is_asked_for_watched_and_done_over_the_api(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with served(tmp_path / "runs", "--root", str(tmp_path), "--allow", "jobs") as service:
        working = begun(tmp_path)
        with service.client("read", "jobs") as api, ServiceClient(service.url, service.token("read", "jobs")) as client:
            job = client.ask_job(JobSpec(**TRAIN), key="k").id
            assert client.ask_job(JobSpec(**TRAIN), key="k").id == job
            assert api.post("/jobs", json={"kind": "train", "names": ["os.path"]}).status_code == 422
            until(lambda: client.job(job).state == "DONE", 120.0)
            assert "Chosen" in "".join(client.job_log(job))
            log = api.get(f"/jobs/{job}/log").json()
            assert api.get(f"/jobs/{job}/log", params={"after": log["next"]}).json()["text"] == ""
            until(lambda: len(client.runs()) == 1)
            (run,) = client.runs()
            assert run.kind == "training"
            assert api.get(f"/runs/{run.id}/report").json()["choice"]
            curves = client.curves(run.id, points=4).trainings
            assert curves["evaluation"]
            assert all(len(one["steps"]) <= 4 for one in curves["evaluation"])
            assert any("momentum" in one.agents for one in client.trials())
            assert {"momentum", "flat"} <= {one.agent for one in client.checkpoints()}
            assert {"momentum", "ppo"} <= {one["name"] for one in client.strategies()}
            assert "perp" in {one["name"] for one in client.markets()}
            assert {kind: tuple(options) for kind, options in client.job_kinds().items()} == OPTIONS
            wrong = client.ask_job(JobSpec(kind="evaluate", names=("nobody",))).id
            until(lambda: client.job(wrong).state == "FAILED", 60.0)
            assert "nobody" in client.job(wrong).why
            assert [one.id for one in client.jobs()] == [wrong, job]
            assert client.cancel_job(wrong).state == "FAILED", "it has ended already"
            assert api.delete("/jobs/nothing").status_code == 404
            with pytest.raises(UserError, match="no such job"):
                client.cancel_job("nothing")
        assert ended(working) == 0


@pytest.mark.slow
def test_a_job_is_cancelled_ends_with_its_time_and_dies_with_its_worker(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    store = ServiceStore(tmp_path / "runs" / ".service")
    jobs = Jobs(store)

    def state(job: str) -> str:
        found = jobs.one(job)
        assert found is not None
        return found.state

    def processes() -> list[int]:
        found = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in found.stdout.split() if int(pid) != os.getpid()]

    working = begun(tmp_path)
    long = jobs.ask(JobSpec(**LONG), "anna")
    log = log_of(tmp_path / "runs" / ".service", long.id)
    until(lambda: state(long.id) == "RUNNING" and len(processes()) >= 2, 60.0)
    jobs.cancel(long.id)
    until(lambda: state(long.id) == "CANCELLED", 60.0)
    assert processes() == [working.pid]
    assert log.exists()
    brief = jobs.ask(JobSpec(**LONG | {"hours": 0.0005}), "anna")
    until(lambda: state(brief.id) == "FAILED", 60.0)
    found = jobs.one(brief.id)
    assert found is not None
    assert "more than 0.0005 hours" in found.why
    other = jobs.ask(JobSpec(**LONG), "anna")
    until(lambda: state(other.id) == "RUNNING" and len(processes()) >= 2, 60.0)
    ended(working, signal.SIGKILL)
    until(lambda: processes() == [], 20.0)
    working = begun(tmp_path)
    time.sleep(1.0)
    assert state(other.id) == "RUNNING", "its lease is not over yet"
    with store.writing() as database:
        database.execute("UPDATE jobs SET lease_ns = 0")
    until(lambda: len(processes()) >= 2, 30.0)
    found = jobs.one(other.id)
    assert found is not None
    assert found.tries == 2
    assert ended(working) == 0
    assert state(other.id) == "QUEUED", "left to the next one"
    assert processes() == []
    store.close()


def test_a_worker_without_work_may_leave(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert worker.main(["--root", str(tmp_path), "--once", "--json"]) == {"done": 0}
    with pytest.raises(UserError, match="--root"):
        worker.main(["--root", str(tmp_path / "nowhere"), "--once"])
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(UserError, match="--data"):
        worker.main(["--root", str(tmp_path), "--data", str(tmp_path / "nowhere")])
    shutil.rmtree(tmp_path / "runs")


@pytest.mark.usefixtures("each_store")
def test_a_job_that_takes_its_workers_with_it_is_given_up(tmp_path: Path) -> None:
    store, clock = ServiceStore(tmp_path), Clock()
    jobs = Jobs(store, clock)
    job = jobs.ask(JobSpec(**TRAIN), "anna")
    for _ in range(5):
        assert jobs.claim("orderly") is not None
        jobs.release(job.id, "orderly")
    for lost in range(LOST):
        assert jobs.claim(f"worker {lost}") is not None
        clock.now += int((LEASE_S + 1) * 1e9)
    assert jobs.claim("one more") is None
    found = jobs.one(job.id)
    assert found is not None
    assert (found.state, found.why) == ("FAILED", f"{LOST} workers were gone while they had it")
    store.close()


def test_a_job_has_ended_before_its_lease_where_the_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ServiceStore(tmp_path)
    one, now = Worker(store, Places([]), tmp_path, None, None, print), [100.0]
    ended: list[float] = []

    def away(job: str, name: str) -> None:
        now[0] += 27.0 if now[0] > 123.0 else 0.0  # as long as a database that says nothing is waited for
        raise Unavailable("it is away.")

    slept = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s))
    monkeypatch.setattr(service_worker, "time", slept)
    monkeypatch.setattr(service_worker, "_ended", lambda child, grace_s: ended.append(now[0] + grace_s))
    monkeypatch.setattr(one.jobs, "renew", away)
    job = one.jobs.ask(JobSpec(**TRAIN), "anna")
    state, _ = one._watched(job, SimpleNamespace(poll=lambda: None), 100.0, lambda: False)  # type: ignore[arg-type]
    assert state == "QUEUED"
    assert 100.0 + 50.0 < ended[0] < 100.0 + LEASE_S
    store.close()


def test_a_job_has_nobodys_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINANCE_API_KEY", "a key that is long enough")
    monkeypatch.setenv("BINANCE_SECRET", "a secret that is long enough")
    monkeypatch.setenv("QFRAME_RELAY_TO", "redis://anna:a-password@127.0.0.1/0")
    monkeypatch.setenv("PLAIN", "word")
    monkeypatch.chdir(tmp_path)
    store = ServiceStore(tmp_path / "state")
    given: list[dict[str, str]] = []

    class Process(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, argv: list[str], **more: Any):
            given.append(more["env"])
            super().__init__(["true"], **more)

    monkeypatch.setattr(service_worker.subprocess, "Popen", Process)
    Jobs(store).ask(JobSpec(**TRAIN), "anna")
    assert Worker(store, Places([]), tmp_path, None, None, print).step(lambda: False)
    assert "PLAIN" in given[0]
    assert not {"BINANCE_API_KEY", "BINANCE_SECRET", "QFRAME_RELAY_TO"} & set(given[0])
    store.close()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_worker_lets_ray_do_what_doors_let_it_do(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    store = ServiceStore(tmp_path / "runs" / ".service")
    job = Jobs(store).ask(JobSpec(**TRAIN), "anna")
    assert worker.main(["--root", str(tmp_path), "--on", "ray", "--once", "--json"]) == {"done": 1}
    log = log_of(tmp_path / "runs" / ".service", job.id).read_text()
    done = Jobs(store).one(job.id)
    assert done is not None and done.state == "DONE", log
    assert "ray" in log.lower()
    store.close()
    with pytest.raises(UserError, match="leave --memory or --on out"):
        worker.main(["--root", str(tmp_path), "--on", "ray", "--memory", "4", "--once"])
