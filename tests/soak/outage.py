"""Take Redis and PostgreSQL away for minutes while sessions trade: ``python -m tests.soak.outage --minutes 10``.

Two paper sessions on replayed bars, a relay, a sink and a service whose rows are in PostgreSQL. While both servers are
gone and the service's own rows cannot be written, decisions go on as before, relay and sink say how far they are
behind, what journals say is shown, and nothing else than 503 is answered. Then all of it catches up.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from qframe_rl.config import Unavailable
from qframe_rl.journal.store import chained
from qframe_rl.service.auth import Doorkeeper
from qframe_rl.service.store import ServiceStore
from tests.servers import postgres, redis_server
from tests.service.places import ROOT, served, until

_PATHS = ("sessions", "me", "jobs", "supervised", "tokens", "sessions/{}", "sessions/{}/equity", "sessions/{}/events")


class Outage:
    """Servers, sessions and what moves their events.

    Parameters
    ----------
    folder
        Where all of it lies.
    stack
        Ends it.
    """

    def __init__(self, folder: Path, stack: ExitStack):
        self.folder, self.stack = folder, stack
        self.redis, self.postgres = redis_server(), postgres()
        stack.callback(self.redis.close)
        stack.callback(self.postgres.close)
        self.url = f"postgresql://postgres@127.0.0.1:{self.postgres.port}/postgres"
        self.queue = f"redis://127.0.0.1:{self.redis.port}/0"
        self.root = folder / "root"
        self.store = ServiceStore(folder / "state", self.url)
        stack.callback(self.store.close)

    def begin(self) -> None:
        """Start two sessions, the relay and the sink."""
        checkpoint = str(ROOT / "checkpoints" / "funding_arbitrage")
        for name in ("a", "b"):
            options = ["--feed", "replay", "--speed", "7200x", "--out", str(self.root / name)]
            self._started(name, "paper", checkpoint, *options)
        until(lambda: all((self.root / name / "journal.db").is_file() for name in ("a", "b")), 60.0)
        self._started("relay", "relay", "--root", str(self.root), "--to", self.queue)
        sink = ["--from", self.queue, "--to", self.url, "--state", str(self.folder / "sink")]
        self._started("sink", "relay", *sink, "--root", str(self.root))

    def _started(self, name: str, door: str, *argv: str) -> None:
        log = self.stack.enter_context((self.folder / f"{name}.txt").open("ab"))
        process = subprocess.Popen(
            [sys.executable, "-m", f"experiments.{door}", *argv], stderr=log, stdout=log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)

    def events(self, name: str) -> list[tuple[Any, ...]]:
        """Events of a session's journal, with their hashes."""
        return [(*event, digest) for event, digest in chained(self.root / name / "journal.db")]

    def copied(self) -> bool:
        """Whether the database has every event of both, to the hash."""
        for name in ("a", "b"):
            expected = self.events(name)
            rows = self.store.rows(
                "SELECT seq, time_ns, kind, payload, hash FROM events JOIN journals ON journal = id WHERE name = ? "
                "AND seq <= ? ORDER BY seq", (name, len(expected)),
            )  # fmt: skip
            if rows != expected:
                return False
        return True

    def longest(self, since: int, stop: int) -> float:
        """Longest time between two decisions of a session that were written between two moments, seconds."""
        most = 0.0
        for name in ("a", "b"):
            times = [time_ns for _, time_ns, kind, _, _ in self.events(name) if kind == "decision"]
            within = [one for one in times if since <= one <= stop]
            most = max(most, float(np.diff(within).max()) / 1e9)
        return most

    def behind(self, name: str) -> int:
        """The most events that it said it was behind."""
        found = re.findall(r"([\d,]+) events behind", (self.folder / f"{name}.txt").read_text())
        return max((int(text.replace(",", "")) for text in found), default=0)


def soak(folder: Path, minutes: float) -> dict[str, Any]:
    """Do it; fails if a decision is missed, an answer is a mistake, or something does not catch up."""
    answers: Counter[int] = Counter()
    with ExitStack() as stack:
        it = Outage(folder, stack)
        it.begin()
        running = stack.enter_context(served(it.root, "--state", str(folder / "state"), env={"QFRAME_STORE": it.url}))
        token = Doorkeeper(it.store).new_token("soak", ["read", "admin"])
        api = stack.enter_context(
            httpx.Client(base_url=f"{running.url}/api/v1", headers={"authorization": f"Bearer {token}"}, timeout=60.0)
        )
        until(lambda: len(api.get("/sessions").json()) == 2, 60.0)
        sessions = [one["id"] for one in api.get("/sessions").json()]
        begun = time.time_ns()
        time.sleep(30.0)
        gone = time.time_ns()
        it.redis.kill()
        it.postgres.kill()
        while time.time_ns() - gone < minutes * 60e9:
            for path in _PATHS:
                answers[api.get(f"/{path.format(sessions[0])}").status_code] += 1
            time.sleep(1.0)
        back = time.time_ns()
        it.redis.start()
        it.postgres.start()
        until(lambda: _answers(it.store) and it.copied(), 300.0)
        until(lambda: api.get("/tokens").status_code == 200, 60.0)
        assert set(answers) <= {200, 503}, answers
        return {
            "minutes": minutes, "events": sum(len(it.events(name)) for name in ("a", "b")),
            "longest_decision_before_s": round(it.longest(begun, gone), 2),
            "longest_decision_during_s": round(it.longest(gone, back), 2),
            "relay_behind": it.behind("relay"), "sink_behind": it.behind("sink"),
            "caught_up_s": round((time.time_ns() - back) / 1e9, 1), "answers": dict(answers),
        }  # fmt: skip


def _answers(store: ServiceStore) -> bool:
    try:
        store.rows("SELECT 1")
    except Unavailable:
        return False
    return True


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(soak(Path(folder), given.minutes)))


if __name__ == "__main__":
    main()
