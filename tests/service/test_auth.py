"""Who may do what: every route walked by scope, guessing, forged pages, and nothing secret left lying about."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from qframe_rl.config import UserError, canonical
from qframe_rl.service import reading
from qframe_rl.service.app import ROUTERS, create_app
from qframe_rl.service.auth import SCOPES, Doorkeeper
from qframe_rl.service.store import MIGRATIONS, NAME, VARIABLE, ServiceStore
from qframe_rl.service.stream import StreamListener
from qframe_rl.service.wiring import Service
from tests.service.conftest import PASSWORD
from tests.service.places import Served, Session, served, start

OPEN = {"/api/v1/health", "/api/v1/login"}
OF_ADMIN = {"/api/v1/tokens", "/api/v1/users", "/api/v1/audit"}
ANYBODY = {"/api/v1/me", "/api/v1/logout"}


@pytest.fixture(scope="module")
def service(
    stores: str | None, root: Path, session: Session, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    state = tmp_path_factory.mktemp("state")
    env = {} if stores is None else {VARIABLE: stores}
    with served(root, "--allow", "operate,trade,jobs", "--state", str(state), env=env) as running:
        running.state, running.store = state, stores
        yield running


def routes(tmp_path: Path) -> list[tuple[str, str, str | None]]:
    """Method, path and scope of every route."""
    service = Service.of([tmp_path], tmp_path / "state")
    document = create_app(service).openapi()
    service.store.close()
    found = []
    for route in (route for router in ROUTERS for route in router.routes):
        assert isinstance(route, APIRoute)
        scopes = [getattr(d.call, "scope", None) for d in route.dependant.dependencies]
        (method,) = route.methods
        found.append((method, route.path, next((s for s in scopes if s), None)))
    assert {(m.upper(), path) for path, methods in document["paths"].items() for m in methods} == {
        (method, path) for method, path, _ in found
    }
    return found


def test_every_route_asks_for_its_scope_and_no_more(service: Served, session: Session, tmp_path: Path) -> None:
    walked = routes(tmp_path)
    assert len(walked) > 25
    for method, path, scope in walked:
        url = service.url + path.format(
            session=session.id, run="x", checkpoint="x", token="x", name="x", job="x", portfolio="x"
        )  # fmt: skip
        if path in OPEN:
            assert scope is None
            continue
        assert httpx.request(method, url).status_code == 401, path
        assert httpx.request(method, url, headers={"authorization": "Bearer qfr_guess"}).status_code == 401, path
        if path in ANYBODY:
            continue
        assert scope in SCOPES, path
        assert (scope == "read") == (
            method == "GET" and path not in ("/api/v1/tokens", "/api/v1/users", "/api/v1/audit")
        )
        with service.client(*(other for other in SCOPES if other != scope)) as lacking:
            answer = lacking.request(method, url, json={})
            assert answer.status_code == 403, path
            assert answer.json()["needs"] == scope


def test_a_service_that_allows_nothing_is_read_only_whatever_a_token_may(root: Path, session: Session) -> None:
    inbox = root / "alpha" / "inbox.db"
    before = inbox.read_bytes() if inbox.exists() else b""
    with served(root, "--state", str(root / "other")) as running:
        running.state = root / "other"
        with running.client("read", "operate", "trade", "admin") as api:
            for word in ("halt", "flatten", "reduce", "resume"):
                answer = api.post(f"/sessions/{session.id}/commands", json={"word": word})
                assert answer.status_code == 403
                assert answer.json()["needs_allow"] == "operate"
            assert api.get("/me").json()["scopes"] == ["admin", "read"]
            assert api.get("/tokens").status_code == 200
    assert (inbox.read_bytes() if inbox.exists() else b"") == before


def test_a_browser_logs_in_and_only_its_own_page_may_change_anything(service: Served, session: Session) -> None:
    with service.client("admin") as admin:
        assert admin.post("/users", json={"name": "anna", "password": "short", "scopes": ["read"]}).status_code == 422
        body = {"name": "anna", "password": PASSWORD, "scopes": ["read", "operate", "trade"]}
        assert admin.post("/users", json=body).status_code == 201
    with httpx.Client(base_url=f"{service.url}/api/v1") as browser:
        wrong = browser.post("/login", json={"name": "anna", "password": "wrong"})
        assert wrong.status_code == 401
        answer = browser.post("/login", json={"name": "anna", "password": PASSWORD})
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"].lower()
        for word in ("httponly", "samesite=strict", "path=/"):
            assert word in cookie
        assert browser.get("/me").json()["name"] == "anna"
        place = f"/sessions/{session.id}/commands"
        for headers in ({}, {"origin": "http://evil.example"}, {"origin": "null"}):
            assert browser.post(place, json={"word": "halt"}, headers=headers).status_code == 403
        own = {"origin": service.url}
        assert browser.post(place, json={"word": "reduce"}, headers=own).status_code == 202
        for body in ({"word": "resume"}, {"word": "resume", "password": "wrong"}):
            assert browser.post(place, json=body, headers=own).status_code == 403
        assert browser.post(place, json={"word": "resume", "password": PASSWORD}, headers=own).status_code == 202
        token = browser.cookies["qframe"]
        assert httpx.get(f"{service.url}/api/v1/me", headers={"authorization": f"Bearer {token}"}).status_code == 401
        assert browser.post("/logout", headers=own).status_code == 204
        assert httpx.get(f"{service.url}/api/v1/me", cookies={"qframe": token}).status_code == 401


def test_guessing_is_slow(service: Served) -> None:
    with httpx.Client(base_url=f"{service.url}/api/v1") as guesser:
        answers = [guesser.post("/login", json={"name": "bert", "password": f"guess {n}"}) for n in range(60)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 55
    assert 0 < int(refused[-1].headers["retry-after"]) <= 61


def test_commands_are_left_once_for_a_key_and_obeyed_when_the_journal_says_so(
    service: Served, session: Session
) -> None:
    place = f"/sessions/{session.id}/commands"
    with service.client("read", "operate") as api, service.client("read", "operate") as other:
        before = len(api.get(place).json())
        asked = [
            api.post(place, json={"word": "halt"}, headers={"idempotency-key": "k1"}) for _ in range(3)
        ]  # fmt: skip
        assert [answer.status_code for answer in asked] == [202] * 3
        assert len({answer.json()["number"] for answer in asked}) == 1
        assert api.post(place, json={"word": "reduce"}, headers={"idempotency-key": "k1"}).status_code == 422
        assert other.post(place, json={"word": "halt"}, headers={"idempotency-key": "k1"}).status_code == 202
        told = api.get(place).json()
        assert len(told) == before + 2
        assert told[1]["number"] == asked[0].json()["number"]
        assert told[1]["obeyed"] is None
        seq = session.put("command", word="halt", by="inbox", number=int(told[0]["number"]))
        session.writer.commit()
        newest = api.get(place).json()[0]
        assert (newest["word"], newest["obeyed"], newest["by"]) == ("halt", seq, "inbox")
        assert newest["asked_ns"] is not None
        assert int(newest["obeyed_at_ns"]) % 3_600_000_000_000 == 0
        for body in ({"word": "HALT"}, {"word": "halt", "more": 1}, {}, [], "halt", None):
            assert api.post(place, json=body).status_code == 422
        assert api.post(place, content=b"{").status_code == 422


def test_one_instrument_is_closed_and_released_by_its_symbol(service: Served, session: Session) -> None:
    place = f"/sessions/{session.id}/commands"
    with service.client("read", "operate") as api:
        told = api.post(place, json={"word": "flatten", "symbol": "BTC/USDT"})
        assert (told.status_code, told.json()["word"]) == (202, "flatten BTC/USDT")
        assert api.get(place).json()[0]["word"] == "flatten BTC/USDT"
        number = int(told.json()["number"])
        seq = session.put("command", word="flatten", symbol="BTC/USDT", by="command", number=number)
        session.writer.commit(canonical(session.pulse() | {"locked": ["BTC/USDT"]}))
        newest = api.get(place).json()[0]
        assert (newest["word"], newest["obeyed"]) == ("flatten BTC/USDT", seq)
        assert api.get(f"/sessions/{session.id}").json()["locked"] == ["BTC/USDT"]
        for word, symbol, why in (
            ("flatten", "X/USDT", "it trades BTC/USDT, ETH/USDT"), ("halt", "BTC/USDT", "for the whole session"),
        ):  # fmt: skip
            refused = api.post(place, json={"word": word, "symbol": symbol})
            assert refused.status_code == 422
            assert why in refused.text
        assert api.post(place, json={"word": "resume", "symbol": "BTC/USDT"}).status_code == 403, "it may raise risk"


def test_kill_tells_every_session(service: Served, session: Session) -> None:
    with service.client("read", "operate") as api:
        answer = api.post("/kill")
        assert answer.status_code == 202
        assert [one["session"] for one in answer.json()["told"]] == [session.id]
        assert api.get(f"/sessions/{session.id}/commands").json()[0]["word"] == "halt"


def test_a_body_is_bounded(service: Served, session: Session) -> None:
    with service.client("read", "operate") as api:
        place = f"/sessions/{session.id}/commands"
        assert api.post(place, json={"word": "halt", "x": "y" * 70_000}).status_code == 413
        pieces = (b" " * 10_000 for _ in range(10))
        assert api.post(place, content=pieces, headers={"content-type": "application/json"}).status_code == 413


def test_admin_sees_who_did_what_and_no_secret(service: Served, session: Session) -> None:
    with service.client("admin", "read") as admin:
        made = admin.post("/tokens", json={"name": "grafana", "scopes": ["read"], "hours": 1}).json()["token"]
        assert admin.post("/tokens", json={"name": "x", "scopes": ["root"]}).status_code == 422
        assert admin.post("/tokens", json={"name": "../x", "scopes": ["read"]}).status_code == 422
        with httpx.Client(base_url=f"{service.url}/api/v1", headers={"authorization": f"Bearer {made}"}) as api:
            assert api.get("/sessions").status_code == 200
            (listed,) = (one for one in admin.get("/tokens").json() if one["name"] == "grafana")
            assert admin.delete(f"/tokens/{listed['id']}").status_code == 204
            assert api.get("/sessions").status_code == 401
        assert admin.delete(f"/tokens/{listed['id']}").status_code == 404
        audit = admin.get("/audit").json()
    assert {"make token", "delete token", "halt", "login"} <= {one["what"] for one in audit}
    if service.store is None:
        kept = (service.state / NAME).read_bytes() + (service.state / f"{NAME}-wal").read_bytes()
    else:
        store = ServiceStore(service.state, service.store)
        tables = ("users", "tokens", "audit", "replies")
        kept = repr([store.rows(f"SELECT * FROM {table}") for table in tables]).encode()
        store.close()
    for secret in (made, PASSWORD):
        assert secret.encode() not in kept
        assert secret not in json.dumps(audit)


def test_the_first_token_is_told_once_and_in_a_file_of_its_owner(tmp_path: Path) -> None:
    one = start(tmp_path)
    place = tmp_path / ".service" / "first-token"
    token = place.read_text().strip()
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / ".service" / NAME).stat().st_mode) == 0o600
    me = httpx.get(f"{one.url}/api/v1/me", headers={"authorization": f"Bearer {token}"}).json()
    assert me["scopes"] == ["read"]
    assert httpx.get(f"{one.url}/api/v1/sessions?token={token}").status_code == 401
    said = one.stop()
    assert one.process.returncode == 0
    assert token not in said
    place.unlink()
    again = start(tmp_path)
    assert not place.exists()
    again.stop()


@pytest.mark.usefixtures("each_store")
def test_a_token_ends(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path)
    keeper = Doorkeeper(store)
    brief, lasting = keeper.new_token("a", ["read"], 1e-9), keeper.new_token("b", ["read"], 1.0)
    assert keeper.identity(brief) is None
    assert keeper.identity(lasting) is not None
    assert keeper.identity("") is None
    (_, other) = keeper.tokens()
    second = ServiceStore(tmp_path)
    Doorkeeper(second).delete_token(other["id"])
    assert keeper.identity(lasting) is None, "another process deleted it"
    second.close()
    store.close()


@pytest.mark.usefixtures("each_store")
def test_another_password_ends_what_was_logged_in(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path)
    keeper = Doorkeeper(store, ["operate"])
    keeper.new_user("anna", PASSWORD, ["read", "operate", "trade"])
    token = keeper.login("anna")
    found = keeper.identity(token)
    assert found is not None
    assert found.scopes == {"read", "operate"}
    assert keeper.right_password("anna", PASSWORD)
    assert not keeper.right_password("anna", PASSWORD + " ")
    assert not keeper.right_password("nobody", PASSWORD)
    keeper.new_user("anna", PASSWORD + "!", ["read"])
    assert keeper.identity(token) is None
    store.close()


@pytest.mark.parametrize("how", ["deleted", "too old"])
def test_a_stream_ends_with_its_token(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HEARTBEAT_S", 0.001)
    monkeypatch.setattr(reading, "_ASKED_S", 0.0)
    service = Service.of([tmp_path], tmp_path / "state")
    token = service.keeper.new_token("a", ["read"])
    identity = service.keeper.identity(token)
    assert identity is not None
    service.streams["a"] = 1

    async def heard() -> list[bytes]:
        listener = StreamListener(frozenset(), frozenset(), lambda: None)
        blocks = reading._blocks(service, "a", listener, None, token)
        begun = [await anext(blocks), await anext(blocks)]
        if how == "deleted":
            service.keeper.delete_token(identity.id)
        else:
            with service.store.writing() as database:
                database.execute("UPDATE tokens SET expires_ns = 1")
            service.keeper._known = {}
        async with asyncio.timeout(20.0):
            return begun + [one async for one in blocks]

    assert asyncio.run(heard())[0].startswith(b"retry: 2000")
    assert service.streams["a"] == 0
    service.store.close()


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / NAME).write_text("not a database, but long enough to be looked at as if it were one" * 20)
    with pytest.raises(UserError, match="no database of the service"):
        ServiceStore(tmp_path / "a")
    import sqlite3

    (tmp_path / "b").mkdir()
    with sqlite3.connect(tmp_path / "b" / NAME) as database:
        database.execute("CREATE TABLE theirs (x)")
    with pytest.raises(UserError, match="put it aside"):
        ServiceStore(tmp_path / "b")
    store = ServiceStore(tmp_path / "c")
    with store.writing() as ours:
        ours.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    store.close()
    with pytest.raises(UserError, match="later version"):
        ServiceStore(tmp_path / "c")
