"""Alerts: said once, never lost, in nobody's way."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qframe_rl.agent import View
from qframe_rl.alerts.config import AlertConfig
from qframe_rl.alerts.rules import Alerts
from qframe_rl.alerts.sender import Channel, Sender, channels
from qframe_rl.config import UserError
from qframe_rl.journal.store import Alert, Writer, waiting
from qframe_rl.listeners import Soft
from qframe_rl.types import DAY, HOUR, SECOND, Account, Fills, Orders


def view(time: int, equity: float, filled: float = 0.0, *, terminated: bool = False) -> View:
    fills = Fills.none(1)._replace(quantity=np.array([filled]))
    account = Account(np.array(equity), np.zeros(1), np.ones(1))
    return View(time, np.array([time]), np.zeros((1, 1, 5)), account, fills, False, False, terminated)


QUIET = Soft(lambda text: None)
NOTHING, BUY = Orders.market(np.zeros(1)), Orders.market(np.ones(1))


class Told:
    def __init__(self, **config: Any):
        self.said: list[Alert] = []
        self.drift: float | None = None
        self.late = 0
        self.ends: dict[str, int] = {}
        self.promise: str | None = None
        self.alerts = Alerts(
            AlertConfig(**config), "s", ["A"], self.said.append, lambda: self.drift, lambda: self.late,
            lambda: self.ends, lambda: self.promise,
        )  # fmt: skip
        self.alerts.started(view(0, 100.0))

    @property
    def rules(self) -> list[str]:
        return [alert.rule for alert in self.said]


def test_each_rule_speaks() -> None:
    told = Told(drawdown=0.1)
    told.alerts.settled(view(HOUR, 91.0), NOTHING)
    assert told.said == []
    told.alerts.settled(view(2 * HOUR, 90.0), NOTHING)
    told.alerts.settled(view(4 * HOUR, 100.0), BUY)
    told.alerts.settled(view(5 * HOUR, 100.0, 1.0), BUY)
    told.late = 61 * SECOND
    told.alerts.settled(view(6 * HOUR, 100.0), NOTHING)
    told.late, told.drift = 0, 21.0
    told.alerts.settled(view(7 * HOUR, 100.0), NOTHING)
    told.drift = 19.0
    told.alerts.settled(view(25 * HOUR, 102.0), NOTHING)
    told.alerts.settled(view(26 * HOUR, 100.0, terminated=True), NOTHING)
    told.alerts.changed(27 * HOUR, "HALTED", ["halt by file"])
    expected = ["drawdown", "rejected", "stale", "drift", "daily summary", "liquidated", "state HALTED"]
    assert told.rules == expected
    assert "equity 102.00 (+2.00%), 1 fills" in told.said[4].text


def test_an_account_with_nothing_in_it_is_under_no_highest() -> None:
    told = Told()
    told.alerts.started(view(0, 0.0))
    told.late = 61 * SECOND
    told.alerts.settled(view(HOUR, 0.0), NOTHING)
    assert told.rules == ["stale"]


def test_each_change_of_how_a_promise_is_kept_is_said_once() -> None:
    told = Told()
    for hour, answer in enumerate([None, "too early", "too early", "inside", "inside", "below", "below", "inside"]):
        told.promise = answer
        told.alerts.settled(view((hour + 1) * HOUR, 100.0), NOTHING)
    assert told.rules == ["promise inside", "promise below", "promise inside"]
    assert "below what its checkpoint's scores forecast; it was inside before" in told.said[1].text
    again = Told()
    again.alerts.carry(told.alerts.carried(), view(9 * HOUR, 100.0))
    again.promise = "inside"
    again.alerts.settled(view(10 * HOUR, 100.0), NOTHING)
    assert again.rules == []


def lacking(time: int) -> View:
    whole = view(time, 100.0)
    return replace(whole, bars=np.full((1, 1, 5), np.nan))


def test_a_market_that_is_gone_is_named_once_a_day() -> None:
    told = Told(gone_bars=3)
    for hour in (1, 2):
        told.alerts.settled(lacking(hour * HOUR), NOTHING)
    told.alerts.settled(view(3 * HOUR, 100.0), NOTHING)
    assert told.said == [], "it came again"
    for hour in range(4, 23):
        told.alerts.settled(lacking(hour * HOUR), NOTHING)
    assert told.rules == ["no bars A"]
    assert told.said[0].text.endswith("no bars of A, 3 in a row: halted, or gone")
    later = Told(gone_bars=3)
    later.alerts.carry(json.loads(json.dumps(told.alerts.carried())), lacking(22 * HOUR))
    for hour in range(23, 50):
        later.alerts.settled(lacking(hour * HOUR), NOTHING)
    assert [rule for rule in later.rules if rule == "no bars A"] == ["no bars A"]
    assert "no bars of A, 27 in a row" in next(a.text for a in later.said if a.rule == "no bars A")


def test_a_column_that_falls_silent_is_named_once_a_day() -> None:
    said: list[Alert] = []

    def made() -> Alerts:
        return Alerts(AlertConfig(gone_bars=3), "s", ["A"], said.append, lambda: None, lambda: 0, columns=("mood",))

    def shown(hour: int, mood: float) -> View:
        whole = view(hour * HOUR, 100.0)
        return replace(whole, bars=np.append(np.ones((1, 1, 5)), [[[mood]]], axis=2))

    alerts = made()
    alerts.started(view(0, 100.0))
    for hour, mood in enumerate((np.nan, np.nan, 3.0, np.nan, np.nan), start=1):
        alerts.settled(shown(hour, mood), NOTHING)
    alerts.settled(replace(shown(6, np.nan), bars=np.full((1, 1, 6), np.nan)), NOTHING)
    assert said == [], "a bar without a market says nothing of its column"
    memory = json.loads(json.dumps(alerts.carried()))
    alerts = made()
    alerts.carry(memory, view(6 * HOUR, 100.0))
    for hour in range(7, 20):
        alerts.settled(shown(hour, np.nan), NOTHING)
    assert [alert.rule for alert in said if alert.rule != "daily summary"] == ["no values mood"]
    assert said[0].text.endswith("column mood has no value, 3 bars in a row")
    older = {key: value for key, value in memory.items() if key != "silent"}
    made().carry(older, view(6 * HOUR, 100.0))


def test_a_delisting_is_said_ahead_and_when_it_came() -> None:
    told = Told(delisted_days=30.0)
    told.ends = {"A": 40 * DAY}
    told.alerts.settled(view(9 * DAY, 100.0), NOTHING)
    assert "delisting A" not in told.rules
    told.alerts.settled(view(10 * DAY, 100.0), NOTHING)
    told.alerts.settled(view(10 * DAY + 20 * HOUR, 100.0), NOTHING)
    told.ends = {"A": 0}
    told.alerts.settled(view(41 * DAY, 100.0), NOTHING)
    said = [alert.text for alert in told.said if alert.rule == "delisting A"]
    assert len(said) == 2
    assert said[0].endswith("A is delisted at 1970-02-10 00:00:00")
    assert said[1].endswith("A is not traded any more, or being delisted")


def test_what_an_exchange_does_not_answer_is_named() -> None:
    told = Told()
    told.alerts.recorded("intent", {"name": "a", "symbol": "A", "quantity": 2.0})
    told.alerts.recorded("outcome", {"name": "a", "status": "unknown", "why": "no answer within 1 s"})
    assert told.rules == ["unknown A"]
    assert "it is not known whether the order for +2 A arrived (no answer within 1 s)" in told.said[0].text
    told.alerts.recorded("resolved", {"name": "a", "status": "never", "why": "not found after its recvWindow"})
    assert told.rules == ["unknown A", "not taken A"]
    told.alerts.recorded("cancelled", {"orders": [], "left": ["A"]})
    assert "orders of A are not cancelled yet" in told.said[-1].text
    told.alerts.recorded("held", {"position": None, "why": "no answer"})
    assert told.rules[-1] == "not shown"


def test_an_account_that_is_not_shown_is_said() -> None:
    told = Told()
    told.alerts.recorded("lost", {"why": "RequestTimeout"})
    assert "the account is not shown (RequestTimeout)" in told.said[0].text


def test_an_order_that_was_not_taken_is_said_with_the_reason() -> None:
    told = Told(repeat_s=0.0)
    told.alerts.settled(view(HOUR, 100.0), NOTHING)
    for name, status in (("a", "accepted"), ("b", "refused"), ("c", "never")):
        told.alerts.recorded("intent", {"name": name, "symbol": "A", "quantity": -0.5})
        told.alerts.recorded("outcome", {"name": name, "status": status, "why": "MarketClosed: it is closed"})
    told.alerts.recorded("outcome", {"name": "d", "status": "refused", "why": "InvalidOrder"})
    assert [alert.text.partition(": ")[2] for alert in told.said] == [
        "the order for -0.5 A was not taken (refused): MarketClosed: it is closed",
        "the order for -0.5 A was not taken (never): MarketClosed: it is closed",
        "the order for name d was not taken (refused): InvalidOrder",
    ]


def test_another_process_remembers_what_was_said_and_the_highest_equity() -> None:
    first, whole = Told(drawdown=0.1, repeat_s=7200.0), Told(drawdown=0.1, repeat_s=7200.0)
    for told in (first, whole):
        told.alerts.settled(view(HOUR, 120.0, 1.0), BUY)
        told.alerts.settled(view(2 * HOUR, 100.0), NOTHING)
    later = Told(drawdown=0.1, repeat_s=7200.0)
    later.alerts.carry(json.loads(json.dumps(first.alerts.carried())), view(2 * HOUR, 100.0))
    for told in (later, whole):
        for hour in (3, 5, 25):
            told.alerts.settled(view(hour * HOUR, 107.0), NOTHING)
    assert first.said + later.said == whole.said
    assert whole.rules == ["drawdown", "drawdown", "drawdown", "daily summary"]


def test_the_same_is_not_said_twice_in_an_hour_and_all_not_too_often() -> None:
    told = Told(repeat_s=3600.0, per_hour=3)
    for k in range(10):
        told.alerts.tell(k * SECOND, "a", "text")
    assert told.rules == ["a"]
    for k in range(5):
        told.alerts.tell(20 * SECOND, f"rule {k}", "text")
    assert len(told.said) == 3
    told.alerts.tell(2 * HOUR, "a", "text")
    assert told.said[-1].text.endswith("text (3 alerts were held back)")
    told.alerts.tell(DAY, "a", "text")
    assert told.said[-1].text.endswith("text")


@pytest.fixture
def hook() -> Iterator[Any]:
    """A webhook on loopback that can be down."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not server.down:  # type: ignore[attr-defined]
                server.got.append(json.loads(body))  # type: ignore[attr-defined]
            self.send_response(503 if server.down else 200)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.down = [], False  # type: ignore[attr-defined]
    server.url = f"json://127.0.0.1:{server.server_address[1]}/"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def until(done: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def outbox(path: Path, *texts: str) -> Writer:
    writer = Writer(path)
    for text in texts:
        writer.alert(Alert("rule", text))
    writer.commit('{"bars":7}')
    return writer


def test_what_waits_reaches_a_webhook_once(tmp_path: Path, hook: Any) -> None:
    path = tmp_path / "journal.db"
    writer = outbox(path, "one", "two")
    sender = Sender(path, channels([hook.url]), QUIET)
    sender.start()
    until(lambda: len(hook.got) == 2)
    writer.alert(Alert("rule", "three"))
    writer.commit()
    until(lambda: waiting(path) == 0)
    sender.stop()
    writer.close()
    assert [got["message"] for got in hook.got] == ["one", "two", "three"]
    assert hook.got[0]["title"] == "QFrame: rule"


def test_an_outage_holds_up_nobody_and_loses_nothing(tmp_path: Path, hook: Any) -> None:
    path = tmp_path / "journal.db"
    hook.down = True
    writer = outbox(path, "one")
    first = Sender(path, channels([hook.url]), QUIET, retry_s=0.05)
    first.start()
    begun = time.monotonic()
    for k in range(200):
        writer.append("bar", f'{{"k":{k}}}')
        writer.alert(Alert("rule", str(k)))
        writer.commit()
    assert time.monotonic() - begun < 5.0
    first.stop(20.0)
    assert waiting(path) == 201
    writer.close()
    hook.down = False
    second = Sender(path, channels([hook.url]), QUIET)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE outbox SET due = 0")
    second.start()
    until(lambda: waiting(path) == 0, 60.0)
    second.stop()
    assert [got["message"] for got in hook.got] == ["one", *map(str, range(200))]


def test_after_a_thousand_attempts_a_message_still_has_its_turn(tmp_path: Path) -> None:
    """A wait beyond all numbers would hold up what stands behind it for ever."""
    path = tmp_path / "journal.db"
    writer = outbox(path, "one")
    sender = Sender(path, [Channel("away", lambda title, text: False)], QUIET)
    with sqlite3.connect(path) as database:
        before = time.time_ns()
        sender._try(database, 1, "rule", "one", 5_000)
        ((due,),) = database.execute("SELECT due FROM outbox").fetchall()
    writer.close()
    assert 0 < due - before <= 310 * SECOND


def test_the_first_failure_and_the_end_of_it_are_said_without_the_address(tmp_path: Path, hook: Any) -> None:
    path, said = tmp_path / "journal.db", list[str]()
    hook.down = True
    writer = outbox(path, "one", "two", "three")
    sender = Sender(path, channels([hook.url]), Soft(said.append), retry_s=0.01)
    sender.start()
    until(lambda: said)
    time.sleep(0.5)
    hook.down = False
    until(lambda: waiting(path) == 0, 30.0)
    sender.stop()
    writer.close()
    assert len(said) == 2, said
    assert said[0].startswith("alert URL 1 (json://...): it does not take messages; they wait;")
    assert said[1].startswith("alert URL 1 (json://...): works again, after ")
    assert "127.0.0.1" not in " ".join(said)


def test_a_channel_that_raises_ends_no_worker(tmp_path: Path) -> None:
    path, said = tmp_path / "journal.db", list[str]()
    got: list[str] = []

    def broken(title: str, text: str) -> bool:
        raise TypeError("a plugin's mistake")

    def works(title: str, text: str) -> bool:
        got.append(text)
        return True

    writer = outbox(path, "one")
    sender = Sender(path, [Channel("first", broken), Channel("second", works)], Soft(said.append), retry_s=60.0)
    sender.start()
    until(lambda: got and said)
    writer.alert(Alert("rule", "two"))
    writer.commit()
    until(lambda: got == ["one", "two"])
    sender.stop()
    writer.close()
    assert said == ["first: TypeError: a plugin's mistake; the session goes on without, and it is tried again."]
    assert waiting(path) == 2, "the first channel has none of them"


def test_a_message_at_the_start_shows_whether_the_way_works(tmp_path: Path, hook: Any) -> None:
    path = tmp_path / "journal.db"
    writer = outbox(path)
    hook.down = True
    for _ in range(3):
        sender = Sender(path, channels([hook.url]), QUIET, retry_s=0.01)
        sender.start("s: a process begins")
        until(lambda: waiting(path) == 1)
        sender.stop()
    hook.down = False
    sender = Sender(path, channels([hook.url]), QUIET)
    sender.start()
    until(lambda: waiting(path) == 0, 30.0)
    sender.stop()
    writer.close()
    assert [(got["title"], got["message"]) for got in hook.got] == [("QFrame: test", "s: a process begins")]


def test_a_kill_between_the_event_and_the_sending_loses_nothing(tmp_path: Path, hook: Any) -> None:
    path = tmp_path / "journal.db"
    code = (
        "import os, sys; from pathlib import Path; from qframe_rl.journal.store import Alert, Writer\n"
        "w = Writer(Path(sys.argv[1])); w.append('bar', '{}'); w.alert(Alert('rule', 'last words')); w.commit()\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)])
    sender = Sender(path, channels([hook.url]), QUIET)
    sender.start()
    until(lambda: hook.got)
    sender.stop()
    assert hook.got[0]["message"] == "last words"


def test_a_session_that_is_not_well_is_reported_by_the_worker_once(tmp_path: Path, hook: Any) -> None:
    path = tmp_path / "journal.db"
    writer = outbox(path)
    said: list[str | None] = [None]
    sender = Sender(path, channels([hook.url]), QUIET, lambda: said[0])
    sender.start()
    said[0] = "no decision for 181 s"
    until(lambda: len(hook.got) == 1)
    said[0] = "no decision for 182 s"
    time.sleep(0.6)
    said[0] = None
    time.sleep(0.6)
    said[0] = "no decision for 200 s"
    until(lambda: len(hook.got) == 2)
    sender.stop()
    writer.close()
    assert [got["message"] for got in hook.got] == ["no decision for 181 s", "no decision for 200 s"]


def test_a_wrong_url_is_refused_without_its_secrets() -> None:
    with pytest.raises(UserError, match=r"alert URL 1 \(nonsense://\.\.\.\)") as caught:
        channels(["nonsense://user:hunter2@host"])
    assert "hunter2" not in str(caught.value)
