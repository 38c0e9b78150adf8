"""A journal that is damaged says so, and is left as it is."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal import lock
from qframe_rl.journal.lock import beat_of, writer_of
from qframe_rl.journal.store import Writer, last_events, pulse, read, verify


def written(folder: Path, n: int = 200) -> Path:
    path = folder / "journal.db"
    writer = Writer(path, durable=False)
    for k in range(n):
        writer.append("bar", f'{{"k":{k},"text":"{"x" * (k % 50)}"}}')
        if k % 7 == 0:
            writer.commit()
    writer.commit()
    writer.close()
    return path


def copied(path: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for part in path.parent.iterdir():
        shutil.copy(part, folder / part.name)
    return folder / path.name


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Content of all files but SQLite's shared memory, and a log that a reader finds empty."""
    found = {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.endswith("-shm")}
    return {name: content for name, content in found.items() if content}


def test_what_was_committed_is_read_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path)
    writer.append("bar", '{"a":1}')
    writer.commit('{"state":"ACTIVE"}')
    writer.append("bar", '{"a":2}')
    assert [e.payload for e in read(path)] == ['{"a":1}']
    assert pulse(path) is not None
    assert writer_of(path) == os.getpid()
    writer.close()
    assert writer_of(path) is None
    again = Writer(path)
    again.append("bar", '{"a":3}')
    again.commit()
    again.close()
    assert [(e.seq, e.payload) for e in read(path)] == [(1, '{"a":1}'), (2, '{"a":3}')]


def test_events_cannot_be_changed_or_removed(tmp_path: Path) -> None:
    path = written(tmp_path)
    with sqlite3.connect(path) as database:
        for statement in ("UPDATE events SET payload = '{}' WHERE seq = 3", "DELETE FROM events WHERE seq = 3"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(statement)
        database.executescript("DROP TRIGGER no_delete; DELETE FROM events WHERE seq = 3;")
    with pytest.raises(UserError, match="event 3 is missing"):
        verify(path)


@pytest.mark.parametrize("change", ["payload = '{}'", "kind = 'x'", "time = time + 1", "hash = zeroblob(32)"])
def test_the_event_that_was_changed_is_named(tmp_path: Path, change: str) -> None:
    path = written(tmp_path)
    with sqlite3.connect(path) as database:
        database.executescript(f"DROP TRIGGER no_update; UPDATE events SET {change} WHERE seq = 3;")
    with pytest.raises(UserError, match="event 3 is not the one that was written"):
        verify(path)


@settings(max_examples=60)
@given(st.data())
def test_a_flipped_byte_is_noticed_or_changed_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    original = written(tmp_path_factory.mktemp("original"))
    events = list(read(original))
    path = copied(original, tmp_path_factory.mktemp("copy") / "c")
    content = bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    before = bytes_of(path.parent)
    try:
        Writer(path).close()
    except UserError as error:
        assert "corrupt" in str(error)
        assert bytes_of(path.parent) == before
        return
    assert list(read(path)) == events


def test_a_schema_that_is_no_text_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CREATE TABLE events", b"CREATE\xceTABLE events"))
    with pytest.raises(UserError, match="corrupt"):
        Writer(path)


def test_a_journal_that_was_written_on_elsewhere_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path / "a", 3)
    other = copied(path, tmp_path / "b")
    for place, text in ((path, '{"k":"here"}'), (other, '{"k":"there"}')):
        writer = Writer(place)
        writer.append("bar", text)
        writer.commit()
        writer.close()
    shutil.copy(other, path)
    with pytest.raises(UserError, match="event 4 is not the one that was written"):
        verify(path)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_torn_file_is_noticed(tmp_path: Path, kept: float) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    before = bytes_of(tmp_path)
    with pytest.raises(UserError, match="corrupt"):
        Writer(path)
    assert bytes_of(tmp_path) == before


def torn_log(folder: Path) -> Path:
    """A journal whose writer was killed, so that its last commits are still in the write-ahead log."""
    code = (
        "import os, sys; from pathlib import Path; from qframe_rl.journal.store import Writer\n"
        "w = Writer(Path(sys.argv[1]))\n"
        "for k in range(20): w.append('bar', '{\"k\":%d}' % k); w.commit()\n"
        "os.kill(os.getpid(), 9)"
    )
    path = folder / "journal.db"
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -signal.SIGKILL
    return path


def test_a_killed_writer_loses_nothing_and_a_torn_log_is_noticed(tmp_path: Path) -> None:
    path = torn_log(tmp_path / "a")
    log = path.with_name("journal.db-wal")
    torn = copied(path, tmp_path / "b")
    assert verify(path).seq == 20
    cut = torn.with_name(log.name)
    cut.write_bytes(cut.read_bytes()[: 3 * cut.stat().st_size // 4])
    torn.with_name("journal.db-shm").unlink()
    before = bytes_of(torn.parent)
    with pytest.raises(UserError, match="its tail is lost"):
        Writer(torn)
    assert bytes_of(torn.parent) == before
    cut.unlink()
    with pytest.raises(UserError, match=r"corrupt|not there|not a journal"):
        Writer(torn)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    first = Writer(path)
    with pytest.raises(UserError, match="written by another process"):
        Writer(path)
    first.append("bar", "{}")
    first.commit()
    first.close()
    assert verify(path).seq == 201


def test_a_full_disk_is_said_and_the_journal_stays_whole(tmp_path: Path) -> None:
    path = written(tmp_path)
    writer = Writer(path)
    writer._database.execute("PRAGMA max_page_count=1")
    writer.append("bar", '{"text":"%s"}' % ("x" * 100_000))
    with pytest.raises(Unavailable, match=r"full.*ends with event 200"):
        writer.commit()
    writer.close()
    assert verify(path).seq == 200


def test_a_file_that_may_not_grow_is_said(tmp_path: Path) -> None:
    path = written(tmp_path)
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from qframe_rl.journal.store import Writer; from qframe_rl.config import Unavailable\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "w = Writer(Path(sys.argv[1])); resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "w.append('bar', '{\"text\":\"%s\"}' % ('x' * 1000000))\n"
        "try: w.commit()\n"
        "except Unavailable as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert verify(path).seq == 200


def test_where_there_is_no_flock_a_session_is_refused_and_a_reader_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    monkeypatch.setattr(lock, "fcntl", None)
    with pytest.raises(UserError, match="run it under Linux, macOS or WSL"):
        Writer(path)
    assert verify(path).seq == 200
    assert writer_of(path) is None


def test_a_sign_of_life_is_the_time_of_the_head_file(tmp_path: Path) -> None:
    path = written(tmp_path)
    writer = Writer(path)
    head = lock.head_path(path)
    os.utime(head, ns=(0, 0))
    assert beat_of(path) == 0
    writer.beat()
    beat = beat_of(path)
    assert beat is not None
    assert beat > 0
    os.utime(head, ns=(0, 0))
    writer.beat()
    assert beat_of(path) == 0, "it is not written at every call"
    writer.close()
    head.unlink()
    assert beat_of(path) is None


def test_a_head_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(tmp_path / "journal.db")
    writer.append("bar", "{}")

    def full(file: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Unavailable, match=r"journal.db.head cannot be written \(No space left on device\)"):
        writer.commit()
    writer.close()


def test_the_last_events_of_a_kind_come_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = Writer(path)
    for k in range(2500):
        writer.append("bar" if k % 2 else "note", f'{{"k":{k}}}')
    writer.commit()
    writer.close()
    assert [e.seq for e in last_events(path, "bar", 2000, 3)] == [1996, 1998, 2000]
    assert len(last_events(path, "bar", 2500, 2000)) == 1250, "more than one read of a thousand"


def test_what_is_no_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        verify(tmp_path / "journal.db")
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE t (x)")
    with pytest.raises(UserError, match="is not a journal"):
        verify(other)
    (tmp_path / "text.db").write_text("hello " * 1000)
    with pytest.raises(UserError, match="corrupt"):
        verify(tmp_path / "text.db")
