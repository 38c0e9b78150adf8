"""A service that is stopped in the middle holds up no session, and has every event once when it goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qframe_rl.journal.peek import Peek
from tests.service.places import ROOT, journal_events, messages, served, until

PACE = 20


@pytest.fixture
def trading(tmp_path: Path) -> Iterator[Path]:
    """A real session that decides twenty times a second; its folder."""
    command = [sys.executable, "-m", "qframe_rl.bench.service_worker", "sessions"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(f"{tmp_path} 1 {PACE}\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == "ready\n"
        yield tmp_path / "session-00"
        worker.stdin.write("end\n")
        worker.stdin.flush()
        worker.stdout.readline()
        worker.stdin.close()


def count(folder: Path) -> int:
    with Peek(folder / "journal.db") as peek:
        ((n,),) = peek.rows("SELECT count(*) FROM events WHERE kind = 'bar'")
    return int(n)


def test_a_stopped_service_holds_up_no_decision_and_loses_no_event(trading: Path) -> None:
    with served(trading.parent) as service, service.client("read") as client:
        (session,) = client.get("/sessions").json()
        with client.stream("GET", "/events", params={"kinds": "bar"}) as stream:
            events = messages(stream.iter_lines())
            assert next(events)["event"] == "hello"
            first = next(events)
            assert client.get(f"/sessions/{session['id']}/equity").status_code == 200
            service.process.send_signal(signal.SIGSTOP)
            before = count(trading)
            until(lambda: count(trading) >= before + 3 * PACE)
            service.process.send_signal(signal.SIGCONT)
            after = count(trading)
            seen = [first]
            while len(seen) < after - before:
                seen.append(next(events))
        numbers = [one["seq"] for one in journal_events(seen)]
        with Peek(trading / "journal.db") as peek:
            rows = peek.rows(
                "SELECT seq FROM events WHERE kind = 'bar' AND seq >= ? ORDER BY seq LIMIT ?",
                (numbers[0], len(numbers)),
            )
        assert numbers == [row[0] for row in rows]
