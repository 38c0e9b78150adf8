"""The client of programs, `status --url`, the door's mistakes, and a document that holds what it says."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import httpx
import pytest
import schemathesis

from experiments import serve, status, token
from qframe_rl.config import Unavailable, UserError
from qframe_rl.service import client as client_module
from qframe_rl.service import research_client
from qframe_rl.service.app import create_app
from qframe_rl.service.client import VARIABLE, ServiceClient
from qframe_rl.service.wiring import Service
from tests.service.places import ROOT, Served, Session, start, until


def test_a_program_sees_and_commands(service: Served, session: Session) -> None:
    with ServiceClient(service.url, service.token("read", "operate")) as client:
        assert client.health().ok
        assert client.me().scopes == ["operate", "read"]
        (one,) = client.sessions()
        assert one == client.session(session.id)
        assert len(client.equity(session.id)) == session.bars + 1
        assert len(list(client.fills(session.id))) == session.bars
        asked = client.command(session.id, "halt", key="once")
        assert asked.obeyed is None
        assert client.command(session.id, "halt", key="once").number == asked.number
        seq = session.put("command", word="halt", by="inbox", number=int(asked.number))
        session.writer.commit()
        assert client.command(session.id, "halt", wait_s=10.0, key="once").obeyed == seq
        with pytest.raises(UserError, match="no such session"):
            client.session("0" * 16)
        with pytest.raises(UserError, match="lacks the scope trade"):
            client.command(session.id, "resume")


def test_it_has_every_route_that_a_reader_may_ask(tmp_path: Path) -> None:
    """But for the bars of the store, what stands in files, and who may do what."""
    it = Service.of([tmp_path], tmp_path / "state", (), None, None)
    asked = {path.removeprefix("/api/v1") for path, ways in create_app(it).openapi()["paths"].items() if "get" in ways}
    it.store.close()
    known = set()
    for module in (client_module, research_client):
        known |= set(re.findall(r'"GET", f?"(/[^"]*)"', inspect.getsource(module)))
    elsewhere = {
        "/bars", "/sessions/{session}/report", "/portfolios/{portfolio}/report", "/portfolios/{portfolio}/report.pdf",
        "/runs/{run}/report.html", "/runs/{run}/report.pdf", "/runs/{run}/report", "/supervised", "/supervised/{name}",
        "/tokens", "/users", "/audit", "/sessions/{session}/decisions", "/sessions/{session}/orders",
        "/sessions/{session}/alerts", "/portfolios/{portfolio}/positions", "/portfolios/{portfolio}/ledger",
        "/checkpoints/{checkpoint}",
    }  # fmt: skip
    assert asked - known == elsewhere


def test_a_stream_is_taken_up_where_it_broke(tmp_path: Path) -> None:
    one = Session(tmp_path / "a")
    service = start(tmp_path)
    port = int(service.url.rpartition(":")[2])
    with ServiceClient(service.url, service.token()) as client:
        events = client.events(kinds=["settled"])
        assert next(events).kind == "hello"
        one.bar()
        seen = [next(events)]
        service.stop()
        one.bar(3)
        again = start(tmp_path, port=port)
        seen += islice(events, 3)
        assert [event.data["data"]["time"] for event in seen] == sorted({e.data["data"]["time"] for e in seen})
        assert len(seen) == 4
        events.close()  # type: ignore[attr-defined]
        again.stop()
        with pytest.raises(Unavailable, match="does not answer"):
            client.health()
    one.close()


def test_a_stream_that_is_not_given_now_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [
        httpx.Response(503, json={"detail": "the store does not answer."}),
        httpx.Response(200, text='id: c1\nevent: hello\ndata: {"v": 1}\n\n'),
        httpx.Response(401, json={}),
    ]
    monkeypatch.setattr("qframe_rl.service.client.time.sleep", lambda seconds: None)
    with ServiceClient("http://127.0.0.1:1", "token") as client:
        transport = httpx.MockTransport(lambda request: said.pop(0))
        client._http = httpx.Client(base_url="http://test", transport=transport)
        events = client.events()
        assert next(events).cursor == "c1"
        with pytest.raises(UserError, match="401"):
            next(events)


def test_status_asks_a_service(
    service: Served, session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UserError, match=VARIABLE):
        status.main(["--url", service.url])
    monkeypatch.setenv(VARIABLE, service.token())
    said = status.main(["--url", service.url, "--json"])
    assert said is not None
    (one,) = said["sessions"]
    assert (one["session"], one["bars"], one["state"]) == ("alpha", session.bars, "ACTIVE")
    status.main(["--url", service.url])
    assert "ACTIVE" in capsys.readouterr().out
    for argv in ([], ["--url", service.url, str(session.folder)]):
        with pytest.raises(UserError, match="one of the two"):
            status.main(argv)


@pytest.mark.parametrize("body", [b"<html></html>", b"{}", b'{"a": 1}', b'[{"x": 1}]', b"[1]"])
def test_another_server_than_a_service_is_told_from_one(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with ServiceClient("http://127.0.0.1:1", "x") as client:
        monkeypatch.setattr(client, "_http", httpx.Client(
            base_url="http://h", transport=httpx.MockTransport(lambda request: httpx.Response(200, content=body))
        ))  # fmt: skip
        with pytest.raises(UserError, match="look at the address"):
            client.sessions()


def test_what_is_no_address_or_no_token_is_said() -> None:
    with pytest.raises(UserError, match="no address of a service"):
        ServiceClient("http://[::1", "x")
    with pytest.raises(UserError, match="no token of a service"):
        ServiceClient("http://127.0.0.1:1", "tökén")


def test_the_token_door_makes_lists_and_deletes(
    service: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ["--state", str(service.state)]
    said = token.main(["make", "robot", "--scopes", "read,operate", "--json", *state])
    assert said is not None
    with ServiceClient(service.url, said["token"]) as client:
        assert client.me().name == "robot"
        listed = token.main(["list", "--json", *state])
        assert listed is not None
        (one,) = (one for one in listed["tokens"] if one["name"] == "robot")
        token.main(["delete", one["id"], *state])
        with pytest.raises(UserError, match="give a token"):
            until(lambda: not client.me(), 5.0)  # another process deleted it: known a moment later
    monkeypatch.setenv("QFRAME_SERVICE_PASSWORD", "a long password")
    token.main(["user", "carla", "--scopes", "read", *state])
    answer = httpx.post(f"{service.url}/api/v1/login", json={"name": "carla", "password": "a long password"})
    assert answer.status_code == 204
    token.main(["delete-user", "carla", *state])
    token.main(["list", *state])
    assert "carla" not in capsys.readouterr().out.splitlines()[-1]
    for argv, said_so in (
        (["make", *state], "Give a name"),
        (["make", "X!", *state], "1 to 64"),
        (["make", "x", "--scopes", "reed", *state], "did you mean"),
        (["make", "x", "--scopes", ",", *state], "at least one scope"),
        (["delete", "x", *state], "no token"),
        (["user", "x", "--portfolios", "main", *state], "--portfolios is for make; user does not read it"),
        (["user", "x", "--hours", "5", *state], "--hours is for make; user does not read it"),
        (["list", "--state", "/nowhere"], "is not there"),
    ):
        with pytest.raises(UserError, match=said_so):
            token.main(argv)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--root", "/nowhere"], "--root: /nowhere is no folder"),
        (["--allow", "operat"], "did you mean"),
        (["--host", "0.0.0.0"], "--behind-proxy"),
        (["--tls-cert", "x.pem"], "belong together"),
        (["--data", "/nowhere"], "no folder"),
        (["--port", "70000"], "70000"),
    ],
)
def test_a_mistake_is_one_sentence(argv: list[str], said: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.serve", *argv], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs" / ".service").exists()


def test_a_port_that_is_taken_is_said_so(service: Served, tmp_path: Path) -> None:
    port = service.url.rpartition(":")[2]
    with pytest.raises(UserError, match=f"{port} cannot be listened on"):
        serve.main(["--root", str(tmp_path), "--port", port])


@pytest.mark.long
def test_the_document_holds_what_it_says(service: Served, session: Session, tmp_path: Path) -> None:
    """Hundreds of requests made of the document itself: no answer is a mistake of the service."""
    headers = {"authorization": f"Bearer {service.token('read', 'operate', 'trade', 'jobs')}"}
    argv = [
        str(Path(sys.executable).parent / "schemathesis"), "run", f"{service.url}/api/v1/openapi.json",
        "--header", f"authorization: {headers['authorization']}", "--checks", "not_a_server_error",
        "--max-examples", "15", "--phases", "examples,coverage,fuzzing", "--seed", "1", "--workers", "1",
        "--exclude-path", "/api/v1/events", "--request-timeout", "60",
    ]  # fmt: skip
    assert schemathesis.__version__
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[: done.stdout.find("WARNINGS")][-6000:]
    until(lambda: httpx.get(f"{service.url}/api/v1/health").json()["ok"])
    assert json.loads(httpx.get(f"{service.url}/api/v1/openapi.json").text)["info"]["title"] == "QFrame RL"
