"""Decisions from outside: what counts acts once, in time and as a backtest has it; nothing else ever does."""

from __future__ import annotations

import json
import random
import resource
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from experiments import decisions as door_of_decisions
from experiments.cli import door
from qframe_rl import catalog
from qframe_rl.config import Ref, UserError
from qframe_rl.feeds.ccxt import CcxtFeed
from qframe_rl.feeds.columns import extend
from qframe_rl.feeds.decision_receiver import DecisionRecord, on_port, on_socket
from qframe_rl.feeds.decisions import KEY, DecisionMessage, SignedMessage, recorded, shaped, signature
from qframe_rl.feeds.download import download
from qframe_rl.feeds.exchange import Stopped
from qframe_rl.feeds.store import load_store
from qframe_rl.gym.market import Market, MarketConfig, market, whole
from qframe_rl.live.paper import SessionResult, paper, replay
from qframe_rl.live.spec import SessionSpec
from qframe_rl.runner.backtest import backtest
from qframe_rl.types import HOUR, MINUTE, SECOND, History, Segment, parse_time
from tests.feeds.test_ccxt import FakeClock, unhurried
from tests.loopback import Loopback, loopback

SECRET = SecretStr("a key of sixteen and more")
START = parse_time("2024-01-01")
SYMBOLS = ("BTC/USDT", "ETH/USDT")
BEGIN, BARS = START + 100 * HOUR + 10 * MINUTE, 40
SPEC = "target=decisions:model.jsonl"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET.get_secret_value())


def said(body: dict[str, Any] | str, key: SecretStr = SECRET) -> bytes:
    """A message on a line, signed."""
    text = body if isinstance(body, str) else json.dumps(body)
    return json.dumps({"body": text, "signature": signature(text, key)}).encode() + b"\n"


def message(number: int, now: int, **more: Any) -> dict[str, Any]:
    targets = {"BTC/USDT": 0.1 * (number % 7), "ETH/USDT": 0.05 * (number % 4)}
    return {"id": f"m{number}", "made": now, "deadline": now + 5 * HOUR, "targets": targets} | more


def bad(chance: random.Random, number: int, now: int, good: dict[str, Any]) -> bytes:
    """Something that must not act: late, doubled, forged, out of range, or no message at all."""
    fresh = message(10_000 + number, now)
    large = {"BTC/USDT": chance.choice([1.01, -1e9, 1e308]), "ETH/USDT": -chance.random()}
    forged = said(fresh, SecretStr("another key of sixteen"))
    swapped = json.loads(said(fresh)) | {"body": json.dumps(fresh | {"targets": {"BTC/USDT": 1.0}})}
    return chance.choice([
        said(fresh | {"made": now - 2 * HOUR, "deadline": now - 1}), said(good), said(good | {"id": f"again{number}"}),
        said(fresh | {"made": good["made"] - number}), forged, json.dumps(swapped).encode() + b"\n",
        said(fresh | {"targets": large}), said(fresh | {"made": now + HOUR}), said(fresh | {"targets": {}}),
        said(json.dumps(fresh).replace("0.", "NaN, \"x\": 0.", 1)), said(fresh | {"more": 1}), b"{}\n", b"[1, 2]\n",
        b"\xff\xfe\n", said(fresh | {"targets": {"BTC/USDT": float("nan")}}), said(fresh | {"id": f"m{number} "}),
    ])  # fmt: skip


class Model(FakeClock):
    """A clock beside which a program sends decisions over a socket, and others send what must not act."""

    def __init__(self, now: int, send: Callable[[bytes], dict[str, Any]], n_bad: int):
        super().__init__(now)
        self.send, self.chance = send, random.Random(5)
        self.coming = [now + k * HOUR + (k * 13 % 55) * MINUTE for k in range(0, BARS, 2)]
        self.number, self.left, self.taken = 0, n_bad, 0
        self.last = message(0, now)
        self.say()

    def say(self) -> None:
        """Send what is due by now; a decision is delivered at once."""
        while self.coming and self.coming[0] <= self.time:
            self.number += 1
            self.last = message(self.number, self.coming.pop(0))
            assert self.send(said(self.last))["taken"]
            for _ in range(min(self.left, 50)):
                self.left -= 1
                assert not self.send(bad(self.chance, self.left, self.time, self.last))["taken"]

    def wait(self, seconds: float) -> None:
        until = self.time + int(seconds * 1e9)
        while self.coming and self.coming[0] <= until:
            self.time = self.coming[0]
            self.say()
        self.time = until
        if self.time > BEGIN + (BARS + 1) * HOUR:
            raise Stopped


@pytest.fixture
def clock() -> list[FakeClock]:
    return [FakeClock(BEGIN)]


@pytest.fixture
def server(clock: list[FakeClock]) -> Iterator[Loopback]:
    with loopback(START // 10**6, lambda: clock[0].time // 10**6) as state:
        yield state


def made_of(history: History) -> tuple[Market, Any]:
    config = MarketConfig(features=("log_return:1",), actions=Ref(name="simplex"), half_spread_bps=3.0)
    one = market("test", config, history.instruments, history.columns, history.bar_ns, leverage=1.0, shorting=False)
    one = one.fit([(replace(history, values=np.nan_to_num(history.values)), whole(history))])
    module = catalog.load("agents", "external")
    return one, module.make(module.Config(), one.spec(history.columns, 0, None))


def lived(
    server: Loopback, clock: list[FakeClock], folder: Path, n_bad: int
) -> tuple[SessionResult, Model, SessionSpec]:
    """A session whose decisions come over a real socket."""
    record = DecisionRecord(folder / "model.jsonl", SECRET, 1.0, lambda: clock[0].time)
    listening = on_socket(record, folder / "s")
    threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    here = socket.socket(socket.AF_UNIX)
    here.connect(str(folder / "s"))
    lines = here.makefile("rwb")

    def send(text: bytes) -> dict[str, Any]:
        lines.write(text)
        lines.flush()
        answer: dict[str, Any] = json.loads(lines.readline())
        return answer

    try:
        model = Model(BEGIN, send, n_bad)
        clock[0] = model
        feed = unhurried(
            CcxtFeed("binance", SYMBOLS, "1h", 2, url=server.url, clock=model, columns=(SPEC,), root=folder)
        )
        past = load_store(folder.parent / "store", "binance", SYMBOLS, "1h")
        one, agent = made_of(replace(extend(past, (SPEC,), folder), instruments=feed.instruments))
        terms = SessionSpec(
            "external", "0" * 16, {"feed": "ccxt"}, feed.instruments, feed.columns, feed.bar_ns, 2
        )  # fmt: skip

        result = paper(one, agent, feed, terms, folder, durable=False)
    finally:
        lines.close()
        here.close()
        listening.shutdown()
        listening.server_close()
        record.close()
    assert record.refused == n_bad - model.left
    return result, model, terms


def test_of_a_thousand_bad_messages_none_acts_and_the_record_is_the_backtest_to_the_bit(
    server: Loopback, clock: list[FakeClock], tmp_path: Path
) -> None:
    download("binance", SYMBOLS, "1h", START, root=tmp_path / "store", url=server.url)
    results = {}
    for name, n_bad in (("clean", 0), ("flooded", 1000)):
        folder = tmp_path / name
        folder.mkdir()
        clock[0] = FakeClock(BEGIN)
        results[name], model, terms = lived(server, clock, folder, n_bad)
        assert model.left == 0
    clean, flooded = results["clean"], results["flooded"]
    assert clean.bars >= BARS - 2
    assert flooded.digest == clean.digest
    assert len(recorded(tmp_path / "flooded" / "model.jsonl", 1.0).messages) == 20
    clock[0].time += 10 * HOUR
    download("binance", SYMBOLS, "1h", START, root=tmp_path / "store", url=server.url)
    history = extend(load_store(tmp_path / "store", "binance", SYMBOLS, "1h"), (SPEC,), tmp_path / "flooded")
    history = replace(history, instruments=terms.instruments)
    first = int(np.searchsorted(history.time, BEGIN, side="right"))
    one, agent = made_of(history)
    record = backtest(one, agent, history, Segment(first, first + clean.bars), 2)
    assert record.digest == clean.digest
    assert (record.fills.quantity != 0.0).sum() > 20
    one, agent = made_of(history)
    assert replay(one, agent, terms, tmp_path / "flooded" / "journal.db").digest == clean.digest


def few(n: int = 12) -> History:
    from qframe_rl.feeds.synthetic import synthetic

    return replace(synthetic("gbm", n_bars=100, seed=0, bar_ns=HOUR).rows(0, n))


def test_a_target_stands_from_its_reception_to_its_deadline(tmp_path: Path) -> None:
    history = few()
    (symbol,), times = history.symbols, history.time
    now = [int(times[2]) - 1]
    record = DecisionRecord(tmp_path / "model.jsonl", SECRET, 1.0, lambda: now[0])
    one = {"id": "a", "made": now[0], "deadline": int(times[5]), "targets": {symbol: -0.5}}
    assert record.take(said(one))["taken"]
    now[0] = int(times[8])
    assert record.take(said(one | {"id": "b", "made": now[0], "deadline": now[0] + HOUR}))["taken"]
    record.close()
    values = extend(history, (SPEC,), tmp_path).values[:, 0, 5]
    np.testing.assert_array_equal(values, [np.nan] * 2 + [-0.5] * 4 + [np.nan] * 2 + [-0.5] * 2 + [np.nan] * 2)


def test_what_nobody_trades_is_refused_and_counted_and_what_was_taken_before_is_not(tmp_path: Path) -> None:
    path, now = tmp_path / "model.jsonl", START
    first = DecisionRecord(path, SECRET, 1.0, lambda: now)
    assert first.take(said(message(1, now) | {"targets": {"SOL/USDT": 0.1}}))["taken"]
    first.close()
    record = DecisionRecord(path, SECRET, 1.0, lambda: now + SECOND, SYMBOLS)
    strange = message(2, now + 1) | {"targets": {"BTC/USDT": 0.1, "SOL/USDT": 0.1}}
    answer = {"taken": False, "why": "unknown: it names SOL/USDT, and traded are BTC/USDT, ETH/USDT."}
    assert record.take(said(strange)) == answer
    assert record.take(said(message(3, now + 2)))["taken"]
    assert (record.taken, record.refused, len(recorded(path, 1.0).messages)) == (1, 1, 2)
    record.close()


def test_a_record_goes_on_after_a_torn_line_and_one_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    path, history = tmp_path / "model.jsonl", few()
    now = int(history.time[0])
    record = DecisionRecord(path, SECRET, 1.0, lambda: now)
    with pytest.raises(UserError, match="is written by another process"):
        DecisionRecord(path, SECRET, 1.0)
    assert record.take(said(message(1, now)))["taken"]
    record.close()
    whole_line = path.read_text()
    path.write_text(whole_line + whole_line[:50])
    assert len(recorded(path, 1.0).messages) == 1
    again = DecisionRecord(path, SECRET, 1.0, lambda: now + SECOND)
    assert "doubled" in again.take(said(message(1, now)))["why"], "another process takes it again"
    assert again.take(said(message(2, now + SECOND)))["taken"]
    again.close()
    assert len(recorded(path, 1.0).messages) == 2
    line = json.loads(whole_line)
    for changed, why in (
        (line | {"received": now + 9 * HOUR}, "late"), (line | {"received": now - HOUR}, "ahead"),
        (line | {"body": line["body"].replace("0.1", "0.9")}, "forged"), (line | {"x": 1}, "no message"),
    ):  # fmt: skip
        path.write_text(json.dumps(changed) + "\n")
        with pytest.raises(UserError, match=f"line 1: {why}"):
            extend(history, (SPEC,), tmp_path)
    path.write_text(whole_line * 2)
    with pytest.raises(UserError, match="line 2: doubled"):
        extend(history, (SPEC,), tmp_path)
    with pytest.raises(UserError, match="line 1: out of range"):
        extend(history, ("target=decisions:model.jsonl:0.05",), tmp_path)


def test_a_post_is_let_in_by_its_signature(tmp_path: Path, capfd: Any) -> None:
    now = START
    record = DecisionRecord(tmp_path / "model.jsonl", SECRET, 1.0, lambda: now)
    server = on_port(record, 0)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"

    def post(text: bytes, path: str = "/decisions") -> int:
        try:
            with urllib.request.urlopen(f"{base}{path}", text, timeout=10.0) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    try:
        assert post(said(message(1, now))) == 200
        assert post(said(message(2, now + 1), SecretStr("another key of sixteen"))) == 422
        assert post(said(message(2, now + 1)), "/else") == 404
        assert post(b" " * 70_000) == 413
        assert wire(server.server_address[1], "\xb2") == wire(server.server_address[1], "9" * 5000) == b"413"
        wire(server.server_address[1], "60", b"{", 1)  # cut in the midst of it
        wire(server.server_address[1], "60", b"{", 0)
        assert post(said(message(3, now + 3))) == 200
    finally:
        server.shutdown()
        server.server_close()
        record.close()
    assert (record.taken, record.refused) == (2, 2)
    assert capfd.readouterr().err == "", "who is gone, or writes nonsense, is no news on the terminal"


def wire(port: int, length: str, body: bytes = b"", reset: int | None = None) -> bytes:
    """Status of a POST whose length says so; it is cut where ``reset`` is said, with a reset or without."""
    with socket.create_connection(("127.0.0.1", port), 10.0) as here:
        here.sendall(f"POST /decisions HTTP/1.1\r\ncontent-length: {length}\r\n\r\n".encode("latin-1") + body)
        if reset is not None:
            here.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
            return b""
        return here.makefile("rb").readline().split()[1]


def test_what_cannot_be_written_is_not_taken_and_leaves_no_half_line(tmp_path: Path) -> None:
    path, now = tmp_path / "model.jsonl", [START]
    record = DecisionRecord(path, SECRET, 1.0, lambda: now[0])
    assert record.take(said(message(1, now[0])))["taken"]
    now[0] += SECOND
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for beyond in (100, 0):  # a part of the line fits, and nothing of it
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + beyond, limits[1]))
            assert "not written" in record.take(said(message(2, now[0])))["why"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert record.take(said(message(2, now[0])))["taken"], "the same message, sent again"
    record.close()
    assert [one.id for one in recorded(path, 1.0).messages] == ["m1", "m2"]


def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    for text in ('{"weights": [1, 2]}', "a line\nand another", '{"body":"x"}\n{"bo', "x"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"is not a record of decisions|line 1"):
            DecisionRecord(path, SECRET, 1.0)
        assert path.read_text() == text


def test_shares_that_sum_to_one_are_in_range_however_they_round(tmp_path: Path) -> None:
    shares = (0.08, 0.26, 0.23, 0.05, 0.05, 0.33)
    assert sum(shares) > 1.0
    record = DecisionRecord(tmp_path / "model.jsonl", SECRET, 1.0, lambda: START)
    one = message(1, START, targets={f"C{n}/USDT": share for n, share in enumerate(shares)})
    assert record.take(said(one))["taken"]
    assert "out of range" in record.take(said(message(2, START + 1, targets={"C/USDT": 1.0001})))["why"]
    record.close()


def test_a_clock_that_is_turned_back_is_said_as_such(tmp_path: Path) -> None:
    now = [START + HOUR]
    record = DecisionRecord(tmp_path / "model.jsonl", SECRET, 1.0, lambda: now[0])
    assert record.take(said(message(1, START)))["taken"]
    now[0] = START + MINUTE
    why = record.take(said(message(2, now[0])))["why"]
    assert why.startswith("ahead: the clock here was turned back; until 2024-01-01 01:00:00 UTC")
    record.close()


def test_a_socket_that_is_listened_to_is_not_taken_away(tmp_path: Path) -> None:
    place = tmp_path / "s"
    first = DecisionRecord(tmp_path / "first.jsonl", SECRET, 1.0, lambda: START)
    second = DecisionRecord(tmp_path / "second.jsonl", SECRET, 1.0, lambda: START)
    listening = on_socket(first, place)
    with pytest.raises(UserError, match="is listened to by another process"):
        on_socket(second, place)
    listening.server_close()
    on_socket(second, place).server_close()  # what a process left behind is replaced
    first.close()
    second.close()


def test_what_cannot_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    history = few()
    for spec, why in (
        ("target=decisions:", "is not NAME=decisions:FILE"), ("target=decisions:none.jsonl", "is not there"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=why):
            extend(history, (spec,), tmp_path)
    for odd, why in (("signature", "not HMAC-SHA256 of the body"), ("id", "not characters without blanks")):
        one = {"body": "x", "signature": "x"} if odd == "signature" else message(1, START, id="a b")
        with pytest.raises(UserError, match=why):
            shaped(SignedMessage if odd == "signature" else DecisionMessage, json.dumps(one))
    given = door_of_decisions.parser().parse_args(["a", "--symbols", "BTC/USDT, ETH/USDT,"])
    assert given.symbols == ["BTC/USDT", "ETH/USDT"]
    assert door(door_of_decisions.main, [str(tmp_path / "a")]) == 2
    assert "--socket PLACE or --port PORT" in capsys.readouterr().err
    assert door(door_of_decisions.main, [str(tmp_path / "a"), "--socket", str(tmp_path)]) == 2
    assert "is there and no socket" in " ".join(capsys.readouterr().err.split())
    assert door(door_of_decisions.main, [str(tmp_path), "--port", "0"]) == 2
    assert "cannot be written (Is a directory); name another file" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setenv(KEY, "short")
    assert door(door_of_decisions.main, [str(tmp_path / "a"), "--port", "0"]) == 2
    assert "set QFRAME_DECISIONS_KEY, 16 characters" in " ".join(capsys.readouterr().err.split())
