"""A journal is read where it lies, live or closed, without its writer feeling it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from qframe_rl.config import UserError
from qframe_rl.journal import peek as module
from qframe_rl.journal.peek import N_ROWS, Peek, peek
from qframe_rl.journal.store import Writer, last_events, pulse, read, verify, waiting

NOBODY = 65_534


def filled(path: Path, n: int, size: int = 10) -> Writer:
    writer = Writer(path, durable=False)
    add(writer, n, size)
    return writer


def add(writer: Writer, n: int, size: int = 10) -> None:
    for k in range(n):
        writer.append("bar", json.dumps({"k": k, "text": "x" * size}))
        writer.commit(json.dumps({"bars": k}))


def count(path: Path) -> int:
    return sum(1 for _ in read(path))


def test_a_live_journal_and_a_closed_one_are_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = filled(path, 5)
    assert path.with_name("journal.db-wal").exists()
    with peek(path) as reader:
        assert reader.rows("SELECT count(*) FROM events") == [(5,)]
        add(writer, 3)
        assert reader.rows("SELECT count(*) FROM events") == [(8,)]
    writer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["journal.db", "journal.db.head"]
    assert (count(path), verify(path).seq, waiting(path)) == (8, 8, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["journal.db", "journal.db.head"], "a reader leaves nothing"


def test_a_reader_of_a_closed_journal_sees_that_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    filled(path, 5).close()
    with peek(path) as reader:
        assert reader.rows("SELECT count(*) FROM events") == [(5,)]
        writer = Writer(path, durable=False)
        add(writer, 2000, 100)
        assert reader.rows("SELECT count(*) FROM events") == [(2005,)]
        writer.close()
        assert reader.rows("SELECT count(*) FROM events") == [(2005,)]
        again = Writer(path, durable=False)
        add(again, 1)
        again.close()
        assert reader.rows("SELECT count(*) FROM events") == [(2006,)], "opened and closed between two looks"


def test_an_old_look_is_taken_again_when_the_journal_was_written_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    filled(path, 5).close()
    reader, once = Peek(path), module._read
    writers: list[Writer] = []

    def late(*given: object) -> object:
        found = once(*given)  # type: ignore[arg-type]
        monkeypatch.undo()
        writers.append(Writer(path, durable=False))
        add(writers[0], 1)
        return found

    monkeypatch.setattr(module, "_read", late)
    assert reader.rows("SELECT count(*) FROM events") == [(6,)]
    writers[0].close()


def test_a_journal_that_was_replaced_is_another_one(tmp_path: Path) -> None:
    path, other = tmp_path / "journal.db", tmp_path / "other.db"
    filled(other, 9).close()
    writer = filled(path, 5)
    with peek(path) as reader:
        assert reader.rows("SELECT count(*) FROM events") == [(5,)]
        writer.close()
        for rest in ("-wal", "-shm"):
            path.with_name(path.name + rest).unlink(missing_ok=True)
        other.replace(path)
        assert reader.rows("SELECT count(*) FROM events") == [(9,)]
        path.unlink()
        with pytest.raises(UserError, match="is not there"):
            reader.rows("SELECT count(*) FROM events")


def test_a_reader_in_the_middle_lets_the_log_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = filled(path, 50)
    events, told = read(path), 0
    for _ in range(10):
        next(events)
    for _ in range(10):
        add(writer, 400, 4000)
    log = path.with_name("journal.db-wal").stat().st_size
    told = 10 + sum(1 for _ in events)
    writer.close()
    assert told == 4050, "what was appended meanwhile is read as well"
    assert log < 6_000_000, "16 MB were written; a log that begins anew has 1,000 pages"


def test_no_read_has_more_rows_or_lasts_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"
    filled(path, N_ROWS + 5).close()
    with peek(path) as reader:
        assert len(reader.rows("SELECT seq FROM events")) == N_ROWS
        monkeypatch.setattr(module, "SPAN_S", 0.0)
        assert len(reader.rows("SELECT seq FROM events")) == 1
        assert len(reader.rows("SELECT seq FROM events", n=3)) == 1
    assert [e.seq for e in last_events(path, "bar", 7, 3)] == [5, 6, 7]
    assert count(path) == N_ROWS + 5


@pytest.fixture
def shelf() -> Iterator[Path]:
    """A folder that everybody may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def locked_up(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """Read journals where nothing can be written: root may write everywhere, so it becomes nobody."""
    folder.chmod(0o555)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from qframe_rl.config import UserError\n"
        "from qframe_rl.journal.store import pulse, verify, waiting\n"
        "import encodings.ascii, encodings.hex_codec\n"
        f"if os.getuid() == 0: os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "assert not os.access(sys.argv[1], os.W_OK)\n"
        "for name in sys.argv[2:]:\n"
        "    path = Path(sys.argv[1]) / name\n"
        "    try: print(verify(path).seq, waiting(path), pulse(path)[1])\n"
        "    except UserError as error: print(error)\n"
    )
    return subprocess.run(
        [sys.executable, "-B", "-c", code, str(folder), *names], capture_output=True, text=True, cwd=Path.cwd()
    )


def test_a_read_only_folder_will_do_for_a_closed_journal_and_for_a_live_one(shelf: Path) -> None:
    filled(shelf / "closed.db", 5).close()
    writer = filled(shelf / "live.db", 7)
    done = locked_up(shelf, "closed.db", "live.db")
    writer.close()
    assert done.stdout.splitlines() == ['5 0 {"bars": 4}', '7 0 {"bars": 6}'], done.stderr


def test_a_killed_journal_in_a_read_only_folder_says_what_to_do(shelf: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from qframe_rl.journal.store import Writer\n"
        "w = Writer(Path(sys.argv[1])); w.append('bar', '{}'); w.commit('{}'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(shelf / "killed.db")])
    done = locked_up(shelf, "killed.db")
    assert done.stdout == "1 0 {}\n", done.stderr
    shelf.chmod(0o755)
    (shelf / "killed.db-shm").unlink()
    done = locked_up(shelf, "killed.db")
    assert "cannot be read where it lies" in done.stdout, done
    assert "copy the folder to where it can" in done.stdout


def test_a_look_does_not_disturb_who_begins(tmp_path: Path) -> None:
    import fcntl
    import threading

    path = tmp_path / "journal.db"
    filled(path, 1).close()
    with path.with_name("journal.db.head").open("rb") as looked:
        fcntl.flock(looked, fcntl.LOCK_SH | fcntl.LOCK_NB)
        ends = threading.Timer(0.2, lambda: fcntl.flock(looked, fcntl.LOCK_UN))
        ends.start()
        Writer(path, durable=False).close()
        ends.join()
    assert pulse(path) is not None
