"""What an attacker, a full disk and an operator in a hurry do to the service: it answers, and goes on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from experiments import control, status, supervise, token
from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.inbox import left
from qframe_rl.journal.lock import head_path
from qframe_rl.service.app import create_app
from qframe_rl.service.auth import LOGINS, Doorkeeper
from qframe_rl.service.desired import Desired, SupervisedSpec
from qframe_rl.service.jobs import Jobs, JobSpec
from qframe_rl.service.places import Places
from qframe_rl.service.reading import STREAMS
from qframe_rl.service.store import ServiceStore
from qframe_rl.service.stream import Cursor, EventHub, StreamListener
from qframe_rl.service.supervise import STARTS, Supervisor, _begun
from qframe_rl.service.wiring import Service
from tests.service.conftest import PASSWORD
from tests.service.places import Served, Session, until


def test_one_key_sent_by_many_at_once_is_one_command(service: Served, session: Session) -> None:
    with service.client("read", "jobs", "operate") as api, ThreadPoolExecutor(12) as pool:

        def ask(key: str) -> httpx.Response:
            body = {"kind": "train", "names": ["momentum"]}
            headers = {**api.headers, "idempotency-key": key}
            return httpx.post(f"{service.url}/api/v1/jobs", json=body, headers=headers, timeout=30.0)

        for key in ("a", "b", "c"):
            before = len(api.get("/jobs").json())
            answers = list(pool.map(ask, [key] * 12))
            assert {one.status_code for one in answers} == {201}
            assert len({one.json()["id"] for one in answers}) == 1
            assert len(api.get("/jobs").json()) == before + 1


def test_who_hangs_up_at_once_leaves_no_stream_open(service: Served) -> None:
    token = service.token("read", name="hasty")
    port = int(service.url.rpartition(":")[2])
    asked = (f"GET /api/v1/events HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\n\r\n").encode()
    for _ in range(STREAMS * 3):
        with socket.create_connection(("127.0.0.1", port)) as hasty:
            hasty.sendall(asked)
    headers = {"authorization": f"Bearer {token}"}

    def opens() -> bool:
        with httpx.stream("GET", f"{service.url}/api/v1/events", headers=headers) as answer:
            return answer.status_code == 200

    until(opens, 10.0)
    for _ in range(STREAMS - 1):  # all places are free again, not one alone
        assert opens()
        time.sleep(0.01)
    with httpx.Client() as api:
        open_ones = []
        for _ in range(STREAMS):
            request = api.build_request("GET", f"{service.url}/api/v1/events", headers=headers)
            open_ones.append(api.send(request, stream=True))
        assert {one.status_code for one in open_ones} == {200}
        for one in open_ones:
            one.close()


def test_a_name_before_the_address_does_not_help_to_guess(service: Served) -> None:
    def tried(k: int) -> int:
        return httpx.post(
            f"{service.url}/api/v1/login", json={"name": f"nobody{k}", "password": PASSWORD},
            headers={"x-forwarded-for": f"203.0.113.{k}"},
        ).status_code  # fmt: skip

    assert [tried(k) for k in range(LOGINS + 1)] == [401] * LOGINS + [429]


def test_who_must_wait_locks_nobody_else_out_and_fills_no_memory(tmp_path: Path) -> None:
    keeper = Doorkeeper(ServiceStore(tmp_path))
    for k in range(2000):
        keeper.wait_s("client evil", f"user {k}")
    assert keeper.wait_s("client evil", "user anna")
    assert len(keeper._tries) <= LOGINS + 1
    assert not keeper.wait_s("client good", "user anna")
    for _ in range(LOGINS + 2):
        keeper.wait_s("client evil", "user anna")
    assert not keeper.wait_s("client good", "user anna")


def test_a_stolen_cookie_guesses_no_password(service: Served, session: Session) -> None:
    with service.client("admin") as admin:
        body = {"name": "berta", "password": PASSWORD, "scopes": ["read", "operate", "trade"]}
        assert admin.post("/users", json=body).status_code == 201
    store = ServiceStore(service.state)
    cookie = Doorkeeper(store).login("berta")
    store.close()
    origin = {"origin": service.url, "cookie": f"qframe={cookie}"}

    def resumed(password: str) -> int:
        return httpx.post(
            f"{service.url}/api/v1/sessions/{session.id}/commands", json={"word": "resume", "password": password},
            headers=origin,
        ).status_code  # fmt: skip

    assert [resumed(PASSWORD) for _ in range(LOGINS + 2)] == [202] * (LOGINS + 2)  # right ones do not count
    assert [resumed(f"guess {k}") for k in range(LOGINS + 1)] == [403] * LOGINS + [429]
    assert resumed(PASSWORD) == 429


def test_figures_that_json_lacks_are_no_mistake_of_the_service(root: Path, service: Served) -> None:
    run = root / "run1"
    run.mkdir()
    (run / "choice.json").write_text('{"score": NaN, "other": [Infinity, -Infinity, 1.5]}')
    (root / "ck").mkdir()
    (root / "ck" / "checkpoint.json").write_text('{"score": NaN}')
    with service.client("read") as api:
        until(lambda: api.get("/runs/run1/report").status_code != 404)
        answer = api.get("/runs/run1/report")
        assert answer.status_code == 200
        assert answer.json()["choice"] == {"score": None, "other": [None, None, 1.5]}
        assert api.get("/checkpoints/ck").json() == {"score": None}


SPOILED = {
    "ck-list/checkpoint.json": "[]", "ck-text/checkpoint.json": '{"provenance": [], "agent": 3}',
    "ck-half/checkpoint.json": '{"provenance": {"fingerprint": "r-half"}, "agent": {"name": "\\ud800"}}',
    "r-half/choice.json": '{"\\ud800": "\\udfff \\ud83d\\ude00"}',
    "r-list/study.json": "[1]", "r-row/leaderboard.json": "[{}]", "r-row/choice.json": "3",
}  # fmt: skip


def test_no_file_below_a_root_is_a_mistake_of_the_service(root: Path, service: Served) -> None:
    for name, text in SPOILED.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    one = Session(root / "half")
    one.writer.append("note", '{"text": "\\ud800"}')
    one.writer.commit()
    with service.client("read") as api:
        until(lambda: {"r-row", "r-half"} <= {run["id"] for run in api.get("/runs").json()})
        for name in {name.partition("/")[0] for name in SPOILED}:
            kinds = (
                ("checkpoints/{}", "compare?of=checkpoint:{}")
                if name.startswith("ck")
                else ("runs/{}", "runs/{}/report")
            )
            for path in kinds:
                assert api.get(f"/{path.format(name)}").status_code in (200, 422), path
        assert api.get("/checkpoints").status_code == 200
        assert api.get("/runs/r-half/report").json()["choice"] == {"?": "? \U0001f600"}
        until(lambda: one.id in {session["id"] for session in api.get("/sessions").json()})
        (note,) = api.get(f"/sessions/{one.id}/events?kinds=note").json()
        assert note["data"] == {"text": "?"}
    one.close()


def test_bodies_that_are_no_json_are_answered_by_a_sentence(service: Served) -> None:
    bodies = [
        b"", b"[" * 60_000, b'{"a":' * 10_000, b"\xff\xfe{}", b"NaN", b'"\\ud800"', b'{"word": "\\ud800"}',
        b"{" * 70_000,
    ]  # fmt: skip

    def chunked(body: bytes) -> Iterator[bytes]:
        for at in range(0, len(body), 1000):
            yield body[at : at + 1000]

    with service.client("read", "operate", "jobs", "admin") as api:
        for path in ("/kill", "/jobs", "/login", "/tokens", "/sessions/0123456789abcdef/commands"):
            for body in bodies:
                for content in (body, chunked(body)):
                    headers = {"content-type": "application/json", "idempotency-key": "x"}
                    answer = api.post(path, content=content, headers=headers)
                    assert answer.status_code < 500, (path, body[:20], answer.text)
                    assert "traceback" not in answer.text.lower()


def test_a_folder_of_another_alphabet_is_shown(root: Path, service: Served) -> None:
    folder = root / os.fsdecode(b"caf\xe9 \xc2\xb5")
    folder.mkdir()
    one = Session(folder)
    one.bar()
    with service.client("read") as api:
        until(lambda: one.id in api.get("/sessions").text)
        assert api.get(f"/sessions/{one.id}/equity").status_code == 200
        before = one.bars
        with api.stream("GET", "/events") as answer:
            lines = answer.iter_lines()
            next(lines)
            one.bar()
            assert any("settled" in line for line in lines)
        assert one.bars == before + 1
    one.close()
    shutil.rmtree(folder)


class Within:
    """A service that is asked in this process."""

    def __init__(self, service: Service, *scopes: str):
        token = service.keeper.new_token("within", scopes)
        self._app, self._headers = create_app(service), {"authorization": f"Bearer {token}"}

    def __call__(self, method: str, path: str) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=self._headers) as api:
                return await api.request(method, f"/api/v1/{path}")

        return asyncio.run(asked())


def listener() -> StreamListener:
    return StreamListener(frozenset(), frozenset(), lambda: None)


def test_a_listener_whose_missed_events_cannot_be_read_begins_anew(tmp_path: Path) -> None:
    good, bad = Session(tmp_path / "good"), Session(tmp_path / "bad")
    good.bar(2)
    bad.bar(2)
    store = ServiceStore(tmp_path / "state")
    places = Places([tmp_path])
    hub = EventHub(places, store)

    async def back() -> None:
        hub.start(asyncio.get_running_loop())
        now = Cursor.of(hub.cursor())
        earlier = Cursor(now.epoch, {number: seq - 2 for number, seq in now.seen.items()})
        for k, block in enumerate(hub.begin(listener(), earlier) or ()):  # after each, the rest is still to come
            had = Cursor.of(block.split(b"\n")[0].removeprefix(b"id: ").decode())
            assert len(hub.begin(listener(), had) or ()) == 3 - k
        assert k == 3
        bad.close()
        shutil.rmtree(tmp_path / "bad")
        assert hub.begin(listener(), earlier) is None

    asyncio.run(back())
    hub.stop()
    good.close()
    store.close()


def test_a_full_disk_of_the_service_stops_no_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Session(tmp_path / "one")
    store = ServiceStore(tmp_path / "state")
    hub = EventHub(Places([tmp_path]), store)
    full = True
    journal = store.journal

    def failing(session: str, name: str) -> int:
        if full and name == "two":
            raise Unavailable("service.db cannot be written")
        return journal(session, name)

    monkeypatch.setattr(store, "journal", failing)

    async def heard() -> None:
        nonlocal full
        hub.start(asyncio.get_running_loop())
        ear = listener()
        hub.begin(ear, None)
        two = Session(tmp_path / "two")
        await asyncio.sleep(4.5)
        one.bar()
        await asyncio.sleep(1.5)
        assert len(ear.blocks) == 3
        full = False
        await asyncio.sleep(1.5)
        assert len(ear.blocks) == 3 + 3
        two.close()

    asyncio.run(heard())
    hub.stop()
    one.close()
    store.close()


def test_an_older_copy_that_went_another_way_stays_in_quarantine(tmp_path: Path) -> None:
    one = Session(tmp_path / "one")
    one.bar()
    one.close()
    shutil.copytree(tmp_path / "one", tmp_path / ".copy")
    one = Session(tmp_path / "one")
    one.bars = 0
    one.bar(2)
    one.close()
    store = ServiceStore(tmp_path / "state")
    hub = EventHub(Places([tmp_path]), store)
    session = one.id

    async def replaced() -> None:
        hub.start(asyncio.get_running_loop())
        ear = listener()
        hub.begin(ear, None)
        await asyncio.sleep(1.5)
        shutil.rmtree(tmp_path / "one")
        shutil.copytree(tmp_path / ".copy", tmp_path / "one")
        other = Session(tmp_path / "one")
        other.bars = 0
        other.bar(5)
        await asyncio.sleep(2.5)
        assert not ear.blocks
        assert "another" in hub.broken[session]
        other.close()

    asyncio.run(replaced())
    hub.stop()
    store.close()


@pytest.mark.usefixtures("each_store")
def test_a_deleted_token_is_not_kept_by_who_looked_it_up_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ServiceStore(tmp_path)
    keeper = Doorkeeper(store)
    token = keeper.new_token("one", ["read"])
    identity = keeper.identity(token)
    assert identity is not None
    keeper._known = {}
    rows, gone = store.rows, threading.Event()

    def late(query: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        found = rows(query, parameters)
        if "WHERE hash" in query and not gone.is_set():
            gone.set()
            assert keeper.delete_token(identity.id)
        return found

    monkeypatch.setattr(store, "rows", late)
    keeper.identity(token)
    assert keeper.identity(token) is None
    store.close()


def test_a_damaged_file_of_rows_is_not_there_now_and_no_mistake(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path / "state")
    store.close()
    path = tmp_path / "state" / "service.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xab" * (len(whole) - 4096))
    store._rows._database = sqlite3.connect(path, isolation_level=None)  # type: ignore[attr-defined]
    for asked in (lambda: store.rows("SELECT * FROM tokens"), lambda: store.audit("a", "b", "c", "d")):
        with pytest.raises(Unavailable, match="mend the disk"):
            asked()
    with pytest.raises(sqlite3.ProgrammingError):
        store.rows("SELECT ?")
    store.close()


def test_a_full_disk_of_the_service_lets_every_session_be_halted(tmp_path: Path) -> None:
    sessions = [Session(tmp_path / name) for name in ("a", "b", "c")]
    service = Service.of([tmp_path], tmp_path / "state", ("operate",))
    api = Within(service, "read", "operate")
    database = service.store._rows._database
    ((pages,),) = database.execute("PRAGMA page_count").fetchall()
    database.execute(f"PRAGMA max_page_count={pages}")
    until(lambda: api("POST", "kill").status_code == 503, 60.0)
    before = [len(left(one.folder / "journal.db")) for one in sessions]
    answer = api("POST", "kill")
    assert answer.status_code == 503
    assert "full" in answer.json()["detail"]
    assert str(tmp_path) not in answer.text
    assert [len(left(one.folder / "journal.db")) for one in sessions] == [n + 1 for n in before]
    assert api("GET", "sessions").status_code == 200
    database.execute("PRAGMA max_page_count=1000000")
    assert api("POST", "kill").status_code == 202
    service.store.close()
    for one in sessions:
        one.close()


def test_what_jobs_and_sessions_ended_with_names_no_folder(tmp_path: Path) -> None:
    service = Service.of([tmp_path], tmp_path / "state", ("jobs",))
    jobs, desired = Jobs(service.store), Desired(service.store)
    job = jobs.ask(JobSpec(kind="train", names=["momentum"]), "anna")
    jobs.claim("one")
    jobs.end(job.id, "one", "FAILED", f"{tmp_path}/runs/x is not there.")
    desired.add("alpha", SupervisedSpec(checkpoint="x"))
    desired.note("alpha", state="FAILED", why=f"{tmp_path}/alpha/journal.db is corrupt.")
    api = Within(service, "read")
    for path in ("jobs", f"jobs/{job.id}", "supervised", "supervised/alpha"):
        answer = api("GET", path)
        assert answer.status_code == 200
        assert str(tmp_path) not in answer.text
        assert "is " in answer.text
    service.store.close()


def test_a_number_of_the_dead_that_stands_in_a_lock_is_no_process(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path / "state")
    supervisor = Supervisor(store, Places([tmp_path]), tmp_path / "sessions", lambda _: None)
    supervisor.desired.add("alpha", SupervisedSpec(checkpoint="x"))
    one = Session(tmp_path / "sessions" / "alpha")
    (row,) = supervisor.desired.all()
    here = supervisor._process(row)
    assert here is not None
    assert (here.pid, here.writes) == (os.getpid(), True)
    note = head_path(one.folder / "journal.db")
    said = note.read_text()
    note.write_text(f"{said[:-11]}{2**22 + 1:010d}\n")  # locked by one that has not noted its own number yet
    assert supervisor._process(row) is None
    one.close()
    supervisor.close()
    store.close()


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1@evil.example/", "http://localhost:x@evil.example", "http://127.0.0.1:80.evil.example",
     "http://127.0.0.1:8765 --orders", "http://127.0.0.1:8765/\n", "https://evil.example#http://127.0.0.1:1"],
)  # fmt: skip
def test_a_rehearsal_exchange_is_on_this_machine_alone(url: str) -> None:
    with pytest.raises(ValidationError, match="this machine"):
        SupervisedSpec(checkpoint="x", url=url)
    assert "--url" in SupervisedSpec(checkpoint="x", url="http://127.0.0.1:8765").options()


def test_keys_of_an_account_go_where_the_user_says_and_not_where_a_checkpoint_does(tmp_path: Path) -> None:
    desired = Desired(ServiceStore(tmp_path))
    with pytest.raises(UserError, match="give exchange too"):
        desired.add("a", SupervisedSpec(checkpoint="x", account="main", orders="testnet"))
    for k, more in enumerate(({"exchange": "binance"}, {"url": "http://127.0.0.1:8765"}, {"orders": "paper"})):
        desired.add(f"a{k}", SupervisedSpec(**{"checkpoint": "x", "account": "main", "orders": "testnet"} | more))


def test_who_is_in_the_wrong_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for argv in (["list"], ["stop", "alpha"], ["start", "alpha"], ["remove", "alpha"]):
        with pytest.raises(UserError, match="--state"):
            supervise.main(argv)
    assert not list(tmp_path.iterdir())
    token.main(["make", "one"])
    assert "new" in capsys.readouterr().err
    token.main(["make", "two"])
    assert not capsys.readouterr().err
    supervise.main(["list"])
    assert "none" in capsys.readouterr().out


def test_a_number_that_another_process_has_by_now_is_not_the_session(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path / "state")
    supervisor = Supervisor(store, Places([tmp_path]), tmp_path / "sessions", lambda _: None)
    supervisor.desired.add("alpha", SupervisedSpec(checkpoint="x"))
    for begun, here in ((_begun(os.getpid()), True), ("1", False)):
        supervisor.desired.note("alpha", pid=os.getpid(), begun=begun)
        assert (supervisor._process(supervisor.desired.one("alpha")) is not None) == here
    with subprocess.Popen(["true"]) as ended:
        until(lambda: Path(f"/proc/{ended.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
        assert _begun(ended.pid) is None
    supervisor.close()
    store.close()


def test_brackets_in_names_and_reasons_are_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Session(tmp_path / "r[" / "x] [red]").close()
    control.main(["--all", str(tmp_path)])
    assert "r[/x] [red]" in capsys.readouterr().err
    status.main([str(tmp_path / "r[" / "x] [red]")])
    assert "x] [red]" in capsys.readouterr().out
    store = ServiceStore(tmp_path / "state")
    Desired(store).add("alpha", SupervisedSpec(checkpoint="x"), "STOPPED")
    Desired(store).note("alpha", state="FAILED", why="refused [/x]")
    store.close()
    supervise.main(["list", "--state", str(tmp_path / "state")])
    assert "refused [/x]" in capsys.readouterr().out


def test_a_clock_that_steps_back_keeps_no_session_down(tmp_path: Path) -> None:
    supervisor = Supervisor(ServiceStore(tmp_path / "state"), Places([tmp_path]), tmp_path / "sessions", print)
    supervisor.desired.add("alpha", SupervisedSpec(checkpoint="x"))
    for due_s, state in ((50.0, "BACKOFF"), (3600.0, "FAILED")):  # tried: there is no such checkpoint
        supervisor.desired.note("alpha", state="BACKOFF", due_ns=time.time_ns() + int(due_s * 1e9))
        supervisor.step()
        assert supervisor.desired.one("alpha").state == state
    supervisor.close()


def test_so_many_starts_are_a_failure_and_one_less_is_not(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path / "state")
    supervisor = Supervisor(store, Places([tmp_path]), tmp_path / "sessions", lambda _: None)
    supervisor.desired.add("alpha", SupervisedSpec(checkpoint="x"))
    now = time.time()
    for starts, state in (([now] * (STARTS - 1), "BACKOFF"), ([now] * STARTS, "FAILED"), ([now - 601] * 9, "BACKOFF")):
        supervisor.desired.note("alpha", state="RUNNING", starts=json.dumps(starts))
        supervisor.step()
        assert supervisor.desired.one("alpha").state == state
    supervisor.close()
    store.close()


@pytest.mark.usefixtures("each_store")
def test_a_job_is_given_back_by_its_worker_alone_and_what_has_ended_is_not_cancelled(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path)
    jobs = Jobs(store)
    asked = jobs.ask(JobSpec(kind="train", names=["momentum"]), "anna")
    jobs.claim("one")
    jobs.release(asked.id, "two")
    held = jobs.one(asked.id)
    assert held is not None
    assert (held.state, held.worker) == ("RUNNING", "one")
    assert jobs.end(asked.id, "one", "DONE")
    ended = jobs.cancel(asked.id)
    assert ended is not None
    assert (ended.state, ended.cancel) == ("DONE", False)
    store.close()
