"""Commands arrive once and in order, and nobody who holds the inbox holds up a session."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.inbox import NAME, Inbox, order
from qframe_rl.journal.ledger import Input, Ledger
from qframe_rl.journal.store import Writer, read

COMMANDS = frozenset({"command"})


def journal(folder: Path) -> Path:
    path = folder / "journal.db"
    writer = Writer(path, durable=False)
    writer.append("session", "{}")
    writer.commit()
    writer.close()
    return path


def words(found: list[tuple[int, str]]) -> list[str]:
    return [word for _, word in found]


def test_commands_come_in_their_order_and_rise_over_an_inbox_that_was_removed(tmp_path: Path) -> None:
    path = journal(tmp_path)
    inbox = Inbox(path)
    assert inbox.after(0) == []
    for word in ("halt", "resume"):
        order(path, word)
    first = inbox.after(0)
    assert words(first) == ["halt", "resume"]
    assert words(inbox.after(first[0][0])) == ["resume"]
    (tmp_path / NAME).unlink()
    assert inbox.after(first[1][0]) == []
    order(path, "flatten")
    assert words(inbox.after(first[1][0])) == ["flatten"], "it begins anew, and is heard all the same"
    inbox.close()


def test_a_command_never_opens_the_journal_for_writing(tmp_path: Path) -> None:
    path = journal(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        order(path, "halt")
    assert words(Inbox(path).after(0)) == ["halt"]


@pytest.mark.parametrize("held", ["IMMEDIATE", "EXCLUSIVE"])
def test_an_inbox_that_is_held_is_passed_over_and_read_when_it_is_free(tmp_path: Path, held: str) -> None:
    path = journal(tmp_path)
    order(path, "halt")
    inbox = Inbox(path)
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as other:
        other.execute(f"BEGIN {held}")
        other.execute("INSERT INTO commands VALUES (9000000000000000000, 0, 'resume')")
        assert words(inbox.after(0)) == ([] if held == "EXCLUSIVE" else ["halt"])
        with pytest.raises(Unavailable, match=r"inbox.db cannot be written .* the file HALT .* the signals are heard"):
            order(path, "halt", patience_s=0.05)
        other.execute("COMMIT")
    assert words(inbox.after(0)) == ["halt", "resume"]
    inbox.close()


def test_a_command_that_was_killed_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    path = journal(tmp_path)
    order(path, "halt")
    code = (
        "import os, sqlite3, sys; d = sqlite3.connect(sys.argv[1], isolation_level=None, cached_statements=0)\n"
        "d.execute('PRAGMA cache_size=1'); d.execute('PRAGMA cache_spill=1'); d.execute('BEGIN EXCLUSIVE')\n"
        "for k in range(2000): d.execute('INSERT INTO commands VALUES (?, 0, ?)', (9 * 10**18 + k, 'x' * 99))\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / NAME)])
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / f"{NAME}-journal").exists(), "nothing was written that could be left half"
    assert words(Inbox(path).after(0)) == ["halt"]


def test_what_cannot_be_read_is_said_and_opened_anew(tmp_path: Path) -> None:
    path = journal(tmp_path)
    (tmp_path / NAME).write_bytes(b"")
    inbox = Inbox(path)
    assert inbox.after(0) == [], "a file that was made and not yet written"
    (tmp_path / NAME).write_bytes(b"no database " * 999)
    with pytest.raises(Unavailable, match=r"inbox.db cannot be read .*; remove it"):
        inbox.after(0)
    (tmp_path / NAME).unlink()
    order(path, "halt")
    assert words(inbox.after(0)) == ["halt"]


def test_a_command_to_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        order(tmp_path / "journal.db", "halt")
    assert not (tmp_path / NAME).exists()


class Told:
    """The least session that obeys: its record is repeated, then it listens."""

    def __init__(self, path: Path):
        self.path = path
        self.writer = Writer(path, durable=False)
        self.ledger = Ledger(path, self.writer)
        self.inbox = Inbox(path)
        self.heard, self.obeyed = 0, list[str]()
        while self.ledger.recorded is not None:
            self.listen()

    def listen(self) -> None:
        for one in self.ledger.inputs(COMMANDS, self.poll):
            self.heard = max(self.heard, one.payload["number"])
            self.obeyed.append(one.payload["word"])

    def poll(self) -> list[Input]:
        return [Input("command", {"number": n, "word": word, "by": "test"}) for n, word in self.inbox.after(self.heard)]

    def end(self) -> None:
        self.writer.close()
        self.inbox.close()


@settings(max_examples=100)
@example(["put", "listen", "commit", "kill"])
@given(st.lists(st.sampled_from(["put", "put", "listen", "commit", "kill", "hold", "free"]), min_size=10, max_size=40))
def test_each_command_is_obeyed_once_in_order_whatever_is_lost(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    path = tmp_path_factory.mktemp("inbox") / "journal.db"
    session, put = Told(path), 0
    holder: sqlite3.Connection | None = None
    for step in [*steps, "free", "listen", "listen", "commit"]:
        if step == "put" and holder is None:
            order(path, str(put))
            put += 1
        elif step == "listen":
            session.listen()
        elif step == "commit":
            session.ledger.commit()
        elif step == "kill":
            session.end()
            session = Told(path)
        elif step == "hold" and holder is None and path.with_name(NAME).exists():
            holder = sqlite3.connect(path.with_name(NAME), isolation_level=None)
            holder.execute("BEGIN EXCLUSIVE")
        elif step == "free" and holder is not None:
            holder.close()
            holder = None
    session.end()
    assert session.obeyed == [str(n) for n in range(put)]
    assert [e.payload.split('"word":')[1] for e in read(path)] == [f'"{n}"}}' for n in range(put)]
