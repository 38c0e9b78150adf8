"""Events on their way to other hosts: each once, in order, whatever is killed, lost, full or restored."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from experiments import relay
from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.lock import BEGINNING
from qframe_rl.journal.store import chained
from qframe_rl.relay.events import LinkedEvent, checked
from qframe_rl.relay.journals import JournalSource
from qframe_rl.relay.pump import Pump
from qframe_rl.relay.queue import RedisSource, RedisTarget, cursors_of, stream_of
from qframe_rl.service.client import ServiceClient
from qframe_rl.service.copies import ApiEvents, EventCopies
from qframe_rl.service.store import ServiceStore
from tests.servers import TestServer, free_port
from tests.service.places import ROOT, Session, served, until


def journals(*sessions: Session) -> JournalSource:
    found = {one.id: (one.folder.name, one.folder / "journal.db") for one in sessions}
    return JournalSource(lambda: found)


def rows(store: ServiceStore, session: str) -> list[tuple[Any, ...]]:
    return store.rows(
        "SELECT seq, time_ns, kind, payload, hash FROM events JOIN journals ON journal = id WHERE session = ? "
        "ORDER BY seq", (session,),
    )  # fmt: skip


def written(session: Session) -> list[tuple[Any, ...]]:
    return [(*event, digest) for event, digest in chained(session.folder / "journal.db")]


def drained(pump: Pump) -> Pump:
    pump.run(lambda: False, once=True)
    return pump


@pytest.fixture
def alpha(tmp_path: Path) -> Iterator[Session]:
    one = Session(tmp_path / "root" / "alpha")
    one.bar(250)
    yield one
    one.close()


def test_events_go_through_the_queue_into_the_database_to_the_hash(
    alpha: Session, tmp_path: Path, queue: str, kept: ServiceStore
) -> None:
    beta = Session(tmp_path / "root" / "beta", agent="other Ω")
    beta.bar(3)
    told: list[str] = []
    out, into = RedisTarget(queue), EventCopies(kept)
    there, back = Pump(journals(alpha, beta), out, "x", told.append), Pump(RedisSource(queue), into, "db", told.append)
    drained(there), drained(back)
    for one in (alpha, beta):
        assert rows(kept, one.id) == written(one)
    assert out.client.xlen(stream_of(alpha.id)) == len(written(alpha))
    alpha.bar(5)
    assert drained(there).step() == 0
    # What every consumer has is taken out at the next write.
    assert out.client.xlen(stream_of(alpha.id)) == 15 + 1
    drained(back)
    assert rows(kept, alpha.id) == written(alpha)
    assert told == []
    of_alpha = "JOIN journals ON journal = id WHERE name = 'alpha'"
    assert kept.rows(f"SELECT count(*) FROM equity {of_alpha}") == [(256,)]
    assert kept.rows(f"SELECT count(*) FROM fills {of_alpha}") == [(255,)]
    beta.close()
    out.close()


def test_straight_into_either_store(alpha: Session, tmp_path: Path, kept: ServiceStore) -> None:
    for store in (kept, ServiceStore(tmp_path / "sqlite")):
        drained(Pump(journals(alpha), EventCopies(store), "db", print))
        assert rows(store, alpha.id) == written(alpha)
    store.close()


def test_two_at_once_write_each_event_once(alpha: Session, queue: str, kept: ServiceStore) -> None:
    """Steps of two relays and two sinks in turn, and each meets what another has done meanwhile."""
    outs = [Pump(journals(alpha), RedisTarget(queue), "x", print) for _ in range(2)]
    stores = [kept, ServiceStore(kept.folder, kept._rows._address.url)]  # type: ignore[attr-defined]
    ins = [Pump(RedisSource(queue), EventCopies(store), "db", print) for store in stores]
    dice = random.Random(3)
    for _ in range(60):
        dice.choice(outs + ins).step()
        alpha.bar(dice.randrange(3))
    for pump in outs + ins:
        drained(pump)
    assert rows(kept, alpha.id) == written(alpha)
    stores[1].close()


def test_what_redis_lost_is_sent_again(alpha: Session, queue: str, kept: ServiceStore) -> None:
    out, back = RedisTarget(queue), Pump(RedisSource(queue), EventCopies(kept), "db", print)
    there = drained(Pump(journals(alpha), out, "x", print))
    drained(back)
    alpha.bar(2)
    # A tail that was never on disk: the stream ends earlier than the relay believes.
    head, key = len(written(alpha)), stream_of(alpha.id)
    out.client.delete(key)
    for event, digest in list(chained(alpha.folder / "journal.db"))[head - 20 : head - 10]:
        fields = {"kind": event.kind, "time": event.time, "payload": event.payload, "hash": digest}
        out.client.xadd(key, fields, id=f"{event.seq}-0")
    drained(there), drained(back)
    assert rows(kept, alpha.id) == written(alpha)
    out.client.flushall()
    alpha.bar(2)
    drained(there)
    drained(back)
    assert rows(kept, alpha.id) == written(alpha)


def test_a_stream_ahead_of_the_journal_is_stopped_and_said(tmp_path: Path, queue: str) -> None:
    folder = tmp_path / "now"
    one = Session(folder)
    one.bar(30)
    one.close()
    shutil.copytree(folder, tmp_path / "old")
    now = Session(folder)
    now.put("note", text="more")
    now.writer.commit()
    told: list[str] = []
    drained(Pump(journals(now), RedisTarget(queue), "x", told.append))
    now.close()
    older = Session(tmp_path / "old")
    pump = drained(Pump(journals(older), RedisTarget(queue), "x", told.append))
    assert len(told) == 1
    assert told[0].startswith(f"ALERT: old ({older.id}) is stopped")
    assert "old copy" in told[0]
    older.put("note", text="another")
    older.writer.commit()
    pump = drained(Pump(journals(older), RedisTarget(queue), "x", told.append))
    older.put("note", text="and more")
    older.writer.commit()
    pump = drained(Pump(journals(older), RedisTarget(queue), "x", told.append))
    assert "another event" in told[-1]
    assert list(pump.stopped) == [older.id]
    with RedisTarget(queue).client as client:
        assert client.xlen(stream_of(older.id)) == len(list(chained(folder / "journal.db")))
    older.close()


def test_gaps_are_filled_from_the_journal_or_its_api_or_said(alpha: Session, queue: str, kept: ServiceStore) -> None:
    client = redis.Redis.from_url(queue)
    drained(Pump(journals(alpha), RedisTarget(queue), "x", print))
    client.xtrim(stream_of(alpha.id), minid="40-0", approximate=False)
    told: list[str] = []
    drained(Pump(RedisSource(queue), EventCopies(kept), "db", told.append))
    assert "events 1 to 39 are not in it any more" in told[0]
    with served(alpha.folder.parent) as service, ServiceClient(service.url, service.token("read")) as asked:
        api = ApiEvents(asked, service.url)
        drained(Pump(RedisSource(queue, api), EventCopies(kept), "db", told.append))
    assert rows(kept, alpha.id) == written(alpha)
    client.xtrim(stream_of(alpha.id), maxlen=0, approximate=False)
    alpha.bar(2)
    drained(Pump(journals(alpha), RedisTarget(queue), "x", print))
    client.xtrim(stream_of(alpha.id), maxlen=0, approximate=False)
    drained(Pump(RedisSource(queue, journals(alpha)), EventCopies(kept), "db", told.append))
    assert rows(kept, alpha.id) == written(alpha)
    assert len(told) == 1
    client.close()


def test_an_event_that_was_changed_is_taken_by_nobody(alpha: Session, queue: str, kept: ServiceStore) -> None:
    drained(Pump(journals(alpha), RedisTarget(queue), "x", print))
    client, key = redis.Redis.from_url(queue), stream_of(alpha.id)
    entries = client.xrange(key)
    client.delete(key)
    for number, fields in entries:
        if number == b"100-0":
            fields[b"payload"] = fields[b"payload"] + b" "
        client.xadd(key, fields, id=number)
    told: list[str] = []
    drained(Pump(RedisSource(queue), EventCopies(kept), "db", told.append))
    assert "event 100 does not follow event 99" in told[0]
    assert len(rows(kept, alpha.id)) == 0, "a batch is whole or not there"
    client.xadd(stream_of("0" * 16), {"x": "y"}, id="1-0")
    client.hset("qf:journals", "0" * 16, "theirs")
    drained(Pump(RedisSource(queue), EventCopies(kept), "db", told.append))
    assert any("not one of ours" in line for line in told)
    client.close()
    events = [LinkedEvent(event, digest) for event, digest in chained(alpha.folder / "journal.db")]
    with pytest.raises(UserError, match="event 2 is missing"):
        checked("here", BEGINNING, [events[0], events[2]])


def test_full_and_down_are_said_with_how_much_waits_and_made_up_for(
    alpha: Session, own_redis: TestServer, queue: str, kept: ServiceStore
) -> None:
    client = redis.Redis.from_url(queue)
    told: list[str] = []
    out, back = (
        Pump(journals(alpha), RedisTarget(queue), "x", told.append),
        Pump(RedisSource(queue), EventCopies(kept), "db", print),
    )
    drained(out)
    client.config_set("maxmemory", client.info("memory")["used_memory"] - 1)
    alpha.bar(10)
    until(lambda: out.step() == 0 and bool(told))
    assert "30 events behind" in told[-1]
    assert "maxmemory" in told[-1]
    for _ in range(3):
        assert out.step() == 0
    assert len(told) == 1, "once, not at each try"
    # A consumer makes room where Redis is full.
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 4_000_000)
    drained(out)
    drained(back)
    assert "takes events again" in told[-1]
    own_redis.kill()
    alpha.bar(2)
    assert out.step() == 0
    assert "6 events behind" in told[-1]
    with pytest.raises(Unavailable):
        RedisSource(queue).journals()
    own_redis.start()
    drained(out), drained(back)
    assert rows(kept, alpha.id) == written(alpha)
    client.close()


def test_a_consumer_makes_room_where_redis_is_full(alpha: Session, queue: str) -> None:
    client = redis.Redis.from_url(queue)
    drained(Pump(journals(alpha), RedisTarget(queue), "x", print))
    head = len(written(alpha))
    client.config_set("maxmemory", client.info("memory")["used_memory"] - 1000)
    RedisSource(queue).taken(alpha.id, "db", head)
    assert client.xlen(stream_of(alpha.id)) == 1
    assert client.hgetall(cursors_of(alpha.id)) == {b"db": str(head).encode()}
    client.close()


def begun(*argv: str) -> subprocess.Popen[str]:
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.relay", *argv], stderr=subprocess.PIPE, text=True, env=settings
    )


@pytest.mark.slow
def test_each_event_once_under_kills_of_all_three(
    alpha: Session, tmp_path: Path, own_redis: TestServer, queue: str, kept: ServiceStore, fresh_url: Callable[[], str]
) -> None:
    root, url = str(alpha.folder.parent), kept._rows._address.url  # type: ignore[attr-defined]
    starts: dict[str, Callable[[], subprocess.Popen[str]]] = {
        "relay": lambda: begun("--root", root, "--to", queue),
        "sink": lambda: begun("--from", queue, "--to", url, "--root", root, "--state", str(tmp_path / "sink")),
    }
    running = {name: start() for name, start in starts.items()}
    dice = random.Random(0)
    for victim in ("relay", "sink", "redis", "sink", "relay", "redis"):
        alpha.bar(dice.randrange(20, 60))
        seen = len(rows(kept, alpha.id))
        until(lambda seen=seen: len(rows(kept, alpha.id)) > seen, 30.0)
        if victim == "redis":
            own_redis.kill()
            alpha.bar(5)
            own_redis.start()
        else:
            running[victim].kill()
            running[victim].communicate()
            running[victim] = starts[victim]()
    until(lambda: len(rows(kept, alpha.id)) == len(written(alpha)), 40.0)
    assert rows(kept, alpha.id) == written(alpha)
    for process in running.values():
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20.0)[1]
        assert process.returncode == 0, said
        assert "ALERT" not in said


def test_a_sink_waits_for_a_database_that_is_not_there_yet(tmp_path: Path, queue: str) -> None:
    url = f"postgresql://postgres@127.0.0.1:{free_port()}/postgres"
    argv = ["--from", queue, "--to", url, "--state", str(tmp_path)]
    with pytest.raises(Unavailable, match="does not let us in"):
        relay.main([*argv, "--once"])
    waiting = begun(*argv)
    assert waiting.stderr is not None
    assert "tried again" in waiting.stderr.readline()
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, waiting.pid) == min(ours + 5, 19), "sessions go first"
    waiting.send_signal(signal.SIGTERM)
    waiting.communicate(timeout=20.0)
    assert waiting.returncode == 0


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "--to is missing"),
        (["--to", "kafka://x"], "redis://"),
        (["--to", "redis://:word1234@h@x"], "as the variable QFRAME_RELAY_TO_PASSWORD"),
        (["--to", "redis://h@x@y"], "no address"),
        (["--to", "redis://127.0.0.1:1/0?db0=1"], "no address"),
        (["--to", "redis://127.0.0.1:1/O1"], "no address"),
        (["--from", "redis://127.0.0.1:1", "--to", "redis://127.0.0.1:2"], "both queues"),
        (["--from", "postgresql://x/y", "--to", "postgresql://x/y"], "--from"),
        (["--to", "redis://127.0.0.1:1", "--root", "/nowhere"], "no folder"),
        (["--to", "redis://127.0.0.1:1", "--api", "http://127.0.0.1:1"], "--from"),
    ],
)
def test_what_is_amiss_is_said_in_one_sentence(
    argv: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=expected) as said:
        relay.main(argv)
    assert "word1234" not in str(said.value)


def test_addresses_may_come_from_variables_and_nobody_sees_their_passwords(
    alpha: Session,
    own_redis: TestServer,
    queue: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = redis.Redis.from_url(queue)
    client.execute_command("ACL", "SETUSER", "guarded", "on", ">s3cret-word", "~*", "+@all")
    root = ["--root", str(alpha.folder.parent)]
    monkeypatch.setenv("QFRAME_RELAY_TO", f"redis://guarded:s3cret-word@127.0.0.1:{own_redis.port}/0")
    said = relay.main([*root, "--once", "--json"])
    assert said == {"events": len(written(alpha)), "behind": 0}
    monkeypatch.delenv("QFRAME_RELAY_TO")
    bare = [*root, "--to", f"redis://guarded@127.0.0.1:{own_redis.port}/0", "--once", "--json"]
    monkeypatch.setenv("QFRAME_RELAY_TO_PASSWORD", "s3cret-word")
    assert relay.main(bare) == {"events": 0, "behind": 0}
    client.execute_command("ACL", "DELUSER", "guarded")
    monkeypatch.setenv("QFRAME_RELAY_TO", f"redis://guarded:s3cret-word@127.0.0.1:{own_redis.port}/0")
    wrong, told = RedisTarget(os.environ["QFRAME_RELAY_TO"]), []
    Pump(journals(alpha), wrong, "x", told.append).step()
    assert "guarded@127.0.0.1" in told[0]
    shown = capsys.readouterr()
    assert "s3cret-word" not in told[0] + shown.err + shown.out
    client.close()


def test_a_journal_that_was_taken_away_is_waited_for_no_more_and_few_are_open_at_once(
    alpha: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qframe_rl.relay.journals._OPEN", 1)
    beta = Session(tmp_path / "root" / "beta", agent="other")
    found = {one.id: (one.folder.name, one.folder / "journal.db") for one in (alpha, beta)}
    source = JournalSource(lambda: found)
    pump = drained(Pump(source, EventCopies(ServiceStore(tmp_path / "state")), "x", print))
    assert len(source._open) == 1
    beta.bar(3)
    pump._heads[beta.id] += 6
    del found[beta.id]
    assert (pump.step(), pump.behind(), list(pump._cursors)) == (0, 0, [alpha.id])
    beta.close()
    source.close()


def test_who_has_no_stream_to_wait_for_rests_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rested: list[float] = []
    monkeypatch.setattr("qframe_rl.relay.queue.time.sleep", rested.append)
    RedisSource("redis://127.0.0.1:1/0").wait({}, 0.5)
    assert rested == [0.5]


def test_how_redis_is_set_up_is_looked_at(queue: str) -> None:
    client, target = redis.Redis.from_url(queue), RedisTarget(queue)
    assert target.amiss() is None
    client.config_set("maxmemory", 10_000_000)
    client.config_set("maxmemory-policy", "allkeys-lru")
    assert "noeviction" in (target.amiss() or "")
    client.config_set("maxmemory-policy", "noeviction")
    assert target.amiss() is None
    client.close()
