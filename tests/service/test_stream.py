"""Events as they are written: each once and in order, whoever is killed; and nobody waits for one who does not read."""

from __future__ import annotations

import json
import random
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qframe_rl.journal.store import JournalEvent
from qframe_rl.service.places import Places
from qframe_rl.service.projection import thinned
from qframe_rl.service.store import ServiceStore
from qframe_rl.service.stream import BLOCKS, MISSED, Cursor, EventHub, StreamListener, told
from tests.service.places import Served, Session, journal_events, messages, served, start, until

numbers = st.integers(0, 2**62)


@given(st.dictionaries(numbers, numbers, max_size=40))
def test_a_cursor_comes_back_from_its_text(seen: dict[int, int]) -> None:
    cursor = Cursor("0123abcd", seen)
    again = Cursor.of(cursor.text())
    assert (again.epoch, again.seen) == ("0123abcd", seen)


@given(st.text(max_size=60))
def test_a_text_that_is_no_cursor_is_a_value_error(text: str) -> None:
    try:
        Cursor.of(text)
    except ValueError:
        return


@given(st.lists(st.floats(-1e6, 1e6), max_size=300), st.integers(4, 60))
def test_thinning_keeps_ends_and_extremes(values: list[float], points: int) -> None:
    rows = list(enumerate(values))
    kept = thinned(rows, points, 1)
    assert len(kept) <= max(points, 4)
    assert kept == sorted(set(kept))
    if values:
        assert (kept[0], kept[-1]) == (rows[0], rows[-1])
        assert {min(values), max(values)} <= {value for _, value in kept}


def test_an_event_is_told_as_version_one_has_it() -> None:
    event = JournalEvent(7, 1_700_000_000_123_456_789, "bar", '{"time":1,"values":[[1.0,null]]}')
    assert json.loads(told("0123456789abcdef", event)) == {
        "v": 1, "session": "0123456789abcdef", "seq": 7, "kind": "bar", "at": "2023-11-14T22:13:20.123Z",
        "time_ns": "1700000000123456789", "data": {"time": 1, "values": [[1.0, None]]},
    }  # fmt: skip
    assert "\n" not in told("0123456789abcdef", event._replace(payload='{"a":\n1,\r\n"b":2}'))


class Reader(threading.Thread):
    """A page: it listens, comes back with the last id wherever the stream ends, and keeps what it got."""

    def __init__(self, token: str, port: int, query: str = "", restless: float | None = None):
        super().__init__(daemon=True)
        self.got: list[dict[str, Any]] = []
        self.resets = 0
        self.stopped = threading.Event()
        self.ready = threading.Event()
        self.last: str | None = None
        self._url = f"http://127.0.0.1:{port}/api/v1/events?{query}"
        self._headers = {"authorization": f"Bearer {token}"}
        self._chance = random.Random(port)
        self._restless = restless

    def run(self) -> None:
        while not self.stopped.is_set():
            more = {} if self.last is None else {"last-event-id": self.last}
            try:
                with (
                    httpx.Client(timeout=2.0) as client,
                    client.stream("GET", self._url, headers=self._headers | more) as answer,
                ):
                    for message in messages(answer.iter_lines()):
                        self._take(message)
                        if self.stopped.is_set() or self._leaves():
                            break
            except (httpx.HTTPError, OSError):
                time.sleep(0.02)

    def _leaves(self) -> bool:
        return self._restless is not None and self._chance.random() < self._restless

    def _take(self, message: dict[str, str]) -> None:
        self.last = message.get("id", self.last)
        self.resets += message["event"] == "reset"
        self.got += journal_events([message])
        self.ready.set()

    def seqs(self, session: str) -> list[int]:
        return [event["seq"] for event in self.got if event["session"] == session]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_each_event_comes_once_and_in_order_whoever_leaves_and_whatever_is_killed(tmp_path: Path) -> None:
    sessions = [Session(tmp_path / f"s{n}") for n in range(3)]
    for one in sessions:
        one.bar(5)
    ids = [one.id for one in sessions]
    first = [one.writer.head.seq for one in sessions]
    port = free_port()
    service = start(tmp_path, port=port)
    token = service.token()
    readers = [Reader(token, port), Reader(token, port, restless=0.2), Reader(token, port, restless=0.02)]
    for reader in readers:
        reader.start()
    until(lambda: all(reader.last for reader in readers))
    for kill in range(4):
        for _ in range(15):
            for one in sessions:
                one.bar()
            time.sleep(0.01)
        if kill < 3:
            service.stop(signal.SIGKILL)
            for one in sessions:
                one.bar(2)
            service = start(tmp_path, port=port)
    ends = [one.writer.head.seq for one in sessions]
    until(lambda: all(r.seqs(i)[-1:] == [end] for r in readers for i, end in zip(ids, ends, strict=True)), 200.0)
    for reader in readers:
        reader.stopped.set()
        assert reader.resets == 0
        for one, begun, end in zip(ids, first, ends, strict=True):
            assert reader.seqs(one) == list(range(begun + 1, end + 1))
    for one in sessions:
        one.bar()
        one.close()
    service.stop()


def test_a_session_that_begins_later_is_heard_from_its_first_event(tmp_path: Path) -> None:
    with served(tmp_path) as service:
        reader = Reader(service.token(), int(service.url.rpartition(":")[2]))
        reader.start()
        assert reader.ready.wait(10.0)
        one = Session(tmp_path / "late")
        one.bar(3)
        until(lambda: reader.seqs(one.id)[-1:] == [one.writer.head.seq])
        assert reader.seqs(one.id) == list(range(1, one.writer.head.seq + 1))
        reader.stopped.set()
        one.bar()
        one.close()


def test_a_stream_may_be_of_some_sessions_and_kinds(tmp_path: Path) -> None:
    one, other = Session(tmp_path / "a"), Session(tmp_path / "b")
    with served(tmp_path) as service:
        port = int(service.url.rpartition(":")[2])
        some = Reader(service.token(), port, f"sessions={one.id}&kinds=settled,command", restless=0.3)
        some.start()
        assert some.ready.wait(10.0)
        for _ in range(10):
            one.bar()
            other.bar()
        until(lambda: len(some.got) == 10)
        assert {event["kind"] for event in some.got} == {"settled"}
        assert {event["session"] for event in some.got} == {one.id}
        some.stopped.set()
        one.bar()
        for session in (one, other):
            session.close()


def test_who_missed_too_much_or_comes_from_elsewhere_begins_anew(tmp_path: Path) -> None:
    one = Session(tmp_path / "a")
    with served(tmp_path) as service, service.client() as api:

        def first(last: str) -> dict[str, str]:
            with api.stream("GET", "/events", headers={"last-event-id": last}) as answer:
                return next(messages(answer.iter_lines()))

        with api.stream("GET", "/events") as answer:
            hello = next(messages(answer.iter_lines()))
        assert hello["event"] == "hello"
        cursor = Cursor.of(hello["id"])
        one.bar(2)
        until(lambda: api.get(f"/sessions/{one.id}").json()["bars"] == 2)
        assert first(hello["id"])["event"] == "journal"
        for odd in ("x", "0123abcd.AAA", Cursor("0123abcd", cursor.seen).text()):
            assert first(odd)["event"] == "reset"
        ahead = Cursor(cursor.epoch, {number: seq + 10**6 for number, seq in cursor.seen.items()})
        assert first(ahead.text())["event"] == "reset", "an old copy of the journal"
        for _ in range(MISSED // 3 // 100 + 2):
            one.bar(100)

        def heard() -> int:
            with api.stream("GET", "/events") as answer:
                return sum(Cursor.of(next(messages(answer.iter_lines()))["id"]).seen.values())

        until(lambda: heard() == one.writer.head.seq)
        assert first(hello["id"])["event"] == "reset"
    one.close()


def test_one_who_never_reads_is_hung_up_on_and_the_others_go_on(tmp_path: Path) -> None:
    one = Session(tmp_path / "a")
    with served(tmp_path) as service, service.client() as api:
        port, token = int(service.url.rpartition(":")[2]), service.token()
        deaf = []
        for _ in range(5):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            deaf.append(client)
        until(lambda: api.get("/health").json()["listeners"] == 5)
        reader = Reader(token, port)
        reader.start()
        assert reader.ready.wait(10.0)
        begun = one.writer.head.seq
        while api.get("/health").json()["listeners"] > 1:
            assert one.bars < 60_000, "they are still there"
            one.bar(200)
            until(lambda: reader.seqs(one.id)[-1:] == [one.writer.head.seq], 30.0)
        assert reader.seqs(one.id) == list(range(begun + 1, one.writer.head.seq + 1))
        assert reader.resets == 0
        reader.stopped.set()
        one.bar()
        for client in deaf:
            client.close()
    one.close()


def test_streams_of_one_token_are_bounded(tmp_path: Path) -> None:
    with served(tmp_path) as service, service.client() as api:
        opened = [api.stream("GET", "/events") for _ in range(20)]
        for one in opened:
            assert one.__enter__().status_code == 200
        assert api.get("/events").status_code == 429
        for one in opened:
            one.__exit__(None, None, None)
        until(lambda: api.get("/health").json()["listeners"] == 0)
        with api.stream("GET", "/events") as answer:
            assert answer.status_code == 200


def test_a_stop_does_not_wait_for_streams(tmp_path: Path) -> None:
    service: Served = start(tmp_path)
    with service.client() as api, api.stream("GET", "/events") as answer:
        lines = answer.iter_lines()
        assert next(messages(lines))["event"] == "hello"
        begun = time.monotonic()
        service.stop()
        assert time.monotonic() - begun < 10.0
    assert service.process.returncode == 0


def test_a_listener_that_is_full_is_hung_up_on() -> None:
    ended: list[bool] = []
    listener = StreamListener(frozenset(), frozenset(), lambda: ended.append(True))
    for n in range(BLOCKS + 5):
        listener.give(b"%d" % n)
    assert ended == [True]
    assert len(listener.blocks) == BLOCKS


def test_a_journal_that_was_replaced_is_in_quarantine(tmp_path: Path) -> None:
    import asyncio
    import shutil

    one = Session(tmp_path / "a")
    one.bar(5)
    one.close()
    shutil.copytree(tmp_path / "a", tmp_path.parent / f"{tmp_path.name}-old")
    one = Session(tmp_path / "a")
    one.put("note", text="more")
    one.writer.commit()
    one.close()
    store = ServiceStore(tmp_path / "state")

    async def scenario() -> None:
        hub = EventHub(Places([tmp_path]), store)
        hub.start(asyncio.get_running_loop())
        await asyncio.sleep(0.1)
        assert not hub.broken
        shutil.rmtree(tmp_path / "a")
        shutil.copytree(tmp_path.parent / f"{tmp_path.name}-old", tmp_path / "a")
        end = time.monotonic() + 10.0
        while not hub.broken and time.monotonic() < end:
            await asyncio.sleep(0.05)
        assert list(hub.broken.values())
        await asyncio.to_thread(hub.stop)

    asyncio.run(scenario())
    store.close()


def test_what_rests_holds_no_file_open_and_what_was_taken_away_is_not_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    one = Session(tmp_path / "a")
    one.bar(2)
    one.close()
    store = ServiceStore(tmp_path / "state")
    hub = EventHub(Places([tmp_path]), store)
    hub._discover()
    (tailed,) = hub._tailed.values()
    hub._tail(tailed, 0.0)
    assert (tailed.peek, hub.broken) == (None, {})
    with monkeypatch.context() as patch:  # nobody wrote: it is not opened again
        patch.setattr("qframe_rl.service.stream.Peek", None)
        hub._tail(tailed, 2.0)
    again = Session(tmp_path / "a")
    hub._tail(tailed, 4.0)
    assert tailed.live
    assert tailed.peek is not None
    again.close()
    hub._tail(tailed, 6.0)
    assert tailed.peek is None
    shutil.rmtree(tmp_path / "a")
    monkeypatch.setattr(hub.places, "_at", -10.0)
    hub._tail(tailed, 8.0)
    assert hub.broken == {}
    store.close()


def test_a_journal_that_no_session_wrote_is_in_quarantine_and_nobody_is_told_of_it(tmp_path: Path) -> None:
    """Its chain holds: whoever can write the file can chain it anew."""
    good, forged = Session(tmp_path / "good"), Session(tmp_path / "forged")
    with served(tmp_path) as service, service.client() as api:
        reader = Reader(service.token(), int(service.url.rpartition(":")[2]))
        reader.start()
        assert reader.ready.wait(10.0)
        forged.writer._redactor.json = str  # type: ignore[method-assign]
        forged.writer.append("bar", "no JSON")
        forged.writer.commit()
        until(lambda: api.get(f"/sessions/{forged.id}").json()["state"] == "broken")
        good.bar(3)
        until(lambda: reader.seqs(good.id)[-1:] == [good.writer.head.seq])
        assert reader.seqs(forged.id) == []
        reader.stopped.set()
        good.bar()
    good.close()
    forged.close()
