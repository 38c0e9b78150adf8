"""Copies of what runs, and the loss of the machine: what is restored elsewhere goes on as if nothing had been."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from experiments import backup
from qframe_rl.config import UserError
from qframe_rl.journal.backup import MANIFEST, back_up
from qframe_rl.journal.inbox import left, order
from qframe_rl.journal.ledger import REMARKS
from qframe_rl.journal.lock import read_head, writer_of
from qframe_rl.journal.store import pulse, read, verify
from qframe_rl.service.auth import Doorkeeper
from qframe_rl.service.store import ServiceStore
from tests.servers import TestServer, postgres, program
from tests.service.places import ROOT, Session, until


def events(journal: Path) -> list[tuple[str, str]]:
    """All that a session came to, without remarks about processes."""
    return [(one.kind, one.payload) for one in read(journal) if one.kind not in REMARKS]


def bars(journal: Path) -> int:
    """Bars settled, as the writer said last."""
    said = pulse(journal) if journal.exists() else None
    return 0 if said is None else int(json.loads(said[1])["bars"])


PASSWORD = "correct horse battery"


def let_in(folder: Path, url: str | None = None) -> str:
    """Token of a store that knows a user as well."""
    with closing(ServiceStore(folder, url)) as store:
        Doorkeeper(store).new_user("anna", PASSWORD, ["read"])
        return Doorkeeper(store).new_token("grafana", ["read"])


def knows(folder: Path, token: str, url: str | None = None) -> bool:
    """Whether a store lets both in."""
    with closing(ServiceStore(folder, url)) as store:
        door = Doorkeeper(store)
        return door.identity(token) is not None and door.right_password("anna", PASSWORD)


@contextmanager
def busy(session: Session, rows: Path) -> Iterator[None]:
    """A session that lives through bars as fast as it can, and rows that say after each how many there were."""
    stop = threading.Event()
    with closing(sqlite3.connect(rows)) as database:
        database.executescript("PRAGMA journal_mode=WAL; CREATE TABLE seen (seq)")

    def live() -> None:
        with closing(sqlite3.connect(rows, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous=OFF")
            while not stop.is_set():
                session.bar()
                database.execute("INSERT INTO seen VALUES (?)", (session.writer.head.seq,))

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_each_copy_of_a_journal_that_is_written_is_a_beginning_of_it(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    session = Session(root / "alpha")
    session.bar(20)
    order(root / "alpha" / "journal.db", "halt")
    inode = {path.name: path.stat().st_ino for path in (root / "alpha").iterdir()}
    token = let_in(root / ".service")
    (root / "alpha" / "session.log").write_text("a line\n")
    (root / "alpha" / "latest").symlink_to("session.log")
    made = []
    with busy(session, root / "zeta.db"):
        for n in range(8):
            made.append(back_up({"runs": root}, tmp_path / f"copy{n}"))
            until(lambda n=n: session.bars > 21 + 3 * n)
    session.close()
    whole = [event.payload for event in read(root / "alpha" / "journal.db")]
    ends = [one.journals["runs/alpha/journal.db"].seq for one in made]
    assert sorted(set(ends)) == ends and ends[-1] < len(whole) and not any(one.corrupt for one in made)
    assert {path.name: path.stat().st_ino for path in (root / "alpha").iterdir()}.items() >= inode.items() - {
        (name, number) for name, number in inode.items() if name.endswith(("-wal", "-shm"))
    }
    for n, end in enumerate(ends):
        copy = tmp_path / f"copy{n}" / "runs" / "alpha"
        assert [event.payload for event in read(copy / "journal.db")] == whole[:end]
        head = read_head(copy / "journal.db")
        assert head is not None and head.seq <= end and verify(copy / "journal.db").seq == end
        assert [word for _, _, word in left(copy / "journal.db")] == ["halt"]
        assert sorted(path.name for path in copy.iterdir()) == [
            "inbox.db", "journal.db", "journal.db.head", "latest", "session.log",
        ]  # fmt: skip
        with closing(sqlite3.connect(copy.parent / "zeta.db")) as database:
            ((seen,),) = database.execute("SELECT max(seq) FROM seen").fetchall()
        assert seen is None or seen <= end
        assert (copy / "latest").readlink() == Path("session.log")
        assert (
            json.loads((tmp_path / f"copy{n}" / MANIFEST).read_text())["journals"]["runs/alpha/journal.db"]["seq"]
            == end
        )
    assert knows(tmp_path / "copy7" / "runs" / ".service", token)


def test_a_closed_journal_is_copied_without_a_file_beside_it(tmp_path: Path) -> None:
    session = Session(tmp_path / "runs" / "alpha")
    session.bar(3)
    session.close()
    before = sorted(path.name for path in (tmp_path / "runs" / "alpha").iterdir())
    done = back_up({"runs": tmp_path / "runs"}, tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "runs" / "alpha").iterdir()) == before
    assert done.journals == {"runs/alpha/journal.db": verify(tmp_path / "runs" / "alpha" / "journal.db")}


def test_what_is_corrupt_is_copied_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("alpha", "beta"):
        session = Session(tmp_path / "runs" / name)
        session.bar(3)
        session.close()
    with closing(sqlite3.connect(tmp_path / "runs" / "beta" / "journal.db")) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("UPDATE events SET payload = '{}' WHERE seq = 4")
        database.commit()
    with pytest.raises(UserError, match=r"today is made, and in it .* runs/beta/journal.db is corrupt: event 4 "):
        backup.main([str(tmp_path / "today"), "--root", str(tmp_path / "runs")])
    assert verify(tmp_path / "today" / "runs" / "alpha" / "journal.db").seq > 4


def test_what_cannot_be_is_refused_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "paper").mkdir(parents=True)
    (tmp_path / "there").mkdir()
    for argv, match in (
        (["there"], "is there already"),
        (["runs/today"], "lies in runs, of which it is to be a copy"),
        (["/dev/null/copy"], "/dev/null/copy cannot be made"),
        (["copy", "--root", "run"], "run is no folder"),
        (["copy", "--root", "runs", "--root", "runs/paper"], "runs/paper lies in runs"),
        (["copy", "--root", "../" + tmp_path.name + "/runs", "--root", "runs"], "would both be runs"),
    ):
        with pytest.raises(UserError, match=match):
            backup.main(argv)
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(UserError, match="neither runs nor checkpoints lie here"):
        backup.main(["copy"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "there"] and not list(Path().iterdir())
    (tmp_path / ".copy.part").mkdir()
    with pytest.raises(UserError, match="was broken off"):
        back_up({"runs": tmp_path / "runs"}, tmp_path / "copy")


@pytest.fixture(scope="module")
def database() -> Iterator[TestServer]:
    one = postgres()
    yield one
    one.close()


def test_rows_in_postgres_come_back_by_its_own_tools(database: TestServer, tmp_path: Path) -> None:
    at = ["--host", "127.0.0.1", "--port", str(database.port), "--username", "postgres"]

    def told(name: str, *argv: str) -> None:
        done = subprocess.run([program(name, "postgresql"), *at, *argv], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    url = f"postgresql://postgres@127.0.0.1:{database.port}"
    for name in ("old", "new"):
        told("createdb", name)
    token = let_in(tmp_path / "a", f"{url}/old")
    told("pg_dump", "--format", "custom", "--file", str(tmp_path / "rows.dump"), "old")
    told("pg_restore", "--clean", "--if-exists", "--no-owner", "--dbname", "new", str(tmp_path / "rows.dump"))
    assert knows(tmp_path / "b", token, f"{url}/new")


def killed(journal: Path) -> None:
    """Kill the session that writes a journal, if there is one."""
    if (pid := writer_of(journal)) is not None:
        os.kill(pid, signal.SIGKILL)


def part(door: str, *argv: str, where: Path, **more: Any) -> subprocess.Popen[str]:
    """A door in a process of its own, in a folder of its own, with a state of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(where / "state")}
    del env["QFRAME_DATA"]
    return subprocess.Popen([sys.executable, "-m", f"experiments.{door}", *argv], cwd=where, env=env, text=True, **more)


def done(door: str, *argv: str, where: Path) -> str:
    with part(door, *argv, where=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        said, wrong = process.communicate(timeout=120)
    assert process.returncode == 0, wrong
    return said


@pytest.mark.slow
def test_after_the_loss_of_the_machine_a_session_goes_on_to_the_same_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Supervised, copied while it trades, killed with its folder removed; restored elsewhere, beside one untouched."""
    monkeypatch.setenv("QFRAME_DATA", "")
    old, new, backups, whole = (tmp_path / name for name in ("old", "new", "backups", "whole"))
    for folder in (old, new, backups, whole):
        folder.mkdir()
    journal = Path("runs/supervised/alpha/journal.db")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [part("supervise", where=old, **quiet)]
    options = ["--feed", "replay", "--speed", "360000x", "--out", str(whole / journal.parent)]
    running.append(part("paper", "funding_arbitrage", *options, where=whole, **quiet))
    try:
        until((old / "runs/.service/service.db").exists, 60.0)
        told = ["--checkpoint", "funding_arbitrage", "--with", "feed=replay", "--with", "speed=360000x"]
        done("supervise", "add", "alpha", *told, where=old)
        until(lambda: bars(old / journal) >= 150, 120.0)
        copied = json.loads(done("backup", str(backups / "today"), "--json", where=old).splitlines()[-1])
        lost = bars(backups / "today" / journal) + 50
        until(lambda: bars(old / journal) >= lost, 120.0)
        running[0].kill()
        killed(old / journal)
        shutil.rmtree(old)
        subprocess.run(["cp", "-a", f"{backups / 'today'}/.", new], check=True)
        running.append(part("supervise", where=new, **quiet))
        beyond = bars(backups / "today" / journal) + 150
        until(lambda: bars(new / journal) >= beyond, 150.0)
        until(lambda: bars(whole / journal) >= beyond, 120.0)
    finally:
        for process in running:
            process.kill()
            process.wait()
        for folder in (new, old):
            killed(folder / journal)
    end = copied["journals"][str(journal)]
    restored, untouched = events(new / journal), events(whole / journal)
    n = min(len(restored), len(untouched))
    assert n > end["seq"] + 300 and restored[:n] == untouched[:n]
    settled = [json.loads(payload) for kind, payload in restored[:n] if kind == "settled"]
    assert len(settled) >= beyond and settled[-1]["hash"]
    assert verify(new / journal).seq > end["seq"]
