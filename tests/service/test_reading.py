"""What a service shows of sessions: as their journals have it, live, and nothing else of the machine."""

from __future__ import annotations

import csv
import io
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from experiments import status
from qframe_rl.config import canonical
from qframe_rl.journal.inbox import Adoption, adopt_word, order, transfer_word
from qframe_rl.service.client import ServiceClient
from qframe_rl.service.places import Places
from qframe_rl.service.projection import Figures
from qframe_rl.service.store import MIGRATIONS, ServiceStore
from tests.service.places import HOUR, START, Served, Session, equity, liquidated, served, until

N = 300


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def session(root: Path) -> Iterator[Session]:
    one = Session(root / "paper" / "alpha")
    one.bar(N)
    yield one
    one.close()


@pytest.fixture(scope="module")
def service(root: Path, session: Session) -> Iterator[Served]:
    with served(root) as running:
        yield running


@pytest.fixture(scope="module")
def api(service: Served) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def test_a_session_is_shown_as_its_journal_says(api: httpx.Client, session: Session) -> None:
    (one,) = api.get("/sessions").json()
    assert one["id"] == session.id
    assert one == api.get(f"/sessions/{session.id}").json()
    assert (one["name"], one["state"], one["running"], one["agent"]) == ("paper/alpha", "ACTIVE", True, "momentum")
    assert one["equity"] == 10_000.0 + equity(session.bars)
    assert one["time_ns"] == str(START + session.bars * 3_600_000_000_000)
    assert one["position"] == [10.0, 400.0 + session.bars]


def test_what_moves_is_seen_at_once(api: httpx.Client, session: Session) -> None:
    for _ in range(5):
        session.bar()
        until(lambda: api.get(f"/sessions/{session.id}").json()["bars"] == session.bars, 3.0)


def test_equity_is_that_of_the_journal_and_no_fall_is_lost(api: httpx.Client, session: Session) -> None:
    place = f"/sessions/{session.id}/equity"
    every = api.get(place, params={"points": 5000}).json()
    assert [row["equity"] for row in every] == [10_000.0 + equity(n) for n in range(session.bars + 1)]
    assert every[1]["gross"] == pytest.approx((10.0 * 100.0 + 401.0 * 10.0) / (10_000.0 + equity(1)))
    thin = api.get(place, params={"points": 40}).json()
    assert len(thin) <= 40
    assert thin[0] == every[0]
    assert thin[-1] == every[-1]
    assert min(row["equity"] for row in thin) == min(row["equity"] for row in every)
    part = api.get(place, params={"since": every[10]["time_ns"], "until": every[20]["time_ns"]}).json()
    assert part == every[10:21]


def test_fills_are_each_there_once_however_they_are_asked_for(api: httpx.Client, session: Session) -> None:
    found: list[dict[str, Any]] = []
    after = 0
    while got := api.get(f"/sessions/{session.id}/fills", params={"after": after, "limit": 7}).json():
        found += got
        after = got[-1]["seq"]
    assert len(found) == session.bars
    assert [one["seq"] for one in found] == sorted({one["seq"] for one in found})
    assert found[0] | {"seq": 0, "time_ns": ""} == {
        "seq": 0, "time_ns": "", "symbol": "BTC/USDT", "quantity": 0.5, "price": 100.0, "fee": 0.05,
        "cost": pytest.approx(0.06), "forced": False,
    }  # fmt: skip


def test_what_the_venue_closed_is_a_fill_and_rows_of_an_earlier_version_get_it(tmp_path: Path) -> None:
    one = Session(tmp_path / "root" / "alpha")
    one.bar(2)
    liquidated(one)
    store = ServiceStore(tmp_path / "state")
    found = Places([tmp_path / "root"]).sessions()[one.id]
    told = Figures(store).fills(found, 0, 100)
    *_, own, out = told
    assert [fill["forced"] for fill in told] == [False, False, False, True]
    assert own["seq"] == out["seq"]
    assert (out["symbol"], out["quantity"], out["price"]) == ("BTC/USDT", -10.5, 90.0)
    assert own["fee"] + out["fee"] == 9.95
    assert Figures(store).newest_fills(found, 1) == [out]
    with store.writing() as database:  # as an earlier version left it
        database.execute("DELETE FROM fills WHERE quantity < 0")
        for statement in MIGRATIONS[-1].split(";")[:1]:
            database.execute(statement)
    assert Figures(store).fills(found, 0, 100) == told
    store.close()
    one.close()


def test_fills_come_as_a_csv_with_cost_basis(api: httpx.Client, session: Session) -> None:
    said = api.get(f"/sessions/{session.id}/fills.csv")
    assert said.status_code == 200
    assert said.headers["content-type"].startswith("text/csv")
    assert said.headers["content-disposition"] == f'attachment; filename="fills-{session.id}.csv"'
    rows = list(csv.DictReader(io.StringIO(said.text, newline="")))
    assert [row["kind"] for row in rows[:2]] == ["opening", "opening"]
    fills = api.get(f"/sessions/{session.id}/fills", params={"limit": 1000}).json()
    told = [row for row in rows if row["kind"] == "fill"]
    assert [(int(row["seq"]), row["symbol"], float(row["quantity"]), float(row["fee"])) for row in told] == [
        (one["seq"], one["symbol"], one["quantity"], one["fee"]) for one in fills
    ]
    assert api.get(f"/sessions/{'0' * 16}/fills.csv").status_code == 404


def test_events_decisions_and_orders_come_in_their_order(api: httpx.Client, session: Session) -> None:
    place = f"/sessions/{session.id}"
    first = api.get(f"{place}/events", params={"limit": 3}).json()
    assert [(one["seq"], one["kind"]) for one in first] == [(1, "session"), (2, "process"), (3, "started")]
    bars = api.get(f"{place}/events", params={"kinds": "bar", "limit": 2, "after": 10}).json()
    assert [one["kind"] for one in bars] == ["bar", "bar"]
    assert bars[0]["seq"] > 10
    newest = api.get(f"{place}/decisions", params={"limit": 5}).json()
    assert [one["seq"] for one in newest] == sorted((one["seq"] for one in newest), reverse=True)
    older = api.get(f"{place}/decisions", params={"limit": 5, "before": newest[-1]["seq"]}).json()
    assert older[0]["seq"] < newest[-1]["seq"]
    assert api.get(f"{place}/orders", params={"limit": 5}).json() == newest
    assert api.get(f"{place}/alerts").json() == []


def test_money_that_moves_is_a_command_with_its_outcome(api: httpx.Client, session: Session) -> None:
    """Once it was told beside commands it stood there as asked for ever."""
    journal = session.folder / "journal.db"
    asked = [
        order(journal, transfer_word("t-1", 50_000_000_000)),
        order(journal, adopt_word(Adoption("a-1", 50_000_000, "BTC/USDT", 6_000_000_000_000))),
        order(journal, adopt_word(Adoption("a-2", -100_000_000))),
    ]
    place = f"/sessions/{session.id}/commands"
    assert [(one["word"], one["obeyed"]) for one in api.get(place).json()] == [
        ("adopt -1.00", None), ("adopt 0.50 BTC/USDT at 60,000.00", None), ("transfer 500.00", None),
    ]  # fmt: skip
    session.put("transfer", id="t-1", units=50_000_000_000, by="command", number=asked[0])
    session.put("transferred", time=START, id="t-1", units=50_000_000_000, state="SETTLED")
    coins = {"units": 50_000_000, "symbol": "BTC/USDT", "price": 6_000_000_000_000}
    seq = session.put("adopt", id="a-1", **coins, by="command", number=asked[1])
    session.put("transferred", time=START, id="a-1", units=1, state="REFUSED", why="it trades nothing")
    session.writer.commit(canonical(session.pulse()))
    cash, coin, paid = api.get(place).json()
    assert (cash["obeyed"], coin["obeyed"], coin["refused"]) == (None, seq, "it trades nothing")
    assert (paid["word"], paid["refused"], paid["by"]) == ("transfer 500.00", None, "command")
    assert paid["asked_ns"] is not None


def test_shadows_and_models_stand_in_the_summary(api: httpx.Client, service: Served, session: Session) -> None:
    shadow = {
        "answer": "ahead", "bars": 9, "mean": 1e-4, "low": 1e-5, "high": 2e-4, "gone": False, "log_evidence": 5.0,
    }  # fmt: skip
    model = {"number": 2, "time": START, "until": START - HOUR, "state": "late", "reason": "under way still"}
    session.writer.commit(canonical(session.pulse() | {"shadows": {"mean_reversion": shadow}, "refit": model}))
    until(lambda: api.get(f"/sessions/{session.id}").json()["shadows"], 5.0)  # a second old at most
    one = api.get(f"/sessions/{session.id}").json()
    assert one["shadows"] == {"mean_reversion": {k: v for k, v in shadow.items() if k != "log_evidence"}}
    assert one["model"] == {
        "number": 2, "state": "late", "time_ns": str(START), "until_ns": str(START - HOUR), "digest": "",
        "reason": "under way still",
    }  # fmt: skip
    with ServiceClient(service.url, service.token("read")) as client:
        (told,) = (status._told(one) for one in client.sessions())
    assert told["refit"]["until"] == START - HOUR
    assert told["shadows"]["mean_reversion"]["answer"] == "ahead"


@pytest.mark.parametrize(
    "path",
    [
        "sessions/0123456789abcdef", "sessions/../../etc/passwd", "sessions/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "sessions//etc/passwd", "sessions/alpha", "sessions/%00", "runs/..%2f..%2fetc/report", "runs/x/report",
        "checkpoints/%2e%2e", "checkpoints/a%00b", "nothing",
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(api: httpx.Client, path: str) -> None:
    answer = api.get(f"{api.base_url}{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) >= {"type", "title", "status", "detail"}


def test_a_link_out_of_the_root_is_not_followed(root: Path, api: httpx.Client, tmp_path: Path) -> None:
    outside = tmp_path / "secretrun"
    outside.mkdir()
    (outside / "study.json").write_text('{"secret": 1}')
    (root / "secretrun").symlink_to(outside)
    inside = root / "linked"
    inside.mkdir()
    (inside / "study.json").symlink_to(outside / "study.json")
    (root / "known").mkdir()
    (root / "known" / "study.json").write_text('{"open": 1}')
    until(lambda: any(one["id"] == "known" for one in api.get("/runs").json()))
    assert {one["id"] for one in api.get("/runs").json()} == {"known"}
    assert api.get("/runs/secretrun/report").status_code == 404
    (root / "known" / "choice.json").symlink_to(outside / "study.json")
    assert api.get("/runs/known/report").json() == {"id": "known", "kind": "study", "study": {"open": 1}}


def test_a_spoiled_journal_is_shown_as_broken_and_the_others_go_on(
    root: Path, api: httpx.Client, session: Session, service: Served
) -> None:
    one = Session(root / "spoiled")
    one.bar(3)
    spoiled = one.id
    one.close()
    until(lambda: len(api.get("/sessions").json()) == 2)
    database = sqlite3.connect(root / "spoiled" / "journal.db")
    database.execute("DROP TRIGGER no_update")
    database.execute("UPDATE events SET payload = '{\"account\": 1}' WHERE seq = 6")
    database.execute("INSERT INTO events SELECT max(seq) + 1, 1, 'bar', '{}', x'00' FROM events")
    database.commit()
    database.close()
    until(lambda: api.get(f"/sessions/{spoiled}").json()["state"] == "broken")
    said = api.get(f"/sessions/{spoiled}").json()["ill"]
    assert "is corrupt" in said
    assert str(root) not in said
    answer = api.get(f"/sessions/{spoiled}/equity")
    assert answer.status_code == 422
    assert str(root) not in answer.text
    session.bar()
    until(lambda: api.get(f"/sessions/{session.id}").json()["bars"] == session.bars, 3.0)
    shutil.rmtree(root / "spoiled")


def test_runs_and_checkpoints_are_shown(root: Path, api: httpx.Client) -> None:
    shipped = Path(__file__).parents[2] / "checkpoints" / "funding_arbitrage"
    shutil.copytree(shipped, root / "kept" / "carry")
    (root / "kept" / "spoiled").mkdir()
    (root / "kept" / "spoiled" / "checkpoint.json").write_text("{")
    until(lambda: len(api.get("/checkpoints").json()) == 2)
    shown = {one["id"]: one for one in api.get("/checkpoints").json()}
    assert (shown["carry"]["agent"], shown["carry"]["market"]) == ("funding_arbitrage", "funding")
    assert shown["spoiled"]["broken"]
    assert api.get("/checkpoints/carry").json()["agent"]["name"] == "funding_arbitrage"
    assert api.get("/checkpoints/spoiled").status_code == 422


def test_the_catalogue_has_schemas_and_the_process_stays_light(api: httpx.Client, service: Served) -> None:
    named = {one["name"]: one for one in api.get("/strategies", timeout=120.0).json()}
    assert named["momentum"]["schema"]["properties"]
    assert any(one["problem"] for one in api.get("/markets").json())
    maps = Path(f"/proc/{service.process.pid}/maps").read_text()
    for heavy in ("torch", "numba", "llvmlite", "/ray/"):
        assert heavy not in maps


def test_a_page_says_what_there_is(service: Served) -> None:
    answer = httpx.get(f"{service.url}/docs")
    assert "/api/v1/sessions/{session}/commands" in answer.text
    assert "<script" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers
