"""Points in InfluxDB: version 1 against Debian's own server, version 2 by its documented wire on a loopback server."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from experiments import relay
from qframe_rl.config import UserError
from qframe_rl.journal.store import JournalEvent
from qframe_rl.relay.influx import InfluxTarget, SessionPoints
from qframe_rl.relay.pump import Pump
from qframe_rl.relay.queue import RedisSource, RedisTarget
from tests.relay.test_relay import drained, journals
from tests.servers import TestServer, influxdb
from tests.service.places import ROOT, Session, equity, liquidated, until

WORD = "s3cret-word"
MEASUREMENTS = ("equity", "fills", "decisions", "drift", "states")


@pytest.fixture(scope="module")
def influx() -> Iterator[TestServer]:
    one = influxdb()
    yield one
    one.close()


Open = Callable[[str, Path], InfluxTarget]


@pytest.fixture
def opened() -> Iterator[Open]:
    made: list[InfluxTarget] = []

    def one(url: str, folder: Path) -> InfluxTarget:
        made.append(InfluxTarget(url, folder))
        return made[-1]

    yield one
    for target in made:
        target.close()


class Asked:
    """Answers of a database, as lists of records by measurement."""

    def __init__(self, server: TestServer, database: str):
        self.url, self.database = f"http://127.0.0.1:{server.port}", database

    def __call__(self, query: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/query", params={"db": self.database, "q": query, "epoch": "ns"}).json()
        assert "error" not in json.dumps(answer), answer
        return [
            dict(zip(one["columns"], row, strict=True)) | one.get("tags", {})
            for one in answer["results"][0].get("series", ()) for row in one["values"]
        ]  # fmt: skip

    def counts(self) -> dict[str, int]:
        found = {m: self(f'SELECT * FROM "{m}"') for m in MEASUREMENTS}
        return {name: len(rows) for name, rows in found.items()}


@pytest.fixture
def alpha(tmp_path: Path) -> Iterator[Session]:
    one = Session(tmp_path / "root" / "an, odd=na me\\")
    one.bar(40)
    one.put("state", time=1, state="HALTED", reasons=["drawdown", 'said "enough"'])
    pulse = one.pulse() | {"drift_bps": 1.25, "drift_fills": 7}
    one.writer.commit(json.dumps(pulse))
    yield one
    one.close()


def test_points_of_a_session_are_in_version_1_once(
    alpha: Session, opened: Open, tmp_path: Path, influx: TestServer
) -> None:
    ask, url = Asked(influx, "one"), f"influxdb://127.0.0.1:{influx.port}/one"
    target = opened(url, tmp_path / "state")
    pump = drained(Pump(journals(alpha), target, "x", print))
    expected = {"equity": 41, "fills": 40, "decisions": 40, "drift": 1, "states": 1}
    assert ask.counts() == expected
    rows = ask('SELECT * FROM "equity" ORDER BY time')
    assert [row["equity"] for row in rows] == [10_000.0 + equity(n) for n in range(41)]
    assert {row["session"] for row in rows} == {alpha.id}
    assert {row["name"] for row in rows} == {"an, odd=na me/"}
    peak = [max(10_000.0 + equity(k) for k in range(n + 1)) for n in range(41)]
    assert [row["drawdown"] for row in rows] == pytest.approx([1 - (10_000 + equity(n)) / peak[n] for n in range(41)])
    (state,) = ask('SELECT * FROM "states"')
    assert (state["state"], state["reasons"]) == ("HALTED", 'drawdown; said "enough"')
    (fill, *_) = ask('SELECT * FROM "fills"')
    assert (fill["symbol"], fill["quantity"], fill["price"], fill["fee"]) == ("BTC/USDT", 0.5, 100.0, 0.05)
    assert all(0 <= row["latency_s"] < 1 for row in ask('SELECT "latency_s" FROM "decisions"'))
    (drift,) = ask('SELECT * FROM "drift"')
    assert (drift["drift_bps"], drift["n_fills"]) == (1.25, 7)
    # Written once more, whole: what it keeps is gone.
    for path in (tmp_path / "state").iterdir():
        path.unlink()
    drained(Pump(journals(alpha), opened(url, tmp_path / "state"), "x", print))
    assert ask.counts() == expected
    # And goes on where it was, peak and symbols as well.
    alpha.bar(3)
    again = Pump(journals(alpha), opened(url, tmp_path / "state"), "x", print)
    again.step()
    assert again.moved == 9
    assert ask.counts() == expected | {"equity": 44, "fills": 43, "decisions": 43, "drift": 1}
    assert pump.stopped == {}


def test_what_the_venue_closed_is_a_fill_as_well(
    alpha: Session, opened: Open, tmp_path: Path, influx: TestServer
) -> None:
    """A liquidation in a bar that filled an order of the same symbol too: two points, and fees that come to the fee."""
    liquidated(alpha)
    ask = Asked(influx, "forced")
    drained(Pump(journals(alpha), opened(f"influxdb://127.0.0.1:{influx.port}/forced", tmp_path / "s"), "x", print))
    *_, own, out = sorted(ask('SELECT * FROM "fills" ORDER BY time'), key=lambda row: (row["time"], row["rule"] or ""))
    assert [(one["symbol"], one["rule"], one["quantity"], one["price"]) for one in (own, out)] == [
        ("BTC/USDT", None, 0.5, 100.0), ("BTC/USDT", "forced", -10.5, 90.0),
    ]  # fmt: skip
    assert [own["fee"], out["fee"], own["cost"]] == pytest.approx([0.5, 9.45, 0.51])


def test_a_server_that_goes_away_gets_all_of_it_later(
    alpha: Session, opened: Open, tmp_path: Path, influx: TestServer
) -> None:
    ask, told = Asked(influx, "two"), []
    target = opened(f"influxdb://127.0.0.1:{influx.port}/two", tmp_path / "state")
    pump = drained(Pump(journals(alpha), target, "x", told.append))
    influx.kill()
    alpha.bar(10)
    assert pump.step() == 0
    assert "30 events behind" in told[-1]
    influx.start()
    until(lambda: pump.step() > 0)
    assert ask.counts()["equity"] == 51
    assert len(told) == 2


def test_points_come_through_the_queue_as_well(
    alpha: Session, tmp_path: Path, influx: TestServer, queue: str, capsys: pytest.CaptureFixture[str]
) -> None:
    drained(Pump(journals(alpha), RedisTarget(queue), "x", print))
    url = f"influxdb://127.0.0.1:{influx.port}/three"
    said = relay.main(["--from", queue, "--to", url, "--state", str(tmp_path / "state"), "--once", "--json"])
    assert said == {"events": alpha.writer.head.seq, "behind": 0}
    assert Asked(influx, "three").counts()["drift"] == 1
    assert RedisSource(queue).client.hlen(f"qf:cursors:{alpha.id}") == 1
    assert "influxdb://127.0.0.1" in capsys.readouterr().err


def test_every_query_of_the_dashboard_is_answered(
    alpha: Session, opened: Open, tmp_path: Path, influx: TestServer
) -> None:
    ask = Asked(influx, "four")
    drained(Pump(journals(alpha), opened(f"influxdb://127.0.0.1:{influx.port}/four", tmp_path / "s"), "x", print))
    board = json.loads((ROOT / "deploy" / "grafana" / "sessions.json").read_text())
    queries = [one["query"] for panel in board["panels"] for one in panel["targets"]]
    queries += [one["query"] for one in board["annotations"]["list"]]
    queries += [one["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    assert len(queries) >= 10
    for query in queries:
        plain = query.replace("$timeFilter", "time > 0").replace("$__interval", "1h").replace("$session", alpha.id)
        assert ask(plain), query
        assert not re.search(r"\$", plain.replace("$/", "")), query


def test_version_1_asks_for_a_password_that_nobody_sees(
    alpha: Session, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, told = influxdb(guarded=True), []
    try:
        place = f"127.0.0.1:{server.port}/guarded"
        query = {"q": f"CREATE USER root WITH PASSWORD '{WORD}' WITH ALL PRIVILEGES"}
        assert httpx.post(f"http://127.0.0.1:{server.port}/query", params=query).status_code == 200
        for url in (f"influxdb://root:wrong-{WORD}@{place}", f"influxdb://{place}"):
            assert Pump(journals(alpha), opened(url, tmp_path), "x", told.append).step() == 0
        assert all("401" in line and WORD not in line for line in told)
        drained(Pump(journals(alpha), opened(f"influxdb://root:{WORD}@{place}", tmp_path / "state"), "x", told.append))
        assert len(told) == 2
        auth = httpx.BasicAuth("root", WORD)
        asked = {"db": "guarded", "q": "SELECT count(equity) FROM equity"}
        answer = httpx.get(f"http://127.0.0.1:{server.port}/query", params=asked, auth=auth).json()
        assert answer["results"][0]["series"][0]["values"][0][1] == 41
        monkeypatch.setenv("QFRAME_RELAY_TO_PASSWORD", WORD)
        argv = ["--root", str(alpha.folder.parent), "--to", f"influxdb://root@{place}", "--once", "--json"]
        assert relay.main([*argv, "--state", str(tmp_path / "variable")]) == {"events": 124, "behind": 0}
    finally:
        server.close()


class Wire(BaseHTTPRequestHandler):
    """What InfluxDB 2 documents of ``POST /api/v2/write``: https://docs.influxdata.com/influxdb/v2/api/."""

    answers: list[tuple[int, dict[str, str], str]]
    taken: list[str]
    largest = 10**9

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        place = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(place.query).items()}
        assert (place.path, asked) == ("/api/v2/write", {"org": "house", "bucket": "qf", "precision": "ns"})
        code, headers, said = 204, {}, ""
        if self.headers["authorization"] != f"Token {WORD}":
            code, said = 401, json.dumps({"code": "unauthorized", "message": f"not {self.headers['authorization']}"})
        elif self.answers:
            code, headers, said = self.answers.pop(0)
        elif body.count("\n") >= self.largest:
            code, said = 413, "{}"
        else:
            self.taken.extend(body.split("\n"))
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Wire]]]:
    kind = type("Wire", (Wire,), {"answers": [], "taken": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("INFLUX_TOKEN", WORD)
    yield f"influxdb://127.0.0.1:{server.server_address[1]}/qf?org=house", kind
    server.shutdown()
    server.server_close()
    thread.join()


def test_points_go_by_the_wire_of_version_2(
    alpha: Session, opened: Open, tmp_path: Path, wire: tuple[str, type[Wire]]
) -> None:
    url, kind = wire
    told: list[str] = []
    target = opened(url, tmp_path)
    kind.answers = [(503, {}, "busy"), (429, {"Retry-After": "1"}, '{"message": "slowly"}')]
    pump = Pump(journals(alpha), target, "x", told.append)
    kind.largest = 50
    assert [pump.step(), pump.step(), pump.step()] == [0, 0, 0]
    assert "503: busy" in told[0]
    until(lambda: pump.step() > 0)
    assert len(kind.taken) == len(
        {line.rpartition(" ")[0].partition(" ")[0] + line.rpartition(" ")[2] for line in kind.taken}
    )
    assert sum(line.startswith("equity,") for line in kind.taken) == 41
    kind.answers = [(400, {}, '{"code":"invalid","message":"field type conflict"}')]
    alpha.bar(1)
    pump.step()
    assert "field type conflict" in told[-1]
    assert list(pump.stopped) == [alpha.id]


def test_a_token_is_needed_and_never_shown(
    alpha: Session, opened: Open, tmp_path: Path, wire: tuple[str, type[Wire]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = wire
    monkeypatch.delenv("INFLUX_TOKEN")
    with pytest.raises(UserError, match="INFLUX_TOKEN"):
        opened(url, tmp_path)
    told: list[str] = []
    Pump(journals(alpha), opened(f"{url}&token=wrong-token", tmp_path), "x", told.append).step()
    assert "401" in told[0]
    assert "wrong-token" not in told[0]
    with pytest.raises(UserError, match="no token"):
        opened(f"{url}&token=t%C3%B6ken", tmp_path)
    for wrong in ("influxdb://127.0.0.1:1", "influxdb://127.0.0.1:1/db?x=1", 'influxdb://127.0.0.1:1/d"b'):
        with pytest.raises(UserError, match="no address"):
            opened(wrong, tmp_path)
    (tmp_path / "state").mkdir()
    made = opened("influxdb://127.0.0.1:1/db", tmp_path / "state")
    made._path.write_text("[]")
    with pytest.raises(UserError, match="damaged"):
        opened("influxdb://127.0.0.1:1/db", tmp_path / "state")


def test_a_full_disk_of_the_sink_is_waited_for(
    alpha: Session, opened: Open, tmp_path: Path, wire: tuple[str, type[Wire]], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    target = opened(wire[0], tmp_path / "state")
    pump = Pump(journals(alpha), target, "x", told.append)
    kept = target._path
    target._path = tmp_path / "gone" / kept.name
    assert pump.step() == 0
    assert "cannot be written" in told[0]
    target._path = kept
    pump.step()
    assert kept.is_file()


def test_figures_that_have_no_form_are_left_out_and_texts_are_escaped() -> None:
    points = SessionPoints("0" * 16, {"name": "", "symbols": ["A B,C=D\\"], "bar": 5})
    account = {"equity": 2.0, "cash": math.nan, "position": [1.0], "mark": [None]}
    fills = {"quantity": [1], "price": [None], "fee": [0.5]}
    event = JournalEvent(3, 7, "settled", json.dumps({"time": 9, "account": account, "fills": fills}))
    lines = list(points.of(event))
    assert lines[0].endswith(" equity=2.0,drawdown=0.0,gross=0.0,net=0.0 9")
    assert (
        lines[1]
        == f"fills,session={'0' * 16},name={'0' * 16},symbol=A\\ B\\,C\\=D/ quantity=1.0,price=0.0,fee=0.5,cost=0.5 9"
    )
    (line,) = points.of(JournalEvent(4, 11, "state", json.dumps({"state": 'a "b" \\ c', "time": 9})))
    assert line.endswith(' state="a \\"b\\" \\\\ c",reasons="",seq=4i 11')
    assert list(points.of(JournalEvent(5, 12, "snapshot", "{}"))) == []
    # Half is paid out, which is no loss: a drawdown stays what it was.
    for seq, kind, equity_, expected in (
        (6, "settled", 1.0, 0.5),
        (7, "transferred", 0.5, None),
        (8, "settled", 0.5, 0.5),
    ):
        made = list(
            points.of(JournalEvent(seq, 13, kind, json.dumps({"time": seq, "account": account | {"equity": equity_}})))
        )
        assert made == [] if expected is None else f"drawdown={expected}," in made[0]
    assert list(points.drift({"drift_bps": None, "time": 9})) == []
