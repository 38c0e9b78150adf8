"""The kill switch of the API: every way that a session hears, to real ones, and a signal to nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from qframe_rl.journal.lock import head_path, is_writer, writer_of
from qframe_rl.journal.store import pulse, read
from qframe_rl.live.kill import tell
from qframe_rl.service.commanding import LEFT
from tests.service.places import Replayed, Served, Session, served, until


@pytest.fixture(scope="module")
def sessions(root: Path) -> Iterator[dict[str, Replayed]]:
    """Real ones in processes of their own; nothing can be put into the inbox of the second."""
    made = {name: Replayed(root / name) for name in ("a", "b")}
    (root / "b" / "inbox.db").mkdir()
    yield made
    for one in made.values():
        one.end()


@pytest.fixture(scope="module")
def service(root: Path, sessions: dict[str, Replayed]) -> Iterator[Served]:
    with served(root, "--allow", "operate,trade") as running:
        yield running


@pytest.fixture
def api(service: Served) -> Iterator[httpx.Client]:
    with service.client("read", "operate", "trade") as one:
        yield one


def state(one: Replayed) -> str:
    said = pulse(one.folder / "journal.db")
    assert said is not None
    return "HALTED" if '"state":"HALTED"' in said[1] else said[1]


def obeyed(one: Replayed) -> set[str]:
    """Numbers of the commands that its journal says were obeyed."""
    found = [event.payload for event in read(one.folder / "journal.db") if event.kind == "command"]
    return {str(payload["number"]) for payload in map(json.loads, found) if "number" in payload}


def halted_by(one: Replayed) -> set[str]:
    found = [event.payload for event in read(one.folder / "journal.db") if event.kind == "command"]
    return {way for way in ("file", "signal", "command") for text in found if f'"by":"{way}"' in text}


def test_a_kill_over_the_api_goes_by_inbox_file_and_signal(api: httpx.Client, sessions: dict[str, Replayed]) -> None:
    shadow = Session(sessions["a"].folder / "shadows" / "c")
    shadow.bar()
    until(lambda: len(api.get("/sessions").json()) == 3)
    names = {one["id"]: one["name"] for one in api.get("/sessions").json()}
    told = {names[one["session"]]: one for one in api.post("/kill", headers={"idempotency-key": "k"}).json()["told"]}
    assert {name: one["ways"] for name, one in told.items()} == {
        "a": ["file", "signal", "inbox"], "b": ["file", "signal"],
    }  # fmt: skip
    assert "number" in told["a"]
    assert "failed" not in told["b"], "it was told: who cannot be told by one way is by another"
    for one in sessions.values():
        until(lambda one=one: state(one) == "HALTED")
        assert halted_by(one) & {"file", "signal"}
    assert not (shadow.folder / "HALT").exists()
    shadow.close()


def test_what_a_kill_halted_is_resumed_over_the_api_and_what_a_person_halted_is_not(
    api: httpx.Client, sessions: dict[str, Replayed], service: Served
) -> None:
    one, file = sessions["a"], sessions["a"].folder / "HALT"
    (found,) = (found["id"] for found in api.get("/sessions").json() if found["name"] == "a")
    file.write_text("")  # as `touch` leaves it
    (told,) = (one for one in api.post("/kill").json()["told"] if one["session"] == found)
    assert api.post(f"/sessions/{found}/commands", json={"word": "resume"}).status_code == 409
    until(lambda: told["number"] in obeyed(one))  # a resume that is heard together with a kill's signal is heard before
    assert file.exists()
    file.write_text(LEFT)
    assert api.post(f"/sessions/{found}/commands", json={"word": "resume"}).status_code == 202
    assert not file.exists()
    until(lambda: state(one) != "HALTED")


def test_a_signal_goes_to_the_process_that_holds_the_journal_and_to_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number in the note may be that of the dead, given to another since, or one of another container."""
    session = Session(tmp_path / "one")
    journal = session.folder / "journal.db"
    assert is_writer(journal, os.getpid())
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        note = head_path(journal)
        note.write_text(note.read_text().rpartition(" ")[0] + f" {stranger.pid:010d}\n")
        assert writer_of(journal) == stranger.pid
        done = tell(session.folder, "halt")
        assert done.ways == ("file", "inbox")
        assert f"process {stranger.pid} is not seen" in done.failed[0]
        assert not is_writer(journal, stranger.pid)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    session.bar()
    assert "signal" in tell(session.folder, "halt").ways
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert tell(session.folder, "halt").ways == ("file", "inbox"), "another user's process is left alone"
    session.close()
    assert tell(session.folder, "halt").ways == ("file", "inbox"), "no process runs"
